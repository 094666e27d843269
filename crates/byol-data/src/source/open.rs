//! What is at a path: the content decides, never the name.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use super::archive::{self, Compression};
use super::listing::{Listing, has_picture_ending, layout_of};
use super::open_archive::{describe, first_bytes, open_archive, open_compressed};
use super::read::Source;
use super::several::Several;
use super::{cifar, folder, idx, in_memory, in_place, index, list, metadata, table};
#[cfg(feature = "remote")]
use super::{parquet, place::Place, remote as behind_urls};
use crate::decode::looks_like_a_picture;
use crate::limits::check_memory;
use crate::remote;
#[cfg(feature = "remote")]
use crate::remote::{Failure, Found, Prefix, Reader, Session};
use crate::splits::{self, Groups, Layout, NoSuchSplit};
use crate::{DataConfig, DataError};

/// What one opening needs beside settings: the folder for indexes of large folders, and what is known of URLs.
struct Opening<'a> {
    indexes: Option<&'a Path>,
    #[cfg(feature = "remote")]
    session: Session,
}

/// Opens `paths`, each with the same wish for a split. One path alone is what it is by itself, files are splits by their
/// names if they have such names. Large folders have an index in the folder `indexes`.
pub(crate) fn open_all(
    paths: &[PathBuf],
    split: Option<&str>,
    config: &DataConfig,
    indexes: Option<&Path>,
) -> Result<(Source, Layout), DataError> {
    let opening = Opening {
        indexes,
        #[cfg(feature = "remote")]
        session: Session::default(),
    };
    open_roots(paths, split, config, &opening)
}

fn open_roots(
    paths: &[PathBuf],
    split: Option<&str>,
    config: &DataConfig,
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    opening.list_ahead(paths, config)?;
    let are_files = paths.iter().all(|path| opening.is_file(path, config));
    if (paths.len() == 1 || are_files) && split.is_some_and(|split| split.eq_ignore_ascii_case(splits::ALL)) {
        return open_every_split(paths, config, opening);
    }
    if let [only] = paths {
        return open(only, split, config, opening);
    }
    if are_files {
        let members: Vec<_> = paths.iter().map(|path| (path.clone(), last_component(path))).collect();
        return open_files(&paths[0], &members, split, config, opening);
    }
    let mut several = Several::new(config, paths.len());
    for path in paths {
        let (source, layout) = open_roots(std::slice::from_ref(path), split, &several.remaining(), opening)
            .map_err(|error| several.state_limit(error))?;
        several.add(path, last_component(path), source, layout)?;
    }
    Ok(several.finish())
}

/// Opens all splits of `paths`, one after the other, as one set without splits.
fn open_every_split(
    paths: &[PathBuf],
    config: &DataConfig,
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    let (source, layout) = open_roots(paths, None, config, opening)?;
    if layout.splits_present.is_empty() {
        return Ok((source, layout));
    }
    let mut several = Several::new(config, layout.splits_present.len());
    for split in &layout.splits_present {
        let (source, layout) = open_roots(paths, Some(split), &several.remaining(), opening)
            .map_err(|error| several.state_limit(error))?;
        several.add(&paths[0], String::new(), source, layout)?;
    }
    let (source, mut layout) = several.finish();
    (layout.split, layout.splits_present) = (None, Vec::new());
    Ok((source, layout))
}

