//! A linear classifier that learns beside the encoder, which does not feel it (reference `byol_experiment.py`; spec §2.1).

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use byol_eval::Features;
use byol_nn::Result;
use byol_nn::dist::{Ranks, sum_gradients};
use byol_nn::model::{Linear, NamedGradients, initialize, visit_tensors};
use byol_nn::ops::{self, Precision};
use byol_nn::optim::{Optimizer, OptimizerConfig};
use byol_nn::weights::{self, StoredTensor, StoredTensors, Values, to_vec};

use super::state::stored_bytes;
use crate::config::Config;

/// Softmax classifier on representations `y`, with its optimiser: the rule and constants of the run, so that with LARS the
/// weight has weight decay and trust scaling and the bias has not.
#[derive(Clone, Debug)]
pub struct Probe {
    layer: Linear,
    optimizer: Optimizer,
    classes: usize,
    /// What it starts from, and starts from again should it diverge.
    start: Linear,
    rule: OptimizerConfig,
}

/// What one step has gathered from its micro-batches.
#[derive(Default)]
pub struct Lesson {
    /// Sums over pictures.
    gradients: NamedGradients,
    loss: f64,
    right: usize,
    images: usize,
}

impl Lesson {
    /// What all ranks have gathered.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn sum(&mut self, ranks: &Ranks) -> Result<()> {
        if ranks.is_alone() {
            return Ok(());
        }
        self.gradients = sum_gradients(ranks, std::mem::take(&mut self.gradients))?;
        let mut sums = [self.loss, self.right as f64, self.images as f64];
        ranks.sum(&mut sums)?;
        (self.loss, self.right, self.images) = (sums[0], sums[1] as usize, sums[2] as usize);
        Ok(())
    }
}

/// How the probe did on a batch, before it learned from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeMetrics {
    /// Cross-entropy, mean over the pictures with label.
    pub loss: f64,
    /// Share of these whose largest logit is their class, in percent.
    pub top1: f64,
}

impl Probe {
    /// The probe before its first step; `None` where there is nothing to classify or nothing is measured while training.
    pub fn new(config: &Config, classes: usize, device: &Device) -> Option<Self> {
        if classes < 2 || !config.eval.is_on() {
            return None;
        }
        let layer = Linear::new(config.model.arch.representation_size(), classes, true, device);
        let start = initialize(layer, config.seed, "probe");
        let rule = config.optimizer.clone();
        Some(Self { layer: start.clone(), optimizer: Optimizer::new(rule.clone()), classes, start, rule })
    }

    /// Adds loss and gradient of one micro-batch of representations `y [batch, size]`; pictures without label do not count.
    pub fn study(&self, y: Tensor<2>, labels: &[Option<u32>], lesson: &mut Lesson) {
        let mut errors = self.logits(y.clone());
        for (logits, label) in errors.chunks_exact_mut(self.classes).zip(labels) {
            let Some(label) = label.map(|label| label as usize) else {
                logits.fill(0.0);
                continue;
            };
            lesson.images += 1;
            lesson.right += usize::from(is_right(logits, label));
            // Gradient of the cross-entropy with respect to the logits: softmax − one-hot.
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
            lesson.loss += sum.ln() - f64::from(logits[label] - largest);
            logits.iter_mut().for_each(|x| *x = (f64::from(*x - largest).exp() / sum) as f32);
            logits[label] -= 1.0;
        }
        let errors = Tensor::<2>::from_data(TensorData::new(errors, [labels.len(), self.classes]), &y.device());
        let bias = errors.clone().sum_dim(0).reshape([self.classes]);
        let [_, size] = y.dims();
        let weight = ops::product(errors.transpose(), y).reshape([self.classes * size]);
        for (name, gradient) in [("weight", weight), ("bias", bias)] {
            let total = match lesson.gradients.remove(name) {
                Some(total) => total + gradient,
                None => gradient,
            };
            lesson.gradients.insert(name.to_owned(), total);
        }
    }

