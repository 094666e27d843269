//! The ablation tables of the paper as settings over a recipe.
//!
//! The paper's numbers are linear top-1 of a ResNet-50 on ImageNet after 300 epochs of batch 4096, means of three seeds
//! (§5; Tables 5, 14 to 18). Here they stand beside what the same change does to the recipe at hand.

use std::fmt;
use std::str::FromStr;

use crate::config::Config;

/// A table of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What the prediction is compared with (Table 5a).
    Target,
    /// From BYOL to SimCLR: predictor, target and negatives (Tables 5b and 19).
    Negatives,
    /// BYOL and SimCLR alone.
    Simclr,
    /// Temperature and weight of the negatives (Table 18).
    Temperature,
    /// Augmentations left out (Table 17).
    Augmentations,
    /// Pictures that batch norm sees at once (Table 16).
    Batch,
    /// Linear layers of the heads (Table 14a).
    Heads,
    /// Size of the projection (Table 14b).
    Projection,
    /// Base learning rate (Table 15a).
    LearningRate,
    /// Weight decay (Table 15b).
    WeightDecay,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Short, of letters, digits and dashes: the row's folder.
    pub name: String,
    /// `key=value` over the recipe.
    pub settings: Vec<String>,
    /// The paper's top-1 of BYOL with this change.
    pub paper_top1: f64,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Target,
        Self::Negatives,
        Self::Simclr,
        Self::Temperature,
        Self::Augmentations,
        Self::Batch,
        Self::Heads,
        Self::Projection,
        Self::LearningRate,
        Self::WeightDecay,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Negatives => "negatives",
            Self::Simclr => "simclr",
            Self::Temperature => "temperature",
            Self::Augmentations => "augmentations",
            Self::Batch => "batch",
            Self::Heads => "heads",
            Self::Projection => "projection",
            Self::LearningRate => "learning-rate",
            Self::WeightDecay => "weight-decay",
        }
    }

    /// Where it stands in the paper.
    pub fn source(self) -> &'static str {
        match self {
            Self::Target => "Table 5a",
            Self::Negatives | Self::Simclr => "Tables 5b and 19",
            Self::Temperature => "Table 18",
            Self::Augmentations => "Table 17",
            Self::Batch => "Table 16",
            Self::Heads => "Table 14a",
            Self::Projection => "Table 14b",
            Self::LearningRate => "Table 15a",
            Self::WeightDecay => "Table 15b",
        }
    }

    /// The rows over `recipe`, the paper's default first. Rates and decays are the recipe's times the paper's ratios to its own,
    /// since the paper's values belong to LARS.
    pub fn variants(self, recipe: &Config) -> Vec<Variant> {
        match self {
            Self::Target => target(),
            Self::Negatives => negatives(),
            Self::Simclr => negatives().into_iter().filter(|row| ["byol", "simclr"].contains(&&*row.name)).collect(),
            Self::Temperature => temperature(),
            Self::Augmentations => augmentations(),
            Self::Batch => batch(recipe.train.batch_size),
            Self::Heads => heads(),
            Self::Projection => {
                let paper = [(256, 72.5), (16, 69.9), (32, 71.3), (64, 72.2), (128, 72.5), (512, 72.6)];
                paper
                    .map(|(size, top1)| one(&format!("size-{size}"), &format!("model.projection_size={size}"), top1))
                    .into()
            }
            Self::LearningRate => {
                let paper =
                    [(0.3, 72.5), (0.01, 34.8), (0.1, 65.0), (0.2, 71.7), (0.4, 72.3), (0.5, 71.5), (1.0, 69.4)];
                let base = recipe.schedule.base_learning_rate;
                paper.map(|(rate, top1)| scaled("rate", "schedule.base_learning_rate", base, rate / 0.3, top1)).into()
            }
            Self::WeightDecay => {
                let paper = [(1e-6, 72.5), (1e-7, 72.1), (5e-7, 72.6), (5e-6, 71.0), (1e-5, 69.6)];
                let base = recipe.optimizer.weight_decay;
                paper.map(|(decay, top1)| scaled("decay", "optimizer.weight_decay", base, decay / 1e-6, top1)).into()
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("no such table; expected one of {}", names.join(", "))
        })
    }
}

