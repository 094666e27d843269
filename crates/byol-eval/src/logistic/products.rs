//! Products of matrices in blocks of rows.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

/// Rows whose products are taken at once: large enough to fill registers, small enough for the second cache.
pub(super) const BLOCK_ROWS: usize = 128;

/// Scores `[pictures, classes]` of `features` `[pictures, size]`.
pub(super) fn scores(features: &[f32], size: usize, weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let classes = bias.len();
    let mut scores = vec![0.0; features.len() / size * classes];
    let blocks = scores.par_chunks_mut(BLOCK_ROWS * classes).zip(features.par_chunks(BLOCK_ROWS * size));
    blocks.for_each(|(scores, features)| {
        let mut wide = vec![0.0; features.len()];
        widen(features, &mut wide);
        multiply(&wide, weight, bias, scores);
    });
    scores
}

/// `logits[row] = W · features[row] + b`.
pub(super) fn multiply(features: &[f64], weight: &[f64], bias: &[f64], logits: &mut [f64]) {
    let classes = bias.len();
    let (rows, size) = (logits.len() / classes, weight.len() / classes);
    let mut product = view_mut(logits, rows, classes);
    general_mat_mul(1.0, &view(features, rows, size), &view(weight, classes, size).t(), 0.0, &mut product);
    logits.chunks_exact_mut(classes).for_each(|row| add(row, bias));
}

/// A row-major matrix.
pub(super) fn view(values: &[f64], rows: usize, columns: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("the slice has rows × columns values")
}

/// As [`view`], to write to.
pub(super) fn view_mut(values: &mut [f64], rows: usize, columns: usize) -> ArrayViewMut2<'_, f64> {
    ArrayViewMut2::from_shape((rows, columns), values).expect("the slice has rows × columns values")
}

/// The values in `f64`.
pub(super) fn widen(values: &[f32], wide: &mut [f64]) {
    wide.iter_mut().zip(values).for_each(|(wide, &value)| *wide = f64::from(value));
}

/// `sums += values`.
pub(super) fn add(sums: &mut [f64], values: &[f64]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
