//! Logistic regression and average precision against scikit-learn and the independent program, and what must not change them.

use byol_data::{Random, Stream};
use byol_eval::logistic::{Logistic, LogisticOptions, Samples, fit, retrain, sweep};
use byol_eval::metrics::{
    Metric, Presence, Targets, average_precision_11, mean_average_precision_11, measure, predictions, top_k,
};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/evaluation.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

fn classes(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

fn presences(value: &Value) -> Vec<Presence> {
    let of = |number: f64| match number as i32 {
        1 => Presence::Positive,
        -1 => Presence::Negative,
        _ => Presence::Difficult,
    };
    numbers(value).into_iter().map(of).collect()
}

/// As close to the minimum as rounding allows.
fn exact() -> LogisticOptions {
    LogisticOptions { tolerance: 1e-9, max_iterations: 5000, ..Default::default() }
}

fn assert_loss(ours: f64, theirs: f64, tolerance: f64, name: &str) {
    assert!((ours - theirs).abs() <= tolerance * theirs, "{name}: {ours} for {theirs}");
}

#[test]
fn loss_and_predictions_are_those_of_scikit_learn() {
    for case in golden()["multinomial"].as_array().unwrap() {
        let count = case["classes"].as_u64().unwrap() as usize;
        let size = case["size"].as_u64().unwrap() as usize;
        let (train, test) = (floats(&case["train"]["features"]), floats(&case["test"]["features"]));
        let (labels, test_labels) = (classes(&case["train"]["labels"]), classes(&case["test"]["labels"]));
        let samples = Samples { features: &train, size, targets: Targets::Classes(&labels) };
        for expected in case["fits"].as_array().unwrap() {
            // scikit-learn's program says the precision 1 / C.
            let (l2, loss) = (expected["l2"].as_f64().unwrap() / 2.0, expected["loss"].as_f64().unwrap());
            let name = format!("{} λ {l2}", case["name"]);
            let usual = fit(samples, count, l2, &LogisticOptions::default(), None).unwrap();
            assert!(usual.converged && usual.iterations < 500, "{name}: {}", usual.iterations);
            assert_loss(usual.loss, loss, 1e-3, &name);

            let fitted = fit(samples, count, l2, &exact(), None).unwrap();
            assert_loss(fitted.loss, loss, 1e-6, &name);
            let scores = fitted.scores(&test);
            assert_eq!(predictions(&scores, count), classes(&expected["predictions"]), "{name}");
            if let Some(top5) = expected["top5"].as_f64() {
                assert!((top_k(&scores, &test_labels, count, 5) - 100.0 * top5).abs() < 1e-9, "{name}");
                let top1 = 100.0 * expected["top1"].as_f64().unwrap();
                assert!((top_k(&scores, &test_labels, count, 1) - top1).abs() < 1e-9, "{name}");
            }
        }
    }
}

#[test]
fn several_classes_per_picture_are_scikit_learns_binary_regressions() {
    let golden = &golden()["one_versus_rest"];
    let (count, size) = (golden["classes"].as_u64().unwrap() as usize, golden["size"].as_u64().unwrap() as usize);
    let (features, presences) = (floats(&golden["features"]), presences(&golden["presences"]));
    let samples = Samples { features: &features, size, targets: Targets::Presences(&presences) };
    for expected in golden["fits"].as_array().unwrap() {
        let (l2, loss) = (expected["l2"].as_f64().unwrap() / 2.0, expected["loss"].as_f64().unwrap());
        let fitted = fit(samples, count, l2, &exact(), None).unwrap();
        assert_loss(fitted.loss, loss, 1e-6, &format!("λ {l2}"));
        let scores = fitted.scores(&features[..3 * size]);
        for (ours, theirs) in scores.iter().zip(numbers(&expected["scores"])) {
            assert!((ours - theirs).abs() < 1e-4 * (1.0 + theirs.abs()), "λ {l2}: {ours} {theirs}");
        }
    }
}

#[test]
fn average_precision_is_that_of_the_definition_with_ties_and_difficult_pictures() {
    for case in golden()["average_precision"].as_array().unwrap() {
        let count = case["classes"].as_u64().unwrap() as usize;
        let (scores, presences) = (numbers(&case["scores"]), presences(&case["presences"]));
        let column = |class| move |index: &usize| index % count == class;
        for (class, expected) in case["by_class"].as_array().unwrap().iter().enumerate() {
            let of_class: Vec<usize> = (0..scores.len()).filter(column(class)).collect();
            let class_scores: Vec<f64> = of_class.iter().map(|&index| scores[index]).collect();
            let class_presences: Vec<Presence> = of_class.iter().map(|&index| presences[index]).collect();
            let ours = average_precision_11(&class_scores, &class_presences);
            assert_eq!(ours.is_some(), expected.as_f64().is_some(), "{} {class}", case["name"]);
            let difference = ours.unwrap_or(0.0) - 100.0 * expected.as_f64().unwrap_or(0.0);
            assert!(difference.abs() < 1e-9, "{} {class}: {ours:?} {expected}", case["name"]);
        }
        let map = mean_average_precision_11(&scores, &presences, count);
        assert!((map - 100.0 * case["map"].as_f64().unwrap()).abs() < 1e-9, "{map}");
        assert_eq!(map, measure(Metric::MeanAp11, &scores, Targets::Presences(&presences), count));
    }
}

/// Clusters that overlap, one around a corner for each class.
fn clusters(count: usize, size: usize, classes: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut random = Random::new(seed, Stream::Drawing, 0, 0);
    let labels: Vec<u32> = (0..count).map(|_| random.below(classes as u64) as u32).collect();
    let value = |label: u32, feature: usize| if feature % classes == label as usize { 1.5 } else { 0.0 };
    let features = labels
        .iter()
        .flat_map(|&label| (0..size).map(|feature| value(label, feature) + random.normal()).collect::<Vec<f32>>())
        .collect();
    (features, labels)
}

fn samples<'a>(features: &'a [f32], labels: &'a [u32], size: usize) -> Samples<'a> {
    Samples { features, size, targets: Targets::Classes(labels) }
}

fn assert_same(a: &Logistic, b: &Logistic, tolerance: f64) {
    assert!((a.loss - b.loss).abs() < tolerance * a.loss.max(1.0), "{} {}", a.loss, b.loss);
    for (x, y) in a.weight.iter().zip(&b.weight) {
        assert!((x - y).abs() < tolerance, "{x} {y}");
    }
}

#[test]
fn a_constant_added_to_all_features_and_the_order_of_pictures_change_nothing() {
    let (features, labels) = clusters(300, 6, 3, 1);
    let fitted = fit(samples(&features, &labels, 6), 3, 0.3, &exact(), None).unwrap();
    // A power of two, so that few bits of the features are lost.
    let shifted: Vec<f32> = features.iter().map(|value| value + 64.0).collect();
    assert_same(&fitted, &fit(samples(&shifted, &labels, 6), 3, 0.3, &exact(), None).unwrap(), 1e-4);

    let mut order: Vec<usize> = (0..300).collect();
    Random::new(7, Stream::Drawing, 0, 0).shuffle(&mut order);
    let mixed: Vec<f32> = order.iter().flat_map(|&row| &features[row * 6..row * 6 + 6]).copied().collect();
    let mixed_labels: Vec<u32> = order.iter().map(|&row| labels[row]).collect();
    assert_same(&fitted, &fit(samples(&mixed, &mixed_labels, 6), 3, 0.3, &exact(), None).unwrap(), 1e-6);
}

/// The loss is summed over pictures: twice the pictures weigh as much against twice the penalty.
#[test]
fn every_picture_twice_and_twice_the_penalty_change_nothing() {
    let (features, labels) = clusters(200, 6, 3, 6);
    let (twice, twice_labels) = (features.repeat(2), labels.repeat(2));
    let presences: Vec<Presence> = labels
        .iter()
        .flat_map(|&label| [label == 0, label > 0])
        .map(|is_there| if is_there { Presence::Positive } else { Presence::Negative })
        .collect();
    let twice_presences = presences.repeat(2);
    let several = |features, presences| Samples { features, size: 6, targets: Targets::Presences(presences) };
    let cases = [
        (3, samples(&features, &labels, 6), samples(&twice, &twice_labels, 6)),
        (2, several(&features, &presences), several(&twice, &twice_presences)),
    ];
    for (classes, once, twice) in cases {
        let [once, twice] = [(once, 0.5), (twice, 1.0)].map(|(of, l2)| fit(of, classes, l2, &exact(), None).unwrap());
        assert!((twice.loss - 2.0 * once.loss).abs() < 1e-6, "{} {}", once.loss, twice.loss);
        for (x, y) in once.weight.iter().zip(&twice.weight) {
            assert!((x - y).abs() < 1e-5, "{x} {y}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (features, labels) = clusters(3000, 16, 5, 2);
    let fit_with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let fitted = fit(samples(&features, &labels, 16), 5, 0.3, &LogisticOptions::default(), None).unwrap();
            (fitted.scores(&features), fitted)
        })
    };
    assert_eq!(fit_with(1), fit_with(2));
}

#[test]
fn nothing_is_learned_from_constant_features_but_how_frequent_classes_are() {
    let labels = [0, 0, 0, 2];
    let fitted = fit(samples(&[3.0; 8], &labels, 2), 4, 1e-6, &exact(), None).unwrap();
    assert!(fitted.weight.iter().all(|weight| weight.abs() < 1e-9), "{fitted:?}");
    assert!((fitted.bias[0] - fitted.bias[2] - 3f64.ln()).abs() < 1e-6, "{fitted:?}");
    assert_eq!((fitted.bias[1], fitted.bias[3]), (f64::NEG_INFINITY, f64::NEG_INFINITY));
    assert_eq!(predictions(&fitted.scores(&[5.0, 5.0]), 4), [0]);
}

#[test]
fn separable_classes_with_almost_no_penalty_stay_finite() {
    let features: Vec<f32> = (0..40).map(|index| if index % 2 == 0 { 1e4 } else { -1e4 }).collect();
    let labels: Vec<u32> = (0..40).map(|index| index % 2).collect();
    for options in [LogisticOptions::default(), LogisticOptions { max_iterations: 2, ..Default::default() }] {
        for l2 in [1e-300, 1e-30, 1e-6, 1e5, 1e30] {
            let fitted = fit(samples(&features, &labels, 1), 2, l2, &options, None).unwrap();
            assert!(fitted.weight.iter().chain(&fitted.bias).all(|value| value.is_finite()), "{l2} {fitted:?}");
            assert!(fitted.loss.is_finite() && fitted.loss <= 40.0 * 2f64.ln() + 1e-9, "{l2} {fitted:?}");
            assert!(fitted.iterations <= options.max_iterations);
        }
    }
}

#[test]
fn a_single_class_and_classes_without_examples_are_certain() {
    let alone = fit(samples(&[1.0, 2.0, 3.0], &[1, 1, 1], 1), 2, 1e-3, &exact(), None).unwrap();
    assert_eq!(alone.loss, 0.0);
    assert_eq!(predictions(&alone.scores(&[0.0]), 2), [1]);

    use Presence::{Difficult, Negative, Positive};
    let presences = [Positive, Negative, Positive, Positive, Difficult, Negative];
    let targets = Targets::Presences(&presences);
    let fitted = fit(Samples { features: &[1.0, -1.0], size: 1, targets }, 3, 1e-2, &exact(), None).unwrap();
    assert_eq!(fitted.bias[0], f64::INFINITY, "always there");
    assert_eq!(fitted.bias[1], f64::NEG_INFINITY, "never seen");
    assert!(fitted.weight[2] > 0.1 && fitted.bias[2].is_finite());
    let nothing = Samples { features: &[1.0, -1.0], size: 1, targets: Targets::Presences(&[Positive, Difficult]) };
    assert_eq!(fit(nothing, 1, 1e-2, &exact(), None).unwrap().bias, [f64::INFINITY]);
    assert!(fitted.scores(&[0.0, 7.0]).iter().all(|score| !score.is_nan()));
}

#[test]
fn a_sweep_chooses_the_best_and_the_strongest_of_equals_and_trains_again_on_all() {
    let (features, labels) = clusters(200, 12, 3, 3);
    let (held_out, held_out_labels) = clusters(150, 12, 3, 4);
    let (train, validation) = (samples(&features, &labels, 12), samples(&held_out, &held_out_labels, 12));
    let options = LogisticOptions::default();
    let swept = sweep(train, validation, 3, Metric::Top1, &options).unwrap();
    assert_eq!(swept.by_l2.len(), 45);
    assert!(swept.by_l2.windows(2).all(|pair| pair[0].0 > pair[1].0), "strongest first");
    assert!((swept.by_l2[0].0 - 1e5).abs() < 1e-9 && (swept.by_l2[44].0 - 1e-6).abs() < 1e-18);
    let best = swept.by_l2.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let first_best = swept.by_l2.iter().find(|(_, value)| *value == best).unwrap().0;
    assert_eq!((swept.chosen, swept.best.l2), (first_best, first_best));
    // A start changes where the search begins, not where it ends.
    let cold = fit(train, 3, swept.chosen, &exact(), None).unwrap();
    assert_same(&cold, &fit(train, 3, swept.chosen, &exact(), Some(&swept.best)).unwrap(), 1e-6);

    let both = retrain(train, validation, 3, &swept, &exact()).unwrap();
    let (all, all_labels) = ([features.clone(), held_out.clone()].concat(), [labels, held_out_labels].concat());
    assert_same(&both, &fit(samples(&all, &all_labels, 12), 3, swept.chosen, &exact(), None).unwrap(), 1e-6);

    // Constant features: every strength is as good as the others.
    let constant = samples(&[1.0; 6], &[0, 0, 1, 0, 1, 0], 1);
    assert_eq!(sweep(constant, constant, 2, Metric::Top1, &options).unwrap().chosen, swept.by_l2[0].0);
}

#[test]
fn nonsense_is_refused_in_words() {
    let (features, labels) = clusters(20, 3, 2, 5);
    let good = samples(&features, &labels, 3);
    let options = LogisticOptions::default();
    let refused = |samples, classes, l2, options: &LogisticOptions| {
        let message = fit(samples, classes, l2, options, None).unwrap_err().to_string();
        assert!(message.starts_with("logistic regression: "), "{message}");
    };
    for l2 in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(good, 2, l2, &options);
    }
    refused(good, 2, 1.0, &LogisticOptions { max_iterations: 0, ..options.clone() });
    refused(good, 2, 1.0, &LogisticOptions { tolerance: 0.0, ..options.clone() });
    refused(good, 1, 1.0, &options);
    refused(good, 0, 1.0, &options);
    refused(samples(&features, &labels[1..], 3), 2, 1.0, &options);
    refused(samples(&features, &labels, 7), 2, 1.0, &options);
    refused(samples(&[], &[], 3), 2, 1.0, &options);
    refused(samples(&[f32::NAN], &[0], 1), 1, 1.0, &options);
    let fitted = fit(good, 2, 1.0, &options, None).unwrap();
    assert!(fit(samples(&features[..20], &labels[..10], 2), 2, 1.0, &options, Some(&fitted)).is_err());

    let presences = [Presence::Positive; 40];
    let several = Samples { targets: Targets::Presences(&presences), ..good };
    let swept = |train, validation, metric, options: &LogisticOptions| sweep(train, validation, 2, metric, options);
    assert!(swept(good, several, Metric::Top1, &options).is_err());
    assert!(swept(good, good, Metric::MeanAp11, &options).is_err());
    assert!(swept(several, several, Metric::MeanPerClass, &options).is_err());
    assert!(swept(good, good, Metric::Top1, &LogisticOptions { l2: vec![], ..options.clone() }).is_err());
    assert!(swept(good, good, Metric::Top1, &LogisticOptions { l2: vec![1.0, 0.0], ..options.clone() }).is_err());
    assert!(swept(good, good, Metric::MeanPerClass, &options).is_ok());
}
