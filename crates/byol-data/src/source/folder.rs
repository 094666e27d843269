//! Pictures in a folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::limits::check_file_size;

/// Reads the file `name` below `root` into `bytes`, at most `max_bytes` of it.
pub(crate) fn read(root: &Path, name: &[u8], max_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let path = root.join(name_path(name));
    // Asked before opening, because opening a pipe waits for a writer.
    let metadata = std::fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("cannot be read: it is no longer a file".into());
    }
    check_file_size(metadata.len(), max_bytes)?;
    bytes.clear();
    // The file may grow meanwhile; what is read stays within the limit.
    File::open(path).and_then(|file| file.take(max_bytes).read_to_end(bytes)).map_err(unreadable)?;
    Ok(())
}

/// A name as a path.
#[cfg(unix)]
pub(crate) fn name_path(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name).into()
}

/// Names that are not text cannot be told from their bytes here; opening them fails with the name in the message.
#[cfg(not(unix))]
pub(crate) fn name_path(name: &[u8]) -> PathBuf {
    String::from_utf8_lossy(name).into_owned().into()
}
