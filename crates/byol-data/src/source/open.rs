//! What is at a path: the content decides, never the name.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::archive::{self, Archive, Compression, Storage};
use super::contents::Contents;
use super::listing::{Listing, has_picture_ending, layout_of};
use super::read::Source;
use super::several::Several;
use super::{cifar, folder, idx, in_memory, in_place, index, list, metadata, table, webdataset};
use crate::decode::looks_like_a_picture;
use crate::limits::check_memory;
use crate::splits::{self, Groups, Layout, NoSuchSplit};
use crate::{DataConfig, DataError};

/// Opens `paths`, each with the same wish for a split. One path alone is what it is by itself, files are splits by their
/// names if they have such names.
pub(crate) fn open_all(
    paths: &[PathBuf],
    split: Option<&str>,
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    let are_files = paths.iter().all(|path| path.is_file());
    if (paths.len() == 1 || are_files) && split.is_some_and(|split| split.eq_ignore_ascii_case(splits::ALL)) {
        return open_every_split(paths, config, indexes);
    }
    if let [only] = paths {
        return open(only, split, config, indexes);
    }
    if are_files {
        let members: Vec<_> = paths.iter().map(|path| (path.clone(), last_component(path))).collect();
        return open_files(&paths[0], &members, split, config);
    }
    let mut several = Several::new(config, paths.len());
    for path in paths {
        let (source, layout) = open_all(std::slice::from_ref(path), split, &several.remaining(), indexes)
            .map_err(|error| several.state_limit(error))?;
        several.add(path, last_component(path), source, layout)?;
    }
    Ok(several.finish())
}

/// Opens all splits of `paths`, one after the other, as one set without splits.
fn open_every_split(
    paths: &[PathBuf],
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    let (source, layout) = open_all(paths, None, config, indexes)?;
    if layout.splits_present.is_empty() {
        return Ok((source, layout));
    }
    let mut several = Several::new(config, layout.splits_present.len());
    for split in &layout.splits_present {
        let (source, layout) =
            open_all(paths, Some(split), &several.remaining(), indexes).map_err(|error| several.state_limit(error))?;
        several.add(&paths[0], String::new(), source, layout)?;
    }
    let (source, mut layout) = several.finish();
    (layout.split, layout.splits_present) = (None, Vec::new());
    Ok((source, layout))
}

/// What a root's names begin with; independent of where the root lies.
fn last_component(path: &Path) -> String {
    let name = path.file_name().map(std::ffi::OsStr::to_owned);
    // `.` and `..` have no name by themselves.
    let name = name.or_else(|| Some(path.canonicalize().ok()?.file_name()?.to_owned()));
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
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
        let shard = |name: &[u8]| (path.join(folder::name_path(name)), String::from_utf8_lossy(name).into_owned());
        return open_files(path, &contents.shards.names().map(shard).collect::<Vec<_>>(), split, config);
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
        return in_memory::open_parts(path, &contents, split, config, &read);
    }
    let mut layout = layout_of(path, &contents.pictures, split, config)?;
    layout.notes.extend(contents.left_out());
    metadata::apply(path, &contents.pictures, &mut layout, config)?;
    Ok((Source::Folder { root: path.into(), listing: contents.pictures }, layout))
}

/// Opens `members`, each a path and what the names of its pictures begin with, as one. Names like `in1k-train-000.tar`
/// beside `in1k-val-000.tar` are splits.
fn open_files(
    path: &Path,
    members: &[(PathBuf, String)],
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let names: Vec<String> = members.iter().map(|(_, name)| name.clone()).collect();
    let groups = splits::split_files(&names, &config.split_map);
    let chosen = match &groups {
        None => None,
        Some(Groups { splits, .. }) => {
            let chosen = splits::choose(splits, split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
                path: path.into(),
                split: split.unwrap_or_default().into(),
                present,
            })?;
            Some(chosen)
        }
    };
    let mut several = Several::new(config, names.len());
    for (number, (file, name)) in members.iter().enumerate() {
        let in_use = chosen.is_none() || groups.as_ref().and_then(|groups| groups.of[number]) == chosen;
        let mut limits = several.remaining();
        if !in_use {
            // Asked only for its classes, so that labels are the same in every split; no picture of it is kept.
            limits.max_file_bytes = 0;
        }
        let wish = if chosen.is_some() { None } else { split };
        let (source, mut layout) = open(file, wish, &limits, None).map_err(|error| several.state_limit(error))?;
        if !in_use {
            layout.images.clear();
            layout.labels.clear();
        }
        several.add(file, name.clone(), source, layout)?;
    }
    let (source, mut layout) = several.finish();
    if let (Some(chosen), Some(groups)) = (chosen, groups) {
        let outside: Vec<&String> =
            names.iter().zip(&groups.of).filter(|(_, of)| of.is_none()).map(|(name, _)| name).collect();
        if let [first, ..] = outside[..] {
            layout.notes.push(format!(
                "{} files are in no split and left out (the first is {first}); --split-map {}=train takes one in",
                outside.len(),
                first.split('.').next().unwrap_or(first)
            ));
        }
        layout.split = Some(groups.splits[chosen].clone());
        layout.splits_present = groups.splits;
        layout.notes.extend(groups.notes);
    }
    Ok((source, layout))
}

fn open_file(path: &Path, file: File, split: Option<&str>, config: &DataConfig) -> Result<(Source, Layout), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let (head, mut file) = first_bytes(file).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if let Some(compression) = Compression::of(&head) {
        return open_compressed(path, compression, file, split, config);
    }
    if archive::looks_like_tar(&head) {
        let (contents, storage) = archive::scan_plain(path, file, config)?;
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
        in_memory::open_one_part(path, &base, split, config)
    } else if looks_like_a_picture(&head) || has_picture_ending(&base) {
        open_one_picture(path, size_bytes, split, config)
    } else if cifar::holds_pictures(&base) || (base.ends_with(".bin") && cifar::has_length(size_bytes)) {
        in_memory::open_one_part(path, &base, split, config)
    } else if table::looks_like_text(&head) {
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
        in_memory::open_one_part(path, &base, split, config)
    } else {
        let found = format!("a compressed file that holds {} instead of a tar archive", describe(&head));
        Err(DataError::Unsupported { path: path.into(), found })
    }
}

fn open_archive(
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
            bytes.map_err(|source| DataError::Unreadable { path: path.into(), source })
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

fn open_one_picture(
    path: &Path,
    size_bytes: u64,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Source, Layout), DataError> {
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut listing = Listing::default();
    listing.push(path.file_name().unwrap_or_default().as_encoded_bytes(), size_bytes, 0);
    let layout = layout_of(path, &listing, split, config)?;
    Ok((Source::Folder { root, listing }, layout))
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
