//! Representations of a long pass on disk, piece by piece, so that one that is interrupted goes on from there.
//!
//! A journal is a folder: `journal.json` says of which encoder and which pictures, and each piece is a file of consecutive places of the data
//! set, in the form of the entries of the [cache](crate::extract_cached), which appears as a whole and has a checksum. What another pass, another
//! encoder or other pictures have left there is never taken for one's own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use byol_data::{BadImage, Dataset};
use byol_nn::encoder::Encoder;
use byol_nn::files::{Lock, lock, write_atomically};
use byol_nn::ops::engine;
use byol_nn::{Error, Result};
use serde_json::{Map, Value, json};

use super::cache::{self, fingerprint};
use super::features::Features;
use super::meter::Meter;

/// Version of the folder's form.
const FORMAT: &str = "byol journal 1";

/// The file that says what a journal is of.
const ABOUT: &str = "journal.json";

/// So much is held in memory before it is written.
const PIECE_BYTES: usize = 64 << 20;

/// What was computed longer ago is written, however little it is: a killed process loses no more.
const PIECE_AGE: Duration = Duration::from_secs(30);

/// What of a pass over a data set is done.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Part of the key of every piece.
    key: String,
    /// Keeps other processes out.
    _lock: Option<File>,
    /// Those on disk, one after the other from place 0 on.
    pieces: Vec<Range<usize>>,
    /// What is not on disk yet, and its places.
    open: Features,
    open_places: Range<usize>,
    written: Instant,
    rows: usize,
    bad: Vec<BadImage>,
    pictures: usize,
}

impl Journal {
    /// Opens the journal of `encoder` and `dataset` in `folder`, or begins it there.
    ///
    /// Pieces that are damaged, and those after them, are deleted, since they must be made again.
    ///
    /// # Errors
    /// [`Error::Path`] for a journal of anything else, one that another process is writing, and a folder of other files; [`Error::Io`].
    pub fn open(folder: &Path, encoder: &Encoder, dataset: &Dataset) -> Result<Self> {
        let about = about(encoder, dataset);
        begin(folder, &about)?;
        let lock = locked(folder)?;
        check_same(folder, &about)?;
        let size = encoder.info.representation_size;
        let mut journal = Self {
            folder: folder.to_owned(),
            key: format!(
                "{:032x}",
                twox_hash::xxhash3_128::Hasher::oneshot(Value::Object(about).to_string().as_bytes())
            ),
            _lock: lock,
            pieces: Vec::new(),
            open: Features::none(size),
            open_places: 0..0,
            written: Instant::now(),
            rows: 0,
            bad: Vec::new(),
            pictures: dataset.len(),
        };
        journal.find_pieces()?;
        Ok(journal)
    }

