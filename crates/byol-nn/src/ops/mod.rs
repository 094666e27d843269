//! The few tensor operations the models are made of: the one seam between models and hardware.
//!
//! Activations are `[batch, height, width, channels]`, convolution weights `[out, in, kh, kw]` as in torchvision's files.
//! Heavy operations go through [`VisionOps`], whose default bodies serve every Burn backend and whose bodies on the CPU are
//! `byol-kernels`; light ones are composed of Burn's own operations here.

mod autodiff;
mod composed;
mod cpu;
#[cfg(feature = "gpu")]
mod cube;
mod device;
mod failure;
mod layer;
mod precision;
mod update;
mod vision;

use std::sync::Arc;

use burn::backend::Dispatch;
pub use burn::tensor::Device;
use burn::tensor::Tensor;
pub use byol_kernels::Padding;

pub use device::{
    Card, KernelTime, cards, choose_isa, compute_threads, engine, has_precision, is_processor, isa, kernel_times,
    open_device, possible_precision, precisions, set_compute_threads,
};
pub use failure::{catching_failure, listen_to_drivers, read, read_one};
pub use layer::{Conv, ConvNorm, GradientMark, Marks, Residual, SoFar, Source};
use layer::{Kept, Normalised};
pub use precision::Precision;
pub use update::{Adam, Lars, Momentum, Sgd, UpdateOps, adam, add_scaled, momentum, sum_of_squares, target_ema};
pub use vision::VisionOps;

use crate::dist::Across;

/// A feature map `[batch, height, width, channels]` and, where it is cheap, how to compute it again in the backward pass.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The feature map.
    pub values: Tensor<4>,
    recipe: Option<Recipe>,
    mark: GradientMark,
}

/// The feature map is `relu(batch_norm(z))`; none of these carries a gradient.
#[derive(Clone, Debug)]
struct Recipe {
    z: Tensor<4>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
}

impl From<Tensor<4>> for Activation {
    fn from(values: Tensor<4>) -> Self {
        Self { values, recipe: None, mark: GradientMark::default() }
    }
}

impl Activation {
    /// The same values, where a graph of their own begins: a gradient is kept for them.
    pub fn leaf(&self) -> Self {
        let values = self.values.clone().detach().require_grad();
        Self { values, recipe: self.recipe.clone(), mark: GradientMark::default() }
    }

    /// The same, kept for the backward pass and not computed again: more memory, less time.
    pub fn kept(self) -> Self {
        Self { recipe: None, ..self }
    }

    fn source(&self) -> Source<Dispatch> {
        match self.recipe.clone() {
            None => Source::Kept(self.values.clone().into_dispatch()),
            Some(Recipe { z, mean, variance, gamma, beta }) => Source::Normalised(Normalised {
                z: z.into_dispatch(),
                mean: mean.into_dispatch(),
                variance: variance.into_dispatch(),
                gamma: gamma.into_dispatch(),
                beta: beta.into_dispatch(),
            }),
        }
    }
}

/// What batch normalisation by batch statistics gives.
pub struct BatchNormalised<T> {
    /// The normalised activations.
    pub output: T,
    /// Mean of each channel over the batch `[channels]`, without gradient.
    pub mean: Tensor<1>,
    /// Biased variance `E[x²] − E[x]²` of each channel `[channels]`, without gradient.
    pub variance: Tensor<1>,
}

/// Convolution without bias, batch norm by the statistics of this batch, then an optional residual, then an optional ReLU:
/// with `z = conv(x, weight)`, `relu(γ · (z − mean(z)) / √(var(z) + ε) + β + residual)`.
///
/// `x [batch, height, width, in]`, `weight [out, in, kh, kw]` → `[batch, height', width', out]` with
/// `height'` by [`Padding`], in the type of `x` (`f32` or `bf16`). Mean and variance are taken
/// over batch, height and width (spec §1.4); with `across`, over the pictures of all its ranks.
pub fn conv_norm(
    x: &Activation,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<&Activation>,
    options: ConvNorm,
    across: Option<Across>,
) -> BatchNormalised<Activation> {
    let keep = weight.is_require_grad() || x.values.is_autodiff();
    let is_recomputable = options.relu && residual.is_none();
    let mark = |activation: &Activation| activation.mark.clone();
    let marks = Marks { x: mark(x), shortcut: residual.map(mark).unwrap_or_default() };
    let (y, z, mean, variance) = Dispatch::conv_norm(
        x.values.clone().into_dispatch(),
        x.source(),
        weight.into_dispatch(),
        gamma.clone().into_dispatch(),
        beta.clone().into_dispatch(),
        shortcut(residual),
        options,
        across,
        keep,
        marks,
    );
    let mean = Tensor::<1>::from_dispatch(mean).without_autodiff();
    let variance = Tensor::<1>::from_dispatch(variance).without_autodiff();
    let recipe = (keep && is_recomputable).then(|| Recipe {
        z: Tensor::<4>::from_dispatch(z).without_autodiff(),
        mean: mean.clone(),
        variance: variance.clone(),
        gamma: gamma.without_autodiff(),
        beta: beta.without_autodiff(),
    });
    let output = Activation { values: Tensor::from_dispatch(y), recipe, mark: GradientMark::of_an_operation() };
    BatchNormalised { output, mean, variance }
}

