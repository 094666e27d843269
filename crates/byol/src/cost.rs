//! What a run costs on this machine: measured for seconds, before hours depend on it.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use byol_data::views::Views;
use byol_data::{Dataset, throughput};
use byol_eval::waiting;
use byol_kernels::{available_memory_bytes, peak_memory_bytes, reset_peak_memory};
use byol_nn::dist::{Alone, Ranks};
use byol_nn::{Error, Result};
use serde::Serialize;

use crate::bench::{Workload, step_of};
use crate::config::Config;

/// Share of the free memory that a run may plan with.
const MEMORY_SHARE: f64 = 0.8;

/// Pixels of the timed step: enough for the kernels to reach their speed.
const TIMED_PIXELS: usize = 16 * 96 * 96;

/// Pictures (a pair of views counts once) per second, with all cores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// What the loader delivers: read, decoded, two views.
    pub input_images_per_second: f64,
    /// What training steps take.
    pub step_images_per_second: f64,
}

impl Speed {
    /// Both together, sharing the cores: the times of a picture add up.
    pub fn images_per_second(self) -> f64 {
        1.0 / (1.0 / self.input_images_per_second + 1.0 / self.step_images_per_second)
    }
}

/// What a run would cost on this machine, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Encoder.
    pub arch: String,
    /// Side of a view in pixels.
    pub size_px: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Loading alone and steps alone.
    #[serde(flatten)]
    pub speed: Speed,
    /// Both together, sharing the cores.
    pub images_per_second: f64,
    /// Hours per epoch.
    pub hours_per_epoch: f64,
    /// Epochs of the recipe.
    pub epochs: f64,
    /// Hours of the whole run.
    pub hours: f64,
    /// Memory of a training step, in bytes, extrapolated from two small ones; unknown where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Memory that is free now, in bytes.
    pub available_memory_bytes: Option<u64>,
    /// The smallest `train.accumulation_steps` with which a step fits, if the recipe's does not.
    pub accumulation_steps: Option<usize>,
}

impl Cost {
    /// Where so many processes like this one train together, each on cores of its own.
    pub fn by(self, ranks: usize) -> Self {
        let ranks = ranks as f64;
        Self {
            speed: Speed {
                input_images_per_second: self.speed.input_images_per_second * ranks,
                step_images_per_second: self.speed.step_images_per_second * ranks,
            },
            images_per_second: self.images_per_second * ranks,
            hours_per_epoch: self.hours_per_epoch / ranks,
            hours: self.hours / ranks,
            ..self
        }
    }
}

/// Times the loader on the data, for about three times `duration`, and a small training step of the recipe's networks.
///
/// # Errors
/// As of the loader of a training run: too many pictures that cannot be read.
pub fn speed(dataset: &Dataset, config: &Config, threads: usize, duration: Duration, device: &Device) -> Result<Speed> {
    let input_images_per_second = input_images_per_second(dataset, config, threads, duration)?;
    let step_images_per_second = step_images_per_second(config, timed_images(config) / 2, device)?;
    Ok(Speed { input_images_per_second, step_images_per_second })
}

/// Measures what a whole run of `config` costs, with its memory.
///
/// # Errors
/// As [`speed`].
pub fn measure(dataset: &Dataset, config: &Config, threads: usize, device: &Device) -> Result<Cost> {
    let input_images_per_second = waiting("timing the loading of pictures", || {
        input_images_per_second(dataset, config, threads, Duration::from_secs(2))
    })?;
    let small = timed_images(config) / 2;
    reset_peak_memory();
    waiting("timing training steps", || step_images_per_second(config, small, device))?;
    let first = peak_memory_bytes();
    let step_images_per_second =
        waiting("timing training steps", || step_images_per_second(config, 2 * small, device))?;
    let speed = Speed { input_images_per_second, step_images_per_second };
    let memory_of = |batch: usize| {
        let (first, second) = (first? as f64, peak_memory_bytes()? as f64);
        Some(second + (second - first) / small as f64 * (batch as f64 - 2.0 * small as f64).max(0.0))
    };
    let available = available_memory_bytes();
    let fits = |batch| match (memory_of(batch), available) {
        (Some(needed), Some(available)) => needed <= available as f64 * MEMORY_SHARE,
        _ => true,
    };
    let batch_size = config.train.batch_size;
    let more = (config.train.accumulation_steps..=batch_size / 2)
        .filter(|&steps| batch_size.is_multiple_of(steps))
        .find(|&steps| fits(batch_size / steps));
    let images_per_second = speed.images_per_second();
    let hours_per_epoch = dataset.len() as f64 / images_per_second / 3600.0;
    Ok(Cost {
        arch: config.model.arch.to_string(),
        size_px: config.views.size_px,
        batch_size,
        speed,
        images_per_second,
        hours_per_epoch,
        epochs: config.schedule.epochs,
        hours: hours_per_epoch * config.schedule.epochs,
        memory_bytes: memory_of(config.micro_batch_size()).map(|bytes| bytes as u64),
        available_memory_bytes: available,
        accumulation_steps: more.filter(|&steps| steps != config.train.accumulation_steps),
    })
}

/// Pictures of a timed step, an even number.
fn timed_images(config: &Config) -> usize {
    let size_px = config.views.size_px;
    2 * (TIMED_PIXELS / 2 / (size_px * size_px)).clamp(4, 64)
}

fn input_images_per_second(dataset: &Dataset, config: &Config, threads: usize, duration: Duration) -> Result<f64> {
    let views = Views::new(config.views.clone()).map_err(Error::from)?;
    Ok(throughput::measure(&Arc::new(dataset.clone()), &views, threads, duration)?.images_per_second)
}

fn step_images_per_second(config: &Config, batch_size: usize, device: &Device) -> Result<f64> {
    let (arch, size_px, precision) = (config.model.arch, config.views.size_px, config.precision);
    let like_batch_size = config.micro_batch_size();
    let workload = Workload { arch, size_px, batch_size, precision, iterations: 3, like_batch_size, kernels: false };
    Ok(step_of(&config.model, &workload, device, &(Arc::new(Alone) as Ranks))?.images_per_second)
}
