//! What every protocol says: numbers of networks side by side, with all that fixes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use byol_data::views::EvaluationConfig;
use byol_data::{DataConfig, Dataset};
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
    /// What always naming the largest class of the test part scores; absent where pictures have several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_class: Option<LargestClass>,
    /// What it takes to measure the same once more; absent where a protocol is not measured again, and in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// What fixes the numbers of an evaluation besides the encoder, for a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// [`KnnOptions`](crate::knn::KnnOptions) or [`LinearOptions`](crate::linear::LinearOptions), as [`Evaluation::eval`] says.
    pub options: Value,
    /// The pictures.
    pub pictures: Pictures,
}

/// Which pictures an evaluation took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// `--split`, if given.
    pub split: Option<String>,
    /// `--test-split`, if given.
    pub test_split: Option<String>,
    /// Whether those to test on had a place of their own.
    pub separate_test: bool,
    /// How files are read.
    pub reading: DataConfig,
    /// [`Dataset::fingerprint`] of those to train on, 16 hexadecimal digits.
    pub train_fingerprint: String,
    /// The same of those to test on.
    pub test_fingerprint: String,
}

/// The fingerprint of `dataset` as [`Pictures`] hold it.
pub fn fingerprint_text(dataset: &Dataset) -> String {
    format!("{:016x}", dataset.fingerprint())
}

/// The classifier that needs no picture: the most frequent class of the test part, always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LargestClass {
    /// The class.
    pub class: String,
    /// `top1` and `mean_per_class` in percent.
    pub numbers: BTreeMap<String, f64>,
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
    /// Whether no row of the same setting has a higher [main number](main_column); not said of a row that stands alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best: bool,
    /// By how much it is above its baseline; absent for baselines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
}

/// The difference of a row's main number to its baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// The baseline: [`Network::Random`], or [`Network::Supervised`] where all weights are trained.
    pub over: Network,
    /// Which number.
    pub metric: String,
    /// Difference of the means, in points.
    pub mean: f64,
    /// `√(s² + s_baseline²)` of the deviations over seeds; one without a deviation counts as 0. Absent if neither has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
}

impl Network {
    /// One word for the first column of a table and for progress.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Encoder => "pretrained",
            Self::Random => "random",
            Self::Supervised => "supervised",
            Self::Reference => "reference",
        }
    }
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

impl Evaluation {
    /// The same with [`Row::best`], [`Row::gain`] and [`Evaluation::largest_class`], which follow from the rest.
    pub fn judged(mut self) -> Self {
        let rows: Vec<&Row> = self.rows.iter().collect();
        let (best, gains) = (best(&rows), gains(&rows));
        for ((row, best), gain) in self.rows.iter_mut().zip(best).zip(gains) {
            (row.best, row.gain) = (best, gain);
        }
        self.largest_class = self.always_the_largest_class().or(self.largest_class);
        self
    }

    /// See [`Evaluation::largest_class`]: from the confusion counts, which hold every test picture that could be read.
    pub fn always_the_largest_class(&self) -> Option<LargestClass> {
        let confusion = self.rows.iter().find_map(|row| row.confusion.as_ref())?;
        let counts: Vec<usize> = confusion.iter().map(|of_class| of_class.iter().sum::<u32>() as usize).collect();
        LargestClass::of(&counts, &self.classes)
    }
}

impl LargestClass {
    /// What always naming the largest class scores on so many pictures of each; nothing without pictures.
    pub fn of(counts: &[usize], classes: &[String]) -> Option<Self> {
        let (all, present) = (counts.iter().sum::<usize>(), counts.iter().filter(|&&count| count > 0).count());
        let (class, &count) = counts.iter().enumerate().rev().max_by_key(|(_, count)| **count)?;
        if all == 0 {
            return None;
        }
        let numbers = [("top1", 100.0 * count as f64 / all as f64), ("mean_per_class", 100.0 / present as f64)];
        Some(Self {
            class: classes.get(class)?.clone(),
            numbers: numbers.map(|(metric, value)| (metric.to_owned(), value)).into(),
        })
    }
}

/// The number that decides which row is best: the first of [`COLUMNS`] that any row has.
pub fn main_column(rows: &[&Row]) -> Option<Column<'static>> {
    COLUMNS.into_iter().find(|column| rows.iter().any(|row| row.numbers.contains_key(column.metric)))
}

