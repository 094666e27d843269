//! Loss and gradient over all pictures, and the coordinates L-BFGS works in.

use ndarray::linalg::general_mat_mul;
use rayon::prelude::*;

use super::classifier::Logistic;
use super::problem::Samples;
use super::products::{BLOCK_ROWS, add, multiply, view, view_mut, widen};
use crate::metrics::{Presence, Targets};

/// The objective of [`super::fit()`], divided by the number of pictures, as a function of coordinates in which its curvature is
/// about 1.
///
/// Value and gradient are then of one size, however many pictures there are. With several classes per picture, each class is
/// divided by its own number of pictures: classes share no weights, so that no minimum moves.
///
/// Two exact changes of variables bring the curvature to 1. Features are taken relative to their mean, which the bias, not being
/// penalised, undoes: `b' = b + W·mean`. And each weight is measured in units of one over the square root of its curvature at
/// `W = 0`, the diagonal of the Hessian there: `p_c (1 − p_c) · variance_j + λ / n` with `p_c` the share of class c among n
/// pictures. Neither moves the minimum.
pub(super) struct Objective<'a> {
    samples: Samples<'a>,
    all_classes: usize,
    learned: Vec<Learned>,
    /// Where each class is in `learned`.
    place: Vec<Option<usize>>,
    /// Biases of the classes that are not learned.
    certain: Vec<f64>,
    /// Of each feature.
    mean: Vec<f64>,
    variance: Vec<f64>,
    l2: f64,
    /// `[learned, size]`: what one unit of a coordinate is in weights.
    weight_unit: Vec<f64>,
    /// `[learned]`: the same for biases.
    bias_unit: Vec<f64>,
}

/// A class there is something to learn about.
struct Learned {
    class: usize,
    /// Pictures whose losses are summed.
    count: f64,
    /// Share of them that show it.
    share: f64,
}

/// Sums over a part of the pictures.
struct Sums {
    /// Of the losses, per learned class (the first only, with one class per picture).
    loss: Vec<f64>,
    /// Of the gradients of the logits: `[learned]`.
    error: Vec<f64>,
    /// Of those times the features: `[learned, size]`.
    product: Vec<f64>,
}

impl<'a> Objective<'a> {
    pub(super) fn new(samples: Samples<'a>, all_classes: usize) -> Self {
        let (learned, certain) = classes_to_learn(samples.targets, all_classes);
        let mut place = vec![None; all_classes];
        learned.iter().enumerate().for_each(|(index, learned)| place[learned.class] = Some(index));
        let (mean, variance) = mean_and_variance(samples);
        let (weight_unit, bias_unit) = (vec![], vec![]);
        let mut this =
            Self { samples, all_classes, learned, place, certain, mean, variance, l2: 1.0, weight_unit, bias_unit };
        this.set_l2(1.0);
        this
    }

    /// The strength of the regularisation, on which the coordinates depend, too.
    pub(super) fn set_l2(&mut self, l2: f64) {
        // Kept as the precision of the prior, whose penalty is half of it times the square.
        let l2 = 2.0 * l2;
        // At least a millionth of the curvature of an even class, for a class that is alone.
        let curvature = |learned: &Learned| (learned.share * (1.0 - learned.share)).max(0.25e-6);
        let unit = |curvature: f64| 1.0 / curvature.sqrt();
        let penalty = |learned: &Learned| l2 / learned.count;
        let units =
            |learned| self.variance.iter().map(move |variance| unit(curvature(learned) * variance + penalty(learned)));
        self.weight_unit = self.learned.iter().flat_map(units).collect();
        self.bias_unit = self.learned.iter().map(|learned| unit(curvature(learned))).collect();
        self.l2 = l2;
    }

    /// Coordinates of a classifier, or of one without weights; classes it knows nothing about start from nothing.
    pub(super) fn coordinates(&self, start: Option<&Logistic>) -> Vec<f64> {
        let size = self.samples.size;
        let mut weight = vec![0.0; self.learned.len() * size];
        let mut bias = vec![0.0; self.learned.len()];
        if let Some(start) = start {
            for (index, &Learned { class, .. }) in self.learned.iter().enumerate() {
                let row = &start.weight[class * size..(class + 1) * size];
                if start.bias[class].is_finite() {
                    bias[index] = (start.bias[class] + dot(row, &self.mean)) / self.bias_unit[index];
                }
                for (feature, value) in row.iter().enumerate() {
                    let at = index * size + feature;
                    weight[at] = value / self.weight_unit[at];
                }
            }
        }
        weight.extend(bias);
        weight
    }