    /// Finds the pieces that follow each other from place 0 on, and deletes the others and what was being written.
    fn find_pieces(&mut self) -> Result<()> {
        let (mut found, mut useless): (Vec<Range<usize>>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        for name in own_names(&self.folder)?.into_iter().filter(|name| name != ABOUT) {
            match places_of(&name) {
                Some(places) => found.push(places),
                None => useless.push(self.folder.join(name)),
            }
        }
        found.sort_by_key(|places| (places.start, places.end));
        let meter = Meter::start("looking at what is done", self.pictures as u64);
        for places in found {
            let follows = places.start == self.done() && places.end > places.start && places.end <= self.pictures;
            match follows.then(|| self.read(&places)) {
                Some(Ok(features)) => {
                    self.rows += features.len();
                    self.bad.extend(features.bad);
                    meter.set(places.end as u64);
                    self.open_places = places.end..places.end;
                    self.pieces.push(places);
                }
                _ => useless.push(self.path(&places)),
            }
        }
        useless.iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io("delete", path)))
    }

    /// Places of the data set that are done, from the first on; those in memory count.
    pub fn done(&self) -> usize {
        self.open_places.end
    }

    /// Those that are on disk.
    pub fn kept(&self) -> usize {
        self.open_places.start
    }

    /// Whether all are done.
    pub fn is_complete(&self) -> bool {
        self.done() == self.pictures
    }

    /// Pictures that have a representation.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Pictures that could not be read.
    pub fn bad(&self) -> &[BadImage] {
        &self.bad
    }

    /// Size of one representation.
    pub fn size(&self) -> usize {
        self.open.size
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds what was made of `places`, which follow those that are done; now and then to the disk.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    ///
    /// # Panics
    /// When they do not follow.
    pub fn add(&mut self, places: &Range<usize>, features: Features) -> Result<()> {
        assert_eq!(places.start, self.done(), "a journal has no holes");
        self.open_places.end = places.end;
        self.rows += features.len();
        self.bad.extend(features.bad.iter().cloned());
        self.open.append(features);
        let is_large = self.open.values.len() * size_of::<f32>() >= PIECE_BYTES;
        if is_large || self.written.elapsed() >= PIECE_AGE { self.flush() } else { Ok(()) }
    }

    /// Writes what is in memory alone.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn flush(&mut self) -> Result<()> {
        if self.open_places.is_empty() {
            return Ok(());
        }
        let places = self.open_places.clone();
        let key = self.piece_key(&places);
        write_atomically(&self.path(&places), |to| cache::write(&self.open, &key, to))?;
        self.open = Features::none(self.open.size);
        self.open_places.start = places.end;
        self.pieces.push(places);
        self.written = Instant::now();
        Ok(())
    }

    /// All that is on disk, piece by piece.
    ///
    /// # Errors
    /// Each is [`Error::Damaged`] where it is no longer what was written.
    pub fn pieces(&self) -> impl Iterator<Item = Result<Features>> {
        self.pieces.iter().map(|places| self.read(places))
    }

    /// Deletes the journal, and its folder unless somebody has put other files there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        for path in own_names(&self.folder)?.into_iter().map(|name| self.folder.join(name)) {
            fs::remove_file(&path).map_err(Error::io("delete", &path))?;
        }
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(Error::io("delete", &self.folder)(error)),
            _ => Ok(()),
        }
    }

    fn read(&self, places: &Range<usize>) -> Result<Features> {
        let path = self.path(places);
        let features = cache::read(&path, &self.piece_key(places)).ok().filter(|features| {
            let in_places = |&image: &u32| places.contains(&(image as usize));
            features.size == self.open.size
                && features.len() + features.bad.len() == places.len()
                && features.images.iter().all(in_places)
        });
        let problem = "changed since it was written; start the same command again, which makes it anew".to_owned();
        features.ok_or_else(|| Error::path(&path, problem))
    }

    fn piece_key(&self, places: &Range<usize>) -> String {
        format!("{} {}-{}", self.key, places.start, places.end)
    }

    fn path(&self, places: &Range<usize>) -> PathBuf {
        self.folder.join(format!("{:012}-{:012}.safetensors", places.start, places.end))
    }
}

/// Files of the folder that a journal has written.
fn own_names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_own = |name: &String| {
        let whole = name.strip_suffix(".partial").unwrap_or(name);
        whole == ABOUT || places_of(whole).is_some()
    };
    Ok(names.filter(is_own).collect())
}

fn places_of(name: &str) -> Option<Range<usize>> {
    let (start, end) = name.strip_suffix(".safetensors")?.split_once('-')?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

/// All that a representation depends on, by name, so that a difference can be said.
fn about(encoder: &Encoder, dataset: &Dataset) -> Map<String, Value> {
    let config = dataset.config();
    let about = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "encoder": fingerprint(encoder),
        "computed by": engine(),
        "pictures": dataset.len(),
        "data": format!("{:016x}", dataset.fingerprint()),
        "data.channels": config.channels,
        "data.exif_orientation": config.exif_orientation,
        "data.value_range": config.value_range,
        "data.image_key": config.image_key,
        "data.max_image_pixels": config.max_image_pixels,
        "data.max_file_bytes": config.max_file_bytes,
    });
    match about {
        Value::Object(about) => about,
        _ => unreachable!("an object was written"),
    }
}

/// Makes the folder with its description, if there is none yet.
fn begin(folder: &Path, about: &Map<String, Value>) -> Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(error) => return Err(Error::io("create", folder)(error)),
    }
    let path = folder.join(ABOUT);
    if path.exists() {
        return Ok(());
    }
    // A process that was killed as it began has left at most half of that file.
    let is_ours = |name: &str| name == format!("{ABOUT}.partial");
    let names = fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten();
    if let Some(other) = names.map(|entry| entry.file_name()).find(|name| !is_ours(&name.to_string_lossy())) {
        let problem = format!("holds other files ({}); give another -o, or move them away", other.to_string_lossy());
        return Err(Error::path(folder, problem));
    }
    let text = serde_json::to_string_pretty(about).expect("plain fields have a JSON form");
    write_atomically(&path, |to| writeln!(to, "{text}"))
}

fn locked(folder: &Path) -> Result<Option<File>> {
    match lock(&folder.join(ABOUT))? {
        Lock::Ours(file) => Ok(Some(file)),
        Lock::Unknown => Ok(None),
        Lock::Taken => Err(Error::path(folder, "another process is writing this; wait for it, or stop it first")),
    }
}

