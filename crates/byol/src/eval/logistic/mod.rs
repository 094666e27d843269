//! Multinomial logistic regression on frozen representations by L-BFGS, for transfer (paper D.2).
//!
//! The objective for n pictures with representation x and class y is
//!
//! `1/n · Σ_i −log softmax(W x_i + b)[y_i] + λ/2 · ‖W‖²`;
//!
//! the bias is not penalised. scikit-learn's `LogisticRegression` minimises `n · C` times that with `C = 1 / (λ n)`, so its
//! minimum is the same; only for two classes it has one vector of weights instead of two, and `C = 2 / (λ n)` is the same. Data
//! with several classes per picture (VOC2007) take one binary regression per class instead, all with the same λ:
//! `Σ_c (1/n_c · Σ_i −log p(y_ic | x_i) + λ/2 · ‖w_c‖²)` over the `n_c` pictures that are not difficult for class c.
//!
//! The paper sweeps 45 values of "the ℓ2 regularisation parameter" between 1e-6 and 1e5 without its objective; this is the usual one
//! with a mean over pictures. It does not say that representations are standardised, and neither do those it follows
//! (Kornblith et al. 2019; SimCLR, appendix B.8), so they are taken as they are.
//!
//! All arithmetic is f64 and summed in an order that depends on shapes alone: the number of threads changes no bit.

mod lbfgs;
mod objective;
mod sweep;

pub use sweep::{Sweep, retrain, sweep};

use self::objective::Objective;
use super::features::Features;
use super::metrics::Targets;
use crate::error::{Error, Result};

/// What may be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticOptions {
    /// Values of λ to choose from, above 0, in any order.
    pub l2: Vec<f64>,
    /// Steps of L-BFGS per value, at least 1. Where classes can be separated and λ is tiny, this is what ends it.
    pub max_iterations: usize,
    /// L-BFGS stops when the gradient's norm is at most this times the loss, or times 1 above a loss of 1; above 0. The norm is
    /// taken in coordinates in which the curvature at `W = 0` is about 1, so that the scale of features does not matter.
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

/// A trained classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// `[classes, size]`, row-major.
    pub weight: Vec<f64>,
    /// `[classes]`. −∞ for a class without training pictures, which is thus never preferred; +∞ for one of several per picture
    /// that every training picture shows. Their weights are 0.
    pub bias: Vec<f64>,
    /// λ.
    pub l2: f64,
    /// The objective with its penalty; summed over classes where there are several per picture.
    pub loss: f64,
    /// Steps of L-BFGS.
    pub iterations: usize,
    /// Whether the tolerance was reached.
    pub converged: bool,
}

impl Logistic {
    /// `W x + b`, `[pictures, classes]`, of features `[pictures, size]`: log-probabilities up to a constant per picture, or log-odds
    /// where there are several classes per picture.
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        objective::scores(features, self.weight.len() / self.bias.len(), &self.weight, &self.bias)
    }
}

/// Minimises the objective for one `l2`, from `start` if there is one, else from nothing.
///
/// # Errors
/// [`Error::Evaluation`] for options, features or targets that make no sense.
pub fn fit(
    samples: Samples,
    classes: usize,
    l2: f64,
    options: &LogisticOptions,
    start: Option<&Logistic>,
) -> Result<Logistic> {
    check_options(options)?;
    check_l2(l2)?;
    check_samples(samples, classes, "training")?;
    if let Some(start) =
        start.filter(|start| start.weight.len() != classes * samples.size || start.bias.len() != classes)
    {
        return wrong(format!(
            "expected a start of {classes} classes × {} features, got {} weights for {} classes",
            samples.size,
            start.weight.len(),
            start.bias.len()
        ));
    }
    Ok(fit_checked(&mut Objective::new(samples, classes), l2, options, start))
}

fn fit_checked(objective: &mut Objective, l2: f64, options: &LogisticOptions, start: Option<&Logistic>) -> Logistic {
    objective.set_l2(l2);
    let start = objective.coordinates(start);
    let minimum = lbfgs::minimise(|point| objective.evaluate(point), start, options.max_iterations, options.tolerance);
    let (weight, bias) = objective.classifier(&minimum.point);
    Logistic { weight, bias, l2, loss: minimum.value, iterations: minimum.iterations, converged: minimum.converged }
}

fn wrong<T>(message: String) -> Result<T> {
    Err(Error::Evaluation(format!("logistic regression: {message}")))
}

fn check_l2(l2: f64) -> Result<()> {
    if l2 > 0.0 && l2.is_finite() { Ok(()) } else { wrong(format!("expected an ℓ2 strength above 0, got {l2}")) }
}

fn check_options(options: &LogisticOptions) -> Result<()> {
    let LogisticOptions { max_iterations, tolerance, .. } = *options;
    if max_iterations == 0 || !(tolerance > 0.0 && tolerance.is_finite()) {
        return wrong(format!(
            "expected at least 1 iteration and a tolerance above 0, got {max_iterations} and {tolerance}"
        ));
    }
    Ok(())
}

fn check_samples(samples: Samples, classes: usize, part: &str) -> Result<()> {
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
