//! The rows of every table as settings over a recipe.
//!
//! The paper's numbers are linear top-1 of a ResNet-50 on ImageNet after 300 epochs of batch 4096, means of three seeds
//! (§5; Tables 5, 14 to 22). Here they stand beside what the same change does to the recipe at hand.

use byol_data::views::{ViewConfig, blur_taps};

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Short, of letters, digits, dots and dashes: the row's folder.
    pub name: String,
    /// The change in words, or its settings.
    pub change: String,
    /// `key=value` over the recipe.
    pub settings: Vec<String>,
    /// The paper's top-1 of BYOL with this change, where it gives one.
    pub paper_top1: Option<f64>,
}

fn variant(name: impl Into<String>, settings: &[String], paper_top1: f64) -> Variant {
    Variant { name: name.into(), change: settings.join(" "), settings: settings.to_vec(), paper_top1: Some(paper_top1) }
}

fn one(name: impl Into<String>, setting: &str, paper_top1: f64) -> Variant {
    variant(name, &[setting.to_owned()], paper_top1)
}

/// A row that the paper has no number of its protocol for.
fn without_number(name: &str, setting: &str) -> Variant {
    Variant { paper_top1: None, ..one(name, setting, 0.0) }
}

fn scaled(name: &str, key: &str, base: f64, ratio: f64, paper_top1: f64) -> Variant {
    // Ratios of the paper's decimals, without the dust of their division.
    let ratio = (ratio * 1e4).round() / 1e4;
    let value = format!("{key}={}", (base * ratio * 1e12).round() / 1e12);
    one(format!("{name}-x{ratio}"), &value, paper_top1)
}

pub(super) fn target() -> Vec<Variant> {
    let moving = |tau: &str, top1| one(format!("tau-{tau}"), &format!("schedule.target_ema={tau}"), top1);
    // A random network of its own, or the online one would be asked for what it already does.
    let fixed = ["model.target=fixed", "model.copy_online_to_target=false"].map(str::to_owned);
    vec![
        moving("0.99", 72.5),
        variant("fixed-random", &fixed, 18.8),
        moving("0.999", 69.8),
        moving("0.9", 68.4),
        one("stop-gradient", "model.target=stop_gradient", 0.3),
    ]
}

pub(super) fn negatives() -> Vec<Variant> {
    let row = |name: &str, predictor: &str, target: &str, beta: f64, top1: f64| {
        let settings = [
            format!("model.predictor={predictor}"),
            format!("model.target={target}"),
            format!("model.negatives_weight={beta}"),
            "model.negatives_temperature=0.1".to_owned(),
        ];
        variant(name, &settings, top1)
    };
    vec![
        row("byol", "mlp", "moving_average", 0.0, 72.5),
        row("byol-negatives", "mlp", "moving_average", 1.0, 70.9),
        row("no-predictor-negatives", "none", "moving_average", 1.0, 70.7),
        row("stop-gradient-negatives", "mlp", "stop_gradient", 1.0, 70.2),
        row("simclr", "none", "gradient", 1.0, 69.4),
        row("no-predictor-stop-gradient-negatives", "none", "stop_gradient", 1.0, 69.2),
        row("predictor-gradient-negatives", "mlp", "gradient", 1.0, 69.1),
        row("stop-gradient", "mlp", "stop_gradient", 0.0, 5.5),
        row("gradient", "mlp", "gradient", 0.0, 0.3),
        row("no-predictor", "none", "moving_average", 0.0, 0.2),
        row("no-predictor-stop-gradient", "none", "stop_gradient", 0.0, 0.1),
        row("no-predictor-gradient", "none", "gradient", 0.0, 0.1),
    ]
}

pub(super) fn temperature() -> Vec<Variant> {
    let alphas = ["0.01", "0.1", "0.3", "1", "3", "10"];
    let paper = [
        ("0.1", [72.2, 72.4, 72.7, 72.6, 72.5, 72.5]),
        ("0.5", [70.9, 72.0, 72.7, 72.7, 72.6, 72.5]),
        ("1", [53.9, 70.9, 72.7, 72.7, 72.6, 72.6]),
    ];
    let row = |beta: &str, alpha: &str, top1: f64| {
        let settings = [format!("model.negatives_weight={beta}"), format!("model.negatives_temperature={alpha}")];
        variant(format!("beta-{beta}-alpha-{alpha}"), &settings, top1)
    };
    let rows =
        paper.iter().flat_map(|(beta, top1)| alphas.iter().zip(top1).map(move |(alpha, top1)| row(beta, alpha, *top1)));
    std::iter::once(one("beta-0", "model.negatives_weight=0", 72.5)).chain(rows).collect()
}

