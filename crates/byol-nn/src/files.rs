//! Writing files so that no reader ever sees half of one, and what a disk has room for.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `path` through a temporary neighbour that is flushed to disk and renamed over it; then the folder is flushed, so
/// that the new name outlives a power failure, too.
///
/// # Errors
/// [`Error::Io`]; the old file, if there is one, is as it was.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let temporary = temporary(path);
    let result = (|| {
        let mut writer = BufWriter::new(File::create(&temporary)?);
        write(&mut writer)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        fs::rename(&temporary, path)?;
        flush_folder(path)
    })();
    result.map_err(|error| {
        // The write already failed; a leftover temporary file is the lesser problem.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path)(error)
    })
}

/// Flushes the folder that `path` is in: without that, a rename may be forgotten when the power fails.
#[cfg(unix)]
fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot flush folders, and keep names safe by themselves.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

/// Elsewhere folders cannot be opened; the system flushes them.
#[cfg(not(unix))]
fn flush_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Appends `bytes` as a whole: what a disk has taken of them before it was full is cut off again.
///
/// # Errors
/// Those of the system.
pub fn append_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(bytes);
    if written.is_err() {
        // The write already failed; readers drop a line that is cut short.
        let _ = file.set_len(before);
    }
    written
}

/// Bytes that may still be written to the disk of `folder`; `None` where the system does not say.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    // Some file systems have no size of their own and say 0 to everything.
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Elsewhere nobody is asked; a write that fails says it.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Whether a write failed for want of room, be it the disk's or a person's share of it.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Who has a file for itself.
#[derive(Debug)]
pub enum Lock {
    /// This process, while the file is open.
    Ours(File),
    /// Another one.
    Taken,
    /// The file system has no locks.
    Unknown,
}

/// Takes the file at `path` for this process alone, if no other has it.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened.
pub fn lock(path: &Path) -> Result<Lock> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock::Ours(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(Lock::Taken),
        Err(fs::TryLockError::Error(error)) if has_no_locks(&error) => Ok(Lock::Unknown),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

/// Whether the file system does not know locks (`ENOSYS`, `EOPNOTSUPP`) or lacks the service for them (`ENOLCK`), as disks of
/// a network do.
fn has_no_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(ENOLCK)
}

/// Checks that [`write_atomically`] could write `path`, and leaves nothing behind: for results that take hours to make.
pub fn check_writable(path: &Path) -> Result<()> {
    let temporary = temporary(path);
    File::create(&temporary).and_then(|_| fs::remove_file(&temporary)).map_err(Error::io("write", path))
}

/// Checks that `output` does not lie inside the folder `data`, whatever links and `..` it goes through, and whether or
/// not it and its parents exist.
pub fn check_outside(output: &Path, data: &Path) -> Result<()> {
    let Ok(data) = data.canonicalize() else { return Ok(()) };
    if data.is_dir() && resolved(output)?.starts_with(&data) {
        let problem = format!("lies inside the data folder {}; choose a place outside of it", data.display());
        return Err(Error::path(output, problem));
    }
    Ok(())
}

/// The absolute path without links and `..`, as far as it exists; the rest as it would be made.
fn resolved(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    let step = |mut so_far: PathBuf, component: Component| {
        match component {
            Component::ParentDir => drop(so_far.pop()),
            other => so_far.push(other),
        }
        so_far.canonicalize().unwrap_or(so_far)
    };
    Ok(absolute.components().fold(PathBuf::new(), step))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, |writer| writer.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |writer| {
            writer.write_all(b"new")?;
            Err(std::io::Error::other("full"))
        });
        assert!(failed.unwrap_err().to_string().contains("full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_is_appended_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, b"first\n").unwrap();
        append_whole(&mut fs::OpenOptions::new().append(true).open(&path).unwrap(), b"second\n").unwrap();
        assert!(append_whole(&mut File::open(&path).unwrap(), b"third\n").is_err(), "opened for reading");
        assert_eq!(fs::read(&path).unwrap(), b"first\nsecond\n");
        let full = io::Error::from(ErrorKind::StorageFull);
        assert!(is_disk_full(&full) && !is_disk_full(&io::Error::from(ErrorKind::ReadOnlyFilesystem)));
    }

    #[cfg(unix)]
    #[test]
    fn the_room_on_a_disk_is_known_and_that_of_no_disk_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).is_some_and(|free| free > 0));
        assert_eq!(free_bytes(&folder.path().join("missing")), None);
    }

    #[test]
    fn inside_the_data_is_seen_through_missing_parents_and_dots() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for (output, outside) in [
            ("data/run", false),
            ("data", false),
            ("data/new/run", false),
            ("other/../data/run", false),
            ("data/new/../../data/run", false),
            ("data/../run", true),
            ("data-2/run", true),
            ("new/run", true),
        ] {
            assert_eq!(check_outside(&folder.path().join(output), &data).is_ok(), outside, "{output}");
        }
        assert!(check_outside(Path::new("anywhere"), &folder.path().join("no data")).is_ok());
    }

    #[test]
    fn checking_whether_a_file_can_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("file")).unwrap();
        assert!(check_writable(&folder.path().join("missing/file")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
