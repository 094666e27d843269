//! Linear evaluation (paper C.1): a softmax classifier on frozen representations.
//!
//! Cross-entropy, SGD with Nesterov momentum 0.9, batch 1024, 80 epochs, no weight decay, cosine decay to 0; the learning
//! rate is chosen from {0.4, 0.3, 0.2, 0.1, 0.05} (times batch / 256, as the reference code scales its one value) on [held-out](HeldOut)
//! training pictures, then the classifier is trained again on all of them and tested once.
//!
//! By default features are computed once, so that there is no random crop and flip while the classifier trains; with
//! [`Augmentation::CropFlip`] every picture passes through the encoder again in every epoch, as in the paper. All rates of
//! the sweep train side by side in one pass either way.
//!
//! The improved variant of the paper (C.1, Table 7) is [`Augmentation::Pretraining`] and [`LogitRegularisation`].

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use byol_data::views::{Views, ViewsConfig};
use byol_data::{Dataset, LoaderOptions, PairLoader, Random, Stream};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::edge::{self, Edge};
use super::features::Features;
use super::held_out::HeldOut;
use super::metrics::{confusion, mean_per_class, predictions, top_k};
use super::progress::Countdown;
use super::record::Outcome;
use super::softmax::{Classifiers, Shape, Training};
pub use super::softmax::{LinearWeights, LogitRegularisation};
use super::supervised::{crop_and_flip, images, label_tensor, steps};
use super::truth::{Known, Truth};

/// What may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearOptions {
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Base rates to choose from.
    pub base_learning_rates: Vec<f64>,
    /// Training pictures held out to choose.
    pub held_out: HeldOut,
    /// Order of the pictures and choice of the held-out ones.
    pub seed: u64,
    /// Clipped and penalised logits of the improved variant.
    pub logit_regularisation: Option<LogitRegularisation>,
}

/// What the pictures go through while the classifier trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Augmentation {
    /// Random crops of this smallest area, and flips: the paper's protocol.
    CropFlip(f32),
    /// The views of pretraining, one and the other by turns of an epoch: the improved variant.
    Pretraining(Box<ViewsConfig>),
}

