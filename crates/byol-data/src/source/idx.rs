//! IDX files, the form of MNIST and its kin (<https://yann.lecun.org/exdb/mnist/>), as they are or with gz.
//!
//! Big-endian: two zero bytes, the type (8 = bytes), the number of dimensions, the dimensions, the data.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::part::{PartReader, part_path};
use super::records::{Pixels, Records};
use crate::DataError;
use crate::limits::check_memory;
use crate::splits::{Layout, choose};

/// Whether a file of this name belongs to an IDX set.
pub(crate) fn is_part(base: &str) -> bool {
    base.contains("idx3-ubyte") || base.contains("idx1-ubyte")
}

/// Whether a file of this name holds IDX pictures.
pub(crate) fn holds_pictures(base: &str) -> bool {
    base.contains("idx3-ubyte")
}

/// Whether these are the first bytes of an IDX file of bytes with more dimensions than labels have.
pub(crate) fn looks_like_idx(head: &[u8]) -> bool {
    matches!(head, [0, 0, 8, 2..=4, ..])
}

/// Whether these are the first bytes of IDX labels.
pub(crate) fn looks_like_labels(head: &[u8]) -> bool {
    head.starts_with(&[0, 0, 8, 1])
}

/// The names under which the labels of `images` may lie: beside it, with or without gz.
pub(crate) fn label_names(images: &str) -> [String; 2] {
    let plain = images.strip_suffix(".gz").unwrap_or(images);
    let (folder, base) = plain.rsplit_once('/').map_or(("", plain), |(folder, base)| (folder, base));
    let base = base.replace("images", "labels").replace("idx3", "idx1");
    let labels = if folder.is_empty() { base } else { format!("{folder}/{base}") };
    [labels.clone(), labels + ".gz"]
}

/// Opens the files `names` of a set, of which at least one holds pictures; `read` gives the content of one.
pub(crate) fn open(
    path: &Path,
    names: &[String],
    split: Option<&str>,
    max_memory_bytes: u64,
    read: PartReader<'_>,
) -> Result<(Records, Layout), DataError> {
    let (images, split, splits_present) = choose_images(path, names, split)?;
    let load = |name: &str| unpack(path, name, read(name)?, max_memory_bytes);
    let records = records_of(path, images, load(images)?)?;
    let labels_file = label_names(images).into_iter().find(|name| name != images && names.contains(name));
    let labels = match labels_file {
        Some(name) => labels_of(path, &name, &load(&name)?, records.len())?,
        None => vec![None; records.len()],
    };
    let classes = labels.iter().flatten().max().map_or(0, |&last| last + 1);
    let classes = (0..classes).map(|class| class.to_string()).collect();
    let images = (0u32..).take(labels.len()).collect();
    Ok((records, Layout { split, splits_present, classes, images, labels, notes: Vec::new() }))
}

/// The one file to read pictures from, its split, and the splits there are.
fn choose_images<'a>(
    path: &Path,
    names: &'a [String],
    wish: Option<&str>,
) -> Result<(&'a str, Option<String>, Vec<String>), DataError> {
    // Where a file lies both with and without gz, the plain one is read: it sorts first.
    let mut candidates: BTreeMap<&str, &str> = BTreeMap::new();
    let mut sorted: Vec<&String> = names.iter().filter(|name| !is_part(name) || holds_pictures(name)).collect();
    sorted.sort();
    for name in sorted {
        candidates.entry(name.strip_suffix(".gz").unwrap_or(name)).or_insert(name);
    }
    let files: Vec<&str> = candidates.into_values().collect();
    let of_split = |split: &str| -> Vec<&str> {
        files.iter().copied().filter(|name| split_of(name).is_some_and(|of| of == split)).collect()
    };
    let present: Vec<String> =
        ["train", "test"].into_iter().filter(|split| !of_split(split).is_empty()).map(str::to_owned).collect();
    let (files, split) = if present.is_empty() && wish.is_none() {
        (files, None)
    } else {
        let place = choose(&present, wish).map_err(|none| DataError::UnknownSplit {
            path: path.into(),
            split: wish.unwrap_or_default().into(),
            present: none.0,
        })?;
        (of_split(&present[place]), Some(present[place].clone()))
    };
    match files[..] {
        [only] => Ok((only, split, present)),
        _ => Err(DataError::Unsupported {
            path: path.into(),
            found: format!("several IDX picture files ({}); give one of them", files.join(", ")),
        }),
    }
}

