//! The heavy operations as a backend extension: forward passes and their hand-derived gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions;

const NHWC_TO_NCHW: [usize; 4] = [0, 3, 1, 2];
const NCHW_TO_NHWC: [usize; 4] = [0, 2, 3, 1];

/// What is added after a batch norm and before its ReLU.
#[derive(Clone, Debug, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// The shortcut, of the output's shape.
    Shortcut(FloatTensor<B>),
}

/// Heavy operations on channels-last activations. Default bodies are Burn's own operations, so every backend has them.
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
        let x = Self::float_permute(x, &NHWC_TO_NCHW);
        Self::float_permute(Self::conv2d(x, weight, None, conv_options(stride, padding)), &NCHW_TO_NHWC)
    }

    /// Gradient of [`VisionOps::conv2d_nhwc`] with respect to `x`, given that of its output.
    fn conv2d_nhwc_input_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let x = Self::float_permute(x, &NHWC_TO_NCHW);
        let output_gradient = Self::float_permute(output_gradient, &NHWC_TO_NCHW);
        let gradient = Self::conv2d_x_backward(x, weight, output_gradient, conv_options(stride, padding));
        Self::float_permute(gradient, &NCHW_TO_NHWC)
    }

    /// Gradient of [`VisionOps::conv2d_nhwc`] with respect to `weight`, given that of its output.
    fn conv2d_nhwc_weight_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let x = Self::float_permute(x, &NHWC_TO_NCHW);
        let output_gradient = Self::float_permute(output_gradient, &NHWC_TO_NCHW);
        Self::conv2d_weight_backward(x, weight, output_gradient, conv_options(stride, padding))
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
        let shape = x.shape();
        let normalised = Self::batch_norm_train(flatten::<Self>(x), gamma, beta, f64::from(epsilon));
        let mut output = Self::float_reshape(normalised.output, shape);
        if let Residual::Shortcut(residual) = residual {
            output = Self::float_add(output, residual);
        }
        let output = if relu { Self::relu(output) } else { output };
        (output, normalised.mean, normalised.variance)
    }

    /// Gradients of [`VisionOps::batch_norm_nhwc`] with respect to `x`, `gamma`, `beta` and the residual.
    ///
    /// `output` is what the forward pass returned: where a ReLU cut it to zero, no gradient flows. Without
    /// `wants_residual` the last gradient has no meaning.
    #[allow(clippy::too_many_arguments)]
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
        let shape = x.shape();
        let gradient = if relu { Self::relu_backward(output, output_gradient) } else { output_gradient };
        let flat = flatten::<Self>(gradient.clone());
        let gradients =
            Self::batch_norm_train_backward(flatten::<Self>(x), gamma, mean, variance, f64::from(epsilon), flat);
        let x_gradient = Self::float_reshape(gradients.x_grad, shape);
        (x_gradient, gradients.gamma_grad, gradients.beta_grad, gradient)
    }
}

fn conv_options(stride: usize, padding: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1)
}

/// `[…, channels]` → `[positions, channels]`.
fn flatten<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let channels = shape[shape.num_dims() - 1];
    B::float_reshape(x, Shape::new([shape.num_elements() / channels, channels]))
}
