//! Weighted k-nearest-neighbour classification on the representation (Wu et al. 2018).
//!
//! Similarity is the cosine; each of the `k` most similar training pictures votes for its class with weight
//! `exp(cosine / T)`.

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::Dataset;
use byol_nn::{Error, Result, ops};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::features::Features;
use super::metrics::{accuracy, confusion, highest, is_among_top, mean_per_class};
use super::record::Outcome;

/// The two constants of the protocol; every k is combined with every T. Neighbours are searched once, for the largest k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnOptions {
    /// Neighbours that vote; fewer if there are fewer training pictures.
    pub ks: Vec<usize>,
    /// `T`.
    pub temperatures: Vec<f32>,
}

impl Default for KnnOptions {
    /// k = 200 and T = 0.1.
    fn default() -> Self {
        Self { ks: vec![200], temperatures: vec![0.1] }
    }
}

/// Pictures of the smallest class that has any; 0 without labels. A k above it lets other classes outvote it whatever its pictures
/// look like.
pub fn smallest_class(dataset: &Dataset) -> usize {
    let mut counts = vec![0; dataset.classes().len()];
    (0..dataset.len()).filter_map(|place| dataset.label(place)).for_each(|label| counts[label as usize] += 1);
    counts.into_iter().filter(|&count| count > 0).min().unwrap_or(0)
}

impl KnnOptions {
    /// What fixes the numbers, in words.
    pub fn protocol(&self) -> String {
        let constants = match (&self.ks[..], &self.temperatures[..]) {
            ([k], [temperature]) => format!("k {k}, T {temperature}"),
            (ks, temperatures) => format!("k of {ks:?}, T of {temperatures:?}"),
        };
        format!(
            "weighted k-NN, cosine, {constants}, votes exp(cos/T), representation before the projector, frozen batch norm"
        )
    }

    /// The combinations in the order of the reports: all T of the first k, then those of the next.
    fn combinations(&self) -> impl Iterator<Item = (usize, f32)> {
        self.ks.iter().flat_map(|&k| self.temperatures.iter().map(move |&temperature| (k, temperature)))
    }
}

/// Result of one k and T.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnnReport {
    /// Share of test pictures whose heaviest class is right, in percent; ties go to the lower class.
    pub top1: f64,
    /// Share of test pictures whose class is among the five heaviest, in percent; ties count against.
    pub top5: f64,
    /// Mean over the classes of their top-1, in percent.
    pub mean_per_class: f64,
    /// Test pictures of class i that were taken for class j: `[i][j]`.
    pub confusion: Vec<Vec<u32>>,
    /// Neighbours that voted.
    pub k: usize,
    /// `T`.
    pub temperature: f32,
}

impl KnnReport {
    /// For a table; `named` if there are rows of other k or T.
    pub fn outcome(self, named: bool) -> Outcome {
        let Self { top1, top5, mean_per_class, confusion, k, temperature } = self;
        let numbers = [("top1", top1), ("top5", top5), ("mean_per_class", mean_per_class)];
        Outcome {
            setting: if named { format!("k {k}, T {temperature}") } else { String::new() },
            numbers: numbers.map(|(metric, value)| (metric.to_owned(), value)).into(),
            chosen: Value::Null,
            confusion: Some(confusion),
        }
    }
}

/// Classifies `test` by `train` and counts what is right, for every k and T: all T of the first k, then those of the next.
///
/// # Errors
/// [`Error::Evaluation`] without labels or training pictures, without a k or T, with a k of 0, or with a temperature that is not
/// positive.
pub fn evaluate(train: &Features, test: &Features, options: &KnnOptions, device: &Device) -> Result<Vec<KnnReport>> {
    let labels = test.required_labels()?;
    let classes = 1 + labels.iter().chain(train.labels.iter().flatten()).max().map_or(0, |&label| label as usize);
    let judged = judge(train, test, classes, options, device, |query, votes| {
        (highest(votes), is_among_top(votes, labels[query], 5))
    })?;
    let report = |(index, (k, temperature)): (usize, (usize, f32))| {
        let predictions: Vec<u32> = judged.iter().map(|of_query| of_query[index].0).collect();
        let among_five = judged.iter().filter(|of_query| of_query[index].1).count();
        let confusion = confusion(&labels, &predictions, classes);
        KnnReport {
            top1: accuracy(&confusion),
            top5: 100.0 * among_five as f64 / test.len().max(1) as f64,
            mean_per_class: mean_per_class(&confusion),
            confusion,
            k: k.min(train.len()),
            temperature,
        }
    };
    Ok(options.combinations().enumerate().map(report).collect())
}

