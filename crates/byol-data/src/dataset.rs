//! Pictures with names, labels and a split.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{self, Flaw, decode};
use crate::error::Unread;
use crate::fnv::Fnv;
use crate::source::{self, Source};
use crate::splits::{self, Layout};
use crate::views::{Stage, StageClock};
use crate::{BadImage, DataConfig, DataError, Image, LoadMemory};

/// A set of pictures, each read and decoded when asked for. Cloning and taking subsets share the source.
///
/// # Layout of `DATA`
/// A folder of any depth; a tar archive (plain, gz, xz, zst); CIFAR-10/100 or STL-10 in binary form or IDX files, alone,
/// in a folder or in an archive; Parquet files of encoded pictures, as Hugging Face `datasets` writes them, alone or in
/// a folder; Arrow files, as its `save_to_disk` does; NumPy arrays of pictures (`.npy`, `.npz`), or a folder of arrays that are a picture each; one picture; a list
/// of paths; a folder of tar archives. `train` beside `test`, `val` or `validation` are splits; labels come from the first
/// level that has more than one folder. Pictures are sorted bytewise by their path.
///
/// - A list is a text, `.csv`, `.tsv` or `.jsonl` file with one path per row, relative to its folder or the one above. A second
///   column is the label; a header (`path,label,split`) may name columns in any order. Its order is kept. Paths with `\`, of
///   another folder or without an ending are those of the files found below the folder of the list that end alike.
/// - `metadata.csv` or `metadata.jsonl` in a folder of pictures, with a column `file_name`, has their labels.
/// - In a tar archive, `KEY.cls`, `KEY.label.txt` or the field `label`, `cls` or `class` of `KEY.json` is the label of the picture
///   `KEY.jpg` (WebDataset). Folders give labels only where no such member does. `KEY.seg.png` and others that go with the
///   picture of a sample are left out.
/// - Archives without labels and folders that are not called after a part of the data, as `cat.tar` and `dog.tar`, are classes.
/// - A folder of tar archives and no pictures is a set of shards in name order, as if given one by one to
///   [`Self::open_all`]. Names like `train-000.tar` beside `test-000.tar` (or `val`, `validation`) are splits.
/// - The listing of a folder with 10 000 pictures or more is kept in the user's cache folder and used while no folder
///   in it has changed. Files that are added, removed or renamed are noticed; a file rewritten in place is not, so
///   its size in the fingerprint is that of before, though the picture is read as it is.
#[derive(Clone, Debug)]
pub struct Dataset {
    shared: Arc<Shared>,
    /// Places in the source.
    images: Vec<u32>,
    /// Labels of `images`, of equal length; [`NO_LABEL`] where there is none, for `Option` would double the memory.
    labels: Vec<u32>,
}

/// A class of this number would be one too many for any data.
const NO_LABEL: u32 = u32::MAX;

#[derive(Debug)]
struct Shared {
    source: Source,
    classes: Vec<String>,
    split: Option<String>,
    splits_present: Vec<String>,
    notes: Vec<String>,
    roots: Vec<PathBuf>,
    config: DataConfig,
}

impl Dataset {
    /// Opens what is at `path`, whose content decides how it is read. Without a wish for a `split`, data that has
    /// splits gives its training part. Pictures are not decoded yet.
    ///
    /// # Errors
    /// See [`DataError`]: nothing there, no pictures, no such split, a damaged archive or set.
    pub fn open(path: &Path, split: Option<&str>, config: &DataConfig) -> Result<Self, DataError> {
        Self::open_all(&[path.to_owned()], split, config)
    }

