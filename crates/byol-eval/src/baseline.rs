//! The supervised baseline: the encoder's architecture trained with all labels from random weights.
//!
//! SGD Nesterov 0.9, rate 0.1 × batch / 256 with a half cosine to 0, weight decay 5e-4, batch 128, random crop and flip. The
//! paper's own baselines (C.2) add warm-up and label smoothing and sweep these constants; this is one plain recipe.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::Dataset;
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::{Error, Result};

use super::progress::{Countdown, Stop};
use super::supervised::{Classifier, Fixed, Setting, steps};
use super::truth::Truth;

const BATCH_SIZE: usize = 128;
const BASE_LEARNING_RATE: f64 = 0.1;
const WEIGHT_DECAY: f64 = 5e-4;

/// How long the baseline trains.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineOptions {
    epochs: f64,
    crop_area_min: f32,
}

impl BaselineOptions {
    /// Passes over the training pictures, above 0, and the smallest area of the random crops.
    pub fn new(epochs: f64, crop_area_min: f32) -> Self {
        Self { epochs, crop_area_min }
    }

    fn setting(&self, images: usize) -> Setting {
        let batch_size = BATCH_SIZE.min(images);
        Setting {
            learning_rate: BASE_LEARNING_RATE * batch_size as f64 / 256.0,
            weight_decay: WEIGHT_DECAY,
            steps: steps(self.epochs, images, batch_size),
            batch_size,
        }
    }
}

/// The baseline of each seed on `train`: what `folder` keeps of it, and with `options` also what is missing, which is then
/// trained and kept. One of other pictures or another length is never used.
///
/// # Errors
/// Data errors, file errors, [`Error::Interrupted`], and [`Error::Evaluation`] when the loss diverges.
pub fn supervised(
    info: &EncoderInfo,
    train: &Arc<Dataset>,
    seeds: &[u64],
    options: Option<&BaselineOptions>,
    folder: Option<&Path>,
    stop: Stop,
    device: &Device,
) -> Result<Vec<(u64, Encoder)>> {
    let fingerprint = train.fingerprint();
    let mut found = Vec::new();
    for &seed in seeds {
        let [start, end] = [format!("{fingerprint:016x}-"), format!("-epochs-seed-{seed}")];
        let kept = match (folder, options) {
            (Some(folder), Some(options)) => Some(folder.join(name(fingerprint, options.epochs, seed))),
            (Some(folder), None) => longest(folder, &start, &end)?,
            (None, _) => None,
        };
        if let Some(path) = kept.as_ref().filter(|path| is_complete(path)) {
            found.push((seed, Encoder::open(&path.to_string_lossy(), device)?));
            continue;
        }
        let Some(options) = options else { continue };
        let encoder = train_baseline(info, train, options, seed, stop, device)?;
        if let Some(path) = kept {
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
            encoder.save(&path)?;
        }
        found.push((seed, encoder));
    }
    Ok(found)
}

/// Pictures that pass in the trainings which [`supervised`] would do for what `folder` lacks.
pub fn pictures_to_train(train: &Dataset, seeds: &[u64], options: &BaselineOptions, folder: Option<&Path>) -> u64 {
    let setting = options.setting(train.len());
    let is_missing = |seed: &&u64| {
        folder.is_none_or(|folder| !is_complete(&folder.join(name(train.fingerprint(), options.epochs, **seed))))
    };
    seeds.iter().filter(is_missing).count() as u64 * setting.steps * setting.batch_size as u64
}

/// The folder of a baseline.
fn name(fingerprint: u64, epochs: f64, seed: u64) -> String {
    format!("{fingerprint:016x}-{epochs}-epochs-seed-{seed}")
}

/// The kept baseline with the most epochs, of those whose names are `start`, epochs, `end`.
fn longest(folder: &Path, start: &str, end: &str) -> Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let with_epochs = names.filter_map(|name| {
        let epochs: f64 = name.strip_prefix(start)?.strip_suffix(end)?.parse().ok()?;
        Some((epochs, folder.join(name)))
    });
    let longest = with_epochs.filter(|(_, path)| is_complete(path)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    Ok(longest.map(|(_, path)| path))
}

/// What describes the weights is written last; a folder without it was left by an interrupted run.
fn is_complete(path: &Path) -> bool {
    path.join("encoder.json").exists()
}

fn train_baseline(
    info: &EncoderInfo,
    train: &Arc<Dataset>,
    options: &BaselineOptions,
    seed: u64,
    stop: Stop,
    device: &Device,
) -> Result<Encoder> {
    let setting = options.setting(train.len());
    let fixed = Fixed { crop_area_min: options.crop_area_min, batch_norm_decay: 0.9, seed };
    let start = Encoder::random_like(info, seed, device);
    let mut countdown = Countdown::start(setting.steps * setting.batch_size as u64).stopped_by(stop);
    countdown.begin(format!("supervised baseline, seed {seed}"));
    let trained = Classifier::train(&start, train, &Truth::Labels, &setting, &fixed, device, &mut countdown)?;
    let trained = trained.ok_or_else(|| {
        Error::Evaluation(format!("the supervised baseline of {} did not keep its loss finite", info.arch))
    })?;
    let training = format!("supervised, all labels, {} epochs, seed {seed}", options.epochs);
    Ok(trained.into_encoder(training, setting.steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_training_is_found_by_number_and_only_where_it_was_finished() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |name: &str, file: &str| {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(file), "").unwrap();
        };
        let found = || longest(folder.path(), "0f-", "-epochs-seed-1").unwrap().map(|path| path.display().to_string());
        for name in ["0f-9-epochs-seed-11", "0e-900-epochs-seed-1", "0f-x-epochs-seed-1"] {
            keep(name, "encoder.json");
        }
        assert_eq!(found(), None);
        for epochs in ["9", "10", "0.5"] {
            keep(&format!("0f-{epochs}-epochs-seed-1"), "encoder.json");
        }
        keep("0f-100-epochs-seed-1", "encoder.safetensors");
        assert!(found().unwrap().ends_with("/0f-10-epochs-seed-1"), "{:?}", found());
        assert_eq!(longest(&folder.path().join("none"), "0f-", "-epochs-seed-1").unwrap(), None);
    }
}
