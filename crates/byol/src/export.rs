//! Handing results over: embeddings as `.npy` or `.csv`.

use std::path::{Path, PathBuf};

use byol_data::Dataset;
use byol_eval::Features;
use byol_nn::files::{check_outside, check_writable, write_atomically};
use byol_nn::{Error, Result};
use npyz::WriterBuilder;

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
            _ => Err(Error::path(path, "expected a file name that ends in .npy or .csv; give another -o")),
        }
    }

    /// The files that are written for `path`.
    fn files(self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::Npy => vec![path.to_owned(), path.with_extension("names.csv")],
            Self::Csv => vec![path.to_owned()],
        }
    }
}

/// Checks that embeddings of `data` may be written to `path`, before hours are spent on computing them.
///
/// # Errors
/// [`Error::Path`] for an unknown ending, an existing file or a place inside the data, [`Error::Io`] for a place that
/// cannot be written to.
pub fn check_free(path: &Path, data: &[PathBuf]) -> Result<()> {
    let format = EmbeddingFormat::of(path)?;
    data.iter().try_for_each(|data| check_outside(path, data))?;
    for file in format.files(path) {
        if file.symlink_metadata().is_ok() {
            return Err(Error::path(&file, "already exists and is not overwritten; give another -o"));
        }
        check_writable(&file)?;
    }
    Ok(())
}

/// Writes `features` of pictures of `dataset`; returns the files written.
///
/// # Errors
/// [`Error::Path`] for an unknown ending, [`Error::Io`] when it cannot be written.
pub fn write_embeddings(features: &Features, dataset: &Dataset, path: &Path) -> Result<Vec<PathBuf>> {
    let format = EmbeddingFormat::of(path)?;
    let files = format.files(path);
    match format {
        EmbeddingFormat::Npy => {
            write_atomically(path, |writer| {
                let shape = [features.len() as u64, features.size as u64];
                let mut array = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
                array.extend(features.values.iter().copied())?;
                array.finish()
            })?;
            write_atomically(&files[1], |writer| write_rows(features, dataset, 0, writer))?;
        }
        EmbeddingFormat::Csv => write_atomically(path, |writer| write_rows(features, dataset, features.size, writer))?,
    }
    Ok(files)
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
