//! The few tensor operations the models are made of: the one seam between models and hardware.
//!
//! Activations are `[batch, height, width, channels]`, convolution weights `[out, in, kh, kw]` as in torchvision's files.
//! Heavy operations go through [`VisionOps`], whose default bodies serve every Burn backend and whose bodies on the CPU are
//! `byol-kernels`; light ones are composed of Burn's own operations here.

mod autodiff;
mod composed;
mod cpu;
mod vision;

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation, module, ops::MaxPoolOptions};

pub use burn::tensor::Device;
pub use vision::{Residual, VisionOps};

/// Fixes the number of CPU threads that compute; without it there is one per core.
///
/// # Panics
/// When something was computed before.
pub fn set_compute_threads(threads: usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.expect("the number of threads is set once, before anything is computed");
}

/// Opens a device by name.
///
/// # Errors
/// What is expected instead of a name that this build does not know.
pub fn open_device(name: &str) -> Result<Device, String> {
    match name {
        "cpu" => Ok(Device::flex()),
        _ => Err("cpu, the one device of this build".to_owned()),
    }
}

/// Two-dimensional convolution without bias, zero padding on all sides.
///
/// `x [batch, height, width, in]`, `weight [out, in, kh, kw]` → `[batch, height', width', out]` with
/// `height' = ⌊(height + 2·padding − kh) / stride⌋ + 1`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::conv2d_nhwc(x.into_dispatch(), weight.into_dispatch(), stride, padding))
}

/// What batch normalisation by batch statistics gives.
pub struct BatchNormalised<const D: usize> {
    /// The normalised activations, same shape as the input.
    pub output: Tensor<D>,
    /// Mean of each channel over the batch `[channels]`, without gradient.
    pub mean: Tensor<1>,
    /// Biased variance `E[x²] − E[x]²` of each channel `[channels]`, without gradient.
    pub variance: Tensor<1>,
}

/// Batch normalisation by the statistics of this batch, then an optional residual, then an optional ReLU:
/// `relu(γ · (x − mean) / √(variance + ε) + β + residual)`.
///
/// The last axis of `x` is the channels; mean and variance are taken over all others (spec §1.4).
pub fn batch_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<D>>,
    relu: bool,
    epsilon: f32,
) -> BatchNormalised<D> {
    let (output, mean, variance) = Dispatch::batch_norm_nhwc(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        residual.map_or(Residual::None, |residual| Residual::Shortcut(residual.into_dispatch())),
        relu,
        epsilon,
    );
    BatchNormalised {
        output: Tensor::from_dispatch(output),
        mean: Tensor::<1>::from_dispatch(mean).without_autodiff(),
        variance: Tensor::<1>::from_dispatch(variance).without_autodiff(),
    }
}

/// Batch normalisation by given (running) statistics, then an optional residual, then an optional ReLU.
///
/// Same formula as [`batch_norm`], with `mean` and `variance` as constants.
#[expect(clippy::too_many_arguments, reason = "one argument per symbol of the formula")]
pub fn batch_norm_with_statistics<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    residual: Option<Tensor<D>>,
    relu: bool,
    epsilon: f32,
) -> Tensor<D> {
    let scale = gamma / variance.add_scalar(epsilon).sqrt();
    let shift = beta - mean * scale.clone();
    let mut output = x * scale.unsqueeze() + shift.unsqueeze();
    if let Some(residual) = residual {
        output = output + residual;
    }
    if relu { activation::relu(output) } else { output }
}

/// Affine map of the last axis: `x · weightᵀ + bias`; `x [batch, in]`, `weight [out, in]`, `bias [out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// Max pooling 3×3 with stride 2 and padding 1, as in the ImageNet stem; `[batch, height, width, channels]`.
pub fn max_pool_3x3_stride_2(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    module::max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// Mean over height and width: `[batch, height, width, channels]` → `[batch, channels]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    let [batch, height, width, channels] = x.dims();
    x.reshape([batch, height * width, channels]).mean_dim(1).squeeze_dim(1)
}

/// Rows scaled to unit length: `x · rsqrt(max(Σx², 1e-12))` (`helpers.py` of the reference); `[batch, size]`.
pub fn l2_normalize(x: Tensor<2>) -> Tensor<2> {
    let squared_norm = x.clone().square().sum_dim(1).clamp_min(1e-12);
    x / squared_norm.sqrt()
}
