//! `bad_images.jsonl`: the pictures that could not be read, with the reason, once each.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use byol_data::BadImage;
use byol_nn::files::append_whole;
use byol_nn::{Error, Result};

use super::metrics::ends_within_a_line;

/// The list of a run; survives a resume without repeating itself.
#[derive(Debug)]
pub struct BadImageLog {
    path: PathBuf,
    known: HashSet<String>,
}

impl BadImageLog {
    /// Opens the list, which need not exist yet.
    pub fn open(path: &Path) -> Result<Self> {
        let known = match fs::read(path) {
            // A line that was cut short may end in the middle of a character.
            Ok(text) => String::from_utf8_lossy(&text)
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
            if self.known.contains(&image.name) {
                continue;
            }
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)
                .map_err(Error::io("write", &self.path))?;
            let mut line = serde_json::to_string(image).expect("plain fields have a JSON form") + "\n";
            if ends_within_a_line(&self.path)? {
                line.insert(0, '\n');
            }
            append_whole(&mut file, line.as_bytes()).map_err(Error::io("write", &self.path))?;
            // Only now: after a full disk it is tried again.
            self.known.insert(image.name.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_cut_short_loses_its_last_line_and_nothing_that_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad_images.jsonl");
        let bad = |name: &str| BadImage { name: name.to_owned(), reason: "no picture".to_owned() };
        BadImageLog::open(&path).unwrap().append(&[bad("a"), bad("größe")]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let within_the_letter = String::from_utf8_lossy(&bytes).find('ö').unwrap() + 1;
        fs::write(&path, &bytes[..within_the_letter]).unwrap();

        let mut list = BadImageLog::open(&path).unwrap();
        assert_eq!(list.len(), 1);
        list.append(&[bad("a"), bad("größe")]).unwrap();
        list.append(&[bad("b")]).unwrap();
        let again = BadImageLog::open(&path).unwrap();
        assert_eq!(again.known, HashSet::from(["a", "größe", "b"].map(str::to_owned)));
    }
}
