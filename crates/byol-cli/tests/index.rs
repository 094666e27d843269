//! `byol search`, `duplicates`, `outliers`, `clusters`, `select` and `label-errors` with the real binary.

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::imageops::{FilterType, resize};
use pictures::{picture, truncate, write_class};
use serde_json::Value;

const ENCODER: &str = "random:resnet18x0.125:cifar:16";

fn byol(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(folder: &Path, arguments: &str) -> Value {
    let output = byol(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments}: {error}: {}", text(&output.stdout)))
}

fn refused(folder: &Path, arguments: &str, words: &str) {
    let output = byol(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {}", text(&output.stderr));
    assert!(text(&output.stderr).contains(words), "{arguments}: {}", text(&output.stderr));
}

/// Rows of a table, without its head.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let table = fs::read_to_string(path).unwrap();
    table.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// Two classes of twelve pictures, and a picture of the first twice as large, among others; their embeddings in `x.csv`.
fn embedded(at: &Path) {
    write_class(&at.join("data/across"), 0, 12);
    write_class(&at.join("data/down"), 1, 12);
    let large = resize(&picture(0, 3), 32, 32, FilterType::Nearest);
    large.save(at.join("data/across/large.png")).unwrap();
    let output = byol(at, &format!("embed {ENCODER} data -o x.csv"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_copy_in_another_size_is_found_and_the_larger_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    embedded(at);
    // What can no longer be read is a grey square, and no error.
    truncate(&at.join("data/down/0.png"));
    let found = json(at, "duplicates x.csv --data data --threshold 0.99 -o groups.csv --html groups.html --json");
    let table = rows(&at.join("groups.csv"));
    let of = |name: &str| table.iter().find(|row| row[1] == name).unwrap_or_else(|| panic!("{name}: {table:?}"));
    assert_eq!((&of("across/large.png")[3], &of("across/large.png")[5]), (&"keep".to_owned(), &"32".to_owned()));
    assert_eq!((&of("across/3.png")[3], &of("across/3.png")[0]), (&"drop".to_owned(), &of("across/large.png")[0]));
    let dropped = fs::read_to_string(at.join("groups.drop.txt")).unwrap();
    assert!(dropped.lines().any(|name| name == "across/3.png") && !dropped.contains("large"), "{dropped}");
    assert_eq!(found["dropped"].as_u64().unwrap() as usize, dropped.lines().count());
    assert_eq!(found["table"], "groups.csv");
    let page = fs::read_to_string(at.join("groups.html")).unwrap();
    assert!(page.contains("data:image/jpeg") && page.contains("across/large.png") && page.contains("32×32 px"));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is loaded");

    let output = byol(at, "duplicates x.csv --threshold 0.99");
    let said = text(&output.stderr);
    assert!(said.contains("does not say where its pictures are") && said.contains("the first of each group"), "{said}");
    let proposed = text(&byol(at, "duplicates x.csv").stderr);
    assert!(proposed.contains("threshold   0.9"), "{proposed}");
}

#[test]
fn a_picture_of_the_index_finds_itself_and_another_encoder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    embedded(at);
    let found = json(
        at,
        &format!("search {ENCODER} x.csv --query data/down/5.png -k 3 -o near.csv --data data --html near.html --json"),
    );
    let near = &found["queries"][0]["neighbours"];
    assert_eq!((near.as_array().unwrap().len(), &near[0]["name"]), (3, &Value::from("down/5.png")));
    assert!((near[0]["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-4, "{near}");
    assert_eq!(rows(&at.join("near.csv")).len(), 3);
    let approximate = json(at, &format!("search {ENCODER} x.csv --query data -k 3 --approximate --json"));
    assert_eq!(approximate["queries"].as_array().unwrap().len(), 25);
    assert!(approximate["recall"]["share"].as_f64().unwrap() > 0.9, "{approximate}");
    refused(at, "search random:resnet18x0.25:cifar:16 x.csv --query data", "another encoder made it");
    refused(at, &format!("search {ENCODER} x.csv --query nothing"), "no data at");
    fs::write(at.join("broken.png"), b"no picture").unwrap();
    refused(at, &format!("search {ENCODER} x.csv --query broken.png"), "broken.png");
}

#[test]
fn clusters_outliers_and_choices_are_tables_of_all_pictures_or_of_as_many_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    embedded(at);
    let found = json(at, "clusters x.csv -o clusters.csv --html clusters.html --data data --json");
    let sizes: Vec<u64> = found["sizes"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (2, 25));
    assert!(found["agreement"]["purity"].as_f64().unwrap() >= 0.5 && found["agreement"]["labelled"] == 25);
    assert_eq!(rows(&at.join("clusters.csv")).len(), 25);
    assert!(fs::read_to_string(at.join("clusters.html")).unwrap().contains("Cluster 2"));
    json(at, "outliers x.csv -o odd.csv --html odd.html --data data --json");
    let scores: Vec<f64> = rows(&at.join("odd.csv")).iter().map(|row| row[3].parse().unwrap()).collect();
    assert!(scores.len() == 25 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for method in ["typicality", "k-centre"] {
        let found = json(
            at,
            &format!("select x.csv -n 6 --method {method} -o {method}.csv --html {method}.html --data data --json"),
        );
        let names: std::collections::BTreeSet<String> =
            rows(&at.join(format!("{method}.csv"))).into_iter().map(|row| row[1].clone()).collect();
        assert_eq!((names.len(), found["chosen"].as_array().unwrap().len()), (6, 6), "{method}");
        assert_eq!(fs::read_to_string(at.join(format!("{method}.html"))).unwrap().matches("<figure").count(), 6);
    }
}

#[test]
fn a_label_that_neighbours_contradict_is_named_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Two directions that any encoder tells apart, written down: rows of a text table.
    let line = |row: usize| {
        let (class, side) = if row.is_multiple_of(2) { ("cat", "1,0") } else { ("dog", "0,1") };
        let class = if row == 7 { "cat" } else { class };
        format!("{row}.jpg,{class},{side},0.{row:02}\n")
    };
    let table: String = (0..30).map(line).collect();
    fs::write(at.join("x.csv"), format!("name,label,0,1,2\n{table}")).unwrap();
    let found = json(at, "label-errors x.csv -k 5 -o suspects.csv --json");
    assert_eq!(rows(&at.join("suspects.csv"))[0][1..4], ["7.jpg", "cat", "dog"]);
    assert_eq!(found["suspects"].as_array().unwrap().len(), 1);
    fs::write(at.join("plain.csv"), "name,0,1\na,1,0\nb,0,1\n").unwrap();
    refused(at, "label-errors plain.csv", "expected labels of at least two classes");
}

#[test]
fn wrong_input_is_one_error_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    embedded(at);
    fs::write(at.join("there.csv"), "precious").unwrap();
    for (arguments, words) in [
        ("duplicates gone.parquet", "gone.parquet"),
        ("duplicates data -o y.csv", "a file that ends in .parquet, .npy or .csv"),
        ("duplicates x.csv --threshold 2", "a cosine from −1 to 1"),
        ("duplicates x.csv -o there.csv", "already exists"),
        ("duplicates x.csv -o y.txt", "ends in .csv"),
        ("duplicates x.csv --data data -o data/y.csv", "inside the data"),
        ("duplicates x.csv --html y.html", "name the place with --data DATA"),
        ("outliers x.csv --html y.html --data gone", "no data at"),
        ("outliers x.csv --html y.html --data data/down", "not one of its pictures is in"),
        ("clusters x.csv --clusters 26", "of which there are 25"),
        ("select x.csv -n 26", "the 25 pictures there are"),
        ("label-errors x.csv --temperature 0", "a number above 0"),
        ("outliers x.csv --split train", "its rows have no splits"),
        ("outliers x.csv -o y.csv --exact --approximate", "cannot be used with"),
    ] {
        refused(at, arguments, words);
    }
    assert_eq!(fs::read_to_string(at.join("there.csv")).unwrap(), "precious");
    let mut left: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "there.csv", "x.csv"]);
}

/// Two folders of one name: which of two pictures is meant cannot be told, so that none is dropped.
#[test]
fn pictures_that_share_a_name_are_in_no_list_to_drop() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for place in ["one/p", "two/p"] {
        write_class(&at.join(place), 0, 4);
    }
    let output = byol(at, &format!("embed {ENCODER} one/p two/p -o x.parquet"));
    assert!(text(&output.stderr).contains("4 pictures have the name of another"), "{}", text(&output.stderr));
    let output = byol(at, "duplicates x.parquet --threshold 0.9999 -o groups.csv");
    let said = text(&output.stderr);
    assert!(said.contains("share their name") || said.contains("not one of its pictures"), "{said}");
    assert!(said.contains("more are not in this list"), "{said}");
    assert_eq!(fs::read_to_string(at.join("groups.drop.txt")).unwrap(), "");
}
