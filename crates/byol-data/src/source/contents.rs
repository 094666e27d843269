//! What a folder or an archive holds, sorted by name.

use std::collections::BTreeMap;

use super::listing::{Listing, base_name, has_picture_ending, has_tar_ending, is_hidden};
use super::webdataset::MemberLabels;
use super::{arrays, arrow, cifar, idx, parquet, stl10};
use crate::decode::unread_format;

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
    /// Part of a set in another form: CIFAR, IDX, STL-10, Parquet, Arrow, arrays.
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
        } else if [cifar::is_part, idx::is_part, stl10::is_part, parquet::is_part, arrow::is_part, arrays::is_part]
            .iter()
            .any(|is_part| is_part(&base))
        {
            Self::Part
        } else {
            Self::Other
        }
    }
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
                let ending = match base.rsplit_once('.') {
                    _ if has_tar_ending(&base) => ".tar".into(),
                    Some((_, ending)) => format!(".{ending}"),
                    None => "no ending".into(),
                };
                *self.others.entry(ending).or_default() += 1;
            }
            Member::Hidden => {}
        }
    }

    /// A folder of pictures, with the endings of what else it holds; what that is no longer matters then.
    pub fn of_pictures(pictures: Listing, others: BTreeMap<String, usize>) -> Self {
        Self { pictures, others, ..Self::default() }
    }

    /// How many files of which ending were neither picture nor part.
    pub fn others(&self) -> &BTreeMap<String, usize> {
        &self.others
    }

    /// Says which files beside the pictures may be pictures, too, and are left out.
    pub fn left_out(&self) -> Vec<String> {
        let (mut unread, mut archives) = (Vec::new(), 0);
        for (ending, count) in &self.others {
            if has_tar_ending(ending) || ending.eq_ignore_ascii_case(".zip") {
                archives += count;
            } else if unread_format(&format!("picture{ending}"), None).is_some() {
                unread.push(format!("{count} {ending}"));
            }
        }
        let unread = (!unread.is_empty())
            .then(|| format!("not read and left out: {}; convert these pictures to JPEG or PNG", unread.join(", ")));
        let archives = (archives > 0).then(|| {
            format!("{archives} archive(s) lie beside the pictures and are not opened; give them as DATA, too, or unpack them")
        });
        unread.into_iter().chain(archives).collect()
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
            ("holiday/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", Member::Hidden),
            ("Thumbs.db", Member::Hidden),
            ("set/data_batch_1.bin", Member::Part),
            ("t10k-labels-idx1-ubyte.gz", Member::Part),
        ] {
            assert_eq!(Member::of(name.as_bytes()), member, "{name}");
        }
        assert_eq!(Member::of(b"\xFF\xFE.png"), Member::Picture);
    }

    #[test]
    fn what_else_was_there_is_counted_by_ending() {
        let mut contents = Contents::default();
        for name in ["a.txt", "b.txt", "c.csv", "README"] {
            contents.add(Member::of(name.as_bytes()), name.as_bytes(), 1, 0);
        }
        assert_eq!(contents.seen(), "2 × .txt, 1 × .csv, 1 × no ending");
        assert_eq!(contents.left_out(), [""; 0]);
    }

    #[test]
    fn pictures_of_other_formats_and_archives_beside_them_are_told() {
        let mut contents = Contents::default();
        for name in ["a.HEIC", "b.HEIC", "c.ppm", "d.jpg", "e.tar", "f.tar.gz", "notes.txt"] {
            contents.add(Member::of(name.as_bytes()), name.as_bytes(), 1, 0);
        }
        let [unread, archives] = &contents.left_out()[..] else { panic!("{:?}", contents.left_out()) };
        assert!(unread.starts_with("not read and left out: 2 .HEIC, 1 .ppm;"), "{unread}");
        assert!(archives.starts_with("2 archive(s)"), "{archives}");
    }
}
