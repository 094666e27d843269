//! Which column of a table holds what, by the names people give them; one set of rules for lists, Parquet and Arrow files,
//! arrays and metadata files.
//!
//! A name is compared exactly, then without regard to case, `_`, `-`, spaces and a plural's `s`. `data.label_column`,
//! `data.image_key` and `data.split_column` go before all of this.

use std::path::Path;

use super::values::{Classes, NoClasses, Reading, Value, Values};
use crate::splits::{self, Part};
use crate::{DataConfig, DataError};

/// The columns of paths or pictures, best first.
pub(crate) const IMAGE_NAMES: [&str; 22] = [
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "img",
    "image_path",
    "img_path",
    "image_file",
    "img_file",
    "image_filename",
    "image_name",
    "img_name",
    "picture",
    "photo",
    "pic",
    "jpg",
    "png",
    "image_id",
    "id_code",
    "name",
    "id",
];

/// The columns of encoded pictures, best first.
const PICTURE_NAMES: [&str; 10] =
    ["image", "img", "picture", "photo", "jpg", "jpeg", "png", "image_bytes", "pixel_values", "bytes"];

/// The columns of labels, best first.
pub(crate) const LABEL_NAMES: [&str; 21] = [
    "label",
    "class",
    "cls",
    "target",
    "category",
    "fine_label",
    "class_name",
    "label_name",
    "category_name",
    "class_label",
    "label_text",
    "class_id",
    "label_id",
    "category_id",
    "class_idx",
    "label_idx",
    "class_index",
    "label_index",
    "ground_truth",
    "gt",
    "target_class",
];

/// The columns of splits, best first. All but the first are splits only where their values are names of splits.
const SPLIT_NAMES: [&str; 7] = ["split", "phase", "subset", "set", "fold", "partition", "usage"];

/// Gives the values of a column by its place, if it holds single values.
pub(crate) type Read<'a> = &'a mut dyn FnMut(usize) -> Result<Option<Values>, DataError>;

/// A name without case, separators and the plural's `s`.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase);
    let plain: String = kept.collect();
    match plain.as_str() {
        "classes" => "class".into(),
        "categories" => "category".into(),
        // Words that end in s by themselves.
        "class" | "cls" => plain,
        _ => plain.strip_suffix('s').filter(|rest| rest.len() > 1).map(str::to_owned).unwrap_or(plain),
    }
}

/// The place among `columns` of the best of `names`.
pub(crate) fn named(columns: &[String], names: &[&str]) -> Option<usize> {
    let exact = names.iter().find_map(|name| columns.iter().position(|column| column == name));
    let alike = || {
        let columns: Vec<String> = columns.iter().map(|column| plain(column)).collect();
        names.iter().find_map(|name| columns.iter().position(|column| *column == plain(name)))
    };
    exact.or_else(alike)
}

/// The place of the column that the person asked for by `key`.
pub(crate) fn wished(path: &Path, columns: &[String], key: &str, wish: &str) -> Result<usize, DataError> {
    let exact = columns.iter().position(|column| column == wish);
    exact.or_else(|| columns.iter().position(|column| column.eq_ignore_ascii_case(wish))).ok_or_else(|| {
        DataError::NoColumn {
            path: path.into(),
            key: key.into(),
            name: wish.into(),
            present: if columns.is_empty() { "none has a name".into() } else { columns.join(", ") },
        }
    })
}

