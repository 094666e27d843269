//! Labels and splits in the columns of files that have typed ones: Parquet and Arrow.

use std::path::Path;

use super::columns::{self, LABEL_NAMES};
use super::values::{Classes, Reading, Values};
use crate::splits::{Layout, NoSuchSplit, choose, sort_splits};
use crate::{DataConfig, DataError};

/// A file of rows with columns.
pub(crate) trait Columnar {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// The columns that have nothing to do with pictures.
    fn free_names(&self) -> Vec<String>;
    /// The columns that may hold pictures as well.
    fn other_pictures(&self) -> &[String];
    /// The class names that the file has for a column.
    fn class_names(&self, column: &str) -> Option<Vec<String>>;
    /// Whether a column holds one text per row.
    fn is_text(&self, column: &str) -> bool;
    /// Adds the values of a column: all, or those of the first group of rows; none for each row where there is no such column.
    fn push(&self, column: &str, all: bool, values: &mut Values) -> Result<(), DataError>;
}

/// What the columns say of the rows of the files in use.
struct Columns {
    classes: Classes,
    /// The column of splits, if one was looked for and is there.
    splits: Option<Values>,
    notes: Vec<String>,
}

/// Files by their splits.
pub(crate) struct Files<T> {
    /// Those of the split in use.
    pub used: Vec<T>,
    /// Those of other splits.
    pub others: Vec<T>,
    /// The split in use and all there are, if names say so.
    pub chosen: Option<String>,
    pub splits_present: Vec<String>,
}

/// The place in `present` of the split that is wished for.
pub(crate) fn choose_split(path: &Path, present: &[String], split: Option<&str>) -> Result<String, DataError> {
    let place = choose(present, split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })?;
    Ok(present[place].clone())
}

/// Labels and splits of all rows of the files in use; a column of splits counts where names say nothing of them.
pub(crate) fn layout<T: Columnar>(
    path: &Path,
    files: &Files<T>,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<Layout, DataError> {
    let by_names = !files.splits_present.is_empty();
    let Columns { classes, splits, notes } = read(path, &files.used, &files.others, config, !by_names)?;
    let count = files.used.iter().map(Columnar::rows).fold(0, usize::saturating_add);
    if u32::try_from(count).is_err() {
        return Err(DataError::TooManyImages { path: path.into(), count });
    }
    if count == 0 {
        let (expected, got) = ("at least one row".into(), "none".into());
        return Err(DataError::Malformed { path: path.into(), expected, got });
    }
    let mut layout = Layout {
        split: files.chosen.clone(),
        splits_present: files.splits_present.clone(),
        classes: classes.names,
        images: (0u32..).take(count).collect(),
        labels: classes.labels,
        notes,
    };
    if let Some(splits) = splits.filter(|splits| !splits.distinct().is_empty()) {
        let name = |row: usize| splits.text(row).map(|name| columns::split_name(&name, config));
        layout.splits_present =
            splits.distinct().iter().map(|value| columns::split_name(&value.name(), config)).collect();
        sort_splits(&mut layout.splits_present);
        layout.split = Some(choose_split(path, &layout.splits_present, split)?);
        layout.images.retain(|&row| name(row as usize) == layout.split);
        layout.labels = layout.images.iter().map(|&row| layout.labels[row as usize]).collect();
    } else if !by_names && split.is_some() {
        choose_split(path, &[], split)?;
    }
    Ok(layout)
}

/// Reads labels, and splits if the files have none by their names. `others`, the files of other splits, are looked into only
/// where no metadata names the classes: one that the split in use lacks must not shift its labels.
fn read<T: Columnar>(
    path: &Path,
    used: &[T],
    others: &[T],
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
        first.push(&names[column], true, &mut values)?;
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
        .chain(
            first.other_pictures().iter().map(String::as_str).filter(|other| !names.iter().any(|name| name == other)),
        )
        .collect();
    let rows = used.iter().map(Columnar::rows).fold(0, usize::saturating_add);
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
fn values<T: Columnar>(used: &[T], others: &[T], name: &str) -> Result<Values, DataError> {
    let mut values = Values::default();
    for file in used.iter().chain(others) {
        file.push(name, true, &mut values)?;
    }
    Ok(values)
}

/// The column of labels, and whether it is a guess: by its name, as the only one whose classes the metadata names, or as the only
/// text that comes again and again.
fn label_column(
    file: &impl Columnar,
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
        if !file.is_text(&names[column]) {
            continue;
        }
        let mut values = Values::default();
        file.push(&names[column], false, &mut values)?;
        texts.extend(values.look_like_classes().then_some(column));
    }
    Ok(only(texts).map(|column| (column, true)))
}
