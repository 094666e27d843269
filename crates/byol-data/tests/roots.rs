//! Several roots as one dataset: patterns, lists of paths, shards with labels of their own.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use byol_data::{DataConfig, DataError, Dataset, Order};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

fn png(red: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(5, 4, Rgb([red, 20, 200]));
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An archive of pictures (by their red) and texts.
fn tar_of(pictures: &[(&str, u8)], texts: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    pictures.iter().for_each(|&(name, red)| add(name, &png(red)));
    texts.iter().for_each(|&(name, text)| add(name, text.as_bytes()));
    archive.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn try_open(paths: &[PathBuf], split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open_all(paths, split, &DataConfig::default())
}

fn open(paths: &[PathBuf]) -> Dataset {
    try_open(paths, None).unwrap_or_else(|error| panic!("{error}"))
}

fn names(dataset: &Dataset) -> Vec<String> {
    (0..dataset.len()).map(|index| dataset.name(index)).collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<u32>> {
    (0..dataset.len()).map(|index| dataset.label(index)).collect()
}

fn reds(dataset: &Dataset) -> Vec<u8> {
    (0..dataset.len()).map(|index| dataset.load(index).unwrap().to_rgb8()[0]).collect()
}

/// A folder, a plain archive and a packed one with one picture or two each, in the order z, a, m.
fn three_roots(place: &Path) -> Vec<PathBuf> {
    write(place, "z/cat/1.png", &png(1));
    write(place, "z/dog/2.png", &png(2));
    write(place, "a.tar", &tar_of(&[("dog/3.png", 3), ("eel/4.png", 4)], &[]));
    write(place, "m.tgz", &gz(&tar_of(&[("ant/5.png", 5), ("cat/6.png", 6)], &[])));
    ["z", "a.tar", "m.tgz"].map(|name| place.join(name)).to_vec()
}

#[test]
fn roots_follow_each_other_and_share_their_classes() {
    let folder = TempDir::new().unwrap();
    let dataset = open(&three_roots(folder.path()));
    assert_eq!(
        names(&dataset),
        ["z/cat/1.png", "z/dog/2.png", "a.tar/dog/3.png", "a.tar/eel/4.png", "m.tgz/ant/5.png", "m.tgz/cat/6.png"]
    );
    assert_eq!(dataset.classes(), ["ant", "cat", "dog", "eel"]);
    assert_eq!(labels(&dataset), [1, 2, 2, 3, 0, 1].map(Some));
    assert_eq!(reds(&dataset), [1, 2, 3, 4, 5, 6]);
    assert_eq!(dataset.description(), "several sources, 6 pictures, 4 classes");
    assert_eq!(reds(&dataset.subset(&[4, 1])), [5, 2]);
}

#[test]
fn the_fingerprint_of_several_roots_is_that_of_their_content_and_order_not_of_their_place() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (paths, elsewhere) = (three_roots(one.path()), three_roots(&two.path().join("deeper")));
    let print = |paths: &[PathBuf]| open(paths).fingerprint();
    assert_eq!(print(&paths), print(&elsewhere));
    let turned: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    assert_ne!(print(&paths), print(&turned));
    fs::rename(&elsewhere[1], elsewhere[1].with_file_name("b.tar")).unwrap();
    let renamed = [elsewhere[0].clone(), elsewhere[1].with_file_name("b.tar"), elsewhere[2].clone()];
    assert_ne!(print(&paths), print(&renamed));
}

#[test]
fn one_path_is_what_it_is_by_itself() {
    let folder = TempDir::new().unwrap();
    let paths = three_roots(folder.path());
    let (alone, all) = (Dataset::open(&paths[1], None, &DataConfig::default()).unwrap(), open(&paths[1..2]));
    assert_eq!((names(&alone), alone.fingerprint()), (names(&all), all.fingerprint()));
    assert_eq!(names(&all), ["dog/3.png", "eel/4.png"]);
}

#[test]
fn a_split_must_be_in_every_root_and_without_a_wish_each_gives_what_it_trains_on() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for (name, red) in [
        ("a/train/cat/1.png", 1),
        ("a/train/dog/2.png", 2),
        ("a/test/dog/3.png", 3),
        ("b/Train/dog/4.png", 4),
        ("b/Train/eel/5.png", 5),
        ("b/test/eel/6.png", 6),
        ("b/val/eel/7.png", 7),
        ("whole/cat/8.png", 8),
        ("whole/dog/9.png", 9),
    ] {
        write(root, name, &png(red));
    }
    let [a, b, whole] = ["a", "b", "whole"].map(|name| root.join(name));
    let both = [a.clone(), b.clone()];
    let train = open(&both);
    assert_eq!((train.split(), train.splits_present()), (Some("train"), &["train".to_owned(), "test".into()][..]));
    assert_eq!((reds(&train), labels(&train)), (vec![1, 2, 4, 5], [0, 1, 1, 2].map(Some).to_vec()));
    let test = try_open(&both, Some("test")).unwrap();
    assert_eq!((reds(&test), labels(&test), test.classes()), (vec![3, 6], vec![Some(1), Some(2)], train.classes()));
    for (paths, split, name) in [(&both[..], "val", "/a"), (&[b, whole.clone()], "test", "/whole")] {
        let message = try_open(paths, Some(split)).unwrap_err().to_string();
        assert!(message.contains(&format!("\"{split}\"")) && message.contains(name), "{message}");
    }
    let mixed = open(&[whole, a]);
    assert_eq!((reds(&mixed), mixed.split(), mixed.splits_present().len()), (vec![8, 9, 1, 2], None, 0));
}

#[test]
fn braces_stand_for_paths_and_the_first_missing_one_is_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for shard in 8..12 {
        write(root, &format!("s-{shard:03}.tar"), &tar_of(&[("1.png", shard)], &[]));
    }
    assert_eq!(reds(&open(&[root.join("s-{008..011}.tar")])), [8, 9, 10, 11]);
    assert_eq!(reds(&open(&[root.join("s-0{10,08}.{tar}").with_extension("tar")])), [10, 8]);
    let message = try_open(&[root.join("s-{008..127}.tar")], None).unwrap_err().to_string();
    assert!(["s-012.tar", "all 120 paths", "s-{008..127}.tar"].iter().all(|word| message.contains(word)), "{message}");
    // What exists as it is written is no pattern.
    write(root, "{1..2}/1.png", &png(77));
    assert_eq!(reds(&open(&[root.join("{1..2}")])), [77]);
    assert!(matches!(try_open(&[root.join("{x}")], None), Err(DataError::NotFound { .. })));
}

