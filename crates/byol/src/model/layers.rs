//! Convolution, linear layer and batch norm as modules with torchvision's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::ops;

/// Which statistics batch norm uses; always said aloud by the caller (spec §1.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchNormMode {
    /// Normalise by the statistics of this batch and fold them into the running averages:
    /// `average ← average + weight · (batch − average)`, see [`running_weight`].
    Batch {
        /// Weight of this batch in the running averages.
        running_weight: f64,
    },
    /// Normalise by the running averages, which do not move. For evaluation.
    Running,
}

/// Weight of the `pass`-th training pass (from 1) in a debiased running average: `(1 − decay) / (1 − decay^pass)`.
///
/// With it the stored average equals Haiku's zero-initialised average divided by `1 − decay^pass`
/// (`moving_averages.py`), and a first evaluation after few steps is sound.
pub fn running_weight(decay: f64, pass: u64) -> f64 {
    (1.0 - decay) / (1.0 - decay.powf(pass as f64))
}

/// Convolution without bias; weight `[out, in, kernel, kernel]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    pub(crate) weight: Param<Tensor<4>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A convolution with zero weights and "same" padding `⌊kernel/2⌋`; [`super::initialize`] fills the weights.
    pub fn new(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([outputs, inputs, kernel, kernel], device));
        Self { weight, stride, padding: kernel / 2 }
    }

    /// `[batch, height, width, in]` → `[batch, height / stride, width / stride, out]` (rounded up).
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::conv2d(x, self.weight.val(), self.stride, self.padding)
    }
}

/// Affine map; weight `[out, in]`, optional bias `[out]`.
#[derive(Module, Debug)]
pub struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer with zero weights and bias; [`super::initialize`] fills the weights.
    pub fn new(inputs: usize, outputs: usize, with_bias: bool, device: &Device) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([outputs, inputs], device));
        let bias = with_bias.then(|| Param::from_tensor(Tensor::zeros([outputs], device)));
        Self { weight, bias }
    }

    /// `[batch, in]` → `[batch, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// Batch norm over the last axis with learned scale and offset; ε = 1e-5 (`configs/byol.py`).
#[derive(Module, Debug)]
pub struct BatchNorm {
    pub(crate) weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

/// Added to the variance before the square root.
const EPSILON: f32 = 1e-5;

impl BatchNorm {
    /// Scale 1, offset 0, running mean 0, running variance 1.
    pub fn new(channels: usize, device: &Device) -> Self {
        let buffer = |value: f32| {
            Param::from_tensor(Tensor::full([channels], value, &device.clone().inner())).set_require_grad(false)
        };
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            running_mean: buffer(0.0),
            running_var: buffer(1.0),
        }
    }

    /// Normalises, adds `residual` if there is one, applies ReLU if asked; see [`ops::batch_norm`].
    pub fn forward<const D: usize>(
        &mut self,
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
        relu: bool,
        mode: BatchNormMode,
    ) -> Tensor<D> {
        let (gamma, beta) = (self.weight.val(), self.bias.val());
        match mode {
            BatchNormMode::Batch { running_weight } => {
                let normalised = ops::batch_norm(x, gamma, beta, residual, relu, EPSILON);
                average_into(&mut self.running_mean, normalised.mean, running_weight);
                average_into(&mut self.running_var, normalised.variance, running_weight);
                normalised.output
            }
            BatchNormMode::Running => {
                let (mean, variance) = (self.running_mean.val(), self.running_var.val());
                ops::batch_norm_with_statistics(x, gamma, beta, mean, variance, residual, relu, EPSILON)
            }
        }
    }
}

fn average_into(average: &mut Param<Tensor<1>>, batch: Tensor<1>, weight: f64) {
    *average = average.clone().map(|average| average.clone() + (batch - average).mul_scalar(weight));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_average_is_haikus_debiased_one() {
        let (decay, batches) = (0.9, [3.0, -1.0, 4.0, 10.0]);
        let (mut hidden, mut stored) = (0.0, 0.0);
        for (pass, batch) in (1..).zip(batches) {
            hidden = decay * hidden + (1.0 - decay) * batch;
            stored += running_weight(decay, pass) * (batch - stored);
            assert!((stored - hidden / (1.0 - decay.powf(pass as f64))).abs() < 1e-12);
        }
    }

    #[test]
    fn batch_mode_normalises_and_running_mode_leaves_the_averages_alone() {
        let device = Device::flex();
        let mut norm = BatchNorm::new(1, &device);
        let x = Tensor::<2>::from_floats([[1.0], [3.0]], &device);
        let y = norm.forward(x.clone(), None, false, BatchNormMode::Batch { running_weight: running_weight(0.9, 1) });
        let values: Vec<f32> = y.to_data().try_to_vec().unwrap();
        assert!((values[0] + 1.0).abs() < 1e-4 && (values[1] - 1.0).abs() < 1e-4, "{values:?}");
        norm.forward(x * 100.0, None, true, BatchNormMode::Running);
        assert_eq!(norm.running_mean.val().into_scalar::<f32>(), 2.0);
        assert_eq!(norm.running_var.val().into_scalar::<f32>(), 1.0);
    }
}
