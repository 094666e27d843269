//! Every kind of `DATA`, from small files made here.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use byol_data::{DataConfig, DataError, Dataset};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

/// A picture of one colour, whose red tells pictures apart.
fn picture(red: u8, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(5, 4, Rgb([red, 20, 200]));
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn png(red: u8) -> Vec<u8> {
    picture(red, ImageFormat::Png)
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Names and contents of a data set with two splits and two classes.
fn tree() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train/dog/2.png", png(12)),
        ("train/cat/1.png", png(11)),
        ("train/cat/deep/3.JPG", picture(13, ImageFormat::Jpeg)),
        ("test/dog/1.png", png(21)),
        ("test/dog/.hidden.png", png(99)),
        ("__MACOSX/train/cat/1.png", png(99)),
        ("readme.txt", b"text".to_vec()),
    ]
}

fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(path: &Path, split: Option<&str>) -> Result<Dataset, DataError> {
    Dataset::open(path, split, &DataConfig::default())
}

fn names(dataset: &Dataset) -> Vec<String> {
    (0..dataset.len()).map(|index| dataset.name(index)).collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<u32>> {
    (0..dataset.len()).map(|index| dataset.label(index)).collect()
}

fn red(dataset: &Dataset, index: usize) -> u8 {
    dataset.load(index).unwrap().to_rgb8()[0]
}

/// What every form of [`tree`] must look like.
fn check_tree(path: &Path) {
    let train = open(path, None).unwrap();
    assert_eq!(names(&train), ["train/cat/1.png", "train/cat/deep/3.JPG", "train/dog/2.png"], "{path:?}");
    assert_eq!(labels(&train), [Some(0), Some(0), Some(1)]);
    assert_eq!(train.classes(), ["cat", "dog"]);
    assert_eq!((train.split(), train.splits_present()), (Some("train"), &["train".to_owned(), "test".to_owned()][..]));
    assert_eq!((red(&train, 0), red(&train, 2)), (11, 12));
    assert!(red(&train, 1).abs_diff(13) <= 2);
    let test = open(path, Some("test")).unwrap();
    assert_eq!((names(&test), labels(&test)), (vec!["test/dog/1.png".to_owned()], vec![Some(1)]));
    assert_eq!(red(&test, 0), 21);
    let message = open(path, Some("val")).unwrap_err().to_string();
    assert!(message.contains("\"val\"") && message.contains("train, test"), "{message}");
}

#[test]
fn a_folder_with_splits_is_read_in_name_order() {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in tree() {
        write(folder.path(), name, &bytes);
    }
    check_tree(folder.path());
    assert_eq!(
        open(folder.path(), None).unwrap().description(),
        "folder, split train (of train, test), 3 pictures, 2 classes"
    );
}

#[test]
fn a_tar_archive_is_read_whatever_its_compression_and_name() {
    let folder = TempDir::new().unwrap();
    let tar = tar_of(&tree());
    let zst = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    // Two frames, the second after a skippable one, as parallel compressors write them.
    let (first, second) = tar.split_at(1000);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let mut frames = ruzstd::encoding::compress_to_vec(first, level);
    frames.extend([0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    frames.extend(ruzstd::encoding::compress_to_vec(second, level));
    for (name, bytes) in
        [("a.tar", &tar), ("b.tgz", &gz(&tar)), ("no_ending", &gz(&tar)), ("c.zst", &zst), ("d.zst", &frames)]
    {
        write(folder.path(), name, bytes);
        check_tree(&folder.path().join(name));
    }
}

#[test]
fn archives_written_by_the_usual_programs_are_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for name in ["pictures.tar.gz", "pictures.tar.xz", "pictures.tar.zst"] {
        let dataset = open(&data.join(name), None).unwrap();
        assert_eq!(names(&dataset), ["pictures/one_pixel.png", "pictures/rgb.png"], "{name}");
        assert_eq!((dataset.load(0).unwrap().width_px(), dataset.load(1).unwrap().width_px()), (1, 16), "{name}");
    }
}

#[test]
fn an_archive_cut_short_is_refused() {
    let folder = TempDir::new().unwrap();
    let tar = tar_of(&tree());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let compressed =
        ["pictures.tar.gz", "pictures.tar.xz", "pictures.tar.zst"].map(|name| fs::read(data.join(name)).unwrap());
    for (name, bytes) in
        [("a.tar", &tar), ("b.gz", &compressed[0]), ("c.xz", &compressed[1]), ("d.zst", &compressed[2])]
    {
        // The plain one ends within the first picture.
        let keep = if name == "a.tar" { 530 } else { bytes.len() / 2 };
        write(folder.path(), name, &bytes[..keep]);
        let error = open(&folder.path().join(name), None).unwrap_err();
        assert!(matches!(error, DataError::BrokenArchive { .. }), "{name}: {error}");
    }
}

#[test]
fn a_compressed_archive_beyond_the_memory_limit_names_the_way_out() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "a.tar.gz", &gz(&tar_of(&tree())));
    let config = DataConfig { max_archive_memory_bytes: 100, ..DataConfig::default() };
    let message = Dataset::open(&folder.path().join("a.tar.gz"), None, &config).unwrap_err().to_string();
    assert!(message.contains("max_archive_memory_bytes = 100") && message.contains("plain .tar"), "{message}");
}

