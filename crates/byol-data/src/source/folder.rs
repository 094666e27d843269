//! Pictures in a folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::listing::{Contents, Member};
use crate::DataError;

/// Lists all files below `root`, at any depth, links followed. Pipes, devices and hidden files are passed over.
pub(crate) fn scan(root: &Path) -> Result<Contents, DataError> {
    let mut contents = Contents::default();
    let visible =
        |entry: &DirEntry| entry.depth() == 0 || Member::of(&name_bytes(entry.file_name().as_ref())) != Member::Hidden;
    for entry in WalkDir::new(root).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let size_bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                add(&mut contents, root, entry.path(), size_bytes);
            }
            Ok(_) => {}
            // A link to a folder above itself: everything in it is listed already.
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                if source.kind() != io::ErrorKind::NotFound {
                    return Err(DataError::Unreadable { path, source });
                }
                // A link to nowhere, or a file deleted meanwhile: if its name is a picture's, reading it will tell.
                add(&mut contents, root, &path, 0);
            }
        }
    }
    contents.pictures.sort();
    contents.parts.sort();
    Ok(contents)
}

fn add(contents: &mut Contents, root: &Path, path: &Path, size_bytes: u64) {
    let name = name_bytes(path.strip_prefix(root).unwrap_or(path));
    contents.add(Member::of(&name), &name, size_bytes, 0);
}

/// Reads the file `name` below `root` into `bytes`, at most `max_bytes` of it.
pub(crate) fn read(root: &Path, name: &[u8], max_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let path = root.join(name_path(name));
    // Asked before opening, because opening a pipe waits for a writer.
    let metadata = std::fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("cannot be read: it is no longer a file".into());
    }
    super::check_file_size(metadata.len(), max_bytes)?;
    bytes.clear();
    // The file may grow meanwhile; what is read stays within the limit.
    File::open(path).and_then(|file| file.take(max_bytes).read_to_end(bytes)).map_err(unreadable)?;
    Ok(())
}

/// A relative path as bytes, separated by `/`.
pub(crate) fn name_bytes(path: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.components().map(|part| part.as_os_str().as_encoded_bytes()).collect();
    parts.join(&b'/')
}

#[cfg(unix)]
fn name_path(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name).into()
}

/// Names that are not text cannot be told from their bytes here; opening them fails with the name in the message.
#[cfg(not(unix))]
fn name_path(name: &[u8]) -> PathBuf {
    String::from_utf8_lossy(name).into_owned().into()
}
