//! Every benchmark, in small trees of the official layouts (`tests/golden/benchmarks.py`).

#[path = "benchmarks/cifar.rs"]
mod cifar;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use byol_data::benchmarks::{Benchmark, BenchmarkParts, Presence};
use byol_data::{DataConfig, DataError, Dataset};
use serde_json::Value;
use tempfile::TempDir;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/benchmarks")
}

fn expected(benchmark: Benchmark) -> Value {
    let text = fs::read_to_string(data().join("expected.json")).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    all[benchmark.name()].take()
}

/// Paths of the files below `folder`, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The lists of a benchmark, relative to the tree.
fn lists(benchmark: Benchmark) -> Vec<String> {
    let folder = data().join(benchmark.name());
    if folder.exists() { files(&folder) } else { Vec::new() }
}

/// The complete tree of `benchmark`.
fn tree(benchmark: Benchmark, expected: &Value) -> TempDir {
    let tree = TempDir::new().unwrap();
    for name in lists(benchmark) {
        write(tree.path(), &name, &fs::read(data().join(benchmark.name()).join(&name)).unwrap());
    }
    let pictures = [0, 1, 2].map(|picture| fs::read(data().join(format!("pictures/{picture}.jpg"))).unwrap());
    for (number, name) in texts(&expected["pictures"]).into_iter().enumerate() {
        write(tree.path(), name, &pictures[number % 3]);
    }
    tree
}

fn open(benchmark: Benchmark, root: &Path) -> Result<BenchmarkParts, DataError> {
    benchmark.open(root, &DataConfig::default())
}

fn rows(part: &Dataset) -> Vec<(String, Option<u32>)> {
    (0..part.len()).map(|index| (part.name(index), part.label(index))).collect()
}

fn expected_rows(value: &Value, base: &str) -> Vec<(String, Option<u32>)> {
    let row = |row: &Value| {
        let name = row[0].as_str().unwrap().strip_prefix(base).unwrap().trim_start_matches('/').to_owned();
        (name, row[1].as_u64().map(|label| u32::try_from(label).unwrap()))
    };
    value.as_array().unwrap().iter().map(row).collect()
}

fn fingerprints(parts: &BenchmarkParts) -> [u64; 3] {
    [&parts.train, &parts.val, &parts.test].map(Dataset::fingerprint)
}

fn check_against_golden(benchmark: Benchmark) {
    let expected = expected(benchmark);
    let base = expected["base"].as_str().unwrap();
    let tree = tree(benchmark, &expected);
    let parts = open(benchmark, tree.path()).unwrap();
    // torchvision writes the breeds of pets with capitals and spaces.
    let plain = |class: &str| class.replace('_', " ").to_lowercase();
    let classes: Vec<String> = parts.train.classes().iter().map(|class| plain(class)).collect();
    assert_eq!(classes, texts(&expected["classes"]).into_iter().map(plain).collect::<Vec<_>>());
    for (name, part) in [("train", &parts.train), ("val", &parts.val), ("test", &parts.test)] {
        assert_eq!(rows(part), expected_rows(&expected[name], base), "{name}");
        assert_eq!(part.classes(), parts.train.classes());
        let image = part.load(part.len() - 1).unwrap();
        assert_eq!((image.width_px(), image.height_px()), (8, 8));
    }
    assert_eq!(parts.benchmark, benchmark);
    let together = [rows(&parts.train), rows(&parts.val)].concat();
    assert_eq!(rows(&parts.train_and_val()), together);
    let all = [together, rows(&parts.test)].concat();
    let distinct: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(distinct.len(), all.len(), "no picture is in two parts");
    assert_eq!(parts.sizes().train + parts.sizes().val + parts.sizes().test, all.len());
    // The folder inside is the same data.
    let inside = open(benchmark, &tree.path().join(base)).unwrap();
    assert_eq!(fingerprints(&inside), fingerprints(&parts));
    let detected = match benchmark {
        Benchmark::Caltech101WithoutBackground => Benchmark::Caltech101,
        other => other,
    };
    assert_eq!(Benchmark::detect(tree.path()), Some(detected));
    assert_eq!(Benchmark::detect(&tree.path().join(base)), Some(detected));
}

