//! One tree of settings: preset, then file, then `--set key=value`; unknown keys fail; the result is stored with the run.

mod check;
mod monitor;
mod text;
mod tree;

pub use monitor::MonitorConfig;

#[cfg(test)]
pub(crate) use text::from_table;
pub(crate) use text::{parse_setting, parse_toml};
pub use tree::{Config, EvaluationSettings, ScheduleConfig, TrainConfig};
