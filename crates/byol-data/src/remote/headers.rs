//! What listing a tar archive read of it, kept from one opening to the next.
//!
//! The names in a tar archive stand between the pictures, so that listing one behind a URL means to read nearly all of it. The
//! parts that were read (headers, labels of WebDataset) are noted beside the indexes of folders, packed, some 40 bytes per
//! picture; they are used while the archive is the same by URL, size and ETag, and only what is missing in them is fetched.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// First bytes of such a file, with the version of its form.
const MAGIC: &[u8; 16] = b"byol headers 01\n";

/// Parts of an object, in the order of their places.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Headers {
    /// Where each part begins, and its length.
    parts: Vec<(u64, u64)>,
    /// All parts, one behind the other.
    bytes: Vec<u8>,
    /// Where each part begins in `bytes`.
    #[serde(skip)]
    starts: Vec<usize>,
    /// Whether it holds more than what was known before.
    #[serde(skip)]
    pub is_new: bool,
}

impl Headers {
    /// Adds what was read at `at`, behind what came before; what was read again is left out.
    pub fn add(&mut self, at: u64, bytes: &[u8]) {
        let end = self.parts.last().map_or(0, |(start, len)| start + len);
        let Some(new) = bytes.get(end.saturating_sub(at) as usize..).filter(|new| !new.is_empty()) else { return };
        match self.parts.last_mut() {
            Some((_, len)) if at <= end => *len += new.len() as u64,
            _ => {
                self.parts.push((at, new.len() as u64));
                self.starts.push(self.bytes.len());
            }
        }
        self.bytes.extend_from_slice(new);
    }

    /// What is known from `at` on, if anything.
    pub fn from(&self, at: u64) -> Option<&[u8]> {
        let after = self.parts.partition_point(|&(start, _)| start <= at);
        let place = after.checked_sub(1)?;
        let (start, len) = self.parts[place];
        let bytes = &self.bytes[self.starts[place]..][..len as usize];
        bytes.get((at - start) as usize..).filter(|bytes| !bytes.is_empty())
    }

    /// Packed with gz, which has a checksum.
    pub fn packed(&self) -> Option<Vec<u8>> {
        let mut packer = GzEncoder::new(MAGIC.to_vec(), Compression::fast());
        packer.write_all(&postcard::to_allocvec(self).ok()?).ok()?;
        packer.finish().ok()
    }

    /// Of what [`Self::packed`] gave, if it is whole.
    pub fn unpacked(packed: &[u8]) -> Option<Self> {
        let mut bytes = Vec::new();
        GzDecoder::new(packed.strip_prefix(MAGIC)?).read_to_end(&mut bytes).ok()?;
        let mut headers: Self = postcard::from_bytes(&bytes).ok()?;
        let mut end = 0usize;
        for (_, len) in &headers.parts {
            headers.starts.push(end);
            end = end.checked_add(usize::try_from(*len).ok()?)?;
        }
        (end == headers.bytes.len()).then_some(headers)
    }
}

fn file(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("headers-{id:016x}"))
}

/// The packed headers of the object `id` in `folder`.
pub(crate) fn load(folder: &Path, id: u64) -> Option<Vec<u8>> {
    fs::read(file(folder, id)).ok()
}

/// Keeps them in `folder`. Without them the next opening takes longer, and that is all.
pub(crate) fn save(folder: &Path, id: u64, packed: &[u8]) {
    let path = file(folder, id);
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, packed));
    if written.and_then(|()| fs::rename(&temporary, &path)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_from_memory_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut headers = Headers::default();
        headers.add(0, b"abc");
        headers.add(3, b"def");
        headers.add(4, b"efgh");
        headers.add(100, b"xyz");
        save(folder.path(), 7, &headers.packed().unwrap());
        let mut packed = load(folder.path(), 7).unwrap();
        for headers in [headers, Headers::unpacked(&packed).unwrap()] {
            assert_eq!(headers.from(0), Some(&b"abcdefgh"[..]));
            assert_eq!(headers.from(7), Some(&b"h"[..]));
            assert_eq!((headers.from(8), headers.from(99), headers.from(103)), (None, None, None));
            assert_eq!(headers.from(101), Some(&b"yz"[..]));
        }
        let at = packed.len() - 6;
        packed[at] ^= 1;
        assert!(Headers::unpacked(&packed).is_none() && Headers::unpacked(b"other").is_none());
        assert_eq!(load(folder.path(), 8), None);
    }
}
