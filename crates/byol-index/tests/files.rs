//! Files of embeddings as pyarrow and NumPy write them, and files that are none.

use std::fs;
use std::path::{Path, PathBuf};

use byol_index::Embeddings;
use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The rows that the files hold, scaled to unit length in f64.
fn expected() -> Vec<Vec<f64>> {
    let golden: Value = serde_json::from_str(include_str!("data/index.json")).unwrap();
    let unit = |row: &Value| {
        let row: Vec<f64> = row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(|x| x / norm).collect()
    };
    golden["rows"].as_array().unwrap().iter().map(unit).collect()
}

fn assert_rows(embeddings: &Embeddings, tolerance: f64) {
    let expected = expected();
    assert_eq!((embeddings.len(), embeddings.vectors.size()), (expected.len(), expected[0].len()));
    for (row, expected) in expected.iter().enumerate() {
        for (&found, expected) in embeddings.vectors.row(row).iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < tolerance, "row {row}: {found}, expected {expected}");
        }
    }
}

#[test]
fn every_form_of_the_same_embeddings_is_read_alike() {
    for (name, tolerance) in [
        ("fixed_f16.parquet", 1e-3),
        ("fixed_f32.parquet", 1e-6),
        ("lists_f64.parquet", 1e-6),
        ("array_f64.npy", 1e-6),
        ("array_f16.npy", 1e-3),
    ] {
        let embeddings = Embeddings::read(&data(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_rows(&embeddings, tolerance);
        assert_eq!(embeddings.zero_rows, 0, "{name}");
    }
}

#[test]
fn names_labels_splits_and_origin_are_read_where_they_are() {
    let all = Embeddings::read(&data("fixed_f16.parquet")).unwrap();
    assert!(all.has_names && all.names[5].ends_with("/5.jpg"), "{}", all.names[5]);
    assert_eq!(all.labels.of(0), None);
    assert_eq!(all.labels.of(1), Some(format!("class {}", &all.names[1][..1]).as_str()));
    assert_eq!(all.origin.roots, [PathBuf::from("photos")]);
    assert_eq!(all.origin.encoder_fingerprint.as_deref(), Some("00ff"));
    let test = all.of_split("test").unwrap();
    assert_eq!((test.len(), &test.names[1]), (40, &all.names[4]));
    assert_eq!(test.vectors.row(1), all.vectors.row(4));
    let error = all.of_split("valid").unwrap_err().to_string();
    assert!(error.contains("expected one of test, train"), "{error}");

    let foreign = Embeddings::read(&data("lists_f64.parquet")).unwrap();
    assert!(!foreign.has_names && foreign.names[7] == "7");
    assert_eq!(foreign.labels.texts, ["0", "1", "2", "3", "4"]);
    assert_eq!(foreign.origin, byol_index::Origin::default());
}

#[test]
fn an_array_takes_its_names_from_the_table_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let array = folder.path().join("x.npy");
    fs::copy(data("array_f64.npy"), &array).unwrap();
    let lines: String = (0..160).map(|row| format!("\"a, {row}.jpg\",cat\n")).collect();
    fs::write(folder.path().join("x.names.csv"), format!("name,label\n{lines}")).unwrap();
    let embeddings = Embeddings::read(&array).unwrap();
    assert_eq!((embeddings.names[159].as_str(), embeddings.labels.of(3)), ("a, 159.jpg", Some("cat")));
    fs::write(folder.path().join("x.names.csv"), "name,label\na,b\n").unwrap();
    let error = Embeddings::read(&array).unwrap_err().to_string();
    assert!(error.contains("x.names.csv: expected 160 rows") && error.contains("got 1"), "{error}");
}

#[test]
fn a_text_table_is_read_and_what_is_no_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, "name,label,0,1\na.jpg,cat,3,4\nb.jpg,,0,-2\n").unwrap();
    let embeddings = Embeddings::read(&path).unwrap();
    assert_eq!(embeddings.vectors.values(), [0.6, 0.8, 0.0, -1.0]);
    assert_eq!((embeddings.labels.of(0), embeddings.labels.of(1)), (Some("cat"), None));
    for (text, words) in [
        ("name,label,0,1\na.jpg,cat,3,four\n", "expected a number in line 2, got \"four\" in column \"1\""),
        ("name,label,0,1\na.jpg,cat,3\n", "rows of as many cells as its first line"),
        ("name,label\na.jpg,cat\n", "columns of values beside name, label and split, got 0"),
        ("name,0\n", "expected embeddings, got a file with none"),
        ("name,0\na,nan\n", "expected finite numbers, got NaN in row 0"),
        ("", "columns of values"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Embeddings::read(&path).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("x.csv"), "{error}");
    }
}

#[test]
fn parquet_files_of_other_types_are_refused_in_words() {
    for (name, words) in [
        ("wrong_texts", "a column \"embedding\" of lists of numbers (f16, f32 or f64), got BYTE_ARRAY"),
        ("wrong_integers", "got lists of INT64"),
        ("wrong_lengths", "2 values in every row, as in the first, none of them null, got 1 in row 1"),
        ("wrong_null", "got 1 in row 1"),
        ("wrong_missing", "got 0 in row 1"),
        ("wrong_nan", "expected finite numbers, got NaN in row 1"),
        ("wrong_name", "a text in every row of the column \"name\", got none in row 1"),
        ("wrong_columns", "got the columns file, vector"),
        ("wrong_empty", "expected embeddings, got a file with none"),
    ] {
        let error = Embeddings::read(&data(&format!("{name}.parquet"))).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("none.parquet", &b"PAR1 and no more"[..]), ("none.npy", b"\x93NUMPY"), ("none.bin", b"x"), ("none.npy", b"")]
    {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = Embeddings::read(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(Embeddings::read(&folder.path().join("gone.parquet")).unwrap_err().to_string().contains("gone.parquet"));
}

/// The file `fixed_f32.parquet` whose metadata claims so many rows.
fn claiming(rows: i64) -> Vec<u8> {
    let bytes = fs::read(data("fixed_f32.parquet")).unwrap();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes.clone())).unwrap();
    let groups =
        metadata.row_groups().iter().map(|group| group.clone().into_builder().set_num_rows(rows).build().unwrap());
    let metadata = metadata.clone().into_builder().set_row_groups(groups.collect()).build();
    // The old metadata stays before the new as bytes that nobody asks for.
    let mut file = bytes;
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    file
}

#[test]
fn claims_of_more_rows_than_there_are_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    for (rows, words) in [
        (1_000_000_000_000, "1000000000000 embeddings of 12 values need 48000.0 GB of memory"),
        (161, "expected 161 rows in row group 0, as the metadata says, got 160"),
        (-1, "a number of rows in each row group"),
    ] {
        fs::write(&path, claiming(rows)).unwrap();
        let error = Embeddings::read(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{rows}: {error}");
    }
    assert_eq!((fs::write(&path, claiming(160)).unwrap(), Embeddings::read(&path).unwrap().len()), ((), 160));

    let array = fs::read(data("array_f64.npy")).unwrap();
    let path = folder.path().join("x.npy");
    let mut bytes = array.clone();
    let at = array.windows(9).position(|part| part == b"(160, 12)").unwrap();
    bytes[at..at + 16].copy_from_slice(b"(9999999999, 12)");
    bytes[at + 16..at + 19].copy_from_slice(b", }");
    fs::write(&path, bytes).unwrap();
    let error = Embeddings::read(&path).unwrap_err().to_string();
    assert!(error.contains("bytes of values, as its header says, got 15360"), "{error}");
}
