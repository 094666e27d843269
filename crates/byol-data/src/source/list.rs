//! Pictures named by a text or table file: a path per row, with a label and a split if there are columns for them.
//!
//! Paths are relative to the folder of the file, or absolute; [`named_files`] tells which files others mean. The order is that
//! of the file, and a picture may be named twice. Which column is what: [`columns`]. Without a header, of two columns the one
//! without paths is the label; of more, the only one whose values come again and again.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::columns::{self, LABEL_NAMES};
use super::listing::Listing;
use super::named_files::{self, sizes};
use super::read::Source;
use super::table::{self, Table, is_picture};
use super::values::{Classes, Reading, Values};
use crate::limits::{check_count, check_memory};
use crate::splits::{self, Layout, NoSuchSplit};
use crate::{DataConfig, DataError};

/// Opens the list at `path`, which looks like text.
pub(crate) fn open(path: &Path, split: Option<&str>, config: &DataConfig) -> Result<(Source, Layout), DataError> {
    let mut table = read_table(path, config)?;
    let with_ending = table.paths.names().filter(|path| is_picture(path)).count();
    let count = table.paths.len();
    let may_be_list = 2 * with_ending >= count || table.has_header || table.names.len() > 1;
    if count == 0 || !may_be_list {
        return Err(DataError::Unsupported { path: path.into(), found: describe(&table, with_ending) });
    }
    let root = path.parent().unwrap_or(Path::new(""));
    let files = named_files::find(root, std::mem::take(&mut table.paths));
    // A text that mentions a picture here and there is no list.
    if 2 * with_ending.max(files.found) < count || with_ending.max(files.found) == 0 {
        table.paths = files.paths;
        return Err(DataError::Unsupported { path: path.into(), found: describe(&table, with_ending) });
    }
    check_count(path, count)?;
    let mut notes = files.notes;
    if files.found < count {
        notes.push(format!("{} of the {count} files that the list names are not there", count - files.found));
    }
    if table.without_path > 0 {
        notes.push(format!("{} rows without a path are left out", table.without_path));
    }
    if table.ragged > 0 {
        notes.push(format!("{} rows have more or fewer fields than the first one", table.ragged));
    }
    table.paths = files.paths;
    let labelled = labels(path, &table, config, &mut notes)?;
    let layout = layout(labelled, split, config, notes).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })?;
    Ok((Source::List { root: files.root, listing: table.paths }, layout))
}

/// Reads the table in the file at `path`.
pub(crate) fn read_table(path: &Path, config: &DataConfig) -> Result<Table, DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    check_memory(path, size_bytes, config.max_archive_memory_bytes)?;
    let mut text = Vec::new();
    file.take(size_bytes).read_to_end(&mut text).map_err(unreadable)?;
    table::read(path, &text, config)
}

/// Classes and labels of the rows, and the column of splits.
pub(crate) struct Labelled<'a> {
    pub classes: Classes,
    pub splits: Option<&'a Values>,
}

/// Finds the columns of labels and splits in `table` and reads them.
pub(crate) fn labels<'a>(
    path: &Path,
    table: &'a Table,
    config: &DataConfig,
    notes: &mut Vec<String>,
) -> Result<Labelled<'a>, DataError> {
    let mut values = |column: usize| Ok(Some(table.values[column].clone()).filter(|_| column != table.path));
    let split = match &config.split_column {
        None if !table.has_header => None,
        _ => columns::split_column(path, &table.names, config, &mut values)?,
    };
    let splits = split.map(|column| &table.values[column]);
    let (label, guessed) = match &config.label_column {
        Some(wish) => (Some(columns::wished(path, &table.names, "label_column", wish)?), false),
        None => match label_column(table, split) {
            Some((column, guessed)) => {
                (Some(columns::names_beside(&table.names, column, &mut values)?.unwrap_or(column)), guessed)
            }
            None => (None, false),
        },
    };
    let left_out = table.others(&[label, split]);
    let Some(column) = label else {
        notes.extend(columns::note(None, false, &left_out));
        let labels = vec![None; table.paths.len()];
        return Ok(Labelled { classes: Classes { names: Vec::new(), labels }, splits });
    };
    let name = table.names[column].as_str();
    let insisted = config.label_column.is_some();
    let reading = Reading { column: name, insisted, names: None, numbers_are_places: false };
    let before = notes.len();
    let classes = columns::classes(path, &table.values[column], &reading, notes)?;
    // Where there is no header, a second column is the label, and the only one it can be.
    if notes.len() == before && !insisted && (table.has_header || table.names.len() > 2) {
        notes.extend(columns::note(Some(name), guessed, &left_out));
    }
    Ok(Labelled { classes, splits })
}

