//! Evaluation protocols, one file each, all of one shape: (features with labels, options) → numbers with their protocol.

pub mod ablate;
pub mod baseline;
mod cache;
pub mod comparison;
mod features;
pub mod finetune;
pub mod geometry;
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
pub use progress::Countdown;
pub use record::{Evaluation, Network, Outcome, Row, Statistic, read_evaluations, remember, rows, write_evaluations};
pub use split::{LabelledParts, open_parts};
pub use truth::{Known, Truth};
