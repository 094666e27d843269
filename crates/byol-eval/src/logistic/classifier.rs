//! What logistic regression gives.

use super::products::scores;

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
    /// The objective with its penalty, summed over pictures, and over classes where there are several per picture.
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
        scores(features, self.weight.len() / self.bias.len(), &self.weight, &self.bias)
    }
}
