//! Several classes per picture.

use serde::Serialize;

use crate::Dataset;

/// Whether a picture shows a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It does (1 in the lists of VOC).
    Positive,
    /// It does not (−1).
    Negative,
    /// Only where it is hard to see (0). Such a picture is no example of the class, and none against it.
    Difficult,
}

/// What each picture of a data set shows, for data sets where it may be several classes or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiLabels {
    classes: Vec<String>,
    /// By picture of the source, and in it by class.
    presences: Vec<Presence>,
}

impl MultiLabels {
    pub(super) fn new(classes: Vec<String>, presences: Vec<Presence>) -> Self {
        Self { classes, presences }
    }

    /// Class names.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// For each class, whether picture `index` of `dataset` shows it. `dataset` is a part of the benchmark these labels came
    /// with, or made of one by [`Dataset::subset`].
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`], or `dataset` is one of another number of pictures.
    pub fn of(&self, dataset: &Dataset, index: usize) -> &[Presence] {
        let (place, places) = dataset.place(index);
        assert_eq!(places * self.classes.len(), self.presences.len(), "the labels are of another data set");
        &self.presences[place * self.classes.len()..][..self.classes.len()]
    }
}
