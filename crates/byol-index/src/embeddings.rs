//! Embeddings with names, labels and splits, as a file holds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use byol_data::ValueRange;
use serde::Deserialize;

use super::error::{IndexError, Result};
use super::vectors::Vectors;
use super::{csv_file, npy_file, parquet_file};

/// Values of one embedding, at most: no encoder has so many.
pub(crate) const MAX_SIZE: usize = 1 << 17;

/// Where embeddings are from, as `byol embed` notes it in a Parquet file; other files say nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The pictures.
    pub roots: Vec<PathBuf>,
    /// The encoder, as it was named.
    pub encoder: Option<String>,
    /// What its representations depend on, as 32 hexadecimal digits.
    pub encoder_fingerprint: Option<String>,
    /// Which sample values of the pictures are black and white, if not the whole range.
    pub value_range: Option<ValueRange>,
}

/// A text per row, each text kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Places in `texts`.
    pub rows: Vec<Option<u32>>,
    /// All texts: by number if all are whole numbers, else bytewise.
    pub texts: Vec<String>,
}

impl Column {
    /// The text of a row.
    pub fn of(&self, row: usize) -> Option<&str> {
        self.rows[row].map(|place| self.texts[place as usize].as_str())
    }
}

/// Gathers a [`Column`].
#[derive(Default)]
pub(crate) struct ColumnBuilder {
    rows: Vec<Option<u32>>,
    places: BTreeMap<String, u32>,
}

impl ColumnBuilder {
    /// The next row; an empty text is none.
    pub fn push(&mut self, text: Option<&str>) {
        let place = text.filter(|text| !text.is_empty()).map(|text| match self.places.get(text) {
            Some(&place) => place,
            None => {
                let place = self.places.len() as u32;
                self.places.insert(text.to_owned(), place);
                place
            }
        });
        self.rows.push(place);
    }

    pub fn finish(self) -> Column {
        let mut texts: Vec<(String, u32)> = self.places.into_iter().collect();
        if texts.iter().all(|(text, _)| text.parse::<u64>().is_ok()) {
            texts.sort_by_key(|(text, _)| text.parse::<u64>().ok());
        }
        let mut place = vec![0; texts.len()];
        (0u32..).zip(&texts).for_each(|(new, &(_, old))| place[old as usize] = new);
        let rows = self.rows.into_iter().map(|row| row.map(|old| place[old as usize])).collect();
        Column { rows, texts: texts.into_iter().map(|(text, _)| text).collect() }
    }
}

/// Embeddings of pictures, in the order of their file.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The file.
    pub path: PathBuf,
    /// One per row; where the file has none, the number of the row from 0.
    pub names: Vec<String>,
    /// Whether the file has names.
    pub has_names: bool,
    /// Classes, where they are known.
    pub labels: Column,
    /// Parts of the data.
    pub splits: Column,
    /// The embeddings, scaled to unit length.
    pub vectors: Vectors,
    /// Rows that hold nothing but zeros, which have no direction: their cosine to everything counts as 0.
    pub zero_rows: usize,
    /// Where they are from.
    pub origin: Origin,
}

/// What a file holds, before it is looked at as a whole.
pub(crate) struct Content {
    pub names: Option<Vec<String>>,
    pub labels: Column,
    pub splits: Column,
    pub values: Vec<f32>,
    pub size: usize,
    pub origin: Origin,
}

impl Embeddings {
    /// Reads a file that `byol embed` wrote, or one alike of another program: `.parquet` with a column `embedding` of lists of numbers and,
    /// if it has them, `name`, `label` and `split`; `.npy` with an array `[rows, size]` and names in a `.names.csv` beside it; `.csv`
    /// with a column per value. Memory is taken for what is read, not for what a file claims.
    ///
    /// # Errors
    /// [`IndexError`] for a file that cannot be read, is damaged, or holds something else: the message says what was expected.
    pub fn read(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let content = match ending.as_deref() {
            Some("parquet") => parquet_file::read(path)?,
            Some("npy") => npy_file::read(path)?,
            Some("csv") => csv_file::read(path)?,
            _ => return Err(IndexError::unusable(path, "a file that ends in .parquet, .npy or .csv", "another name")),
        };
        Self::of(path, content)
    }

    fn of(path: &Path, content: Content) -> Result<Self> {
        let Content { names, labels, splits, values, size, origin } = content;
        if values.is_empty() {
            return Err(IndexError::unusable(path, "embeddings", "a file with none"));
        }
        let rows = values.len() / size;
        // Rows are counted by `u32`, whose last value stands for none.
        if rows >= u32::MAX as usize {
            return Err(IndexError::unusable(path, format!("fewer than {} rows", u32::MAX), rows.to_string()));
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let (row, got) = (place / size, values[place]);
            return Err(IndexError::unusable(path, "finite numbers", format!("{got} in row {row}")));
        }
        let zero_rows = values.chunks_exact(size).filter(|row| row.iter().all(|&value| value == 0.0)).count();
        let has_names = names.is_some();
        Ok(Self {
            path: path.to_owned(),
            names: names.unwrap_or_else(|| (0..rows).map(|row| row.to_string()).collect()),
            has_names,
            labels,
            splits,
            vectors: Vectors::new(values, size),
            zero_rows,
            origin,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never so: a file without embeddings is refused.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The rows of one split.
    ///
    /// # Errors
    /// [`IndexError::Question`] if no row is of it; the message names those there are.
    pub fn of_split(&self, split: &str) -> Result<Self> {
        let place = self.splits.texts.iter().position(|text| text == split);
        let rows: Vec<u32> = (0u32..)
            .zip(&self.splits.rows)
            .filter(|(_, of)| of.map(|of| of as usize) == place)
            .map(|(row, _)| row)
            .collect();
        if place.is_none() || rows.is_empty() {
            let present = match &self.splits.texts[..] {
                [] => "its rows have no splits".to_owned(),
                texts => format!("expected one of {}", texts.join(", ")),
            };
            return Err(IndexError::Question(format!("no split \"{split}\" in {}: {present}", self.path.display())));
        }
        let column = |column: &Column| Column {
            rows: rows.iter().map(|&row| column.rows[row as usize]).collect(),
            texts: column.texts.clone(),
        };
        Ok(Self {
            path: self.path.clone(),
            names: rows.iter().map(|&row| self.names[row as usize].clone()).collect(),
            labels: column(&self.labels),
            splits: column(&self.splits),
            vectors: self.vectors.select(&rows),
            origin: self.origin.clone(),
            ..*self
        })
    }

    /// The rows that have a label.
    pub fn labelled_rows(&self) -> Vec<u32> {
        (0u32..).zip(&self.labels.rows).filter(|(_, label)| label.is_some()).map(|(row, _)| row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_once_and_in_their_order() {
        let column = |texts: &[&str]| {
            let mut builder = ColumnBuilder::default();
            texts.iter().for_each(|text| builder.push(Some(text)));
            builder.finish()
        };
        let numbers = column(&["10", "9", "", "10"]);
        assert_eq!(
            (numbers.texts, numbers.rows),
            (vec!["9".into(), "10".into()], vec![Some(1), Some(0), None, Some(1)])
        );
        let words = column(&["10", "cat", "9"]);
        assert_eq!((words.of(1), words.texts.join(" ")), (Some("cat"), "10 9 cat".to_owned()));
    }
}
