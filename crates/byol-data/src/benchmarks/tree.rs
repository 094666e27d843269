//! The files of a benchmark, and what is said when one is missing or wrong.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::facts::Benchmark;
use crate::limits::check_memory;
use crate::{DataConfig, DataError};

/// Where a benchmark lies.
pub(super) struct Tree<'a> {
    pub benchmark: Benchmark,
    /// As given.
    pub root: &'a Path,
    /// The folder that the paths of its lists are relative to.
    pub base: PathBuf,
    max_list_bytes: u64,
}

/// The folder of `benchmark` at or below `root`.
pub(super) fn base(benchmark: Benchmark, root: &Path) -> PathBuf {
    let inner = benchmark.facts().bases.iter().map(|base| root.join(base)).find(|base| base.is_dir());
    inner.unwrap_or_else(|| root.into())
}

impl<'a> Tree<'a> {
    pub fn open(benchmark: Benchmark, root: &'a Path, config: &DataConfig) -> Result<Self, DataError> {
        match fs::metadata(root) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataError::NotFound { path: root.into() });
            }
            Err(source) => return Err(DataError::Unreadable { path: root.into(), source }),
        }
        Ok(Self { benchmark, root, base: base(benchmark, root), max_list_bytes: config.max_archive_memory_bytes })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The first of `names` that is there, else the first.
    pub fn existing<'n>(&self, names: &[&'n str]) -> &'n str {
        names.iter().find(|name| self.path(name).exists()).unwrap_or(&names[0])
    }

    /// That `name` is missing, which should be `expected`.
    pub fn missing(&self, name: &str, others: usize, expected: &str) -> DataError {
        DataError::IncompleteBenchmark {
            benchmark: self.benchmark.title(),
            path: self.path(name),
            others,
            expected: expected.into(),
            url: self.benchmark.url(),
        }
    }

    /// That the file `name` contradicts what it should be.
    pub fn malformed(&self, name: &str, expected: impl Into<String>, got: impl Display) -> DataError {
        DataError::Malformed { path: self.path(name), expected: expected.into(), got: got.to_string() }
    }

    /// The content of the file `name`, which should be `expected`.
    pub fn bytes(&self, name: &str, expected: &str) -> Result<Vec<u8>, DataError> {
        let path = self.path(name);
        let size_bytes = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DataError::Unreadable { path, source });
            }
            _ => return Err(self.missing(name, 0, expected)),
        };
        check_memory(&path, size_bytes, self.max_list_bytes)?;
        fs::read(&path).map_err(|source| DataError::Unreadable { path, source })
    }

    /// The list `name`, which should be `expected`.
    pub fn list(&self, name: &str, expected: &str) -> Result<List, DataError> {
        let text = String::from_utf8(self.bytes(name, expected)?)
            .map_err(|error| self.malformed(name, format!("text: {expected}"), error))?;
        Ok(List { path: self.path(name), text })
    }
}

/// A text file with something on each line.
pub(super) struct List {
    path: PathBuf,
    text: String,
}

/// A line that is not empty, without white space around it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    list: &'a List,
    number: usize,
    pub text: &'a str,
}

impl List {
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let lines = (1..).zip(self.text.lines()).map(|(number, text)| Line { list: self, number, text: text.trim() });
        lines.filter(|line| !line.text.is_empty())
    }

    /// The lines as they are.
    pub fn names(&self) -> Vec<String> {
        self.lines().map(|line| line.text.to_owned()).collect()
    }
}

impl<'a> Line<'a> {
    /// That this line is not `expected`.
    pub fn wrong(&self, expected: impl Into<String>) -> DataError {
        DataError::WrongLine {
            path: self.list.path.clone(),
            line: self.number,
            expected: expected.into(),
            got: self.text.chars().take(80).collect(),
        }
    }

    /// What is before and behind the last white space: a path and a number, for one.
    pub fn split_last(&self) -> Option<(&'a str, &'a str)> {
        let (before, last) = self.text.rsplit_once(char::is_whitespace)?;
        Some((before.trim_end(), last))
    }
}
