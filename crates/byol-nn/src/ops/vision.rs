//! The heavy operations as a backend extension: forward passes and their hand-derived gradients.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use byol_kernels::Padding;

use super::composed;
use super::layer::{Conv, ConvNorm, Kept, Marks, Normalised, Residual, SoFar, Source};
use super::precision::Precision;
use crate::dist::Across;

/// Backends that take statistics over other processes do so in bodies of their own; whoever chooses the device sees to it that this
/// one is not asked.
pub(super) fn only_here(across: Option<Across>) {
    assert!(across.is_none(), "batch statistics over several ranks are computed on the processor");
}

/// Heavy operations on channels-last activations. Default bodies are composed of Burn's own
/// operations, so every backend has them.
///
/// Activations are `f32` or `bf16`, everything else is `f32`. Gradients are methods of their own because `Autodiff` calls
/// them on the backend it wraps.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub trait VisionOps: Backend {
    /// Convolution, batch norm by batch statistics, optional residual, optional ReLU; see [`super::conv_norm`].
    ///
    /// Returns the output, the convolution's output `z` (meaningful only if `keep`), mean and biased variance of `z`.
    /// `source` says how `x` is had again in the backward pass; `across` whose pictures the statistics are of, if not these alone;
    /// `marks` belong to what is taken.
    #[allow(clippy::too_many_arguments, reason = "one per symbol; the lint sees only what the macro generates")]
    fn conv_norm(
        x: FloatTensor<Self>,
        #[extension_type] source: Source<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        options: ConvNorm,
        across: Option<Across>,
        keep: bool,
        marks: Marks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (source, keep, marks); // nothing is computed again or saved here, nor are there gradients
        only_here(across);
        composed::conv_norm::<Self>(x, weight, gamma, beta, residual, options)
    }

    /// Gradients of [`VisionOps::conv_norm`] with respect to `x` (meaningful only if `wants_x`; added to `so_far`), `weight`, `gamma`,
    /// `beta` and the residual (meaningful only if `output` is the forward pass's output, as it is with a residual).
    #[allow(clippy::too_many_arguments, reason = "one per symbol; the lint sees only what the macro generates")]
    #[allow(clippy::type_complexity, reason = "one gradient per argument, in their order")]
    fn conv_norm_gradient(
        #[extension_type] source: Source<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] norm: Normalised<Self>,
        #[extension_type] output: Residual<Self>,
        output_gradient: FloatTensor<Self>,
        options: ConvNorm,
        across: Option<Across>,
        wants_x: bool,
        #[extension_type] so_far: SoFar<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = wants_x; // costs one operation that nobody reads
        only_here(across);
        composed::conv_norm_gradient::<Self>(source, weight, norm, output, output_gradient, options, so_far)
    }

    /// Convolution alone; see [`super::conv2d`].
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, options: Conv) -> FloatTensor<Self> {
        composed::conv2d::<Self>(x, weight, options)
    }

    /// Gradients of [`VisionOps::conv`] with respect to `x` (meaningful only if `wants_x`) and `weight`.
    fn conv_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        options: Conv,
        wants_x: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let _ = wants_x; // costs one operation that nobody reads
        composed::conv2d_gradient::<Self>(x, weight, output_gradient, options)
    }

    /// `relu?(conv(x, weight) + bias + residual?)`, for inference with the norm folded into weight and bias. No gradient. `kept` belongs to
    /// `weight` and the type of `x`.
    fn conv_affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        options: ConvNorm,
        kept: Arc<Kept>,
    ) -> FloatTensor<Self> {
        let _ = kept; // nothing is packed here
        composed::conv_affine::<Self>(x, weight, bias, residual, options)
    }

    /// `x · weightᵀ` of `x [n, in]` and `weight [out, in]`, operands rounded to `precision`, result in `f32`.
    fn dense(x: FloatTensor<Self>, weight: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        composed::linear::<Self>(x, weight, precision)
    }

    /// Gradients of [`VisionOps::dense`] with respect to `x` and `weight`.
    fn dense_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::linear_gradient::<Self>(x, weight, output_gradient, precision)
    }

    /// Batch normalisation of `x [n, channels]` by batch statistics with optional ReLU; see [`super::batch_norm`].
    /// Returns the output, the batch mean and the biased batch variance.
    fn batch_norm_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        only_here(across);
        composed::batch_norm::<Self>(x, gamma, beta, Residual::None, relu, epsilon)
    }

    /// Gradients of [`VisionOps::batch_norm_rows`] with respect to `x`, `gamma` and `beta`.
    fn batch_norm_rows_gradient(
        #[extension_type] norm: Normalised<Self>,
        output_gradient: FloatTensor<Self>,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        only_here(across);
        let (x, gamma, beta, _) =
            composed::batch_norm_gradient::<Self>(norm, Residual::None, output_gradient, relu, epsilon);
        (x, gamma, beta)
    }

    /// Max pooling 3×3 with stride 2; see [`super::max_pool_3x3_stride_2`]. `source` as in [`VisionOps::conv_norm`].
    fn max_pool(
        x: FloatTensor<Self>,
        #[extension_type] source: Source<Self>,
        padding: Padding,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let _ = (source, epsilon); // nothing is computed again here
        composed::max_pool::<Self>(x, padding)
    }

    /// Gradient of [`VisionOps::max_pool`]: all of it to the first maximum of each window.
    fn max_pool_gradient(
        #[extension_type] source: Source<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        padding: Padding,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let _ = output; // found again with the indices
        composed::max_pool_gradient::<Self>(source, output_gradient, padding, epsilon)
    }

    /// Mean over height and width, in `f32`: `[n, h, w, c]` → `[n, c]`.
    fn global_average_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::global_average_pool::<Self>(x)
    }

    /// Gradient of [`VisionOps::global_average_pool`], of the input's type: `[n, c]` → `[n, height, width, c]`.
    fn global_average_pool_gradient(
        output_gradient: FloatTensor<Self>,
        height: usize,
        width: usize,
        precision: Precision,
    ) -> FloatTensor<Self> {
        composed::global_average_pool_gradient::<Self>(output_gradient, height, width, precision)
    }
}
