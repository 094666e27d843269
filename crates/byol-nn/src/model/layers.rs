//! Convolution, linear layer and batch norm as modules with torchvision's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};

use crate::ops::{self, Activation, ConvNorm, Precision};

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

    /// Multiply-adds for one square picture, padding included, and the side of the output.
    pub(super) fn multiply_adds(&self, size_px: usize) -> (u64, usize) {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let output = (size_px + 2 * self.padding - kernel) / self.stride + 1;
        ((output * output * outputs * inputs * kernel * kernel) as u64, output)
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

    /// `[batch, in]` → `[batch, out]`; see [`ops::linear`].
    pub fn forward(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val), precision)
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
pub(super) const EPSILON: f32 = 1e-5;

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

    /// Normalises `x [batch, channels]` and applies ReLU if asked; see [`ops::batch_norm`].
    pub fn forward(&mut self, x: Tensor<2>, relu: bool, mode: BatchNormMode) -> Tensor<2> {
        match mode {
            BatchNormMode::Batch { running_weight } => {
                let normalised = ops::batch_norm(x, self.weight.val(), self.bias.val(), relu, EPSILON);
                self.average(normalised.mean, normalised.variance, running_weight);
                normalised.output
            }
            BatchNormMode::Running => {
                let (scale, shift) = self.folded();
                let y = x * scale.unsqueeze() + shift.unsqueeze();
                if relu { activation::relu(y) } else { y }
            }
        }
    }

    /// Convolution, this norm, an optional residual, ReLU if asked; see [`ops::conv_norm`]. With running statistics the norm
    /// is folded into the convolution: `w′ = w · γ/√(var + ε)`, bias `β − mean · γ/√(var + ε)`; no gradient flows then.
    pub fn after(
        &mut self,
        conv: &Conv2d,
        x: &Activation,
        residual: Option<Tensor<4>>,
        relu: bool,
        mode: BatchNormMode,
    ) -> Activation {
        let options = ConvNorm { stride: conv.stride, padding: conv.padding, relu, epsilon: EPSILON };
        let weight = conv.weight.val();
        match mode {
            BatchNormMode::Batch { running_weight } => {
                let (gamma, beta) = (self.weight.val(), self.bias.val());
                let normalised = ops::conv_norm(x, weight, gamma, beta, residual, options);
                self.average(normalised.mean, normalised.variance, running_weight);
                normalised.output
            }
            BatchNormMode::Running => {
                let (scale, shift) = self.folded();
                let [outputs] = scale.dims();
                let weight = weight * scale.reshape([outputs, 1, 1, 1]);
                ops::conv_affine(x.values.clone(), weight, shift, residual, options).into()
            }
        }
    }

    /// `γ/√(var + ε)` and `β − mean · γ/√(var + ε)` of the running statistics.
    fn folded(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / self.running_var.val().add_scalar(EPSILON).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }

    fn average(&mut self, mean: Tensor<1>, variance: Tensor<1>, running_weight: f64) {
        average_into(&mut self.running_mean, mean, running_weight);
        average_into(&mut self.running_var, variance, running_weight);
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
        let y = norm.forward(x.clone(), false, BatchNormMode::Batch { running_weight: running_weight(0.9, 1) });
        let values: Vec<f32> = y.to_data().try_to_vec().unwrap();
        assert!((values[0] + 1.0).abs() < 1e-4 && (values[1] - 1.0).abs() < 1e-4, "{values:?}");
        norm.forward(x * 100.0, true, BatchNormMode::Running);
        assert_eq!(norm.running_mean.val().into_scalar::<f32>(), 2.0);
        assert_eq!(norm.running_var.val().into_scalar::<f32>(), 1.0);
    }
}
