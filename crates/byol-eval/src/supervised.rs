//! Training with labels: an encoder and a linear classifier, all weights, cross-entropy (paper C.1 and D.3).
//!
//! SGD with Nesterov momentum 0.9, random crop and flip. The paper does not state the schedule; the rate falls by a half
//! cosine to 0, as in its linear evaluation and in Kornblith et al. 2019. One loop serves fine-tuning and the
//! baseline from random weights.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use byol_data::benchmarks::Presence;
use byol_data::views::{ViewConfig, Views, ViewsConfig};
use byol_data::{Batch, Dataset, EvaluationOptions, LoaderOptions, PairLoader};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::model::{
    BatchNormMode, Linear, NamedGradients, ResNet, add_gradients, initialize, map_tensors, running_weight,
    visit_tensors,
};
use byol_nn::ops::{Precision, possible_precision, read_one};
use byol_nn::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::features::{BATCH_SIZE, Features, extract_by};
use super::progress::Countdown;
use super::truth::{Known, Truth};

/// Length and rates of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Rate of the first step; falls to 0 by a half cosine.
    pub learning_rate: f64,
    /// λ of the update, biases and norms left out; already divided by the rate where the paper does so.
    pub weight_decay: f64,
    /// Steps of `batch_size` pictures.
    pub steps: u64,
    /// Pictures per step.
    pub batch_size: usize,
}

/// Steps that `epochs` passes over `images` pictures take, batches one after the other over the bounds of epochs:
/// `⌊epochs · images / batch⌋`, at least one (reference, `configs/eval.py`).
pub(super) fn steps(epochs: f64, images: usize, batch_size: usize) -> u64 {
    // 0.29 · 100 is 28.999999999999996.
    ((epochs * images as f64 / batch_size as f64 + 1e-9) as u64).max(1)
}

/// What all trainings of a protocol share.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// Smallest area of the random crops, see [`ViewConfig::crop_area_min`]; that of pretraining.
    pub crop_area_min: f32,
    /// Decay of the running batch-norm averages.
    pub batch_norm_decay: f64,
    /// First weights of the classifier, order of the pictures and their crops.
    pub seed: u64,
}

/// An encoder with a linear classifier on its representation.
#[derive(Module, Debug)]
struct Network {
    encoder: ResNet,
    fc: Linear,
}

/// A trained classifier.
pub struct Classifier {
    network: Network,
    info: EncoderInfo,
    classes: usize,
}

impl Classifier {
    /// Trains `start`, whose weights are not touched, and a new classifier on every picture of `dataset`: softmax cross-entropy
    /// where a picture has one class, else the logistic loss of every class that is not difficult. `None` when the loss did not stay finite.
    ///
    /// # Errors
    /// Data errors; [`Error::Evaluation`] when a picture has no label.
    pub fn train(
        start: &Encoder,
        dataset: &Arc<Dataset>,
        truth: &Truth,
        setting: &Setting,
        fixed: &Fixed,
        device: &Device,
        countdown: &mut Countdown,
    ) -> Result<Option<Self>> {
        let classes = truth.classes(dataset).len();
        let setting = Setting { batch_size: setting.batch_size.min(dataset.len()), ..setting.clone() };
        let mut network = Network::new(start, classes, fixed.seed, &device.clone().autodiff());
        let mut optimizer = Optimizer::new(OptimizerConfig {
            kind: OptimizerKind::Sgd,
            nesterov: true,
            weight_decay: setting.weight_decay,
            ..OptimizerConfig::default()
        });
        let precision = match possible_precision(start.info.precision) {
            // Its gradients need a loss scale, which only pretraining has.
            Precision::F16 => Precision::F32,
            precision => precision,
        };
        let mut loader = load(dataset, &start.info, &setting, fixed)?;
        for step in 0..setting.steps {
            let batch = loader.next().expect("the loader holds every step")?;
            let progress = step as f64 / setting.steps as f64;
            let learning_rate = setting.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            let pass = start.info.batch_norm_updates + step + 1;
            let mode = BatchNormMode::batch(running_weight(fixed.batch_norm_decay, pass));
            let logits = network.forward(images(&batch, &start.info, device), &mode, precision);
            let loss = loss(logits, &truth.of(dataset, &batch.images)?, device);
            let mut gradients = NamedGradients::new();
            add_gradients(&network, &mut loss.backward(), 1.0, &mut gradients);
            if !read_one(loss.without_autodiff()).is_finite() {
                countdown.advance((setting.steps - step) * setting.batch_size as u64)?;
                return Ok(None);
            }
            optimizer.step(&mut network, gradients, learning_rate);
            loader.recycle(batch);
            countdown.advance(setting.batch_size as u64)?;
        }
        Ok(Some(Self { network: network.valid(), info: start.info.clone(), classes }))
    }

