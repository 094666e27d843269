//! What the networks are trained by, and what is watched of it.

use burn::tensor::Tensor;
use byol_nn::ops;
use serde::{Deserialize, Serialize};

/// What prediction and target are divided by before they are compared (paper Table 20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossNormalisation {
    /// `x / ‖x‖`: BYOL (paper eq. 2).
    #[default]
    L2,
    /// `(x − mean(x)) / √(var(x) + 1e-5) / √size`, mean and variance of each vector over its own values.
    LayerNorm,
    /// `(x − mean(x)) / √(var(x) + 1e-5) / √size`, mean and variance of each value over the batch.
    BatchNorm,
    /// `x`: nothing bounds the projections.
    None,
}

impl LossNormalisation {
    /// The vectors `x [batch, size]` as they are compared.
    pub fn apply(self, x: Tensor<2>) -> Tensor<2> {
        let [_, size] = x.dims();
        match self {
            Self::L2 => ops::l2_normalize(x),
            Self::LayerNorm => standardise(x, 1) / (size as f32).sqrt(),
            Self::BatchNorm => standardise(x, 0) / (size as f32).sqrt(),
            Self::None => x,
        }
    }
}

/// `(x − mean) / √(variance + 1e-5)` along one axis, the variance biased.
fn standardise(x: Tensor<2>, axis: usize) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(axis);
    let variance = centred.clone().square().mean_dim(axis);
    centred / variance.add_scalar(1e-5).sqrt()
}

/// `‖n(p) − n(z′)‖²`, mean over the batch; with `n(x) = x/‖x‖` it is `2 − 2·⟨p, z′⟩ / (‖p‖·‖z′‖)` (paper eq. 2).
pub fn regression_loss(prediction: Tensor<2>, target: Tensor<2>, normalisation: LossNormalisation) -> Tensor<1> {
    let difference = normalisation.apply(prediction) - normalisation.apply(target);
    difference.square().sum_dim(1).mean()
}

/// β > 0 and α of the loss with negatives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Negatives {
    pub weight: f32,
    pub temperature: f32,
}

/// The term that pushes a prediction away from every other picture of the batch (paper §5, InfoNCE with α and β):
/// `2α · mean_i ln( Σ_{j≠i} exp(S(v_i, v_j)/α) + Σ_j exp(S(v_i, v′_j)/α) )`, S the cosine of the prediction of `v_i` and
/// the target's projections of the same view, `own`, and of the other one, `other`; all `[batch, size]`.
///
/// [`regression_loss`] plus this times β is `2 − InfoNCE`, so that β = 0 is BYOL and β = 1 the loss of SimCLR
/// times 2α. The batch is a micro-batch where gradients are accumulated.
pub fn negatives(prediction: Tensor<2>, own: Tensor<2>, other: Tensor<2>, temperature: f32) -> Tensor<1> {
    let p = ops::l2_normalize(prediction) / temperature;
    let cosines = |target: Tensor<2>| ops::product(p.clone(), ops::l2_normalize(target).transpose());
    let [batch, _] = p.dims();
    // A picture is no negative of itself; −∞ would make NaN of its gradient.
    let itself = Tensor::<2>::eye(batch, &p.device().inner()) * -1e9;
    let similarities = Tensor::cat(vec![cosines(own) + itself, cosines(other)], 1);
    let largest = similarities.clone().detach().max_dim(1);
    let log_sum = (similarities - largest.clone()).exp().sum_dim(1).log() + largest;
    log_sum.mean() * (2.0 * temperature)
}

/// Mean over dimensions of the standard deviation over the batch of unit-length projections: 1/√size when they are
/// spread evenly, 0 when all are equal (collapse; spec §7.2).
pub fn projection_std(projection: Tensor<2>) -> Tensor<1> {
    ops::l2_normalize(projection).var_bias(0).sqrt().mean()
}

/// Mean cosine between the online projections of the two views, in `[−1, 1]`.
pub fn positive_cosine(z1: Tensor<2>, z2: Tensor<2>) -> Tensor<1> {
    (ops::l2_normalize(z1) * ops::l2_normalize(z2)).sum_dim(1).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn loss(normalisation: LossNormalisation) -> f32 {
        let device = Device::flex();
        let rows = |values: [f32; 6]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [3, 2]), &device);
        let (p, z) = (rows([3.0, 4.0, 1.0, 0.0, 0.0, 2.0]), rows([4.0, 3.0, 0.0, 5.0, 0.0, 1.0]));
        regression_loss(p, z, normalisation).into_scalar()
    }

    /// By hand. ℓ2: cosines 24/25, 0 and 1. None: squared distances 2, 26 and 1. Layer norm of two values is (−1, 1) or (1, −1) but
    /// for ε: rows (−, +)/(+, −), (+, −)/(−, +), equal: squared distances 2·2²/2 twice, and 0. Batch norm: columns of p are (3, 1, 0) of
    /// mean 4/3, variance 14/9 and (4, 0, 2) of mean 2, variance 8/3; of z (4, 0, 0) of mean 4/3, variance 32/9 and (3, 5, 1) of mean 3,
    /// variance 8/3.
    #[test]
    fn the_four_normalisations_give_the_values_of_their_formulas() {
        assert!((loss(LossNormalisation::L2) - (0.08 + 2.0 + 0.0) / 3.0).abs() < 1e-6);
        assert!((loss(LossNormalisation::None) - 29.0 / 3.0).abs() < 1e-5);
        assert!((loss(LossNormalisation::LayerNorm) - 8.0 / 3.0).abs() < 1e-3);
        let (sp, sq, sz) = ((14f32 / 9.0).sqrt(), (8f32 / 3.0).sqrt(), (32f32 / 9.0).sqrt());
        let squared = |a: f32, b: f32| (a - b).powi(2) / 2.0;
        let first = [3.0, 1.0, 0.0].map(|x: f32| (x - 4.0 / 3.0) / sp).into_iter();
        let first: f32 =
            first.zip([4.0, 0.0, 0.0].map(|x: f32| (x - 4.0 / 3.0) / sz)).map(|(a, b)| squared(a, b)).sum();
        let second = [4.0, 0.0, 2.0].map(|x: f32| (x - 2.0) / sq).into_iter();
        let second: f32 = second.zip([3.0, 5.0, 1.0].map(|x: f32| (x - 3.0) / sq)).map(|(a, b)| squared(a, b)).sum();
        assert!((loss(LossNormalisation::BatchNorm) - (first + second) / 3.0).abs() < 1e-4);
    }
}
