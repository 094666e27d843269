//! Which folders, archives and files are CIFAR or IDX: sets of records that are held in memory.

use std::path::Path;

use super::contents::Contents;
use super::part::PartReader;
use super::read::Source;
use super::{cifar, idx};
use crate::limits::check_memory;
use crate::splits::Layout;
use crate::{DataConfig, DataError};

/// Opens a folder or archive without pictures, which may be a CIFAR or IDX set.
pub(crate) fn open_parts(
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
pub(crate) fn open_one_part(
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
