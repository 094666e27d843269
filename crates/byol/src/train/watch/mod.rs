//! A run watches itself: what its numbers mean, why they are so, and what to do.
//!
//! Everything but [`Watch`] is a function of the lines of `metrics.jsonl` and the settings, so that the report comes to the same
//! conclusions as the run. Rules, thresholds and where they come from: docs/watching.md.

mod best;
mod facts;
mod fall;
mod finding;
mod healthy;
mod rules;
mod said;
mod series;
mod verdict;

use std::path::Path;

use byol_nn::Result;
use byol_nn::ops::Precision;

pub use best::{BestEncoder, Kept, check_keep_best};
pub use facts::{Facts, fitting_target_ema};
pub use fall::COLLAPSE_SHARE;
pub use finding::{Cause, Finding};
pub use healthy::{HealthyRuns, Number};
pub use rules::findings;
pub use series::{Measurement, Series};
pub use verdict::{KnnGain, Learning, Verdict, advice, verdict};

use super::monitor::OnlineLine;
use crate::config::WatchAction;
use crate::run::StepMetrics;

/// The eye of a running process on its own numbers.
#[derive(Debug)]
pub struct Watch {
    series: Series,
    facts: Facts,
    action: WatchAction,
    stops: bool,
}

impl Watch {
    /// Goes on with what `metrics` of the run says so far; what was found before is not said again.
    ///
    /// # Errors
    /// As for [`Series::read`].
    pub fn start(facts: Facts, metrics: &Path) -> Result<Self> {
        let (series, action) = (Series::read(metrics)?, facts.config.watch.action);
        Ok(Self { series, facts, action, stops: false })
    }

    /// What the run has said so far.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// What a logged step makes certain.
    pub fn logged(&mut self, metrics: &StepMetrics) -> Vec<Finding> {
        self.series.steps.push(metrics.clone());
        self.news()
    }

    /// What a measurement makes certain.
    pub fn measured(&mut self, line: &OnlineLine) -> Vec<Finding> {
        self.series.online.push(line.into());
        self.news()
    }

    /// What is found for the first time.
    fn news(&mut self) -> Vec<Finding> {
        let known = |cause| self.series.findings.iter().any(|finding| finding.watch == cause);
        let news: Vec<Finding> =
            findings(&self.series, &self.facts).into_iter().filter(|finding| !known(finding.watch)).collect();
        self.series.findings.extend(news.iter().cloned());
        self.stops |= self.action == WatchAction::Stop && news.iter().any(|finding| finding.watch.spoils_the_run());
        news
    }

    /// Whether the run shall save and end.
    pub fn stops(&self) -> bool {
        self.stops
    }

    /// The finding for `what` that is not finite; `good` is the newest checkpoint, if any.
    pub fn not_finite(&self, what: &str, step: u64, good: Option<&Path>) -> Finding {
        let rate = self.facts.rate_flag(0.1);
        let remedy = match good {
            Some(path) => format!(
                "start again with a tenth of the rate, `byol pretrain DATA {rate}`, or go on from the last good state ({}) with \
                 --init RUN besides",
                path.display()
            ),
            None => {
                format!("start again with a tenth of the rate, `byol pretrain DATA {rate}`; no checkpoint was due yet")
            }
        };
        let config = &self.facts.config;
        let rate_is_high = format!(
            "the learning rate (peak {:.4}) is too high for {:?}, or the warm-up too short",
            self.facts.schedule.peak_learning_rate, config.optimizer.kind
        );
        let (likely_cause, remedy) = match config.precision {
            Precision::F16 => (
                format!("an activation beyond 65504, where f16 ends; or {rate_is_high}"),
                format!("start again with `byol pretrain DATA --set precision=f32`; if that does not help: {remedy}"),
            ),
            Precision::F32 | Precision::Bf16 => (rate_is_high, remedy),
        };
        let epochs = config.schedule.epochs;
        Finding {
            watch: Cause::NotFinite,
            step,
            epoch: step as f64 / self.facts.schedule.total_steps.max(1) as f64 * epochs,
            found: format!("{what} is the first that is NaN or infinite"),
            likely_cause,
            remedy,
        }
    }

    /// What stands at the end, with verdict and advice.
    pub fn conclude(&self) -> Conclusion {
        Conclusion {
            findings: findings(&self.series, &self.facts),
            verdict: verdict(&self.series, &self.facts),
            advice: advice(&self.series, &self.facts),
        }
    }
}

/// What a run has come to.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Conclusion {
    /// What is wrong now, the most specific first.
    pub findings: Vec<Finding>,
    /// What it learned.
    pub verdict: Verdict,
    /// Whether a longer run would help.
    pub advice: Option<String>,
}

impl Conclusion {
    /// Whether the run missed the bar it states: that it teaches the encoder something.
    pub fn is_bad(&self) -> bool {
        let fell = |finding: &Finding| {
            use Cause::{
                Collapse, DimensionalCollapse, PredictorAbsent, RateTooHigh, TargetAhead, WeightDecayTooStrong,
            };
            let falls =
                [Collapse, DimensionalCollapse, PredictorAbsent, TargetAhead, WeightDecayTooStrong, RateTooHigh];
            falls.contains(&finding.watch)
        };
        self.verdict.is_bad() || self.findings.iter().any(fell)
    }
}
