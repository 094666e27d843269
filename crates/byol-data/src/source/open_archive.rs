//! What is in an archive, wherever the archive is.

use std::io::{self, Cursor, Read};
use std::path::Path;

use super::archive::{self, Archive, Compression, Storage};
use super::contents::Contents;
use super::listing::layout_of;
use super::read::Source;
use super::{idx, in_memory, in_place, webdataset};
use crate::error::Unread;
use crate::limits::check_memory;
use crate::remote::is_url;
use crate::splits::Layout;
use crate::{DataConfig, DataError};

/// Opens what `file` holds once it is unpacked.
pub(crate) fn open_compressed(
    path: &Path,
    compression: Compression,
    file: impl Read + 'static,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let (head, rest) = first_bytes(compression.reader(file))
        .map_err(|error| DataError::BrokenArchive { path: path.into(), reason: error.to_string() })?;
    if archive::looks_like_tar(&head) {
        let (contents, storage) = archive::scan_compressed(path, Cursor::new(head).chain(rest), config)?;
        open_archive(path, contents, storage, split, config)
    } else if compression == Compression::Gzip && idx::looks_like_idx(&head) && !is_url(path) {
        let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        in_memory::open_one_part(path, &base, split, config)
    } else {
        let found = format!("a compressed file that holds {} instead of a tar archive", describe(&head));
        Err(DataError::Unsupported { path: path.into(), found })
    }
}

/// Opens the pictures, or the set of another form, in an archive.
pub(crate) fn open_archive(
    path: &Path,
    contents: Contents,
    mut storage: Storage,
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
            bytes.map_err(|unread| match unread {
                Unread::Bad(reason) => DataError::BrokenArchive { path: path.into(), reason },
                Unread::Lost(error) => *error,
            })
        };
        return in_memory::open_parts(path, &contents, split, config, &read);
    }
    let left_out = contents.left_out();
    let has_labels = !contents.labels.is_empty();
    let (listing, notes) = webdataset::choose_pictures(path, contents.pictures, has_labels, config)?;
    let mut layout = layout_of(path, &listing, split, config)?;
    layout.notes.extend(left_out);
    layout.notes.extend(notes);
    contents.labels.apply(path, &listing, &mut layout)?;
    Ok((Source::Archive(Archive { path: path.into(), listing, storage }), layout))
}

/// Enough of the start to tell what a file is, and the reader behind it.
pub(crate) fn first_bytes<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::with_capacity(512);
    reader.by_ref().take(512).read_to_end(&mut head)?;
    Ok((head, reader))
}

pub(crate) fn describe(head: &[u8]) -> String {
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
