//! The names found in a folder or an archive.

use std::collections::BTreeMap;

use super::webdataset::MemberLabels;
use super::{arrays, cifar, idx, parquet, stl10};

/// Everything a folder or an archive holds, sorted into what we read and what we do not.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Picture files.
    pub pictures: Listing,
    /// Files of a set other than pictures: name, size in bytes, position.
    pub parts: Vec<(String, u64, u64)>,
    /// Tar archives, which count as `others` too.
    pub shards: Listing,
    /// Labels that members of an archive give to others.
    pub labels: MemberLabels,
    /// How many files of which ending were neither picture nor part.
    others: BTreeMap<String, usize>,
}

/// What a file is, judged by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A picture, by its ending.
    Picture,
    /// Part of a set in another form: CIFAR, IDX, STL-10, Parquet, arrays.
    Part,
    /// Neither.
    Other,
    /// Hidden, or a folder that macOS adds to archives.
    Hidden,
}

impl Member {
    pub fn of(name: &[u8]) -> Self {
        if name.split(|&byte| byte == b'/').any(is_hidden) { Self::Hidden } else { Self::of_visible(base_name(name)) }
    }

    /// [`Self::of`] where neither the file `base` nor a folder above it is hidden.
    pub fn of_visible(base: &[u8]) -> Self {
        let base = String::from_utf8_lossy(base);
        if has_picture_ending(&base) {
            Self::Picture
        } else if [cifar::is_part, idx::is_part, stl10::is_part, parquet::is_part, arrays::is_part]
            .iter()
            .any(|is_part| is_part(&base))
        {
            Self::Part
        } else {
            Self::Other
        }
    }
}

/// Whether a file or folder of this name is passed over.
pub(crate) fn is_hidden(base: &[u8]) -> bool {
    base.starts_with(b".") || base == b"__MACOSX"
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
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// What follows the last `/`.
pub(crate) fn base_name(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

/// [`base_name`] of a name that is text.
pub(crate) fn base_text(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Contents {
    /// Adds a file; `position` is whatever its source needs to find it again.
    pub fn add(&mut self, member: Member, name: &[u8], size_bytes: u64, position: u64) {
        match member {
            Member::Picture => self.pictures.push(name, size_bytes, position),
            Member::Part => self.parts.push((String::from_utf8_lossy(name).into_owned(), size_bytes, position)),
            Member::Other => {
                let base = String::from_utf8_lossy(base_name(name)).into_owned();
                if has_tar_ending(&base) {
                    self.shards.push(name, size_bytes, position);
                }
                let ending = base.rsplit_once('.').map_or("no ending".into(), |(_, ending)| format!(".{ending}"));
                *self.others.entry(ending).or_default() += 1;
            }
            Member::Hidden => {}
        }
    }

    /// A folder of pictures; what else it holds no longer matters then.
    pub fn of_pictures(pictures: Listing) -> Self {
        Self { pictures, ..Self::default() }
    }

    /// Takes in what another part of the same folder holds; [`Self::sort`] puts everything in order afterwards.
    pub fn append(&mut self, other: Self) {
        self.pictures.append(&other.pictures);
        self.parts.extend(other.parts);
        self.shards.append(&other.shards);
        for (ending, count) in other.others {
            *self.others.entry(ending).or_default() += count;
        }
    }

    pub fn sort(&mut self) {
        self.pictures.sort();
        self.parts.sort();
        self.shards.sort();
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.pictures.len() == 0 && self.parts.is_empty() && self.others.is_empty()
    }

    /// The endings of files that are no pictures, most frequent first: `12 × .txt, 1 × .md`.
    pub fn seen(&self) -> String {
        let mut others: Vec<_> = self.others.iter().collect();
        others.sort_by_key(|&(_, count)| std::cmp::Reverse(*count));
        let text: Vec<_> = others.iter().take(5).map(|(ending, count)| format!("{count} × {ending}")).collect();
        if text.is_empty() { "none".into() } else { text.join(", ") }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        for (name, member) in [
            ("a/b.JPG", Member::Picture),
            ("x.jfif", Member::Picture),
            ("notes.txt", Member::Other),
            ("jpg", Member::Other),
            ("a/.hidden/b.jpg", Member::Hidden),
            (".b.jpg", Member::Hidden),
            ("__MACOSX/a.jpg", Member::Hidden),
            ("set/data_batch_1.bin", Member::Part),
            ("t10k-labels-idx1-ubyte.gz", Member::Part),
        ] {
            assert_eq!(Member::of(name.as_bytes()), member, "{name}");
        }
        assert_eq!(Member::of(b"\xFF\xFE.png"), Member::Picture);
    }

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

    #[test]
    fn what_else_was_there_is_counted_by_ending() {
        let mut contents = Contents::default();
        for name in ["a.txt", "b.txt", "c.csv", "README"] {
            contents.add(Member::of(name.as_bytes()), name.as_bytes(), 1, 0);
        }
        assert_eq!(contents.seen(), "2 × .txt, 1 × .csv, 1 × no ending");
    }
}