    /// One optimiser step on the mean over the pictures with label of a batch; nothing happens if there were none. A probe
    /// that is no longer finite begins anew: it must not end a run whose encoder is well.
    pub fn learn(&mut self, lesson: Lesson, learning_rate: f64) -> Option<ProbeMetrics> {
        let Lesson { gradients, loss, right, images } = lesson;
        if images == 0 {
            return None;
        }
        let mean = gradients.into_iter().map(|(name, sum)| (name, sum / images as f32)).collect();
        self.optimizer.step(&mut self.layer, mean, learning_rate);
        let mut tensors = Vec::new();
        visit_tensors(&self.layer, |tensor| tensors.push(tensor.values));
        if !ops::read_one(ops::sum_of_squares(tensors)).is_finite() {
            (self.layer, self.optimizer) = (self.start.clone(), Optimizer::new(self.rule.clone()));
        }
        Some(ProbeMetrics { loss: loss / images as f64, top1: 100.0 * right as f64 / images as f64 })
    }

    /// Share of `features` whose largest logit is their class, in percent.
    pub fn top1(&self, features: &Features, device: &Device) -> f64 {
        let y = TensorData::new(features.values.clone(), [features.len(), features.size]);
        let logits = self.logits(Tensor::from_data(y, device));
        let rows = logits.chunks_exact(self.classes).zip(&features.labels);
        let right = rows.filter(|(logits, label)| label.is_some_and(|label| is_right(logits, label as usize))).count();
        100.0 * right as f64 / features.len().max(1) as f64
    }

    /// `[batch, classes]`.
    fn logits(&self, y: Tensor<2>) -> Vec<f32> {
        let logits = self.layer.forward(y, Precision::F32);
        let count = logits.shape().num_elements();
        to_vec(logits.reshape([count]))
    }

    /// What the layer takes in a file, in bytes.
    pub(super) fn stored_bytes(&self) -> u64 {
        let mut bytes = 0;
        visit_tensors(&self.layer, |tensor| bytes += stored_bytes(&tensor));
        bytes
    }

    /// Adds weights, moments and steps for a checkpoint, as `probe.*`.
    pub fn collect(&self, into: &mut StoredTensors) {
        weights::collect(&self.layer, "probe.", into);
        weights::collect_flat(self.optimizer.first_moments(), FIRST, into);
        weights::collect_flat(self.optimizer.second_moments(), SECOND, into);
        let steps = Values::I64(vec![self.optimizer.steps() as i64]);
        into.insert(STEPS.to_owned(), StoredTensor { shape: vec![], values: steps });
    }

    /// The probe of a checkpoint; a fresh one where the checkpoint has none.
    ///
    /// # Errors
    /// Weights of another shape.
    pub fn restore(
        config: &Config,
        classes: usize,
        from: &StoredTensors,
        path: &Path,
        device: &Device,
    ) -> Result<Option<Self>> {
        let Some(mut probe) = Self::new(config, classes, device) else { return Ok(None) };
        let Some(StoredTensor { values: Values::I64(steps), .. }) = from.get(STEPS) else { return Ok(Some(probe)) };
        probe.layer = weights::fill(probe.layer, "probe.", from, path)?;
        let moments = |prefix| weights::flat(prefix, from, device);
        let steps = steps.first().map_or(0, |&steps| steps as u64);
        probe.optimizer = Optimizer::restore(probe.rule.clone(), moments(FIRST), moments(SECOND), steps);
        Ok(Some(probe))
    }
}

/// Names in a checkpoint.
const FIRST: &str = "probe.first_moment.";
const SECOND: &str = "probe.second_moment.";
const STEPS: &str = "probe.steps";

