//! Data sets in Parquet files, written by pyarrow.

mod golden;

use std::fs;

use byol_data::{DataConfig, DataError, Dataset};
use golden::{check, file};
use tempfile::TempDir;

fn open(name: &str, split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open(&file(name), split, &DataConfig::default())
}

/// A limit that no picture fits, so that each is read when asked for.
fn on_demand() -> DataConfig {
    DataConfig { max_archive_memory_bytes: 1, ..DataConfig::default() }
}

#[test]
fn pictures_labels_and_nulls_are_those_of_pyarrow_in_memory_and_on_demand() {
    for name in [
        "snappy.parquet",
        "pages.parquet",
        "pages_without_index.parquet",
        "plain_uncompressed.parquet",
        "brotli.parquet",
        "lz4.parquet",
        "zstd.parquet",
    ] {
        check(&open(name, None).unwrap(), name);
        check(&Dataset::open(&file(name), None, &on_demand()).unwrap(), name);
    }
}

#[test]
fn class_names_come_from_the_metadata_or_are_the_texts() {
    let named = open("snappy.parquet", None).unwrap();
    assert_eq!(named.classes(), ["cat", "dog", "hen"]);
    assert_eq!(named.description(), "Parquet files, 10 pictures, 3 classes");
    assert_eq!(open("plain_uncompressed.parquet", None).unwrap().classes(), ["cat", "dog", "hen"]);
}

#[test]
fn a_folder_of_files_has_the_splits_of_their_names() {
    let train = open("folder", None).unwrap();
    assert_eq!((train.len(), train.split()), (5, Some("train")));
    assert_eq!(train.splits_present(), ["train", "test"]);
    assert_eq!(train.name(3), "data/train-00001-of-00002.parquet#0");
    let test = open("folder", Some("test")).unwrap();
    assert_eq!((test.len(), test.label(0), test.name(1)), (2, Some(2), "data/test-00000-of-00001.parquet#1".into()));
    // The same pictures as in the file that has all of them.
    let all = open("snappy.parquet", None).unwrap();
    assert_eq!((train.load(3), test.load(1)), (all.load(3), all.load(9)));
    let message = open("folder", Some("val")).unwrap_err().to_string();
    assert!(message.contains("one of train, test"), "{message}");
    check(&open("folder/data", Some("train")).unwrap().subset(&[0, 1, 2]), "folder/data/train-00000-of-00002.parquet");
}

#[test]
fn the_fingerprint_does_not_depend_on_where_the_pictures_are() {
    let print = |config| Dataset::open(&file("pages.parquet"), None, &config).unwrap().fingerprint();
    assert_eq!(print(DataConfig::default()), print(on_demand()));
    assert_ne!(print(on_demand()), open("snappy.parquet", None).unwrap().fingerprint());
}

#[test]
fn threads_read_pictures_at_the_same_time() {
    let dataset = Dataset::open(&file("pages.parquet"), None, &on_demand()).unwrap();
    let expected: Vec<_> = (0..dataset.len()).map(|index| dataset.load(index)).collect();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (dataset, expected) = (&dataset, &expected);
            scope.spawn(move || {
                for step in 0..200 {
                    let index = (start + step * 7) % dataset.len();
                    assert_eq!(dataset.load(index), expected[index]);
                }
            });
        }
    });
}

#[test]
fn a_picture_beyond_the_size_limit_is_a_bad_one() {
    for limit in [DataConfig::default().max_archive_memory_bytes, 1] {
        let config = DataConfig { max_file_bytes: 10, max_archive_memory_bytes: limit, ..DataConfig::default() };
        let bad = Dataset::open(&file("pages.parquet"), None, &config).unwrap().load(0).unwrap_err();
        assert!(bad.reason.contains("data.max_file_bytes = 10"), "{bad:?}");
    }
}

#[test]
fn a_damaged_file_gives_an_error_or_another_picture_but_no_panic() {
    // Panics of the reader itself are caught, and would fill the output.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        for name in ["plain_uncompressed.parquet", "pages.parquet", "snappy.parquet", "zstd.parquet"] {
            let bytes = fs::read(file(name)).unwrap();
            for config in [DataConfig::default(), on_demand()] {
                golden::damage(name, &bytes, 11, &config);
            }
        }
    });
    let _ = std::panic::take_hook();
    assert!(outcome.is_ok(), "a panic: {:?}", outcome.unwrap_err().downcast_ref::<String>());
}

#[test]
fn files_that_cannot_be_used_say_why() {
    for (name, words) in [
        ("no_pictures", ["without a column of pictures", "image, label"]),
        ("two_candidates", ["left, right", "--image-key"]),
        ("duplicate", ["different names", "two columns called image"]),
        ("no_rows", ["at least one row", "got none"]),
    ] {
        let message = open(&format!("odd/{name}.parquet"), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.contains(name), "{name}: {message}");
    }
    let unknown = open("odd/unknown_label.parquet", None).unwrap();
    assert_eq!((unknown.label(0), unknown.label(1)), (None, Some(2)));
}

#[test]
fn labels_that_are_no_classes_do_not_stop_what_needs_none() {
    for (name, words) in [("negative_label", "holds -2"), ("label_beyond_names", "holds 3")] {
        let dataset = open(&format!("odd/{name}.parquet"), None).unwrap();
        assert_eq!((dataset.len(), dataset.label(0), dataset.classes().len()), (2, None, 0), "{name}");
        assert!(dataset.notes()[0].contains(words), "{name}: {:?}", dataset.notes());
        let config = DataConfig { label_column: Some("label".into()), ..DataConfig::default() };
        let message = Dataset::open(&file(&format!("odd/{name}.parquet")), None, &config).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("--label-column"), "{message}");
    }
    // A number that is far from the others is a name.
    let far = open("odd/huge_label.parquet", None).unwrap();
    assert_eq!((far.classes(), far.label(1)), (&["1".to_owned(), "1099511627776".into()][..], Some(1)));
}

#[test]
fn a_file_cut_short_is_named() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(file("snappy.parquet")).unwrap();
    fs::write(folder.path().join("a.parquet"), &bytes[..bytes.len() - 9]).unwrap();
    let error = Dataset::open(folder.path(), None, &DataConfig::default()).unwrap_err();
    assert!(matches!(error, DataError::BrokenArchive { .. }), "{error}");
    assert!(error.to_string().contains("a.parquet"), "{error}");
}