/// What a root's names begin with; independent of where the root lies.
fn last_component(path: &Path) -> String {
    if let Some(url) = path.to_str().filter(|_| remote::is_url(path)) {
        return remote::last_component(url);
    }
    let name = path.file_name().map(std::ffi::OsStr::to_owned);
    // `.` and `..` have no name by themselves.
    let name = name.or_else(|| Some(path.canonicalize().ok()?.file_name()?.to_owned()));
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Opens whatever is at `path`.
fn open(
    path: &Path,
    split: Option<&str>,
    config: &DataConfig,
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    if let Some(url) = path.to_str().filter(|_| remote::is_url(path)) {
        return open_url(url, split, config, opening);
    }
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DataError::NotFound { path: path.into() },
        _ => DataError::Unreadable { path: path.into(), source },
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        open_folder(path, split, config, opening)
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
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    let contents = index::contents(path, opening.indexes)?;
    if contents.is_empty() {
        return Err(DataError::EmptyFolder { path: path.into() });
    }
    if contents.pictures.len() == 0 && contents.parts.is_empty() && contents.shards.len() > 0 {
        let shard = |name: &[u8]| (path.join(folder::name_path(name)), String::from_utf8_lossy(name).into_owned());
        return open_files(path, &contents.shards.names().map(shard).collect::<Vec<_>>(), split, config, opening);
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
    opening: &Opening<'_>,
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
        let (source, mut layout) = open(file, wish, &limits, opening).map_err(|error| several.state_limit(error))?;
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

#[cfg(feature = "remote")]
impl Opening<'_> {
    /// Finds out what is at all URLs at once, and what archives hold.
    fn list_ahead(&self, paths: &[PathBuf], config: &DataConfig) -> Result<(), DataError> {
        let urls: Vec<&str> =
            paths.iter().filter(|path| remote::is_url(path)).filter_map(|path| path.to_str()).collect();
        behind_urls::list_ahead(&urls, &self.session, self.indexes, config)
    }

    fn is_file(&self, path: &Path, config: &DataConfig) -> bool {
        match path.to_str().filter(|_| remote::is_url(path)) {
            Some(url) => matches!(self.session.find(url, config), Ok(Found::Object(..))),
            None => path.is_file(),
        }
    }
}

#[cfg(not(feature = "remote"))]
impl Opening<'_> {
    fn list_ahead(&self, _: &[PathBuf], _: &DataConfig) -> Result<(), DataError> {
        Ok(())
    }

    fn is_file(&self, path: &Path, _: &DataConfig) -> bool {
        path.is_file()
    }
}

#[cfg(not(feature = "remote"))]
fn open_url(url: &str, _: Option<&str>, _: &DataConfig, _: &Opening<'_>) -> Result<(Source, Layout), DataError> {
    Err(DataError::NoRemote { url: remote::shown(url) })
}

#[cfg(feature = "remote")]
fn open_url(
    url: &str,
    split: Option<&str>,
    config: &DataConfig,
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    let path = PathBuf::from(remote::shown(url));
    let (object, head) = match opening.session.find(url, config)? {
        Found::Object(object, head) => (object, head),
        Found::Prefix(prefix) => return open_prefix(&path, prefix, split, config, opening),
    };
    let head = &head[..head.len().min(512)];
    if let Some(compression) = Compression::of(head) {
        let failure = Failure::default();
        let reader = Reader::new(&object, &failure);
        let opened = open_compressed(&path, compression, reader, split, config);
        return opened.map_err(|error| failure.take().unwrap_or(error));
    }
    if archive::looks_like_tar(head) {
        let (contents, storage) = behind_urls::scan(&object, &opening.session, opening.indexes, config)?;
        return open_archive(&path, contents, storage, split, config);
    }
    if parquet::looks_like_parquet(head) {
        let places = vec![(remote::last_component(url), Place::Object(object))];
        let (parquet, layout) = parquet::open(&path, places, split, config)?;
        return Ok((Source::Parquet(parquet), layout));
    }
    Err(only_some_kinds(&path, &describe(head)))
}

#[cfg(feature = "remote")]
fn only_some_kinds(path: &Path, found: &str) -> DataError {
    DataError::Remote {
        url: path.display().to_string(),
        problem: format!("expected a tar archive, a Parquet file or a prefix of these or of pictures, got {found}"),
        remedy: "copy the data to this machine and give its path".into(),
    }
}

/// Opens what is below a name in a store, like a folder.
#[cfg(feature = "remote")]
fn open_prefix(
    path: &Path,
    prefix: Prefix,
    split: Option<&str>,
    config: &DataConfig,
    opening: &Opening<'_>,
) -> Result<(Source, Layout), DataError> {
    let contents = behind_urls::contents(&prefix);
    if contents.pictures.len() > 0 {
        let mut layout = layout_of(path, &contents.pictures, split, config)?;
        layout.notes.extend(contents.left_out());
        let bytes = (0..contents.pictures.len()).map(|index| contents.pictures.size_bytes(index)).sum();
        opening.session.opened(bytes);
        return Ok((Source::Objects(behind_urls::Objects::new(prefix, contents.pictures)), layout));
    }
    if contents.parts.is_empty() && contents.shards.len() > 0 {
        let names = contents.shards.names().map(|name| String::from_utf8_lossy(name).into_owned());
        let members: Vec<_> = names.map(|name| (PathBuf::from(prefix.url_of(&name)), name)).collect();
        let urls: Vec<PathBuf> = members.iter().map(|(url, _)| url.clone()).collect();
        opening.list_ahead(&urls, config)?;
        return open_files(path, &members, split, config, opening);
    }
    let places = behind_urls::parquet_places(&prefix, &contents, &opening.session, config)?;
    if places.is_empty() {
        return Err(only_some_kinds(path, &contents.seen()));
    }
    let (parquet, layout) = parquet::open(path, places, split, config)?;
    Ok((Source::Parquet(parquet), layout))
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
