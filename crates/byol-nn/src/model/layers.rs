//! Convolution and linear layer as modules with torchvision's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::arch::PaddingKind;
use crate::ops::{self, Conv, Precision};

/// Convolution without bias; weight `[out, in, kernel, kernel]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    pub(super) weight: Param<Tensor<4>>,
    #[module(skip)]
    pub(super) options: Conv,
}

impl Conv2d {
    /// A convolution with zero weights; [`super::initialize`] fills the weights.
    pub fn new(
        inputs: usize,
        outputs: usize,
        [kernel, stride]: [usize; 2],
        padding: PaddingKind,
        device: &Device,
    ) -> Self {
        let weight = Param::from_tensor(Tensor::zeros([outputs, inputs, kernel, kernel], device));
        Self { weight, options: Conv { stride, padding: padding.of(kernel) } }
    }

    /// Multiply-adds for one square picture, padding included, and the side of the output.
    pub(super) fn multiply_adds(&self, size_px: usize) -> (u64, usize) {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let output = self.options.padding.output_size(size_px, kernel, self.options.stride);
        ((output * output * outputs * inputs * kernel * kernel) as u64, output)
    }
}

/// Affine map; weight `[out, in]`, optional bias `[out]`.
#[derive(Module, Debug)]
pub struct Linear {
    pub(super) weight: Param<Tensor<2>>,
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
