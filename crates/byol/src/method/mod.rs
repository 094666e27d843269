//! The method (paper §3.1, Algorithm 1): online and target network, predictor, loss, target update.

mod config;
mod loss;
mod networks;
mod optimal_predictor;
mod part;
mod step;

pub use config::{ModelConfig, PredictorKind, TargetKind};
pub use loss::{LossNormalisation, negatives, positive_cosine, projection_std, regression_loss};
pub use networks::{Byol, FIRST_LOSS_SCALE, Online, Target};
pub use optimal_predictor::optimal_prediction;
pub use part::Part;
pub use step::{Losses, PassModes, Passes};
