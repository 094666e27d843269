//! Pictures in a tar archive: plain, or compressed with gz, xz or zst.
//!
//! A plain archive is indexed once and then read in place, at any position and from any thread. A compressed one has
//! no positions to go to, so it is read through once and the (still encoded) pictures stay in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::contents::{Contents, Member};
use super::listing::Listing;
use super::read_at::read_exact_at;
use crate::error::Unread;
use crate::limits::check_file_size;
#[cfg(feature = "remote")]
use crate::remote::Object;
use crate::{DataConfig, DataError};

/// Where the bytes of the members are.
#[derive(Debug)]
pub(crate) enum Storage {
    /// In the archive itself; positions are byte offsets.
    Plain(File),
    /// The same, opened for every member anew: thousands of archives at once would exceed what a process may open.
    Reopened { path: PathBuf, file_bytes: u64, modified: Option<SystemTime> },
    /// In an archive behind a URL; positions are byte offsets.
    #[cfg(feature = "remote")]
    Object(std::sync::Arc<Object>),
    /// In memory; positions are places in this list.
    Memory(Vec<Box<[u8]>>),
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// Judges by the first bytes.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1F, 0x8B, ..] => Some(Self::Gzip),
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The unpacked content of `file`.
    pub fn reader(self, file: impl Read + 'static) -> Box<dyn Read> {
        let file = BufReader::with_capacity(1 << 18, file);
        match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new(file, true)),
            Self::Zstd => Box::new(ZstdFrames::new(file)),
        }
    }
}

/// All frames of a zst file one after the other; the decoder by itself stops after the first.
pub(crate) struct ZstdFrames<R> {
    file: R,
    frame: ruzstd::decoding::FrameDecoder,
    open: bool,
}

impl<R> ZstdFrames<R> {
    pub fn new(file: R) -> Self {
        Self { file, frame: ruzstd::decoding::FrameDecoder::new(), open: false }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBlocks;
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        loop {
            if self.open && self.frame.can_collect() > 0 {
                return self.frame.read(buffer);
            }
            if self.open && !self.frame.is_finished() {
                self.frame.decode_blocks(&mut self.file, UptoBlocks(1)).map_err(io::Error::other)?;
            } else if self.file.fill_buf()?.is_empty() {
                return Ok(0);
            } else {
                self.open = match self.frame.reset(&mut self.file) {
                    Ok(()) => true,
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                        length, ..
                    })) => {
                        io::copy(&mut self.file.by_ref().take(length.into()), &mut io::sink())?;
                        false
                    }
                    Err(error) => return Err(io::Error::other(error)),
                };
            }
        }
    }
}

/// Whether these are the first bytes of a tar archive: its mark, or the checksum that older ones have, or no file.
pub(crate) fn looks_like_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    if &block[257..262] == b"ustar" || block.iter().all(|&byte| byte == 0) {
        return true;
    }
    // The checksum is the sum of all bytes with its own eight taken as spaces.
    let stated = std::str::from_utf8(&block[148..156]).unwrap_or("").trim_matches(['\0', ' ']);
    let sum: u32 = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).map(|&byte| u32::from(byte)).sum();
    u32::from_str_radix(stated, 8) == Ok(sum)
}

/// Indexes the plain archive at `path`.
pub(crate) fn scan_plain(path: &Path, file: File, config: &DataConfig) -> Result<(Contents, Storage), DataError> {
    let broken = |error: io::Error| DataError::BrokenArchive { path: path.into(), reason: error.to_string() };
    let file_bytes = file.metadata().map_err(broken)?.len();
    Ok((scan(path, &file, file_bytes, config)?, Storage::Plain(file)))
}

/// What is in a plain archive of `file_bytes`, wherever it is; `path` is for messages.
pub(crate) fn scan(
    path: &Path,
    file: impl Read + Seek,
    file_bytes: u64,
    config: &DataConfig,
) -> Result<Contents, DataError> {
    let broken = |error: io::Error| DataError::BrokenArchive { path: path.into(), reason: error.to_string() };
    let mut found = Found::new(config);
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let (position, size_bytes) = (entry.raw_file_position(), entry.size());
        if position.checked_add(size_bytes).is_none_or(|end| end > file_bytes) {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let reason = format!("the file ends within {name}");
            return Err(DataError::BrokenArchive { path: path.into(), reason });
        }
        found.add(&mut entry, position).map_err(broken)?;
    }
    Ok(found.finish())
}

/// Reads a compressed archive through once and keeps the pictures.
pub(crate) fn scan_compressed(
    path: &Path,
    content: impl Read,
    config: &DataConfig,
) -> Result<(Contents, Storage), DataError> {
    let broken = |error: io::Error| DataError::BrokenArchive { path: path.into(), reason: error.to_string() };
    let mut found = Found::new(config);
    let mut kept: Vec<Box<[u8]>> = Vec::new();
    let mut kept_bytes = 0u64;
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let member = found.add(&mut entry, kept.len() as u64).map_err(broken)?;
        if !matches!(member, Some(Member::Picture | Member::Part)) {
            continue;
        }
        let size_bytes = entry.size();
        let mut bytes = Vec::new();
        // A picture beyond the limit is refused when it is asked for, so its bytes are not needed.
        if member == Some(Member::Part) || size_bytes <= config.max_file_bytes {
            kept_bytes = kept_bytes.saturating_add(size_bytes);
            if kept_bytes > config.max_archive_memory_bytes {
                return Err(DataError::TooMuchMemory {
                    path: path.into(),
                    limit_bytes: config.max_archive_memory_bytes,
                    remedy: "decompress it to a plain .tar, which is read in place and needs no memory, or raise the limit",
                });
            }
            entry.read_to_end(&mut bytes).map_err(broken)?;
        }
        kept.push(bytes.into_boxed_slice());
    }
    Ok((found.finish(), Storage::Memory(kept)))
}