/// Takes each of `names` away in turn; the error must name it and say where to get it.
fn check_missing_files(benchmark: Benchmark, root: &Path, names: &[String]) {
    for name in names {
        let path = root.join(name);
        let away = root.join("away");
        fs::rename(&path, &away).unwrap();
        let error = open(benchmark, root).unwrap_err();
        assert!(matches!(error, DataError::IncompleteBenchmark { .. }), "{error:?}");
        let message = error.to_string();
        for part in [path.to_str().unwrap(), benchmark.url(), benchmark.title(), "expected"] {
            assert!(message.contains(part), "{message} should contain {part}");
        }
        fs::rename(&away, &path).unwrap();
    }
    open(benchmark, root).unwrap();
}

fn check_every_required_file(benchmark: Benchmark) {
    let expected = expected(benchmark);
    let tree = tree(benchmark, &expected);
    let mut names = lists(benchmark);
    let is_caltech = matches!(benchmark, Benchmark::Caltech101 | Benchmark::Caltech101WithoutBackground);
    if !is_caltech && benchmark != Benchmark::Birdsnap {
        // What is in no list is not missed.
        let listed = ["train", "val", "test"].map(|part| expected_rows(&expected[part], "").pop().unwrap().0);
        names.extend(listed);
    }
    if is_caltech {
        names.push("caltech101/101_ObjectCategories".into());
    }
    if benchmark == Benchmark::Caltech101 {
        names.push("caltech101/101_ObjectCategories/BACKGROUND_Google".into());
    }
    check_missing_files(benchmark, tree.path(), &names);
}

macro_rules! benchmarks {
    ($($name:ident: $benchmark:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_read_as_the_reference_reads_it() {
                check_against_golden(Benchmark::$benchmark);
            }

            #[test]
            fn an_incomplete_tree_names_the_missing_file() {
                check_every_required_file(Benchmark::$benchmark);
            }
        }
    )*};
}

benchmarks!(
    food101: Food101,
    birdsnap: Birdsnap,
    sun397: Sun397,
    cars: Cars,
    aircraft: Aircraft,
    voc2007: Voc2007,
    dtd: Dtd,
    pets: Pets,
    caltech101: Caltech101,
    caltech101_without_background: Caltech101WithoutBackground,
    places365: Places365,
    flowers102: Flowers102,
);

#[test]
fn voc_tells_what_each_picture_shows_also_after_subsets() {
    let expected = expected(Benchmark::Voc2007);
    let tree = tree(Benchmark::Voc2007, &expected);
    let parts = open(Benchmark::Voc2007, tree.path()).unwrap();
    let targets = parts.targets.as_ref().unwrap();
    assert_eq!(targets.classes(), texts(&expected["multi_classes"]));
    let presences = |value: &Value| -> Vec<Presence> {
        let presence = |text: &str| match text {
            "positive" => Presence::Positive,
            "negative" => Presence::Negative,
            _ => Presence::Difficult,
        };
        texts(value).into_iter().map(presence).collect()
    };
    let mut seen = Vec::new();
    for (name, part) in [("train", &parts.train), ("val", &parts.val), ("test", &parts.test)] {
        for index in 0..part.len() {
            assert_eq!(targets.of(part, index), presences(&expected["presences"][name][index]), "{name} {index}");
            seen.extend_from_slice(targets.of(part, index));
        }
    }
    for presence in [Presence::Positive, Presence::Negative, Presence::Difficult] {
        assert!(seen.contains(&presence));
    }
    let both = parts.train_and_val();
    let few = both.subset(&[5, 0]).subset(&[0]);
    assert_eq!(few.name(0), parts.val.name(1));
    assert_eq!(targets.of(&few, 0), presences(&expected["presences"]["val"][1]));
    assert!(both.label(0).is_none() && both.classes().is_empty());
}

