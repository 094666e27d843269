//! What the heavy operations take besides tensors: the numbers of a layer, and how its backward pass gets its input again.

use std::sync::Arc;
#[cfg(feature = "gpu")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType};
use byol_kernels::{KeptWeight, Padding};

/// What is added after a batch norm and before its ReLU.
#[derive(Clone, Debug, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// The shortcut, of the output's shape.
    Shortcut(FloatTensor<B>),
}

/// The gradient of an activation so far, while not all that it went into have given theirs.
#[derive(Clone, Debug, ExtensionType)]
pub enum SoFar<B: Backend> {
    /// None has.
    Nothing,
    /// The sum of those that have; the next is added to it.
    Sum(FloatTensor<B>),
}

/// Whether the backward pass has a gradient of an activation already. Burn's store of gradients cannot be asked, and adds two of them
/// on one core; who knows that there is one takes it out and adds its own in the kernel that makes it.
#[derive(Clone, Debug, Default)]
pub struct GradientMark(Option<Arc<AtomicBool>>);

impl GradientMark {
    /// For the output of an operation. The default is for leaves, whose gradients stay in the store.
    pub fn of_an_operation() -> Self {
        Self(Some(Arc::default()))
    }

    /// Marks that there is one and says whether there was.
    pub fn set(&self) -> bool {
        self.0.as_ref().is_some_and(|mark| mark.swap(true, Ordering::Relaxed))
    }
}

/// The marks of what a layer takes.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Of the input.
    pub x: GradientMark,
    /// Of the shortcut.
    pub shortcut: GradientMark,
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

/// A weight as a device wants it, made by the first pass and kept for the others: for inference, where weights stay as they are.
#[derive(Debug, Default)]
pub struct Kept {
    /// On the processor.
    pub on_processor: KeptWeight,
    /// On a graphics card.
    #[cfg(feature = "gpu")]
    pub on_card: OnceLock<byol_cube::PackedWeight>,
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
