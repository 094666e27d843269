//! Networks and the seam to the hardware: what training and evaluation are made of.
//!
//! ```text
//! encoder                what is handed over: weights in torchvision's names with their preprocessing
//!   weights   optim      to and from files, those of other programs too · LARS, SGD, Adam, schedules
//!     model              ResNet and heads
//!       ops              the seam to the hardware
//! dist                   several processes as one run
//! ```

pub mod dist;
pub mod encoder;
mod error;
pub mod files;
pub mod model;
pub mod ops;
pub mod optim;
pub mod weights;

pub use error::{Error, Result};
