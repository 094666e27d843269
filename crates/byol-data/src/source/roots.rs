//! Several roots as one source: picture after picture of root after root.
//!
//! The loader's order is one permutation of all pictures, the same on every machine, so shards are mixed thoroughly;
//! pictures are read in place, at whatever position and in whichever shard they are.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::listing::Listing;
use super::{Source, folder};
use crate::limits::check_count;
use crate::splits::{self, Layout, NoSuchSplit};
use crate::{DataConfig, DataError, Image, LoadMemory};

/// With more roots than this, archives are opened for each picture: a process may open about a thousand files.
const MAX_OPEN: usize = 32;

/// Sources that are one.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    roots: Vec<Root>,
    /// Number of pictures in all roots.
    len: u32,
}

#[derive(Debug)]
struct Root {
    /// What its names begin with.
    prefix: String,
    source: Source,
    /// Place of its first picture among those of all roots.
    start: u32,
}

impl Roots {
    fn find(&self, index: usize) -> (&Root, usize) {
        let after = self.roots.partition_point(|root| root.start as usize <= index);
        let root = &self.roots[after - 1];
        (root, index - root.start as usize)
    }

    /// What they are, for people.
    pub fn kind(&self) -> &'static str {
        let all_are = |kind: &str| self.roots.iter().all(|root| root.source.kind() == kind);
        match () {
            () if all_are("tar archive") => "tar archives",
            () if all_are("folder") => "folders",
            () => "several sources",
        }
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// `shard-000.tar/cat/1.jpg`.
    pub fn name(&self, index: usize) -> String {
        let (root, index) = self.find(index);
        format!("{}/{}", root.prefix, root.source.name(index))
    }

    pub fn size_bytes(&self, index: usize) -> u64 {
        let (root, index) = self.find(index);
        root.source.size_bytes(index)
    }

    pub fn load(&self, index: usize, config: &DataConfig, memory: &mut LoadMemory) -> Result<Image, String> {
        let (root, index) = self.find(index);
        root.source.load(index, config, memory)
    }

    pub fn encoded<'a>(
        &'a self,
        index: usize,
        config: &DataConfig,
        file: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, String> {
        let (root, index) = self.find(index);
        root.source.encoded(index, config, file)
    }

    /// Memory for names and places.
    pub fn index_bytes(&self) -> usize {
        self.roots.iter().map(|root| size_of::<Root>() + root.prefix.capacity() + root.source.index_bytes()).sum()
    }

    /// Memory for what is kept of the pictures.
    pub fn content_bytes(&self) -> u64 {
        self.roots.iter().map(|root| root.source.content_bytes()).sum()
    }
}

/// Opens `paths`, each with the same wish for a split. One path alone is what it is by itself.
pub(crate) fn open_all(
    paths: &[PathBuf],
    split: Option<&str>,
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    if let [only] = paths {
        return super::open(only, split, config, indexes);
    }
    let mut several = Several::new(config, paths.len());
    for path in paths {
        let (source, layout) =
            super::open(path, split, &several.remaining(), indexes).map_err(|error| several.state_limit(error))?;
        several.add(path, last_component(path), source, layout)?;
    }
    Ok(several.finish())
}

/// Opens the archives `shards` below the folder `path`. Names like `train-000.tar` beside `test-000.tar` are splits.
pub(crate) fn open_shards(
    path: &Path,
    shards: &Listing,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let names: Vec<String> = shards.names().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let mut present: Vec<String> =
        names.iter().filter_map(|name| splits::split_of_file(name)).map(str::to_owned).collect();
    splits::sort_splits(&mut present);
    // As with folders: without `train` beside another, these are names like any other.
    if present.len() < 2 || present[0] != "train" {
        present.clear();
    }
    let chosen = if present.is_empty() {
        None
    } else {
        let place = splits::choose(&present, split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
            path: path.into(),
            split: split.unwrap_or_default().into(),
            present,
        })?;
        Some(present[place].clone())
    };
    let mut several = Several::new(config, names.len());
    for (name, bytes) in names.iter().zip(shards.names()) {
        let shard = path.join(folder::name_path(bytes));
        let in_use = chosen.is_none() || splits::split_of_file(name) == chosen.as_deref();
        let mut limits = several.remaining();
        if !in_use {
            // Asked only for its classes, so that labels are the same in every split; no picture of it is kept.
            limits.max_file_bytes = 0;
        }
        let wish = if chosen.is_some() { None } else { split };
        let (source, mut layout) =
            super::open(&shard, wish, &limits, None).map_err(|error| several.state_limit(error))?;
        if !in_use {
            layout.images.clear();
            layout.labels.clear();
        }
        several.add(&shard, name.clone(), source, layout)?;
    }
    let (source, mut layout) = several.finish();
    if chosen.is_some() {
        layout.split = chosen;
        layout.splits_present = present;
    }
    Ok((source, layout))
}

