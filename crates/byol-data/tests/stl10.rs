//! The binary sets that torchvision has readers for: STL-10, and CIFAR-10 and Fashion-MNIST as a check of its kin.

mod golden;

use std::fs;
use std::path::Path;

use byol_data::{DataConfig, DataError, Dataset};
use golden::{check, file};
use tempfile::TempDir;

fn open(path: &Path, split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open(path, split, &DataConfig::default())
}

/// The committed set as an archive.
fn tar() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("stl10_binary", file("stl10/stl10_binary")).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn stl10_is_what_torchvision_reads_from_a_folder_a_file_and_archives() {
    let folder = TempDir::new().unwrap();
    let (plain, gz) = (folder.path().join("a.tar"), folder.path().join("a.tar.gz"));
    fs::write(&plain, tar()).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gz).unwrap(), flate2::Compression::fast());
    std::io::copy(&mut &tar()[..], &mut encoder).unwrap();
    encoder.finish().unwrap();
    for path in [file("stl10"), file("stl10/stl10_binary"), plain, gz] {
        for split in ["train", "test", "unlabeled"] {
            let dataset = open(&path, Some(split)).unwrap();
            check(&dataset, &format!("stl10/{split}"));
            assert_eq!(dataset.classes()[3], "cat", "{path:?}");
            assert_eq!(dataset.splits_present(), ["train", "test", "unlabeled"]);
        }
        assert_eq!(open(&path, None).unwrap().split(), Some("train"));
    }
    check(&open(&file("stl10/stl10_binary/test_X.bin"), None).unwrap(), "stl10/test");
}

#[test]
fn stl10_without_labels_has_none_and_without_names_has_numbers() {
    let folder = TempDir::new().unwrap();
    fs::copy(file("stl10/stl10_binary/train_X.bin"), folder.path().join("train_X.bin")).unwrap();
    let dataset = open(folder.path(), None).unwrap();
    assert_eq!((dataset.label(0), dataset.classes()[9].as_str()), (None, "10"));
    let message = open(folder.path(), Some("test")).unwrap_err().to_string();
    assert!(message.contains("expected one of train"), "{message}");
}

#[test]
fn a_damaged_stl10_file_says_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let pictures = fs::read(file("stl10/stl10_binary/train_X.bin")).unwrap();
    for (bytes, labels, words) in [
        (&pictures[..30_000], &[1u8, 2][..], ["27648 bytes each", "30000 bytes"]),
        (&pictures[..0], &[], ["27648 bytes each", "0 bytes"]),
        (&pictures[..], &[1], ["2 labels", "got 1"]),
        (&pictures[..], &[1, 2, 3], ["2 labels", "got more"]),
        (&pictures[..], &[1, 0], ["labels from 1 to 10", "got 0"]),
        (&pictures[..], &[1, 11], ["labels from 1 to 10", "got 11"]),
    ] {
        fs::write(folder.path().join("train_X.bin"), bytes).unwrap();
        fs::write(folder.path().join("train_y.bin"), labels).unwrap();
        let error = open(folder.path(), None).unwrap_err();
        assert!(matches!(error, DataError::Malformed { .. }), "{error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
}

#[test]
fn a_file_that_shrinks_after_opening_gives_bad_pictures() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("train_X.bin");
    fs::copy(file("stl10/stl10_binary/train_X.bin"), &path).unwrap();
    let dataset = open(&path, None).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(30_000).unwrap();
    assert!(dataset.load(0).is_ok());
    assert!(dataset.load(1).unwrap_err().reason.contains("cannot be read"));
}

#[test]
fn cifar_10_and_fashion_mnist_are_what_torchvision_reads() {
    for split in ["train", "test"] {
        check(&open(&file("cifar-10-batches-bin"), Some(split)).unwrap(), &format!("cifar10/{split}"));
        check(&open(&file("fashion_mnist"), Some(split)).unwrap(), &format!("fashion_mnist/{split}"));
    }
    assert_eq!(open(&file("cifar-10-batches-bin"), None).unwrap().classes()[9], "truck");
}