/// The paper's T and T′ themselves, whatever the recipe's views are, and changes of them. Where views are too small for its blur
/// they have none.
pub(super) fn augmentations(size_px: usize) -> Vec<Variant> {
    type Change = fn(&mut ViewConfig);
    const NO_FLIP: Change = |view| view.flip_p = 0.0;
    const NO_BLUR: Change = |view| view.blur_p = 0.0;
    const NO_JITTER: Change = |view| view.jitter_p = 0.0;
    const NO_GRAY: Change = |view| view.grayscale_p = 0.0;
    const NO_SOLARISE: Change = |view| view.solarise_p = 0.0;
    const SYMMETRIC: Change = |view| (view.blur_p, view.solarise_p) = (0.5, 0.2);
    let row = |name: &str, change: &str, in_both: &[Change], in_view2: &[Change], top1: f64| {
        let (mut t, mut t_prime) = (ViewConfig::t(), ViewConfig::t_prime());
        for change in in_both {
            change(&mut t);
            change(&mut t_prime);
        }
        in_view2.iter().for_each(|change| change(&mut t_prime));
        if blur_taps(size_px) == 1 {
            NO_BLUR(&mut t);
            NO_BLUR(&mut t_prime);
        }
        let whole = |name: &str, view: &ViewConfig| {
            let table = toml::Value::try_from(view).expect("every setting has a TOML form");
            format!("views.{name}={table}")
        };
        let settings = [whole("view1", &t), whole("view2", &t_prime)];
        Variant { change: format!("T and T′{change}"), ..variant(name, &settings, top1) }
    };
    vec![
        row("all", "", &[], &[], 72.5),
        row("no-flip", " without flip", &[NO_FLIP], &[], 71.9),
        row("no-blur", " without blur", &[NO_BLUR], &[], 71.2),
        row("no-colour", " without jitter and grey", &[NO_JITTER, NO_GRAY], &[], 63.4),
        row("no-jitter", " without jitter", &[NO_JITTER], &[], 71.8),
        row("no-grayscale", " without grey", &[NO_GRAY], &[], 70.3),
        row("no-blur-in-view2", ", no blur in T′", &[], &[NO_BLUR], 72.4),
        row("no-solarise-in-view2", ", no solarising in T′", &[], &[NO_SOLARISE], 72.3),
        row("neither-in-view2", ", neither blur nor solarising in T′", &[], &[NO_BLUR, NO_SOLARISE], 72.2),
        row("symmetric", ", blur 0.5 and solarising 0.2 in both", &[SYMMETRIC], &[], 72.5),
        row("crop-only", ": crop alone", &[NO_FLIP, NO_BLUR, NO_JITTER, NO_GRAY, NO_SOLARISE], &[], 59.4),
        row("crop-flip", ": crop and flip", &[NO_BLUR, NO_JITTER, NO_GRAY, NO_SOLARISE], &[], 60.1),
        row("crop-colour", ": crop, jitter and grey", &[NO_FLIP, NO_BLUR, NO_SOLARISE], &[], 70.7),
        row("crop-blur", ": crop and blur", &[NO_FLIP, NO_JITTER, NO_GRAY, NO_SOLARISE], &[], 61.1),
    ]
}

/// Gradients are averaged to the recipe's batch; batch norm sees a part of it.
pub(super) fn batch(batch_size: usize) -> Vec<Variant> {
    let paper = [(1, 72.5), (2, 72.4), (4, 72.2), (8, 72.2), (16, 71.8), (32, 69.6), (64, 59.7)];
    let fits = |parts: &usize| batch_size.is_multiple_of(*parts) && batch_size / parts >= 2;
    let rows = paper.into_iter().filter(|(parts, _)| fits(parts));
    rows.map(|(parts, top1)| {
        one(format!("norm-over-{}", batch_size / parts), &format!("train.accumulation_steps={parts}"), top1)
    })
    .collect()
}

pub(super) fn heads() -> Vec<Variant> {
    let paper = [
        (2, 2, 72.5),
        (1, 1, 61.9),
        (1, 2, 65.0),
        (1, 3, 65.7),
        (2, 1, 71.5),
        (2, 3, 71.4),
        (3, 1, 71.4),
        (3, 2, 72.1),
        (3, 3, 72.1),
    ];
    let row = |(projector, predictor, top1)| {
        let settings = [format!("model.projector_layers={projector}"), format!("model.predictor_layers={predictor}")];
        variant(format!("projector-{projector}-predictor-{predictor}"), &settings, top1)
    };
    paper.map(row).into()
}

