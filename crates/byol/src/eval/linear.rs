//! Linear evaluation (paper C.1): a softmax classifier on frozen representations.
//!
//! Cross-entropy, SGD with Nesterov momentum 0.9, batch 1024, 80 epochs, no weight decay, cosine decay to 0; the learning
//! rate is chosen from {0.4, 0.3, 0.2, 0.1, 0.05} (times batch / 256, as the reference code scales its one value) on a held-out
//! tenth of the training pictures, then the classifier is trained again on all of them and tested once.
//!
//! Two differences from the paper, both because features are computed once: no random crop or flip while the classifier
//! trains, and all rates of the sweep train side by side in one pass.

use std::cmp::Ordering;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use byol_data::{Random, Stream};
use serde::Serialize;

use super::features::Features;
use crate::error::{Error, Result};

/// What may be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearOptions {
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Base rates to choose from.
    pub base_learning_rates: Vec<f64>,
    /// Share of the training pictures held out to choose, in `(0, 1)`.
    pub held_out: f64,
    /// Order of the pictures and choice of the held-out ones.
    pub seed: u64,
}

impl Default for LinearOptions {
    fn default() -> Self {
        Self {
            epochs: 80,
            batch_size: 1024,
            base_learning_rates: vec![0.4, 0.3, 0.2, 0.1, 0.05],
            held_out: 0.1,
            seed: 0,
        }
    }
}

/// Result with its protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinearReport {
    /// Share of test pictures whose best class is right, in percent.
    pub top1: f64,
    /// Share of test pictures whose class is among the best five, in percent.
    pub top5: f64,
    /// The chosen base learning rate.
    pub base_learning_rate: f64,
    /// Accuracy of each base rate on the held-out pictures, in percent.
    pub held_out_top1: Vec<(f64, f64)>,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures per step: what was asked for, or all that are not held out if those are fewer.
    pub batch_size: usize,
    /// Training pictures, the held-out ones among them.
    pub train_images: usize,
    /// Test pictures.
    pub test_images: usize,
    /// Everything else that fixes the number.
    pub protocol: &'static str,
}

/// Trains on `train`, tests once on `test`.
///
/// # Errors
/// [`Error::Evaluation`] without labels, with options that make no sense, or with too few pictures to hold some out.
pub fn evaluate(train: &Features, test: &Features, options: &LinearOptions, device: &Device) -> Result<LinearReport> {
    check(options, train.len())?;
    let train_set = Labelled::new(train)?;
    let test_set = Labelled::new(test)?;
    let classes = train_set.labels.iter().chain(&test_set.labels).max().map_or(0, |&label| label as usize + 1);

    let mut order: Vec<usize> = (0..train.len()).collect();
    Random::new(options.seed, Stream::Evaluation, 0, 0).shuffle(&mut order);
    let held_out_count = ((train.len() as f64 * options.held_out) as usize).max(1);
    let (held_out, rest) = order.split_at(held_out_count);
    // One batch size for the sweep and the final training, or the chosen rate would not be the one that is used.
    let options = &LinearOptions { batch_size: options.batch_size.min(rest.len()), ..options.clone() };

    let sweep = Classifiers::train(&train_set, rest, classes, &options.base_learning_rates, options, device);
    let held_out_top1 = sweep.accuracies(&train_set, held_out, 1, device);
    let best = best_index(&held_out_top1);
    let base_learning_rate = options.base_learning_rates[best];

    let chosen = Classifiers::train(&train_set, &order, classes, &[base_learning_rate], options, device);
    let all: Vec<usize> = (0..test.len()).collect();
    Ok(LinearReport {
        top1: chosen.accuracies(&test_set, &all, 1, device)[0],
        top5: chosen.accuracies(&test_set, &all, 5, device)[0],
        base_learning_rate,
        held_out_top1: options.base_learning_rates.iter().copied().zip(held_out_top1).collect(),
        epochs: options.epochs,
        batch_size: options.batch_size,
        train_images: train.len(),
        test_images: test.len(),
        protocol: "linear classifier on frozen representations, no augmentation, SGD Nesterov 0.9, rate × batch / 256, cosine \
                   decay, rate chosen on held-out train pictures, retrained on all, tested once",
    })
}