/// The column of splits and what its values stand for.
pub(crate) fn split_column(
    path: &Path,
    columns: &[String],
    config: &DataConfig,
    values: Read<'_>,
) -> Result<Option<usize>, DataError> {
    if let Some(wish) = &config.split_column {
        return wished(path, columns, "split_column", wish).map(Some);
    }
    for name in SPLIT_NAMES {
        let Some(place) = named(columns, &[name]) else { continue };
        let is_split = |value: &Value| {
            let name = value.name();
            Part::of(&name).is_some() || splits::mapped(&name, &config.split_map).is_some()
        };
        let Some(values) = values(place)? else { continue };
        let words = !values.distinct().is_empty() && values.distinct().iter().all(is_split);
        if name == "split" || words {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The column of encoded pictures in `what`, as a place among `structs` and then `plain`, and the names of others that may be
/// meant: the one called `wish`; else one of `structs`, `{bytes, path}` as `datasets.Image` writes it, or of `plain` bytes, called
/// `image` or alike, else the only one of the first kind, else the only one of the second. `none` says what there is otherwise.
pub(crate) fn pictures(
    path: &Path,
    what: &str,
    structs: &[String],
    plain: &[String],
    wish: Option<&str>,
    none: &dyn Fn() -> String,
) -> Result<(usize, Vec<String>), DataError> {
    let all: Vec<String> = structs.iter().chain(plain).cloned().collect();
    let unsupported = |found: String| DataError::Unsupported { path: path.into(), found };
    if let Some(wish) = wish {
        return wished(path, &all, "image_key", wish).map(|place| (place, Vec::new()));
    }
    let candidates = if structs.is_empty() { plain } else { structs };
    let place = match (named(&all, &PICTURE_NAMES), candidates) {
        (Some(place), _) => place,
        // Plain ones come after no structs.
        (None, [_]) => 0,
        (None, []) => return Err(unsupported(format!("{what} without a column of pictures ({})", none()))),
        (None, several) => {
            return Err(unsupported(format!(
                "{what} with several columns that may be the pictures ({}); choose one with data.image_key \
                 (--image-key), or rename one of them to \"image\"",
                several.join(", ")
            )));
        }
    };
    let others = all.iter().enumerate().filter(|&(other, _)| other != place).map(|(_, name)| name.clone()).collect();
    Ok((place, others))
}

/// What the person calls the split `name`.
pub(crate) fn split_name(name: &str, config: &DataConfig) -> String {
    splits::mapped(name, &config.split_map).unwrap_or(name).to_owned()
}

/// The column that has the names of the classes whose numbers are in the column `label`, such as `class_name` beside
/// `class`: for each number there is one name and for each name one number.
pub(crate) fn names_beside(columns: &[String], label: usize, values: Read<'_>) -> Result<Option<usize>, DataError> {
    let Some(numbers) = values(label)? else { return Ok(None) };
    let number = |value: &Value| matches!(value, Value::Number(_)) || value.name().parse::<f64>().is_ok();
    if numbers.distinct().is_empty() || !numbers.distinct().iter().all(number) {
        return Ok(None);
    }
    let stem = plain(&columns[label]);
    let stem = stem.strip_suffix("id").or(stem.strip_suffix("idx")).or(stem.strip_suffix("index")).unwrap_or(&stem);
    let stems = [stem, "class", "label", "category"];
    let names = stems.iter().flat_map(|stem| ["name", "text", "str", ""].map(|end| format!("{stem}{end}")));
    for wanted in names {
        let place = columns.iter().position(|column| plain(column) == wanted);
        let Some(place) = place.filter(|&place| place != label) else { continue };
        let Some(texts) = values(place)? else { continue };
        let mut of_number = std::collections::HashMap::new();
        let one_name = (0..numbers.len()).all(|row| match (numbers.get(row), texts.get(row)) {
            (Some(number), Some(text)) => *of_number.entry(number).or_insert(text) == text,
            (None, None) => true,
            _ => false,
        });
        let text = |value: &Value| matches!(value, Value::Text(text) if text.parse::<f64>().is_err());
        if one_name && of_number.len() == texts.distinct().len() && texts.distinct().iter().all(text) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// What is said of the column that the labels came from and of those that were left out, or nothing if it is the plain case.
pub(crate) fn note(label: Option<&str>, guessed: bool, left_out: &[&str]) -> Option<String> {
    let out = |text: &str| match left_out {
        [] => String::new(),
        _ => format!("{text}{}", left_out.join(", ")),
    };
    match label {
        None if left_out.is_empty() => None,
        None => Some(format!(
            "no labels are read: none of the columns {} is known to hold them; --label-column NAME reads one",
            left_out.join(", ")
        )),
        Some(label) if guessed => Some(format!(
            "labels from the column \"{label}\", a guess by its values; --label-column NAME reads another{}",
            out("; columns left out: ")
        )),
        Some(label) if label != "label" || !left_out.is_empty() => {
            Some(format!("labels from the column \"{label}\"{}", out("; columns left out: ")))
        }
        Some(_) => None,
    }
}

/// The classes of a column, or none with a note; an error if the person asked for just this column.
pub(crate) fn classes(
    path: &Path,
    values: &Values,
    reading: &Reading,
    notes: &mut Vec<String>,
) -> Result<Classes, DataError> {
    let column = reading.column;
    match values.classes(reading) {
        Ok(classes) => return Ok(classes),
        Err(NoClasses::Never(why) | NoClasses::Doubtful(why)) if reading.insisted => {
            return Err(DataError::NotClasses { path: path.into(), column: column.into(), why });
        }
        Err(NoClasses::Never(why)) => notes.push(format!("the column \"{column}\" is not used as labels: {why}")),
        Err(NoClasses::Doubtful(why)) => {
            notes
                .push(format!("the column \"{column}\" is not used as labels: {why}; --label-column {column} insists"));
        }
    }
    Ok(Classes { names: Vec::new(), labels: vec![None; values.len()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn columns_are_found_by_the_names_people_give_them() {
        for (names, image, label) in [
            (&["path", "label"][..], Some(0), Some(1)),
            (&["Labels", "width", "File Name"], Some(2), Some(0)),
            (&["img_path", "Classes", "id"], Some(0), Some(1)),
            (&["id_code", "TARGET"], Some(0), Some(1)),
            (&["cls", "filepaths"], Some(1), Some(0)),
            (&["label", "Label"], None, Some(0)),
            (&["categories", "image-id"], Some(1), Some(0)),
            (&["width", "species"], None, None),
        ] {
            let columns = columns(names);
            assert_eq!((named(&columns, &IMAGE_NAMES), named(&columns, &LABEL_NAMES)), (image, label), "{names:?}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_an_error_that_lists_those_that_are() {
        let error =
            wished(Path::new("a.csv"), &columns(&["path", "kind"]), "label_column", "sort").unwrap_err().to_string();
        for words in ["a.csv", "sort", "path, kind", "label_column", "--label-column"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn notes_tell_guesses_and_what_was_left_out() {
        assert_eq!(note(Some("label"), false, &[]), None);
        assert_eq!(
            note(Some("target"), false, &["width"]).unwrap(),
            "labels from the column \"target\"; columns left out: width"
        );
        assert!(note(Some("species"), true, &[]).unwrap().contains("a guess"));
        assert!(note(None, false, &["a", "b"]).unwrap().contains("a, b"));
    }
}
