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
fn zstd_is_refused_with_the_way_to_rewrite_it() {
    let message = open("zstd.parquet", None).unwrap_err().to_string();
    for words in ["zstd.parquet", "image.bytes", "zstd", "compression=\"snappy\""] {
        assert!(message.contains(words), "{message}");
    }
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
    for name in ["plain_uncompressed.parquet", "pages.parquet", "snappy.parquet"] {
        let bytes = fs::read(file(name)).unwrap();
        for config in [DataConfig::default(), on_demand()] {
            golden::damage(name, &bytes, &config);
        }
    }
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
