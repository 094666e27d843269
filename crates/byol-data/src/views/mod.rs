//! The augmentations of BYOL (paper App. B; reference `augmentations.py`, `dataset.py`).
//!
//! ```text
//! ViewConfig ── draw(Random) → ViewParameters ── render(Image) → f32 [size, size, channels]
//! ```
//! Order: crop → resize → flips → quarter turn → rotation → jitter → jitter of channels → grey → blur → solarise → noise → clip →
//! normalise → cut-out.
//!
//! All arithmetic is `f32` without fused multiply-adds and in one order, so a view has the same bits on every machine, whatever
//! vectors it computes with.
//!
//! # Layout
//! `pair` both views of a picture · `evaluation` the preprocessing without randomness, `preparation` what it states of itself · `rendering` renders for both ·
//! `config` the `[views]` table · `parameters` what is drawn · `crop` the box · `resize` bicubic · `turn`, `colour`,
//! `blur`, `noise` the operations · `semantics` whose arithmetic they follow.

mod blur;
mod colour;
mod config;
mod crop;
mod evaluation;
mod noise;
mod pair;
mod parameters;
mod plane;
mod preparation;
mod rendering;
mod resize;
mod semantics;
mod stages;
#[cfg(test)]
mod tests;
mod turn;

pub use blur::blur_taps;
pub use config::{IMAGENET_MEAN, IMAGENET_STD, InvalidConfig, ViewConfig, ViewsConfig};
pub use crop::CropBox;
pub use evaluation::{EvaluationConfig, EvaluationResize};
pub use pair::Views;
pub use parameters::{ChannelJitter, Cutout, JitterStep, Noise, ViewParameters};
pub use preparation::{Channels, Filter, Kernel, Outside, Preparation, Rounding, Step};
pub use rendering::ViewScratch;
pub use semantics::Semantics;
pub use stages::{Stage, StageClock};