/// Whether the label has the largest logit; a tie counts against the classifier, as does a NaN.
fn is_right(logits: &[f32], label: usize) -> bool {
    logits.iter().enumerate().all(|(class, &x)| class == label || x < logits[label])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    fn config(kind: &str) -> Config {
        let settings = ["model.arch=resnet18x0.0625".to_owned(), format!("optimizer.kind={kind}")];
        Preset::Cifar10.resolve(&settings).unwrap()
    }

    fn weights(probe: &Probe) -> Vec<f32> {
        let mut values = Vec::new();
        visit_tensors(&probe.layer, |tensor| values.extend(to_vec(tensor.values)));
        values
    }

    /// Representations of the probe's size, of two classes that a line parts.
    fn batch(count: usize, size: usize, device: &Device) -> (Tensor<2>, Vec<Option<u32>>) {
        let mut random = byol_data::Random::new(1, byol_data::Stream::Drawing, 0, 0);
        let labels: Vec<Option<u32>> = (0..count).map(|row| Some(row as u32 % 2)).collect();
        let values: Vec<f32> = labels
            .iter()
            .flat_map(|label| {
                let shift = label.unwrap() as f32;
                (0..size).map(|_| shift + 0.3 * random.normal()).collect::<Vec<_>>()
            })
            .collect();
        (Tensor::from_data(TensorData::new(values, [count, size]), device), labels)
    }

    #[test]
    fn the_gradient_is_that_of_autodiff_and_the_loss_that_of_burn() {
        let device = Device::flex();
        let probe = Probe::new(&config("sgd"), 3, &device).unwrap();
        let (y, mut labels) = batch(8, 32, &device);
        labels[0] = Some(2);
        let mut lesson = Lesson::default();
        probe.study(y.clone(), &labels, &mut lesson);

        let layer = initialize(Linear::new(32, 3, true, &device.clone().autodiff()), config("sgd").seed, "probe");
        let log_softmax = burn::tensor::activation::log_softmax(layer.forward(y.autodiff(), Precision::F32), 1);
        let one_hot: Vec<f32> =
            labels.iter().flat_map(|label| (0..3).map(|class| f32::from(*label == Some(class)))).collect();
        let one_hot = Tensor::<2>::from_data(TensorData::new(one_hot, [8, 3]), &device).autodiff();
        let loss = -(log_softmax * one_hot).sum();
        let mut expected = NamedGradients::new();
        byol_nn::model::add_gradients(&layer, &mut loss.backward(), 1.0, &mut expected);
        assert!((lesson.loss - loss.into_scalar::<f64>()).abs() < 1e-4);
        for (name, gradient) in expected {
            let ours = to_vec(lesson.gradients[&name].clone());
            let theirs = to_vec(gradient.without_autodiff());
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{name} {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_probe_learns_what_a_line_parts_and_micro_batches_are_shares_of_the_batch() {
        let device = Device::flex();
        for (kind, rate) in [("lars", 20.0), ("sgd", 0.1), ("adam", 0.01)] {
            let (y, mut labels) = batch(64, 32, &device);
            labels[5] = None;
            let (mut whole, mut parts) = (Probe::new(&config(kind), 2, &device).unwrap(), None);
            let mut last = None;
            for _ in 0..60 {
                let mut lesson = Lesson::default();
                whole.study(y.clone(), &labels, &mut lesson);
                last = whole.learn(lesson, rate);
                parts.get_or_insert_with(|| {
                    let mut probe = Probe::new(&config(kind), 2, &device).unwrap();
                    let mut lesson = Lesson::default();
                    for half in [0..32, 32..64] {
                        probe.study(y.clone().slice([half.clone()]), &labels[half], &mut lesson);
                    }
                    assert_eq!(lesson.images, 63, "the picture without label does not count");
                    probe.learn(lesson, rate);
                    let close = weights(&probe).iter().zip(&weights(&whole)).all(|(a, b)| (a - b).abs() < 1e-5);
                    assert!(close, "{kind}");
                    probe
                });
            }
            assert_eq!(last.unwrap().top1, 100.0, "{kind} {last:?}");
        }
    }

    #[test]
    fn a_probe_that_diverges_begins_anew() {
        let device = Device::flex();
        let mut probe = Probe::new(&config("sgd"), 2, &device).unwrap();
        let start = weights(&probe);
        for _ in 0..3 {
            let (y, labels) = batch(8, 32, &device);
            let mut lesson = Lesson::default();
            probe.study(y, &labels, &mut lesson);
            probe.learn(lesson, 1e38);
        }
        assert_eq!(weights(&probe), start);
        assert_eq!(probe.optimizer.steps(), 0);
    }

    #[test]
    fn a_picture_without_label_moves_nothing() {
        let device = Device::flex();
        let mut probe = Probe::new(&config("adam"), 2, &device).unwrap();
        let before = weights(&probe);
        let mut lesson = Lesson::default();
        probe.study(batch(4, 32, &device).0, &[None; 4], &mut lesson);
        assert_eq!(probe.learn(lesson, 1.0), None);
        assert_eq!(weights(&probe), before);
        assert!(Probe::new(&config("adam"), 0, &device).is_none(), "without labels there is no probe");
    }
}
