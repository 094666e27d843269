//! What can go wrong between `DATA` and a batch.

use std::any::Any;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::views::InvalidConfig;

/// A picture that could not be used, for `bad_images.jsonl` and for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadImage {
    /// Name within the dataset, as [`crate::Dataset::name`] gives it.
    pub name: String,
    /// Why it could not be used, one line.
    pub reason: String,
}

/// Why `DATA` cannot be used. Each message says what, where, expected, got and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A configuration key is out of range.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// There is nothing at the path.
    #[error(
        "no data at {}: expected a folder, an archive or a data file, found nothing; check the spelling of the path",
        path.display()
    )]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A path with braces stands for a path that is not there.
    #[error(
        "no data at {}: expected all {count} paths that {} stands for, this is the first that is missing; check the \
         range in the braces, or fetch the missing ones",
        path.display(), pattern.display()
    )]
    MissingShard {
        /// The path as given.
        pattern: PathBuf,
        /// The first missing one.
        path: PathBuf,
        /// How many paths it stands for.
        count: usize,
    },
    /// A path with braces stands for too many paths.
    #[error("{} stands for more than {limit} paths; check the range in the braces", pattern.display())]
    TooManyPaths {
        /// The path as given.
        pattern: PathBuf,
        /// The most that are taken.
        limit: usize,
    },
    /// Something is there but the system does not let us read it.
    #[error("cannot read {}: {source}; check the permissions and the disk", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A URL, in a program that was built without them.
    #[error(
        "cannot open {url}: this program was built without object stores and web servers; build it with \
         `cargo install --path crates/byol-cli --features remote`, or copy the data to this machine"
    )]
    NoRemote {
        /// The URL, without its query.
        url: String,
    },
    /// An object store or a web server does not give what is asked for.
    #[error("cannot read {url}: {problem}; {remedy}")]
    Remote {
        /// The URL, without its query.
        url: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The folder holds no files at all.
    #[error("no pictures in {}: the folder is empty; expected picture files ({READ})", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// There are files, but none is a picture.
    #[error(
        "no pictures in {}: expected files ending in {READ}, found {seen}; \
         give a folder or archive that holds pictures",
        path.display()
    )]
    NoPictures {
        /// The folder or archive.
        path: PathBuf,
        /// Count of the endings found instead.
        seen: String,
    },
    /// A file of a kind we do not read.
    #[error(
        "cannot use {} as data: expected a folder, a tar archive (plain, gz, xz, zst), a Parquet, Arrow, CIFAR, STL-10 or \
         IDX file, a NumPy array (.npy, .npz), a list of paths or a picture, got {found}",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it looks like, and what to do about it.
        found: String,
    },
    /// A data file (CIFAR, IDX, STL-10, Parquet, Arrow, NumPy) whose content contradicts its kind.
    #[error("{} is damaged or of another kind: expected {expected}, got {got}; fetch the file again", path.display())]
    Malformed {
        /// The file, or the archive and the file in it.
        path: PathBuf,
        /// What the format demands.
        expected: String,
        /// What was there.
        got: String,
    },
    /// An archive that ends early or is damaged.
    #[error("cannot read the archive {}: {reason}; it is damaged or cut short, fetch it again", path.display())]
    BrokenArchive {
        /// The archive.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// What must be kept in memory exceeds the limit.
    #[error(
        "{} needs more memory than data.max_archive_memory_bytes = {limit_bytes} allows; {remedy}",
        path.display()
    )]
    TooMuchMemory {
        /// The archive or file.
        path: PathBuf,
        /// The limit in force.
        limit_bytes: u64,
        /// A way around it.
        remedy: &'static str,
    },
    /// The split asked for does not exist.
    #[error("no split \"{split}\" in {}: {}", path.display(), splits_sentence(present))]
    UnknownSplit {
        /// Where it was looked for.
        path: PathBuf,
        /// What was asked for.
        split: String,
        /// What exists.
        present: Vec<String>,
    },
    /// A column, array or ending that was asked for is not there.
    #[error(
        "no \"{name}\" in {}, which data.{key} (--{}) asks for; expected one of: {present}",
        path.display(), key.replace('_', "-")
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The key that asks for it.
        key: String,
        /// What was asked for.
        name: String,
        /// What there is.
        present: String,
    },
    /// The column that was asked for holds no classes.
    #[error(
        "the column \"{column}\" of {} cannot be labels: expected whole numbers or texts, one per picture, but {why}; \
         choose another with data.label_column (--label-column), or leave it out to go on without labels",
        path.display()
    )]
    NotClasses {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it holds instead.
        why: String,
    },
    /// A tree of a [benchmark](crate::benchmarks) lacks files.
    #[error(
        "{benchmark} is incomplete: {} is missing{}; expected {expected}; get it from {url}",
        path.display(), others_sentence(*others)
    )]
    IncompleteBenchmark {
        /// Its name in prose.
        benchmark: &'static str,
        /// The first file or folder that is missing.
        path: PathBuf,
        /// How many more pictures are missing.
        others: usize,
        /// What should be there.
        expected: String,
        /// The makers' page.
        url: &'static str,
    },
    /// A line of a list of a [benchmark](crate::benchmarks) that is not as it should be.
    #[error("{}, line {line}: expected {expected}, got \"{got}\"; fetch the file again", path.display())]
    WrongLine {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the line should be.
        expected: String,
        /// Its beginning.
        got: String,
    },
    /// No benchmark has this name.
    #[error("no benchmark \"{name}\"; expected one of {known}")]
    UnknownBenchmark {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// More pictures than an index can count.
    #[error("{} holds {count} pictures, at most {} are supported; use parts of it", path.display(), u32::MAX)]
    TooManyImages {
        /// The data.
        path: PathBuf,
        /// Pictures found.
        count: usize,
    },
    /// More broken pictures than allowed.
    #[error(
        "at least {} of {total} pictures cannot be used, more than data.max_bad_fraction = {max_bad_fraction} allows: {}; \
         repair or remove them, or raise data.max_bad_fraction (--max-bad-fraction where there is no --set)",
        bad.len(), first_few(bad)
    )]
    TooManyBad {
        /// Every bad picture found so far, by place in the dataset.
        bad: Vec<BadImage>,
        /// Pictures in the dataset.
        total: usize,
        /// The limit in force.
        max_bad_fraction: f64,
    },
    /// A loader thread died of a bug of ours.
    #[error("a thread that prepares pictures failed: {message}; this is a bug in byol, please report it")]
    WorkerFailed {
        /// The panic's message.
        message: String,
    },
}