/// Convolution without bias and without norm: shapes as in [`conv_norm`], in the type of `x`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, options: Conv) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::conv(x.into_dispatch(), weight.into_dispatch(), options))
}

/// A convolution with its batch norm folded in, for inference; and its weight as the kernels want it, once they were asked.
#[derive(Clone, Debug)]
pub struct Folded {
    weight: Tensor<4>,
    bias: Tensor<1>,
    kept: Arc<Kept>,
}

impl Folded {
    /// Of `weight [out, in, kh, kw]` and `bias [out]`.
    pub fn new(weight: Tensor<4>, bias: Tensor<1>) -> Self {
        Self { weight, bias, kept: Arc::default() }
    }
}

/// `relu?(conv(x, weight) + bias + residual?)`: a convolution with its batch norm folded in, for inference.
///
/// Shapes as in [`conv_norm`]; `folded` sees `x` of one type only. No gradient flows through it.
pub fn conv_affine(x: &Activation, folded: &Folded, residual: Option<&Activation>, options: ConvNorm) -> Activation {
    let Folded { weight, bias, kept } = folded.clone();
    let (x, weight, bias) = (x.values.clone().into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::conv_affine(x, weight, bias, shortcut(residual), options, kept)).into()
}

fn shortcut(residual: Option<&Activation>) -> Residual<Dispatch> {
    residual.map_or(Residual::None, |residual| Residual::Shortcut(residual.values.clone().into_dispatch()))
}

/// Batch normalisation of `x [batch, channels]` by the statistics of this batch, then an optional ReLU:
/// `relu(γ · (x − mean) / √(variance + ε) + β)`; with `across`, by those of all its ranks.
pub fn batch_norm(
    x: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    relu: bool,
    epsilon: f32,
    across: Option<Across>,
) -> BatchNormalised<Tensor<2>> {
    let [gamma, beta] = [gamma, beta].map(Tensor::into_dispatch);
    let (output, mean, variance) = Dispatch::batch_norm_rows(x.into_dispatch(), gamma, beta, relu, epsilon, across);
    BatchNormalised {
        output: Tensor::from_dispatch(output),
        mean: Tensor::<1>::from_dispatch(mean).without_autodiff(),
        variance: Tensor::<1>::from_dispatch(variance).without_autodiff(),
    }
}

/// Group normalisation (Wu & He 2018) of `x [batch, positions, channels]`: each picture's channels in `groups` of neighbours,
/// `γ · (x − mean) / √(variance + ε) + β` with mean and biased variance over the positions and channels of a group. Nothing is
/// shared between pictures. Composed of Burn's operations, in `f32`; `groups` divides `channels`.
pub fn group_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, epsilon: f32) -> Tensor<3> {
    let [batch, positions, channels] = x.dims();
    let split = x.reshape([batch, positions, groups, channels / groups]);
    let centred = split.clone() - split.mean_dim(1).mean_dim(3);
    let variance = centred.clone().square().mean_dim(1).mean_dim(3);
    let normalised = centred / variance.add_scalar(epsilon).sqrt();
    normalised.reshape([batch, positions, channels]) * gamma.unsqueeze() + beta.unsqueeze()
}

/// Weight standardisation (Qiao et al. 2019): the weights of each output, `[outputs, inputs]`, less their mean and divided by
/// `√(variance + 1e-10)`.
pub fn standardise_weight(weight: Tensor<2>) -> Tensor<2> {
    let centred = weight.clone() - weight.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / variance.add_scalar(1e-10).sqrt()
}

/// Affine map of the last axis: `x · weightᵀ + bias`; `x [batch, in]`, `weight [out, in]`, `bias [out]`.
///
/// The operands of the product are rounded to `precision`; the result is `f32`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, precision: Precision) -> Tensor<2> {
    let y = Tensor::from_dispatch(Dispatch::dense(x.into_dispatch(), weight.into_dispatch(), precision));
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// `a · b`, both `f32` with all 24 bits: on graphics cards Burn's own product rounds its operands to TF32 where a card has that.
pub fn product(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    match is_processor(&a.device()) {
        true => a.matmul(b),
        false => linear(a, b.transpose(), None, Precision::F32),
    }
}

/// Max pooling 3×3 with stride 2, as in the ImageNet stem; `[batch, height, width, channels]`. What lies outside takes no part.
/// `epsilon` is that of the batch norm that `x` may be computed again by.
pub fn max_pool_3x3_stride_2(x: &Activation, padding: Padding, epsilon: f32) -> Activation {
    let y = Dispatch::max_pool(x.values.clone().into_dispatch(), x.source(), padding, epsilon);
    Activation { values: Tensor::from_dispatch(y), recipe: None, mark: GradientMark::of_an_operation() }
}

/// Mean over height and width, in `f32`: `[batch, height, width, channels]` → `[batch, channels]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::global_average_pool(x.into_dispatch()))
}

/// Rows scaled to unit length: `x · rsqrt(max(Σx², 1e-12))` (`helpers.py` of the reference); `[batch, size]`.
pub fn l2_normalize(x: Tensor<2>) -> Tensor<2> {
    let squared_norm = x.clone().square().sum_dim(1).clamp_min(1e-12);
    x / squared_norm.sqrt()
}
