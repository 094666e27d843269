//! What a run can find out about itself.

use std::fmt;

use byol_eval::wrapped;
use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`: what was found when, why, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The cause.
    pub watch: Cause,
    /// Optimiser steps taken when it became certain.
    pub step: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// The numbers that say so.
    pub found: String,
    /// Why this happens.
    pub likely_cause: String,
    /// What to change, with the flag.
    pub remedy: String,
}

/// Causes, the most specific first: of several findings the first explains the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A loss, weight or gradient is NaN or infinite; ends every run.
    NotFinite,
    /// Most pictures are of one colour.
    FlatPictures,
    /// Many pictures are equal.
    EqualPictures,
    /// The two views of a picture are (almost) the same.
    EqualViews,
    /// No step moves a weight.
    FrozenWeights,
    /// The predictor stays as it began.
    PredictorDead,
    /// Collapse, and there is no predictor.
    PredictorAbsent,
    /// Collapse, and the target moves with, or as, the online network.
    TargetAhead,
    /// The target stays largely the random network it began as.
    TargetBehind,
    /// Collapse, and the weights have shrunk.
    WeightDecayTooStrong,
    /// The weights have grown many times over, and the representation has suffered.
    RateTooHigh,
    /// The loss stays where it began.
    RateTooLow,
    /// All projections are (almost) the same.
    Collapse,
    /// The representation uses few of its dimensions.
    DimensionalCollapse,
    /// Neighbours become worse while a linear classifier becomes better.
    ProbeUpKnnDown,
    /// Neighbours are no better than with random weights.
    KnnNotAboveStart,
    /// Without labels: two views of a picture are no nearer, beside two pictures, than with random weights.
    ViewsNotLearned,
    /// Training waits for pictures.
    InputStarved,
}

impl Cause {
    /// Whether the run is of no use as it goes; the others are worth knowing.
    pub fn spoils_the_run(self) -> bool {
        !matches!(self, Self::EqualPictures | Self::TargetBehind | Self::ProbeUpKnnDown | Self::InputStarved)
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFinite => "not finite",
            Self::FlatPictures => "pictures of one colour",
            Self::EqualPictures => "many equal pictures",
            Self::EqualViews => "equal views",
            Self::FrozenWeights => "frozen weights",
            Self::PredictorDead => "dead predictor",
            Self::PredictorAbsent => "no predictor",
            Self::TargetAhead => "target too close",
            Self::TargetBehind => "target too slow",
            Self::WeightDecayTooStrong => "weight decay too strong",
            Self::RateTooHigh => "rate too high",
            Self::RateTooLow => "rate too low",
            Self::Collapse => "collapse",
            Self::DimensionalCollapse => "dimensional collapse",
            Self::ProbeUpKnnDown => "probe rises, k-NN falls",
            Self::KnnNotAboveStart => "k-NN not above the start",
            Self::ViewsNotLearned => "views not learned",
            Self::InputStarved => "waiting for pictures",
        }
    }
}

impl Finding {
    /// What was found, why and what to do, in lines of at most so many columns; long words stay whole.
    pub fn in_columns(&self, columns: usize) -> String {
        let Self { watch, step, found, likely_cause, remedy, .. } = self;
        let mut text = format!("watch: {} (step {step})", watch.title());
        for (name, part) in [("found", found), ("likely", likely_cause), ("remedy", remedy)] {
            let first = format!("  {name:<8}");
            // The last column stays free: some terminals break a line that fills it.
            text += "\n";
            text += &wrapped(part, columns - 1, &first, "          ");
        }
        text
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_columns(80))
    }
}
