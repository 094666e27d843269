//! Whether a run learned anything, and whether going on would help.

use std::fmt;

use serde::Serialize;

use super::facts::Facts;
use super::series::{Measurement, Series};

/// What a run did to the encoder, against the network at step 0 under the same measurement: random weights, or those of `--init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Learning {
    /// Clearly better.
    Learned,
    /// Better, but not by much or not for certain.
    Little,
    /// No better than chance would have it.
    Nothing,
    /// Worse.
    Harmed,
    /// What was measured does not say.
    Unclear,
}

/// The verdict on a run, with the numbers that say so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// In a word.
    pub learning: Learning,
    /// In a sentence.
    pub sentence: String,
}

impl Verdict {
    /// Whether the run was of use, as far as is known.
    pub fn is_bad(&self) -> bool {
        matches!(self.learning, Learning::Nothing | Learning::Harmed)
    }
}

/// The online k-NN of two measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnGain {
    before: f64,
    after: f64,
    /// Standard deviation of the difference, in points: √(p₀(1 − p₀)/n + p₁(1 − p₁)/n), with p = (right + 1)/(n + 2), so that none
    /// and all right are not certain either. Both are tested on the same pictures, which makes the true one smaller.
    pub deviation: f64,
    /// What the encoder was before.
    at_the_start: &'static str,
}

impl KnnGain {
    /// `None` without labels.
    pub fn between(start: &Measurement, now: &Measurement, facts: &Facts) -> Option<Self> {
        let (before, after) = (start.knn_top1?, now.knn_top1?);
        let images = now.test_images.max(1) as f64;
        let variance = |top1: f64| {
            let share = (top1 / 100.0 * images + 1.0) / (images + 2.0);
            1e4 * share * (1.0 - share) / images
        };
        let deviation = (variance(before) + variance(after)).sqrt();
        Some(Self { before, after, deviation, at_the_start: facts.at_the_start() })
    }

    /// Percentage points.
    pub fn points(&self) -> f64 {
        self.after - self.before
    }
}

impl fmt::Display for KnnGain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, deviation, at_the_start } = self;
        write!(f, "k-NN {after:.1} % now, {before:.1} % {at_the_start} (±{deviation:.1})")
    }
}

/// A gain is clear from here on, in points, and in deviations.
const CLEAR_POINTS: f64 = 4.0;
const CLEAR_DEVIATIONS: f64 = 2.0;
/// With a larger deviation k-NN says nothing about differences that matter, unless they are as clear.
const LARGEST_DEVIATION: f64 = 6.0;
/// Shares of the distance of two views at step 0; see docs/watching.md.
const CLEAR_DISTANCE: f64 = 0.6;
const SOME_DISTANCE: f64 = 0.85;
/// Share of the rank of step 0.
const LOST_RANK: f64 = 0.25;

/// The verdict on what a run has measured so far.
pub fn verdict(series: &Series, facts: &Facts) -> Verdict {
    let unclear = |sentence: &str| Verdict { learning: Learning::Unclear, sentence: sentence.to_owned() };
    let (Some(start), Some(now)) = (series.start(), series.online.last()) else {
        return unclear(
            "nothing was measured before the first step (eval.every_epochs = 0?), so nothing says what the run learned",
        );
    };
    if now.step == 0 {
        return unclear("no step was measured yet");
    }
    match KnnGain::between(start, now, facts) {
        Some(gain) => by_labels(gain, start, now),
        None => without_labels(start, now, facts),
    }
}

fn by_labels(gain: KnnGain, start: &Measurement, now: &Measurement) -> Verdict {
    let (points, deviation) = (gain.points(), gain.deviation);
    let majority = now.majority_top1.unwrap_or(0.0);
    let chance = format!("; always the largest class: {majority:.1} %");
    if deviation > LARGEST_DEVIATION && points.abs() < CLEAR_DEVIATIONS * deviation {
        let sentence = format!("{gain}: {} held-out pictures are too few to tell", now.test_images);
        return Verdict { learning: Learning::Unclear, sentence };
    }
    let is_below_chance = now.knn_top1 < now.majority_top1 && start.knn_top1 < start.majority_top1;
    let (learning, words) = if points < -deviation {
        (Learning::Harmed, "the run HARMED the encoder")
    } else if points < deviation || is_below_chance {
        (Learning::Nothing, "the run learned NOTHING that shows")
    } else if points < CLEAR_POINTS.max(CLEAR_DEVIATIONS * deviation) {
        (Learning::Little, "the run learned little")
    } else {
        (Learning::Learned, "the run learned")
    };
    Verdict { learning, sentence: format!("{gain}{chance}: {words}") }
}

