//! The choice of λ on validation pictures.

use byol_nn::Result;

use super::classifier::Logistic;
use super::fit::{fit, fit_checked};
use super::objective::Objective;
use super::problem::{LogisticOptions, Samples, check_l2, check_options, check_samples, wrong};
use crate::metrics::{Metric, Presence, Targets, fits, measure};
use crate::progress::Countdown;

/// What a sweep found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The λ whose classifier is best on the validation pictures, the strongest of equals.
    pub chosen: f64,
    /// Each λ, strongest first, with the metric on the validation pictures in percent.
    pub by_l2: Vec<(f64, f64)>,
    /// The classifier of the chosen λ, trained on the training pictures only.
    pub best: Logistic,
}

/// Trains on `train` with each λ of the options, strongest first and each from the one before, and chooses by `metric` on
/// `validation`.
///
/// # Errors
/// [`Error::Evaluation`](byol_nn::Error::Evaluation) for options, features or targets that make no sense.
pub fn sweep(
    train: Samples,
    validation: Samples,
    classes: usize,
    metric: Metric,
    options: &LogisticOptions,
) -> Result<Sweep> {
    sweep_watched(train, validation, classes, metric, options, &mut Countdown::silent())
}

/// As [`sweep`]; `countdown` goes down by one for every λ.
///
/// # Errors
/// As [`sweep`], and [`Error::Interrupted`](byol_nn::Error::Interrupted).
pub fn sweep_watched(
    train: Samples,
    validation: Samples,
    classes: usize,
    metric: Metric,
    options: &LogisticOptions,
    countdown: &mut Countdown,
) -> Result<Sweep> {
    check_options(options)?;
    options.l2.iter().try_for_each(|&l2| check_l2(l2))?;
    check_samples(train, classes, "training")?;
    check_samples(validation, classes, "validation")?;
    check_together(train, validation)?;
    if !fits(metric, train.targets) {
        return wrong(format!("expected a metric for targets of this kind, got {metric:?}"));
    }
    let mut strengths = options.l2.clone();
    strengths.sort_unstable_by(|a, b| b.total_cmp(a));

    let mut objective = Objective::new(train, classes);
    let mut by_l2: Vec<(f64, f64)> = Vec::with_capacity(strengths.len());
    let mut best: Option<(f64, Logistic)> = None;
    let mut last: Option<Logistic> = None;
    for l2 in strengths {
        let fitted = fit_checked(&mut objective, l2, options, last.as_ref());
        let value = measure(metric, &fitted.scores(validation.features), validation.targets, classes);
        by_l2.push((l2, value));
        // Strictly better, or a tie would go to the weaker one.
        if best.as_ref().is_none_or(|(highest, _)| value > *highest) {
            best = Some((value, fitted.clone()));
        }
        last = Some(fitted);
        countdown.advance(1)?;
    }
    match best {
        Some((_, best)) => Ok(Sweep { chosen: best.l2, by_l2, best }),
        None => wrong("expected at least one ℓ2 strength to choose from, got none".to_owned()),
    }
}

/// Trains on `train` and `validation` together with the λ a sweep over them has chosen.
///
/// # Errors
/// As for [`sweep`].
pub fn retrain(
    train: Samples,
    validation: Samples,
    classes: usize,
    sweep: &Sweep,
    options: &LogisticOptions,
) -> Result<Logistic> {
    check_together(train, validation)?;
    let features = [train.features, validation.features].concat();
    let (labels, presences): (Vec<u32>, Vec<Presence>);
    let targets = match (train.targets, validation.targets) {
        (Targets::Classes(first), Targets::Classes(second)) => {
            labels = [first, second].concat();
            Targets::Classes(&labels)
        }
        (Targets::Presences(first), Targets::Presences(second)) => {
            presences = [first, second].concat();
            Targets::Presences(&presences)
        }
        _ => return wrong_kinds(),
    };
    let both = Samples { features: &features, size: train.size, targets };
    fit(both, classes, sweep.chosen, options, Some(&sweep.best))
}

fn check_together(train: Samples, validation: Samples) -> Result<()> {
    if train.size != validation.size {
        let (train, validation) = (train.size, validation.size);
        return wrong(format!(
            "expected one size of features, got {train} for training and {validation} for validation"
        ));
    }
    match (train.targets, validation.targets) {
        (Targets::Classes(_), Targets::Classes(_)) | (Targets::Presences(_), Targets::Presences(_)) => Ok(()),
        _ => wrong_kinds(),
    }
}

fn wrong_kinds<T>() -> Result<T> {
    wrong("expected targets of one kind, got one class per picture in one part and several in the other".to_owned())
}