#[test]
fn hard_links_in_an_archive_stand_for_their_picture() {
    let folder = TempDir::new().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let bytes = png(7);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, "./z.png", &bytes[..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    archive.append_link(&mut header, "./a.png", "./z.png").unwrap();
    write(folder.path(), "links.tar", &archive.into_inner().unwrap());
    let dataset = open(&folder.path().join("links.tar"), None).unwrap();
    assert_eq!(names(&dataset), ["a.png", "z.png"]);
    assert_eq!((red(&dataset, 0), red(&dataset, 1)), (7, 7));
}

#[test]
fn the_content_decides_not_the_name() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "really_a_png.jpg", &png(30));
    write(folder.path(), "text.jpg", b"this is text");
    write(folder.path(), "zero.png", b"");
    let dataset = open(folder.path(), None).unwrap();
    assert_eq!(red(&dataset, 0), 30);
    for (index, words) in [(1, "not a picture"), (2, "empty")] {
        let bad = dataset.load(index).unwrap_err();
        assert!(bad.reason.contains(words) && bad.name == dataset.name(index), "{bad:?}");
    }
}

#[test]
fn a_single_picture_is_a_dataset_of_one() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "only", &png(3));
    let dataset = open(&folder.path().join("only"), None).unwrap();
    assert_eq!((names(&dataset), red(&dataset, 0)), (vec!["only".to_owned()], 3));
    assert_eq!(dataset.description(), "folder, 1 picture, no labels");
}

