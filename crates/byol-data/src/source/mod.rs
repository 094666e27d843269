//! Where pictures come from. The content of `DATA` decides, never its name.

mod archive;
mod arrays;
mod cifar;
mod contents;
mod folder;
mod idx;
mod in_place;
mod index;
mod list;
mod listing;
mod npy;
mod npz;
mod parquet;
mod parquet_columns;
mod parquet_file;
mod parquet_labels;
mod part;
mod pattern;
mod pixels;
mod read_at;
mod records;
mod roots;
mod stl10;
mod walk;
mod webdataset;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use archive::{Archive, Compression};
pub(crate) use arrays::picture as array_picture;
use contents::Contents;
pub(crate) use list::of_paths;
pub(crate) use listing::{Listing, has_picture_ending, is_hidden};
pub(crate) use npy::looks_like_npy;
use parquet::Parquet;
use part::PartReader;
pub(crate) use pattern::expand_all;
use pixels::Pixels;
use records::Records;
use roots::Roots;
pub(crate) use roots::open_all;

pub(crate) use index::user_folder;

use crate::decode::{decode, looks_like_a_picture};
use crate::limits::{check_count, check_memory};
use crate::splits::{self, Layout, NoSuchSplit};
use crate::{DataConfig, DataError, Image, LoadMemory};

/// Pictures that can be read by their place.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files below a folder.
    Folder { root: PathBuf, listing: Listing },
    /// Files that a list names.
    List { root: PathBuf, listing: Listing },
    /// Several of these.
    Roots(Roots),
    /// Members of a tar archive.
    Archive(Archive),
    /// Records of CIFAR or IDX files.
    Records { kind: &'static str, records: Records },
    /// Bare pixels of STL-10 or of an array.
    Pixels(Pixels),
    /// Rows of Parquet files.
    Parquet(Parquet),
    /// Pictures in memory, with their names.
    Images { images: Vec<Image>, names: Vec<String> },
}

impl Source {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::List { .. } => "list of files",
            Self::Roots(roots) => roots.kind(),
            Self::Archive(_) => "tar archive",
            Self::Records { kind, .. } => kind,
            Self::Pixels(pixels) => pixels.kind,
            Self::Parquet(_) => "Parquet files",
            Self::Images { .. } => "pictures in memory",
        }
    }

    /// Number of pictures, those outside of the split included.
    pub fn len(&self) -> usize {
        match self {
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                listing.len()
            }
            Self::Roots(roots) => roots.len(),
            Self::Records { records, .. } => records.len(),
            Self::Pixels(pixels) => pixels.len(),
            Self::Parquet(parquet) => parquet.len(),
            Self::Images { images, .. } => images.len(),
        }
    }

    /// Memory for names, sizes and places.
    pub fn index_bytes(&self) -> usize {
        match self {
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                listing.memory_bytes()
            }
            Self::Roots(roots) => roots.index_bytes(),
            Self::Records { .. } | Self::Pixels(_) | Self::Parquet(_) => 0,
            Self::Images { names, .. } => names.iter().map(|name| size_of::<String>() + name.capacity()).sum(),
        }
    }

    /// Memory for what is kept of files, which `data.max_archive_memory_bytes` limits.
    pub fn content_bytes(&self) -> u64 {
        match self {
            Self::Archive(archive) => archive.storage.memory_bytes(),
            Self::Roots(roots) => roots.content_bytes(),
            Self::Records { records, .. } => records.files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            Self::Pixels(pixels) => pixels.memory_bytes(),
            Self::Parquet(parquet) => parquet.memory_bytes(),
            Self::Folder { .. } | Self::List { .. } | Self::Images { .. } => 0,
        }
    }

    /// Name of picture `index`.
    pub fn name(&self, index: usize) -> Cow<'_, str> {
        match self {
            Self::Roots(roots) => Cow::Owned(roots.name(index)),
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                String::from_utf8_lossy(listing.name(index))
            }
            Self::Records { records, .. } => Cow::Owned(records.name(index)),
            Self::Pixels(pixels) => Cow::Owned(format!("{}#{index}", pixels.name)),
            Self::Parquet(parquet) => Cow::Owned(parquet.name(index)),
            Self::Images { names, .. } => Cow::Borrowed(&names[index]),
        }
    }

    /// Bytes that picture `index` occupies in the source; in Parquet files the mean of its row group.
    pub fn size_bytes(&self, index: usize) -> u64 {
        match self {
            Self::Roots(roots) => roots.size_bytes(index),
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                listing.size_bytes(index)
            }
            Self::Records { records, .. } => records.record_bytes as u64,
            Self::Pixels(pixels) => pixels.picture_bytes(),
            Self::Parquet(parquet) => parquet.size_bytes(index),
            Self::Images { images, .. } => images[index].samples().len() as u64,
        }
    }

    /// Reads and decodes picture `index`, or says why not.
    pub fn load(&self, index: usize, config: &DataConfig, memory: &mut LoadMemory) -> Result<Image, String> {
        match self {
            Self::Folder { .. } | Self::List { .. } | Self::Archive(_) | Self::Parquet(_) => {
                let bytes = self.encoded(index, config, &mut memory.file)?.unwrap_or_default();
                decode(bytes, config, memory.samples.take())
            }
            Self::Roots(roots) => roots.load(index, config, memory),
            Self::Records { records, .. } => records.load(index, config.channels),
            Self::Pixels(pixels) => pixels.load(index, config, memory),
            Self::Images { images, .. } => Ok(images[index].clone()),
        }
    }

    /// The bytes of the file of picture `index`, in `file` unless they are in memory anyhow; `None` where pictures are bare
    /// pixels.
    pub fn encoded<'a>(
        &'a self,
        index: usize,
        config: &DataConfig,
        file: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, String> {
        let max_bytes = config.max_file_bytes;
        match self {
            Self::Folder { root, listing } | Self::List { root, listing } => {
                folder::read(root, listing.name(index), max_bytes, file)?;
            }
            Self::Archive(archive) => return archive.read(index, max_bytes, file).map(Some),
            Self::Roots(roots) => return roots.encoded(index, config, file),
            Self::Parquet(parquet) => {
                file.clear();
                file.extend_from_slice(parquet.read(index, max_bytes)?.data());
            }
            Self::Records { .. } | Self::Pixels(_) | Self::Images { .. } => return Ok(None),
        }
        Ok(Some(file))
    }
}

