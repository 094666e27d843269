//! Everything a run is at one moment: what a checkpoint holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use byol_nn::model::{BatchNormMode, running_weight};
use byol_nn::optim::Optimizer;
use byol_nn::weights::{self, StoredTensors};
use byol_nn::{Error, Result};

use super::probe::Probe;
use crate::config::Config;
use crate::method::{Byol, PassModes};

/// The state of a run between two optimiser steps.
#[derive(Clone, Debug)]
pub struct TrainState {
    /// Online and target network with their batch-norm statistics.
    pub byol: Byol,
    /// The optimiser with its moments.
    pub optimizer: Optimizer,
    /// The linear classifier that learns beside the encoder; none without labels or with `eval.every_epochs = 0`.
    pub probe: Option<Probe>,
    /// Optimiser steps taken.
    pub step: u64,
    /// Training batches every batch norm has seen: two per micro-batch.
    pub passes: u64,
}

impl TrainState {
    /// The state before the first step, for data of so many `classes` (0 without labels).
    pub fn new(config: &Config, classes: usize, device: &Device) -> Self {
        Self {
            byol: Byol::new(&config.model, config.data.channels, config.precision, config.seed, device),
            optimizer: Optimizer::new(config.optimizer.clone()),
            probe: Probe::new(config, classes, device),
            step: 0,
            passes: 0,
        }
    }

    /// Batch-norm modes of the next pair of passes, and counts them.
    pub fn next_passes(&mut self, decay: f64) -> PassModes {
        let mode = |pass| BatchNormMode::Batch { running_weight: running_weight(decay, pass) };
        self.passes += 2;
        PassModes { first: mode(self.passes - 1), second: mode(self.passes) }
    }

    /// Writes `step-NNNNNNNN.safetensors` into `folder`, then deletes all but the newest `train.checkpoints_kept`
    /// checkpoints.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a tensor holds NaN or infinity (nothing is written then), [`Error::Io`] when the disk refuses.
    pub fn save(&self, folder: &Path, config: &Config) -> Result<PathBuf> {
        let mut tensors = StoredTensors::new();
        weights::collect(&self.byol.online, "online.", &mut tensors);
        weights::collect(&self.byol.target, "target.", &mut tensors);
        weights::collect_flat(self.optimizer.first_moments(), "first_moment.", &mut tensors);
        weights::collect_flat(self.optimizer.second_moments(), "second_moment.", &mut tensors);
        if let Some(probe) = &self.probe {
            probe.collect(&mut tensors);
        }
        if let Some(name) = weights::first_non_finite(&tensors) {
            return Err(non_finite(name, self.step, folder));
        }
        let metadata = BTreeMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("passes".to_owned(), self.passes.to_string()),
            ("config".to_owned(), config.identity()),
        ]);
        let path = folder.join(format!("step-{:08}.safetensors", self.step));
        weights::save(&path, &tensors, metadata)?;
        for old in checkpoints(folder)?.into_iter().rev().skip(config.train.checkpoints_kept) {
            fs::remove_file(&old).map_err(Error::io("delete", &old))?;
        }
        Ok(path)
    }

    /// Reads the newest checkpoint in `folder`; `None` when there is none. One without a probe (it was off, or the version is
    /// older) gets a fresh one.
    pub fn load_latest(folder: &Path, config: &Config, classes: usize, device: &Device) -> Result<Option<Self>> {
        match checkpoints(folder)?.pop() {
            Some(path) => Self::load(&path, config, classes, device).map(Some),
            None => Ok(None),
        }
    }

    fn load(path: &Path, config: &Config, classes: usize, device: &Device) -> Result<Self> {
        let (tensors, metadata) = weights::load(path)?;
        let number = |key: &str| {
            let value = metadata.get(key).and_then(|value| value.parse::<u64>().ok());
            value.ok_or_else(|| {
                Error::path(path, format!("not a checkpoint of a run: `{key}` is missing from its header"))
            })
        };
        let (step, passes) = (number("step")?, number("passes")?);
        if metadata.get("config").is_some_and(|identity| !config.goes_on_from(identity)) {
            let problem = "config.toml was changed since this checkpoint, and the run would not be one run any more; restore \
                           it, or start a new run with the new settings (threads, logging, checkpoints and what is measured may change)";
            return Err(Error::path(path, problem));
        }
        let mut byol = Byol::new(&config.model, config.data.channels, config.precision, config.seed, device);
        byol.online = weights::fill(byol.online, "online.", &tensors, path)?;
        byol.target = weights::fill(byol.target, "target.", &tensors, path)?;
        let moments = |prefix| weights::flat(prefix, &tensors, device);
        let (first, second) = (moments("first_moment."), moments("second_moment."));
        let optimizer = Optimizer::restore(config.optimizer.clone(), first, second, step);
        let probe = Probe::restore(config, classes, &tensors, path, device)?;
        Ok(Self { byol, optimizer, probe, step, passes })
    }
}

/// The error for `what`, with the newest checkpoint in `folder`: every checkpoint was finite when it was written.
pub(super) fn non_finite(what: &str, step: u64, folder: &Path) -> Error {
    let newest = checkpoints(folder).unwrap_or_default().pop();
    let kept = newest.map_or("none yet (no checkpoint was due)".to_owned(), |path| path.display().to_string());
    Error::NonFinite { what: what.to_owned(), step, kept }
}

/// Checkpoints in `folder`, oldest first.
pub fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((step_of(path.file_name()?.to_str()?)?, path)))
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The step of the newest checkpoint in `folder`; `None` when there is none.
pub fn last_checkpoint_step(folder: &Path) -> Result<Option<u64>> {
    let newest = checkpoints(folder)?.pop();
    Ok(newest.and_then(|path| step_of(path.file_name()?.to_str()?)))
}

/// The step in `step-NNNNNNNN.safetensors`; other files are not ours.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}