#[test]
fn a_file_beyond_the_size_limit_is_a_bad_image_in_folders_and_archives() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "d/a.png", &png(1));
    let tar = tar_of(&[("a.png", png(1))]);
    write(folder.path(), "a.tar", &tar);
    write(folder.path(), "a.tar.gz", &gz(&tar));
    let config = DataConfig { max_file_bytes: 10, ..DataConfig::default() };
    for name in ["d", "a.tar", "a.tar.gz"] {
        let bad = Dataset::open(&folder.path().join(name), None, &config).unwrap().load(0).unwrap_err();
        assert!(bad.reason.contains("data.max_file_bytes = 10"), "{bad:?}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_loops_end_and_odd_names_and_pipes_do_no_harm() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = folder.path();
    write(elsewhere.path(), "far.png", &png(5));
    write(root, "a/near.png", &png(6));
    symlink(elsewhere.path(), root.join("b")).unwrap();
    symlink(root, root.join("a/loop")).unwrap();
    symlink(root.join("a/near.png"), root.join("a/same.png")).unwrap();
    symlink("/nowhere/at/all.png", root.join("a/zz_broken.png")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xFF\xFE.png")), png(8)).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("pipe.png")).status().unwrap().success());
    let dataset = open(root, None).unwrap();
    assert_eq!(names(&dataset), ["a/near.png", "a/same.png", "a/zz_broken.png", "b/far.png", "\u{FFFD}\u{FFFD}.png"]);
    assert_eq!((red(&dataset, 1), red(&dataset, 3), red(&dataset, 4)), (6, 5, 8));
    assert!(dataset.load(2).unwrap_err().reason.contains("cannot be read"));
    let message = open(&root.join("pipe.png"), None).unwrap_err().to_string();
    assert!(message.contains("a device or pipe"), "{message}");
}

fn cifar_record(label: &[u8], red: u8) -> Vec<u8> {
    let planes = [vec![red; 1024], vec![2; 1024], vec![3; 1024]].concat();
    [label, &planes].concat()
}

fn cifar10() -> Vec<(&'static str, Vec<u8>)> {
    let names = "plane car bird cat deer dog frog horse ship truck".replace(' ', "\n");
    vec![
        ("set/batches.meta.txt", (names + "\n\n").into_bytes()),
        ("set/data_batch_2.bin", cifar_record(&[9], 102)),
        ("set/data_batch_1.bin", [cifar_record(&[3], 100), cifar_record(&[0], 101)].concat()),
        ("set/test_batch.bin", cifar_record(&[1], 200)),
        ("set/readme.html", b"<html>".to_vec()),
    ]
}

fn check_cifar10(path: &Path) {
    let train = open(path, None).unwrap();
    assert_eq!(names(&train), ["data_batch_1.bin#0", "data_batch_1.bin#1", "data_batch_2.bin#0"]);
    assert_eq!(labels(&train), [Some(3), Some(0), Some(9)]);
    assert_eq!((train.split(), train.classes()[3].as_str()), (Some("train"), "cat"));
    let image = train.load(2).unwrap();
    assert_eq!((image.width_px(), image.height_px(), &image.to_rgb8()[..6]), (32, 32, &[102, 2, 3, 102, 2, 3][..]));
    assert_eq!(red(&open(path, Some("test")).unwrap(), 0), 200);
}

#[test]
fn cifar_10_is_read_from_a_folder_an_archive_and_one_file() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for (name, bytes) in cifar10() {
        write(root, name, &bytes);
    }
    check_cifar10(root);
    check_cifar10(&root.join("set"));
    let archives = TempDir::new().unwrap();
    write(archives.path(), "c.tar.gz", &gz(&tar_of(&cifar10())));
    write(archives.path(), "c.tar", &tar_of(&cifar10()));
    check_cifar10(&archives.path().join("c.tar.gz"));
    check_cifar10(&archives.path().join("c.tar"));
    let one = open(&root.join("set/data_batch_1.bin"), None).unwrap();
    assert_eq!((one.len(), one.label(0), one.classes().len()), (2, Some(3), 10));
    let message = open(&root.join("set/data_batch_1.bin"), Some("test")).unwrap_err().to_string();
    assert!(message.contains("data_batch_1.bin") && message.contains("one of train"), "{message}");
    write(root, "other/mine.bin", &cifar_record(&[4], 1));
    assert_eq!(open(&root.join("other/mine.bin"), None).unwrap().label(0), Some(4));
}

#[test]
fn cifar_100_gives_the_fine_labels() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "train.bin", &[cifar_record(&[1, 99], 50), cifar_record(&[2, 7], 51)].concat());
    write(folder.path(), "test.bin", &cifar_record(&[0, 5], 60));
    let train = open(folder.path(), None).unwrap();
    assert_eq!((labels(&train), train.classes().len()), (vec![Some(99), Some(7)], 100));
    assert_eq!(red(&train, 1), 51);
}

#[test]
fn a_damaged_cifar_file_says_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "short/data_batch_1.bin", &cifar_record(&[1], 0)[..3000]);
    write(folder.path(), "label/data_batch_1.bin", &cifar_record(&[10], 0));
    for (name, words) in [("short", ["3073", "3000 bytes"]), ("label", ["a label below 10", "got 10"])] {
        let message = open(&folder.path().join(name), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.contains("data_batch_1.bin"), "{message}");
    }
}