    /// Weights and biases of all classes at a point.
    pub(super) fn classifier(&self, point: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let size = self.samples.size;
        let (learned_weight, learned_bias) = self.plain(point);
        let mut weight = vec![0.0; self.all_classes * size];
        let mut bias = self.certain.clone();
        for (index, &Learned { class, .. }) in self.learned.iter().enumerate() {
            weight[class * size..(class + 1) * size].copy_from_slice(&learned_weight[index * size..(index + 1) * size]);
            bias[class] = learned_bias[index];
        }
        (weight, bias)
    }

    /// Weights and biases of the learned classes at a point, for features as they are.
    fn plain(&self, point: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (weight, bias) = point.split_at(self.weight_unit.len());
        let weight: Vec<f64> = weight.iter().zip(&self.weight_unit).map(|(x, unit)| x * unit).collect();
        let rows = weight.chunks_exact(self.samples.size);
        let bias = bias.iter().zip(&self.bias_unit).zip(rows).map(|((x, unit), row)| x * unit - dot(row, &self.mean));
        let bias = bias.collect();
        (weight, bias)
    }

    /// The objective as it is, not divided by anything.
    pub(super) fn total(&self, point: &[f64]) -> f64 {
        if self.learned.is_empty() {
            return 0.0;
        }
        let (weight, bias) = self.plain(point);
        self.sums(&weight, &bias).loss.iter().sum::<f64>() + 0.5 * self.l2 * dot(&weight, &weight)
    }

    /// The objective, divided by the number of pictures, and its gradient.
    pub(super) fn evaluate(&self, point: &[f64]) -> (f64, Vec<f64>) {
        if self.learned.is_empty() {
            return (0.0, vec![]);
        }
        let (weight, bias) = self.plain(point);
        let sums = self.sums(&weight, &bias);
        let size = self.samples.size;
        let rows = weight.chunks_exact(size);
        let of_class =
            |((loss, row), learned): ((&f64, &[f64]), &Learned)| (loss + 0.5 * self.l2 * dot(row, row)) / learned.count;
        let value = sums.loss.iter().zip(rows).zip(&self.learned).map(of_class).sum();
        let mut gradient = vec![0.0; point.len()];
        let (weight_gradient, bias_gradient) = gradient.split_at_mut(weight.len());
        for (index, Learned { count, .. }) in self.learned.iter().enumerate() {
            let (error, penalty) = (sums.error[index] / count, self.l2 / count);
            bias_gradient[index] = error * self.bias_unit[index];
            for (feature, mean) in self.mean.iter().enumerate() {
                let at = index * size + feature;
                let data = sums.product[at] / count - error * mean;
                weight_gradient[at] = (data + penalty * weight[at]) * self.weight_unit[at];
            }
        }
        (value, gradient)
    }

    /// Pictures are cut into parts by shape alone and the parts are added in order, so that threads change no bit.
    fn sums(&self, weight: &[f64], bias: &[f64]) -> Sums {
        let pictures = self.samples.len();
        // As many parts as keep their products below 128 MiB, and no fewer than 8.
        let parts = ((1 << 24) / weight.len().max(1)).clamp(8, 128);
        let rows = pictures.div_ceil(parts).next_multiple_of(BLOCK_ROWS);
        let starts: Vec<usize> = (0..pictures).step_by(rows).collect();
        let parts: Vec<Sums> =
            starts.into_par_iter().map(|start| self.part(start, (start + rows).min(pictures), weight, bias)).collect();
        let mut total = Sums::zero(self.learned.len(), self.samples.size);
        for part in &parts {
            add(&mut total.loss, &part.loss);
            add(&mut total.error, &part.error);
            add(&mut total.product, &part.product);
        }
        total
    }

