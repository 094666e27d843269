//! What is wrong with a file of embeddings, or with a question about it.

use std::path::{Path, PathBuf};

use byol_data::DataError;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, IndexError>;

/// Everything that stops a command on embeddings. Each message says what, where, expected, got and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A Parquet file that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The system does not let us read a file.
    #[error("cannot read {}: {source}; check the path, the permissions and the disk", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file that holds no embeddings as they are read here.
    #[error("{}: expected {expected}, got {got}; {remedy}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is needed.
        expected: String,
        /// What there is.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// More values than there is memory for.
    #[error(
        "{}: {rows} embeddings of {size} values need {:.1} GB of memory, {:.1} GB are free; use a part of them, or a machine with more memory",
        path.display(), *bytes as f64 / 1e9, *free_bytes as f64 / 1e9
    )]
    TooMuchMemory {
        /// Which.
        path: PathBuf,
        /// Rows that the file claims.
        rows: usize,
        /// Values of one.
        size: usize,
        /// What they take.
        bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A question that these embeddings cannot answer.
    #[error("{0}")]
    Question(String),
}

/// What to do about a file that is no embeddings file of ours.
const REMEDY: &str = "write one with `byol embed ENCODER DATA -o x.parquet`; docs/embeddings.md says what is read";

impl IndexError {
    /// A file whose content is another than what is read.
    pub(crate) fn unusable(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), expected: expected.into(), got: got.into(), remedy: REMEDY.into() }
    }

    /// For `map_err`.
    pub(crate) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unreadable { path, source }
    }

    /// Refuses `rows` embeddings of `size` values before memory is taken for them, where they cannot fit.
    pub(crate) fn check_memory(path: &Path, rows: usize, size: usize) -> Result<()> {
        let bytes = (rows as u64).saturating_mul(size as u64).saturating_mul(size_of::<f32>() as u64);
        match byol_kernels::available_memory_bytes() {
            Some(free_bytes) if bytes > free_bytes => {
                Err(Self::TooMuchMemory { path: path.to_owned(), rows, size, bytes, free_bytes })
            }
            _ => Ok(()),
        }
    }
}