fn idx(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn idx_set(root: &Path) {
    let pictures: Vec<u8> = (0..24).collect();
    write(root, "train-images-idx3-ubyte.gz", &gz(&idx(&[2, 3, 4], &pictures)));
    write(root, "train-labels-idx1-ubyte.gz", &gz(&idx(&[2], &[7, 1])));
    write(root, "t10k-images-idx3-ubyte", &idx(&[1, 3, 4], &pictures[12..]));
    write(root, "t10k-labels-idx1-ubyte", &idx(&[1], &[5]));
}

#[test]
fn idx_files_are_read_from_a_folder_and_alone_with_gz_or_without() {
    let folder = TempDir::new().unwrap();
    idx_set(folder.path());
    let train_file = folder.path().join("train-images-idx3-ubyte.gz");
    for train in [open(folder.path(), None).unwrap(), open(&train_file, None).unwrap()] {
        assert_eq!(names(&train), ["train-images-idx3-ubyte.gz#0", "train-images-idx3-ubyte.gz#1"]);
        assert_eq!((labels(&train), train.classes().len()), (vec![Some(7), Some(1)], 8));
        let image = train.load(1).unwrap();
        assert_eq!((image.width_px(), image.height_px(), &image.to_rgb8()[..4]), (4, 3, &[12, 12, 12, 13][..]));
    }
    let test = open(folder.path(), Some("test")).unwrap();
    assert_eq!((test.len(), test.label(0), test.split()), (1, Some(5), Some("test")));
    fs::remove_file(folder.path().join("train-labels-idx1-ubyte.gz")).unwrap();
    assert_eq!(labels(&open(&train_file, None).unwrap()), [None, None]);
}

#[test]
fn a_damaged_idx_file_says_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "a/x-images-idx3-ubyte", &idx(&[2, 3, 4], &[0; 20]));
    write(root, "b/x-images-idx3-ubyte", b"\x00\x00\x0D\x03 of floats");
    write(root, "c/x-images-idx3-ubyte", &idx(&[2, 1, 1], &[0; 2]));
    write(root, "c/x-labels-idx1-ubyte", &idx(&[3], &[0; 3]));
    write(root, "d/x-images-idx3-ubyte.gz", &gz(&idx(&[2, 3, 4], &[0; 24]))[..20]);
    write(root, "e/x-images-idx3-ubyte", &idx(&[u32::MAX, u32::MAX, u32::MAX], &[]));
    for (name, words) in [
        ("a", ["[2, 3, 4]", "20 bytes"]),
        ("b", ["00 00 08 03", "00 00 0d 03"]),
        ("c", ["2 labels", "3 labels"]),
        ("d", ["cut short", "x-images"]),
        ("e", ["header", "0 bytes"]),
    ] {
        let message = open(&root.join(name), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
    }
}

#[test]
fn what_cannot_be_used_is_explained() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("empty")).unwrap();
    write(root, "texts/a.txt", b"a");
    write(root, "texts/b/c.txt", b"a");
    write(root, "texts/d.csv", b"a");
    write(root, "texts.tar", &tar_of(&[("a.txt", b"a".to_vec())]));
    write(root, "a.zip", b"PK\x03\x04rest");
    write(root, "notes.md", b"# notes");
    write(root, "notes.md.gz", &gz(b"# notes"));
    write(root, "zero", b"");
    write(root, "labels", &idx(&[1], &[1]));
    write(root, "a.png", &png(1));
    for (name, words) in [
        ("missing", ["found nothing", "missing"]),
        ("empty", ["is empty", "jpg, jpeg"]),
        ("texts", ["jpg, jpeg", "2 × .txt, 1 × .csv"]),
        ("texts.tar", ["jpg, jpeg", "1 × .txt"]),
        ("a.zip", ["zip archive", "unpack it"]),
        ("notes.md", ["got a text file", "tar archive"]),
        ("notes.md.gz", ["a text file", "instead of a tar"]),
        ("zero", ["got an empty file", "zero"]),
        ("labels", ["IDX labels", "give the file of pictures"]),
    ] {
        let path: PathBuf = root.join(name);
        let message = open(&path, None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
        assert!(message.contains(path.to_str().unwrap()), "{name}: {message}");
    }
    let message = open(&root.join("a.png"), Some("test")).unwrap_err().to_string();
    assert!(message.contains("has no splits"), "{message}");
}

#[test]
fn the_fingerprint_is_that_of_the_content_not_of_the_place() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (name, bytes) in tree() {
        write(one.path(), name, &bytes);
        write(two.path(), name, &bytes);
    }
    let print = |folder: &TempDir| open(folder.path(), None).unwrap().fingerprint();
    assert_eq!(print(&one), print(&two));
    write(two.path(), "train/cat/new.png", &png(1));
    assert_ne!(print(&one), print(&two));
}
