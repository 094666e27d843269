//! Labels and splits in the columns of Parquet files.

use std::path::Path;

use super::columns::{self, LABEL_NAMES};
use super::parquet_columns::is_text;
use super::parquet_file::ParquetFile;
use super::parquet_values;
use super::values::{Classes, Reading, Values};
use crate::{DataConfig, DataError};

/// What the columns say of the rows of the files in use.
pub(crate) struct Columns {
    pub classes: Classes,
    /// The column of splits, if one was looked for and is there.
    pub splits: Option<Values>,
    pub notes: Vec<String>,
}

/// Reads labels, and splits if the files have none by their names. `others`, the files of other splits, are looked into only
/// where no metadata names the classes: one that the split in use lacks must not shift its labels.
pub(crate) fn read(
    path: &Path,
    used: &[ParquetFile],
    others: &[ParquetFile],
    config: &DataConfig,
    look_for_splits: bool,
) -> Result<Columns, DataError> {
    let mut notes = Vec::new();
    let Some(first) = used.first() else {
        return Ok(Columns { classes: Classes::default(), splits: None, notes });
    };
    // Columns of the pictures are no candidates.
    let names = first.free_names();
    let mut sample = |column: usize| {
        let mut values = Values::default();
        parquet_values::push(first, first.leaf(&names[column]).unwrap_or_default(), usize::MAX, &mut values)?;
        Ok(Some(values))
    };
    let split = if look_for_splits { columns::split_column(path, &names, config, &mut sample)? } else { None };
    let (label, guessed) = match &config.label_column {
        Some(wish) => (Some(columns::wished(path, &names, "label_column", wish)?), false),
        None => match label_column(first, &names, split)? {
            Some((column, guessed)) => {
                let has_names = first.class_names(&names[column]).is_some();
                let better = if has_names { None } else { columns::names_beside(&names, column, &mut sample)? };
                (Some(better.unwrap_or(column)), guessed)
            }
            None => (None, false),
        },
    };
    let splits = split.map(|column| values(used, &[], &names[column])).transpose()?;
    let left_out: Vec<&str> = (0..names.len())
        .filter(|&column| Some(column) != label && Some(column) != split)
        .map(|column| names[column].as_str())
        .chain(first.other_pictures.iter().map(String::as_str).filter(|other| !names.iter().any(|name| name == other)))
        .collect();
    let rows = used.iter().map(ParquetFile::rows).sum();
    let Some(label) = label else {
        notes.extend(columns::note(None, false, &left_out));
        return Ok(Columns { classes: Classes { names: Vec::new(), labels: vec![None; rows] }, splits, notes });
    };
    let name = &names[label];
    let class_names = used.iter().find_map(|file| file.class_names(name));
    let values = values(used, if class_names.is_some() { &[] } else { others }, name)?;
    let insisted = config.label_column.is_some();
    let reading = Reading { column: name, insisted, names: class_names, numbers_are_places: true };
    let mut classes = columns::classes(path, &values, &reading, &mut notes)?;
    classes.labels.truncate(rows);
    if notes.is_empty() && !insisted {
        notes.extend(columns::note(Some(name), guessed, &left_out));
    }
    Ok(Columns { classes, splits, notes })
}

/// The values of the column `name`, file after file; none where a file lacks it.
fn values(used: &[ParquetFile], others: &[ParquetFile], name: &str) -> Result<Values, DataError> {
    let mut values = Values::default();
    for file in used.iter().chain(others) {
        match file.leaf(name) {
            Some(leaf) => parquet_values::push(file, leaf, usize::MAX, &mut values)?,
            None => (0..file.rows()).for_each(|_| values.push(None)),
        }
    }
    Ok(values)
}

/// The column of labels, and whether it is a guess: by its name, as the only one whose classes the metadata names, or as the only
/// text that comes again and again.
fn label_column(
    file: &ParquetFile,
    names: &[String],
    split: Option<usize>,
) -> Result<Option<(usize, bool)>, DataError> {
    if let Some(named) = columns::named(names, &LABEL_NAMES).filter(|&named| Some(named) != split) {
        return Ok(Some((named, false)));
    }
    // A struct of one field.
    let tops: Vec<String> = names.iter().map(|name| name.split('.').next().unwrap_or_default().to_owned()).collect();
    if let Some(top) = columns::named(&tops, &LABEL_NAMES)
        && tops.iter().filter(|other| **other == tops[top]).count() == 1
    {
        return Ok(Some((top, false)));
    }
    let only = |places: Vec<usize>| if let [only] = places[..] { Some(only) } else { None };
    let free = || (0..names.len()).filter(|&column| Some(column) != split);
    if let Some(only) = only(free().filter(|&column| file.class_names(&names[column]).is_some()).collect()) {
        return Ok(Some((only, false)));
    }
    let mut texts = Vec::new();
    for column in free() {
        let Some(leaf) = file.leaf(&names[column]).filter(|&leaf| is_text(file.column_descriptor(leaf))) else {
            continue;
        };
        let mut values = Values::default();
        parquet_values::push(file, leaf, 1, &mut values)?;
        texts.extend(values.look_like_classes().then_some(column));
    }
    Ok(only(texts).map(|column| (column, true)))
}
