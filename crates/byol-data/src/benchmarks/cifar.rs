//! CIFAR-10 and CIFAR-100: <https://www.cs.toronto.edu/~kriz/cifar.html>, the binary version as the archive or unpacked, or
//! pictures in folders or an archive with `train` and `test`.

use super::facts::Benchmark;
use super::hold_out;
use super::parts::BenchmarkParts;
use super::tree::Tree;
use crate::{DataConfig, DataError, Dataset};

const CIFAR10: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
const CIFAR100: [&str; 2] = ["train.bin", "test.bin"];
/// Pictures of the original training part.
const TRAIN: u32 = 50_000;

pub(super) fn open(tree: &Tree<'_>, config: &DataConfig) -> Result<BenchmarkParts, DataError> {
    let (files, val): (&[&str], u32) = match tree.benchmark {
        Benchmark::Cifar100 => (&CIFAR100, 5_067),
        _ => (&CIFAR10, 5_000),
    };
    let expected = "the binary version, or pictures with train and test";
    if files.iter().any(|name| tree.path(name).is_file())
        && let Some(missing) = files.iter().find(|name| !tree.path(name).is_file())
    {
        return Err(tree.missing(missing, 0, expected));
    }
    let open = |split| match Dataset::open(&tree.base, Some(split), config) {
        Err(DataError::EmptyFolder { .. } | DataError::NoPictures { .. }) => Err(tree.missing(files[0], 0, expected)),
        other => other,
    };
    let (all, test) = (open("train")?, open("test")?);
    for part in [&all, &test] {
        let count = part.classes().len();
        if count != tree.benchmark.classes() || (0..part.len()).any(|index| part.label(index).is_none()) {
            let expected =
                format!("pictures of the {} classes of {}", tree.benchmark.classes(), tree.benchmark.title());
            let got = format!("{count} classes, or pictures without one");
            return Err(DataError::Malformed { path: tree.base.clone(), expected, got });
        }
    }
    // A dataset has no more pictures than places can count.
    let (kept, held_out) = hold_out::share(tree.benchmark, u32::try_from(all.len()).unwrap_or(u32::MAX), val, TRAIN);
    let (train, val) = (all.subset(&kept), all.subset(&held_out));
    BenchmarkParts { benchmark: tree.benchmark, train, val, test, targets: None, missing: Vec::new() }.checked(tree)
}
