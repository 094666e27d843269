//! Convolutions and linear layers as matrix products whose operands are gathered from pictures while they are loaded.

mod gather;
mod launch;
mod sums;
mod weight_gradient;

pub use launch::{
    Affine, PackedWeight, forward, forward_packed, forward_with_statistics, input_gradient, weight_gradient,
};