pub(super) fn projection() -> Vec<Variant> {
    let paper = [(256, 72.5), (16, 69.9), (32, 71.3), (64, 72.2), (128, 72.5), (512, 72.6)];
    paper.map(|(size, top1)| one(format!("size-{size}"), &format!("model.projection_size={size}"), top1)).into()
}

pub(super) fn learning_rate(base: f64) -> Vec<Variant> {
    let paper = [(0.3, 72.5), (0.01, 34.8), (0.1, 65.0), (0.2, 71.7), (0.4, 72.3), (0.5, 71.5), (1.0, 69.4)];
    paper.map(|(rate, top1)| scaled("rate", "schedule.base_learning_rate", base, rate / 0.3, top1)).into()
}

pub(super) fn weight_decay(base: f64) -> Vec<Variant> {
    let paper = [(1e-6, 72.5), (1e-7, 72.1), (5e-7, 72.6), (5e-6, 71.0), (1e-5, 69.6)];
    paper.map(|(decay, top1)| scaled("decay", "optimizer.weight_decay", base, decay / 1e-6, top1)).into()
}

pub(super) fn normalisation() -> Vec<Variant> {
    let paper = [("l2", 72.5), ("layer_norm", 72.5), ("none", 67.4), ("batch_norm", 65.3)];
    paper.map(|(rule, top1)| one(rule.replace('_', "-"), &format!("model.loss_normalisation={rule}"), top1)).into()
}

/// BYOL itself first: it has the moving average that the others go without.
pub(super) fn predictor_rate() -> Vec<Variant> {
    let paper = [(1, 5.5), (0, 0.01), (2, 62.8), (10, 66.6), (20, 66.3)];
    let row = |(factor, top1)| {
        let settings = ["model.target=stop_gradient".to_owned(), format!("optimizer.predictor_rate_factor={factor}")];
        variant(format!("stop-gradient-predictor-x{factor}"), &settings, top1)
    };
    std::iter::once(one("byol", "model.target=moving_average", 72.5)).chain(paper.map(row)).collect()
}

pub(super) fn head_rates() -> Vec<Variant> {
    let factors = ["1", "1.5", "2", "5", "10"];
    // A row per factor of the projector, a column per factor of the predictor.
    let paper = [
        [3.2, 25.7, 60.8, 66.7, 66.9],
        [1.4, 9.2, 55.2, 61.5, 66.0],
        [2.0, 5.3, 15.8, 60.9, 66.3],
        [1.5, 2.5, 2.5, 20.5, 60.5],
        [0.1, 2.1, 1.9, 2.8, 8.3],
    ];
    let row = |projector: &str, predictor: &str, top1| {
        let settings = [
            "model.target=stop_gradient".to_owned(),
            format!("optimizer.projector_rate_factor={projector}"),
            format!("optimizer.predictor_rate_factor={predictor}"),
        ];
        variant(format!("stop-gradient-projector-x{projector}-predictor-x{predictor}"), &settings, top1)
    };
    let rows = factors.iter().zip(&paper).flat_map(|(projector, top1)| {
        factors.iter().zip(top1).map(move |(predictor, top1)| row(projector, predictor, *top1))
    });
    std::iter::once(one("byol", "model.target=moving_average", 72.5)).chain(rows).collect()
}

pub(super) fn optimal_predictor() -> Vec<Variant> {
    let stop = |predictor: &str| ["model.target=stop_gradient".to_owned(), format!("model.predictor={predictor}")];
    vec![
        one("byol", "model.target=moving_average", 72.5),
        variant("stop-gradient", &stop("mlp"), 5.5),
        variant("stop-gradient-optimal-linear", &stop("optimal_linear"), 52.5),
    ]
}

/// The paper says of other scales that they reach more than 72 %.
pub(super) fn initialisation() -> Vec<Variant> {
    let he = ["model.initialisation=he", "model.head_initialisation=he"].map(str::to_owned);
    vec![
        variant("lecun", &["model.initialisation=lecun", "model.head_initialisation=lecun"].map(str::to_owned), 72.5),
        Variant { paper_top1: None, ..variant("he", &he, 0.0) },
        without_number("he-encoder", "model.initialisation=he"),
        without_number("he-heads", "model.head_initialisation=he"),
    ]
}

/// After 1000 epochs, group norm reaches 73.9 % where batch norm reaches 74.3 %.
pub(super) fn norm() -> Vec<Variant> {
    vec![one("batch", "model.norm=batch", 72.5), without_number("group", "model.norm=group")]
}