    /// Opens several roots as one dataset: picture after picture of root after root, in the order given. A path that
    /// does not exist as written and has braces stands for several: `shard-{000..127}.tar`, `{a,b}.tar`.
    ///
    /// - Names begin with the last component of their root: `shard-000.tar/cat/1.jpg`. Nothing else of where a root lies
    ///   enters them or the fingerprint. One path alone is what [`Self::open`] makes of it.
    /// - Classes are the union by name, sorted by number if all are whole numbers, else bytewise. Labels are those each
    ///   root gives by itself; a root whose pictures are all in one folder has that class if another root knows it, or if no
    ///   root has labels and these folders differ.
    /// - A split asked for must be in every root. Otherwise each root gives its `train` part, or all if it has no splits.
    ///   [`Self::split`] is the split that all roots have in use, [`Self::splits_present`] those that every root has.
    /// - `data.max_archive_memory_bytes` holds for all roots together.
    /// - [`Order`](crate::Order) mixes the pictures of all roots in one permutation, the same on every machine. Shards
    ///   thus need no shuffling of their own; pictures in plain archives are read in place, wherever they are.
    ///
    /// # Errors
    /// See [`DataError`]; the message names the root.
    ///
    /// # Panics
    /// When there is no path.
    pub fn open_all(paths: &[PathBuf], split: Option<&str>, config: &DataConfig) -> Result<Self, DataError> {
        Self::open_all_indexed(paths, split, config, source::user_folder().as_deref())
    }

    /// [`Self::open_all`] with the indexes of large folders in the folder `indexes` instead of the user's cache folder,
    /// or without any. The key `data.index_cache` switches them off in any case.
    ///
    /// # Errors
    /// As [`Self::open_all`]; an index that cannot be read or written is no error.
    ///
    /// # Panics
    /// As [`Self::open_all`].
    pub fn open_all_indexed(
        paths: &[PathBuf],
        split: Option<&str>,
        config: &DataConfig,
        indexes: Option<&Path>,
    ) -> Result<Self, DataError> {
        assert!(!paths.is_empty(), "a dataset needs a path");
        config.validate()?;
        let roots = source::expand_all(paths)?;
        let (source, layout) = source::open_all(&roots, split, config, indexes.filter(|_| config.index_cache))?;
        Ok(Self::new(source, layout, roots, config.clone()))
    }

    /// A dataset of pictures in memory. Picture `i` is called `names[i]`, has the label `labels[i]` (if there are
    /// labels), and that is a place in `classes`.
    ///
    /// # Panics
    /// When the lists differ in length or a label is no place in `classes`.
    pub fn from_images(images: Vec<Image>, labels: Option<Vec<u32>>, classes: Vec<String>, names: Vec<String>) -> Self {
        assert_eq!(images.len(), names.len(), "one name per picture");
        let labels = match labels {
            Some(labels) => labels.into_iter().map(Some).collect(),
            None => vec![None; images.len()],
        };
        assert_eq!(images.len(), labels.len(), "one label per picture");
        assert!(labels.iter().flatten().all(|&label| (label as usize) < classes.len()), "labels are places in classes");
        let places = (0u32..).take(images.len()).collect();
        let layout = Layout { classes, images: places, labels, ..Layout::default() };
        Self::new(Source::Images { images, names }, layout, Vec::new(), DataConfig::default())
    }

    pub(crate) fn new(source: Source, layout: Layout, roots: Vec<PathBuf>, config: DataConfig) -> Self {
        let Layout { split, splits_present, classes, mut images, labels, notes } = layout;
        images.shrink_to_fit();
        let labels = labels.iter().map(|label| label.unwrap_or(NO_LABEL)).collect();
        let shared = Arc::new(Shared { source, classes, split, splits_present, notes, roots, config });
        Self { shared, images, labels }
    }

