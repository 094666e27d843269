//! The heavy operations as a backend extension: forward passes and their hand-derived gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, backend_extension};

use super::composed;

/// What is added after a batch norm and before its ReLU.
#[derive(Clone, Debug, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// The shortcut, of the output's shape.
    Shortcut(FloatTensor<B>),
}

/// Heavy operations on channels-last activations. Default bodies are composed of Burn's own
/// operations, so every backend has them.
///
/// Gradients are methods of their own because `Autodiff` calls them on the backend it wraps.
#[backend_extension(Flex, Autodiff)]
pub trait VisionOps: Backend {
    /// Convolution of `x [n, h, w, in]` with `weight [out, in, kh, kw]` → `[n, h', w', out]`.
    fn conv2d_nhwc(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        composed::conv2d::<Self>(x, weight, stride, padding)
    }

    /// Gradient of [`VisionOps::conv2d_nhwc`] with respect to `x`, given that of its output.
    fn conv2d_nhwc_input_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        composed::conv2d_input_gradient::<Self>(x, weight, output_gradient, stride, padding)
    }

    /// Gradient of [`VisionOps::conv2d_nhwc`] with respect to `weight`, given that of its output.
    fn conv2d_nhwc_weight_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        composed::conv2d_weight_gradient::<Self>(x, weight, output_gradient, stride, padding)
    }

    /// Batch normalisation over all axes but the last, with optional residual and ReLU; see [`super::batch_norm`].
    /// Returns the output, the batch mean and the biased batch variance.
    fn batch_norm_nhwc(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::batch_norm::<Self>(x, gamma, beta, residual, relu, epsilon)
    }

    /// Gradients of [`VisionOps::batch_norm_nhwc`] with respect to `x`, `gamma`, `beta` and the residual.
    ///
    /// `output` is what the forward pass returned: where a ReLU cut it to zero, no gradient flows. Without
    /// `wants_residual` the last gradient has no meaning.
    #[allow(clippy::too_many_arguments, reason = "one per symbol; the lint sees only what the macro generates")]
    fn batch_norm_nhwc_gradient(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        relu: bool,
        wants_residual: bool,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = wants_residual; // here it costs nothing
        composed::batch_norm_gradient::<Self>(x, gamma, mean, variance, output, output_gradient, relu, epsilon)
    }
}