#[test]
fn the_memory_limit_holds_for_all_roots_together() {
    let folder = TempDir::new().unwrap();
    let paths = ["a", "b", "c"].map(|name| {
        write(folder.path(), name, &gz(&tar_of(&[("1.png", 1)], &[])));
        folder.path().join(name)
    });
    let each = png(1).len() as u64;
    let limit = |max_archive_memory_bytes| {
        let config = DataConfig { max_archive_memory_bytes, ..DataConfig::default() };
        Dataset::open_all(&paths, None, &config)
    };
    assert_eq!(limit(3 * each).unwrap().len(), 3);
    let message = limit(3 * each - 1).unwrap_err().to_string();
    assert!(message.contains("/c needs") && message.contains(&(3 * each - 1).to_string()), "{message}");
}

#[test]
fn a_root_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let paths = three_roots(folder.path());
    fs::create_dir(folder.path().join("nothing")).unwrap();
    for (name, words) in [("nothing", "is empty"), ("missing", "found nothing")] {
        let bad = folder.path().join(name);
        let message = try_open(&[paths[0].clone(), bad], None).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(words), "{message}");
    }
}

#[test]
fn a_list_names_pictures_with_labels_behind_commas_or_tabs_and_a_header_in_any_order() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let far = TempDir::new().unwrap();
    write(far.path(), "far.png", &png(3));
    write(root, "p/1.png", &png(1));
    write(root, "p/2, or so.png", &png(2));
    write(root, "p/no_ending", &png(4));
    let far = far.path().join("far.png");
    let far = far.display();
    let plain = format!("# comment\n\np/1.png\r\n{far}\np/2, or so.png\np/1.png");
    let quoted = "\"p/2, or so.png\"";
    for (name, text, expected_reds, expected_labels) in [
        ("any_name", plain.as_str(), vec![1, 3, 2, 1], vec![None; 4]),
        ("a.txt", "p/1.png\tcat\n# x\np/2, or so.png\tant", vec![1, 2], vec![Some(1), Some(0)]),
        ("b.csv", &format!("p/1.png,10\n{quoted}, 9\n"), vec![1, 2], vec![Some(1), Some(0)]),
        (
            "c.csv",
            &format!("label,path\n10,p/1.png\n,p/no_ending\n9,{quoted}"),
            vec![1, 4, 2],
            vec![Some(1), None, Some(0)],
        ),
        (
            "d.tsv",
            "\u{FEFF}Filename\tw\tClass\np/1.png\t5\tb\np/2, or so.png\t5\ta",
            vec![1, 2],
            vec![Some(1), Some(0)],
        ),
        ("e.csv", "id,breed\np/1.png,pug", vec![1], vec![Some(0)]),
    ] {
        write(root, name, text.as_bytes());
        let dataset = open(&[root.join(name)]);
        assert_eq!((reds(&dataset), labels(&dataset)), (expected_reds, expected_labels), "{name}");
    }
    assert_eq!(names(&open(&[root.join("c.csv")])), ["p/1.png", "p/no_ending", "p/2, or so.png"]);
    assert_eq!(open(&[root.join("c.csv")]).classes(), ["9", "10"]);
    assert_eq!(open(&[root.join("a.txt")]).description(), "list of files, 2 pictures, 2 classes");
    let both = open(&[root.join("a.txt"), root.join("p")]);
    assert_eq!((both.len(), both.name(0)), (4, "a.txt/p/1.png".into()));
}

