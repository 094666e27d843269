//! What a run has said of itself, as `metrics.jsonl` holds it.

use std::fs;
use std::path::Path;

use byol_nn::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use super::finding::Finding;
use crate::config::KeepBest;
use crate::run::StepMetrics;
use crate::train::monitor::OnlineLine;

/// The lines of a run, each kind rising by step; a step that was taken again counts as it was the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Logged steps.
    pub steps: Vec<StepMetrics>,
    /// Measurements of the run on itself.
    pub online: Vec<Measurement>,
    /// What was found so far.
    pub findings: Vec<Finding>,
}

/// What a line of a measurement says, as far as it is there: older versions measured less.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Measurement {
    /// Optimiser steps taken.
    pub step: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// See [`byol_eval::geometry::rank_me`].
    pub rank_me: Option<f64>,
    /// See [`byol_eval::geometry::alignment`].
    pub alignment: Option<f64>,
    /// See [`byol_eval::geometry::uniformity`].
    pub uniformity: Option<f64>,
    /// Online k-NN, in percent; with labels.
    pub knn_top1: Option<f64>,
    /// The linear probe, in percent; with labels.
    pub linear_probe_top1: Option<f64>,
    /// Share of the largest class, in percent; with labels.
    pub majority_top1: Option<f64>,
    /// Pictures that both were tested on.
    #[serde(default)]
    pub test_images: usize,
    /// Share of pictures that are equal to another one.
    pub equal_share: Option<f64>,
    /// Share of pictures of one colour.
    pub flat_share: Option<f64>,
    /// Euclidean norm of the encoder's weights.
    pub encoder_norm: Option<f64>,
    /// `‖θ − ξ‖ / ‖θ‖`.
    pub target_distance: Option<f64>,
    /// Time it took.
    pub seconds: Option<f64>,
}

impl Series {
    /// Reads a `metrics.jsonl`; torn lines and those of other kinds are left out.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::of(&fs::read_to_string(path).map_err(Error::io("read", path))?))
    }

    /// The series in the text of a `metrics.jsonl`.
    pub fn of(text: &str) -> Self {
        let mut series = Self::default();
        for value in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if value.get("watch").is_some() {
                series.findings.extend(serde_json::from_value(value).ok());
            } else if value.get("eval").is_some_and(|eval| eval == "online") {
                series.online.extend(serde_json::from_value::<Measurement>(value).ok());
            } else if value.get("eval").is_none() {
                series.steps.extend(serde_json::from_value::<StepMetrics>(value).ok());
            }
        }
        // Sorting is stable: of equal steps the last line stays.
        series.steps.sort_by_key(|metrics| metrics.step);
        series.online.sort_by_key(|measured| measured.step);
        dedup_keeping_last(&mut series.steps, |metrics| metrics.step);
        dedup_keeping_last(&mut series.online, |measured| measured.step);
        series
    }

    /// The measurement before the first step: the network with random weights, under the same measurement.
    pub fn start(&self) -> Option<&Measurement> {
        self.online.first().filter(|measured| measured.step == 0)
    }
}

fn dedup_keeping_last<T>(lines: &mut Vec<T>, step: impl Fn(&T) -> u64) {
    lines.reverse();
    lines.dedup_by_key(|line| step(line));
    lines.reverse();
}

impl Measurement {
    /// How far apart two views of a picture are, beside two different pictures: alignment / (−uniformity / 2), both squared
    /// distances on the unit sphere; about 1 where views are not recognised, towards 0 where they are. Its fall follows k-NN
    /// (docs/watching.md).
    pub fn view_distance(&self) -> Option<f64> {
        let (alignment, uniformity) = self.alignment.zip(self.uniformity)?;
        (uniformity < -1e-6).then(|| alignment / (-uniformity / 2.0))
    }

    /// The number that decides which encoder is best.
    pub fn number(&self, by: KeepBest) -> Option<f64> {
        match by {
            KeepBest::None => None,
            KeepBest::Knn => self.knn_top1,
            KeepBest::RankMe => self.rank_me,
            KeepBest::Probe => self.linear_probe_top1,
        }
    }
}

impl From<&OnlineLine> for Measurement {
    fn from(line: &OnlineLine) -> Self {
        let numbers = &line.numbers;
        Self {
            step: line.step,
            epoch: line.epoch,
            rank_me: Some(numbers.rank_me),
            alignment: Some(numbers.alignment),
            uniformity: Some(numbers.uniformity),
            knn_top1: numbers.knn_top1,
            linear_probe_top1: numbers.linear_probe_top1,
            majority_top1: line.majority_top1,
            test_images: line.test_images,
            equal_share: Some(line.equal_share),
            flat_share: Some(line.flat_share),
            encoder_norm: Some(numbers.encoder_norm),
            target_distance: Some(numbers.target_distance),
            seconds: Some(numbers.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_kind_and_the_last_of_a_step_counts() {
        let step = |step: u64, loss: f64| {
            format!(
                "{{\"step\":{step},\"epoch\":0.5,\"loss\":{loss},\"learning_rate\":0.1,\"target_ema\":0.9,\
                 \"images_per_second\":1.0,\"data_wait\":0.0,\"projection_std\":0.1,\"positive_cosine\":0.5,\"grad_norm\":1.0}}"
            )
        };
        let lines = [
            "{\"eval\":\"online\",\"step\":0,\"epoch\":0.0,\"rank_me\":8.0,\"alignment\":0.08,\"uniformity\":-0.2}".to_owned(),
            step(0, 4.0),
            step(10, 3.0),
            step(10, 2.0),
            "{\"eval\":\"knn\",\"step\":10,\"epoch\":1.0}".to_owned(),
            "{\"eval\":\"online\",\"step\":10,\"epoch\":1.0,\"rank_me\":null,\"knn_top1\":30.0}".to_owned(),
            "{\"watch\":\"collapse\",\"step\":11,\"epoch\":1.0,\"found\":\"a\",\"likely_cause\":\"b\",\"remedy\":\"c\"}".to_owned(),
            "{\"st".to_owned(),
        ];
        let series = Series::of(&lines.join("\n"));
        assert_eq!(series.steps.iter().map(|metrics| metrics.loss).collect::<Vec<_>>(), [4.0, 2.0]);
        assert_eq!((series.online.len(), series.findings.len()), (2, 1));
        assert!((series.start().unwrap().view_distance().unwrap() - 0.8).abs() < 1e-9);
        let last = &series.online[1];
        assert_eq!((last.rank_me, last.view_distance(), last.number(KeepBest::Knn)), (None, None, Some(30.0)));
    }
}
