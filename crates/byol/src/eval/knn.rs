//! Weighted k-nearest-neighbour classification on the representation (Wu et al. 2018).
//!
//! Similarity is the cosine; each of the `k` most similar training pictures votes for its class with weight
//! `exp(cosine / T)`.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::Serialize;

use super::features::Features;
use crate::error::{Error, Result};

/// The two constants of the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnOptions {
    /// Neighbours that vote; fewer if there are fewer training pictures.
    pub k: usize,
    /// `T`.
    pub temperature: f32,
}

impl Default for KnnOptions {
    fn default() -> Self {
        Self { k: 200, temperature: 0.1 }
    }
}

/// Result with its protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnnReport {
    /// Share of test pictures whose heaviest class is right, in percent.
    pub top1: f64,
    /// Neighbours that voted.
    pub k: usize,
    /// `T`.
    pub temperature: f32,
    /// Training pictures.
    pub train_images: usize,
    /// Test pictures.
    pub test_images: usize,
    /// Everything else that fixes the number.
    pub protocol: &'static str,
}

/// Classifies `test` by `train` and counts what is right.
///
/// # Errors
/// [`Error::Evaluation`] without labels, with `k` = 0, or with a temperature that is not positive.
pub fn evaluate(train: &Features, test: &Features, options: KnnOptions, device: &Device) -> Result<KnnReport> {
    let test_labels = test.required_labels()?;
    let predictions = predict(train, test, options, device)?;
    let right = predictions.iter().zip(&test_labels).filter(|(predicted, label)| predicted == label).count();
    Ok(KnnReport {
        top1: 100.0 * right as f64 / test.len().max(1) as f64,
        k: options.k.min(train.len()),
        temperature: options.temperature,
        train_images: train.len(),
        test_images: test.len(),
        protocol: "weighted k-NN, cosine, votes exp(cos/T), representation before the projector, frozen batch norm",
    })
}

/// The class of each row of `test`.
///
/// # Errors
/// As for [`evaluate`], but `test` needs no labels.
pub fn predict(train: &Features, test: &Features, options: KnnOptions, device: &Device) -> Result<Vec<u32>> {
    if options.k == 0 || !(options.temperature > 0.0 && options.temperature.is_finite()) {
        let KnnOptions { k, temperature } = options;
        return Err(Error::Evaluation(format!(
            "k-NN: expected k of 1 or more and a temperature above 0, got k {k}, T {temperature}"
        )));
    }
    let train_labels = train.required_labels()?;
    let classes = train_labels.iter().max().map_or(0, |&label| label as usize + 1);
    let nearest = neighbours(train, test, options.k, device);
    Ok(nearest.par_iter().map(|nearest| vote(nearest, &train_labels, classes, options.temperature)).collect())
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
        let cosines = matrix(chunk).matmul(train_matrix.clone());
        let count = cosines.shape().num_elements();
        let cosines = crate::weights::to_vec(cosines.reshape([count]));
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

/// The class with the largest sum of `exp(cosine / T)`; ties go to the lower class.
fn vote(neighbours: &[Neighbour], labels: &[u32], classes: usize, temperature: f32) -> u32 {
    let mut votes = vec![0.0f64; classes];
    for neighbour in neighbours {
        // Shifted by 1 so that small temperatures do not overflow; the winner is the same.
        votes[labels[neighbour.row] as usize] += f64::from((neighbour.cosine - 1.0) / temperature).exp();
    }
    let best = votes.iter().enumerate().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)));
    best.map_or(0, |(class, _)| class as u32)
}
