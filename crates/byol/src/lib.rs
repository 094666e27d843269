//! BYOL (Bootstrap Your Own Latent, Grill et al. 2020): pretraining of image encoders without labels and without negative
//! pairs.
//!
//! The rooms follow the paper, and uses run downward:
//!
//! ```text
//! demo   ablate   doctor   bench   bundle   whole jobs
//!   pretrain                        a request → a run folder, all of it checked before
//!     train   recipe                the loop · DATA and settings → pictures and a complete configuration
//!       cost  fit                   what a run costs here · rules that fit a recipe to pictures and time
//!       run     overlays            the run folder · a preset, a file and --set, one over the other
//!         preset   views_preset     named recipes, and views by what pictures show
//!           config                  the tree of settings
//!             method                online, target, predictor, loss, target update
//! ```
//!
//! Networks are those of [`byol_nn`], protocols those of [`byol_eval`].
//!
//! # From a folder of pictures to an encoder
//!
//! What `byol pretrain PHOTOS --preset cifar10 --set schedule.epochs=50` does, and the representations of `byol embed`:
//!
//! ```no_run
//! use std::path::PathBuf;
//! use std::sync::Arc;
//!
//! use byol::pretrain::PretrainRequest;
//! use byol::recipe::RecipeRequest;
//! use byol::train::{Requests, train};
//! use byol::Preset;
//! use byol_nn::encoder::Encoder;
//! use byol_nn::ops::open_device;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = RecipeRequest {
//!     data: vec![PathBuf::from("PHOTOS")],
//!     preset: Some(Preset::Cifar10),
//!     settings: vec!["schedule.epochs=50".to_owned()],
//!     ..Default::default()
//! };
//! let device = open_device("cpu")?;
//! // Checks everything, then creates the first free `runs/PHOTOS-N`.
//! let request = PretrainRequest { recipe, ..Default::default() };
//! let run = request.create(request.open(&device)?, &device)?;
//!
//! let requests = Requests::new(); // set its flags to end early or to save now
//! let report = train(&run.folder, &run.config, run.dataset.clone(), &device, &requests)?;
//! println!("{} steps in {:.0} s", report.step, report.seconds);
//!
//! let mut encoder = Encoder::open(&run.folder.path().to_string_lossy(), &device)?;
//! let features = byol_eval::extract(&mut encoder, &run.dataset, 0, &device)?;
//! println!("{} pictures, {} values each", features.len(), features.size);
//! # Ok(())
//! # }
//! ```
//!
//! `crates/byol/examples` has two programs: `pretrain_folder` and `embed_pictures`. Bars and lines of progress go to stderr;
//! [`byol_eval::silence_progress`] keeps them away. Everything else that a library call has to say is in what it returns.

pub mod ablate;
pub mod bench;
pub mod bundle;
mod canvas;
pub mod config;
pub mod cost;
pub mod demo;
pub mod doctor;
pub mod embeddings;
pub mod fit;
pub mod heads;
mod lettering;
pub mod method;
pub mod mlflow;
mod overlays;
pub mod predictions;
mod preset;
pub mod pretrain;
pub mod preview;
pub mod recipe;
pub mod run;
pub mod sheet;
pub mod train;
mod views_preset;
mod warm_start;

pub use byol_nn::{Error, Result};

pub use overlays::Overlays;
pub use preset::Preset;
pub use views_preset::ViewsPreset;
pub use warm_start::WarmStart;
