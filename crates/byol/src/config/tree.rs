//! One tree of settings, and what follows from it.

use byol_data::DataConfig;
use byol_data::views::{EvaluationConfig, EvaluationResize, ViewsConfig};
use byol_nn::ops::Precision;
use byol_nn::optim::{OptimizerConfig, RunLength, Schedule};
use serde::{Deserialize, Serialize};

use super::monitor::MonitorConfig;
use super::watch::WatchConfig;
use crate::method::ModelConfig;

/// Every setting of a pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where all randomness starts; 0 to 2⁶³ − 1, the whole numbers of TOML.
    pub seed: u64,
    /// Type of activations and matrix operands: `"f32"` or `"bf16"`; `"bf16"` by default where the machine has AMX.
    pub precision: Precision,
    /// Networks and what the online one is compared with.
    pub model: ModelConfig,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Length of the run and its rates.
    pub schedule: ScheduleConfig,
    /// Batches, logging, checkpoints.
    pub train: TrainConfig,
    /// Limits on the input.
    pub data: DataConfig,
    /// Augmentations of the two views.
    pub views: ViewsConfig,
    /// How pictures are cut to size for evaluation and for the exported encoder.
    pub evaluation: EvaluationSettings,
    /// What is measured while training.
    #[serde(default)]
    pub eval: MonitorConfig,
    /// What happens when a run goes wrong.
    #[serde(default)]
    pub watch: WatchConfig,
}

/// Length of the run and its rates (spec §4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Passes over the data; may be a fraction.
    pub epochs: f64,
    /// Passes over the data during which the learning rate rises from 0.
    pub warmup_epochs: f64,
    /// Learning rate at batch 256, 0 or more; the peak is this times batch / 256.
    pub base_learning_rate: f64,
    /// `τ_base` in `[0, 1]`, from which the target's averaging rises to 1 (spec §2.2).
    pub target_ema: f64,
}

/// How pictures are cut to size for evaluation (spec §3.2); size and normalisation are those of the views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Whether the centre is cut before or after resizing.
    pub resize: EvaluationResize,
    /// Share of the shorter side that is kept, above 0 and at most 1; 0.875 = 224/256 in the reference.
    pub crop_fraction: f32,
}

/// Batches, logging, checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Pictures per optimiser step, over all micro-batches.
    pub batch_size: usize,
    /// Micro-batches per optimiser step; batch norm sees one micro-batch at a time.
    pub accumulation_steps: usize,
    /// A line of metrics every so many steps, and of the last one.
    pub log_every_steps: u64,
    /// A checkpoint every so many steps, besides the one at the end.
    pub checkpoint_every_steps: u64,
    /// A checkpoint also when the last one is so many minutes old; 0 switches that off. Changes no result.
    #[serde(default = "ten")]
    pub checkpoint_every_minutes: f64,
    /// Checkpoints kept; older ones are deleted.
    pub checkpoints_kept: usize,
    /// Threads that decode and augment; 0 means one per core. Changes no result.
    pub loader_threads: usize,
    /// Batches prepared ahead of the model.
    pub prefetch_batches: usize,
    /// Whether the numbers go to TensorBoard's event files, too.
    #[serde(default = "yes")]
    pub tensorboard: bool,
    /// Which measurement decides the encoder that is kept as `best.safetensors`, beside that of the last step.
    #[serde(default)]
    pub keep_best: KeepBest,
    /// Whose pictures batch statistics are taken of, where several processes train the run.
    #[serde(default)]
    pub sync_batch_norm: SyncBatchNorm,
    /// How long a process waits for the others before the run ends, in seconds.
    #[serde(default = "half_an_hour")]
    pub rank_timeout_secs: f64,
}

/// `train.sync_batch_norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SyncBatchNorm {
    /// `true`: those of all ranks, as the reference has it. `false`: each rank its own.
    Whether(bool),
    /// Those of so many ranks that follow each other; the last group may be smaller.
    Groups(usize),
}

impl Default for SyncBatchNorm {
    fn default() -> Self {
        Self::Whether(true)
    }
}

/// The number of a run's measurements on itself that is best where it is largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepBest {
    /// Nothing is kept but the encoder of the last step.
    #[default]
    None,
    /// Online k-NN; needs labels.
    Knn,
    /// RankMe; needs no labels.
    RankMe,
    /// The online linear probe; needs labels.
    Probe,
}

impl KeepBest {
    /// The number in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Knn => "k-NN",
            Self::RankMe => "RankMe",
            Self::Probe => "probe",
        }
    }
}

/// Minutes between checkpoints where a file, or a run of an older version, does not name them.
fn ten() -> f64 {
    10.0
}

/// For switches that are on where a file does not name them.
fn half_an_hour() -> f64 {
    1800.0
}

fn yes() -> bool {
    true
}

impl Config {
    /// `base · batch / 256` and the step counts for `images` training pictures.
    pub fn schedule(&self, images: usize) -> Schedule {
        let lengths = RunLength {
            images,
            batch_size: self.train.batch_size,
            epochs: self.schedule.epochs,
            warmup_epochs: self.schedule.warmup_epochs,
        };
        Schedule::new(lengths, self.schedule.base_learning_rate, self.schedule.target_ema)
    }

    /// The complete preprocessing of evaluation: what travels with the encoder.
    pub fn preprocessing(&self) -> EvaluationConfig {
        let ViewsConfig { size_px, semantics, mean, std, .. } = self.views.clone();
        let EvaluationSettings { resize, crop_fraction } = self.evaluation;
        EvaluationConfig { size_px, resize, crop_fraction, semantics, mean, std }
    }

    /// Pictures per micro-batch.
    pub fn micro_batch_size(&self) -> usize {
        self.train.batch_size / self.train.accumulation_steps
    }
}
