//! CIFAR-10 and CIFAR-100 in their binary form (<https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A record is the label (CIFAR-10: one byte; CIFAR-100: coarse, then fine, of which the fine one is used) and
//! 32 × 32 pixels in planes of red, green and blue.

use std::path::Path;

use super::listing::base_text;
use super::part::{PartReader, part_path};
use super::records::{Pixels, Records};
use crate::DataError;
use crate::splits::{Layout, choose};

const SIDE_PX: usize = 32;
const PIXEL_BYTES: usize = SIDE_PX * SIDE_PX * 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cifar10,
    Cifar100,
}

impl Kind {
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn record_bytes(self) -> usize {
        self.label_bytes() + PIXEL_BYTES
    }

    fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    fn class_names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }
}

/// Whether a file of this name belongs to a CIFAR set.
pub(crate) fn is_part(base: &str) -> bool {
    known(base).is_some() || [Kind::Cifar10, Kind::Cifar100].iter().any(|kind| kind.class_names_file() == base)
}

/// Whether a file of this name holds CIFAR pictures.
pub(crate) fn holds_pictures(base: &str) -> bool {
    known(base).is_some()
}

/// Whether a file of a name we do not know has the length of a CIFAR file.
pub(crate) fn has_length(bytes: u64) -> bool {
    bytes > 0 && [Kind::Cifar10, Kind::Cifar100].iter().any(|kind| bytes.is_multiple_of(kind.record_bytes() as u64))
}

fn known(base: &str) -> Option<(Kind, &'static str)> {
    match base {
        "train.bin" => Some((Kind::Cifar100, "train")),
        "test.bin" => Some((Kind::Cifar100, "test")),
        "test_batch.bin" => Some((Kind::Cifar10, "test")),
        _ => {
            let number = base.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
            number.bytes().all(|byte| byte.is_ascii_digit()).then_some((Kind::Cifar10, "train"))
        }
    }
}

/// Opens the files `names` of a set, of which at least one holds pictures; `read` gives the content of one.
pub(crate) fn open(
    path: &Path,
    names: &[String],
    split: Option<&str>,
    read: PartReader<'_>,
) -> Result<(Records, Layout), DataError> {
    let mut files: Vec<_> =
        names.iter().filter_map(|name| Some((name, known(base_text(name))?))).map(|(n, (k, s))| (n, k, s)).collect();
    let splits_present: Vec<String> = ["train", "test"]
        .into_iter()
        .filter(|split| files.iter().any(|(_, _, of)| of == split))
        .map(str::to_owned)
        .collect();
    let unknown = |present: Vec<String>| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    };
    let chosen = if files.is_empty() {
        if split.is_some() {
            return Err(unknown(Vec::new()));
        }
        None
    } else {
        let place = choose(&splits_present, split).map_err(|none| unknown(none.0))?;
        files.retain(|(_, _, of)| *of == splits_present[place]);
        Some(splits_present[place].clone())
    };
    let (kind, contents) = match files.first() {
        Some(&(_, kind, _)) => {
            files.retain(|(_, of, _)| *of == kind);
            let contents = files.iter().map(|(name, ..)| Ok(((*name).clone(), read(name)?)));
            (kind, contents.collect::<Result<Vec<_>, DataError>>()?)
        }
        None => {
            let contents = names.iter().map(|name| Ok((name.clone(), read(name)?)));
            let contents = contents.collect::<Result<Vec<_>, DataError>>()?;
            let is_10 = contents.iter().all(|(_, bytes)| bytes.len().is_multiple_of(Kind::Cifar10.record_bytes()));
            (if is_10 { Kind::Cifar10 } else { Kind::Cifar100 }, contents)
        }
    };
    let class_names = names.iter().find(|name| base_text(name) == kind.class_names_file());
    let classes = match class_names {
        Some(name) => class_names_of(kind, &read(name)?),
        None => (0..kind.classes()).map(|class| class.to_string()).collect(),
    };
    let records = records_of(path, kind, contents)?;
    let labels = labels_of(path, kind, &records)?;
    let images = (0u32..).take(labels.len()).collect();
    Ok((records, Layout { split: chosen, splits_present, classes, images, labels, notes: Vec::new() }))
}

fn records_of(path: &Path, kind: Kind, contents: Vec<(String, Vec<u8>)>) -> Result<Records, DataError> {
    for (name, bytes) in &contents {
        if bytes.is_empty() || !bytes.len().is_multiple_of(kind.record_bytes()) {
            return Err(DataError::Malformed {
                path: part_path(path, name),
                expected: format!("{kind:?} records of {} bytes each", kind.record_bytes()),
                got: format!("{} bytes, which is no whole number of them", bytes.len()),
            });
        }
    }
    let files = contents.into_iter().map(|(name, bytes)| (base_text(&name).to_owned(), bytes)).collect();
    Ok(Records {
        width_px: SIDE_PX,
        height_px: SIDE_PX,
        pixels: Pixels::RgbPlanes,
        record_bytes: kind.record_bytes(),
        label_bytes: kind.label_bytes(),
        files,
    })
}

/// The last label byte of each record: the only one, or the fine one.
fn labels_of(path: &Path, kind: Kind, records: &Records) -> Result<Vec<Option<u32>>, DataError> {
    let label = |index| {
        let label = records.record(index)[kind.label_bytes() - 1];
        if usize::from(label) < kind.classes() {
            return Ok(Some(u32::from(label)));
        }
        Err(DataError::Malformed {
            path: part_path(path, &records.name(index)),
            expected: format!("a label below {}", kind.classes()),
            got: label.to_string(),
        })
    };
    (0..records.len()).map(label).collect()
}

fn class_names_of(kind: Kind, text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == kind.classes() { names } else { (0..kind.classes()).map(|class| class.to_string()).collect() }
}