/// Why there is no picture.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The picture is bad: others stand in for it.
    Bad(String),
    /// What holds it cannot be reached or has changed: no picture is missing there, and to go on without it would be wrong.
    Lost(Box<DataError>),
}

impl Unread {
    /// As a reason in words, where there is nothing to stop.
    pub fn into_reason(self) -> String {
        match self {
            Self::Bad(reason) => reason,
            Self::Lost(error) => error.to_string(),
        }
    }
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self::Bad(reason)
    }
}

/// The endings of picture files, for messages.
const READ: &str = "jpg, jpeg, jpe, jfif, png, webp, bmp, tif, tiff, gif";

fn splits_sentence(present: &[String]) -> String {
    if present.is_empty() {
        "this data has no splits; leave the split out, or give data with a train folder beside a test folder".into()
    } else {
        format!("expected one of {}", present.join(", "))
    }
}

fn others_sentence(others: usize) -> String {
    if others == 0 { String::new() } else { format!(", and {others} more") }
}

fn first_few(bad: &[BadImage]) -> String {
    let mut text =
        bad.iter().take(3).map(|bad| format!("{} ({})", bad.name, bad.reason)).collect::<Vec<_>>().join(", ");
    if bad.len() > 3 {
        text += ", …";
    }
    text
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}
