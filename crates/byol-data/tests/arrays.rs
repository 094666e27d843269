//! Pictures in NumPy arrays, written by NumPy.

mod golden;

use std::fs;
use std::path::Path;

use byol_data::{DataConfig, DataError, Dataset, Samples, ValueRange};
use golden::{check, file};
use tempfile::TempDir;

fn with_channels(channels: usize) -> DataConfig {
    DataConfig { channels, ..DataConfig::default() }
}

fn open(path: &Path, split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open(path, split, &DataConfig::default())
}

/// An array file of the given header and data.
fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn npy_files_are_what_numpy_reads() {
    for (name, channels) in
        [("u8", 3), ("u16", 3), ("u16_big_endian", 3), ("grey", 1), ("five", 5), ("five_16", 5), ("nchw", 3)]
    {
        let key = format!("arrays/{name}.npy");
        check(&Dataset::open(&file(&key), None, &with_channels(channels)).unwrap(), &key);
    }
    assert_eq!(open(&file("arrays/u8.npy"), None).unwrap().description(), "NumPy array, 5 pictures, 3 classes");
}

#[test]
fn npz_files_are_what_numpy_reads() {
    for (name, array, split) in [
        ("stored", "images", None),
        ("deflated", "images", None),
        ("splits", "x_train", None),
        ("splits", "x_train", Some("train")),
        ("splits", "x_test", Some("test")),
    ] {
        let key = format!("arrays/{name}.npz");
        let dataset = open(&file(&key), split).unwrap();
        check(&dataset, &format!("{key}/{array}"));
        assert_eq!(dataset.classes().len(), 3, "{key} {split:?}");
    }
    let message = open(&file("arrays/splits.npz"), Some("val")).unwrap_err().to_string();
    assert!(message.contains("one of train, test"), "{message}");
}

#[test]
fn samples_keep_their_depth_and_channels_are_converted() {
    let grey = open(&file("arrays/grey.npy"), None).unwrap().load(0).unwrap();
    assert_eq!((grey.channels(), grey.samples().len()), (3, 6 * 8 * 3));
    let deep = Dataset::open(&file("arrays/u16.npy"), None, &with_channels(1)).unwrap().load(0).unwrap();
    assert!(matches!(deep.samples(), Samples::U16(samples) if samples.len() == 6 * 8));
    let bad = open(&file("arrays/five.npy"), None).unwrap().load(0).unwrap_err();
    assert!(bad.reason.contains("5 channel(s)") && bad.reason.contains("data.channels"), "{bad:?}");
}

#[test]
fn a_folder_of_one_array_per_picture_has_splits_and_labels_from_its_folders() {
    let path = file("array_pictures");
    for (split, names) in [("train", vec!["train/a/1.npy", "train/b/2.npy"]), ("test", vec!["test/b/3.npy"])] {
        let dataset = Dataset::open(&path, Some(split), &with_channels(5)).unwrap();
        assert_eq!((dataset.len(), dataset.classes()), (names.len(), &["a".to_owned(), "b".to_owned()][..]));
        for (place, name) in names.iter().enumerate() {
            check(&dataset.subset(&[place as u32]), &format!("array_pictures/{name}"));
        }
    }
    // One that cannot be used is a bad picture among the others.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.npy"), npy("|u1", "(2, 3)", &[0; 6])).unwrap();
    fs::write(folder.path().join("b.npy"), npy("<f4", "(2, 3)", &[0; 24])).unwrap();
    fs::write(folder.path().join("c.npy"), npy("|u1", "(2, 3)", &[0; 5])).unwrap();
    fs::write(folder.path().join("d.npy"), b"no array").unwrap();
    let dataset = open(folder.path(), None).unwrap();
    assert_eq!(dataset.load(0).unwrap().width_px(), 3);
    for (index, words) in [(1, "data.value_range = ["), (2, "ends before"), (3, "not a picture")] {
        let bad = dataset.load(index).unwrap_err();
        assert!(bad.reason.contains(words), "{bad:?}");
    }
}

