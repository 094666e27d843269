//! Transfer to other data sets by a linear classifier (paper D.2).
//!
//! Pictures are resized to the encoder's size, whole, without augmentation; a multinomial logistic regression on the frozen
//! representation is fitted by L-BFGS for 45 values of ℓ2 from 1e-6 to 1e5, the value is chosen on the validation part by the
//! data set's metric, then the classifier is fitted to training and validation part and tested once.

use std::path::Path;
use std::sync::Arc;

use byol_data::benchmarks::{Benchmark, BenchmarkParts, Metric};
use byol_data::{DataConfig, Dataset};
use byol_nn::Result;
use serde_json::json;

use super::edge::{self, Edge};
use super::features::Features;
use super::finetune::Parts;
use super::held_out::HeldOut;
use super::logistic::{self, LogisticOptions, Samples};
use super::progress::Countdown;
use super::record::Outcome;
use super::split::LabelledParts;
use super::truth::Truth;

impl Parts {
    /// The official parts of a benchmark at `root`, and what to call them.
    ///
    /// # Errors
    /// Data errors: a tree that is not complete or not as it should be.
    pub fn of_benchmark(benchmark: Benchmark, root: &Path, config: &DataConfig) -> Result<(Self, LabelledParts)> {
        let opened = benchmark.open(root, config)?;
        let sizes = opened.sizes();
        let description = format!(
            "{} in {}: {} training, {} validation, {} test pictures",
            benchmark.title(),
            root.display(),
            sizes.train,
            sizes.val,
            sizes.test
        );
        let all = Arc::new(opened.train_and_val());
        let BenchmarkParts { train, val, test, targets, .. } = opened;
        let parts = Self {
            train: Arc::new(train),
            validation: Arc::new(val),
            all: all.clone(),
            test: Arc::new(test),
            truth: targets.map_or(Truth::Labels, Truth::Presences),
            metric: benchmark.metric(),
            held_out: None,
        };
        let labelled = LabelledParts { train: all, test: parts.test.clone(), description };
        Ok((parts, labelled))
    }

    /// Any labelled pictures; `held_out` of the training part, class-balanced and the same for every seed, are for choosing.
    ///
    /// # Errors
    /// [`Error::Evaluation`](byol_nn::Error::Evaluation) for a picture without label, and when nothing would be left to learn from.
    pub fn of_labelled(parts: &LabelledParts, metric: Metric, held_out: HeldOut) -> Result<Self> {
        let (train, test) = (&parts.train, &parts.test);
        let all: Vec<u32> = (0..train.len() as u32).collect();
        let (validation, rest) = held_out.class_balanced(train, &all, 0)?;
        let part = |places: &[u32]| Arc::new(train.subset(places));
        Ok(Self {
            train: part(&rest),
            validation: part(&validation),
            all: train.clone(),
            test: test.clone(),
            truth: Truth::Labels,
            metric,
            held_out: Some(held_out),
        })
    }

    /// The parts whose representations [`evaluate`] takes, in its order.
    pub fn frozen(&self) -> [Arc<Dataset>; 3] {
        [self.train.clone(), self.validation.clone(), self.test.clone()]
    }
}

/// What fixes the numbers on `parts`, in words.
pub fn protocol(options: &LogisticOptions, parts: &Parts) -> String {
    let range = |pick: fn(f64, f64) -> f64, start: f64| options.l2.iter().copied().fold(start, pick);
    format!(
        "logistic regression on frozen representations before the projector, whole picture at the encoder's size, loss summed over \
         pictures, L-BFGS of at most {} steps, {} values of ℓ2 from {:.0e} to {:.0e} chosen by {} on {}, fitted again to {}, tested once",
        options.max_iterations,
        options.l2.len(),
        range(f64::min, f64::INFINITY),
        range(f64::max, 0.0),
        match parts.metric {
            Metric::Top1 => "top-1",
            Metric::MeanPerClass => "mean per class",
            Metric::MeanAp11 => "11-point mAP",
        },
        parts.chosen_on(),
        parts.at_last_on()
    )
}

/// Chooses ℓ2 on the validation part, fits to training and validation part, tests once; `features` are those of
/// [`Parts::frozen`], `row` names the outcome.
///
/// # Errors
/// [`Error::Evaluation`](byol_nn::Error::Evaluation) without labels or with options that make no sense.
pub fn evaluate(parts: &Parts, features: &[Features], options: &LogisticOptions, row: &str) -> Result<Outcome> {
    evaluate_watched(parts, features, options, row, &mut Countdown::silent())
}

/// As [`evaluate`]; `countdown` goes down by one for every value of ℓ2.
///
/// # Errors
/// As [`evaluate`], and [`Error::Interrupted`](byol_nn::Error::Interrupted).
pub fn evaluate_watched(
    parts: &Parts,
    features: &[Features],
    options: &LogisticOptions,
    row: &str,
    countdown: &mut Countdown,
) -> Result<Outcome> {
    let [train, validation, test] = features else { unreachable!("representations of three parts") };
    let known = |dataset: &Arc<Dataset>, features: &Features| parts.truth.of(dataset, &features.images);
    let (train_known, validation_known) = (known(&parts.train, train)?, known(&parts.validation, validation)?);
    let train_samples = Samples::new(train, train_known.targets());
    let validation_samples = Samples::new(validation, validation_known.targets());
    let classes = parts.truth.classes(&parts.test).len();
    let sweep = logistic::sweep_watched(train_samples, validation_samples, classes, parts.metric, options, countdown)?;
    let last = logistic::retrain(train_samples, validation_samples, classes, &sweep, options)?;
    let (numbers, confusion) = known(&parts.test, test)?.judge(&last.scores(&test.values), classes);
    let mut chosen = json!({"l2": sweep.chosen, "held_out": sweep.by_l2});
    edge::note(&mut chosen, [Edge::of("l2", sweep.chosen, &sweep.by_l2)]);
    Ok(Outcome { setting: row.to_owned(), numbers, chosen, confusion })
}
