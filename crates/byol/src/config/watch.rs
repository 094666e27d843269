//! The `[watch]` table: what happens when a run goes wrong.

use serde::{Deserialize, Serialize};

/// What a run does about its own findings; moves no weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// What a finding that spoils the run leads to.
    pub action: WatchAction,
}

/// What a finding that spoils the run leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchAction {
    /// It is said once, and the run goes on.
    #[default]
    Warn,
    /// It is said, everything is saved, and the run ends.
    Stop,
}
