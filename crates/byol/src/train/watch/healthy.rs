//! Recorded healthy runs, to lay the curves of another run of the same preset over.
//!
//! Pictures, length and machine of a run differ from the recorded ones, so numbers are compared at the same share of the run, and
//! those that depend on the pictures relative to step 0. How a run is recorded: docs/watching.md.

use super::series::{Measurement, Series};
use crate::preset::Preset;

/// Logs of runs that learned: a line about the run, then its measurements as `metrics.jsonl` had them.
const SMALL: [&str; 3] = [
    include_str!("healthy/small-cifar10.jsonl"),
    include_str!("healthy/small-clip-art.jsonl"),
    include_str!("healthy/small-emoji.jsonl"),
];

/// Numbers that can be compared between runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// RankMe, as a multiple of that at step 0.
    RankMe,
    /// Distance of two views beside that of two pictures, see [`Measurement::view_distance`].
    ViewDistance,
    /// Mean squared distance of two views.
    Alignment,
    /// Log mean Gaussian potential.
    Uniformity,
    /// Online k-NN, in points above step 0; with labels.
    KnnTop1,
}

impl Number {
    /// Its value for `now`, in a run that began with `start`.
    fn of(self, start: &Measurement, now: &Measurement) -> Option<f64> {
        match self {
            Self::RankMe => Some(now.rank_me? / start.rank_me?.max(1e-9)),
            Self::ViewDistance => now.view_distance(),
            Self::Alignment => now.alignment,
            Self::Uniformity => now.uniformity,
            Self::KnnTop1 => Some(now.knn_top1? - start.knn_top1?),
        }
    }

    /// What `value` is as a measurement of a run that began with `start`: the inverse of what was made relative.
    pub fn placed(self, value: f64, start: &Measurement) -> Option<f64> {
        match self {
            Self::RankMe => Some(value * start.rank_me?),
            Self::KnnTop1 => Some(value + start.knn_top1?),
            Self::ViewDistance | Self::Alignment | Self::Uniformity => Some(value),
        }
    }
}

/// The recorded runs of a preset.
#[derive(Clone, Debug)]
pub struct HealthyRuns {
    runs: Vec<Series>,
}

impl HealthyRuns {
    /// Those of `preset`; `None` where none is recorded.
    pub fn of(preset: Preset) -> Option<Self> {
        match preset {
            Preset::Small => Some(Self { runs: SMALL.map(Series::of).to_vec() }),
            _ => None,
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    /// Least and greatest `number` when `share` (0 to 1) of a run was done.
    pub fn band(&self, number: Number, share: f64) -> Option<[f64; 2]> {
        let values = self.runs.iter().filter_map(|run| at(run, number, share));
        values.map(|value| [value; 2]).reduce(|[low, high], [value, _]| [low.min(value), high.max(value)])
    }

    /// How a run that began with `start` stands beside them after `share` of its steps, in a sentence for people.
    pub fn beside(&self, start: &Measurement, now: &Measurement, share: f64) -> Option<String> {
        let compared = [(Number::RankMe, "RankMe", " times step 0"), (Number::ViewDistance, "distance of views", "")];
        let parts = compared.into_iter().filter_map(|(number, name, unit)| {
            let value = number.of(start, now)?;
            let [low, high] = self.band(number, share)?;
            let place = match value {
                value if value < low => "below",
                value if value > high => "above",
                _ => "within",
            };
            Some(format!("{name} {value:.2}{unit} is {place} their {low:.2} to {high:.2}"))
        });
        let parts: Vec<String> = parts.collect();
        (!parts.is_empty())
            .then(|| format!("Beside {} recorded healthy runs of this preset: {}", self.count(), parts.join(", ")))
    }
}

/// `number` of a run after `share` of its steps, between its measurements on a straight line.
fn at(run: &Series, number: Number, share: f64) -> Option<f64> {
    let (start, last) = (run.start()?, run.online.last()?);
    let step = share.clamp(0.0, 1.0) * last.step as f64;
    let after = run.online.iter().position(|measured| measured.step as f64 >= step)?;
    let [before, after] = [after.saturating_sub(1), after].map(|place| &run.online[place]);
    let [from, to] = [number.of(start, before)?, number.of(start, after)?];
    let way = (after.step - before.step).max(1) as f64;
    Some(from + (to - from) * ((step - before.step as f64) / way).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(step: u64, rank_me: f64, knn_top1: f64) -> Measurement {
        Measurement { step, rank_me: Some(rank_me), knn_top1: Some(knn_top1), ..Measurement::default() }
    }

    fn run(ranks: [f64; 3]) -> Series {
        let online = (0..3).map(|place| measured(10 * place as u64, ranks[place], 20.0 + place as f64)).collect();
        Series { online, ..Series::default() }
    }

    #[test]
    fn runs_of_other_lengths_and_pictures_are_compared_by_share_and_by_their_start() {
        let healthy = HealthyRuns { runs: vec![run([10.0, 20.0, 30.0]), run([2.0, 3.0, 4.0])] };
        assert_eq!(healthy.band(Number::RankMe, 0.0), Some([1.0, 1.0]));
        assert_eq!(healthy.band(Number::RankMe, 0.25), Some([1.25, 1.5]), "between two measurements");
        assert_eq!(healthy.band(Number::RankMe, 1.0), Some([2.0, 3.0]));
        assert_eq!(healthy.band(Number::KnnTop1, 0.75), Some([1.5, 1.5]));
        assert_eq!(healthy.band(Number::Alignment, 0.5), None, "was not measured");
        let start = measured(0, 40.0, 10.0);
        assert_eq!(Number::RankMe.placed(2.0, &start), Some(80.0));
        assert_eq!(Number::KnnTop1.placed(1.5, &start), Some(11.5));
        let sentence = healthy.beside(&start, &measured(500, 60.0, 10.0), 1.0).unwrap();
        assert!(sentence.contains("RankMe 1.50 times step 0 is below their 2.00 to 3.00"), "{sentence}");
    }

    #[test]
    fn every_recorded_run_began_at_step_0_and_learned() {
        for preset in Preset::ALL {
            let Some(healthy) = HealthyRuns::of(preset) else { continue };
            for run in &healthy.runs {
                let (start, last) = (run.start().unwrap(), run.online.last().unwrap());
                assert!(Number::KnnTop1.of(start, last).unwrap() > 4.0);
                assert!(run.online.len() >= 8, "{} measurements", run.online.len());
            }
            assert!(healthy.band(Number::RankMe, 0.5).is_some() && healthy.band(Number::ViewDistance, 1.0).is_some());
        }
    }
}
