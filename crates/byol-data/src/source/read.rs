//! Pictures by their place, whatever they are in.

use std::borrow::Cow;
use std::path::PathBuf;

use super::archive::Archive;
#[cfg(feature = "remote")]
use super::archive::Storage;
use super::arrow::Arrow;
use super::folder;
use super::listing::Listing;
use super::parquet::Parquet;
use super::pixels::Pixels;
use super::records::Records;
#[cfg(feature = "remote")]
use super::remote::Objects;
use crate::decode::decode;
use crate::error::Unread;
use crate::{DataConfig, Image, LoadMemory};

/// Pictures that can be read by their place.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files below a folder.
    Folder { root: PathBuf, listing: Listing },
    /// Objects below a name in a store.
    #[cfg(feature = "remote")]
    Objects(Objects),
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
    /// Rows of Arrow files.
    Arrow(Arrow),
    /// Pictures in memory, with their names.
    Images { images: Vec<Image>, names: Vec<String> },
}

impl Source {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            #[cfg(feature = "remote")]
            Self::Objects(_) => "folder",
            Self::List { .. } => "list of files",
            Self::Roots(roots) => roots.kind(),
            Self::Archive(_) => "tar archive",
            Self::Records { kind, .. } => kind,
            Self::Pixels(pixels) => pixels.kind,
            Self::Parquet(_) => "Parquet files",
            Self::Arrow(_) => "Arrow files",
            Self::Images { .. } => "pictures in memory",
        }
    }

    /// Number of pictures, those outside of the split included.
    pub fn len(&self) -> usize {
        match self {
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                listing.len()
            }
            #[cfg(feature = "remote")]
            Self::Objects(objects) => objects.listing.len(),
            Self::Roots(roots) => roots.len(),
            Self::Records { records, .. } => records.len(),
            Self::Pixels(pixels) => pixels.len(),
            Self::Parquet(parquet) => parquet.len(),
            Self::Arrow(arrow) => arrow.len(),
            Self::Images { images, .. } => images.len(),
        }
    }

    /// Memory for names, sizes and places.
    pub fn index_bytes(&self) -> usize {
        match self {
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                listing.memory_bytes()
            }
            #[cfg(feature = "remote")]
            Self::Objects(objects) => objects.listing.memory_bytes(),
            Self::Roots(roots) => roots.index_bytes(),
            Self::Arrow(arrow) => arrow.index_bytes(),
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
            #[cfg(feature = "remote")]
            Self::Objects(_) => 0,
            Self::Folder { .. } | Self::List { .. } | Self::Arrow(_) | Self::Images { .. } => 0,
        }
    }

    /// Name of picture `index`.
    pub fn name(&self, index: usize) -> Cow<'_, str> {
        match self {
            Self::Roots(roots) => Cow::Owned(roots.name(index)),
            Self::Folder { listing, .. } | Self::List { listing, .. } | Self::Archive(Archive { listing, .. }) => {
                String::from_utf8_lossy(listing.name(index))
            }
            #[cfg(feature = "remote")]
            Self::Objects(objects) => String::from_utf8_lossy(objects.listing.name(index)),
            Self::Records { records, .. } => Cow::Owned(records.name(index)),
            Self::Pixels(pixels) => Cow::Owned(format!("{}#{index}", pixels.name)),
            Self::Parquet(parquet) => Cow::Owned(parquet.name(index)),
            Self::Arrow(arrow) => Cow::Owned(arrow.name(index)),
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
            #[cfg(feature = "remote")]
            Self::Objects(objects) => objects.listing.size_bytes(index),
            Self::Records { records, .. } => records.record_bytes as u64,
            Self::Pixels(pixels) => pixels.picture_bytes(),
            Self::Parquet(parquet) => parquet.size_bytes(index),
            Self::Arrow(arrow) => arrow.size_bytes(index),
            Self::Images { images, .. } => images[index].samples().len() as u64,
        }
    }

    /// Reads and decodes picture `index`, or says why not.
    pub fn load(&self, index: usize, config: &DataConfig, memory: &mut LoadMemory) -> Result<Image, Unread> {
        match self {
            Self::Roots(roots) => roots.load(index, config, memory),
            Self::Records { records, .. } => Ok(records.load(index, config)?),
            Self::Pixels(pixels) => Ok(pixels.load(index, config, memory)?),
            Self::Images { images, .. } => Ok(images[index].clone()),
            _ => {
                let bytes = self.encoded(index, config, &mut memory.file)?.unwrap_or_default();
                Ok(decode(bytes, config, memory.samples.take())?)
            }
        }
    }

    /// The bytes of the file of picture `index`, in `file` unless they are in memory anyhow; `None` where pictures are bare
    /// pixels.
    pub fn encoded<'a>(
        &'a self,
        index: usize,
        config: &DataConfig,
        file: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, Unread> {
        let max_bytes = config.max_file_bytes;
        match self {
            Self::Folder { root, listing } | Self::List { root, listing } => {
                folder::read(root, listing.name(index), max_bytes, file)?;
            }
            #[cfg(feature = "remote")]
            Self::Objects(objects) => objects.read(index, max_bytes, file)?,
            Self::Archive(archive) => return archive.read(index, max_bytes, file).map(Some),
            Self::Roots(roots) => return roots.encoded(index, config, file),
            Self::Parquet(parquet) => {
                file.clear();
                file.extend_from_slice(parquet.read(index, max_bytes)?.data());
            }
            Self::Arrow(arrow) => arrow.read(index, max_bytes, file)?,
            Self::Records { .. } | Self::Pixels(_) | Self::Images { .. } => return Ok(None),
        }
        Ok(Some(file))
    }

    /// Whether something of it is behind a URL.
    pub fn is_remote(&self) -> bool {
        match self {
            #[cfg(feature = "remote")]
            Self::Objects(_) | Self::Archive(Archive { storage: Storage::Object(_), .. }) => true,
            Self::Roots(roots) => roots.roots.iter().any(|root| root.source.is_remote()),
            _ => false,
        }
    }

    /// Has picture `index` fetched, which will be read soon.
    pub fn announce(&self, index: usize) {
        match self {
            #[cfg(feature = "remote")]
            Self::Objects(objects) => objects.announce(index),
            #[cfg(feature = "remote")]
            Self::Archive(Archive { storage: Storage::Object(object), listing, .. }) => {
                object.announce(listing.position(index), listing.size_bytes(index));
            }
            Self::Roots(roots) => {
                let (root, index) = roots.find(index);
                root.source.announce(index);
            }
            _ => {}
        }
    }
}

/// Sources that are one.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pub roots: Vec<Root>,
    /// Number of pictures in all roots.
    pub len: u32,
}

/// One of several.
#[derive(Debug)]
pub(crate) struct Root {
    /// What its names begin with; nothing for the splits of one set.
    pub prefix: String,
    pub source: Source,
    /// Place of its first picture among those of all roots.
    pub start: u32,
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
        match root.prefix.as_str() {
            "" => root.source.name(index).into_owned(),
            prefix => format!("{prefix}/{}", root.source.name(index)),
        }
    }

    pub fn size_bytes(&self, index: usize) -> u64 {
        let (root, index) = self.find(index);
        root.source.size_bytes(index)
    }

    pub fn load(&self, index: usize, config: &DataConfig, memory: &mut LoadMemory) -> Result<Image, Unread> {
        let (root, index) = self.find(index);
        root.source.load(index, config, memory)
    }

    pub fn encoded<'a>(
        &'a self,
        index: usize,
        config: &DataConfig,
        file: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, Unread> {
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
