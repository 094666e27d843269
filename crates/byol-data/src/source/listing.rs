//! Names of pictures in a folder or an archive, and what a name tells.

use std::path::Path;

use crate::limits::check_count;
use crate::splits::{self, Layout, NoSuchSplit};
use crate::{DataConfig, DataError};

/// What systems put beside people's files: thumbnails and resource forks, among them pictures; waste; settings of folders.
const OF_SYSTEMS: [&[u8]; 9] = [
    b"__MACOSX",
    b"@eaDir",
    b"@Recycle",
    b"#recycle",
    b"$RECYCLE.BIN",
    b"System Volume Information",
    b"lost+found",
    b"Thumbs.db",
    b"desktop.ini",
];

/// Whether a file or folder of this name is passed over.
pub(crate) fn is_hidden(base: &[u8]) -> bool {
    base.starts_with(b".") || OF_SYSTEMS.iter().any(|name| base.eq_ignore_ascii_case(name))
}

/// Whether the ending is one of a tar archive, compressed or not. Says only where to look: content decides.
pub(crate) fn has_tar_ending(name: &str) -> bool {
    const ENDINGS: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether the ending is one of a picture format, in any case.
pub(crate) fn has_picture_ending(name: &str) -> bool {
    const ENDINGS: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif"];
    const OF_DICOM: &[&str] = if cfg!(feature = "dicom") { &["dcm", "dicom", "ima"] } else { &[] };
    let mut known = ENDINGS.iter().chain(OF_DICOM);
    name.rsplit_once('.').is_some_and(|(_, ending)| known.any(|known| ending.eq_ignore_ascii_case(known)))
}

/// What follows the last `/`.
pub(crate) fn base_name(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

/// [`base_name`] of a name that is text.
pub(crate) fn base_text(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Sorted names with sizes, in one block of memory: a million pictures must not cost a million small strings.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

/// 28 bytes; without the packing it would be 32.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Entry {
    name_start: u64,
    size_bytes: u64,
    position: u64,
    name_len: u32,
}

impl Entry {
    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        &names[self.name_start as usize..][..self.name_len as usize]
    }
}

impl Listing {
    pub fn push(&mut self, name: &[u8], size_bytes: u64, position: u64) {
        // No system and no archive format has names of 4 GiB.
        let name_len = u32::try_from(name.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { name_start: self.names.len() as u64, size_bytes, position, name_len });
        self.names.extend_from_slice(&name[..name_len as usize]);
    }

    /// A listing of names that stand one behind the other, `None` if the columns do not fit each other.
    pub fn from_columns(names: &[u8], name_lens: &[u32], sizes_bytes: &[u64]) -> Option<Self> {
        let total = name_lens.iter().map(|&len| u64::from(len)).sum::<u64>();
        if total != names.len() as u64 || name_lens.len() != sizes_bytes.len() {
            return None;
        }
        let mut name_start = 0;
        let entry = |(&name_len, &size_bytes)| {
            let entry = Entry { name_start, size_bytes, position: 0, name_len };
            name_start += u64::from(name_len);
            entry
        };
        Some(Self { names: names.to_vec(), entries: name_lens.iter().zip(sizes_bytes).map(entry).collect() })
    }

    /// Takes the names of `other` in, behind its own.
    pub fn append(&mut self, other: &Self) {
        let shift = self.names.len() as u64;
        self.names.extend_from_slice(&other.names);
        self.entries.extend(other.entries.iter().map(|&entry| Entry { name_start: entry.name_start + shift, ..entry }));
    }

    /// Sorts bytewise. Of equal names, which only an archive can have, the last stays, as unpacking would have it.
    pub fn sort(&mut self) {
        let Self { names, entries } = self;
        entries.reverse();
        entries.sort_by(|a, b| a.name(names).cmp(b.name(names)));
        entries.dedup_by(|a, b| a.name(names) == b.name(names));
        self.shrink_to_fit();
    }

    /// Gives memory back that was taken in advance.
    pub fn shrink_to_fit(&mut self) {
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn name(&self, index: usize) -> &[u8] {
        self.entries[index].name(&self.names)
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.entries.iter().map(|entry| entry.name(&self.names))
    }

    pub fn size_bytes(&self, index: usize) -> u64 {
        self.entries[index].size_bytes
    }

    pub fn position(&self, index: usize) -> u64 {
        self.entries[index].position
    }

    /// Puts the sizes in that were not known when the names were added.
    pub fn set_sizes(&mut self, sizes: impl IntoIterator<Item = u64>) {
        for (entry, size_bytes) in self.entries.iter_mut().zip(sizes) {
            entry.size_bytes = size_bytes;
        }
    }

    /// The place of `name` in a sorted listing.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name(&self.names).cmp(name)).ok()
    }

    /// Memory it occupies.
    pub fn memory_bytes(&self) -> usize {
        self.names.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The splits and labels that the names of `pictures` at `path` give.
pub(crate) fn layout_of(
    path: &Path,
    pictures: &Listing,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<Layout, DataError> {
    check_count(path, pictures.len())?;
    splits::layout(pictures.names(), split, &config.split_map).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_sorted_and_keeps_the_last_of_equal_names() {
        let mut listing = Listing::default();
        for (name, position) in [("b", 0), ("a", 1), ("b", 2), ("a/c", 3)] {
            listing.push(name.as_bytes(), 0, position);
        }
        listing.sort();
        let found: Vec<_> = (0..listing.len()).map(|i| (listing.name(i), listing.position(i))).collect();
        assert_eq!(found, [(&b"a"[..], 1), (b"a/c", 3), (b"b", 2)]);
        assert_eq!((listing.find(b"a/c"), listing.find(b"c")), (Some(1), None));
    }
}
