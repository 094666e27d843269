//! What was fetched, kept on disk from one run to the next, up to a number of bytes.
//!
//! A folder holds one folder per object (or prefix), and in it a file per extent: its bytes, then a checksum of every 64 KiB of
//! them, so that a file torn by a crash or a failing disk is fetched again rather than decoded. Files come by renaming, so any
//! number of processes may share the folder; what two fetch at once is the same, and either stays.
//!
//! When the limit is reached, objects that nobody has used for an hour go, those unused for longest first. If that is not
//! enough, nothing more is kept: every epoch reads each picture once, so that a share of the data that stays is hit by that
//! share of the reads, while keeping what was read last would lose nearly all of it before it is read again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use twox_hash::XxHash3_64;

use crate::source::read_exact_at;

/// Bytes under one checksum.
const PIECE: usize = 64 << 10;

const CHECKSUM: usize = 8;

/// An object used within this time is not taken away.
const IN_USE: Duration = Duration::from_secs(3600);

/// How often the use of an object is noted.
const NOTE_USE: Duration = Duration::from_secs(600);

/// The file whose time says when an object was last used.
const USED: &str = "used";

/// A file on its way; one that is older was left behind by a process that was killed.
const PARTIAL: &str = ".partial";

/// A stretch of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extent {
    /// The object or prefix whose folder it is in.
    pub group: u64,
    /// The object, in one of its states.
    pub object: u64,
    pub start: u64,
    pub bytes: u64,
}

impl Extent {
    fn file(self, folder: &Path) -> PathBuf {
        let Self { group, object, start, bytes } = self;
        // A prefix may hold millions of pictures: too many for one folder.
        folder
            .join(format!("{group:016x}"))
            .join(format!("{:02x}", object & 0xFF))
            .join(format!("{object:016x}-{start:x}-{bytes:x}"))
    }

    /// Length of its file, with the checksums.
    fn file_bytes(self) -> u64 {
        self.bytes + (self.bytes.div_ceil(PIECE as u64)) * CHECKSUM as u64
    }
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    limit_bytes: u64,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Bytes in the folder when it was last looked through, and of what was kept since.
    bytes: u64,
    /// Of what is being written, which looking through does not show.
    on_way: u64,
    /// Kept since it was looked through; `None` before the first time.
    since: Option<u64>,
    /// When the use of an object was last noted.
    noted: HashMap<u64, Instant>,
}