#[test]
fn a_folder_of_one_array_or_one_per_split_is_a_data_set() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("X_train.npy", &npy("|u1", "(2, 1, 3)", &[1, 2, 3, 4, 5, 6]));
    write("y_train.npy", &npy("<i8", "(2,)", &[&1i64.to_le_bytes()[..], &0i64.to_le_bytes()].concat()));
    let train = open(folder.path(), None).unwrap();
    assert_eq!((train.len(), train.label(0), train.split()), (2, Some(1), Some("train")));
    assert_eq!(train.load(1).unwrap().to_rgb8()[..6], [4, 4, 4, 5, 5, 5]);
    write("X_test.npy", &npy("|u1", "(1, 1, 3)", &[7, 8, 9]));
    let test = open(folder.path(), Some("test")).unwrap();
    assert_eq!((test.len(), test.label(0), test.name(0)), (1, None, "X_test.npy#0".into()));
    write("more.npy", &npy("|u1", "(1, 1, 3, 1)", &[7, 8, 9]));
    assert_eq!(open(folder.path(), None).unwrap().len(), 2);
    fs::remove_file(folder.path().join("X_train.npy")).unwrap();
    fs::rename(folder.path().join("X_test.npy"), folder.path().join("other.npy")).unwrap();
    let message = open(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("several arrays (more, other)"), "{message}");
}