/// Roots on the way to becoming one source.
struct Several<'a> {
    config: &'a DataConfig,
    roots: Roots,
    layouts: Vec<Layout>,
    /// Memory in use for pictures.
    content_bytes: u64,
    keep_open: bool,
}

impl<'a> Several<'a> {
    fn new(config: &'a DataConfig, count: usize) -> Self {
        let keep_open = count <= MAX_OPEN;
        Self { config, roots: Roots::default(), layouts: Vec::new(), content_bytes: 0, keep_open }
    }

    /// The limits for the next root: what the earlier ones left.
    fn remaining(&self) -> DataConfig {
        let left = self.config.max_archive_memory_bytes.saturating_sub(self.content_bytes);
        DataConfig { max_archive_memory_bytes: left, ..self.config.clone() }
    }

    /// States the limit as it was set, not what was left of it.
    fn state_limit(&self, error: DataError) -> DataError {
        match error {
            DataError::TooMuchMemory { path, remedy, .. } => {
                DataError::TooMuchMemory { path, limit_bytes: self.config.max_archive_memory_bytes, remedy }
            }
            other => other,
        }
    }

    fn add(&mut self, path: &Path, prefix: String, mut source: Source, layout: Layout) -> Result<(), DataError> {
        if let (Source::Archive(archive), false) = (&mut source, self.keep_open) {
            archive.close();
        }
        let start = self.roots.len;
        let count = start as usize + source.len();
        check_count(path, count)?;
        self.content_bytes = self.content_bytes.saturating_add(source.content_bytes());
        self.roots.roots.push(Root { prefix, source, start });
        self.roots.len = count as u32;
        self.layouts.push(layout);
        Ok(())
    }

    fn finish(self) -> (Source, Layout) {
        let Self { roots, layouts, .. } = self;
        let alone: Vec<Option<String>> =
            roots.roots.iter().zip(&layouts).map(|(root, layout)| lone_class(root, layout)).collect();
        let mut classes: Vec<String> =
            layouts.iter().flat_map(|layout| &layout.classes).collect::<BTreeSet<_>>().into_iter().cloned().collect();
        if classes.is_empty() {
            // Shards of sorted data: each holds one class, and only together they say that there are several.
            let different: BTreeSet<&String> = alone.iter().flatten().collect();
            if different.len() > 1 {
                classes = different.into_iter().cloned().collect();
            }
        }
        splits::sort_classes(&mut classes);
        let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let (split, splits_present) = splits_of_all(&layouts);
        let mut all = Layout { split, splits_present, classes: Vec::new(), images: Vec::new(), labels: Vec::new() };
        for ((root, layout), alone) in roots.roots.iter().zip(layouts).zip(alone) {
            let renumbered: Vec<Option<u32>> =
                layout.classes.iter().map(|class| places.get(class.as_str()).copied()).collect();
            let alone = alone.and_then(|class| places.get(class.as_str()).copied());
            let label = |label: Option<u32>| label.map_or(alone, |label| renumbered[label as usize]);
            all.labels.extend(layout.labels.into_iter().map(label));
            all.images.extend(layout.images.into_iter().map(|image| root.start + image));
        }
        all.classes = classes;
        (Source::Roots(roots), all)
    }
}

/// The folder around all pictures of a root that has no labels by itself: a class, if other roots have it as one.
fn lone_class(root: &Root, layout: &Layout) -> Option<String> {
    match &root.source {
        Source::Folder { listing, .. } | Source::Archive(Archive { listing, .. }) if layout.classes.is_empty() => {
            splits::lone_folder(listing.names())
        }
        _ => None,
    }
}

/// The split in use if it is the same in every root, and the splits that every root has.
fn splits_of_all(layouts: &[Layout]) -> (Option<String>, Vec<String>) {
    let Some((first, others)) = layouts.split_first() else { return (None, Vec::new()) };
    let in_all = |split: &&String| {
        others.iter().all(|layout| layout.splits_present.iter().any(|other| other.eq_ignore_ascii_case(split)))
    };
    let present: Vec<String> = first.splits_present.iter().filter(in_all).cloned().collect();
    let same = |split: &&String| {
        others.iter().all(|layout| layout.split.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(split)))
    };
    (first.split.as_ref().filter(same).cloned(), present)
}

/// What a root's names begin with; independent of where the root lies.
fn last_component(path: &Path) -> String {
    let name = path.file_name().map(std::ffi::OsStr::to_owned);
    // `.` and `..` have no name by themselves.
    let name = name.or_else(|| Some(path.canonicalize().ok()?.file_name()?.to_owned()));
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