#[test]
fn a_list_may_have_splits() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    (1..5).for_each(|red| write(root, &format!("{red}.png"), &png(red)));
    write(root, "all.csv", b"path,split,label\n1.png,valid,b\n2.png,train,c\n3.png,train,b\n4.png,,z\n");
    let paths = [root.join("all.csv")];
    let train = open(&paths);
    assert_eq!((reds(&train), train.split()), (vec![2, 3], Some("train")));
    assert_eq!(train.splits_present(), ["train", "valid"]);
    let valid = try_open(&paths, Some("valid")).unwrap();
    assert_eq!(
        (reds(&valid), labels(&valid), valid.classes()),
        (vec![1], vec![Some(0)], &["b", "c", "z"].map(String::from)[..])
    );
    let message = try_open(&paths, Some("test")).unwrap_err().to_string();
    assert!(message.contains("one of train, valid") && message.contains("all.csv"), "{message}");
}

#[test]
fn a_picture_that_a_list_names_in_vain_is_bad_when_loaded() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "1.png", &png(1));
    write(folder.path(), "list.txt", b"1.png\nmissing.png\n");
    let dataset = open(&[folder.path().join("list.txt")]);
    let bad = dataset.load(1).unwrap_err();
    assert!(dataset.len() == 2 && bad.name == "missing.png" && bad.reason.contains("cannot be read"), "{bad:?}");
}

#[test]
fn a_text_without_paths_of_pictures_is_no_list() {
    // Paths may be relative to the folder above, in which others leave files.
    let above = TempDir::new().unwrap();
    let folder = TempDir::new_in(above.path()).unwrap();
    for (name, text, words) in [
        ("a.txt", "one\ntwo\n", ["none of 2 lines", "\"one\""]),
        ("b.csv", "name,age\nx,3\n", ["none of 1 lines", "\"x\""]),
        ("c.txt", "# only a comment\n", ["without lines", "c.txt"]),
        ("d.md", "see a.png\nand\nother\nwords", ["only 1 of 4 lines", "cat/1.jpg"]),
    ] {
        write(folder.path(), name, text.as_bytes());
        let message = try_open(&[folder.path().join(name)], None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.contains(name), "{message}");
    }
}

#[test]
fn shards_written_by_gnu_tar_are_read_with_their_labels() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
    let dataset = open(&[data.join("webdataset-{000..001}.tar")]);
    assert_eq!(dataset.classes(), ["3", "7", "12"]);
    assert_eq!(labels(&dataset), [1, 2, 2, 0].map(Some));
    assert_eq!(dataset.name(1), "webdataset-000.tar/000001.png");
    assert!(dataset.name(3).ends_with("_itself/000003.left.jpg"));
    for index in 0..4 {
        let image = dataset.load(index).unwrap();
        assert_eq!((image.width_px(), image.height_px()), (16, 12));
    }
    assert_eq!(dataset.description(), "tar archives, 4 pictures, 3 classes");
}