/// Refuses what was left by a pass of anything else.
fn check_same(folder: &Path, about: &Map<String, Value>) -> Result<()> {
    let path = folder.join(ABOUT);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let delete = "delete the folder to begin anew, or give another -o";
    let there: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| Error::path(&path, format!("damaged: {error}; {delete}")))?;
    let shown = |value: Option<&Value>| match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let other = about.iter().filter(|&(key, value)| there.get(key) != Some(value));
    let differences: Vec<String> =
        other.map(|(key, now)| format!("{key} ({} there, {} now)", shown(there.get(key)), shown(Some(now)))).collect();
    if differences.is_empty() {
        return Ok(());
    }
    let isa = if there.get("computed by") == about.get("computed by") {
        ""
    } else {
        "; --isa or --device chooses what computes"
    };
    let problem = format!(
        "holds what an interrupted pass has made of something else: {}; give what it was made of{isa}, {delete}",
        differences.join(", ")
    );
    Err(Error::path(folder, problem))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use byol_data::Image;
    use byol_nn::dist::Alone;
    use byol_nn::ops::open_device;

    use super::*;
    use crate::{Stop, extract, extract_in_order};

    fn pictures(count: usize) -> Arc<Dataset> {
        let images = (0..count).map(|index| Image::rgb8(4, 4, (0..48).map(|at| (index * 7 + at) as u8).collect()));
        let names = (0..count).map(|index| index.to_string()).collect();
        Arc::new(Dataset::from_images(images.collect(), None, vec![], names))
    }

    fn encoder(seed: u64) -> Encoder {
        let device = open_device("cpu").unwrap();
        let encoder = Encoder::open("random:resnet18x0.0625:cifar:8", &device).unwrap();
        Encoder::random_like(&encoder.info, seed, &device)
    }

    #[test]
    fn a_pass_goes_on_after_its_last_whole_piece_and_comes_to_the_same() {
        let (device, dataset, mut encoder) = (open_device("cpu").unwrap(), pictures(700), encoder(0));
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("x.part");
        let mut pass = |at: &Path, stop_after: usize| {
            let mut journal = Journal::open(at, &encoder.clone(), &dataset).unwrap();
            let from = journal.done();
            let result =
                extract_in_order(&mut encoder, &dataset, from, Stop::default(), &device, &Alone, |places, made| {
                    journal.add(&places, made)?;
                    journal.flush()?;
                    if places.end >= stop_after { Err(Error::Interrupted) } else { Ok(()) }
                });
            (journal, from, result)
        };
        let (journal, _, interrupted) = pass(&at, 512);
        assert!(matches!(interrupted, Err(Error::Interrupted)) && !journal.is_complete() && journal.done() == 512);
        drop(journal);
        // The second piece is damaged, and a third was being written.
        let damaged = at.join("000000000256-000000000512.safetensors");
        let mut bytes = fs::read(&damaged).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        fs::write(&damaged, bytes).unwrap();
        fs::write(at.join("000000000512-000000000700.safetensors.partial"), "half").unwrap();
        fs::write(at.join("mine.txt"), "of somebody else").unwrap();

        let (journal, from, result) = pass(&at, usize::MAX);
        assert_eq!((from, result.is_ok(), journal.is_complete()), (256, true, true));
        let mut all = Features::none(journal.size());
        journal.pieces().for_each(|piece| all.append(piece.unwrap()));
        let whole = extract(&mut encoder, &dataset, 1, &device).unwrap();
        assert!(all.values == whole.values && all.images == whole.images, "the same bits in the same order");
        assert_eq!((journal.rows(), own_names(&at).unwrap().len()), (700, 4), "three pieces and what they are of");
        journal.remove().unwrap();
        let left: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.txt"]);
        fs::remove_file(at.join("mine.txt")).unwrap();
        Journal::open(&at, &encoder, &dataset).unwrap().remove().unwrap();
        assert!(!at.exists());
    }

    #[test]
    fn what_was_made_of_something_else_is_refused_and_so_is_a_second_process() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("x.part");
        let journal = Journal::open(&at, &encoder(0), &pictures(3)).unwrap();
        let taken = Journal::open(&at, &encoder(0), &pictures(3)).unwrap_err().to_string();
        assert!(taken.contains("another process"), "{taken}");
        drop(journal);
        let other = Journal::open(&at, &encoder(1), &pictures(4)).unwrap_err().to_string();
        for words in ["encoder (", "data (", "pictures (3 there, 4 now)", "delete the folder", "another -o"] {
            assert!(other.contains(words), "{words}: {other}");
        }
        assert!(!other.contains("--isa"), "{other}");
        assert!(Journal::open(&at, &encoder(0), &pictures(3)).is_ok());
        let foreign = folder.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("diary.txt"), "dear").unwrap();
        let refused = Journal::open(&foreign, &encoder(0), &pictures(3)).unwrap_err().to_string();
        assert!(refused.contains("holds other files (diary.txt)"), "{refused}");
        assert!(foreign.join("diary.txt").exists());
    }
}