/// What the entries of an archive have been so far.
struct Found {
    contents: Contents,
    /// Hard links: name and the name they stand for, to be looked up when all names are known.
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Found {
    fn new(config: &DataConfig) -> Self {
        let mut contents = Contents::default();
        contents.labels.wish.clone_from(&config.label_column);
        Self { contents, links: Vec::new() }
    }

    /// Takes an entry in; returns what it is if it is a file.
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, position: u64) -> io::Result<Option<Member>> {
        let name = clean(&entry.path_bytes());
        let kind = entry.header().entry_type();
        if kind.is_file() || kind.is_contiguous() {
            let member = Member::of(&name);
            self.contents.add(member, &name, entry.size(), position);
            if member == Member::Other {
                self.contents.labels.add(&name, entry.size(), entry)?;
            }
            Ok(Some(member))
        } else {
            if let (true, Some(target)) = (kind.is_hard_link(), entry.link_name_bytes()) {
                self.links.push((name, clean(&target)));
            }
            Ok(None)
        }
    }

    fn finish(self) -> Contents {
        let Self { mut contents, links } = self;
        contents.sort();
        let resolved: Vec<_> = links
            .into_iter()
            .filter(|(name, _)| Member::of(name) == Member::Picture)
            .filter_map(|(name, target)| Some((name, contents.pictures.find(&target)?)))
            .collect();
        for (name, target) in resolved.iter().rev() {
            let (size_bytes, position) = (contents.pictures.size_bytes(*target), contents.pictures.position(*target));
            contents.pictures.push(name, size_bytes, position);
        }
        if !resolved.is_empty() {
            contents.pictures.sort();
        }
        contents
    }
}

/// A member's name without `./` at the front and doubled slashes.
fn clean(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

impl Storage {
    /// The bytes of the member at `position`, in `file` if they are not in memory anyhow.
    pub fn read<'a>(&'a self, position: u64, size_bytes: u64, file: &'a mut Vec<u8>) -> Result<&'a [u8], Unread> {
        let unreadable = |error: io::Error| error.to_string();
        let bytes = usize::try_from(size_bytes).map_err(|error| error.to_string());
        match self {
            Self::Memory(kept) => return Ok(&kept[position as usize]),
            Self::Plain(archive) => {
                file.resize(bytes?, 0);
                read_exact_at(archive, file, position).map_err(unreadable)?;
            }
            Self::Reopened { path, file_bytes, modified } => {
                let archive = File::open(path).map_err(unreadable)?;
                let metadata = archive.metadata().map_err(unreadable)?;
                if metadata.len() != *file_bytes || metadata.modified().ok() != *modified {
                    return Err("the archive has changed since it was opened".to_owned().into());
                }
                file.resize(bytes?, 0);
                read_exact_at(&archive, file, position).map_err(unreadable)?;
            }
            #[cfg(feature = "remote")]
            Self::Object(object) => {
                file.resize(bytes?, 0);
                object.read_exact_at(file, position).map_err(|error| Unread::Lost(error.into()))?;
            }
        }
        Ok(file)
    }

    /// Memory taken by pictures.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Self::Memory(kept) => kept.iter().map(|bytes| bytes.len() as u64).sum(),
            #[cfg(feature = "remote")]
            Self::Object(_) => 0,
            Self::Plain(_) | Self::Reopened { .. } => 0,
        }
    }
}

/// Pictures in an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The archive, for messages.
    pub path: PathBuf,
    /// Its pictures.
    pub listing: Listing,
    /// Where they are.
    pub storage: Storage,
}

impl Archive {
    /// Gives the open file back to the system, and opens it again for each picture.
    pub fn close(&mut self) {
        if let Storage::Plain(file) = &self.storage
            && let Ok(metadata) = file.metadata()
        {
            let (file_bytes, modified) = (metadata.len(), metadata.modified().ok());
            self.storage = Storage::Reopened { path: self.path.clone(), file_bytes, modified };
        }
    }

    /// The bytes of picture `index`, unless there are more than `max_bytes`; in `file` if they are not in memory anyhow.
    pub fn read<'a>(&'a self, index: usize, max_bytes: u64, file: &'a mut Vec<u8>) -> Result<&'a [u8], Unread> {
        let size = self.listing.size_bytes(index);
        check_file_size(size, max_bytes)?;
        self.storage.read(self.listing.position(index), size, file).map_err(|unread| match unread {
            Unread::Bad(reason) => format!("cannot be read from {}: {reason}", self.path.display()).into(),
            lost => lost,
        })
    }
}
