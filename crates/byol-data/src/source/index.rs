//! The listing of a large folder, kept in a cache from one opening to the next.
//!
//! Listing a million files takes seconds, on a network's disk minutes. The index holds the names and sizes that were
//! found, and every folder with the time at which it last changed. It is used while all these times are what they were.
//!
//! Noticed: files and folders added, removed, renamed, replaced by renaming another over them, links set anew. Each of
//! these changes the time of the folder they are in. Not noticed: a file rewritten in place, or a link whose target
//! changes elsewhere (a file that it leads to appears, grows or goes). The size noted for them is then out of date, and
//! so is the fingerprint; the picture itself is always read as it is. Switch `data.index_cache` off to list anew.
//! Indexes may be deleted at any time; nothing else removes those of folders that are gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::folder::name_path;
use super::listing::Listing;
use super::walk::{self, Tree};
use crate::DataError;
use crate::fnv::Fnv;

/// Below this many pictures listing is fast anyhow.
const MIN_PICTURES: usize = 10_000;

/// A folder that changed this shortly before it was listed may change again within the same tick of its clock; the
/// coarsest clock of a file system has ticks of two seconds.
const RACY: Duration = Duration::from_secs(2);

/// First bytes of an index, with the version of its form; another one where other files are pictures.
const MAGIC: &[u8; 16] = if cfg!(feature = "dicom") { b"byol index 0002d" } else { b"byol index 0002\n" };

/// What follows the magic and a CRC-32 of this, in postcard's form.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    /// The folder, so that no other can be taken for it.
    #[serde(borrow)]
    root: &'a [u8],
    /// Folders below it and when they changed, in seconds and nanoseconds since 1970.
    #[serde(borrow)]
    folders: Vec<(&'a [u8], u64, u32)>,
    /// Names of the pictures, sorted, without anything between them.
    #[serde(borrow)]
    names: &'a [u8],
    name_lens: Vec<u32>,
    sizes_bytes: Vec<u64>,
    /// How many other files have which ending.
    others: BTreeMap<String, usize>,
}

/// The user's folder for indexes: `$XDG_CACHE_HOME/byol` or `~/.cache/byol`, and what other systems have for this.
pub(crate) fn user_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("byol"))
}

/// What is below `root`: from its index in the folder `indexes` if that still holds, else listed, and noted there.
pub(crate) fn contents(root: &Path, indexes: Option<&Path>) -> Result<Contents, DataError> {
    let Some((indexes, real)) = indexes.and_then(|indexes| Some((indexes, fs::canonicalize(root).ok()?))) else {
        return Ok(walk::walk(root)?.contents);
    };
    let mut hash = Fnv::default();
    hash.add(real.as_os_str().as_encoded_bytes());
    let file = indexes.join(format!("index-{:016x}", hash.finish()));
    if let Some(contents) = read(&file, &real) {
        return Ok(contents);
    }
    let start = SystemTime::now();
    let tree = walk::walk(root)?;
    if tree.contents.pictures.len() >= MIN_PICTURES {
        // Without the index the next opening takes longer, and that is all.
        let _ = write(&file, &real, &tree, start);
    }
    Ok(tree.contents)
}

/// What an index says that is whole, of this folder and not out of date.
fn read(file: &Path, root: &Path) -> Option<Contents> {
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(file).ok()?;
    let mut head = [0; MAGIC.len() + 4];
    file.read_exact(&mut head).ok()?;
    let sum = head.strip_prefix(MAGIC)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    if crc(&bytes).to_le_bytes() != sum {
        return None;
    }
    let stored: Stored<'_> = postcard::from_bytes(&bytes).ok()?;
    if stored.root != root.as_os_str().as_encoded_bytes() || !are_unchanged(root, &stored.folders) {
        return None;
    }
    let pictures = Listing::from_columns(stored.names, &stored.name_lens, &stored.sizes_bytes)?;
    Some(Contents::of_pictures(pictures, stored.others))
}

fn are_unchanged(root: &Path, folders: &[(&[u8], u64, u32)]) -> bool {
    let unchanged = |&(name, secs, nanos): &(&[u8], u64, u32)| {
        let path = if name.is_empty() { root.to_owned() } else { root.join(name_path(name)) };
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir);
        metadata.and_then(|metadata| since_1970(metadata.modified().ok()?)) == Some((secs, nanos))
    };
    // On a network's disk each question is a wait, so several are asked at once.
    let share = folders.len().div_ceil(walk::threads()).max(64);
    thread::scope(|scope| {
        let ask = |folders: &[(&[u8], u64, u32)]| folders.iter().all(unchanged);
        let start =
            |folders| thread::Builder::new().spawn_scoped(scope, move || ask(folders)).map_err(|_| ask(folders));
        let workers: Vec<_> = folders.chunks(share).map(start).collect();
        workers.into_iter().all(|worker| worker.map_or_else(|asked| asked, |worker| worker.join().unwrap_or(false)))
    })
}

/// Notes `tree`, listed from `start` on. Does nothing if a folder changed so shortly before that a later change could
/// leave its time as it is.
fn write(file: &Path, root: &Path, tree: &Tree, start: SystemTime) -> Option<()> {
    let settled = |(name, modified): &(Vec<u8>, Option<SystemTime>)| -> Option<(Vec<u8>, u64, u32)> {
        let modified = (*modified)?;
        let is_settled = start.duration_since(modified).is_ok_and(|age| age > RACY);
        let (secs, nanos) = since_1970(modified)?;
        is_settled.then(|| (name.clone(), secs, nanos))
    };
    let folders = tree.folders.iter().map(settled).collect::<Option<Vec<_>>>()?;
    let pictures = &tree.contents.pictures;
    let stored = Stored {
        root: root.as_os_str().as_encoded_bytes(),
        folders: folders.iter().map(|(name, secs, nanos)| (&name[..], *secs, *nanos)).collect(),
        names: &pictures.names().flatten().copied().collect::<Vec<u8>>(),
        name_lens: pictures.names().map(|name| name.len() as u32).collect(),
        sizes_bytes: (0..pictures.len()).map(|index| pictures.size_bytes(index)).collect(),
        others: tree.contents.others().clone(),
    };
    let bytes = postcard::to_allocvec(&stored).ok()?;
    let folder = file.parent()?;
    fs::create_dir_all(folder).ok()?;
    // Another program may write the same index: each has a file of its own, and the last to rename it wins.
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut out| {
        out.write_all(MAGIC)?;
        out.write_all(&crc(&bytes).to_le_bytes())?;
        out.write_all(&bytes)?;
        fs::rename(&temporary, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.ok()
}

fn since_1970(time: SystemTime) -> Option<(u64, u32)> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some((since.as_secs(), since.subsec_nanos()))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
