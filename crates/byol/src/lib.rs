//! BYOL (Bootstrap Your Own Latent, Grill et al. 2020): pretraining of image encoders without labels and without negative
//! pairs, evaluation by the paper's protocols, and export.
//!
//! The rooms follow the paper, and uses run downward:
//!
//! ```text
//! pretrain, demo            a request → a run
//!   train   eval   export   the loop · the protocols · the hand-over
//!     byol                  online, target, predictor, loss, target update
//!       model   optim       ResNet and heads · LARS, SGD, Adam, schedules
//!         ops               the seam to the hardware
//! ```

mod bad_images;
pub mod bench;
pub mod byol;
mod canvas;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod encoder;
mod error;
pub mod eval;
pub mod export;
mod files;
pub mod model;
pub mod ops;
pub mod optim;
mod preset;
pub mod pretrain;
pub mod preview;
pub mod recipe;
pub mod report;
pub mod run;
pub mod sheet;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
