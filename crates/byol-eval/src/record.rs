//! What every protocol says: numbers of networks side by side, with all that fixes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use byol_data::views::EvaluationConfig;
use byol_nn::files::write_atomically;
use byol_nn::model::Arch;
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The outcome of one protocol: a line of `metrics.jsonl` and an entry of `evaluation.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The protocol: `knn`, `linear`, `finetune`, `semi`, `transfer` or `ablate`.
    pub eval: String,
    /// The encoder as it was named on the command line.
    pub encoder: String,
    /// Its architecture.
    pub arch: Arch,
    /// How it was trained, in one line.
    pub training: String,
    /// Optimiser steps it was trained for.
    pub step: u64,
    /// Which pictures train and which test.
    pub data: String,
    /// How pictures were prepared.
    pub preprocessing: EvaluationConfig,
    /// Training pictures, those held out to choose among them.
    pub train_images: usize,
    /// Test pictures.
    pub test_images: usize,
    /// Names of the classes, in the order of the confusion counts.
    pub classes: Vec<String>,
    /// Everything else that fixes the numbers, in words.
    pub protocol: String,
    /// The networks, the encoder first.
    pub rows: Vec<Row>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Whose numbers.
    pub network: Network,
    /// The network in words, for example `resnet18x0.5, random weights`.
    pub name: String,
    /// What tells this row from others of the same network: `1 % of the labels`, `k 20, T 0.07`; may be empty.
    pub setting: String,
    /// The seeds that were averaged.
    pub seeds: Vec<u64>,
    /// By metric: `top1`, `top5`, `mean_per_class`, `map11`, in percent.
    pub numbers: BTreeMap<String, Statistic>,
    /// What was chosen on held-out pictures (learning rate, ℓ2, epochs), one entry per seed.
    pub chosen: Vec<Value>,
    /// Test pictures of class i that were taken for class j, `[i][j]`, of the first seed; absent where it makes no sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<u32>>>,
}

/// Whose numbers a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The encoder that was asked about.
    Encoder,
    /// Random weights of the same architecture, frozen as the encoder is.
    Random,
    /// The same architecture trained with labels only, from random weights.
    Supervised,
    /// Other weights the user passed for comparison, for example torchvision's of ImageNet.
    Reference,
}

/// Writes a file that [`read_evaluations`] reads.
pub fn write_evaluations(path: &Path, evaluations: Vec<Evaluation>) -> Result<()> {
    let json = serde_json::to_string_pretty(&Evaluations { evaluations }).expect("plain fields have a JSON form");
    write_atomically(path, |writer| writeln!(writer, "{json}"))
}

/// What `evaluation.json` holds; nothing if there is no such file.
///
/// # Errors
/// [`Error::Io`], and [`Error::Path`] for a damaged file.
pub fn read_evaluations(path: &Path) -> Result<Vec<Evaluation>> {
    let json = match fs::read_to_string(path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let read: Evaluations = serde_json::from_str(&json).map_err(|error| {
        Error::path(path, format!("damaged: {error}; delete it (metrics.jsonl has its numbers, too) or restore a copy"))
    })?;
    Ok(read.evaluations)
}

/// `evaluation.json`.
#[derive(Serialize, Deserialize)]
struct Evaluations {
    evaluations: Vec<Evaluation>,
}

/// What one network scored with one seed under one setting; [`rows`] gathers these over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// See [`Row::setting`].
    pub setting: String,
    /// See [`Row::numbers`].
    pub numbers: BTreeMap<String, f64>,
    /// See [`Row::chosen`].
    pub chosen: Value,
    /// See [`Row::confusion`].
    pub confusion: Option<Vec<Vec<u32>>>,
}

/// One row per setting from the outcomes of each seed, which must have the same settings in the same order. A number that
/// not every seed has is left out.
pub fn rows(network: Network, name: &str, by_seed: Vec<(u64, Vec<Outcome>)>) -> Vec<Row> {
    let settings = by_seed.first().map_or(0, |(_, outcomes)| outcomes.len());
    let row = |place: usize| {
        let of_seeds: Vec<&Outcome> = by_seed.iter().map(|(_, outcomes)| &outcomes[place]).collect();
        let numbers = of_seeds[0].numbers.keys().filter_map(|metric| {
            let values: Option<_> = of_seeds.iter().map(|outcome| outcome.numbers.get(metric).copied()).collect();
            Some((metric.clone(), Statistic::of(values?)))
        });
        Row {
            network,
            name: name.to_owned(),
            setting: of_seeds[0].setting.clone(),
            seeds: by_seed.iter().map(|(seed, _)| *seed).collect(),
            numbers: numbers.collect(),
            chosen: of_seeds.iter().map(|outcome| outcome.chosen.clone()).collect(),
            confusion: of_seeds[0].confusion.clone(),
        }
    };
    (0..settings).map(row).collect()
}

/// How a metric of [`Row::numbers`] is shown.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its key.
    pub metric: &'a str,
    /// For the head of a column.
    pub title: &'a str,
    /// Digits after the point.
    pub digits: usize,
    /// Whether it is in percent.
    pub is_percent: bool,
}

/// A column in percent.
pub const fn percent<'a>(metric: &'a str, title: &'a str) -> Column<'a> {
    Column { metric, title, digits: 1, is_percent: true }
}

/// Every metric of the protocols here, in the order of a table's columns.
pub const COLUMNS: [Column<'static>; 9] = [
    percent("top1", "top-1"),
    percent("top5", "top-5"),
    percent("mean_per_class", "mean per class"),
    percent("map11", "11-point mAP"),
    percent("linear_top1", "linear top-1"),
    percent("knn_top1", "k-NN top-1"),
    Column { metric: "rank_me", title: "RankMe", digits: 1, is_percent: false },
    Column { metric: "projection_std", title: "projection std", digits: 4, is_percent: false },
    percent("paper_top1", "paper"),
];

/// A number over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation (n − 1) over the seeds; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// One value per seed.
    pub values: Vec<f64>,
}

impl Statistic {
    /// Mean and standard deviation of `values`, of which there is at least one.
    pub fn of(values: Vec<f64>) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Self { mean, std, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample_and_one_value_has_none() {
        let statistic = Statistic::of(vec![2.0, 4.0, 6.0]);
        assert_eq!((statistic.mean, statistic.std), (4.0, Some(2.0)));
        assert_eq!(Statistic::of(vec![5.0]).std, None);
    }
}
