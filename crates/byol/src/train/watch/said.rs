//! What a rule says, and where in the run that is.

use super::facts::Facts;
use super::finding::{Cause, Finding};
use super::series::Series;

/// A finding without its place.
pub(super) struct Said {
    pub watch: Cause,
    pub found: String,
    pub likely_cause: String,
    pub remedy: String,
}

pub(super) fn at(series: &Series, facts: &Facts, said: Said) -> Finding {
    let Said { watch, found, likely_cause, remedy } = said;
    let step = taken(series);
    let epoch = step as f64 / facts.schedule.total_steps.max(1) as f64 * facts.config.schedule.epochs;
    Finding { watch, step, epoch, found, likely_cause, remedy }
}

/// Steps taken, by the lines that are there.
pub(super) fn taken(series: &Series) -> u64 {
    let logged = series.steps.last().map_or(0, |metrics| metrics.step + 1);
    logged.max(series.online.last().map_or(0, |measured| measured.step))
}