/// `train-images…` is train, `t10k-images…` and `test-images…` are test.
fn split_of(name: &str) -> Option<&'static str> {
    let (before, _) = name.rsplit('/').next()?.split_once("images")?;
    let before = before.trim_end_matches(['-', '_', '.']);
    match () {
        () if before.ends_with("train") => Some("train"),
        () if before.ends_with("t10k") || before.ends_with("test") => Some("test"),
        () => None,
    }
}

fn unpack(path: &Path, name: &str, bytes: Vec<u8>, max_memory_bytes: u64) -> Result<Vec<u8>, DataError> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let gz = flate2::bufread::MultiGzDecoder::new(&bytes[..]);
    gz.take(max_memory_bytes.saturating_add(1))
        .read_to_end(&mut unpacked)
        .map_err(|error| DataError::BrokenArchive { path: part_path(path, name), reason: error.to_string() })?;
    check_memory(path, unpacked.len() as u64, max_memory_bytes)?;
    Ok(unpacked)
}

fn records_of(path: &Path, name: &str, mut bytes: Vec<u8>) -> Result<Records, DataError> {
    let [_, height_px, width_px] = dimensions(path, name, &bytes)?;
    if height_px == 0 || width_px == 0 {
        return Err(malformed(path, name, "pictures of at least one pixel", format!("{width_px}×{height_px} pixels")));
    }
    bytes.drain(..16);
    let file = name.rsplit('/').next().unwrap_or(name).to_owned();
    let record_bytes = height_px * width_px;
    Ok(Records { width_px, height_px, pixels: Pixels::Grey, record_bytes, label_bytes: 0, files: vec![(file, bytes)] })
}

fn labels_of(path: &Path, name: &str, bytes: &[u8], images: usize) -> Result<Vec<Option<u32>>, DataError> {
    let [count] = dimensions(path, name, bytes)?;
    if count != images {
        return Err(malformed(path, name, format!("{images} labels, one per picture"), format!("{count} labels")));
    }
    Ok(bytes[8..].iter().map(|&label| Some(u32::from(label))).collect())
}

/// Checks the header and the length of an IDX file of `D` dimensions; returns them.
fn dimensions<const D: usize>(path: &Path, name: &str, bytes: &[u8]) -> Result<[usize; D], DataError> {
    let magic = [0, 0, 8, D as u8];
    let header_bytes = 4 + 4 * D;
    if bytes.len() < header_bytes || bytes[..4] != magic {
        let got = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let expected = format!("an IDX file of bytes with {D} dimension(s), starting 00 00 08 {D:02x}");
        return Err(malformed(path, name, expected, format!("{} bytes starting \"{got}\"", bytes.len())));
    }
    let mut sizes = [0; D];
    for (size, field) in sizes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *size = field.iter().fold(0, |value, &byte| value << 8 | usize::from(byte));
    }
    let data_bytes = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if data_bytes != Some(bytes.len() - header_bytes) {
        let expected = format!("{sizes:?} bytes of data, as its header says");
        return Err(malformed(path, name, expected, format!("{} bytes", bytes.len() - header_bytes)));
    }
    Ok(sizes)
}

fn malformed(path: &Path, name: &str, expected: impl Into<String>, got: String) -> DataError {
    DataError::Malformed { path: part_path(path, name), expected: expected.into(), got }
}
