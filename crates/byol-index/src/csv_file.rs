//! Embeddings in a text table: columns `name`, `label` and `split`, each if it is there, and every other column a value.

use std::fs::File;
use std::path::Path;

use super::embeddings::{Column, ColumnBuilder, Content, MAX_SIZE, Origin};
use super::error::{IndexError, Result};

/// Names, labels and splits of embeddings that lie elsewhere.
pub(crate) struct Names {
    pub names: Vec<String>,
    pub labels: Column,
    pub splits: Column,
}

pub(crate) fn read(path: &Path) -> Result<Content> {
    let mut texts = Texts::open(path)?;
    let size = texts.others.len();
    if !(1..=MAX_SIZE).contains(&size) {
        let expected = format!("1 to {MAX_SIZE} columns of values beside name, label and split");
        return Err(IndexError::unusable(path, expected, size.to_string()));
    }
    let mut values = Vec::new();
    let others = texts.others.clone();
    texts.each(|line, head, record| {
        for &column in &others {
            let text = record.get(column).unwrap_or_default().trim();
            let value: f32 = text.parse().map_err(|_| {
                let got = format!("{:?} in column \"{}\"", text.chars().take(40).collect::<String>(), &head[column]);
                IndexError::unusable(path, format!("a number in line {line}"), got)
            })?;
            values.push(value);
        }
        Ok(())
    })?;
    let (names, labels, splits) = texts.finish();
    Ok(Content { names, labels, splits, values, size, origin: Origin::default() })
}

/// Reads a table of names without values.
pub(crate) fn names(path: &Path) -> Result<Names> {
    let mut texts = Texts::open(path)?;
    texts.each(|_, _, _| Ok(()))?;
    match texts.finish() {
        (Some(names), labels, splits) => Ok(Names { names, labels, splits }),
        (None, ..) => Err(IndexError::unusable(path, "a column \"name\"", "none")),
    }
}

/// The columns of texts of a table that is being read.
struct Texts<'a> {
    path: &'a Path,
    reader: csv::Reader<File>,
    head: csv::StringRecord,
    name: Option<usize>,
    label: Option<usize>,
    split: Option<usize>,
    /// All other columns.
    others: Vec<usize>,
    names: Vec<String>,
    labels: ColumnBuilder,
    splits: ColumnBuilder,
}

impl<'a> Texts<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(IndexError::unreadable(path))?;
        let mut reader = csv::Reader::from_reader(file);
        let head = reader.headers().map_err(|error| broken(path, &error))?.clone();
        let column = |name: &str| head.iter().position(|head| head.trim() == name);
        let (name, label, split) = (column("name"), column("label"), column("split"));
        let others = (0..head.len()).filter(|&at| ![name, label, split].contains(&Some(at))).collect();
        let (labels, splits) = (ColumnBuilder::default(), ColumnBuilder::default());
        Ok(Self { path, reader, head, name, label, split, others, names: Vec::new(), labels, splits })
    }

    /// Reads all rows; `row` sees each with its line and the head.
    fn each(&mut self, mut row: impl FnMut(u64, &csv::StringRecord, &csv::StringRecord) -> Result<()>) -> Result<()> {
        let mut record = csv::StringRecord::new();
        while self.reader.read_record(&mut record).map_err(|error| broken(self.path, &error))? {
            let line = record.position().map_or(0, csv::Position::line);
            row(line, &self.head, &record)?;
            if let Some(name) = self.name {
                self.names.push(record.get(name).unwrap_or_default().to_owned());
            }
            self.labels.push(self.label.and_then(|label| record.get(label)));
            self.splits.push(self.split.and_then(|split| record.get(split)));
        }
        Ok(())
    }

    fn finish(self) -> (Option<Vec<String>>, Column, Column) {
        (self.name.map(|_| self.names), self.labels.finish(), self.splits.finish())
    }
}

fn broken(path: &Path, error: &csv::Error) -> IndexError {
    IndexError::unusable(path, "rows of as many cells as its first line, in UTF-8", error.to_string())
}