fn variant(name: &str, settings: &[&str], paper_top1: f64) -> Variant {
    Variant {
        name: name.to_owned(),
        settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
        paper_top1,
    }
}

fn one(name: &str, setting: &str, paper_top1: f64) -> Variant {
    variant(name, &[setting], paper_top1)
}

fn scaled(name: &str, key: &str, base: f64, ratio: f64, paper_top1: f64) -> Variant {
    // Ratios of the paper's decimals, without the dust of their division.
    let ratio = (ratio * 1e4).round() / 1e4;
    let value = format!("{key}={}", (base * ratio * 1e12).round() / 1e12);
    Variant { name: format!("{name}-x{ratio}"), settings: vec![value], paper_top1 }
}

fn target() -> Vec<Variant> {
    let moving = |tau: &str, top1| one(&format!("tau-{tau}"), &format!("schedule.target_ema={tau}"), top1);
    vec![
        moving("0.99", 72.5),
        one("fixed-random", "model.target=fixed", 18.8),
        moving("0.999", 69.8),
        moving("0.9", 68.4),
        one("stop-gradient", "model.target=stop_gradient", 0.3),
    ]
}

fn negatives() -> Vec<Variant> {
    let row = |name: &str, predictor: bool, target: &str, beta: f64, top1: f64| {
        let settings = [
            format!("model.predictor={predictor}"),
            format!("model.target={target}"),
            format!("model.negatives_weight={beta}"),
            "model.negatives_temperature=0.1".to_owned(),
        ];
        Variant { name: name.to_owned(), settings: settings.into(), paper_top1: top1 }
    };
    vec![
        row("byol", true, "moving_average", 0.0, 72.5),
        row("byol-negatives", true, "moving_average", 1.0, 70.9),
        row("no-predictor-negatives", false, "moving_average", 1.0, 70.7),
        row("stop-gradient-negatives", true, "stop_gradient", 1.0, 70.2),
        row("simclr", false, "gradient", 1.0, 69.4),
        row("no-predictor-stop-gradient-negatives", false, "stop_gradient", 1.0, 69.2),
        row("predictor-gradient-negatives", true, "gradient", 1.0, 69.1),
        row("stop-gradient", true, "stop_gradient", 0.0, 5.5),
        row("gradient", true, "gradient", 0.0, 0.3),
        row("no-predictor", false, "moving_average", 0.0, 0.2),
        row("no-predictor-stop-gradient", false, "stop_gradient", 0.0, 0.1),
        row("no-predictor-gradient", false, "gradient", 0.0, 0.1),
    ]
}

fn temperature() -> Vec<Variant> {
    let alphas = ["0.01", "0.1", "0.3", "1", "3", "10"];
    let paper = [
        ("0.1", [72.2, 72.4, 72.7, 72.6, 72.5, 72.5]),
        ("0.5", [70.9, 72.0, 72.7, 72.7, 72.6, 72.5]),
        ("1", [53.9, 70.9, 72.7, 72.7, 72.6, 72.6]),
    ];
    let row = |beta: &str, alpha: &str, top1: f64| {
        let settings = [format!("model.negatives_weight={beta}"), format!("model.negatives_temperature={alpha}")];
        Variant { name: format!("beta-{beta}-alpha-{alpha}"), settings: settings.into(), paper_top1: top1 }
    };
    let rows =
        paper.iter().flat_map(|(beta, top1)| alphas.iter().zip(top1).map(move |(alpha, top1)| row(beta, alpha, *top1)));
    std::iter::once(one("beta-0", "model.negatives_weight=0", 72.5)).chain(rows).collect()
}

/// `views.view1.KEY=VALUE` and the same for view 2.
fn both(settings: &[&str]) -> Vec<String> {
    let of_view = |view: &str| settings.iter().map(|setting| format!("views.{view}.{setting}")).collect::<Vec<_>>();
    [of_view("view1"), of_view("view2")].concat()
}

