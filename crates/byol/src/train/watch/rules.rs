//! The rules: from what a run has said of itself to what is wrong with it. Pure functions; thresholds and where they come from are
//! in docs/watching.md.

use super::facts::Facts;
use super::fall::{FLAT_LOSS, GROWTH, collapse, dimensional_collapse, growth, loss_share, rate_too_high};
use super::finding::{Cause, Finding};
use super::said::{Said, at, taken};
use super::series::{Measurement, Series};
use super::verdict::{KnnGain, Learning, verdict};
use crate::method::TargetKind;

/// The same for a loss with negatives, which has a large constant part.
const FLAT_LOSS_WITH_NEGATIVES: f64 = 0.985;
/// Share of its first weights that the target may keep to the end.
const TARGET_START_SHARE: f64 = 0.3;
/// Shares of the measured pictures.
const FLAT_PICTURES: f64 = 0.5;
const EQUAL_PICTURES: f64 = 0.2;
/// Distance of two views beside that of two pictures, with random weights.
const EQUAL_VIEWS: f64 = 0.02;
/// Share of the time.
const STARVED: f64 = 0.5;
const STARVED_LINES: usize = 5;
const FLAT_LINES: usize = 8;

/// What is wrong with a run so far, the most specific first; what another finding explains is left out.
pub fn findings(series: &Series, facts: &Facts) -> Vec<Finding> {
    let rules = [
        flat_pictures,
        equal_pictures,
        equal_views,
        frozen_weights,
        dead_predictor,
        slow_target,
        collapse,
        rate_too_high,
        flat_loss,
        dimensional_collapse,
        worse_neighbours,
        views_not_learned,
        starved,
    ];
    let mut found: Vec<Finding> = rules.iter().filter_map(|rule| rule(series, facts)).collect();
    found.sort_by_key(|finding| finding.watch);
    found.dedup_by_key(|finding| finding.watch);
    let causes: Vec<Cause> = found.iter().map(|finding| finding.watch).collect();
    found.retain(|finding| !causes.iter().any(|&cause| explains(cause, finding.watch)));
    found
}

/// Whether `cause` is why `symptom` is there.
fn explains(cause: Cause, symptom: Cause) -> bool {
    use Cause::*;
    match symptom {
        Collapse | RateTooLow | DimensionalCollapse => {
            (cause < RateTooLow && cause != TargetBehind) || (cause, symptom) == (Collapse, DimensionalCollapse)
        }
        ProbeUpKnnDown | KnnNotAboveStart | ViewsNotLearned => cause < symptom,
        _ => false,
    }
}

fn flat_pictures(series: &Series, facts: &Facts) -> Option<Finding> {
    let share = series.online.last()?.flat_share.filter(|&share| share >= FLAT_PICTURES)?;
    Some(at(series, facts, Said {
        watch: Cause::FlatPictures,
        found: format!("{:.0} % of the measured pictures are of one colour", 100.0 * share),
        likely_cause: "broken or empty files, a mask in place of the picture, or the wrong channel".to_owned(),
        remedy: "look at what training sees with `byol preview DATA -o views.png`, and at the files with `byol doctor DATA`".to_owned(),
    }))
}

fn equal_pictures(series: &Series, facts: &Facts) -> Option<Finding> {
    let share = series.online.last()?.equal_share.filter(|&share| share >= EQUAL_PICTURES)?;
    Some(at(
        series,
        facts,
        Said {
            watch: Cause::EqualPictures,
            found: format!("{:.0} % of the measured pictures are equal to another one, pixel by pixel", 100.0 * share),
            likely_cause: "copies in the data: the run has fewer pictures than it counts, and k-NN finds the copies"
                .to_owned(),
            remedy: "`byol doctor DATA` lists the copies; remove them and start again".to_owned(),
        },
    ))
}

fn equal_views(series: &Series, facts: &Facts) -> Option<Finding> {
    let distance = series.start()?.view_distance().filter(|&distance| distance < EQUAL_VIEWS)?;
    Some(at(series, facts, Said {
        watch: Cause::EqualViews,
        found: format!("two views of a picture are {:.1} % as far apart as two pictures, before any training", 100.0 * distance),
        likely_cause: "the views are (almost) the picture itself, and there is nothing to learn from telling that".to_owned(),
        remedy: "--set views.view1.crop_area_min=0.2 --set views.view2.crop_area_min=0.2 --set views.view1.jitter_p=0.8 --set \
                 views.view2.jitter_p=0.8; see them with `byol preview`"
            .to_owned(),
    }))
}

