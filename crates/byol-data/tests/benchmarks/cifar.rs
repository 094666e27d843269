//! CIFAR, from records made here.

use super::*;

/// CIFAR records with a label of `label_bytes` bytes, the last of which is `start`, `start` + 1, … below `classes`.
fn records(count: usize, start: usize, label_bytes: usize, classes: usize) -> Vec<u8> {
    let record = |index: usize| {
        let mut record = vec![u8::try_from(index % 251).unwrap(); label_bytes + 3072];
        record[label_bytes - 1] = u8::try_from((start + index) % classes).unwrap();
        record
    };
    (0..count).flat_map(record).collect()
}

/// The binary version of a CIFAR set with 100 training and 20 test pictures.
fn cifar(benchmark: Benchmark) -> (TempDir, Vec<String>) {
    let tree = TempDir::new().unwrap();
    let mut names = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        write(tree.path(), name, bytes);
        names.push(name.to_owned());
    };
    if benchmark == Benchmark::Cifar10 {
        for batch in 1..=5 {
            add(&format!("cifar-10-batches-bin/data_batch_{batch}.bin"), &records(20, batch, 1, 10));
        }
        add("cifar-10-batches-bin/test_batch.bin", &records(20, 0, 1, 10));
    } else {
        add("cifar-100-binary/train.bin", &records(100, 0, 2, 100));
        add("cifar-100-binary/test.bin", &records(20, 0, 2, 100));
        write(tree.path(), "cifar-100-binary/fine_label_names.txt", b"");
    }
    (tree, names)
}

#[test]
fn cifar_holds_its_share_out_and_needs_every_file() {
    for benchmark in [Benchmark::Cifar10, Benchmark::Cifar100] {
        let (tree, names) = cifar(benchmark);
        let parts = open(benchmark, tree.path()).unwrap();
        let sizes = parts.sizes();
        assert_eq!((sizes.train, sizes.val, sizes.test), (90, 10, 20));
        let mut together = rows(&parts.train_and_val());
        assert_eq!(together, [rows(&parts.train), rows(&parts.val)].concat());
        together.sort();
        let folder = tree.path().join(names[0].rsplit_once('/').unwrap().0);
        let mut all = rows(&Dataset::open(&folder, Some("train"), &DataConfig::default()).unwrap());
        all.sort();
        assert_eq!(together, all);
        let places: Vec<usize> =
            rows(&parts.val).iter().map(|row| all.iter().position(|other| other == row).unwrap()).collect();
        assert_ne!(places, (0..10).collect::<Vec<_>>());
        assert_eq!(fingerprints(&parts), fingerprints(&open(benchmark, &folder).unwrap()));
        assert_eq!(Benchmark::detect(tree.path()), Some(benchmark));
        check_missing_files(benchmark, tree.path(), &names);
    }
}

#[test]
fn cifar_is_read_from_folders_with_its_number_of_classes_only() {
    let tree = TempDir::new().unwrap();
    let picture = fs::read(data().join("pictures/0.jpg")).unwrap();
    for class in 0..10 {
        (0..2).for_each(|number| write(tree.path(), &format!("train/{class}/{number}.jpg"), &picture));
        write(tree.path(), &format!("test/{class}/0.jpg"), &picture);
    }
    let sizes = open(Benchmark::Cifar10, tree.path()).unwrap().sizes();
    assert_eq!((sizes.train, sizes.val, sizes.test), (18, 2, 10));
    let message = open(Benchmark::Cifar100, tree.path()).unwrap_err().to_string();
    assert!(message.contains("expected pictures of the 100 classes of CIFAR-100, got 10 classes"), "{message}");
}