fn augmentations() -> Vec<Variant> {
    const NO_FLIP: &str = "flip_p=0.0";
    const NO_BLUR: &str = "blur_p=0.0";
    const NO_JITTER: &str = "jitter_p=0.0";
    const NO_GRAY: &str = "grayscale_p=0.0";
    const NO_SOLARISE: &str = "solarise_p=0.0";
    let without =
        |name: &str, off: &[&str], top1| Variant { name: name.to_owned(), settings: both(off), paper_top1: top1 };
    vec![
        variant("all", &[], 72.5),
        without("no-flip", &[NO_FLIP], 71.9),
        without("no-blur", &[NO_BLUR], 71.2),
        without("no-colour", &[NO_JITTER, NO_GRAY], 63.4),
        without("no-jitter", &[NO_JITTER], 71.8),
        without("no-grayscale", &[NO_GRAY], 70.3),
        one("no-blur-in-view2", "views.view2.blur_p=0.0", 72.4),
        one("no-solarise-in-view2", "views.view2.solarise_p=0.0", 72.3),
        variant("neither-in-view2", &["views.view2.blur_p=0.0", "views.view2.solarise_p=0.0"], 72.2),
        without("symmetric", &["blur_p=0.5", "solarise_p=0.2"], 72.5),
        without("crop-only", &[NO_FLIP, NO_BLUR, NO_JITTER, NO_GRAY, NO_SOLARISE], 59.4),
        without("crop-flip", &[NO_BLUR, NO_JITTER, NO_GRAY, NO_SOLARISE], 60.1),
        without("crop-colour", &[NO_FLIP, NO_BLUR, NO_SOLARISE], 70.7),
        without("crop-blur", &[NO_FLIP, NO_JITTER, NO_GRAY, NO_SOLARISE], 61.1),
    ]
}

/// Gradients are averaged to the recipe's batch; batch norm sees a part of it.
fn batch(batch_size: usize) -> Vec<Variant> {
    let paper = [(1, 72.5), (2, 72.4), (4, 72.2), (8, 72.2), (16, 71.8), (32, 69.6), (64, 59.7)];
    let fits = |parts: &usize| batch_size.is_multiple_of(*parts) && batch_size / parts >= 2;
    let rows = paper.into_iter().filter(|(parts, _)| fits(parts));
    rows.map(|(parts, top1)| {
        one(&format!("norm-over-{}", batch_size / parts), &format!("train.accumulation_steps={parts}"), top1)
    })
    .collect()
}

fn heads() -> Vec<Variant> {
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
        Variant {
            name: format!("projector-{projector}-predictor-{predictor}"),
            settings: settings.into(),
            paper_top1: top1,
        }
    };
    paper.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    #[test]
    fn every_variant_is_a_valid_configuration_of_its_own_and_has_a_folder_name() {
        for preset in [Preset::Imagenet300, Preset::Cifar10] {
            for table in Table::ALL {
                assert_eq!(table.name().parse::<Table>().unwrap(), table);
                let variants = table.variants(&preset.config());
                assert!(variants.len() >= 2, "{table}");
                let mut names: Vec<&str> = variants.iter().map(|variant| &*variant.name).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), variants.len(), "{table}");
                for variant in &variants {
                    preset.resolve(&variant.settings).unwrap_or_else(|error| panic!("{table}: {error}"));
                    assert!(variant.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.'));
                }
            }
        }
    }

    /// The default of the paper is the first row of every table and, over the paper's recipe, changes nothing.
    #[test]
    fn the_first_row_is_the_papers_recipe() {
        let paper = Preset::Imagenet300.config();
        for table in Table::ALL {
            let first = &table.variants(&paper)[0];
            assert_eq!(first.paper_top1, 72.5, "{table}");
            assert_eq!(Preset::Imagenet300.resolve(&first.settings).unwrap(), paper, "{table}");
        }
    }
}
