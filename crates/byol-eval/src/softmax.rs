//! Softmax classifiers side by side, one for each learning rate, that share every batch.
//!
//! Cross-entropy, SGD with Nesterov momentum 0.9, cosine decay to 0. The gradients are written out, so that one pass over
//! the pictures trains all of them.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use byol_nn::weights::to_vec;
use byol_nn::{Result, ops};
use serde::{Deserialize, Serialize};

/// The improved variant's loss: cross-entropy of `c = α · tanh(logits / α)`, plus `β · mean(c²)` over batch and classes
/// (paper C.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitRegularisation {
    /// α, 20 in the paper.
    pub clip: f32,
    /// β, 0.01 in the paper.
    pub penalty: f32,
}

impl Default for LogitRegularisation {
    fn default() -> Self {
        Self { clip: 20.0, penalty: 1e-2 }
    }
}

/// Sizes of all classifiers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Of a representation.
    pub size: usize,
    /// Of the data.
    pub classes: usize,
    /// How many classifiers.
    pub rates: usize,
}

/// One classifier, out of the program's tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearWeights {
    /// `[classes, size]`, row-major.
    pub weight: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
}

/// How they are trained.
pub(super) struct Training {
    /// Of the first step, batch scaling included, one per classifier.
    rates: Vec<f32>,
    steps: usize,
    regularisation: Option<LogitRegularisation>,
}

impl Training {
    /// Rates are base rates times `batch_size` / 256.
    pub fn new(
        base_rates: &[f64],
        batch_size: usize,
        steps: usize,
        regularisation: Option<LogitRegularisation>,
    ) -> Self {
        let rates = base_rates.iter().map(|rate| (rate * batch_size as f64 / 256.0) as f32).collect();
        Self { rates, steps, regularisation }
    }
}

/// Trained classifiers.
pub(super) struct Classifiers {
    /// `[size, rates · classes]`.
    weight: Tensor<2>,
    /// `[1, rates · classes]`.
    bias: Tensor<2>,
    pub shape: Shape,
    /// Taken.
    pub steps: usize,
}