#[test]
fn arrays_of_other_numbers_are_read_with_a_range() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let f32s: Vec<u8> = [0.0f32, 0.25, 0.5, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let f64s: Vec<u8> = [0.0f64, 0.25, 0.5, 2.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    write("f4.npy", &npy("<f4", "(2, 1, 2)", &f32s));
    write("f8.npy", &npy(">f8", "(2, 1, 2)", &f64s));
    write("i2.npy", &npy("<i2", "(2, 1, 2)", &[0, 0, 25, 0, 50, 0, 200, 0]));
    write("i1.npy", &npy("|i1", "(2, 1, 2)", &[0, 25, 50, 127]));
    write("b1.npy", &npy("|b1", "(2, 1, 2)", &[0, 1, 1, 0]));
    for (name, range, expected) in [
        ("f4.npy", [0.0, 1.0], [[0, 16_384], [32_768, 65_535]]),
        ("f8.npy", [0.0, 1.0], [[0, 16_384], [32_768, 65_535]]),
        ("i2.npy", [0.0, 100.0], [[0, 16_384], [32_768, 65_535]]),
        ("i1.npy", [0.0, 100.0], [[0, 16_384], [32_768, 65_535]]),
        ("b1.npy", [0.0, 1.0], [[0, 65_535], [65_535, 0]]),
    ] {
        let config = DataConfig { value_range: Some(ValueRange::Fixed(range)), ..with_channels(1) };
        let dataset = Dataset::open(&folder.path().join(name), None, &config).unwrap();
        for (place, expected) in expected.iter().enumerate() {
            assert_eq!(dataset.load(place).unwrap().samples(), &Samples::U16(expected.to_vec()), "{name}");
        }
    }
}

#[test]
fn arrays_that_are_no_pictures_say_what_to_do() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("flat.npy", &npy("|u1", "(4,)", &[0; 4]));
    write("signed.npy", &npy("|i1", "(1, 2, 2)", &[0; 4]));
    write("huge.npy", &npy("|u1", "(18446744073709551615, 2, 2, 3)", &[0; 12]));
    write("wide.npy", &npy("|u1", "(1, 4294967296, 4294967296, 3)", &[0; 12]));
    write("many.npy", &npy("|u1", "(4000000000, 1, 1)", &[0; 12]));
    write("empty.npy", &npy("|u1", "(0, 2, 2)", &[]));
    write("short.npy", &npy("|u1", "(2, 2, 2)", &[0; 7]));
    write("header.npy", &npy("|u1", "(2, 2, -2)", &[0; 8]));
    for (name, words) in [
        ("flat.npy", ["shape [4]", "[N, height, width]"]),
        ("signed.npy", ["type |i1", "data.value_range = ["]),
        ("huge.npy", ["18446744073709551615", "12 bytes"]),
        ("wide.npy", ["at least one pixel that fit", "4294967296"]),
        ("many.npy", ["4000000000", "12 bytes"]),
        ("empty.npy", ["at least one pixel", "[0, 2, 2]"]),
        ("short.npy", ["[2, 2, 2]", "7 bytes"]),
        ("header.npy", ["'descr'", "-2"]),
    ] {
        let path = folder.path().join(name);
        let message = open(&path, None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
        assert!(message.contains(name), "{message}");
    }
    write("text.npy", &npy("<U4", "(1, 2, 2)", &[0; 64]));
    let text = open(&folder.path().join("text.npy"), None).unwrap_err().to_string();
    assert!(text.contains("type <U4") && text.contains("numpy.uint16"), "{text}");
    for (name, words) in [("float32", "type <f4"), ("fortran", "ascontiguousarray")] {
        let message = open(&file(&format!("arrays/{name}.npy")), None).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("images.npy", &npy("|u1", "(2, 1, 1)", &[0; 2]));
    for (labels, words) in [
        (npy("|u1", "(3,)", &[0; 3]), ["2 labels", "3 labels"]),
        (npy("|u1", "(2,)", &[0; 1]), ["2 labels of 1 byte(s)", "1 bytes"]),
        (npy("<u4", "(4611686018427387904,)", &[0; 1]), ["2 labels", "4611686018427387904 labels"]),
    ] {
        write("labels.npy", &labels);
        let message = open(&folder.path().join("images.npy"), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(message.contains("labels.npy"), "{message}");
    }
}

/// The names of the classes of the pictures.
fn classes(dataset: &Dataset) -> Vec<Option<&str>> {
    (0..dataset.len()).map(|index| Some(dataset.classes()[dataset.label(index)? as usize].as_str())).collect()
}

#[test]
fn labels_of_other_types_are_read_or_named() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("images.npy", &npy("|u1", "(2, 1, 1)", &[0; 2]));
    for (labels, expected, note) in [
        (npy("|i1", "(2,)", &[0, 0xFF]), [Some("0"), None], None),
        (npy("<u8", "(2,)", &[0xFF; 16]), [Some("18446744073709551615"); 2], None),
        (npy("<f8", "(2,)", &[0; 16]), [Some("0"); 2], None),
        (npy("<f4", "(2,)", &[0, 0, 0, 0, 0, 0, 0, 0x3F]), [None; 2], Some("0.5")),
        (npy("|b1", "(2, 1)", &[1, 0]), [Some("true"), Some("false")], None),
        (npy("|u1", "(2, 3)", &[0, 0, 1, 1, 0, 0]), [Some("2"), Some("0")], None),
        (npy("|u1", "(2, 3)", &[0, 1, 1, 1, 0, 0]), [None; 2], Some("one class per picture")),
        (npy("<U2", "(2,)", &[b'o', 0, 0, 0, b'x', 0, 0, 0, b'c', 0, 0, 0, 0, 0, 0, 0]), [Some("ox"), Some("c")], None),
        (npy("|O", "(2,)", &[0; 40]), [None; 2], Some("type |O")),
    ] {
        write("labels.npy", &labels);
        let dataset = open(&folder.path().join("images.npy"), None).unwrap();
        let notes = dataset.notes().join("; ");
        assert_eq!((classes(&dataset), notes.is_empty()), (expected.to_vec(), note.is_none()), "{notes}");
        assert!(notes.contains(note.unwrap_or_default()), "{notes}");
    }
}

#[test]
fn a_compressed_array_beyond_the_memory_limit_names_the_way_out() {
    let config = DataConfig { max_archive_memory_bytes: 100, ..DataConfig::default() };
    let message = Dataset::open(&file("arrays/deflated.npz"), None, &config).unwrap_err().to_string();
    assert!(message.contains("max_archive_memory_bytes = 100") && message.contains("numpy.savez"), "{message}");
    // What is not compressed needs no memory.
    check(&Dataset::open(&file("arrays/stored.npz"), None, &config).unwrap(), "arrays/stored.npz/images");
}

#[test]
fn a_damaged_file_gives_an_error_or_another_picture_but_no_panic() {
    for name in ["nchw.npy", "u16.npy", "stored.npz", "deflated.npz", "splits.npz"] {
        golden::damage(name, &fs::read(file(&format!("arrays/{name}"))).unwrap(), 5, &DataConfig::default());
    }
}