    /// The logits of every picture as features `[pictures, classes]`, batch norm frozen.
    pub fn logits(&mut self, dataset: &Arc<Dataset>, device: &Device) -> Result<Features> {
        let precision = possible_precision(self.info.precision);
        let forward = |images| self.network.forward(images, &BatchNormMode::Running, precision);
        let options = EvaluationOptions::of(dataset, BATCH_SIZE, 0);
        extract_by(forward, self.classes, &self.info, dataset, options, device, &mut Countdown::silent())
    }

    /// The encoder alone, as it was trained.
    pub fn into_encoder(self, training: String, steps: u64) -> Encoder {
        let batch_norm_updates = self.info.batch_norm_updates + steps;
        let info = EncoderInfo { training, steps, batch_norm_updates, ..self.info };
        Encoder { network: self.network.encoder, info }
    }
}

impl Network {
    /// The weights of `start` on `device` and a classifier drawn from `seed`.
    fn new(start: &Encoder, classes: usize, seed: u64, device: &Device) -> Self {
        let info = &start.info;
        let mut weights = HashMap::new();
        visit_tensors(&start.network, |tensor| {
            weights.insert(tensor.name.to_owned(), tensor.values);
        });
        let encoder = ResNet::new(&info.resnet(), info.channels(), device);
        let encoder = map_tensors(encoder, |name, _, _| weights[name].clone());
        let fc = initialize(Linear::new(info.representation_size, classes, true, device), seed, "classifier");
        Self { encoder, fc }
    }

    /// Logits `[batch, classes]` of prepared pictures.
    fn forward(&mut self, images: Tensor<4>, mode: &BatchNormMode, precision: Precision) -> Tensor<2> {
        self.fc.forward(self.encoder.forward(images, mode, precision), Precision::F32)
    }
}

/// Mean over the batch of `−ln softmax(logits)[label]`, or of the sum over classes of `ln(1 + exp(−y · logit))`, y = ±1, where
/// difficult ones are left out.
fn loss(logits: Tensor<2>, known: &Known, device: &Device) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    match known {
        Known::Classes(labels) => {
            let labels: Tensor<1, Int> = label_tensor(labels, device);
            -activation::log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean()
        }
        Known::Presences(presences) => {
            let signs: Vec<f32> = presences
                .iter()
                .map(|presence| match presence {
                    Presence::Positive => 1.0,
                    Presence::Negative => -1.0,
                    Presence::Difficult => 0.0,
                })
                .collect();
            let signs = Tensor::<2>::from_data(TensorData::new(signs, [batch, classes]), device);
            let losses = activation::softplus(-(logits * signs.clone()), 1.0) * signs.abs();
            losses.sum() / batch as f32
        }
    }
}

/// Labels `[batch]` as indices.
pub(super) fn label_tensor(labels: &[u32], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
    let shape = [labels.len()];
    Tensor::from_data(TensorData::new(labels, shape), device)
}

/// Random crops of at least this share of the area, and flips, prepared as `info` says.
pub(super) fn crop_and_flip(info: &EncoderInfo, crop_area_min: f32) -> Result<Views> {
    let preprocessing = &info.preprocessing;
    let view = ViewConfig { crop_area_min, ..ViewConfig::crop_and_flip() };
    let views = ViewsConfig {
        size_px: preprocessing.size_px,
        semantics: preprocessing.semantics,
        mean: preprocessing.mean.clone(),
        std: preprocessing.std.clone(),
        view1: view.clone(),
        view2: view,
    };
    Views::new(views).map_err(Error::from)
}

fn load(dataset: &Arc<Dataset>, info: &EncoderInfo, setting: &Setting, fixed: &Fixed) -> Result<PairLoader> {
    let options = LoaderOptions {
        seed: fixed.seed,
        batch_size: setting.batch_size,
        first_sample: 0,
        total_samples: setting.steps * setting.batch_size as u64,
        rank: 0,
        ranks: 1,
        threads: 0,
        prefetch_batches: 2,
        max_bad_fraction: dataset.config().max_bad_fraction,
    };
    let views = crop_and_flip(info, fixed.crop_area_min)?;
    Ok(PairLoader::start_single(dataset.clone(), views, options))
}

/// The pictures of a batch of single views: `[batch, height, width, channels]`.
pub(super) fn images(batch: &Batch, info: &EncoderInfo, device: &Device) -> Tensor<4> {
    let shape = [batch.images.len(), info.preprocessing.size_px, info.preprocessing.size_px, info.channels()];
    Tensor::from_data(TensorData::new(batch.view1.clone(), shape), device)
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_are_the_whole_batches_of_all_epochs_together() {
        let cases =
            [(80.0, 50_000, 1024, 3906), (30.0, 500, 500, 30), (0.29, 100, 1, 29), (2.5, 7, 4, 4), (0.1, 5, 5, 1)];
        for (epochs, images, batch_size, expected) in cases {
            assert_eq!(steps(epochs, images, batch_size), expected, "{epochs} · {images} / {batch_size}");
        }
    }
}