#[test]
fn members_with_labels_go_before_folders_in_plain_and_packed_archives() {
    let folder = TempDir::new().unwrap();
    let pictures = [("train/a/1.png", 1), ("train/b/2.png", 2), ("test/a/3.png", 3)];
    let texts = [("train/a/1.cls", "5"), ("train/b/2.json", r#"{"label": 40}"#), ("test/a/3.cls", "40")];
    let tar = tar_of(&pictures, &texts);
    write(folder.path(), "a.tar", &tar);
    write(folder.path(), "a.tar.gz", &gz(&tar));
    for name in ["a.tar", "a.tar.gz"] {
        let paths = [folder.path().join(name)];
        let train = open(&paths);
        assert_eq!((train.classes(), labels(&train)), (&["5".to_owned(), "40".into()][..], vec![Some(0), Some(1)]));
        assert_eq!(labels(&try_open(&paths, Some("test")).unwrap()), [Some(1)]);
    }
}

#[test]
fn a_folder_of_archives_is_a_set_of_shards_in_one_order() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    // More than are kept open at once.
    for shard in 0..40u8 {
        let name = format!("{:02}.png", 40 - shard);
        let class = format!("{}", shard % 3);
        write(
            root,
            &format!("shard-{shard:02}.tar"),
            &tar_of(&[(&name, shard)], &[(&name.replace("png", "cls"), &class)]),
        );
    }
    write(root, "readme.md", b"about");
    let dataset = open(&[root.to_owned()]);
    assert_eq!(reds(&dataset), (0..40).collect::<Vec<u8>>());
    assert_eq!((dataset.name(0), dataset.label(5)), ("shard-00.tar/40.png".into(), Some(2)));
    let pattern = open(&[root.join("shard-{00..39}.tar")]);
    assert_eq!(dataset.fingerprint(), pattern.fingerprint());
    let mut order = Order::new(1, 40);
    let mut epoch: Vec<u32> = (0..40).map(|g| order.sample(g).image).collect();
    assert!(epoch.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() < 10, "shards are mixed: {epoch:?}");
    epoch.sort_unstable();
    assert_eq!(epoch, (0..40).collect::<Vec<u32>>());
    // Places in an archive are worth nothing in another that took its place.
    write(root, "shard-07.tar", &tar_of(&[("x.png", 1), ("y.png", 2), ("z.png", 3)], &[]));
    assert!(dataset.load(7).unwrap_err().reason.contains("has changed"));
    write(root, "shard-08.tar", b"no archive");
    let message = try_open(&[root.to_owned()], None).unwrap_err().to_string();
    assert!(message.contains("shard-08.tar"), "{message}");
}

#[test]
fn shards_whose_names_begin_with_splits_are_splits_with_the_same_classes() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    // Sorted data: each shard knows one class only.
    write(root, "set/train-000.tar", &tar_of(&[("cat/1.png", 1)], &[]));
    write(root, "set/train-001.tar.gz", &gz(&tar_of(&[("dog/2.png", 2)], &[])));
    write(root, "set/val_0.tar.gz", &gz(&tar_of(&[("dog/3.png", 3)], &[])));
    write(root, "set/extra.tar", &tar_of(&[("eel/4.png", 4)], &[]));
    let paths = [root.join("set")];
    let train = open(&paths);
    assert_eq!((train.split(), train.splits_present()), (Some("train"), &["train".to_owned(), "val".into()][..]));
    assert_eq!((reds(&train), labels(&train)), (vec![1, 2], vec![Some(0), Some(1)]));
    let val = try_open(&paths, Some("val")).unwrap();
    assert_eq!((names(&val), labels(&val)), (vec!["val_0.tar.gz/dog/3.png".to_owned()], vec![Some(1)]));
    assert_eq!((reds(&val), val.classes()), (vec![3], train.classes()));
    let message = try_open(&paths, Some("test")).unwrap_err().to_string();
    assert!(message.contains("one of train, val"), "{message}");
    // Without `train` beside another they are all taken.
    fs::remove_file(root.join("set/val_0.tar.gz")).unwrap();
    assert_eq!((open(&paths).split(), open(&paths).len()), (None, 3));
}

#[test]
fn the_folder_around_all_pictures_of_a_shard_is_its_class_if_others_have_it() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "a.tar", &tar_of(&[("cat/1.png", 1), ("dog/2.png", 2)], &[]));
    write(root, "b.tar", &tar_of(&[("dog/3.png", 3)], &[]));
    write(root, "c.tar", &tar_of(&[("pictures/4.png", 4)], &[]));
    let dataset = open(&[root.join("{a,b,c}.tar")]);
    assert_eq!((dataset.classes().len(), labels(&dataset)), (2, vec![Some(0), Some(1), Some(1), None]));
}
