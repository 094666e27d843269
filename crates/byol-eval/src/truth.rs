//! What is known about pictures: one class each, or for every class whether it is there.

use std::collections::BTreeMap;

use byol_data::Dataset;
use byol_data::benchmarks::{MultiLabels, Presence};
use byol_nn::{Error, Result};

use super::metrics::{self, Targets};

/// Where the truth about the pictures of a data set stands.
#[derive(Clone, Debug)]
pub enum Truth {
    /// In their labels.
    Labels,
    /// Apart; several classes per picture (VOC2007).
    Presences(MultiLabels),
}

/// The truth about some pictures.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// The class of each.
    Classes(Vec<u32>),
    /// `[pictures, classes]`.
    Presences(Vec<Presence>),
}

impl Truth {
    /// Class names.
    pub fn classes<'a>(&'a self, dataset: &'a Dataset) -> &'a [String] {
        match self {
            Self::Labels => dataset.classes(),
            Self::Presences(labels) => labels.classes(),
        }
    }

    /// The truth about the pictures at `places` of `dataset`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a picture without label.
    pub fn of(&self, dataset: &Dataset, places: &[u32]) -> Result<Known> {
        match self {
            Self::Labels => {
                let label = |&place: &u32| {
                    dataset.label(place as usize).ok_or_else(|| {
                        let name = dataset.name(place as usize);
                        Error::Evaluation(format!("{name} has no label; expected one for every picture"))
                    })
                };
                Ok(Known::Classes(places.iter().map(label).collect::<Result<_>>()?))
            }
            Self::Presences(labels) => {
                let of = |&place: &u32| labels.of(dataset, place as usize).iter().copied();
                Ok(Known::Presences(places.iter().flat_map(of).collect()))
            }
        }
    }
}

impl Known {
    /// For the metrics.
    pub fn targets(&self) -> Targets<'_> {
        match self {
            Self::Classes(labels) => Targets::Classes(labels),
            Self::Presences(presences) => Targets::Presences(presences),
        }
    }

    /// Every metric that fits, by name, and the confusion counts where there is one class per picture. `scores` are
    /// `[pictures, classes]`.
    pub fn judge(&self, scores: &[f64], classes: usize) -> (BTreeMap<String, f64>, Option<Vec<Vec<u32>>>) {
        match self {
            Self::Classes(labels) => {
                let confusion = metrics::confusion(labels, &metrics::predictions(scores, classes), classes);
                let top = |k| metrics::top_k(scores, labels, classes, k);
                let mean_per_class = metrics::mean_per_class(&confusion);
                let numbers = [("top1", top(1)), ("top5", top(5)), ("mean_per_class", mean_per_class)];
                (named(numbers), Some(confusion))
            }
            Self::Presences(presences) => {
                let map11 = metrics::mean_average_precision_11(scores, presences, classes);
                (named([("map11", map11)]), None)
            }
        }
    }
}

fn named<const N: usize>(numbers: [(&str, f64); N]) -> BTreeMap<String, f64> {
    numbers.map(|(metric, value)| (metric.to_owned(), value)).into()
}
