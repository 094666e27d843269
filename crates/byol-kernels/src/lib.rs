//! CPU compute on plain slices for byol: convolution, linear layer, batch norm and pooling, each with its gradients.
//!
//! Tensors are channels-last (`[batch, height, width, channels]`, dense) and hold `f32` or `bf16` ([`Element`]);
//! convolution weights are `f32`, `[outputs, inputs, kernel, kernel]`. Sums are `f32` or wider. Every function takes the
//! instruction set ([`Isa`]) that its inner loops use. The crate knows no tensor library.
//!
//! All functions run on rayon's current thread pool and write the same bits on every run. But for the weight gradient
//! they write the same bits for any number of threads, too: the work is cut into pieces by the shape alone, and partial
//! sums are added in a fixed order. A slice of the wrong length is a bug of the caller and panics, and so does an
//! instruction set that the machine lacks.

#[cfg(target_arch = "x86_64")]
mod amx;
mod batch_norm;
mod buffer;
mod conv;
mod element;
mod isa;
mod lanes;
mod machine;
mod memory;
mod moments;
mod optimizer;
mod padding;
mod peak;
mod pool;
mod stream;
mod transpose;
mod vector;

pub use batch_norm::{
    BatchNorm, ChannelParameters, GradientSums, Mask, batch_moments, batch_norm_apply, batch_norm_apply_in_place,
    batch_norm_gradient, batch_norm_gradient_sums, batch_norm_input_gradient,
};
pub use buffer::arbitrary;
pub use conv::{
    ConvShape, KeptWeight, Write, conv2d, conv2d_affine, conv2d_input_gradient, conv2d_weight_gradient,
    conv2d_with_moments,
};
pub use element::{Element, bf16, rounded};
pub use isa::Isa;
pub use machine::{available_memory_bytes, cpu_name, peak_memory_bytes, reset_peak_memory};
pub use memory::ReusingAllocator;
pub use optimizer::{Adam, Lars, Momentum, Sgd, adam, add_scaled, lars, sgd, sum_of_squares, target_ema};
pub use padding::Padding;
pub use peak::{copy_bytes_per_second, peak_bf16_flops, peak_f32_flops};
pub use pool::{MaxPool, global_average_pool, global_average_pool_gradient, max_pool, max_pool_gradient};
