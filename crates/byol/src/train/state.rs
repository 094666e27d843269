//! Everything a run is at one moment: what a checkpoint holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use byol_nn::model::{BatchNormMode, NamedTensor, running_weight, visit_tensors};
use byol_nn::ops::Precision;
use byol_nn::optim::{Optimizer, OptimizerKind};
use byol_nn::weights::{self, StoredTensors};
use byol_nn::{Error, Result};

use super::checkpoints::{checkpoints, non_finite};
use super::loss_scale::LossScale;
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
    /// What the loss is multiplied by; only in `f16`.
    pub loss_scale: Option<LossScale>,
    /// Optimiser steps taken, or not taken for the sake of the loss scale.
    pub step: u64,
    /// Training batches every batch norm has seen: two per micro-batch.
    pub passes: u64,
}

/// Names of [`LossScale::numbers`] in the header of a checkpoint.
const LOSS_SCALE: [&str; 3] = ["loss_scale", "loss_scale_steps", "skipped_steps"];

/// More than settings and the frame of a file take.
const HEADER_BYTES: u64 = 64 << 10;

/// What a tensor takes in a file, with more than its line in the header.
pub(super) fn stored_bytes(tensor: &NamedTensor) -> u64 {
    4 * tensor.shape.iter().product::<usize>() as u64 + 256
}

impl TrainState {
    /// The state before the first step, for data of so many `classes` (0 without labels).
    pub fn new(config: &Config, classes: usize, device: &Device) -> Self {
        Self {
            byol: Byol::new(&config.model, config.data.channels, config.precision, config.seed, device),
            optimizer: Optimizer::new(config.optimizer.clone()),
            probe: Probe::new(config, classes, device),
            loss_scale: (config.precision == Precision::F16).then(LossScale::default),
            step: 0,
            passes: 0,
        }
    }

    /// Batch-norm modes of the next pair of passes, and counts them.
    pub fn next_passes(&mut self, decay: f64) -> PassModes {
        let mode = |pass| BatchNormMode::batch(running_weight(decay, pass));
        self.passes += 2;
        PassModes { first: mode(self.passes - 1), second: mode(self.passes) }
    }

    /// Upper bound of the bytes of a checkpoint, from the numbers of values: known before the first step has made moments.
    pub(super) fn checkpoint_bytes(&self, config: &Config) -> u64 {
        let moments = match config.optimizer.kind {
            OptimizerKind::Lars | OptimizerKind::Sgd => 1,
            OptimizerKind::Adam | OptimizerKind::Adamw => 2,
        };
        let mut bytes = HEADER_BYTES;
        visit_tensors(&self.byol.online, |tensor| bytes += (1 + moments) * stored_bytes(&tensor));
        visit_tensors(&self.byol.target, |tensor| bytes += stored_bytes(&tensor));
        bytes + self.probe.as_ref().map_or(0, |probe| (1 + moments) * probe.stored_bytes())
    }

    /// The same for the encoder that is handed over.
    pub(super) fn encoder_bytes(&self) -> u64 {
        let mut bytes = HEADER_BYTES;
        visit_tensors(&self.byol.online.encoder, |tensor| bytes += stored_bytes(&tensor));
        bytes
    }

    /// Writes `step-NNNNNNNN.safetensors` into `folder`, then deletes all but the newest `train.checkpoints_kept`
    /// checkpoints.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a tensor holds NaN or infinity (nothing is written then), [`Error::Io`] when the disk refuses.
    pub fn save(&self, folder: &Path, config: &Config) -> Result<PathBuf> {
        let (tensors, metadata) = self.stored(config);
        if let Some(name) = weights::first_non_finite(&tensors) {
            return Err(non_finite(name, self.step, folder));
        }
        let path = folder.join(format!("step-{:08}.safetensors", self.step));
        weights::save(&path, &tensors, metadata)?;
        // The new one is safe on the disk, with its name.
        for old in checkpoints(folder)?.into_iter().rev().skip(config.train.checkpoints_kept) {
            fs::remove_file(&old).map_err(Error::io("delete", &old))?;
        }
        Ok(path)
    }

    /// The tensors and the header of a checkpoint.
    fn stored(&self, config: &Config) -> (StoredTensors, BTreeMap<String, String>) {
        let mut tensors = StoredTensors::new();
        weights::collect(&self.byol.online, "online.", &mut tensors);
        weights::collect(&self.byol.target, "target.", &mut tensors);
        weights::collect_flat(self.optimizer.first_moments(), "first_moment.", &mut tensors);
        weights::collect_flat(self.optimizer.second_moments(), "second_moment.", &mut tensors);
        if let Some(probe) = &self.probe {
            probe.collect(&mut tensors);
        }
        let mut metadata = BTreeMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("passes".to_owned(), self.passes.to_string()),
            ("config".to_owned(), config.identity()),
        ]);
        if let Some(scale) = &self.loss_scale {
            metadata.extend(LOSS_SCALE.map(str::to_owned).into_iter().zip(scale.numbers().map(|n| n.to_string())));
        }
        (tensors, metadata)
    }

    /// A checkpoint as it would be on the disk.
    pub(super) fn to_bytes(&self, config: &Config) -> Vec<u8> {
        let (tensors, metadata) = self.stored(config);
        weights::to_bytes(&tensors, metadata)
    }

    /// The state that [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// As of a checkpoint on the disk.
    pub(super) fn from_bytes(bytes: &[u8], config: &Config, classes: usize, device: &Device) -> Result<Self> {
        let path = Path::new("the state of rank 0");
        Self::restored(weights::from_bytes(bytes, path)?, path, config, classes, device)
    }

    /// Reads one checkpoint. One without a probe (it was off, or the version is older) gets a fresh one.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the file is not as it was written, [`Error::Path`] when it is of another run.
    pub(super) fn load(path: &Path, config: &Config, classes: usize, device: &Device) -> Result<Self> {
        Self::restored(weights::load(path)?, path, config, classes, device)
    }

    fn restored(
        (tensors, metadata): (StoredTensors, BTreeMap<String, String>),
        path: &Path,
        config: &Config,
        classes: usize,
        device: &Device,
    ) -> Result<Self> {
        let number = |key: &str| {
            let value = metadata.get(key).and_then(|value| value.parse::<u64>().ok());
            value.ok_or_else(|| {
                let problem = format!("not a checkpoint of a run: `{key}` is missing from its header");
                Error::Damaged { path: path.to_owned(), problem }
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
        let loss_scale = match config.precision {
            Precision::F16 => {
                let [factor, steps, skipped_steps] = LOSS_SCALE.map(number);
                Some(LossScale::restore([factor?, steps?, skipped_steps?]))
            }
            Precision::F32 | Precision::Bf16 => None,
        };
        let skipped_steps = loss_scale.map_or(0, |scale| scale.skipped_steps());
        let optimizer = Optimizer::restore(config.optimizer.clone(), first, second, step - skipped_steps.min(step));
        let probe = Probe::restore(config, classes, &tensors, path, device)?;
        Ok(Self { byol, optimizer, probe, loss_scale, step, passes })
    }
}
