//! What the heavy operations take besides tensors: the numbers of a layer, and how its backward pass gets its input again.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType};
use byol_kernels::Padding;

/// What is added after a batch norm and before its ReLU.
#[derive(Clone, Debug, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// The shortcut, of the output's shape.
    Shortcut(FloatTensor<B>),
}

/// How a layer gets its input again in the backward pass.
#[derive(Clone, Debug, ExtensionType)]
pub enum Source<B: Backend> {
    /// The input itself is kept.
    Kept(FloatTensor<B>),
    /// The input is `relu(batch_norm(z))` of the layer before, which keeps `z` anyway: cheaper to compute again than to keep.
    Normalised(#[extension_type] Normalised<B>),
}

/// What a batch norm by batch statistics and a ReLU were computed from.
#[derive(Clone, Debug, ExtensionType)]
pub struct Normalised<B: Backend> {
    /// Input of the norm.
    pub z: FloatTensor<B>,
    /// Mean of each channel.
    pub mean: FloatTensor<B>,
    /// Biased variance of each channel.
    pub variance: FloatTensor<B>,
    /// Learned scale γ.
    pub gamma: FloatTensor<B>,
    /// Learned offset β.
    pub beta: FloatTensor<B>,
}

/// The plain numbers of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Step of the window in pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

/// The plain numbers of a convolution with its batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv,
    /// Whether a ReLU ends the layer.
    pub relu: bool,
    /// Added to the variance before the square root.
    pub epsilon: f32,
}
