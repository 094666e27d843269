//! Data sets in Arrow files, written by `datasets` and pyarrow.

mod golden;

use std::fs;
use std::path::Path;

use byol_data::{DataConfig, DataError, Dataset};
use golden::{check, file};
use tempfile::TempDir;

fn open(name: &str, split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open(&file(&format!("arrow/{name}")), split, &DataConfig::default())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
    }
}

#[test]
fn pictures_labels_and_nulls_are_those_of_datasets_and_pyarrow() {
    check(&open("saved", None).unwrap(), "arrow/saved");
    for name in ["stream.arrow", "file.arrow", "views.arrow", "dictionary.arrow"] {
        let dataset = open(name, None).unwrap();
        check(&dataset, &format!("arrow/{name}"));
        assert_eq!(dataset.classes(), ["cat", "dog", "hen"]);
    }
}

#[test]
fn class_names_are_those_of_the_features() {
    let saved = open("saved", None).unwrap();
    assert_eq!(saved.description(), "Arrow files, 5 pictures, 3 classes");
    assert_eq!((saved.classes(), saved.label(2)), (&["cat", "dog", "hen"].map(str::to_owned)[..], Some(2)));
}

#[test]
fn what_map_and_filter_leave_in_the_folder_is_left_out_and_said() {
    let notes = open("saved", None).unwrap().notes().join("\n");
    assert!(notes.contains("1 Arrow files are no part") && notes.contains("cache-0.arrow"), "{notes}");
    let folder = TempDir::new().unwrap();
    copy(&file("arrow/saved"), folder.path());
    fs::remove_file(folder.path().join("state.json")).unwrap();
    assert_eq!(Dataset::open(folder.path(), None, &DataConfig::default()).unwrap().len(), 5);
}

#[test]
fn a_folder_that_lacks_a_listed_file_or_chooses_rows_is_refused() {
    let folder = TempDir::new().unwrap();
    copy(&file("arrow/saved"), folder.path());
    let error = || Dataset::open(folder.path(), None, &DataConfig::default()).unwrap_err().to_string();
    fs::remove_file(folder.path().join("data-00001-of-00002.arrow")).unwrap();
    assert!(error().contains("data-00001-of-00002.arrow beside it"), "{}", error());
    let state = r#"{"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}"#;
    fs::write(folder.path().join("state.json"), state).unwrap();
    assert!(error().contains("flatten_indices"), "{}", error());
}

#[test]
fn a_folder_of_splits_has_those_that_it_lists() {
    for (split, len) in [(None, 3), (Some("train"), 3), (Some("test"), 2)] {
        let dataset = open("splits", split).unwrap();
        let chosen = split.unwrap_or("train");
        assert_eq!((dataset.len(), dataset.split()), (len, Some(chosen)));
        assert_eq!(dataset.splits_present(), ["train", "test"]);
        check(&dataset, &format!("arrow/splits/{chosen}"));
    }
    assert_eq!(open("splits", Some("all")).unwrap().len(), 5);
    let message = open("splits", Some("val")).unwrap_err().to_string();
    assert!(message.contains("one of train, test"), "{message}");
    // One of them alone has none.
    assert_eq!(open("splits/test", None).unwrap().splits_present(), [""; 0]);
}

#[test]
fn splits_of_any_name_count_and_may_be_mapped() {
    let folder = TempDir::new().unwrap();
    copy(&file("arrow/splits/train"), &folder.path().join("fold_1"));
    copy(&file("arrow/splits/test"), &folder.path().join("fold_2"));
    let listed = r#"{"splits": ["fold_1", "fold_2", "fold_3"]}"#;
    fs::write(folder.path().join("dataset_dict.json"), listed).unwrap();
    let dataset = Dataset::open(folder.path(), Some("fold_2"), &DataConfig::default()).unwrap();
    assert_eq!((dataset.len(), dataset.splits_present().len()), (2, 2));
    assert!(dataset.notes().iter().any(|note| note.contains("fold_3")), "{:?}", dataset.notes());
    let split_map = [("fold_1".to_owned(), "test".to_owned()), ("fold_2".into(), "train".into())].into();
    let config = DataConfig { split_map, ..DataConfig::default() };
    assert_eq!(Dataset::open(folder.path(), None, &config).unwrap().len(), 2);
}