/// For each row of a table whether it has the highest main number of its setting; of rows that all have settings of their own, of all.
/// Equals are all best; a row alone is not.
pub fn best(rows: &[&Row]) -> Vec<bool> {
    let Some(column) = main_column(rows) else { return vec![false; rows.len()] };
    let is_alone = |row: &&Row| rows.iter().filter(|other| other.setting == row.setting).count() == 1;
    let all_alone = rows.iter().all(is_alone);
    let mean = |row: &Row| row.numbers.get(column.metric).map(|number| number.mean).filter(|mean| mean.is_finite());
    let is_best = |row: &&Row| {
        let rivals: Vec<f64> = rows
            .iter()
            .filter(|other| all_alone || other.setting == row.setting)
            .filter_map(|other| mean(other))
            .collect();
        rivals.len() > 1 && mean(row).is_some_and(|mean| rivals.iter().all(|&rival| mean >= rival))
    };
    rows.iter().map(is_best).collect()
}

/// For each row of a table how much its main number is above that of its baseline in the same setting.
pub fn gains(rows: &[&Row]) -> Vec<Option<Gain>> {
    let Some(column) = main_column(rows) else { return vec![None; rows.len()] };
    let baseline = |row: &Row| {
        let of = |network| rows.iter().find(|other| other.network == network && other.setting == row.setting);
        of(Network::Random).or_else(|| of(Network::Supervised))
    };
    let gain = |row: &&Row| {
        let baseline = baseline(row).filter(|baseline| baseline.network != row.network)?;
        let (own, other) = (row.numbers.get(column.metric)?, baseline.numbers.get(column.metric)?);
        let std =
            (own.std.is_some() || other.std.is_some()).then(|| own.std.unwrap_or(0.0).hypot(other.std.unwrap_or(0.0)));
        Some(Gain { over: baseline.network, metric: column.metric.to_owned(), mean: own.mean - other.mean, std })
    };
    rows.iter().map(gain).collect()
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
            best: false,
            gain: None,
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

    fn row(network: Network, setting: &str, values: &[f64], confusion: Option<Vec<Vec<u32>>>) -> Row {
        Row {
            network,
            name: String::new(),
            setting: setting.to_owned(),
            seeds: vec![],
            numbers: BTreeMap::from([("top1".to_owned(), Statistic::of(values.to_vec()))]),
            chosen: vec![],
            confusion,
            best: false,
            gain: None,
        }
    }

    #[test]
    fn the_best_and_its_gain_are_those_of_the_same_setting() {
        let rows = [
            row(Network::Encoder, "a", &[50.0], None),
            row(Network::Encoder, "b", &[40.0, 44.0], None),
            row(Network::Random, "a", &[52.0, 58.0], None),
            row(Network::Random, "b", &[30.0, 30.0], None),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(best(&rows), [false, true, true, false], "the encoder loses one and wins one");
        let found: Vec<_> = gains(&rows).into_iter().map(|gain| gain.map(|gain| (gain.mean, gain.std))).collect();
        assert_eq!(found, [Some((-5.0, Some(18f64.sqrt()))), Some((12.0, Some(8f64.sqrt()))), None, None]);
        assert_eq!(best(&rows[..1]), [false], "alone");
        let trained = [row(Network::Encoder, "", &[9.0], None), row(Network::Supervised, "", &[9.0], None)];
        let trained: Vec<&Row> = trained.iter().collect();
        assert_eq!(best(&trained), [true, true], "equals");
        let gain = gains(&trained)[0].clone().unwrap();
        assert_eq!((gain.over, gain.mean, gain.std), (Network::Supervised, 0.0, None));
        let ablated = [row(Network::Encoder, "x", &[1.0], None), row(Network::Encoder, "y", &[2.0], None)];
        assert_eq!(best(&ablated.iter().collect::<Vec<_>>()), [false, true], "each row has a setting of its own");
    }

    #[test]
    fn the_largest_class_is_that_of_the_test_part() {
        let confusion = vec![vec![1, 2, 0, 0], vec![5, 0, 0, 0], vec![0, 0, 2, 0], vec![0; 4]];
        let json = r#"{"eval":"knn","encoder":"e","arch":"resnet18","training":"","step":1,"data":"","preprocessing":P,"train_images":1,
            "test_images":10,"classes":["a","b","c","d"],"protocol":"","rows":[]}"#;
        let preprocessing = serde_json::to_string(&EvaluationConfig::default()).unwrap();
        let mut evaluation: Evaluation =
            serde_json::from_str(&json.replace("P,", &format!("{preprocessing},"))).unwrap();
        assert_eq!(evaluation.clone().judged().largest_class, None, "nothing was counted");
        evaluation.rows = vec![row(Network::Encoder, "", &[30.0], Some(confusion))];
        let largest = evaluation.judged().largest_class.unwrap();
        assert_eq!((&*largest.class, largest.numbers["top1"]), ("b", 50.0));
        assert!((largest.numbers["mean_per_class"] - 100.0 / 3.0).abs() < 1e-9, "the empty class does not count");
    }
}