/// The column of labels, and whether it is a guess by its values.
fn label_column(table: &Table, split: Option<usize>) -> Option<(usize, bool)> {
    let named = if table.has_header { columns::named(&table.names, &LABEL_NAMES) } else { None };
    if let Some(named) = named.filter(|&named| named != table.path && Some(named) != split) {
        return Some((named, false));
    }
    let free: Vec<usize> =
        (0..table.names.len()).filter(|&column| column != table.path && Some(column) != split).collect();
    let only = |places: Vec<usize>| if let [only] = places[..] { Some((only, true)) } else { None };
    if let ([column], false) = (&free[..], table.has_header) {
        return Some((*column, true));
    }
    // A text beside a path, where there is nothing else, is what the picture shows; numbers are if they repeat.
    let text = |column: &usize| {
        let values = &table.values[*column];
        let alone = free.len() == 1 && (values.looks_like_text() || values.repeats());
        alone || values.look_like_classes()
    };
    let texts: Vec<usize> = free.iter().copied().filter(text).collect();
    if !texts.is_empty() || table.has_header {
        return only(texts);
    }
    only(free.into_iter().filter(|&column| table.values[column].repeats()).collect())
}

fn layout(
    labelled: Labelled,
    wish: Option<&str>,
    config: &DataConfig,
    notes: Vec<String>,
) -> Result<Layout, NoSuchSplit> {
    let Labelled { classes: Classes { names: classes, labels }, splits } = labelled;
    let name = |values: &Values, row: usize| values.text(row).map(|name| columns::split_name(&name, config));
    let distinct = |values: &Values| -> Vec<String> {
        values.distinct().iter().map(|value| columns::split_name(&value.name(), config)).collect()
    };
    let mut splits_present = splits.map(distinct).unwrap_or_default();
    splits::sort_splits(&mut splits_present);
    let chosen = match (splits_present.is_empty(), wish) {
        (true, None) => None,
        _ => Some(splits::choose(&splits_present, wish)?),
    };
    let split = chosen.map(|place| splits_present[place].clone());
    let is_in = |row: usize| match (&split, splits) {
        (Some(split), Some(splits)) => name(splits, row).as_ref() == Some(split),
        _ => true,
    };
    let images: Vec<u32> = (0u32..).take(labels.len()).filter(|&row| is_in(row as usize)).collect();
    let labels = images.iter().map(|&row| labels[row as usize]).collect();
    Ok(Layout { split, splits_present, classes, images, labels, notes })
}

/// A source of the files `paths` below `root`, in this order, and the places of those that are not there.
pub(crate) fn of_paths(root: &Path, mut paths: Listing) -> Result<(Source, Vec<u32>), DataError> {
    check_count(root, paths.len())?;
    let sizes = sizes(root, &paths);
    let missing = (0u32..).zip(&sizes).filter(|(_, size)| size.is_none()).map(|(place, _)| place).collect();
    paths.set_sizes(sizes.into_iter().map(Option::unwrap_or_default));
    paths.shrink_to_fit();
    Ok((Source::List { root: root.into(), listing: paths }, missing))
}

fn describe(table: &Table, with_ending: usize) -> String {
    if table.paths.len() == 0 {
        return "a text file without lines".into();
    }
    let example: String = String::from_utf8_lossy(table.paths.name(0)).chars().take(60).collect();
    let count = match with_ending {
        0 => "none".into(),
        some => format!("only {some}"),
    };
    let mut text = format!(
        "a text file of which {count} of {} lines is the path of a picture (the first is \"{example}\"); for a list, \
         write one path like cat/1.jpg per line, a label behind a comma or tab",
        table.paths.len()
    );
    if table.names.len() > 1 {
        text += "; names without an ending are looked for below the folder of the list, so put it beside the pictures";
    }
    text
}
