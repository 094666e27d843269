//! Evaluation protocols, one file each, all of one shape: (features with labels, options) → numbers with their protocol.

mod features;
pub mod knn;
pub mod linear;
mod split;

pub use features::{Features, extract};
pub use split::{LabelledParts, open_parts};
