//! Handing results over: embeddings as `.npy` or `.csv`.

use std::path::{Path, PathBuf};

use byol_data::Dataset;
use npyz::WriterBuilder;

use crate::error::{Error, Result};
use crate::eval::Features;
use crate::files::write_atomically;

/// File formats for embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingFormat {
    /// NumPy array `[pictures, size]` of f32, with names and labels in a `.names.csv` beside it.
    Npy,
    /// `name,label,0,1,2,…`, one line per picture.
    Csv,
}

impl EmbeddingFormat {
    /// The format that the ending of `path` names.
    ///
    /// # Errors
    /// [`Error::Path`] for other endings.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("csv") => Ok(Self::Csv),
            _ => Err(Error::path(path, "expected a file name that ends in .npy or .csv")),
        }
    }
}

/// Writes `features` of pictures of `dataset`; returns the files written.
///
/// # Errors
/// [`Error::Path`] for an existing file or an unknown ending, [`Error::Io`] when it cannot be written.
pub fn write_embeddings(features: &Features, dataset: &Dataset, path: &Path) -> Result<Vec<PathBuf>> {
    match EmbeddingFormat::of(path)? {
        EmbeddingFormat::Npy => {
            let names = path.with_extension("names.csv");
            write_atomically(path, |writer| {
                let shape = [features.len() as u64, features.size as u64];
                let mut array = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
                array.extend(features.values.iter().copied())?;
                array.finish()
            })?;
            write_atomically(&names, |writer| write_rows(features, dataset, 0, writer))?;
            Ok(vec![path.to_owned(), names])
        }
        EmbeddingFormat::Csv => {
            write_atomically(path, |writer| write_rows(features, dataset, features.size, writer))?;
            Ok(vec![path.to_owned()])
        }
    }
}

/// One line per picture: name, label, and the first `columns` values of its representation.
fn write_rows(
    features: &Features,
    dataset: &Dataset,
    columns: usize,
    to: &mut impl std::io::Write,
) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(to);
    let header =
        ["name".to_owned(), "label".to_owned()].into_iter().chain((0..columns).map(|column| column.to_string()));
    csv.write_record(header)?;
    for (row, &image) in features.images.iter().enumerate() {
        let label = features.labels[row].map(|label| dataset.classes()[label as usize].clone()).unwrap_or_default();
        let values = features.row(row)[..columns].iter().map(f32::to_string);
        csv.write_record([dataset.name(image as usize), label].into_iter().chain(values))?;
    }
    csv.flush()
}
