//! Evaluation protocols, one file each, all of one shape: (features with labels, options) → numbers with their protocol.
//!
//! ```text
//! transfer                          by logistic regression, or by fine-tuning
//!   semi   finetune   baseline      all weights are trained
//!     search   supervised           choosing a setting on held-out pictures · training with labels
//!       held_out   subset           which pictures those are · class-balanced parts and lists
//!   knn   linear   logistic         frozen representations
//!     comparison                    the networks of one table, over seeds
//!       cache   features            representations of a data set, kept on disk
//!         record   metrics   truth  what is said, counted and known
//! ```
//!
//! No training loop of the method is known here: encoders come from [`byol_nn::encoder`].

pub mod baseline;
mod cache;
pub mod comparison;
mod features;
pub mod finetune;
pub mod geometry;
mod held_out;
pub mod knn;
pub mod linear;
pub mod logistic;
pub mod metrics;
mod progress;
mod record;
pub mod search;
pub mod semi;
mod softmax;
mod split;
pub mod subset;
pub mod supervised;
pub mod transfer;
mod truth;

pub use cache::{CacheUse, Extracted, extract_cached};
pub use features::{Features, extract};
pub use held_out::HeldOut;
pub use progress::{Countdown, duration};
pub use record::{
    COLUMNS, Column, Evaluation, Network, Outcome, Row, Statistic, percent, read_evaluations, rows, write_evaluations,
};
pub use split::{LabelledParts, open_parts};
pub use truth::{Known, Truth};
