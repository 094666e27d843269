//! The files of a set that consists of several.

use std::path::{Path, PathBuf};

use crate::DataError;

/// Reads one file of a CIFAR or IDX set, by its name.
pub(crate) type PartReader<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, DataError>;

/// A file of a set, for messages: within a folder or, written the same way, within an archive.
pub(crate) fn part_path(path: &Path, name: &str) -> PathBuf {
    path.join(name)
}
