//! Compute kernels for graphics cards of any vendor, written once in CubeCL: the counterpart of `byol-kernels`, which their tests compare
//! them with.
//!
//! Pictures are `[images, height, width, channels]`, `f32`, `bf16` or `f16`; sums, statistics and weights are `f32`. Every sum is taken in an
//! order that the shape decides, so that a device gives the same bits on every run. Functions return at once: the device works on, and
//! whoever reads waits.
#![cfg(feature = "device")]

mod arena;
mod array;
mod device;
mod kernel_times;
mod norm;
mod pack;
mod pool;
mod products;
mod tile;
mod update;

pub use array::{Array, Kind};
pub use cubecl::Device;
pub use cubecl::client::Client;
pub use device::{Card, Door, cards, computes, open};
pub use kernel_times::{KernelTime, kernel_times};
pub use norm::{Folded, NormGradient, Statistics, fold, norm_gradient, normalise, statistics};
pub use pack::cast;
pub use pool::{average_pool, average_pool_gradient, max_pool, max_pool_gradient};
pub use products::{
    Affine, PackedWeight, forward, forward_packed, forward_with_statistics, input_gradient, weight_gradient,
};
pub use tile::has_matrix_units;
pub use update::{adam, add_scaled, momentum, sum_of_squares, target_ema};
