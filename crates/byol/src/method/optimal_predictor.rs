//! The best linear predictor of a batch, in closed form (paper §5): BYOL without a target network of its own learns with it.

use burn::tensor::{Tensor, TensorData};
use byol_nn::ops;
use byol_nn::weights::to_vec;
use nalgebra::{DMatrix, DVector};

use super::loss::LossNormalisation;

/// Added to the diagonal, as a share of the diagonal's mean: a batch smaller than the projection has no unique best.
const RIDGE: f64 = 1e-4;

/// `z · W` with `W = argmin ‖z·W − n(z′)‖² + ridge·‖W‖²` over the batch, `ridge = 1e-4 · tr(zᵀz)/size`; all `[batch, size]`.
///
/// `W` is solved for before the loss is, and carries no gradient: the error goes through `z` alone. The paper gives neither the
/// ridge nor what is regressed on; here it is the target as the loss compares it.
pub fn optimal_prediction(z: Tensor<2>, target: &Tensor<2>, normalisation: LossNormalisation) -> Tensor<2> {
    let [batch, size] = z.dims();
    let columns = |x: Tensor<2>| {
        let values = to_vec(x.without_autodiff().reshape([batch * size]));
        // Row-major [batch, size] is column-major [size, batch].
        DMatrix::from_iterator(size, batch, values.into_iter().map(f64::from))
    };
    let (inputs, wanted) = (columns(z.clone()), columns(normalisation.apply(target.clone().without_autodiff())));
    let gram = &inputs * inputs.transpose();
    let ridge = (RIDGE * gram.trace() / size as f64).max(f64::MIN_POSITIVE);
    let regularised = gram + DMatrix::from_diagonal(&DVector::repeat(size, ridge));
    let cross = &inputs * wanted.transpose();
    // A matrix of projections that are NaN has no factors; the loss is NaN then, and the run says so.
    let weight = regularised.cholesky().map_or_else(|| cross.map(|_| f64::NAN), |factors| factors.solve(&cross));
    let row_major: Vec<f32> = weight.transpose().iter().map(|&value| value as f32).collect();
    let weight = Tensor::<2>::from_data(TensorData::new(row_major, [size, size]), &z.device().inner());
    let weight = if z.is_autodiff() { weight.autodiff() } else { weight };
    ops::product(z, weight)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use byol_data::{Random, Stream};

    use super::*;

    fn rows(seed: u64, batch: usize, size: usize) -> Tensor<2> {
        let mut random = Random::new(seed, Stream::Drawing, 0, 0);
        let values: Vec<f32> = (0..batch * size).map(|_| random.normal()).collect();
        Tensor::from_data(TensorData::new(values, [batch, size]), &Device::flex())
    }

    #[test]
    fn a_linear_relation_is_predicted_exactly() {
        let (z, map) = (rows(1, 40, 6), rows(2, 6, 6));
        let target = ops::product(z.clone(), map);
        let p = optimal_prediction(z, &target, LossNormalisation::None);
        let error = (p - target.clone()).square().mean().into_scalar::<f32>();
        assert!(error < 1e-5 * target.square().mean().into_scalar::<f32>(), "{error}");
    }

    /// At the minimum what is left over is orthogonal to every input, but for the ridge.
    #[test]
    fn the_residual_is_orthogonal_to_the_projections_and_the_map_carries_no_gradient() {
        let (z, target) = (rows(3, 64, 8), rows(4, 64, 8));
        let p = optimal_prediction(z.clone(), &target, LossNormalisation::L2);
        let residual = LossNormalisation::L2.apply(target.clone()) - p;
        let inner = ops::product(z.clone().transpose(), residual).abs().max().into_scalar::<f32>();
        assert!(inner < 1e-3, "{inner}");

        let traced = z.clone().autodiff().require_grad();
        let p = optimal_prediction(traced.clone(), &target, LossNormalisation::L2);
        let gradient = traced.grad(&p.sum().backward()).unwrap();
        // d sum(zW) / dz = the row sums of W, the same for every picture.
        let spread = (gradient.clone() - gradient.mean_dim(0)).abs().max().into_scalar::<f32>();
        assert!(spread < 1e-6, "{spread}");
    }

    #[test]
    fn fewer_pictures_than_values_have_an_answer() {
        let p = optimal_prediction(rows(5, 4, 16), &rows(6, 4, 16), LossNormalisation::L2);
        assert!(p.sum().into_scalar::<f32>().is_finite());
    }
}