/// A tree of as many pictures as the archive holds: 467 in BACKGROUND_Google and 8 677 in 101 categories.
#[test]
fn caltech_with_background_has_the_paper_s_counts_and_without_it_the_same_parts() {
    let tree = TempDir::new().unwrap();
    let pictures = |class: &str, count: usize| {
        for number in 1..=count {
            write(tree.path(), &format!("101_ObjectCategories/{class}/image_{number:04}.jpg"), b"");
        }
    };
    pictures("BACKGROUND_Google", 467);
    // Of no picture's ending, as in the archive.
    write(tree.path(), "101_ObjectCategories/BACKGROUND_Google/tmp", b"");
    // Bytewise, some categories stand before BACKGROUND_Google and some behind.
    (0..101).for_each(|class| pictures(&format!("{}_{class}", if class < 5 { "A" } else { "b" }), 85));
    (86..=177).for_each(|number| write(tree.path(), &format!("101_ObjectCategories/b_50/image_{number:04}.jpg"), b""));
    let with = open(Benchmark::Caltech101, tree.path()).unwrap();
    assert_eq!((with.train.len(), with.val.len(), with.test.len()), (2_550, 510, 6_084));
    assert_eq!(with.sizes(), Benchmark::Caltech101.paper_sizes());
    assert_eq!((with.train.classes().len(), with.train.classes()[101].as_str()), (102, "BACKGROUND_Google"));
    let without = open(Benchmark::Caltech101WithoutBackground, tree.path()).unwrap();
    assert_eq!(without.sizes(), Benchmark::Caltech101WithoutBackground.sizes());
    assert_eq!(without.train.classes(), &with.train.classes()[..101]);
    for (part, of_all) in [(&without.train, &with.train), (&without.val, &with.val), (&without.test, &with.test)] {
        let mut categories = rows(of_all);
        categories.retain(|(_, label)| *label != Some(101));
        assert_eq!(rows(part), categories);
    }
}

#[test]
fn birdsnap_leaves_out_and_counts_dead_pictures() {
    let benchmark = Benchmark::Birdsnap;
    let expected = expected(benchmark);
    let tree = tree(benchmark, &expected);
    let parts = open(benchmark, tree.path()).unwrap();
    let missing: Vec<&str> =
        texts(&expected["missing"]).iter().map(|name| name.strip_prefix("birdsnap/").unwrap()).collect();
    assert_eq!(parts.missing, missing);
    // With all pictures there, no picture changes its part.
    for name in &missing {
        write(tree.path(), &format!("birdsnap/{name}"), &fs::read(data().join("pictures/0.jpg")).unwrap());
    }
    let complete = open(benchmark, tree.path()).unwrap();
    assert!(complete.missing.is_empty());
    let counts = [0, 1, 2].map(|class| {
        let count = |part: &Dataset| rows(part).iter().filter(|(_, label)| *label == Some(class)).count();
        (count(&complete.val), count(&complete.test))
    });
    assert_eq!(counts, [(2, 2), (2, 2), (3, 3)]);
    for (part, complete) in
        [(&parts.train, &complete.train), (&parts.val, &complete.val), (&parts.test, &complete.test)]
    {
        let mut kept = rows(complete);
        kept.retain(|(name, _)| !missing.contains(&name.as_str()));
        assert_eq!(rows(part), kept);
    }
    fs::remove_dir_all(tree.path().join("birdsnap/download")).unwrap();
    let message = open(benchmark, tree.path()).unwrap_err().to_string();
    assert!(message.contains("images/Acadian_Flycatcher/561.jpg is missing, and 26 more"), "{message}");
}