fn check(options: &LinearOptions, images: usize) -> Result<()> {
    let wrong = |message: String| Err(Error::Evaluation(format!("linear evaluation: {message}")));
    if options.epochs == 0 || options.batch_size == 0 {
        return wrong("expected at least 1 epoch and a batch of at least 1".to_owned());
    }
    if options.base_learning_rates.is_empty()
        || options.base_learning_rates.iter().any(|rate| !(*rate > 0.0 && rate.is_finite()))
    {
        return wrong(format!("expected learning rates above 0, got {:?}", options.base_learning_rates));
    }
    if !(options.held_out > 0.0 && options.held_out < 1.0) || images < 2 {
        return wrong(format!(
            "expected a held-out share between 0 and 1 of at least 2 pictures, got {} of {images}",
            options.held_out
        ));
    }
    Ok(())
}

fn best_index(values: &[f64]) -> usize {
    let best = values.iter().enumerate().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)));
    best.map_or(0, |(index, _)| index)
}

struct Labelled<'a> {
    features: &'a Features,
    labels: Vec<u32>,
}

impl<'a> Labelled<'a> {
    fn new(features: &'a Features) -> Result<Self> {
        Ok(Self { features, labels: features.required_labels()? })
    }

    /// Features `[rows, size]` and labels `[rows]` of the given rows.
    fn select(&self, rows: &[usize], device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let values: Vec<f32> = rows.iter().flat_map(|&row| self.features.row(row)).copied().collect();
        let labels: Vec<i64> = rows.iter().map(|&row| i64::from(self.labels[row])).collect();
        let features = Tensor::from_data(TensorData::new(values, [rows.len(), self.features.size]), device);
        (features, Tensor::from_data(TensorData::new(labels, [rows.len()]), device))
    }
}

/// Several softmax classifiers side by side, one for each learning rate; they share every batch.
struct Classifiers {
    /// `[size, rates · classes]`.
    weight: Tensor<2>,
    /// `[1, rates · classes]`.
    bias: Tensor<2>,
    rates: usize,
    classes: usize,
}

