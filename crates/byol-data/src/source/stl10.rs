//! STL-10 in its binary form (<https://cs.stanford.edu/~acoates/stl10/>): 96 × 96 pixels in planes of red, green and
//! blue, each plane column by column, as MATLAB stores them. Labels are bytes from 1 to 10 in a file of their own.
//!
//! Files are read in place, since `unlabeled_X.bin` has 2.7 GB.

use std::path::Path;

use super::listing::base_text;
use super::part::part_path;
use super::pixels::{Arrangement, Depth, Form, Pixels, Stored};
use crate::DataError;
use crate::splits::{Layout, NoSuchSplit, choose};

const FORM: Form =
    Form { width_px: 96, height_px: 96, channels: 3, arrangement: Arrangement::PlanesOfColumns, depth: Depth::U8 };
const PICTURE_BYTES: u64 = 96 * 96 * 3;
const CLASSES: usize = 10;
const CLASS_NAMES: &str = "class_names.txt";

/// Picture file, label file, split.
const FILES: [(&str, Option<&str>, &str); 3] = [
    ("train_X.bin", Some("train_y.bin"), "train"),
    ("test_X.bin", Some("test_y.bin"), "test"),
    ("unlabeled_X.bin", None, "unlabeled"),
];

/// Opens one file of a set, by its name.
pub(crate) type Opener<'a> = &'a mut dyn FnMut(&str) -> Result<Stored, DataError>;

/// Whether a file of this name belongs to STL-10.
pub(crate) fn is_part(base: &str) -> bool {
    base == CLASS_NAMES || FILES.iter().any(|&(pictures, labels, _)| base == pictures || Some(base) == labels)
}

/// Whether a file of this name holds STL-10 pictures.
pub(crate) fn holds_pictures(base: &str) -> bool {
    FILES.iter().any(|&(pictures, ..)| base == pictures)
}

/// The files that belong to the picture file `base` and may lie beside it.
pub(crate) fn beside(base: &str) -> Vec<&'static str> {
    let labels = FILES.iter().filter(|&&(pictures, ..)| pictures == base).filter_map(|&(_, labels, _)| labels);
    labels.chain([CLASS_NAMES]).collect()
}

/// Opens the files `names` of a set, of which at least one holds pictures.
pub(crate) fn open(
    path: &Path,
    names: &[String],
    split: Option<&str>,
    open: Opener<'_>,
) -> Result<(Pixels, Layout), DataError> {
    let find = |wanted: &str| names.iter().find(|name| base_text(name) == wanted);
    let present: Vec<_> =
        FILES.iter().filter_map(|&(file, labels, split)| Some((file, find(file)?, labels, split))).collect();
    let splits_present: Vec<String> = present.iter().map(|&(.., split)| split.to_owned()).collect();
    let place = choose(&splits_present, split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })?;
    let (file, name, labels, split) = present[place];
    let malformed =
        |name: &str, expected: String, got: String| DataError::Malformed { path: part_path(path, name), expected, got };
    let stored = open(name)?;
    let bytes = stored.len();
    if bytes == 0 || !bytes.is_multiple_of(PICTURE_BYTES) {
        let expected = format!("STL-10 pictures of {PICTURE_BYTES} bytes each");
        return Err(malformed(name, expected, format!("{bytes} bytes, which is no whole number of them")));
    }
    let count = (bytes / PICTURE_BYTES) as usize;
    if u32::try_from(count).is_err() {
        return Err(DataError::TooManyImages { path: path.into(), count });
    }
    let mut read = |name: &str, most: u64| {
        open(name)?.start(most).map_err(|source| DataError::Unreadable { path: part_path(path, name), source })
    };
    let labels = match labels.and_then(find) {
        None => vec![None; count],
        Some(name) => {
            let bytes = read(name, count as u64 + 1)?;
            if bytes.len() != count {
                let got = if bytes.len() > count { "more".into() } else { bytes.len().to_string() };
                return Err(malformed(name, format!("{count} labels, one per picture"), got));
            }
            let label = |&byte: &u8| match byte {
                1..=10 => Ok(Some(u32::from(byte) - 1)),
                other => Err(malformed(name, format!("labels from 1 to {CLASSES}"), other.to_string())),
            };
            bytes.iter().map(label).collect::<Result<_, _>>()?
        }
    };
    let class_names = match find(CLASS_NAMES) {
        Some(name) => read(name, 1 << 16)?,
        None => Vec::new(),
    };
    let text = String::from_utf8_lossy(&class_names);
    let class_names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let classes = match class_names.len() {
        CLASSES => class_names,
        _ => (1..=CLASSES).map(|class| class.to_string()).collect(),
    };
    let images = (0u32..).take(count).collect();
    Ok((
        Pixels { kind: "STL-10 files", name: file.into(), stored, start: 0, form: FORM },
        Layout { split: Some(split.into()), splits_present, classes, images, labels, notes: Vec::new() },
    ))
}
