//! The ablation tables of the paper by name.

use std::fmt;
use std::str::FromStr;

use super::rows::{self, Variant};
use crate::config::Config;

/// A table of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What the prediction is compared with (Table 5a).
    Target,
    /// From BYOL to SimCLR: predictor, target and negatives (Tables 5b and 19).
    Negatives,
    /// BYOL and SimCLR alone.
    Simclr,
    /// Temperature and weight of the negatives (Table 18).
    Temperature,
    /// Augmentations left out (Table 17).
    Augmentations,
    /// Pictures that batch norm sees at once (Table 16).
    Batch,
    /// Linear layers of the heads (Table 14a).
    Heads,
    /// Size of the projection (Table 14b).
    Projection,
    /// Base learning rate (Table 15a).
    LearningRate,
    /// Weight decay (Table 15b).
    WeightDecay,
    /// What prediction and target are divided by in the loss (Table 20).
    Normalisation,
    /// Without a moving average: a predictor that learns at another rate (Table 21).
    PredictorRate,
    /// The same, and the projector at another rate, too (Table 22).
    HeadRates,
    /// Without a moving average: the best linear predictor of every batch (§5).
    OptimalPredictor,
    /// First weights (§5).
    Initialisation,
    /// Without batch statistics (the authors' follow-up, Richemond et al. 2020).
    Norm,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Target,
        Self::Negatives,
        Self::Simclr,
        Self::Temperature,
        Self::Augmentations,
        Self::Batch,
        Self::Heads,
        Self::Projection,
        Self::LearningRate,
        Self::WeightDecay,
        Self::Normalisation,
        Self::PredictorRate,
        Self::HeadRates,
        Self::OptimalPredictor,
        Self::Initialisation,
        Self::Norm,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Negatives => "negatives",
            Self::Simclr => "simclr",
            Self::Temperature => "temperature",
            Self::Augmentations => "augmentations",
            Self::Batch => "batch",
            Self::Heads => "heads",
            Self::Projection => "projection",
            Self::LearningRate => "learning-rate",
            Self::WeightDecay => "weight-decay",
            Self::Normalisation => "normalisation",
            Self::PredictorRate => "predictor-rate",
            Self::HeadRates => "head-rates",
            Self::OptimalPredictor => "optimal-predictor",
            Self::Initialisation => "initialisation",
            Self::Norm => "norm",
        }
    }

    /// Where it stands in the paper.
    pub fn source(self) -> &'static str {
        match self {
            Self::Target => "Table 5a",
            Self::Negatives | Self::Simclr => "Tables 5b and 19",
            Self::Temperature => "Table 18",
            Self::Augmentations => "Table 17",
            Self::Batch => "Table 16",
            Self::Heads => "Table 14a",
            Self::Projection => "Table 14b",
            Self::LearningRate => "Table 15a",
            Self::WeightDecay => "Table 15b",
            Self::Normalisation => "Table 20",
            Self::PredictorRate => "Table 21",
            Self::HeadRates => "Table 22",
            Self::OptimalPredictor => "§5",
            Self::Initialisation => "§5",
            Self::Norm => "arXiv 2010.10241",
        }
    }

    /// The rows over `recipe`, the paper's default first. Rates and decays are the recipe's times the paper's ratios to its own,
    /// since the paper's values belong to LARS.
    pub fn variants(self, recipe: &Config) -> Vec<Variant> {
        match self {
            Self::Target => rows::target(),
            Self::Negatives => rows::negatives(),
            Self::Simclr => {
                rows::negatives().into_iter().filter(|row| ["byol", "simclr"].contains(&&*row.name)).collect()
            }
            Self::Temperature => rows::temperature(),
            Self::Augmentations => rows::augmentations(recipe.views.size_px),
            Self::Batch => rows::batch(recipe.train.batch_size),
            Self::Heads => rows::heads(),
            Self::Projection => rows::projection(),
            Self::LearningRate => rows::learning_rate(recipe.schedule.base_learning_rate),
            Self::WeightDecay => rows::weight_decay(recipe.optimizer.weight_decay),
            Self::Normalisation => rows::normalisation(),
            Self::PredictorRate => rows::predictor_rate(),
            Self::HeadRates => rows::head_rates(),
            Self::OptimalPredictor => rows::optimal_predictor(),
            Self::Initialisation => rows::initialisation(),
            Self::Norm => rows::norm(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("no such table; expected one of {}", names.join(", "))
        })
    }
}
