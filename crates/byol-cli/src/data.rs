//! `DATA`, spelt alike in all commands.

use std::collections::BTreeSet;
use std::path::PathBuf;

use byol_data::{DataConfig, Dataset, Measured, ValueRange};

use crate::screen::{row, talks};

/// The pictures that a command takes.
#[derive(clap::Args, Clone)]
pub struct DataArguments {
    /// Pictures: folders, tar archives (plain, gz, xz, zst), WebDataset shards ("part-{000..127}.tar"), Parquet, Arrow, CIFAR,
    /// STL or IDX file sets, .npy or .npz arrays, a text or CSV file of paths; URLs (s3://, gs://, az://, https://) of archives,
    /// Parquet files or folders if built with `--features remote`; several are read as one
    #[arg(value_name = "DATA", required_unless_present = "data_flag")]
    data: Vec<PathBuf>,
    /// DATA, as `byol report` spells it
    #[arg(long = "data", value_name = "DATA", hide = true)]
    data_flag: Vec<PathBuf>,
    /// What a folder, file or value of a split column stands for, for example fold1=train; may be repeated
    #[arg(long, value_name = "NAME=SPLIT", value_parser = name_and_split)]
    split_map: Vec<(String, String)>,
    /// Column, array or ending of members that holds labels [default: by the names people give it]
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Column, array or ending of members that holds pictures [default: by the names people give it]
    #[arg(long, value_name = "NAME")]
    image_key: Option<String>,
    /// Column that says which split a picture is in [default: by the names people give it]
    #[arg(long, value_name = "NAME")]
    split_column: Option<String>,
    /// Sample values that become black and white, LOW,HIGH, or percentile for each picture by itself [default: the whole range]
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true, value_parser = value_range)]
    value_range: Option<ValueRange>,
}

fn value_range(text: &str) -> Result<ValueRange, String> {
    let expected = || "expected LOW,HIGH with LOW below HIGH, for example 0,4095, or percentile".to_owned();
    if text == "percentile" {
        return Ok(ValueRange::Measured(Measured::Percentile));
    }
    let (low, high) = text.split_once(',').ok_or_else(expected)?;
    match (low.trim().parse::<f64>(), high.trim().parse::<f64>()) {
        (Ok(low), Ok(high)) if low < high && (high - low).is_finite() => Ok(ValueRange::Fixed([low, high])),
        _ => Err(expected()),
    }
}

fn name_and_split(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((name, split)) if !name.is_empty() && !split.is_empty() => Ok((name.to_owned(), split.to_owned())),
        _ => Err("expected NAME=SPLIT, for example fold1=train".to_owned()),
    }
}

/// Says what was guessed about the data and what was left out, each once.
pub fn tell_notes<'a>(datasets: impl IntoIterator<Item = &'a Dataset>) {
    if !talks() {
        return;
    }
    let notes: BTreeSet<&String> = datasets.into_iter().flat_map(Dataset::notes).collect();
    notes.into_iter().for_each(|note| row("note", note));
}

impl DataArguments {
    /// All roots, in the order given, those of the flag last.
    pub fn roots(&self) -> Vec<PathBuf> {
        self.data.iter().chain(&self.data_flag).cloned().collect()
    }

    /// What the flags say about splits and columns, over what `limits` says.
    pub fn read_as_told(&self, limits: &mut DataConfig) {
        limits.split_map.extend(self.split_map.iter().cloned());
        for (key, flag) in [
            (&mut limits.label_column, &self.label_column),
            (&mut limits.image_key, &self.image_key),
            (&mut limits.split_column, &self.split_column),
        ] {
            if flag.is_some() {
                key.clone_from(flag);
            }
        }
        limits.value_range = self.value_range.or(limits.value_range);
    }

    /// The same as settings, `data.label_column="species"`.
    pub fn settings(&self) -> Vec<String> {
        // A string of JSON is one of TOML.
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let map = self.split_map.iter().map(|(name, split)| format!("{}={}", text(name), text(split)));
        let map: Vec<String> = map.collect();
        let map = (!map.is_empty()).then(|| format!("data.split_map={{{}}}", map.join(",")));
        let named = [
            ("label_column", &self.label_column),
            ("image_key", &self.image_key),
            ("split_column", &self.split_column),
        ];
        let named = named.into_iter().filter_map(|(key, flag)| Some(format!("data.{key}={}", text(flag.as_ref()?))));
        let range = self.value_range.map(|range| match range {
            ValueRange::Fixed([low, high]) => format!("data.value_range=[{low:?},{high:?}]"),
            ValueRange::Measured(Measured::Percentile) => "data.value_range=\"percentile\"".to_owned(),
        });
        map.into_iter().chain(named).chain(range).collect()
    }
}
