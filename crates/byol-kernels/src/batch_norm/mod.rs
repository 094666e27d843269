//! Batch norm over all axes but the last, with an optional residual and ReLU in the same pass.
//!
//! Rows are cut into chunks by the shape alone. Sums run in `f32` within a chunk and are combined in `f64` in order.

mod blocks;
mod forward;
mod gradient;
mod sums;

pub use forward::{batch_moments, batch_norm_apply, batch_norm_apply_in_place};
pub use gradient::{GradientSums, batch_norm_gradient, batch_norm_gradient_sums, batch_norm_input_gradient};

/// What a fused batch norm computes, besides its arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Length of the last axis, along which nothing is averaged.
    pub channels: usize,
    /// Added to the variance before the square root.
    pub epsilon: f32,
    /// Whether `max(·, 0)` follows the affine map and the residual.
    pub relu: bool,
}

/// Where the gradient learns which values the ReLU let pass; not read without ReLU.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, E> {
    /// The forward pass's arithmetic is repeated: for a norm without residual.
    Recompute,
    /// The forward pass's output.
    Output(&'a [E]),
}

/// Per-channel statistics and parameters of a norm, each `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct ChannelParameters<'a> {
    /// Mean.
    pub mean: &'a [f32],
    /// Biased variance.
    pub variance: &'a [f32],
    /// Learned scale γ.
    pub gamma: &'a [f32],
    /// Learned offset β.
    pub beta: &'a [f32],
}

/// Rows per chunk: about 32 Ki values, but few enough that an `f32` sum over them is exact to about 1e-6.
fn chunk_len(channels: usize) -> usize {
    (32 * 1024 / channels).clamp(16, 1024) * channels
}

fn check(channels: usize, rows: &[(&str, usize)], per_channel: &[(&str, usize)]) {
    let len = rows[0].1;
    assert!(
        channels > 0 && len > 0 && len.is_multiple_of(channels),
        "batch norm of {len} values in {channels} channels"
    );
    for (name, actual) in rows {
        assert_eq!(*actual, len, "length of {name} in batch norm");
    }
    for (name, actual) in per_channel {
        assert_eq!(*actual, channels, "length of {name} in batch norm");
    }
}

impl ChannelParameters<'_> {
    fn check(&self, norm: &BatchNorm, rows: &[(&str, usize)]) {
        let per_channel = [
            ("mean", self.mean.len()),
            ("variance", self.variance.len()),
            ("gamma", self.gamma.len()),
            ("beta", self.beta.len()),
        ];
        check(norm.channels, rows, &per_channel);
    }

    /// `1/√(variance + ε)`
    fn inverse_deviation(&self, epsilon: f32) -> Vec<f32> {
        let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + f64::from(epsilon)).sqrt()) as f32;
        self.variance.iter().map(inverse).collect()
    }

    /// `γ/√(variance + ε)`
    fn scale(&self, epsilon: f32) -> Vec<f32> {
        self.inverse_deviation(epsilon).iter().zip(self.gamma).map(|(inverse, gamma)| inverse * gamma).collect()
    }
}
