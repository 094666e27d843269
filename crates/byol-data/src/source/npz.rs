//! The arrays in an `.npz` file, which is a zip file of `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::npy::MAX_HEADER_BYTES;
use super::pixels::{Stored, read_all};
use crate::DataError;

/// An open `.npz` file.
pub(crate) struct Npz {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// For arrays that are not compressed and so can be read in place.
    file: Arc<File>,
    max_memory_bytes: u64,
}

/// Whether these are the first bytes of a zip file whose first entry is an array.
pub(crate) fn looks_like_npz(head: &[u8]) -> bool {
    let Some(&[low, high]) = head.get(26..28) else { return false };
    let name = head.get(30..30 + usize::from(u16::from_le_bytes([low, high])));
    head.starts_with(b"PK\x03\x04") && name.is_some_and(|name| name.ends_with(b".npy"))
}

impl Npz {
    pub fn open(path: &Path, max_memory_bytes: u64) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.into(), source };
        // Two handles: the zip reader moves the place in its own.
        let in_place = Arc::new(File::open(path).map_err(unreadable)?);
        let file = File::open(path).map_err(unreadable)?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, error))?;
        Ok(Self { path: path.into(), zip, file: in_place, max_memory_bytes })
    }

    /// The names of the arrays, without `.npy`.
    pub fn names(&mut self) -> Result<Vec<String>, DataError> {
        let mut names = Vec::new();
        for place in 0..self.zip.len() {
            let entry = self.zip.by_index(place).map_err(|error| broken(&self.path, error))?;
            let name = entry.name().map_err(|error| broken(&self.path, error))?;
            names.extend(name.strip_suffix(".npy").map(str::to_owned));
        }
        Ok(names)
    }

    /// The first bytes of an array: enough for its header.
    pub fn head(&mut self, name: &str) -> Result<Vec<u8>, DataError> {
        let entry = self.zip.by_name(&format!("{name}.npy")).map_err(|error| broken(&self.path, error))?;
        let mut head = Vec::new();
        entry.take(MAX_HEADER_BYTES as u64).read_to_end(&mut head).map_err(|error| broken(&self.path, error))?;
        Ok(head)
    }

    /// The whole file of an array: in place where it is stored as it is, else in memory.
    pub fn array(&mut self, name: &str) -> Result<Stored, DataError> {
        let entry = self.zip.by_name(&format!("{name}.npy")).map_err(|error| broken(&self.path, error))?;
        let bytes = entry.size();
        if let (CompressionMethod::Stored, false, Some(start)) =
            (entry.compression(), entry.encrypted(), entry.data_start())
        {
            let end = start.checked_add(bytes);
            let file_bytes = self.file.metadata().map_err(|error| broken(&self.path, error))?.len();
            if end.is_none_or(|end| end > file_bytes) {
                return Err(broken(&self.path, format!("the file ends within {name}.npy")));
            }
            return Ok(Stored::File { file: Arc::clone(&self.file), start, bytes });
        }
        if bytes > self.max_memory_bytes {
            return Err(DataError::TooMuchMemory {
                path: self.path.clone(),
                limit_bytes: self.max_memory_bytes,
                remedy: "save it with numpy.savez, which does not compress and is read in place, or raise the limit",
            });
        }
        Ok(Stored::Memory(read_all(entry, bytes).map_err(|error| broken(&self.path, error))?))
    }
}

fn broken(path: &Path, error: impl ToString) -> DataError {
    DataError::BrokenArchive { path: path.into(), reason: error.to_string() }
}