impl Disk {
    pub fn new(folder: PathBuf, limit_bytes: u64) -> Self {
        Self { folder, limit_bytes, usage: Mutex::default() }
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Whether an extent is there, without looking into it.
    pub fn has(&self, extent: Extent) -> bool {
        fs::metadata(extent.file(&self.folder)).is_ok_and(|metadata| metadata.len() == extent.file_bytes())
    }

    /// Reads `out` from `start` bytes behind the beginning of `extent` on; false if it is not there or damaged.
    pub fn read(&self, extent: Extent, start: u64, out: &mut [u8]) -> bool {
        let path = extent.file(&self.folder);
        let Ok(file) = File::open(&path) else { return false };
        let read = read_checked(&file, extent, start, out);
        match read {
            Ok(true) => self.note_use(extent.group),
            Ok(false) => drop(fs::remove_file(&path)),
            Err(_) => {}
        }
        matches!(read, Ok(true))
    }

    /// Keeps the bytes of `extent`, if there is room. What cannot be written is fetched again another time.
    pub fn keep(&self, extent: Extent, bytes: &[u8]) {
        if let Ok(Some(mut writer)) = self.writer(extent) {
            let _ = writer.add(bytes).and_then(|()| self.finish(writer));
        }
    }

    /// Starts to keep an extent that comes in pieces; `None` if there is no room.
    pub fn writer(&self, extent: Extent) -> io::Result<Option<Writer<'_>>> {
        if !self.reserve(extent.file_bytes()) {
            return Ok(None);
        }
        let _reserved = Reserved { disk: self, bytes: extent.file_bytes() };
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let path = extent.file(&self.folder);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}{PARTIAL}", std::process::id()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::create(&temporary)?;
        let (piece, checksums) = (Vec::new(), Vec::new());
        Ok(Some(Writer { file: Some(file), temporary, path, extent, piece, checksums, written: 0, _reserved }))
    }

    /// Puts a whole extent in its place.
    pub fn finish(&self, mut writer: Writer<'_>) -> io::Result<()> {
        if writer.written != writer.extent.bytes {
            return Err(io::Error::other(format!("{} bytes instead of {}", writer.written, writer.extent.bytes)));
        }
        writer.end_piece();
        let (mut file, checksums) = (writer.file.take(), std::mem::take(&mut writer.checksums));
        if let Some(file) = &mut file {
            file.write_all(&checksums)?;
        }
        drop(file);
        fs::rename(&writer.temporary, &writer.path)?;
        self.note_use(writer.extent.group);
        let kept = writer.extent.file_bytes();
        let mut usage = self.usage();
        usage.bytes += kept;
        usage.since = usage.since.map(|since| since + kept);
        Ok(())
    }

    /// Takes room for so many bytes, if they stay within the limit once what nobody uses is gone.
    fn reserve(&self, bytes: u64) -> bool {
        let mut usage = self.usage();
        // Other processes keep things, too, which only looking shows.
        let is_due = usage.since.is_none_or(|since| since > self.limit_bytes / 20);
        if is_due {
            (usage.bytes, usage.since) = (self.look_through(0), Some(0));
        }
        let taken = usage.on_way.saturating_add(bytes);
        if usage.bytes.saturating_add(taken) > self.limit_bytes && is_due {
            // Some air, so that not every extent takes its own object away.
            usage.bytes = self.look_through(taken.max(self.limit_bytes / 20));
        }
        let has_room = usage.bytes.saturating_add(taken) <= self.limit_bytes;
        if has_room {
            usage.on_way = taken;
        }
        has_room
    }

    /// The bytes in the folder; where there is no room for `wanted` more, after unused objects were taken away.
    fn look_through(&self, wanted: u64) -> u64 {
        let now = SystemTime::now();
        let age = |time: io::Result<SystemTime>| time.ok().and_then(|time| now.duration_since(time).ok());
        let mut groups: Vec<(Duration, u64, PathBuf)> = Vec::new();
        for group in entries(&self.folder) {
            let used = fs::metadata(group.join(USED)).and_then(|metadata| metadata.modified());
            let mut bytes = 0;
            for file in entries(&group).flat_map(|part| entries(&part)) {
                let Ok(metadata) = fs::metadata(&file) else { continue };
                let is_partial = file.to_string_lossy().ends_with(PARTIAL);
                if is_partial && age(metadata.modified()).is_some_and(|age| age > IN_USE) {
                    let _ = fs::remove_file(&file);
                } else {
                    bytes += metadata.len();
                }
            }
            groups.push((age(used).unwrap_or_default(), bytes, group));
        }
        let mut total: u64 = groups.iter().map(|(_, bytes, _)| bytes).sum();
        groups.sort();
        while total.saturating_add(wanted) > self.limit_bytes
            && let Some((unused, bytes, group)) = groups.pop()
        {
            if unused < IN_USE {
                break;
            }
            let _ = fs::remove_dir_all(&group);
            total -= bytes;
        }
        total
    }

    fn note_use(&self, group: u64) {
        let now = Instant::now();
        let mut usage = self.usage();
        if usage.noted.get(&group).is_none_or(|&noted| now.duration_since(noted) > NOTE_USE) {
            usage.noted.insert(group, now);
            let _ = File::create(self.folder.join(format!("{group:016x}")).join(USED))
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    fn usage(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn read_checked(file: &File, extent: Extent, start: u64, out: &mut [u8]) -> io::Result<bool> {
    if file.metadata()?.len() != extent.file_bytes() || start + out.len() as u64 > extent.bytes {
        return Ok(false);
    }
    let piece_bytes = PIECE as u64;
    let (first, end) = (start / piece_bytes, (start + out.len() as u64).div_ceil(piece_bytes));
    let mut checksums = vec![0; (end - first) as usize * CHECKSUM];
    read_exact_at(file, &mut checksums, extent.bytes + first * CHECKSUM as u64)?;
    let mut piece = Vec::new();
    for (number, checksum) in (first..end).zip(checksums.chunks_exact(CHECKSUM)) {
        let at = number * piece_bytes;
        piece.resize((extent.bytes - at).min(piece_bytes) as usize, 0);
        read_exact_at(file, &mut piece, at)?;
        if XxHash3_64::oneshot(&piece).to_le_bytes() != checksum {
            return Ok(false);
        }
        // What is asked for of this piece.
        let (from, to) = (at.max(start), (at + piece.len() as u64).min(start + out.len() as u64));
        out[(from - start) as usize..(to - start) as usize]
            .copy_from_slice(&piece[(from - at) as usize..(to - at) as usize]);
    }
    Ok(true)
}

/// An extent on its way to disk; dropped before its end, it leaves nothing.
pub(crate) struct Writer<'a> {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
    extent: Extent,
    piece: Vec<u8>,
    checksums: Vec<u8>,
    written: u64,
    _reserved: Reserved<'a>,
}

/// Room that was taken for what is on its way.
struct Reserved<'a> {
    disk: &'a Disk,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut usage = self.disk.usage();
        usage.on_way = usage.on_way.saturating_sub(self.bytes);
    }
}