#[test]
fn a_wrong_line_is_named_with_its_file() {
    let cases = [
        (Benchmark::Food101, "food-101/meta/test.txt", 2, "pizza/1"),
        (Benchmark::Birdsnap, "birdsnap/images.txt", 1, "url\tpath"),
        (Benchmark::Birdsnap, "birdsnap/images.txt", 4, "u\tm\tAcadian_Flycatcher/1.jpg\t77"),
        (Benchmark::Birdsnap, "birdsnap/images.txt", 5, "u\tm"),
        (Benchmark::Birdsnap, "birdsnap/species.txt", 3, "1\tTwice"),
        (Benchmark::Birdsnap, "birdsnap/test_images.txt", 2, "Nowhere/1.jpg"),
        (Benchmark::Sun397, "SUN397/ClassName.txt", 2, "abbey"),
        (Benchmark::Sun397, "Training_01.txt", 3, "/a/alley/sun_1.jpg"),
        (Benchmark::Aircraft, "fgvc-aircraft-2013b/data/images_variant_val.txt", 1, "1025794 Concorde"),
        (Benchmark::Voc2007, "VOCdevkit/VOC2007/ImageSets/Main/cat_val.txt", 2, "000013  2"),
        (Benchmark::Voc2007, "VOCdevkit/VOC2007/ImageSets/Main/cat_val.txt", 2, "000014 -1"),
        (Benchmark::Dtd, "dtd/dtd/labels/train1.txt", 1, "banded_0002.jpg"),
        (Benchmark::Pets, "oxford-iiit-pet/annotations/trainval.txt", 1, "Abyssinian_100 x 1 1"),
        (Benchmark::Pets, "oxford-iiit-pet/annotations/test.txt", 1, "Bengal_7 1 1 1"),
        (Benchmark::Places365, "categories_places365.txt", 2, "/a/alley 0"),
        (Benchmark::Places365, "places365_val.txt", 5, "Places365_val_00000005.jpg 2"),
    ];
    for (benchmark, name, line, text) in cases {
        let tree = tree(benchmark, &expected(benchmark));
        let path = tree.path().join(name);
        let old = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = old.lines().collect();
        lines[line - 1] = text;
        fs::write(&path, lines.join("\r\n")).unwrap();
        let error = open(benchmark, tree.path()).unwrap_err();
        assert!(matches!(error, DataError::WrongLine { .. }), "{error:?}");
        let message = error.to_string();
        let start = format!("{}, line {line}: expected ", path.display());
        assert!(message.starts_with(&start) && message.contains(&format!("got \"{text}\"")), "{message}");
    }
}

#[test]
fn lists_that_contradict_themselves_are_refused() {
    let repeat = |text: String| text.clone() + &text;
    let cut = |count: usize| move |text: String| text.lines().take(count).map(|line| format!("{line}\n")).collect();
    type Change = Box<dyn Fn(String) -> String>;
    let cases: [(Benchmark, &str, Change, &str); 7] = [
        (Benchmark::Dtd, "dtd/dtd/labels/val1.txt", Box::new(repeat), "banded/banded_0005.jpg"),
        (Benchmark::Food101, "food-101/meta/train.txt", Box::new(cut(75)), "more than 75 pictures of apple_pie"),
        (Benchmark::Sun397, "Training_01.txt", Box::new(cut(10)), "more than 10 pictures of abbey"),
        (
            Benchmark::Voc2007,
            "VOCdevkit/VOC2007/ImageSets/Main/cat_test.txt",
            Box::new(cut(2)),
            "the 3 pictures of test.txt",
        ),
        (Benchmark::Aircraft, "fgvc-aircraft-2013b/data/images_variant_test.txt", Box::new(cut(0)), "none for test"),
        (Benchmark::Places365, "categories_places365.txt", Box::new(|text| text.replace(" 1", " 2")), "class 2"),
        (
            Benchmark::Pets,
            "oxford-iiit-pet/annotations/trainval.txt",
            Box::new(|text| text.replace(" 3 1 2", " 5 1 2")),
            "class 5",
        ),
    ];
    for (benchmark, name, change, reason) in cases {
        let tree = tree(benchmark, &expected(benchmark));
        let path = tree.path().join(name);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        let message = open(benchmark, tree.path()).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains("expected"), "{message}");
    }
    let tree = tree(Benchmark::Food101, &expected(Benchmark::Food101));
    let path = tree.path().join("food-101/meta/test.txt");
    fs::write(&path, b"apple_pie/\xFF").unwrap();
    let message = open(Benchmark::Food101, tree.path()).unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()) && message.contains("expected text"), "{message}");
}

