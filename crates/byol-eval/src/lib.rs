//! Evaluation protocols, one file each, all of one shape: (features with labels, options) → numbers with their protocol.
//!
//! ```text
//! transfer                          by logistic regression, or by fine-tuning
//!   pace                            what all of it will take
//!   semi   finetune   baseline      all weights are trained
//!     search   supervised           choosing a setting on held-out pictures · training with labels
//!       held_out   subset           which pictures those are · class-balanced parts and lists
//!   knn   linear   logistic         frozen representations · classifier: a linear one, handed over
//!     comparison                    the networks of one table, over seeds
//!       kept   cache   features     finished outcomes and representations of a data set, on disk
//!              journal   stream     the same of more pictures than memory has room for, piece by piece
//!                       errand       the same by several processes
//!         record   metrics   truth  what is said, counted and known · edge: a choice at the end of its grid
//! ```
//!
//! No training loop of the method is known here: encoders come from [`byol_nn::encoder`].

pub mod baseline;
mod cache;
pub mod classifier;
pub mod comparison;
mod edge;
mod errand;
mod features;
pub mod finetune;
pub mod geometry;
mod held_out;
mod journal;
mod kept;
pub mod knn;
pub mod linear;
mod lines;
pub mod logistic;
mod meter;
pub mod metrics;
pub mod pace;
mod progress;
mod record;
pub mod search;
pub mod semi;
mod softmax;
mod split;
mod stream;
pub mod subset;
pub mod supervised;
pub mod transfer;
mod truth;

pub use cache::{CacheUse, Extracted, entry_name, extract_cached, extract_cached_watched, fingerprint};
pub use edge::{Edge, End};
pub use errand::{dismiss, help};
pub use features::{Features, extract, extract_watched};
pub use held_out::HeldOut;
pub use journal::Journal;
pub use kept::KeptOutcomes;
pub use lines::{screen_columns, wrapped};
pub use meter::{Meter, waiting};
pub use progress::{Countdown, Stop, duration, shows_progress, silence_progress};
pub use record::{
    COLUMNS, Column, Evaluation, Gain, LargestClass, Network, Outcome, Pictures, Repeat, Row, Statistic, best,
    fingerprint_text, gains, main_column, percent, read_evaluations, rows, write_evaluations,
};
pub use split::{LabelledParts, PartsRequest, open_parts};
pub use stream::extract_in_order;
pub use truth::{Known, Truth};