impl Writer<'_> {
    pub fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.end_piece();
            }
        }
        Ok(())
    }

    fn end_piece(&mut self) {
        if !self.piece.is_empty() {
            self.checksums.extend(XxHash3_64::oneshot(&self.piece).to_le_bytes());
            self.piece.clear();
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // After renaming there is nothing of this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(group: u64, bytes: u64) -> Extent {
        Extent { group, object: 7, start: 0, bytes }
    }

    fn content(bytes: u64) -> Vec<u8> {
        (0..bytes).map(|at| (at * at % 251) as u8).collect()
    }

    #[test]
    fn any_stretch_comes_back_and_damage_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().into(), 1 << 30);
        let (extent, bytes) = (extent(1, 200_000), content(200_000));
        assert!(!disk.has(extent));
        disk.keep(extent, &bytes);
        for (start, len) in [(0, 200_000), (65_536, 1), (65_535, 2), (199_999, 1), (10, 150_000), (5, 0)] {
            let mut out = vec![0; len];
            assert!(disk.read(extent, start as u64, &mut out), "{start}");
            assert_eq!(out, bytes[start..start + len]);
        }
        let path = extent.file(folder.path());
        let mut file = fs::read(&path).unwrap();
        file[70_000] ^= 1;
        fs::write(&path, &file).unwrap();
        assert!(disk.read(extent, 0, &mut [0; 100]), "the first piece is whole");
        assert!(!disk.read(extent, 66_000, &mut [0; 100]) && !disk.has(extent), "the second is not, and goes");
        disk.keep(extent, &bytes);
        fs::write(&path, &bytes[..1000]).unwrap();
        assert!(!disk.read(extent, 0, &mut [0; 100]));
    }

    #[test]
    fn the_limit_holds_what_is_unused_goes_first_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let size = || -> u64 {
            let files = entries(folder.path()).flat_map(|group| entries(&group)).flat_map(|part| entries(&part));
            files.map(|file| fs::metadata(file).unwrap().len()).sum()
        };
        for group in 1..=4 {
            Disk::new(folder.path().into(), 50_000).keep(extent(group, 12_000), &content(12_000));
        }
        assert_eq!(size(), 4 * 12_008);
        Disk::new(folder.path().into(), 50_000).keep(extent(5, 12_000), &content(12_000));
        assert_eq!(size(), 4 * 12_008, "all are in use");
        for (group, hours) in [(2, 3), (3, 2)] {
            let used =
                File::options().append(true).open(folder.path().join(format!("{group:016x}")).join(USED)).unwrap();
            used.set_modified(SystemTime::now() - hours * IN_USE).unwrap();
        }
        Disk::new(folder.path().into(), 50_000).keep(extent(5, 12_000), &content(12_000));
        let disk = Disk::new(folder.path().into(), 50_000);
        let there: Vec<u64> = (1..=5).filter(|&group| disk.has(extent(group, 12_000))).collect();
        assert_eq!(there, [1, 3, 4, 5], "the one unused for longest");
    }

    #[test]
    fn what_is_being_written_counts_before_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().into(), 30_000);
        let mut first = disk.writer(extent(1, 20_000)).unwrap().unwrap();
        assert!(disk.writer(extent(2, 20_000)).unwrap().is_none());
        first.add(&content(20_000)).unwrap();
        disk.finish(first).unwrap();
        assert!(disk.writer(extent(2, 20_000)).unwrap().is_none());
        drop(disk.writer(extent(3, 9_000)).unwrap().unwrap());
        assert!(disk.writer(extent(4, 9_000)).unwrap().is_some(), "what was given up takes no room");
    }

    #[test]
    fn an_extent_that_is_not_whole_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().into(), 1 << 20);
        let mut writer = disk.writer(extent(1, 100)).unwrap().unwrap();
        writer.add(&content(99)).unwrap();
        assert!(disk.finish(writer).is_err() && !disk.has(extent(1, 100)));
        assert_eq!(entries(folder.path()).flat_map(|group| entries(&group)).flat_map(|part| entries(&part)).count(), 0);
    }
}
