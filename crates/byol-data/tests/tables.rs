//! Lists, metadata files and archives of samples, as people write them: columns, labels and paths as they are meant.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};

use byol_data::{DataConfig, DataError, Dataset};
use tempfile::TempDir;

fn open(path: &Path) -> Dataset {
    Dataset::open(path, None, &DataConfig::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// A committed file.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources").join(name)
}

fn with_label(path: &Path, column: &str) -> Result<Dataset, DataError> {
    let config = DataConfig { label_column: Some(column.into()), ..DataConfig::default() };
    Dataset::open(path, None, &config)
}

/// The names of the classes of the pictures, `-` where there is none.
fn labels(dataset: &Dataset) -> String {
    let label = |index| dataset.label(index).map_or("-", |label| dataset.classes()[label as usize].as_str());
    (0..dataset.len()).map(label).collect::<Vec<_>>().join(" ")
}

/// Pictures `imgs/cat/0.png`, `imgs/cat/1.png`, `imgs/dog/0.png`, `imgs/dog/1.png`.
fn pictures() -> TempDir {
    let folder = TempDir::new().unwrap();
    let png = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures/rgb.png")).unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir_all(folder.path().join("imgs").join(class)).unwrap();
        for number in 0..2 {
            fs::write(folder.path().join(format!("imgs/{class}/{number}.png")), &png).unwrap();
        }
    }
    folder
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A text with a row per picture; `C` stands for the class, `N` for the number.
fn rows(head: &str, row: &str) -> String {
    let row = |class: &str, number: usize| row.replace('C', class).replace('N', &number.to_string()) + "\n";
    head.to_owned() + &row("cat", 0) + &row("cat", 1) + &row("dog", 0) + &row("dog", 1)
}

#[test]
fn lists_are_read_as_they_are_meant() {
    let folder = pictures();
    for (name, head, row, expected, note) in [
        ("backslash.csv", "path,label\n", r"imgs\C\N.png,C", "cat cat dog dog", r"the \ in paths"),
        ("plural.csv", "filename,width,labels\n", "imgs/C/N.png,32,C", "cat cat dog dog", "left out: width"),
        ("space.txt", "", "imgs/C/N.png N", "0 1 0 1", ""),
        ("unknown.csv", "img_path,width,species\n", "imgs/C/N.png,32,C", "cat cat dog dog", "\"species\", a guess"),
        ("semicolon.csv", "path;label\n", "imgs/C/N.png;C", "cat cat dog dog", ""),
        ("bars.txt", "image|target\n", "imgs/C/N.png|C", "cat cat dog dog", "\"target\""),
        ("first.txt", "", "C imgs/C/N.png", "cat cat dog dog", ""),
        ("floats.csv", "path,label\n", "imgs/C/N.png,N.0", "0 1 0 1", ""),
        ("fractions.csv", "path,label\n", "imgs/C/N.png,N.5", "- - - -", "no whole number"),
        ("ids.csv", "id,label\n", "C/N,C", "cat cat dog dog", "\"cat/0\" is imgs/cat/0.png"),
        ("named.csv", "file_name,class_id,class_name\n", "imgs/C/N.png,N,C", "cat cat dog dog", "\"class_name\""),
        ("bare.csv", "", "imgs/C/N.png,7,C", "cat cat dog dog", "\"3\", a guess"),
        ("hot.txt", "", "imgs/C/N.png 0 1 1", "- - - -", "no labels are read"),
        ("two.csv", "path,species,place\n", "imgs/C/N.png,C,C", "- - - -", "species, place"),
        ("lines.jsonl", "", r#"{"file_name": "imgs/C/N.png", "label": N}"#, "0 1 0 1", ""),
    ] {
        let dataset = open(&write(&folder, name, &rows(head, row)));
        let notes = dataset.notes().join("; ");
        assert_eq!((dataset.len(), labels(&dataset).as_str()), (4, expected), "{name}: {notes}");
        assert!(notes.contains(note) && (note.is_empty() == notes.is_empty()), "{name}: {notes}");
        assert!((0..4).all(|index| dataset.load(index).is_ok()), "{name}");
    }
}

#[test]
fn a_column_that_is_asked_for_is_used_or_refused() {
    let folder = pictures();
    let list = write(&folder, "a.csv", &rows("path,species,size\n", "imgs/C/N.png,C,0.5"));
    assert_eq!(labels(&with_label(&list, "Species").unwrap()), "cat cat dog dog");
    for (column, words) in [("kind", ["path, species, size", "--label-column"]), ("size", ["0.5", "without labels"])] {
        let message = with_label(&list, column).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_column_of_splits_is_known_by_its_name_and_its_words() {
    let folder = pictures();
    let list = write(&folder, "a.csv", "path,label,phase\nimgs/cat/0.png,cat,train\nimgs/dog/0.png,dog,val\n");
    let dataset = open(&list);
    assert_eq!((dataset.split(), dataset.splits_present().len(), labels(&dataset).as_str()), (Some("train"), 2, "cat"));
    let list = write(&folder, "b.csv", "path,label,set\nimgs/cat/0.png,cat,9\nimgs/dog/0.png,dog,8\n");
    assert_eq!((open(&list).split(), open(&list).len()), (None, 2));
}

#[test]
fn metadata_beside_pictures_has_their_labels() {
    let folder = pictures();
    let table = "file_name,label\ncat/0.png,x\n./cat/1.png,y\ndog/0.png,x\ngone.png,z\n";
    write(&folder, "imgs/metadata.csv", table);
    let dataset = open(&folder.path().join("imgs"));
    assert_eq!(labels(&dataset), "x y x -");
    let notes = dataset.notes().join("; ");
    for words in
        ["names 1 files that are not there", "labels of 3 pictures from metadata.csv", "1 of the pictures have none"]
    {
        assert!(notes.contains(words), "{notes}");
    }
    fs::rename(folder.path().join("imgs/metadata.csv"), folder.path().join("imgs/labels.csv")).unwrap();
    let dataset = open(&folder.path().join("imgs"));
    assert_eq!(labels(&dataset), "cat cat dog dog");
    assert!(dataset.notes()[0].contains("labels.csv lies beside"), "{:?}", dataset.notes());
}

#[test]
fn label_columns_of_parquet_files_are_read_whatever_their_type_and_name() {
    for (name, expected, note) in [
        ("bool", "false true false true", ""),
        ("double", "0 1 0 1", ""),
        ("list", "0 1 0 1", "\"labels\""),
        ("lists", "- - - -", "2 values"),
        ("struct", "cat dog cat dog", "left out: label.id"),
        ("target", "0 1 0 1", "\"target\""),
        ("species", "cat dog cat dog", "a guess"),
        ("fixed", "cat dog cat dog", ""),
        ("date", "2020-01-01 2020-01-02 2020-01-01 2020-01-02", ""),
        ("ids", "- - - -", "insists"),
        ("fractions", "- - - -", "0.5"),
    ] {
        let dataset = open(&file(&format!("columns/{name}.parquet")));
        let notes = dataset.notes().join("; ");
        assert_eq!(labels(&dataset), expected, "{name}: {notes}");
        assert!(notes.contains(note) && (note.is_empty() == notes.is_empty()), "{name}: {notes}");
    }
    assert_eq!(labels(&with_label(&file("columns/struct.parquet"), "label.id").unwrap()), "0 1 0 1");
    assert_eq!(with_label(&file("columns/ids.parquet"), "label").unwrap().classes().len(), 4);
}

fn tar_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(4, 4).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn masks_in_a_webdataset_archive_are_no_pictures() {
    let folder = TempDir::new().unwrap();
    for (picture, mask, label) in
        [("jpg", "seg.png", "cls"), ("image.jpg", "mask.png", "target.cls"), ("jpg", "depth.png", "label.txt")]
    {
        let members: Vec<(String, Vec<u8>)> = (0..4)
            .flat_map(|key| {
                let jpeg = (format!("{key:06}.{picture}"), encoded(ImageFormat::Jpeg));
                let png = (format!("{key:06}.{mask}"), encoded(ImageFormat::Png));
                [jpeg, png, (format!("{key:06}.{label}"), (key % 2).to_string().into_bytes())]
            })
            .collect();
        let path = folder.path().join("a.tar");
        fs::write(&path, tar_of(&members)).unwrap();
        let dataset = open(&path);
        assert_eq!((dataset.len(), labels(&dataset).as_str()), (4, "0 1 0 1"), "{mask}");
        assert!(dataset.notes()[0].contains(&format!("4 × KEY.{mask}")), "{:?}", dataset.notes());
        let config = DataConfig { image_key: Some(mask.into()), ..DataConfig::default() };
        let masks = Dataset::open(&path, None, &config).unwrap();
        assert_eq!((masks.len(), masks.name(0)), (4, format!("000000.{mask}")));
    }
}

#[test]
fn archives_called_after_their_class_give_labels_and_shards_do_not() {
    for (names, expected) in [
        (["cat.tar", "dog.tar"], "cat dog"),
        (["n01440764.tar", "n01443537.tar"], "n01440764 n01443537"),
        (["cat-000.tar", "dog-000.tar"], "cat dog"),
        (["data-000.tar", "data-001.tar"], "- -"),
        (["part-a.tar", "part-b.tar"], "- -"),
        (["000.tar", "001.tar"], "- -"),
    ] {
        let folder = TempDir::new().unwrap();
        for name in names {
            let member = (format!("{name}.jpg"), encoded(ImageFormat::Jpeg));
            fs::write(folder.path().join(name), tar_of(&[member])).unwrap();
        }
        let dataset = open(folder.path());
        assert_eq!((labels(&dataset).as_str(), dataset.notes().len()), (expected, usize::from(expected != "- -")));
    }
}

#[test]
fn a_damaged_list_gives_an_error_or_other_pictures_but_no_panic() {
    let folder = pictures();
    let texts = [
        rows("path;label;split\n", "imgs/C/N.png;\"C\";train").into_bytes(),
        rows("", r#"{"file_name": "imgs/C/N.png", "label": [N]}"#).into_bytes(),
        rows("\u{FEFF}path\tlabel\n", "imgs/C/N.png\tC").encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    for (place, text) in texts.iter().enumerate() {
        for (name, at) in
            ["a.csv", "a.txt"].iter().flat_map(|name| (0..text.len()).step_by(3).map(move |at| (name, at)))
        {
            for change in [0x80, 0x0A, 0x22, 0x20] {
                let mut damaged = text.clone();
                damaged[at] ^= change;
                let path = folder.path().join(format!("{place}{name}"));
                fs::write(&path, if change == 0x0A { &damaged[..at] } else { &damaged }).unwrap();
                if let Ok(dataset) = Dataset::open(&path, None, &DataConfig::default()) {
                    assert!((0..dataset.len()).all(|index| {
                        dataset.label(index).is_none_or(|label| (label as usize) < dataset.classes().len())
                    }));
                }
            }
        }
    }
}