/// The class of each row of `test`, for every k and T in the order of [`evaluate`].
///
/// # Errors
/// As for [`evaluate`], but `test` needs no labels.
pub fn predict(train: &Features, test: &Features, options: &KnnOptions, device: &Device) -> Result<Vec<Vec<u32>>> {
    let classes = train.labels.iter().flatten().max().map_or(0, |&label| label as usize + 1);
    let predicted = judge(train, test, classes, options, device, |_, votes| highest(votes))?;
    let combinations = options.combinations().count();
    Ok((0..combinations).map(|index| predicted.iter().map(|of_query| of_query[index]).collect()).collect())
}

/// What `judgement` makes of the votes `[classes]`, for each row of `test` and each combination.
fn judge<T: Send>(
    train: &Features,
    test: &Features,
    classes: usize,
    options: &KnnOptions,
    device: &Device,
    judgement: impl Fn(usize, &[f64]) -> T + Sync,
) -> Result<Vec<Vec<T>>> {
    let KnnOptions { ks, temperatures } = options;
    let usable = |temperature: &f32| *temperature > 0.0 && temperature.is_finite();
    if ks.is_empty() || ks.contains(&0) || temperatures.is_empty() || !temperatures.iter().all(usable) {
        return Err(Error::Evaluation(format!(
            "k-NN: expected values of k of 1 or more and temperatures above 0, got k {ks:?}, T {temperatures:?}"
        )));
    }
    if train.is_empty() {
        return Err(Error::Evaluation("k-NN: expected training pictures, got none that can be read".to_owned()));
    }
    let labels = train.required_labels()?;
    let nearest = neighbours(train, test, ks.iter().copied().max().unwrap_or(0), device);
    let of_query = |(query, nearest): (usize, &Vec<Neighbour>)| {
        let judge_one = |(k, temperature)| {
            let voters = &nearest[..nearest.len().min(k)];
            judgement(query, &votes(voters, &labels, classes, temperature))
        };
        options.combinations().map(judge_one).collect()
    };
    Ok(nearest.par_iter().enumerate().map(of_query).collect())
}

/// A training picture and its cosine to the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Row in the training features.
    pub row: usize,
    /// Cosine, in `[−1, 1]`.
    pub cosine: f32,
}

/// For each row of `queries` its `k` nearest rows of `train`, most similar first; ties go to the lower row.
pub fn neighbours(train: &Features, queries: &Features, k: usize, device: &Device) -> Vec<Vec<Neighbour>> {
    const QUERIES_AT_ONCE: usize = 256;
    let size = train.size;
    let matrix =
        |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [values.len() / size, size]), device);
    let train_matrix = matrix(&train.l2_normalized()).transpose();
    let mut found = Vec::with_capacity(queries.len());
    for chunk in queries.l2_normalized().chunks(QUERIES_AT_ONCE * size) {
        let cosines = ops::product(matrix(chunk), train_matrix.clone());
        let count = cosines.shape().num_elements();
        let cosines = byol_nn::weights::to_vec(cosines.reshape([count]));
        found.par_extend(cosines.par_chunks_exact(train.len()).map(|row| largest(row, k)));
    }
    found
}

fn largest(cosines: &[f32], k: usize) -> Vec<Neighbour> {
    let k = k.min(cosines.len());
    let nearer = |a: &usize, b: &usize| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b));
    let mut rows: Vec<usize> = (0..cosines.len()).collect();
    if k < rows.len() {
        rows.select_nth_unstable_by(k, nearer);
        rows.truncate(k);
    }
    rows.sort_unstable_by(nearer);
    rows.into_iter().map(|row| Neighbour { row, cosine: cosines[row] }).collect()
}

/// The sum of `exp(cosine / T)` of each class.
fn votes(neighbours: &[Neighbour], labels: &[u32], classes: usize, temperature: f32) -> Vec<f64> {
    let mut votes = vec![0.0f64; classes];
    for neighbour in neighbours {
        // Shifted by 1 so that small temperatures do not overflow; the order of the classes is the same.
        votes[labels[neighbour.row] as usize] += f64::from((neighbour.cosine - 1.0) / temperature).exp();
    }
    votes
}

#[cfg(test)]
mod tests {
    use super::smallest_class;
    use crate::subset::tests::dataset;

    #[test]
    fn the_smallest_class_is_the_smallest_that_has_pictures() {
        assert_eq!(smallest_class(&dataset(&[40, 7, 100])), 7);
        assert_eq!(smallest_class(&dataset(&[40, 0, 100])), 40);
    }
}