/// Opens whatever is at `path`. Large folders have an index in the folder `indexes`.
fn open(
    path: &Path,
    split: Option<&str>,
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DataError::NotFound { path: path.into() },
        _ => DataError::Unreadable { path: path.into(), source },
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        open_folder(path, split, config, indexes)
    } else if metadata.is_file() {
        open_file(path, File::open(path).map_err(unreadable)?, split, config)
    } else {
        Err(DataError::Unsupported { path: path.into(), found: "a device or pipe".into() })
    }
}

fn open_folder(
    path: &Path,
    split: Option<&str>,
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    let contents = index::contents(path, indexes)?;
    if contents.is_empty() {
        return Err(DataError::EmptyFolder { path: path.into() });
    }
    if contents.pictures.len() == 0 && contents.parts.is_empty() && contents.shards.len() > 0 {
        return roots::open_shards(path, &contents.shards, split, config);
    }
    if contents.pictures.len() == 0 {
        if let Some(opened) = in_place::open_folder(path, &contents, split, config)? {
            return Ok(opened);
        }
        let total = contents.parts.iter().map(|(_, size, _)| size).sum();
        let read = |name: &str| {
            check_memory(path, total, config.max_archive_memory_bytes)?;
            let part = path.join(name);
            std::fs::read(&part).map_err(|source| DataError::Unreadable { path: part, source })
        };
        return open_parts(path, &contents, split, config, &read);
    }
    let layout = layout_of(path, &contents.pictures, split)?;
    Ok((Source::Folder { root: path.into(), listing: contents.pictures }, layout))
}

fn open_file(path: &Path, file: File, split: Option<&str>, config: &DataConfig) -> Result<(Source, Layout), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let (head, mut file) = first_bytes(file).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if let Some(compression) = Compression::of(&head) {
        return open_compressed(path, compression, file, split, config);
    }
    if archive::looks_like_tar(&head) {
        let (contents, storage) = archive::scan_plain(path, file)?;
        return open_archive(path, contents, storage, split, config);
    }
    let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    if let Some(opened) = in_place::open_file(path, &head, split, config)? {
        return Ok(opened);
    }
    if idx::looks_like_labels(&head) {
        Err(DataError::Unsupported { path: path.into(), found: "IDX labels; give the file of pictures".into() })
    } else if idx::looks_like_idx(&head) {
        open_one_part(path, &base, split, config)
    } else if looks_like_a_picture(&head) || listing::has_picture_ending(&base) {
        open_one_picture(path, size_bytes, split)
    } else if cifar::holds_pictures(&base) || (base.ends_with(".bin") && cifar::has_length(size_bytes)) {
        open_one_part(path, &base, split, config)
    } else if list::looks_like_text(&head) {
        list::open(path, split, config)
    } else {
        Err(DataError::Unsupported { path: path.into(), found: describe(&head) })
    }
}

fn open_compressed(
    path: &Path,
    compression: Compression,
    file: File,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let (head, rest) = first_bytes(compression.reader(file))
        .map_err(|error| DataError::BrokenArchive { path: path.into(), reason: error.to_string() })?;
    if archive::looks_like_tar(&head) {
        let (contents, storage) = archive::scan_compressed(path, Cursor::new(head).chain(rest), config)?;
        open_archive(path, contents, storage, split, config)
    } else if compression == Compression::Gzip && idx::looks_like_idx(&head) {
        let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        open_one_part(path, &base, split, config)
    } else {
        let found = format!("a compressed file that holds {} instead of a tar archive", describe(&head));
        Err(DataError::Unsupported { path: path.into(), found })
    }
}

