//! From a folder to the parts of the benchmark in it.

use std::path::Path;

use super::facts::Benchmark;
use super::parts::BenchmarkParts;
use super::tree::{self, Tree};
use super::{aircraft, birdsnap, caltech101, cars, cifar, dtd, flowers102, food101, pets, places365, sun397, voc2007};
use crate::{DataConfig, DataError};

impl Benchmark {
    /// Opens the tree at `root`; pictures are not decoded yet.
    ///
    /// # Errors
    /// [`DataError::IncompleteBenchmark`] with the first file that is missing, [`DataError::WrongLine`] for a line of a
    /// list that is not as it should be, [`DataError::Malformed`], and what [`Dataset::open`](crate::Dataset::open) gives.
    pub fn open(self, root: &Path, config: &DataConfig) -> Result<BenchmarkParts, DataError> {
        config.validate()?;
        let tree = Tree::open(self, root, config)?;
        let found = match self {
            Self::Cifar10 | Self::Cifar100 => return cifar::open(&tree, config),
            Self::Food101 => food101::read(&tree),
            Self::Birdsnap => birdsnap::read(&tree),
            Self::Sun397 => sun397::read(&tree),
            Self::Cars => cars::read(&tree),
            Self::Aircraft => aircraft::read(&tree),
            Self::Voc2007 => voc2007::read(&tree),
            Self::Dtd => dtd::read(&tree),
            Self::Pets => pets::read(&tree),
            Self::Caltech101 | Self::Caltech101WithoutBackground => caltech101::read(&tree),
            Self::Places365 => places365::read(&tree),
            Self::Flowers102 => flowers102::read(&tree),
        };
        found?.open(&tree, config)
    }

    /// The benchmark whose signature is at `root`, if there is exactly one. Looks for one file of each and reads none.
    /// Of Caltech-101 it is the one with background.
    pub fn detect(root: &Path) -> Option<Self> {
        let mut all = Self::ALL
            .into_iter()
            // The same tree is that of the paper's benchmark.
            .filter(|benchmark| *benchmark != Self::Caltech101WithoutBackground)
            .filter(|benchmark| tree::base(*benchmark, root).join(benchmark.facts().signature).exists());
        all.next().filter(|_| all.next().is_none())
    }
}
