//! Which folders and files are Parquet, Arrow, STL-10 or arrays: sets that are read in place where they can be.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::archive::Storage;
use super::contents::Contents;
use super::listing::{Listing, base_text, layout_of};
use super::part::part_path;
use super::pixels::Stored;
use super::place::Place;
use super::read::Source;
use super::{arrays, arrow, npy, npz, parquet, stl10};
use crate::splits::Layout;
use crate::{DataConfig, DataError};

/// Opens a folder without pictures if it is such a set.
pub(crate) fn open_folder(
    path: &Path,
    contents: &Contents,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<Option<(Source, Layout)>, DataError> {
    let parts = |is_part: fn(&str) -> bool| parts_of(contents, is_part);
    if !parts(stl10::holds_pictures).is_empty() {
        let (pixels, layout) = stl10::open(path, &parts(stl10::is_part), split, &mut |name| whole(&path.join(name)))?;
        return Ok(Some((Source::Pixels(pixels), layout)));
    }
    let files = parts(parquet::is_part);
    if !files.is_empty() {
        let places = files.into_iter().map(|name| (name.clone(), Place::Path(path.join(name)))).collect();
        let (parquet, mut layout) = parquet::open(path, places, split, config)?;
        let left_out = parts(arrow::is_part).len();
        if left_out > 0 {
            layout.notes.push(format!("{left_out} Arrow files lie beside the Parquet files and are left out"));
        }
        return Ok(Some((Source::Parquet(parquet), layout)));
    }
    let files = parts(arrow::is_part);
    if !files.is_empty() {
        let (arrow, layout) = arrow::open_folder(path, &files, split, config)?;
        return Ok(Some((Source::Arrow(arrow), layout)));
    }
    let files = parts(arrays::is_part);
    if files.is_empty() {
        return Ok(None);
    }
    if let Some((pixels, layout)) = arrays::open_folder(path, &files, split, config)? {
        return Ok(Some((Source::Pixels(pixels), layout)));
    }
    let mut listing = Listing::default();
    for (name, size_bytes, position) in contents.parts.iter().filter(|(name, ..)| arrays::is_part(base_text(name))) {
        listing.push(name.as_bytes(), *size_bytes, *position);
    }
    let layout = layout_of(path, &listing, split, config)?;
    Ok(Some((Source::Folder { root: path.into(), listing }, layout)))
}

/// Opens the file at `path` if it is of such a set, judging by its first bytes or its name.
pub(crate) fn open_file(
    path: &Path,
    head: &[u8],
    split: Option<&str>,
    config: &DataConfig,
) -> Result<Option<(Source, Layout)>, DataError> {
    let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.parent().unwrap_or(Path::new(""));
    let pixels = if parquet::looks_like_parquet(head) {
        let (parquet, layout) = parquet::open(path, vec![(base, Place::Path(path.into()))], split, config)?;
        return Ok(Some((Source::Parquet(parquet), layout)));
    } else if arrow::looks_like_arrow(head) {
        let (arrow, layout) = arrow::open_file(path, &base, split, config)?;
        return Ok(Some((Source::Arrow(arrow), layout)));
    } else if npy::looks_like_npy(head) {
        arrays::open_npy(path, &base, split, config)?
    } else if npz::looks_like_npz(head) {
        arrays::open_npz(path, &base, split, config)?
    } else if stl10::holds_pictures(&base) {
        let mut names = vec![base.clone()];
        let others = stl10::beside(&base).into_iter().filter(|name| beside.join(name).is_file());
        names.extend(others.map(str::to_owned));
        stl10::open(beside, &names, split, &mut |name| whole(&beside.join(name)))?
    } else {
        return Ok(None);
    };
    Ok(Some((Source::Pixels(pixels.0), pixels.1)))
}

/// Opens an archive without pictures if it holds STL-10: in place if it is a plain one, else by taking the file out of
/// `storage`.
pub(crate) fn open_archive(
    path: &Path,
    contents: &Contents,
    storage: &mut Storage,
    split: Option<&str>,
) -> Result<Option<(Source, Layout)>, DataError> {
    if parts_of(contents, stl10::holds_pictures).is_empty() {
        return match parts_of(contents, |base| parquet::is_part(base) || arrow::is_part(base) || arrays::is_part(base))
            .first()
        {
            Some(part) => Err(DataError::Unsupported {
                path: path.into(),
                found: format!(
                    "an archive of Parquet files, Arrow files or arrays ({part}); unpack it and give the folder"
                ),
            }),
            None => Ok(None),
        };
    }
    let mut open = |name: &str| {
        let part = contents.parts.iter().find(|(part, ..)| part == name);
        let &(_, bytes, position) = part.ok_or_else(|| DataError::NotFound { path: part_path(path, name) })?;
        let file = match storage {
            Storage::Memory(kept) => {
                return Ok(Stored::Memory(std::mem::take(&mut kept[position as usize]).into_vec()));
            }
            Storage::Plain(file) => file.try_clone(),
            Storage::Reopened { path, .. } => File::open(path),
            #[cfg(feature = "remote")]
            Storage::Object(_) => {
                let found = "STL-10 in an archive behind a URL; copy it to this machine".into();
                return Err(DataError::Unsupported { path: path.into(), found });
            }
        };
        let file = file.map_err(|source| DataError::Unreadable { path: path.into(), source })?;
        Ok(Stored::File { file: Arc::new(file), start: position, bytes })
    };
    let (pixels, layout) = stl10::open(path, &parts_of(contents, stl10::is_part), split, &mut open)?;
    Ok(Some((Source::Pixels(pixels), layout)))
}

fn parts_of(contents: &Contents, is_part: fn(&str) -> bool) -> Vec<String> {
    let names = contents.parts.iter().map(|(name, ..)| name);
    names.filter(|name| is_part(base_text(name))).cloned().collect()
}

fn whole(path: &Path) -> Result<Stored, DataError> {
    File::open(path).and_then(Stored::whole).map_err(|source| DataError::Unreadable { path: path.into(), source })
}