impl Classifiers {
    /// Trains on `batch(step)`: features `[batch, size]` and labels `[batch]`.
    pub fn train(
        shape: Shape,
        training: &Training,
        device: &Device,
        mut batch: impl FnMut(usize) -> Result<(Tensor<2>, Tensor<1, Int>)>,
    ) -> Result<Self> {
        const MOMENTUM: f32 = 0.9;
        let columns = shape.rates * shape.classes;
        let mut this = Self {
            weight: Tensor::zeros([shape.size, columns], device),
            bias: Tensor::zeros([1, columns], device),
            shape,
            steps: 0,
        };
        let (mut weight_momentum, mut bias_momentum) = (this.weight.zeros_like(), this.bias.zeros_like());
        let peaks = training.rates.iter().flat_map(|&rate| std::iter::repeat_n(rate, shape.classes)).collect();
        let peak = Tensor::<2>::from_data(TensorData::new(peaks, [1, columns]), device);
        for step in 0..training.steps {
            let progress = step as f64 / training.steps as f64;
            let rate = peak.clone() * (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())) as f32;
            let (x, labels) = batch(step)?;
            let gradient = this.logit_gradient(x.clone(), labels, training.regularisation);
            let weight_gradient = ops::product(x.transpose(), gradient.clone());
            let bias_gradient = gradient.sum_dim(0);
            weight_momentum = weight_momentum * MOMENTUM + weight_gradient.clone();
            bias_momentum = bias_momentum * MOMENTUM + bias_gradient.clone();
            this.weight = this.weight - (weight_gradient + weight_momentum.clone() * MOMENTUM) * rate.clone();
            this.bias = this.bias - (bias_gradient + bias_momentum.clone() * MOMENTUM) * rate;
            this.steps += 1;
        }
        Ok(this)
    }

    /// The one that `weights` describe; `size` is that of a representation.
    pub fn of(weights: &LinearWeights, size: usize, device: &Device) -> Self {
        let classes = weights.bias.len();
        let column = |place: usize| (0..classes).map(move |class| weights.weight[class * size + place]);
        let weight = TensorData::new((0..size).flat_map(column).collect::<Vec<f32>>(), [size, classes]);
        let bias = TensorData::new(weights.bias.clone(), [1, classes]);
        let shape = Shape { size, classes, rates: 1 };
        Self { weight: Tensor::from_data(weight, device), bias: Tensor::from_data(bias, device), shape, steps: 0 }
    }

    /// The first of them.
    pub fn weights(&self) -> LinearWeights {
        let Shape { size, classes, rates } = self.shape;
        let all = to_vec(self.weight.clone().reshape([size * rates * classes]));
        let row = |class: usize| (0..size).map(move |place| place * rates * classes + class);
        let weight = (0..classes).flat_map(row).map(|place| all[place]).collect();
        let bias = to_vec(self.bias.clone().reshape([rates * classes])).into_iter().take(classes).collect();
        LinearWeights { weight, bias }
    }

    /// `[batch, rates, classes]`.
    fn logits(&self, x: Tensor<2>) -> Tensor<3> {
        let [batch, _] = x.dims();
        let Shape { rates, classes, .. } = self.shape;
        (ops::product(x, self.weight.clone()) + self.bias.clone()).reshape([batch, rates, classes])
    }

    /// Gradient of the loss with respect to the logits: `[batch, rates · classes]`. Of the cross-entropy alone it is
    /// `(softmax − one-hot) / batch`.
    fn logit_gradient(
        &self,
        x: Tensor<2>,
        labels: Tensor<1, Int>,
        regularisation: Option<LogitRegularisation>,
    ) -> Tensor<2> {
        let [batch, _] = x.dims();
        let Shape { rates, classes, .. } = self.shape;
        let one_hot: Tensor<3> = labels.one_hot::<2>(classes).float().unsqueeze_dim(1);
        let logits = self.logits(x);
        let gradient = match regularisation {
            None => activation::softmax(logits, 2) - one_hot,
            Some(LogitRegularisation { clip, penalty }) => {
                let clipped = (logits / clip).tanh();
                let slope = clipped.clone().square() * -1.0 + 1.0;
                let clipped = clipped * clip;
                let of_clipped =
                    activation::softmax(clipped.clone(), 2) - one_hot + clipped * (2.0 * penalty / classes as f32);
                of_clipped * slope
            }
        };
        gradient.reshape([batch, rates * classes]) / batch as f32
    }

    /// The logits of each classifier for the rows that `features` gives, `[rates][rows · classes]`.
    pub fn scores(&self, features: impl Fn(&[usize]) -> Tensor<2>, rows: &[usize]) -> Vec<Vec<f32>> {
        let Shape { rates, classes, .. } = self.shape;
        let mut scores = vec![Vec::with_capacity(rows.len() * classes); rates];
        for batch in rows.chunks(4096) {
            let logits = self.logits(features(batch));
            let count = logits.shape().num_elements();
            for (place, logits) in to_vec(logits.reshape([count])).chunks_exact(classes).enumerate() {
                scores[place % rates].extend(logits);
            }
        }
        scores
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
        let expected = &golden["linear"];
        let epochs = expected["steps"].as_u64().unwrap() as usize;
        let base_rate = expected["peak_lr"].as_f64().unwrap() * 256.0 / count as f64;
        let device = Device::flex();
        let batch = || {
            let labels: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
            let x = Tensor::from_data(TensorData::new(values.clone(), [count, size]), &device);
            (x, Tensor::from_data(TensorData::new(labels, [count]), &device))
        };
        let shape = Shape { size, classes, rates: 1 };
        let training = Training::new(&[base_rate], count, epochs, None);
        let trained = Classifiers::train(shape, &training, &device, |_| Ok(batch())).unwrap();
        let weight = byol_nn::weights::to_vec(trained.weight.transpose().reshape([classes * size]));
        let bias = byol_nn::weights::to_vec(trained.bias.reshape([classes]));
        for (ours, theirs) in
            weight.iter().chain(&bias).zip(numbers(&expected["weight"]).iter().chain(&numbers(&expected["bias"])))
        {
            assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        }
    }

    /// The written-out gradient of the improved variant against Burn's autodiff of its loss.
    #[test]
    fn the_gradient_with_clipped_logits_is_that_of_the_loss() {
        let device = Device::flex();
        let (shape, regularisation) =
            (Shape { size: 3, classes: 4, rates: 1 }, LogitRegularisation { clip: 2.0, penalty: 0.3 });
        let mut random = byol_data::Random::new(1, byol_data::Stream::Drawing, 0, 0);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| 2.0 * random.normal()).collect() };
        let weight = Tensor::<2>::from_data(TensorData::new(draw(12), [3, 4]), &device);
        let x = Tensor::<2>::from_data(TensorData::new(draw(15), [5, 3]), &device);
        let labels = [0i64, 3, 1, 1, 2];
        let this = Classifiers { weight: weight.clone(), bias: Tensor::zeros([1, 4], &device), shape, steps: 0 };
        let label_tensor = || Tensor::<1, Int>::from_data(TensorData::new(labels.to_vec(), [5]), &device);
        let ours = this.logit_gradient(x.clone(), label_tensor(), Some(regularisation));

        let logits = x.matmul(weight).autodiff().require_grad();
        let clipped = (logits.clone() / 2.0).tanh() * 2.0;
        let one_hot: Tensor<2> = label_tensor().one_hot::<2>(4).float().autodiff();
        let entropy = -(activation::log_softmax(clipped.clone(), 1) * one_hot).sum_dim(1).mean();
        let loss = entropy + clipped.square().mean() * 0.3;
        let expected = logits.grad(&loss.backward()).unwrap();
        let difference = (ours - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-6, "{difference}");
    }
}