    /// The pictures at `places` of this dataset, in that order.
    ///
    /// # Panics
    /// When a place is not below [`Self::len`].
    pub fn subset(&self, places: &[u32]) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            images: places.iter().map(|&place| self.images[place as usize]).collect(),
            labels: places.iter().map(|&place| self.labels[place as usize]).collect(),
        }
    }

    /// The pictures of this part, then those of `other`, which is another part of the same source.
    pub(crate) fn followed_by(&self, other: &Self) -> Self {
        assert!(Arc::ptr_eq(&self.shared, &other.shared), "places of different sources do not go together");
        let shared = Arc::clone(&self.shared);
        let images = [&self.images[..], &other.images].concat();
        Self { shared, images, labels: [&self.labels[..], &other.labels].concat() }
    }

    /// The place of picture `index` in the source, which is the same in every subset, and how many places there are.
    pub(crate) fn place(&self, index: usize) -> (usize, usize) {
        (self.images[index] as usize, self.shared.source.len())
    }

    /// Number of pictures, broken ones included.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are no pictures; true only for an empty subset or an empty list of pictures.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Name of picture `index`: its path below `DATA`, or file and place as in `data_batch_1.bin#17`. Bytes that are
    /// no text appear as `�`.
    pub fn name(&self, index: usize) -> String {
        self.shared.source.name(self.images[index] as usize).into_owned()
    }

    /// Bytes that picture `index` occupies where it lies: its file, a record of so many pixels; in Parquet files the mean of its row group.
    pub fn size_bytes(&self, index: usize) -> u64 {
        self.shared.source.size_bytes(self.images[index] as usize)
    }

    /// Label of picture `index`, a place in [`Self::classes`]; `None` where the data gives none.
    pub fn label(&self, index: usize) -> Option<u32> {
        Some(self.labels[index]).filter(|&label| label != NO_LABEL)
    }

    /// Class names; empty without labels. The same for every split of the same data.
    pub fn classes(&self) -> &[String] {
        &self.shared.classes
    }

    /// The split in use; `None` if the data has none.
    pub fn split(&self) -> Option<&str> {
        self.shared.split.as_deref()
    }

    /// Every split of the data.
    pub fn splits_present(&self) -> &[String] {
        &self.shared.splits_present
    }

    /// The splits that are there to be tested on, by their names: test parts, then validation parts.
    pub fn test_splits(&self) -> Vec<&str> {
        splits::to_test_on(self.splits_present())
    }

    /// What was guessed about the data and what was left out of it, a sentence each, for people.
    pub fn notes(&self) -> &[String] {
        &self.shared.notes
    }

    /// The paths it was opened from, patterns expanded; none for pictures in memory.
    pub fn roots(&self) -> &[PathBuf] {
        &self.shared.roots
    }

    /// Format, channels and depth of the file of picture `index`, as in `PNG, 1 channel, 16 bits`; what the source is where
    /// pictures have no files.
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn kind(&self, index: usize, memory: &mut LoadMemory) -> String {
        let Shared { source, config, .. } = &*self.shared;
        match source.encoded(self.images[index] as usize, config, &mut memory.file) {
            Ok(Some(bytes)) => decode::kind(bytes),
            Ok(None) => source.kind().to_owned(),
            Err(_) => "unreadable".to_owned(),
        }
    }

    /// What is wrong with the file of picture `index` though it can be read; see [`crate::flaw`].
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn flaw(&self, index: usize, memory: &mut LoadMemory) -> Option<Flaw> {
        let Shared { source, config, .. } = &*self.shared;
        let bytes = source.encoded(self.images[index] as usize, config, &mut memory.file);
        bytes.ok().flatten().and_then(decode::flaw)
    }

    /// The limits the data was opened with.
    pub fn config(&self) -> &DataConfig {
        &self.shared.config
    }

    /// Memory for names, sizes, places and labels, in bytes; that of pictures kept from compressed archives is apart.
    pub fn index_bytes(&self) -> usize {
        (self.images.capacity() + self.labels.capacity()) * size_of::<u32>() + self.shared.source.index_bytes()
    }

    /// One line for people: `tar archive, split train (of train, test), 50000 pictures, 10 classes`.
    pub fn description(&self) -> String {
        let mut text = self.shared.source.kind().to_owned();
        if let Some(split) = self.split() {
            text += &format!(", split {split} (of {})", self.splits_present().join(", "));
        }
        text += &format!(", {} picture{}", self.len(), if self.len() == 1 { "" } else { "s" });
        match self.classes().len() {
            0 => text + ", no labels",
            count => text + &format!(", {count} classes"),
        }
    }

    /// Reads and decodes picture `index`. Any number of threads may do so at once.
    ///
    /// # Errors
    /// [`BadImage`] if the file cannot be read or is no usable picture.
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn load(&self, index: usize) -> Result<Image, BadImage> {
        self.load_in(index, &mut LoadMemory::default())
    }

    /// [`Self::load`] in memory that is used again from picture to picture; see [`LoadMemory::recycle`].
    ///
    /// # Errors
    /// As [`Self::load`].
    ///
    /// # Panics
    /// As [`Self::load`].
    pub fn load_in(&self, index: usize, memory: &mut LoadMemory) -> Result<Image, BadImage> {
        self.try_load(index, memory).map_err(|unread| BadImage { name: self.name(index), reason: unread.into_reason() })
    }

    /// [`Self::load_in`], which tells a bad picture from one that cannot be reached.
    pub(crate) fn try_load(&self, index: usize, memory: &mut LoadMemory) -> Result<Image, Unread> {
        let Shared { source, config, .. } = &*self.shared;
        source.load(self.images[index] as usize, config, memory)
    }

    /// Has pictures behind URLs fetched that will be loaded soon.
    pub(crate) fn announce(&self, indexes: impl IntoIterator<Item = u32>) {
        if self.shared.source.is_remote() {
            indexes.into_iter().for_each(|index| self.shared.source.announce(self.images[index as usize] as usize));
        }
    }

    /// [`Self::load_in`] with a stopwatch.
    pub(crate) fn load_timed(
        &self,
        index: usize,
        memory: &mut LoadMemory,
        clock: &mut StageClock,
    ) -> Result<Image, Unread> {
        let Shared { source, config, .. } = &*self.shared;
        let place = self.images[index] as usize;
        let loaded = match source.encoded(place, config, &mut memory.file)? {
            Some(bytes) => {
                clock.lap(Stage::Read);
                decode(bytes, config, memory.samples.take()).map_err(Unread::from)
            }
            None => source.load(place, config, memory),
        };
        clock.lap(Stage::Decode);
        loaded
    }

    /// A number that changes when pictures are added, removed, renamed, relabelled or change their size in bytes.
    /// Stable across runs and machines; pixels are not read. FNV-1a, 64 bits.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::default();
        for (index, &image) in self.images.iter().enumerate() {
            hash.add(self.shared.source.name(image as usize).as_bytes());
            // No name holds this byte, so names cannot run into each other.
            hash.add(&[0xFF]);
            hash.add(&self.shared.source.size_bytes(image as usize).to_le_bytes());
            hash.add(&self.label(index).map_or(u64::MAX, u64::from).to_le_bytes());
        }
        for class in self.classes() {
            hash.add(class.as_bytes());
            hash.add(&[0xFF]);
        }
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(value: u8) -> Image {
        Image::rgb8(2, 1, vec![value; 6])
    }

    fn three(names: [&str; 3], labels: [u32; 3]) -> Dataset {
        let images = (0..3).map(grey).collect();
        Dataset::from_images(
            images,
            Some(labels.to_vec()),
            vec!["a".into(), "b".into()],
            names.map(str::to_owned).to_vec(),
        )
    }

    #[test]
    fn a_subset_keeps_names_labels_and_pictures_together() {
        let subset = three(["x", "y", "z"], [0, 1, 0]).subset(&[2, 1]);
        assert_eq!((subset.len(), subset.name(0), subset.label(1)), (2, "z".into(), Some(1)));
        assert_eq!(subset.load(0), Ok(grey(2)));
        assert_eq!(subset.subset(&[1]).name(0), "y");
    }

    #[test]
    fn the_fingerprint_sees_names_labels_and_which_pictures() {
        let base = three(["x", "y", "z"], [0, 1, 0]);
        assert_eq!(base.fingerprint(), base.clone().fingerprint());
        let others = [
            three(["x", "y", "w"], [0, 1, 0]),
            three(["xy", "", "z"], [0, 1, 0]),
            three(["x", "y", "z"], [0, 1, 1]),
            base.subset(&[0, 1]),
            base.subset(&[1, 0, 2]),
        ];
        assert!(others.iter().all(|other| other.fingerprint() != base.fingerprint()));
    }
}
