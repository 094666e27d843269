//! Classes and labels of Parquet files.

use std::collections::BTreeSet;

use parquet::data_type::ByteArray;

use super::parquet_file::{LabelColumn, ParquetFile};
use crate::DataError;

/// A label is a place in the list of classes, so a number that is no class must not make that list long.
const MAX_CLASSES: i64 = 1 << 20;

/// What `datasets` writes where a label is not known, as in test splits.
const NO_LABEL: i64 = -1;

/// The classes of all files, and the labels of those in use. `others`, the files of other splits, are looked into only
/// where no metadata names the classes: one that the split in use lacks must not shift its labels.
pub(crate) fn classes_and_labels(
    used: &[ParquetFile],
    others: &[ParquetFile],
) -> Result<(Vec<String>, Vec<Option<u32>>), DataError> {
    let columns = used.iter().map(ParquetFile::labels).collect::<Result<Vec<_>, _>>()?;
    let texts = columns.iter().flatten().any(|column| matches!(column, LabelColumn::Texts(_)));
    let named = used.iter().find_map(ParquetFile::class_names).filter(|_| !texts);
    let other_columns = match named {
        Some(_) => Vec::new(),
        None => others.iter().map(ParquetFile::labels).collect::<Result<Vec<_>, _>>()?,
    };
    let files = used.iter().chain(others).zip(columns.iter().chain(&other_columns));
    let classes = match named {
        Some(names) => names,
        None if texts => distinct_texts(files)?,
        None => numbers(files)?,
    };
    let mut labels = Vec::new();
    for (file, column) in used.iter().zip(&columns) {
        match column {
            None => labels.extend(std::iter::repeat_n(None, file.rows())),
            Some(LabelColumn::Integers(values)) => {
                for value in values {
                    labels.push(place_of_number(file, *value, classes.len())?);
                }
            }
            Some(LabelColumn::Texts(values)) => labels.extend(values.iter().map(|value| {
                let text = text_of(value.as_ref()?);
                u32::try_from(classes.binary_search(&text).ok()?).ok()
            })),
        }
    }
    Ok((classes, labels))
}

type WithLabels<'a> = (&'a ParquetFile, &'a Option<LabelColumn>);

/// Every text that occurs, sorted.
fn distinct_texts<'a>(files: impl Iterator<Item = WithLabels<'a>>) -> Result<Vec<String>, DataError> {
    let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
    for (file, column) in files {
        match column {
            Some(LabelColumn::Texts(values)) => seen.extend(values.iter().flatten().map(ByteArray::data)),
            Some(LabelColumn::Integers(_)) => {
                return Err(malformed(file, "labels that are text, as in the other files", "numbers"));
            }
            None => {}
        }
    }
    let classes: BTreeSet<String> = seen.into_iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    Ok(classes.into_iter().collect())
}

/// `0`, `1`, … up to the largest number that occurs.
fn numbers<'a>(files: impl Iterator<Item = WithLabels<'a>>) -> Result<Vec<String>, DataError> {
    let mut classes = 0;
    for (file, column) in files {
        match column {
            Some(LabelColumn::Integers(values)) => {
                let last = values.iter().flatten().copied().max().unwrap_or(NO_LABEL);
                if last >= MAX_CLASSES {
                    return Err(malformed(file, format!("labels below {MAX_CLASSES}"), last));
                }
                classes = classes.max(last + 1);
            }
            Some(LabelColumn::Texts(_)) => {
                return Err(malformed(file, "labels that are numbers, as in the other files", "text"));
            }
            None => {}
        }
    }
    Ok((0..classes).map(|class| class.to_string()).collect())
}

fn place_of_number(file: &ParquetFile, value: Option<i64>, classes: usize) -> Result<Option<u32>, DataError> {
    match value {
        None | Some(NO_LABEL) => Ok(None),
        Some(value) => match u32::try_from(value) {
            Ok(label) if (label as usize) < classes => Ok(Some(label)),
            _ => Err(malformed(file, format!("labels from 0 to {}, or -1 for none", classes.saturating_sub(1)), value)),
        },
    }
}

fn text_of(value: &ByteArray) -> String {
    String::from_utf8_lossy(value.data()).into_owned()
}

fn malformed(file: &ParquetFile, expected: impl Into<String>, got: impl ToString) -> DataError {
    DataError::Malformed { path: file.path.clone(), expected: expected.into(), got: got.to_string() }
}
