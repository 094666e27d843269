//! CPU compute on plain `f32` slices for byol: convolution and batch norm, each with its gradients.
//!
//! Tensors are channels-last (`[batch, height, width, channels]`, dense), convolution weights are
//! `[outputs, inputs, kernel, kernel]`. The crate knows no tensor library.
//!
//! All functions run on rayon's current thread pool and write the same bits on every run and for any number of
//! threads: the work is cut into pieces by the shape alone, and partial sums are added in a fixed order. A slice of the
//! wrong length is a bug of the caller and panics.

mod batch_norm;
mod conv;
mod matrix;
mod patches;

pub use batch_norm::{BatchNorm, batch_norm, batch_norm_gradient};
pub use conv::{ConvShape, conv2d, conv2d_input_gradient, conv2d_weight_gradient};
