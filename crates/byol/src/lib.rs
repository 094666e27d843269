//! BYOL (Bootstrap Your Own Latent, Grill et al. 2020): pretraining of image encoders without labels and without negative
//! pairs.
//!
//! The rooms follow the paper, and uses run downward:
//!
//! ```text
//! demo   ablate   doctor   bench    whole jobs
//!   pretrain                        a request → a run folder, all of it checked before
//!     train   recipe                the loop · DATA and settings → pictures and a complete configuration
//!       cost  fit                   what a run costs here · rules that fit a recipe to pictures and time
//!       run     overlays            the run folder · a preset, a file and --set, one over the other
//!         preset                    named recipes
//!           config                  the tree of settings
//!             method                online, target, predictor, loss, target update
//! ```
//!
//! Networks are those of [`byol_nn`], protocols those of [`byol_eval`].

pub mod ablate;
pub mod bench;
mod canvas;
pub mod config;
pub mod cost;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod fit;
mod lettering;
pub mod method;
mod overlays;
pub mod predictions;
mod preset;
pub mod pretrain;
pub mod preview;
pub mod recipe;
pub mod run;
pub mod sheet;
pub mod train;
mod warm_start;

pub use byol_nn::{Error, Result};

pub use overlays::Overlays;
pub use preset::Preset;
pub use warm_start::WarmStart;
