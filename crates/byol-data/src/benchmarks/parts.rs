//! The parts of a benchmark.

use super::facts::{Benchmark, PartSizes};
use super::labels::MultiLabels;
use super::tree::Tree;
use crate::{DataError, Dataset};

/// A benchmark in its parts, of which no two share a picture.
#[derive(Clone, Debug)]
pub struct BenchmarkParts {
    /// Which one.
    pub benchmark: Benchmark,
    /// To train on while hyper-parameters are chosen.
    pub train: Dataset,
    /// To choose hyper-parameters on.
    pub val: Dataset,
    /// To report.
    pub test: Dataset,
    /// What pictures show, for VOC2007 only, whose [`Dataset`]s have no labels.
    pub targets: Option<MultiLabels>,
    /// Pictures that the lists name and that are not there. Anywhere but in Birdsnap such a picture is an error.
    pub missing: Vec<String>,
}

impl BenchmarkParts {
    /// The whole training part, which the paper trains on once hyper-parameters are chosen: train, then validation.
    pub fn train_and_val(&self) -> Dataset {
        self.train.followed_by(&self.val)
    }

    /// Pictures found in each part; [`Benchmark::sizes`] says how many a complete tree has.
    pub fn sizes(&self) -> PartSizes {
        PartSizes { train: self.train.len(), val: self.val.len(), test: self.test.len() }
    }

    /// Refuses an empty part.
    pub(super) fn checked(self, tree: &Tree<'_>) -> Result<Self, DataError> {
        let parts = [("training", &self.train), ("validation", &self.val), ("test", &self.test)];
        let empty = parts.iter().find(|(_, part)| part.is_empty()).map(|(name, _)| *name);
        match empty {
            None => Ok(self),
            Some(name) => Err(DataError::Malformed {
                path: tree.base.clone(),
                expected: format!("pictures for training, validation and test of {}", self.benchmark.title()),
                got: format!("none for {name}"),
            }),
        }
    }
}
