//! What is to be solved, and whether it makes sense.

use byol_nn::{Error, Result};

use crate::features::Features;
use crate::metrics::Targets;

/// What may be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticOptions {
    /// Values of λ to choose from, above 0, in any order.
    pub l2: Vec<f64>,
    /// Steps of L-BFGS per value, at least 1. Where classes can be separated and λ is tiny, this is what ends it.
    pub max_iterations: usize,
    /// L-BFGS stops when the gradient's norm is at most this times the loss, or times 1 above a loss of 1, both per picture; above 0.
    /// The norm is taken in coordinates in which the curvature at `W = 0` is about 1, so that the scale of features does not matter.
    pub tolerance: f64,
}

impl Default for LogisticOptions {
    /// The paper's 45 values (D.2).
    fn default() -> Self {
        let l2 = (0..45).map(|step| 10f64.powf(-6.0 + 11.0 * f64::from(step) / 44.0)).collect();
        Self { l2, max_iterations: 1000, tolerance: 1e-4 }
    }
}

/// Pictures to learn from or to choose by.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// `[pictures, size]`, row-major.
    pub features: &'a [f32],
    /// Size of one representation.
    pub size: usize,
    /// The truth about each.
    pub targets: Targets<'a>,
}

impl<'a> Samples<'a> {
    /// Representations with their targets, in the same order.
    pub fn new(features: &'a Features, targets: Targets<'a>) -> Self {
        Self { features: &features.values, size: features.size, targets }
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.features.len() / self.size.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(super) fn wrong<T>(message: String) -> Result<T> {
    Err(Error::Evaluation(format!("logistic regression: {message}")))
}

pub(super) fn check_l2(l2: f64) -> Result<()> {
    if l2 > 0.0 && l2.is_finite() { Ok(()) } else { wrong(format!("expected an ℓ2 strength above 0, got {l2}")) }
}

pub(super) fn check_options(options: &LogisticOptions) -> Result<()> {
    let LogisticOptions { max_iterations, tolerance, .. } = *options;
    if max_iterations == 0 || !(tolerance > 0.0 && tolerance.is_finite()) {
        return wrong(format!(
            "expected at least 1 iteration and a tolerance above 0, got {max_iterations} and {tolerance}"
        ));
    }
    Ok(())
}

pub(super) fn check_samples(samples: Samples, classes: usize, part: &str) -> Result<()> {
    let pictures = samples.len();
    if pictures == 0 || classes == 0 || samples.features.len() != pictures * samples.size {
        return wrong(format!(
            "expected {part} pictures with features and classes, got {} values in rows of {} and {classes} classes",
            samples.features.len(),
            samples.size
        ));
    }
    let (targets, expected) = match samples.targets {
        Targets::Classes(labels) => (labels.len(), pictures),
        Targets::Presences(presences) => (presences.len(), pictures * classes),
    };
    if targets != expected {
        return wrong(format!("expected {expected} targets for {pictures} {part} pictures, got {targets}"));
    }
    if let Targets::Classes(labels) = samples.targets
        && let Some(label) = labels.iter().find(|&&label| label as usize >= classes)
    {
        return wrong(format!("expected classes 0 to {}, got {label} among the {part} pictures", classes - 1));
    }
    if let Some(at) = samples.features.iter().position(|value| !value.is_finite()) {
        return wrong(format!(
            "the representation of {part} picture {} has a value that is not finite; the encoder's weights are broken",
            at / samples.size
        ));
    }
    Ok(())
}