impl Classifiers {
    fn train(
        data: &Labelled,
        rows: &[usize],
        classes: usize,
        base_rates: &[f64],
        options: &LinearOptions,
        device: &Device,
    ) -> Self {
        const MOMENTUM: f32 = 0.9;
        let (size, columns) = (data.features.size, base_rates.len() * classes);
        let mut this = Self {
            weight: Tensor::zeros([size, columns], device),
            bias: Tensor::zeros([1, columns], device),
            rates: base_rates.len(),
            classes,
        };
        let (mut weight_momentum, mut bias_momentum) = (this.weight.zeros_like(), this.bias.zeros_like());
        let batch_size = options.batch_size;
        let scaled: Vec<f32> = base_rates
            .iter()
            .flat_map(|rate| std::iter::repeat_n((rate * batch_size as f64 / 256.0) as f32, classes))
            .collect();
        let peak = Tensor::<2>::from_data(TensorData::new(scaled, [1, columns]), device);
        let steps_per_epoch = rows.len() / batch_size;
        let total_steps = (options.epochs * steps_per_epoch) as f64;
        let mut rows = rows.to_vec();
        for epoch in 0..options.epochs {
            Random::new(options.seed, Stream::Evaluation, epoch as u64 + 1, 0).shuffle(&mut rows);
            for (step, batch) in rows.chunks_exact(batch_size).enumerate() {
                let progress = (epoch * steps_per_epoch + step) as f64 / total_steps;
                let rate = peak.clone() * (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())) as f32;
                let (x, labels) = data.select(batch, device);
                let gradient = this.logit_gradient(x.clone(), labels);
                let weight_gradient = x.transpose().matmul(gradient.clone());
                let bias_gradient = gradient.sum_dim(0);
                weight_momentum = weight_momentum * MOMENTUM + weight_gradient.clone();
                bias_momentum = bias_momentum * MOMENTUM + bias_gradient.clone();
                this.weight = this.weight - (weight_gradient + weight_momentum.clone() * MOMENTUM) * rate.clone();
                this.bias = this.bias - (bias_gradient + bias_momentum.clone() * MOMENTUM) * rate;
            }
        }
        this
    }

    /// `[batch, rates, classes]`.
    fn logits(&self, x: Tensor<2>) -> Tensor<3> {
        let [batch, _] = x.dims();
        (x.matmul(self.weight.clone()) + self.bias.clone()).reshape([batch, self.rates, self.classes])
    }

    /// Gradient of the mean cross-entropy with respect to the logits, `(softmax − one-hot) / batch`: `[batch, rates · classes]`.
    fn logit_gradient(&self, x: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<2> {
        let [batch, _] = x.dims();
        let one_hot: Tensor<2> = labels.one_hot::<2>(self.classes).float();
        let error = activation::softmax(self.logits(x), 2) - one_hot.unsqueeze_dim(1);
        error.reshape([batch, self.rates * self.classes]) / batch as f32
    }

    /// For each learning rate the share of rows whose label is among the `top` largest logits, in percent.
    fn accuracies(&self, data: &Labelled, rows: &[usize], top: usize, device: &Device) -> Vec<f64> {
        let mut right = vec![0usize; self.rates];
        for batch in rows.chunks(4096) {
            let (x, _) = data.select(batch, device);
            let logits = self.logits(x);
            let count = logits.shape().num_elements();
            let logits = crate::weights::to_vec(logits.reshape([count]));
            for (&row, logits) in batch.iter().zip(logits.chunks_exact(self.rates * self.classes)) {
                let label = data.labels[row] as usize;
                for (right, logits) in right.iter_mut().zip(logits.chunks_exact(self.classes)) {
                    // A tie counts against the classifier, as does a NaN.
                    let ahead = logits
                        .iter()
                        .enumerate()
                        .filter(|(class, x)| *class != label && x.partial_cmp(&&logits[label]) != Some(Ordering::Less))
                        .count();
                    *right += usize::from(ahead < top);
                }
            }
        }
        right.into_iter().map(|right| 100.0 * right as f64 / rows.len().max(1) as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f32> {
        match value {
            Value::Array(values) => values.iter().flat_map(numbers).collect(),
            number => vec![number.as_f64().unwrap() as f32],
        }
    }

    #[test]
    fn full_batch_training_ends_at_the_weights_of_the_pytorch_program() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/knn_linear.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let values = numbers(&golden["train"]["features"]);
        let labels: Vec<u32> = numbers(&golden["train"]["labels"]).into_iter().map(|label| label as u32).collect();
        let (count, classes) = (labels.len(), golden["classes"].as_u64().unwrap() as usize);
        let size = values.len() / count;
        let features = Features {
            values,
            size,
            images: (0..count as u32).collect(),
            labels: labels.iter().copied().map(Some).collect(),
            bad: vec![],
        };
        let expected = &golden["linear"];
        let epochs = expected["steps"].as_u64().unwrap() as usize;
        let options = LinearOptions { epochs, batch_size: count, ..LinearOptions::default() };
        let base_rate = expected["peak_lr"].as_f64().unwrap() * 256.0 / count as f64;
        let rows: Vec<usize> = (0..count).collect();
        let device = Device::flex();
        let trained =
            Classifiers::train(&Labelled::new(&features).unwrap(), &rows, classes, &[base_rate], &options, &device);
        let weight = crate::weights::to_vec(trained.weight.transpose().reshape([classes * size]));
        let bias = crate::weights::to_vec(trained.bias.reshape([classes]));
        for (ours, theirs) in
            weight.iter().chain(&bias).zip(numbers(&expected["weight"]).iter().chain(&numbers(&expected["bias"])))
        {
            assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        }
    }
}