fn frozen_weights(series: &Series, facts: &Facts) -> Option<Finding> {
    let optimizer = &facts.config.optimizer;
    facts.is_frozen().then(|| {
        let (found, remedy) = match facts.schedule.peak_learning_rate == 0.0 {
            true => {
                ("schedule.base_learning_rate is 0", "--set schedule.base_learning_rate=…, with the preset's value")
            }
            false => (
                "optimizer.trust_coefficient is 0, and LARS multiplies every step by it",
                "--set optimizer.trust_coefficient=0.001",
            ),
        };
        at(
            series,
            facts,
            Said {
                watch: Cause::FrozenWeights,
                found: found.to_owned(),
                likely_cause: format!("no step of {:?} moves a weight", optimizer.kind),
                remedy: remedy.to_owned(),
            },
        )
    })
}

fn dead_predictor(series: &Series, facts: &Facts) -> Option<Finding> {
    facts.has_dead_predictor().then(|| {
        at(
            series,
            facts,
            Said {
                watch: Cause::PredictorDead,
                found: "optimizer.predictor_rate_factor is 0".to_owned(),
                likely_cause: "the predictor stays random, and what is left pulls the projections together".to_owned(),
                remedy: "--set optimizer.predictor_rate_factor=1".to_owned(),
            },
        )
    })
}

fn slow_target(series: &Series, facts: &Facts) -> Option<Finding> {
    let share = facts.target_start_share().filter(|&share| share >= TARGET_START_SHARE)?;
    let last = series.online.last().filter(|measured| measured.step > 0);
    let distance = last.and_then(|measured| measured.target_distance);
    let distance =
        distance.map(|distance| format!("; now it is {distance:.2} of the weights' norm away")).unwrap_or_default();
    let remedy = match facts.config.model.target {
        TargetKind::Fixed => "--set model.target=moving_average".to_owned(),
        _ if facts.config.schedule.target_ema <= facts.fitting_target_ema() => {
            "more steps: --epochs, or smaller batches".to_owned()
        }
        _ => format!("--set schedule.target_ema={}, or more steps", facts.fitting_target_ema()),
    };
    Some(at(
        series,
        facts,
        Said {
            watch: Cause::TargetBehind,
            found: format!(
                "after all {} steps the target still holds {:.0} % of the network it began as{distance}",
                facts.schedule.total_steps,
                100.0 * share
            ),
            likely_cause: "τ is too high for so few steps: the online network learns to predict random weights"
                .to_owned(),
            remedy,
        },
    ))
}

fn flat_loss(series: &Series, facts: &Facts) -> Option<Finding> {
    let schedule = &facts.schedule;
    let judged_from = (schedule.warmup_steps + schedule.total_steps / 10).max(schedule.total_steps / 3);
    let began = series.steps.first().is_some_and(|metrics| metrics.step == 0);
    if !began || series.steps.len() < FLAT_LINES || taken(series) < judged_from {
        return None;
    }
    let flat = if facts.has_negatives() { FLAT_LOSS_WITH_NEGATIVES } else { FLAT_LOSS };
    let share = loss_share(series).filter(|&share| share >= flat)?;
    // Weights that run away keep the loss up as well; that has a rule of its own.
    if growth(series).is_some_and(|growth| growth >= GROWTH) {
        return None;
    }
    let moved = growth(series)
        .map(|growth| format!("; the encoder's weights are {growth:.4} times those of step 0"))
        .unwrap_or_default();
    Some(at(
        series,
        facts,
        Said {
            watch: Cause::RateTooLow,
            found: format!("the loss is {:.0} % of its first{moved}", 100.0 * share),
            likely_cause: format!("the learning rate is too low for {:?}", facts.config.optimizer.kind),
            remedy: facts.rate_flag(10.0),
        },
    ))
}

