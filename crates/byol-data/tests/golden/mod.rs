//! What the usual programs read from the files in `tests/data/sources`; see `tests/golden/sources.py`.

use std::fs;
use std::path::{Path, PathBuf};

use byol_data::{DataConfig, Dataset, Samples};
use serde_json::Value;

/// A committed file.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources").join(name)
}

/// Compares `dataset` with what is expected of `key`: names, labels, and of each picture a row, a column and the sum.
pub fn check(dataset: &Dataset, key: &str) {
    let text = fs::read_to_string(file("expected.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let expected = &all[key];
    assert!(expected.is_object(), "no entry {key}");
    let names: Vec<Value> = (0..dataset.len()).map(|index| dataset.name(index).into()).collect();
    assert_eq!(Value::from(names), expected["names"], "{key}");
    for index in 0..dataset.len() {
        let label = &expected["labels"][index];
        match dataset.label(index) {
            Some(place) if label.is_string() => assert_eq!(dataset.classes()[place as usize], label.as_str().unwrap()),
            got => assert_eq!(got.map(u64::from), label.as_u64(), "label {index} of {key}"),
        }
        match &expected["pictures"][index] {
            Value::Null => assert!(dataset.load(index).unwrap_err().reason.contains("null"), "{key} {index}"),
            picture => check_picture(dataset, index, &expected["size"], picture, key),
        }
    }
}

fn check_picture(dataset: &Dataset, index: usize, size: &Value, expected: &Value, key: &str) {
    let image = dataset.load(index).unwrap_or_else(|bad| panic!("{key}: {bad:?}"));
    let (width, height, channels) = (image.width_px(), image.height_px(), image.channels());
    assert_eq!(*size, Value::from(vec![width, height, channels]), "{key} {index}");
    let samples: Vec<u64> = match image.samples() {
        Samples::U8(samples) => samples.iter().map(|&sample| sample.into()).collect(),
        Samples::U16(samples) => samples.iter().map(|&sample| sample.into()).collect(),
    };
    let row = samples[5 * width * channels..][..width * channels].to_vec();
    let column =
        (0..height).flat_map(|y| samples[(y * width + 7) * channels..][..channels].to_vec()).collect::<Vec<_>>();
    assert_eq!(Value::from(row), expected["row_5"], "row 5 of {key} {index}");
    assert_eq!(Value::from(column), expected["column_7"], "column 7 of {key} {index}");
    assert_eq!(Value::from(samples.iter().sum::<u64>()), expected["sum"], "sum of {key} {index}");
}

/// Opens `path` and loads everything: the number of pictures, or the first error.
#[allow(dead_code, reason = "not every test file damages its files")]
pub fn read_all(path: &Path, config: &DataConfig) -> Result<usize, String> {
    let dataset = Dataset::open(path, None, config).map_err(|error| error.to_string())?;
    for index in 0..dataset.len() {
        dataset.load(index).map_err(|bad| bad.reason)?;
    }
    Ok(dataset.len())
}

/// Reads `bytes` as a file called `name`, cut short at and changed in every `step`-th byte: there may be an error or
/// another picture, but no panic.
#[allow(dead_code, reason = "not every test file damages its files")]
pub fn damage(name: &str, bytes: &[u8], step: usize, config: &DataConfig) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join(name);
    // A new file each time: some file systems flush one that is overwritten to the disk.
    let write = |bytes: &[u8]| {
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
    };
    for length in (0..bytes.len()).step_by(step) {
        write(&bytes[..length]);
        assert!(read_all(&path, config).is_err(), "{name} cut short at {length} of {}", bytes.len());
    }
    let mut damaged = bytes.to_vec();
    for place in (0..bytes.len()).step_by(step) {
        for change in [0xFF, 0x80, 0x01] {
            damaged[place] ^= change;
            write(&damaged);
            let _ = read_all(&path, config);
            damaged[place] = bytes[place];
        }
    }
}