#[test]
fn the_names_of_the_cache_tell_the_split() {
    let train = open("cache", None).unwrap();
    assert_eq!((train.len(), train.split(), train.splits_present().len()), (2, Some("train"), 2));
    assert_eq!(open("cache", Some("val")).unwrap().name(0), "small-pets-validation.arrow#0");
}

#[test]
fn labels_of_every_type_are_classes() {
    let names: [(&str, &[&str]); 10] = [
        ("bool", &["false", "true"]),
        ("double", &["0", "1"]),
        ("half", &["0", "1"]),
        ("list", &["0", "1"]),
        ("fixed_list", &["0", "1"]),
        ("unsigned", &["0", "1"]),
        ("fixed", &["cat", "dog"]),
        ("sliced", &["cat", "dog"]),
        ("date", &["2020-01-01", "2020-01-02"]),
        ("time", &["2020-01-01 12:00:00", "2020-01-02 12:00:00"]),
    ];
    for (name, classes) in names {
        let dataset = open(&format!("odd/label_{name}.arrow"), None).unwrap();
        assert_eq!(dataset.classes(), classes, "{name}");
        let labels: Vec<_> = (0..4).map(|index| dataset.label(index).unwrap()).collect();
        assert_eq!(labels, [0, 1, 0, 1], "{name}");
    }
    let several = open("odd/label_several.arrow", None).unwrap();
    assert!(several.classes().is_empty() && several.notes()[0].contains("2 values"), "{:?}", several.notes());
}

#[test]
fn columns_are_chosen_by_name() {
    let config = |label: &str| DataConfig { label_column: Some(label.into()), ..DataConfig::default() };
    let path = file("arrow/odd/label_struct.arrow");
    let dataset = Dataset::open(&path, None, &config("labels.name")).unwrap();
    assert_eq!(dataset.classes(), ["cat", "dog"]);
    let message = Dataset::open(&path, None, &config("kind")).unwrap_err().to_string();
    assert!(message.contains("labels.id, labels.name"), "{message}");
    let config = DataConfig { image_key: Some("picture".into()), ..DataConfig::default() };
    let message = Dataset::open(&path, None, &config).unwrap_err().to_string();
    assert!(message.contains("expected one of: image"), "{message}");
}

#[test]
fn a_picture_in_a_file_beside_is_read_and_one_that_is_missing_named() {
    let dataset = open("odd/beside.arrow", None).unwrap();
    assert_eq!(dataset.load(0).unwrap().width_px(), 8);
    let reasons = [1, 2].map(|index| dataset.load(index).unwrap_err().reason);
    assert!(reasons[0].contains("gone.png") && reasons[1].contains("null"), "{reasons:?}");
}

#[test]
fn files_that_are_not_read_name_the_way_out() {
    for (name, words) in [
        ("compressed", ["batches are compressed", "parquet.write_table"]),
        ("paths", ["image: string", "cast_column"]),
        ("lists", ["images: list", "several pictures per row"]),
        ("old_union", ["old version", "parquet.write_table"]),
    ] {
        let message = open(&format!("odd/{name}.arrow"), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_picture_beyond_the_size_limit_is_a_bad_one() {
    let config = DataConfig { max_file_bytes: 10, ..DataConfig::default() };
    let bad = Dataset::open(&file("arrow/stream.arrow"), None, &config).unwrap().load(0).unwrap_err();
    assert!(bad.reason.contains("data.max_file_bytes = 10"), "{bad:?}");
}

#[test]
fn a_damaged_file_gives_an_error_or_other_data_but_no_panic() {
    for (name, step) in [
        ("stream.arrow", 5),
        ("file.arrow", 11),
        ("views.arrow", 11),
        ("dictionary.arrow", 3),
        ("saved/data-00000-of-00002.arrow", 3),
        ("odd/label_fixed_list.arrow", 3),
    ] {
        let bytes = fs::read(file(&format!("arrow/{name}"))).unwrap();
        let base = name.rsplit('/').next().unwrap();
        golden::damage(base, &bytes, step, &DataConfig::default());
    }
}