fn open_archive(
    path: &Path,
    contents: Contents,
    mut storage: archive::Storage,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    if contents.pictures.len() == 0 {
        if let Some(opened) = in_place::open_archive(path, &contents, &mut storage, split)? {
            return Ok(opened);
        }
        let total = contents.parts.iter().map(|(_, size, _)| size).sum();
        let read = |name: &str| {
            check_memory(path, total, config.max_archive_memory_bytes)?;
            let part = contents.parts.iter().find(|(part, ..)| part == name);
            let (size, position) = part.map_or((0, 0), |&(_, size, position)| (size, position));
            let mut bytes = Vec::new();
            let bytes = storage.read(position, size, &mut bytes).map(<[u8]>::to_vec);
            bytes.map_err(|source| DataError::Unreadable { path: path.into(), source })
        };
        return open_parts(path, &contents, split, config, &read);
    }
    let mut layout = layout_of(path, &contents.pictures, split)?;
    contents.labels.apply(&contents.pictures, &mut layout);
    Ok((Source::Archive(Archive { path: path.into(), listing: contents.pictures, storage }), layout))
}

/// Opens a folder or archive without pictures, which may be a CIFAR or IDX set.
fn open_parts(
    path: &Path,
    contents: &Contents,
    split: Option<&str>,
    config: &DataConfig,
    read: PartReader<'_>,
) -> Result<(Source, Layout), DataError> {
    let names: Vec<String> = contents.parts.iter().map(|(name, ..)| name.clone()).collect();
    let any = |holds_pictures: fn(&str) -> bool| {
        names.iter().any(|name| holds_pictures(name.rsplit('/').next().unwrap_or(name)))
    };
    if any(cifar::holds_pictures) {
        let (records, layout) = cifar::open(path, &names, split, read)?;
        Ok((Source::Records { kind: "CIFAR files", records }, layout))
    } else if any(idx::holds_pictures) {
        let (records, layout) = idx::open(path, &names, split, config.max_archive_memory_bytes, read)?;
        Ok((Source::Records { kind: "IDX files", records }, layout))
    } else {
        Err(DataError::NoPictures { path: path.into(), seen: contents.seen() })
    }
}

/// Opens one CIFAR file, or one IDX file with its labels if they lie beside it.
fn open_one_part(
    path: &Path,
    base: &str,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let limit = config.max_archive_memory_bytes;
    let name_the_file = |error| match error {
        DataError::UnknownSplit { split, present, .. } => DataError::UnknownSplit { path: path.into(), split, present },
        other => other,
    };
    let read = |name: &str| {
        let part = if name == base { path.to_owned() } else { beside.join(name) };
        let unreadable = |source| DataError::Unreadable { path: part.clone(), source };
        check_memory(&part, std::fs::metadata(&part).map_err(unreadable)?.len(), limit)?;
        std::fs::read(&part).map_err(unreadable)
    };
    let mut names = vec![base.to_owned()];
    if base.ends_with(".bin") && !idx::is_part(base) {
        let (records, layout) = cifar::open(beside, &names, split, &read).map_err(name_the_file)?;
        return Ok((Source::Records { kind: "CIFAR file", records }, layout));
    }
    names.extend(idx::label_names(base).into_iter().filter(|name| name != base && beside.join(name).is_file()));
    let (records, layout) = idx::open(beside, &names, split, limit, &read).map_err(name_the_file)?;
    Ok((Source::Records { kind: "IDX file", records }, layout))
}

fn open_one_picture(path: &Path, size_bytes: u64, split: Option<&str>) -> Result<(Source, Layout), DataError> {
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut listing = Listing::default();
    listing.push(path.file_name().unwrap_or_default().as_encoded_bytes(), size_bytes, 0);
    let layout = layout_of(path, &listing, split)?;
    Ok((Source::Folder { root, listing }, layout))
}

fn layout_of(path: &Path, pictures: &Listing, split: Option<&str>) -> Result<Layout, DataError> {
    check_count(path, pictures.len())?;
    splits::layout(pictures.names(), split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })
}

/// Enough of the start to tell what a file is, and the reader behind it.
fn first_bytes<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::with_capacity(512);
    reader.by_ref().take(512).read_to_end(&mut head)?;
    Ok((head, reader))
}

fn describe(head: &[u8]) -> String {
    match head {
        [] => "an empty file".into(),
        [b'P', b'K', 3 | 5, ..] => "a zip archive; unpack it and give the folder".into(),
        [b'R', b'a', b'r', b'!', ..] | [b'7', b'z', 0xBC, 0xAF, ..] => "an archive that is no tar; unpack it".into(),
        [b'B', b'Z', b'h', ..] => "bz2-compressed content; decompress it with bunzip2".into(),
        [0x80, 2..=5, ..] => "a Python pickle; for CIFAR, fetch the binary version".into(),
        _ if std::str::from_utf8(head).is_ok() => "a text file".into(),
        _ => "content of no known kind".into(),
    }
}