#[test]
fn damaged_matlab_files_are_named() {
    for (benchmark, name) in [
        (Benchmark::Cars, "stanford_cars/devkit/cars_train_annos.mat"),
        (Benchmark::Cars, "stanford_cars/devkit/cars_meta.mat"),
        (Benchmark::Flowers102, "flowers-102/setid.mat"),
        (Benchmark::Flowers102, "flowers-102/imagelabels.mat"),
    ] {
        let tree = tree(benchmark, &expected(benchmark));
        let path = tree.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for damaged in [&bytes[..100], &bytes[..140], &[b"MATLAB 7.3 MAT-file".as_slice(), &[0; 600]].concat()] {
            fs::write(&path, damaged).unwrap();
            let error = open(benchmark, tree.path()).unwrap_err();
            assert!(matches!(&error, DataError::Malformed { path: named, .. } if *named == path), "{error}");
        }
    }
}

#[test]
fn other_places_of_lists_and_pictures_are_found() {
    let renamed = |benchmark: Benchmark, pairs: &[(&str, &str)]| {
        let tree = tree(benchmark, &expected(benchmark));
        let before = open(benchmark, tree.path()).unwrap();
        for (from, to) in pairs {
            fs::create_dir_all(tree.path().join(to).parent().unwrap()).unwrap();
            fs::rename(tree.path().join(from), tree.path().join(to)).unwrap();
        }
        (before, open(benchmark, tree.path()).unwrap())
    };
    let lists = [
        ("Training_01.txt", "Partitions/Training_01.txt"),
        ("Testing_01.txt", "Partitions/Testing_01.txt"),
        ("SUN397/ClassName.txt", "Partitions/ClassName.txt"),
    ];
    let (before, after) = renamed(Benchmark::Sun397, &lists);
    assert_eq!(fingerprints(&before), fingerprints(&after));
    let inside = [
        ("Training_01.txt", "SUN397/Training_01.txt"),
        ("Testing_01.txt", "SUN397/Testing_01.txt"),
        ("SUN397/ClassName.txt", "ClassName.txt"),
        ("SUN397/a", "a"),
        ("SUN397/c", "c"),
        ("SUN397/Training_01.txt", "Training_01.txt"),
        ("SUN397/Testing_01.txt", "Testing_01.txt"),
        ("SUN397", "empty"),
    ];
    let (before, after) = renamed(Benchmark::Sun397, &inside);
    assert_eq!(before.test.name(0), format!("SUN397/{}", after.test.name(0)));
    let test = ("stanford_cars/devkit/cars_test_annos_withlabels.mat", "stanford_cars/cars_test_annos_withlabels.mat");
    let (before, after) = renamed(Benchmark::Cars, &[test]);
    assert_eq!(fingerprints(&before), fingerprints(&after));
    let large = [("data_256_standard", "data_large"), ("val_256", "val_large")];
    let (before, after) = renamed(Benchmark::Places365, &large);
    assert_eq!(before.val.name(0).replace("data_256_standard", "data_large"), after.val.name(0));
    assert_eq!(before.test.name(0).replace("val_256", "val_large"), after.test.name(0));
    let (before, after) = renamed(Benchmark::Birdsnap, &[("birdsnap/download/images", "birdsnap/images")]);
    assert_eq!(before.val.name(0), format!("download/{}", after.val.name(0)));
}

#[test]
fn nothing_and_an_empty_folder_are_no_benchmark() {
    let tree = TempDir::new().unwrap();
    assert_eq!(Benchmark::detect(tree.path()), None);
    for benchmark in Benchmark::ALL {
        let error = open(benchmark, &tree.path().join("nowhere")).unwrap_err();
        assert!(matches!(error, DataError::NotFound { .. }), "{error}");
        let error = open(benchmark, tree.path()).unwrap_err();
        assert!(matches!(error, DataError::IncompleteBenchmark { .. }), "{benchmark}: {error}");
        assert!(error.to_string().contains(benchmark.url()));
    }
    // Two at once are none that could be told.
    write(tree.path(), "setid.mat", b"");
    assert_eq!(Benchmark::detect(tree.path()), Some(Benchmark::Flowers102));
    write(tree.path(), "variants.txt", b"");
    assert_eq!(Benchmark::detect(tree.path()), None);
}