impl Default for LinearOptions {
    fn default() -> Self {
        Self {
            epochs: 80,
            batch_size: 1024,
            base_learning_rates: vec![0.4, 0.3, 0.2, 0.1, 0.05],
            held_out: HeldOut::default(),
            seed: 0,
            logit_regularisation: None,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinearReport {
    /// Share of test pictures whose best class is right, in percent.
    pub top1: f64,
    /// Share of test pictures whose class is among the best five, in percent.
    pub top5: f64,
    /// Mean over the classes of their share of right pictures, in percent.
    pub mean_per_class: f64,
    /// Test pictures of class i that were taken for class j, `[i][j]`.
    pub confusion: Vec<Vec<u32>>,
    /// The chosen base learning rate.
    pub base_learning_rate: f64,
    /// Accuracy of each base rate on the held-out pictures, in percent.
    pub held_out_top1: Vec<(f64, f64)>,
    /// Pictures per step: what was asked for, or all that are not held out if those are fewer.
    pub batch_size: usize,
    /// Steps of the last training, on all pictures: ⌊epochs · pictures / batch⌋.
    pub steps: usize,
}

/// Trains on `train`, tests once on `test`.
///
/// # Errors
/// [`Error::Evaluation`] without labels, with options that make no sense, or with too few pictures to hold some out.
pub fn evaluate(train: &Features, test: &Features, options: &LinearOptions, device: &Device) -> Result<LinearReport> {
    Ok(fit(train, test, options, device, &mut Countdown::silent())?.0)
}

/// As [`evaluate`], with the classifier that was tested; `countdown` goes down by [`fitted_pictures`].
///
/// # Errors
/// As [`evaluate`], and [`Error::Interrupted`].
pub fn fit(
    train: &Features,
    test: &Features,
    options: &LinearOptions,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<(LinearReport, LinearWeights)> {
    check(options)?;
    let train_set = Labelled::new(train)?;
    let [held_out, rest, all] = train_set.parts(options)?;
    let options = &options.with_batch_of_at_most(rest.len());
    let mut fit = |rows: &[usize], rates: &[f64]| {
        let mut samples = epoch_after_epoch(rows, options.seed);
        let training = options.training(rates, options.steps(rows.len()));
        Classifiers::train(train_set.shape(test, rates)?, &training, device, |_| {
            let batch: Vec<usize> = samples.by_ref().take(options.batch_size).collect();
            countdown.advance(batch.len() as u64)?;
            Ok(train_set.select(&batch, device))
        })
    };
    finish(train, test, options, &held_out, device, |chosen| match chosen {
        None => fit(&rest, &options.base_learning_rates),
        Some(rate) => fit(&all, &[rate]),
    })
}

/// As [`fit`], with augmented pictures of `dataset` while the classifier trains; held-out and test pictures are not
/// augmented. `train` holds the features of the same `dataset`.
///
/// # Errors
/// As [`fit`], and data errors.
#[expect(clippy::too_many_arguments, reason = "what a protocol consists of")]
pub fn fit_augmented(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    train: &Features,
    test: &Features,
    augmentation: &Augmentation,
    options: &LinearOptions,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<(LinearReport, LinearWeights)> {
    check(options)?;
    let train_set = Labelled::new(train)?;
    let [held_out, rest, all] = train_set.parts(options)?;
    let options = &options.with_batch_of_at_most(rest.len());
    let info = encoder.info.clone();
    let views = augmentation.views(&info)?;
    let mut encoder = encoder.frozen();
    finish(train, test, options, &held_out, device, |chosen| {
        let (rows, rates, what) = match chosen {
            None => (&rest, options.base_learning_rates.clone(), "linear, all rates side by side"),
            Some(rate) => (&all, vec![rate], "linear, once more on all pictures"),
        };
        countdown.begin(what.to_owned());
        let places: Vec<u32> = rows.iter().map(|&row| train.images[row]).collect();
        let part = Arc::new(dataset.subset(&places));
        let steps = options.steps(rows.len());
        let mut loader = augmentation.load(&part, &views, options, steps);
        let training = options.training(&rates, steps);
        Classifiers::train(train_set.shape(test, &rates)?, &training, device, |_| {
            let batch = loader.next().expect("the loader holds every step")?;
            let labels = match Truth::Labels.of(&part, &batch.images)? {
                Known::Classes(labels) => label_tensor(&labels, device),
                Known::Presences(_) => unreachable!("labels are one class per picture"),
            };
            let representation = encoder.forward(images(&batch, &info, device));
            countdown.advance(batch.images.len() as u64)?;
            loader.recycle(batch);
            Ok((representation, labels))
        })
    })
}

/// Pictures that pass in both trainings of an evaluation, through the encoder in [`fit_augmented`].
///
/// # Errors
/// [`Error::Evaluation`] with too few pictures to hold some out.
pub fn fitted_pictures(options: &LinearOptions, train_images: usize) -> Result<u64> {
    let rest = train_images - options.held_out.count(train_images)?;
    let options = options.with_batch_of_at_most(rest);
    Ok([rest, train_images].map(|images| (options.steps(images) * options.batch_size) as u64).iter().sum())
}

/// Chooses on the held-out pictures among what `train(None)` gives, tests what `train(Some(rate))` gives.
fn finish(
    train: &Features,
    test: &Features,
    options: &LinearOptions,
    held_out: &[usize],
    device: &Device,
    mut fit: impl FnMut(Option<f64>) -> Result<Classifiers>,
) -> Result<(LinearReport, LinearWeights)> {
    let (train_set, test_set) = (Labelled::new(train)?, Labelled::new(test)?);
    let sweep = fit(None)?;
    let held_out_labels: Vec<u32> = held_out.iter().map(|&row| train_set.labels[row]).collect();
    let scores = sweep.scores(|rows| train_set.select(rows, device).0, held_out);
    let held_out_top1: Vec<f64> =
        scores.iter().map(|scores| top_k(scores, &held_out_labels, sweep.shape.classes, 1)).collect();
    let best = best_index(&held_out_top1);
    let base_learning_rate = options.base_learning_rates[best];
    let all: Vec<usize> = (0..test.len()).collect();
    let chosen = fit(Some(base_learning_rate))?;
    let scores = chosen.scores(|rows| test_set.select(rows, device).0, &all).swap_remove(0);
    let classes = chosen.shape.classes;
    let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
    let confusion = confusion(&test_set.labels, &predictions(&scores, classes), classes);
    let report = LinearReport {
        top1: top_k(&scores, &test_set.labels, classes, 1),
        top5: top_k(&scores, &test_set.labels, classes, 5),
        mean_per_class: mean_per_class(&confusion),
        confusion,
        base_learning_rate,
        held_out_top1: options.base_learning_rates.iter().copied().zip(held_out_top1).collect(),
        batch_size: options.batch_size,
        steps: chosen.steps,
    };
    Ok((report, chosen.weights()))
}

impl From<LinearReport> for Outcome {
    fn from(report: LinearReport) -> Self {
        let numbers = [("top1", report.top1), ("top5", report.top5), ("mean_per_class", report.mean_per_class)];
        let mut chosen = json!({
            "base_learning_rate": report.base_learning_rate,
            "batch_size": report.batch_size,
            "steps": report.steps,
            "held_out": report.held_out_top1,
        });
        let edge = Edge::of("base_learning_rate", report.base_learning_rate, &report.held_out_top1);
        edge::note(&mut chosen, [edge]);
        Self {
            setting: String::new(),
            numbers: numbers.map(|(metric, value)| (metric.to_owned(), value)).into(),
            chosen,
            confusion: Some(report.confusion),
        }
    }
}

impl LinearOptions {
    /// What fixes the numbers, in words.
    pub fn protocol(&self, augmentation: Option<&Augmentation>) -> String {
        let pictures = match augmentation {
            None => "no augmentation".to_owned(),
            Some(Augmentation::CropFlip(area)) => format!("random crop (area from {area}) and flip"),
            Some(Augmentation::Pretraining(_)) => "augmentations of pretraining".to_owned(),
        };
        let logits = match self.logit_regularisation {
            None => String::new(),
            Some(LogitRegularisation { clip, penalty }) => {
                format!(", logits clipped at {clip} and penalised by {penalty}")
            }
        };
        format!(
            "linear classifier on frozen representations before the projector, {pictures}{logits}, SGD Nesterov 0.9, {} epochs, \
             batch {}, rate from {:?} × batch / 256 chosen on {}, cosine decay, trained again on all, tested once",
            self.epochs,
            self.batch_size,
            self.base_learning_rates,
            self.held_out.in_words("drawn at random")
        )
    }

    /// The same, or with so many more epochs that the last training on `images` pictures takes at least `steps` steps: small
    /// collections would otherwise end far from what their classifier can be.
    pub fn with_steps_of_at_least(self, steps: usize, images: usize) -> Result<Self> {
        let rest = images - self.held_out.count(images)?;
        let batch_size = self.batch_size.min(rest);
        let epochs = (steps * batch_size).div_ceil(images);
        Ok(Self { epochs: self.epochs.max(epochs), ..self })
    }

    /// Over all epochs: a batch may span two of them, so that every epoch shows every picture (reference, `configs/eval.py`).
    fn steps(&self, images: usize) -> usize {
        steps(self.epochs as f64, images, self.batch_size) as usize
    }

    fn training(&self, base_rates: &[f64], steps: usize) -> Training {
        Training::new(base_rates, self.batch_size, steps, self.logit_regularisation)
    }

    /// One batch size for the sweep and the final training, or the chosen rate would not be the one that is used.
    fn with_batch_of_at_most(&self, images: usize) -> Self {
        Self { batch_size: self.batch_size.min(images), ..self.clone() }
    }
}

impl Augmentation {
    fn views(&self, info: &EncoderInfo) -> Result<Views> {
        match self {
            Self::CropFlip(crop_area_min) => crop_and_flip(info, *crop_area_min),
            Self::Pretraining(views) => Views::new((**views).clone()).map_err(Error::from),
        }
    }

    fn load(&self, dataset: &Arc<Dataset>, views: &Views, options: &LinearOptions, steps: usize) -> PairLoader {
        let loading = LoaderOptions {
            seed: options.seed,
            batch_size: options.batch_size,
            first_sample: 0,
            total_samples: (steps * options.batch_size) as u64,
            rank: 0,
            ranks: 1,
            threads: 0,
            prefetch_batches: 2,
            max_bad_fraction: dataset.config().max_bad_fraction,
        };
        PairLoader::start_single(dataset.clone(), views.clone(), loading)
    }
}

fn check(options: &LinearOptions) -> Result<()> {
    let wrong = |message: String| Err(Error::Evaluation(format!("linear evaluation: {message}")));
    if options.epochs == 0 || options.batch_size == 0 {
        return wrong("expected at least 1 epoch and a batch of at least 1".to_owned());
    }
    if options.base_learning_rates.is_empty()
        || options.base_learning_rates.iter().any(|rate| !(*rate > 0.0 && rate.is_finite()))
    {
        return wrong(format!("expected learning rates above 0, got {:?}", options.base_learning_rates));
    }
    Ok(())
}

/// Rows without end: epoch after epoch, each a permutation of its own.
fn epoch_after_epoch(rows: &[usize], seed: u64) -> impl Iterator<Item = usize> {
    let mut rows = rows.to_vec();
    (1..).flat_map(move |epoch| {
        Random::new(seed, Stream::Evaluation, epoch, 0).shuffle(&mut rows);
        rows.clone()
    })
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

    /// Rows to choose on, the others, and all.
    fn parts(&self, options: &LinearOptions) -> Result<[Vec<usize>; 3]> {
        let parts = options.held_out.of_rows(self.labels.len(), options.seed)?;
        let classes = |rows: &[usize]| rows.iter().map(|&row| self.labels[row]).collect();
        options.held_out.leaves_classes([classes(&parts[0]), classes(&parts[1])])?;
        Ok(parts)
    }

    /// What classifiers of these features and the classes of both parts look like.
    fn shape(&self, test: &Features, rates: &[f64]) -> Result<Shape> {
        let test_labels = test.required_labels()?;
        let classes = self.labels.iter().chain(&test_labels).max().map_or(0, |&label| label as usize + 1);
        Ok(Shape { size: self.features.size, classes, rates: rates.len() })
    }

    /// Features `[rows, size]` and labels `[rows]` of the given rows.
    fn select(&self, rows: &[usize], device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let values: Vec<f32> = rows.iter().flat_map(|&row| self.features.row(row)).copied().collect();
        let labels: Vec<i64> = rows.iter().map(|&row| i64::from(self.labels[row])).collect();
        let features = Tensor::from_data(TensorData::new(values, [rows.len(), self.features.size]), device);
        (features, Tensor::from_data(TensorData::new(labels, [rows.len()]), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_span_two_epochs_and_every_epoch_shows_every_row_once() {
        let rows: Vec<usize> = (0..50).map(|row| 3 * row).collect();
        let options = LinearOptions { epochs: 3, batch_size: 16, ..Default::default() };
        assert_eq!(options.steps(rows.len()), 9, "150 samples; 3 · ⌊50 / 16⌋ would be 9, too");
        assert_eq!(options.steps(63), 11, "189 samples; 3 · ⌊63 / 16⌋ would be 9");
        let samples: Vec<usize> = epoch_after_epoch(&rows, 5).take(9 * 16).collect();
        let mut epochs = samples.chunks_exact(50).map(<[usize]>::to_vec);
        let (mut first, mut second) = (epochs.next().unwrap(), epochs.next().unwrap());
        assert_ne!(first, second, "an order of its own");
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!((&first, &second), (&rows, &rows));
    }

    #[test]
    fn few_pictures_pass_so_often_that_the_steps_are_enough() {
        let options = LinearOptions::default();
        for (images, epochs, steps) in [(90, 900, 1000), (2700, 380, 1001), (50_000, 80, 3906)] {
            let raised = options.clone().with_steps_of_at_least(1000, images).unwrap();
            let rest = images - options.held_out.count(images).unwrap();
            assert_eq!((raised.epochs, raised.with_batch_of_at_most(rest).steps(images)), (epochs, steps), "{images}");
        }
        assert!(options.with_steps_of_at_least(1000, 1).is_err(), "none is left to learn from");
    }

    #[test]
    fn the_last_pictures_may_not_be_a_whole_class() {
        let labels = [0, 0, 0, 1, 1, 1].map(Some).to_vec();
        let features = Features { values: vec![0.5; 6], size: 1, images: (0..6).collect(), labels, bad: vec![] };
        let parts = |count| {
            let options = LinearOptions { held_out: HeldOut::Last(count), ..Default::default() };
            Labelled::new(&features).unwrap().parts(&options)
        };
        assert_eq!(parts(2).unwrap()[0], [4, 5]);
        assert!(parts(3).unwrap_err().to_string().contains("all of class 1"));
    }
}