fn without_labels(start: &Measurement, now: &Measurement, facts: &Facts) -> Verdict {
    let more = "; a folder per class, or labels for a few hundred pictures, would tell more";
    let ranks = start.rank_me.zip(now.rank_me);
    let distances = start.view_distance().zip(now.view_distance());
    let (Some((rank_before, rank)), Some((before, after))) = (ranks, distances) else {
        let sentence = "all projections are the same: the run HARMED the encoder".to_owned();
        let learning = if now.view_distance().is_none() { Learning::Harmed } else { Learning::Unclear };
        let unknown = "the first measurement says nothing to compare with".to_owned();
        return Verdict { learning, sentence: if learning == Learning::Harmed { sentence } else { unknown } };
    };
    let (learning, words) = if rank < LOST_RANK * rank_before {
        (Learning::Harmed, "the run HARMED the encoder")
    } else if after <= CLEAR_DISTANCE * before {
        (Learning::Learned, "the run learned")
    } else if after <= SOME_DISTANCE * before {
        (Learning::Little, "the run learned little")
    } else {
        (Learning::Nothing, "the run learned NOTHING that shows")
    };
    let (size, at_the_start) = (facts.config.model.arch.representation_size(), facts.at_the_start());
    let sentence = format!(
        "views of a picture are {:.0} % as far apart as different pictures, {:.0} % {at_the_start}; RankMe {rank:.1} of {size}, \
         {rank_before:.1} {at_the_start}: {words}{more}",
        100.0 * after,
        100.0 * before
    );
    Verdict { learning, sentence }
}

/// Whether a longer run would help, from RankMe and the distance of views over the last third; `None` where that was not measured.
/// Needs no labels.
pub fn advice(series: &Series, facts: &Facts) -> Option<String> {
    /// Relative changes over the last third that count.
    const FALLING: f64 = 0.05;
    const RANK_LOST: f64 = 0.1;
    let now = series.online.last()?;
    let from = series.online.iter().rev().find(|measured| 3 * measured.step <= 2 * facts.schedule.total_steps)?;
    if from.step == 0 || from.step == now.step {
        return None;
    }
    let change = |before: f64, after: f64| (after - before) / before.max(1e-9);
    let distance = change(from.view_distance()?, now.view_distance()?);
    let rank = change(from.rank_me?, now.rank_me?);
    let numbers =
        format!("over the last third RankMe {:+.0} %, distance of views {:+.0} %", 100.0 * rank, 100.0 * distance);
    let epochs = facts.config.schedule.epochs;
    let words = if self::verdict(series, facts).is_bad() {
        "more steps of this recipe would not mend that; change what the watch names, or --preset, first".to_owned()
    } else if rank < -RANK_LOST {
        "stop: the representation is losing dimensions; an earlier encoder may be better (--set train.keep_best=rank_me keeps it)".to_owned()
    } else if distance < -FALLING || (rank > FALLING && distance < FALLING) {
        format!("it was still learning: a new run with --set schedule.epochs={} would likely learn more", 2.0 * epochs)
    } else {
        "stop: it has levelled off, and more steps of this recipe would bring little".to_owned()
    };
    let share = now.step as f64 / facts.schedule.total_steps.max(1) as f64;
    let healthy = facts.healthy_runs().zip(series.start());
    let beside = healthy.and_then(|(runs, start)| runs.beside(start, now, share));
    Some(format!("{numbers}: {words}{}", beside.map_or(String::new(), |beside| format!(". {beside}"))))
}
