//! `bad_images.jsonl`: the pictures that could not be read, with the reason, once each.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use byol_data::BadImage;
use byol_nn::{Error, Result};

/// The list of a run; survives a resume without repeating itself.
#[derive(Debug)]
pub struct BadImageLog {
    path: PathBuf,
    known: HashSet<String>,
}

impl BadImageLog {
    /// Opens the list, which need not exist yet.
    pub fn open(path: &Path) -> Result<Self> {
        let known = match fs::read_to_string(path) {
            Ok(text) => text
                .lines()
                .filter_map(|line| serde_json::from_str::<BadImage>(line).ok())
                .map(|bad| bad.name)
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        Ok(Self { path: path.to_owned(), known })
    }

    /// Pictures listed so far.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Adds those that are not listed yet.
    pub fn append(&mut self, bad: &[BadImage]) -> Result<()> {
        for image in bad {
            if !self.known.insert(image.name.clone()) {
                continue;
            }
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)
                .map_err(Error::io("write", &self.path))?;
            let line = serde_json::to_string(image).expect("plain fields have a JSON form") + "\n";
            file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))?;
        }
        Ok(())
    }
}