    fn part(&self, start: usize, end: usize, weight: &[f64], bias: &[f64]) -> Sums {
        let (size, classes) = (self.samples.size, self.learned.len());
        let mut sums = Sums::zero(classes, size);
        let mut features = vec![0.0; BLOCK_ROWS.min(end - start) * size];
        let mut logits = vec![0.0; BLOCK_ROWS.min(end - start) * classes];
        for first in (start..end).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(end - first);
            let (features, logits) = (&mut features[..rows * size], &mut logits[..rows * classes]);
            widen(&self.samples.features[first * size..(first + rows) * size], features);
            multiply(features, weight, bias, logits);
            for (row, logits) in logits.chunks_exact_mut(classes).enumerate() {
                self.to_errors(first + row, logits, &mut sums.loss);
                add(&mut sums.error, logits);
            }
            let errors = view(logits, rows, classes);
            let mut product = view_mut(&mut sums.product, classes, size);
            general_mat_mul(1.0, &errors.t(), &view(features, rows, size), 1.0, &mut product);
        }
        sums
    }

    /// Turns the logits of a picture into the gradient of its loss, `p − y`, and adds the loss.
    fn to_errors(&self, picture: usize, logits: &mut [f64], loss: &mut [f64]) {
        match self.samples.targets {
            Targets::Classes(labels) => {
                let label = self.place[labels[picture] as usize].expect("a class with pictures is learned");
                let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let right = logits[label] - highest;
                logits.iter_mut().for_each(|logit| *logit = (*logit - highest).exp());
                let sum: f64 = logits.iter().sum();
                logits.iter_mut().for_each(|logit| *logit /= sum);
                loss[0] += sum.ln() - right;
                logits[label] -= 1.0;
            }
            Targets::Presences(presences) => {
                let presences = &presences[picture * self.all_classes..(picture + 1) * self.all_classes];
                for ((logit, loss), learned) in logits.iter_mut().zip(loss).zip(&self.learned) {
                    let truth = match presences[learned.class] {
                        Presence::Positive => 1.0,
                        Presence::Negative => 0.0,
                        Presence::Difficult => {
                            *logit = 0.0;
                            continue;
                        }
                    };
                    // ln(1 + exp(z)) − y·z and 1 / (1 + exp(−z)), both without overflow.
                    let small = (-logit.abs()).exp();
                    *loss += logit.max(0.0) - truth * *logit + small.ln_1p();
                    *logit = if *logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) } - truth;
                }
            }
        }
    }
}

impl Sums {
    fn zero(classes: usize, size: usize) -> Self {
        Self { loss: vec![0.0; classes], error: vec![0.0; classes], product: vec![0.0; classes * size] }
    }
}

/// The classes there is something to learn about, and the biases of the others: −∞ for a class that is never seen, +∞ for one
/// of several per picture that is always there. (A single class of one per picture is learned at once.)
fn classes_to_learn(targets: Targets, classes: usize) -> (Vec<Learned>, Vec<f64>) {
    let mut positive = vec![0usize; classes];
    let mut known = vec![0usize; classes];
    match targets {
        Targets::Classes(labels) => {
            labels.iter().for_each(|&label| positive[label as usize] += 1);
            known.fill(labels.len());
        }
        Targets::Presences(presences) => {
            for row in presences.chunks_exact(classes) {
                for (class, presence) in row.iter().enumerate() {
                    positive[class] += usize::from(*presence == Presence::Positive);
                    known[class] += usize::from(*presence != Presence::Difficult);
                }
            }
        }
    }
    let always = |class: usize| matches!(targets, Targets::Presences(_)) && positive[class] == known[class];
    let learned = (0..classes).filter(|&class| positive[class] > 0 && !always(class)).map(|class| {
        let (positive, count) = (positive[class] as f64, known[class] as f64);
        Learned { class, count, share: positive / count }
    });
    let certain =
        positive.iter().map(|&positive| if positive > 0 { f64::INFINITY } else { f64::NEG_INFINITY }).collect();
    (learned.collect(), certain)
}

fn mean_and_variance(samples: Samples) -> (Vec<f64>, Vec<f64>) {
    let count = samples.len() as f64;
    let rows = || samples.features.chunks_exact(samples.size);
    let mut mean = vec![0.0; samples.size];
    for row in rows() {
        mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    let mut variance = vec![0.0; samples.size];
    for row in rows() {
        for ((variance, &value), mean) in variance.iter_mut().zip(row).zip(&mean) {
            *variance += (f64::from(value) - mean).powi(2);
        }
    }
    variance.iter_mut().for_each(|variance| *variance /= count);
    (mean, variance)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
