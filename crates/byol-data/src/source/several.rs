//! Several roots as one source: picture after picture of root after root.
//!
//! The loader's order is one permutation of all pictures, the same on every machine, so shards are mixed thoroughly;
//! pictures are read in place, at whatever position and in whichever shard they are.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::archive::Archive;
use super::read::{Root, Roots, Source};
use crate::limits::check_count;
use crate::splits::{self, Layout};
use crate::{DataConfig, DataError};

/// With more roots than this, archives are opened for each picture: a process may open about a thousand files.
const MAX_OPEN: usize = 32;

/// Roots on the way to becoming one source.
pub(super) struct Several<'a> {
    config: &'a DataConfig,
    roots: Roots,
    layouts: Vec<Layout>,
    /// Memory in use for pictures.
    content_bytes: u64,
    keep_open: bool,
}

impl<'a> Several<'a> {
    pub fn new(config: &'a DataConfig, count: usize) -> Self {
        let keep_open = count <= MAX_OPEN;
        Self { config, roots: Roots::default(), layouts: Vec::new(), content_bytes: 0, keep_open }
    }

    /// The limits for the next root: what the earlier ones left.
    pub fn remaining(&self) -> DataConfig {
        let left = self.config.max_archive_memory_bytes.saturating_sub(self.content_bytes);
        DataConfig { max_archive_memory_bytes: left, ..self.config.clone() }
    }

    /// States the limit as it was set, not what was left of it.
    pub fn state_limit(&self, error: DataError) -> DataError {
        match error {
            DataError::TooMuchMemory { path, remedy, .. } => {
                DataError::TooMuchMemory { path, limit_bytes: self.config.max_archive_memory_bytes, remedy }
            }
            other => other,
        }
    }

    pub fn add(&mut self, path: &Path, prefix: String, mut source: Source, layout: Layout) -> Result<(), DataError> {
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

    pub fn finish(self) -> (Source, Layout) {
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
        let mut alone = alone;
        let mut notes = Vec::new();
        if classes.is_empty()
            && let Some(named) = classes_of_archives(&roots.roots, &layouts)
        {
            classes = BTreeSet::from_iter(&named).into_iter().cloned().collect();
            let some: Vec<&str> = classes.iter().take(4).map(String::as_str).collect();
            let more = if classes.len() > some.len() { ", …" } else { "" };
            notes.push(format!("labels from the names of the {} archives: {}{more}", named.len(), some.join(", ")));
            alone = named.into_iter().map(Some).collect();
        }
        splits::sort_classes(&mut classes);
        let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let (split, splits_present) = splits_of_all(&layouts);
        let mut all = Layout { split, splits_present, notes, ..Layout::default() };
        for ((root, layout), alone) in roots.roots.iter().zip(layouts).zip(alone) {
            let renumbered: Vec<Option<u32>> =
                layout.classes.iter().map(|class| places.get(class.as_str()).copied()).collect();
            let alone = alone.and_then(|class| places.get(class.as_str()).copied());
            let label = |label: Option<u32>| label.map_or(alone, |label| renumbered[label as usize]);
            all.labels.extend(layout.labels.into_iter().map(label));
            all.images.extend(layout.images.into_iter().map(|image| root.start + image));
            // Shards are alike: what is true of all of them is said once, with the figures of the first.
            let words = |note: &str| note.replace(|c: char| c.is_ascii_digit(), "");
            for note in layout.notes {
                match all.notes.iter_mut().find(|other| words(other.trim_end_matches(ALIKE)) == words(&note)) {
                    None => all.notes.push(note),
                    Some(other) if *other != note && !other.ends_with(ALIKE) => other.push_str(ALIKE),
                    Some(_) => {}
                }
            }
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
        #[cfg(feature = "remote")]
        Source::Objects(objects) if layout.classes.is_empty() => splits::lone_folder(objects.listing.names()),
        _ => None,
    }
}

/// Said of a note that others differ from by their figures.
const ALIKE: &str = " (alike in other parts)";

/// Words in the names of archives that hold a part of the data rather than a class.
const PARTS: [&str; 28] = [
    "train",
    "training",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "unlabeled",
    "unlabelled",
    "extra",
    "shard",
    "shards",
    "part",
    "chunk",
    "batch",
    "data",
    "dataset",
    "images",
    "imgs",
    "split",
    "fold",
    "all",
    "set",
    "archive",
    "webdataset",
    "wds",
];

/// The classes that archives are called after, `cat.tar` and `dog.tar`, where no archive has labels or folders of its own, and
/// neither numbers alone nor words for parts tell them apart.
fn classes_of_archives(roots: &[Root], layouts: &[Layout]) -> Option<Vec<String>> {
    let flat = |(root, layout): (&Root, &Layout)| {
        let Source::Archive(Archive { listing, .. }) = &root.source else { return false };
        layout.classes.is_empty() && listing.names().all(|name| !name.contains(&b'/'))
    };
    if roots.len() < 2 || !roots.iter().zip(layouts).all(flat) {
        return None;
    }
    let name = |root: &Root| {
        let base = root.prefix.rsplit('/').next().unwrap_or_default().to_owned();
        let end = base.to_ascii_lowercase().find(".tar").or_else(|| base.rfind('.')).unwrap_or(base.len());
        let stem = &base[..end];
        // The numbers of ImageNet's classes, n01440764, are names.
        let is_wordnet =
            stem.len() == 9 && stem.starts_with('n') && stem[1..].bytes().all(|byte| byte.is_ascii_digit());
        let bare =
            if is_wordnet { stem } else { stem.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.".contains(c)) };
        let lower = bare.to_ascii_lowercase();
        let part = lower
            .split(['-', '_', '.', ' '])
            .any(|word| PARTS.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit())));
        (!bare.is_empty() && !part).then(|| bare.to_owned())
    };
    let names: Vec<String> = roots.iter().map(name).collect::<Option<_>>()?;
    (BTreeSet::from_iter(&names).len() > 1).then_some(names)
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
