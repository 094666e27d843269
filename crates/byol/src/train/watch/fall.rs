//! How a representation falls, and the rate that makes it fall.

use byol_nn::optim::OptimizerKind;

use super::facts::Facts;
use super::finding::{Cause, Finding};
use super::said::{Said, at};
use super::series::{Measurement, Series};
use super::verdict::KnnGain;

/// Below this share of 1/√size the projections count as collapsed.
pub const COLLAPSE_SHARE: f64 = 0.1;
/// Below this share of the rank of random weights the representation has collapsed in most dimensions.
const RANK_SHARE: f64 = 0.25;
/// Growth and shrinkage of the encoder's weights since step 0 that no healthy run has shown.
pub(super) const GROWTH: f64 = 1.8;
const SHRINKAGE: f64 = 0.2;
/// Growth per step, as a logarithm, that is too fast: LARS lets weights grow many times over, but slowly.
const GROWTH_PER_STEP: f64 = 0.003;
/// Share of its first value above which a loss is flat.
pub(super) const FLAT_LOSS: f64 = 0.88;
/// Logged steps that a collapse must last for.
const LASTING_LINES: usize = 3;

pub(super) fn collapse(series: &Series, facts: &Facts) -> Option<Finding> {
    let last = series.steps.len().checked_sub(LASTING_LINES).map(|from| &series.steps[from..])?;
    let healthy = facts.healthy_std();
    if !last.iter().all(|metrics| f64::from(metrics.projection_std) < COLLAPSE_SHARE * healthy) {
        return None;
    }
    let found =
        format!("projection_std is {:.5}, healthy is about {healthy:.4}", last[LASTING_LINES - 1].projection_std);
    Some(at(series, facts, fallen(series, facts, Cause::Collapse, found)))
}

/// The rank of one measurement may be that of a transient: it must last for two, or be the last of the run.
pub(super) fn dimensional_collapse(series: &Series, facts: &Facts) -> Option<Finding> {
    let before = series.start()?.rank_me?;
    let has_fallen = |measured: &Measurement| {
        let is_late = measured.step > 0 && measured.step >= facts.schedule.warmup_steps;
        is_late && measured.rank_me.is_some_and(|after| after < RANK_SHARE * before)
    };
    let mut latest = series.online.iter().rev();
    let (now, earlier) = (latest.next()?, latest.next()?);
    if !has_fallen(now) || (now.step < facts.schedule.total_steps && !has_fallen(earlier)) {
        return None;
    }
    let after = now.rank_me?;
    let at_the_start = facts.at_the_start();
    let found = format!("RankMe is {after:.1}, {before:.1} {at_the_start}, while projection_std looks sound");
    Some(at(series, facts, fallen(series, facts, Cause::DimensionalCollapse, found)))
}

/// Why the representation fell: what the settings and the weights say, else `symptom` itself.
fn fallen(series: &Series, facts: &Facts, symptom: Cause, found: String) -> Said {
    let decay = facts.config.optimizer.weight_decay;
    let growth = growth(series);
    let grown = growth
        .map(|growth| format!("; the encoder's weights are {growth:.2} times those of step 0"))
        .unwrap_or_default();
    let (watch, likely_cause, remedy) = if facts.lacks_predictor() && !facts.has_negatives() {
        (
            Cause::PredictorAbsent,
            "without a predictor equal projections are the best answer",
            "--set model.predictor=mlp".to_owned(),
        )
    } else if facts.target_is_ahead() && !facts.has_negatives() {
        let remedy =
            format!("--set model.target=moving_average --set schedule.target_ema={}", facts.fitting_target_ema());
        (Cause::TargetAhead, "the target moves with the online network, so that both may fall together", remedy)
    } else if growth.is_some_and(|growth| growth < SHRINKAGE) {
        let remedy = format!("--set optimizer.weight_decay={}", decay / 100.0);
        (Cause::WeightDecayTooStrong, "weight decay takes more than the gradient gives", remedy)
    } else if growth.is_some_and(|growth| growth >= GROWTH) {
        (Cause::RateTooHigh, "the learning rate is too high for this optimiser", facts.rate_flag(0.1))
    } else {
        let both = format!("{}; then --set optimizer.weight_decay={}", facts.rate_flag(0.2), decay / 10.0);
        (symptom, "most often a rate or weight decay that is too high for this optimiser and batch", both)
    };
    Said { watch, found: found + &grown, likely_cause: likely_cause.to_owned(), remedy }
}

/// The encoder's weights beside those of step 0.
pub(super) fn growth(series: &Series) -> Option<f64> {
    let (before, now) = (series.start()?.encoder_norm?, series.online.last()?.encoder_norm?);
    (before > 0.0).then(|| now / before)
}

pub(super) fn rate_too_high(series: &Series, facts: &Facts) -> Option<Finding> {
    let (start, now) = (series.start()?, series.online.last()?);
    let growth = growth(series).filter(|&growth| growth >= GROWTH && now.step > 0)?;
    let rank = start.rank_me.zip(now.rank_me);
    let signs = [
        (growth.ln() >= GROWTH_PER_STEP * now.step as f64).then(|| format!("after no more than {} steps", now.step)),
        rank.filter(|(before, after)| *after < 0.5 * before)
            .map(|(before, after)| format!("RankMe {after:.1} ({before:.1})")),
        KnnGain::between(start, now, facts)
            .filter(|gain| gain.points() < -2.0 * gain.deviation)
            .map(|gain| gain.to_string()),
        loss_share(series)
            .filter(|&share| share >= FLAT_LOSS)
            .map(|share| format!("the loss is {:.0} % of its first", 100.0 * share)),
    ];
    let sign = signs.into_iter().flatten().next()?;
    let kind = facts.config.optimizer.kind;
    let usual = match kind {
        OptimizerKind::Sgd => "0.03 to 0.4",
        OptimizerKind::Adam | OptimizerKind::Adamw => "0.0005 to 0.005",
        OptimizerKind::Lars => "0.2 to 2",
    };
    Some(at(
        series,
        facts,
        Said {
            watch: Cause::RateTooHigh,
            found: format!("the encoder's weights are {growth:.1} times those of step 0; {sign}"),
            likely_cause: format!("the learning rate is too high; {kind:?} takes base rates of about {usual}"),
            remedy: format!("{}, or a longer schedule.warmup_epochs", facts.rate_flag(0.1)),
        },
    ))
}

/// The loss of the last quarter of the logged steps beside the first one.
pub(super) fn loss_share(series: &Series) -> Option<f64> {
    let losses: Vec<f64> = series.steps.iter().map(|metrics| f64::from(metrics.loss)).collect();
    let first = *losses.first().filter(|&&loss| loss > 0.0)?;
    let last = &losses[losses.len() - losses.len().div_ceil(4)..];
    Some(last.iter().sum::<f64>() / last.len() as f64 / first)
}