fn worse_neighbours(series: &Series, facts: &Facts) -> Option<Finding> {
    let (start, now) = (series.start()?, series.online.last()?);
    let gain = KnnGain::between(start, now, facts)?;
    let is_done = now.step >= facts.schedule.total_steps;
    let is_worse = |measured: &Measurement| {
        measured.step >= facts.schedule.total_steps / 2
            && KnnGain::between(start, measured, facts).is_some_and(|gain| gain.points() < -2.0 * gain.deviation)
    };
    let before = series.online.iter().rev().nth(1);
    let lasts = is_worse(now) && before.is_some_and(is_worse);
    let ended_badly = is_done && matches!(verdict(series, facts).learning, Learning::Nothing | Learning::Harmed);
    if !lasts && !ended_badly {
        return None;
    }
    let probe_rose = start.linear_probe_top1.zip(now.linear_probe_top1).is_some_and(|(before, after)| {
        after > before + 2.0 * gain.deviation && after > now.majority_top1.unwrap_or(0.0) + 2.0 * gain.deviation
    });
    let said = match probe_rose && gain.points() < -gain.deviation {
        true => Said {
            watch: Cause::ProbeUpKnnDown,
            found: format!(
                "{gain}, while the probe went from {:.1} to {:.1} %",
                start.linear_probe_top1?, now.linear_probe_top1?
            ),
            likely_cause: "what tells classes apart is there, but other directions decide who is a neighbour"
                .to_owned(),
            remedy:
                "judge by `byol eval linear`; for search and k-NN: weaker colour (--set views.view1.jitter_p=0.4 --set \
                     views.view2.jitter_p=0.4) or more steps"
                    .to_owned(),
        },
        false => not_above_start(start, now, facts, &gain),
    };
    Some(at(series, facts, said))
}

/// Two reasons can be told apart: the views were learned, but not the classes; or not even the views.
fn not_above_start(start: &Measurement, now: &Measurement, facts: &Facts, gain: &KnnGain) -> Said {
    /// From here on two views of a picture are recognised.
    const VIEWS_LEARNED: f64 = 0.7;
    let share = start.view_distance().zip(now.view_distance()).map(|(before, after)| after / before);
    let (likely_cause, remedy) = match share.is_some_and(|share| share < VIEWS_LEARNED) {
        true => (
            "the views are recognised, but they change what tells the classes apart (colour, orientation, small details)".to_owned(),
            "keep in the views what matters: --set views.view1.jitter_p=0.2 --set views.view2.jitter_p=0.2 --set \
             views.view1.crop_area_min=0.3 --set views.view2.crop_area_min=0.3; see them with `byol preview`"
                .to_owned(),
        ),
        false => too_few_steps(facts),
    };
    Said { watch: Cause::KnnNotAboveStart, found: gain.to_string(), likely_cause, remedy }
}

/// Cause and remedy.
fn too_few_steps(facts: &Facts) -> (String, String) {
    let cause = format!("{} steps are too few for this recipe, or its rate is not right", facts.schedule.total_steps);
    let epochs = 4.0 * facts.config.schedule.epochs;
    (cause, format!("--set schedule.epochs={epochs}, or a smaller train.batch_size for more steps; then another rate"))
}

fn views_not_learned(series: &Series, facts: &Facts) -> Option<Finding> {
    let now = series.online.last().filter(|now| now.step >= facts.schedule.total_steps && now.knn_top1.is_none())?;
    let distances = series.start()?.view_distance().zip(now.view_distance());
    let verdict = verdict(series, facts);
    if !verdict.is_bad() {
        return None;
    }
    let found = match distances {
        Some((before, after)) => format!(
            "two views of a picture are {:.0} % as far apart as two pictures, {:.0} % {}",
            100.0 * after,
            100.0 * before,
            facts.at_the_start()
        ),
        None => "all projections are the same".to_owned(),
    };
    let (likely_cause, remedy) = too_few_steps(facts);
    Some(at(series, facts, Said { watch: Cause::ViewsNotLearned, found, likely_cause, remedy }))
}

fn starved(series: &Series, facts: &Facts) -> Option<Finding> {
    let last = series.steps.len().checked_sub(STARVED_LINES).map(|from| &series.steps[from..])?;
    let wait = last.iter().map(|metrics| metrics.data_wait).sum::<f64>() / STARVED_LINES as f64;
    (wait >= STARVED).then(|| {
        at(series, facts, Said {
            watch: Cause::InputStarved,
            found: format!("{:.0} % of the time goes into waiting for pictures", 100.0 * wait),
            likely_cause: "the pictures are much larger than the views, lie on a slow disk, or are read by too few threads".to_owned(),
            remedy: "--set train.loader_threads=0 (one per core); make smaller copies of the pictures once; `byol bench input DATA` \
                     says which stage is slow"
                .to_owned(),
        })
    })
}
