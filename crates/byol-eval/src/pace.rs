//! How fast this machine is at what evaluations consist of, measured in about a second, to say what they will take.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use byol_data::{Dataset, Random, Stream};
use byol_nn::Result;
use byol_nn::encoder::Encoder;

use super::features::extract;
use super::linear::{LinearOptions, fitted_pictures};
use super::logistic::{self, LogisticOptions, Samples};
use super::metrics::Targets;
use super::progress::Countdown;
use super::softmax::{Classifiers, Shape, Training};
use super::supervised::{Classifier, Fixed, Setting};
use super::truth::Truth;

/// Pictures that are represented to measure it, at most.
const REPRESENTED: usize = 64;

/// Seconds that representing and training are measured for, about; more where a few pictures take longer.
const REPRESENTING_SECS: f64 = 0.4;
const TRAINING_SECS: f64 = 0.6;

/// Steps of L-BFGS that a value of ℓ2 takes from the solution of the one before: the mean of a sweep over 12 values of
/// representations of 512 numbers was 20 to 60.
const STEPS_PER_L2: f64 = 40.0;

/// Rows of made-up representations that a classifier is timed on, at most.
const ROWS: usize = 1024;

/// Seconds per picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// To read, prepare and represent it.
    pub represent_secs: f64,
    /// To read it, crop it and train all weights on it once.
    pub train_secs: f64,
}

impl Pace {
    /// Represents some pictures of `dataset`, and trains on them if `trains`; otherwise that number is 0.
    ///
    /// # Errors
    /// Data errors, among them unreadable pictures in the sample.
    pub fn measure(encoder: &Encoder, dataset: &Arc<Dataset>, trains: bool, device: &Device) -> Result<Self> {
        let mut encoder = encoder.clone();
        let mut represent = |count: usize| -> Result<f64> {
            let part = sample(dataset, count);
            let started = Instant::now();
            extract(&mut encoder, &part, 0, device)?;
            Ok(started.elapsed().as_secs_f64() / part.len().max(1) as f64)
        };
        // The first time, memory and files are cold.
        let cold_secs = represent(8)?;
        let represent_secs = represent((REPRESENTING_SECS / cold_secs).clamp(8.0, REPRESENTED as f64) as usize)?;
        let train_secs = if trains { train_secs(&encoder, dataset, represent_secs, device)? } else { 0.0 };
        Ok(Self { represent_secs, train_secs })
    }
}

fn train_secs(encoder: &Encoder, dataset: &Arc<Dataset>, represent_secs: f64, device: &Device) -> Result<f64> {
    // Forward and backward take about three times as long as forward.
    let about_secs = 3.0 * represent_secs;
    let part = sample(dataset, (TRAINING_SECS / 4.0 / about_secs).clamp(4.0, 64.0) as usize);
    if (0..part.len()).any(|place| part.label(place).is_none()) {
        // Several classes per picture are not in the labels.
        return Ok(about_secs);
    }
    let setting = Setting { learning_rate: 1e-3, weight_decay: 0.0, steps: 1, batch_size: part.len() };
    let fixed = Fixed { crop_area_min: 0.2, batch_norm_decay: 0.9, seed: 0 };
    let train = |steps: u64| -> Result<f64> {
        let setting = Setting { steps, ..setting.clone() };
        let started = Instant::now();
        Classifier::train(encoder, &part, &Truth::Labels, &setting, &fixed, device, &mut Countdown::silent())?;
        Ok(started.elapsed().as_secs_f64())
    };
    // What a training needs besides its steps is left out.
    let (one, three) = (train(1)?, train(3)?);
    Ok((three - one).max(0.5 * three) / (2 * part.len()) as f64)
}

/// Pictures from all over `dataset`.
fn sample(dataset: &Dataset, count: usize) -> Arc<Dataset> {
    let count = count.min(dataset.len());
    let places: Vec<u32> = (0..count).map(|place| (place * dataset.len() / count) as u32).collect();
    Arc::new(dataset.subset(&places))
}

/// Seconds that the classifiers of a linear evaluation take on representations of `size` numbers.
///
/// # Errors
/// As for [`fitted_pictures`].
pub fn linear_secs(
    options: &LinearOptions,
    images: usize,
    size: usize,
    classes: usize,
    device: &Device,
) -> Result<f64> {
    const STEPS: usize = 3;
    let rows = options.batch_size.min(images).min(ROWS);
    let x = Tensor::<2>::from_data(TensorData::new(made_up(rows * size), [rows, size]), device);
    let labels: Vec<i64> = (0..rows).map(|row| (row % classes.max(1)) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), device);
    let rates = &options.base_learning_rates;
    let shape = Shape { size, classes, rates: rates.len() };
    let training = Training::new(rates, rows, STEPS + 1, options.logit_regularisation);
    let mut started = Instant::now();
    Classifiers::train(shape, &training, device, |step| {
        // The first step is cold.
        if step == 1 {
            started = Instant::now();
        }
        Ok((x.clone(), labels.clone()))
    })?;
    let per_picture = started.elapsed().as_secs_f64() / (STEPS * rows) as f64;
    Ok(per_picture * fitted_pictures(options, images)? as f64)
}

/// Seconds that a sweep of logistic regressions takes on `images` representations of `size` numbers.
///
/// # Errors
/// For options that make no sense.
pub fn logistic_secs(options: &LogisticOptions, images: usize, size: usize, classes: usize) -> Result<f64> {
    const STEPS: usize = 4;
    let rows = images.clamp(1, ROWS);
    let features = made_up(rows * size);
    let labels: Vec<u32> = (0..rows).map(|row| (row % classes.max(1)) as u32).collect();
    let samples = Samples { features: &features, size, targets: Targets::Classes(&labels) };
    let few = LogisticOptions { max_iterations: STEPS, ..options.clone() };
    let started = Instant::now();
    let fitted = logistic::fit(samples, classes.max(1), 1e-6, &few, None)?;
    let per_step = started.elapsed().as_secs_f64() / fitted.iterations.max(1) as f64;
    Ok(per_step * (images as f64 / rows as f64) * STEPS_PER_L2 * (options.l2.len() + 1) as f64)
}

fn made_up(count: usize) -> Vec<f32> {
    let mut random = Random::new(0, Stream::Evaluation, 0, 0);
    (0..count).map(|_| random.normal().abs()).collect()
}
