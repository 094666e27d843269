//! One tree of settings: preset, then file, then `--set key=value`; unknown keys fail; the result is stored with the run.

mod check;
mod monitor;
mod origin;
mod suggest;
mod text;
mod tree;
mod watch;

pub use monitor::{MonitorConfig, Rhythm};

pub(crate) use origin::{Origin, Part};
pub(crate) use suggest::{nearest, question};
#[cfg(test)]
pub(crate) use text::from_table;
pub use text::similar_settings;
pub(crate) use text::{located, parse_setting, parse_toml};
pub use tree::{Config, EvaluationSettings, KeepBest, ScheduleConfig, SyncBatchNorm, TrainConfig};
pub use watch::{WatchAction, WatchConfig};
