//! Where the reference and torchvision differ.

use serde::{Deserialize, Serialize};

/// Whose arithmetic the operations follow where the reference and torchvision differ.
///
/// | operation | `reference` (TensorFlow) | `torchvision` |
/// |---|---|---|
/// | crop box | one draw, sides clamped | 10 tries, then a centre crop |
/// | bicubic | no antialias | antialias |
/// | brightness | `x + δ` | `x · f` |
/// | contrast | about each channel's mean | about the mean of the grey image |
/// | saturation | `S · f` in HSV | blend with the grey image |
/// | blur | zero padding | reflected padding |
///
/// torchvision on PIL images rounds to 8 bits after every operation. We compute in `f32` throughout under both
/// semantics and clip to `[0, 1]` where TensorFlow or the 8 bits would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantics {
    /// The paper's own code, deepmind-research `byol/utils/{dataset,augmentations}.py`.
    Reference,
    /// `torchvision.transforms`, which most other implementations use.
    Torchvision,
}
