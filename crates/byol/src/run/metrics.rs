//! `metrics.jsonl`: one line per logged step.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use byol_nn::files::write_atomically;
use byol_nn::ops::Precision;
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is logged of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimiser steps taken before this one.
    pub step: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// Loss of this step, mean over the batch, in `[0, 8]`.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// τ of this step.
    pub target_ema: f64,
    /// Pictures per second since the last logged step.
    pub images_per_second: f64,
    /// Share of that time spent waiting for pictures.
    pub data_wait: f64,
    /// See [`crate::method::projection_std`]; compare with 1/√`projection_size`.
    pub projection_std: f32,
    /// See [`crate::method::positive_cosine`].
    pub positive_cosine: f32,
    /// Euclidean norm of the gradient of all parameters.
    pub grad_norm: f32,
    /// Cross-entropy of the linear probe on the pictures of the batch whose labels it learns from; only with labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_loss: Option<f64>,
    /// Share of these pictures that the probe took for their class, in percent; only with labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_top1: Option<f64>,
}

/// The line that each process which trains a run begins with: what computed the steps after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionLine {
    /// What it is.
    pub session: Session,
}

/// What a process computes with; decides the last bits of all numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Steps taken when the process began.
    pub first_step: u64,
    /// Version of this program.
    pub version: String,
    /// Instruction set of the CPU kernels.
    pub isa: String,
    /// Threads that compute.
    pub threads: usize,
    /// Type of activations and matrix operands.
    pub precision: Precision,
}

/// The open file.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
}

impl MetricsLog {
    /// Opens the log of a run that continues at `step`; lines of steps at or after it are dropped, since these steps will
    /// be taken again.
    pub fn continue_at(path: &Path, step: u64) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let mut kept = text.lines().filter(|line| is_kept(line, step));
        write_atomically(path, |writer| kept.try_for_each(|line| writeln!(writer, "{line}")))?;
        Self::open(path)
    }

    /// Opens an existing log to append to it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends one line.
    pub fn append(&mut self, metrics: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(metrics).expect("plain fields have a JSON form") + "\n";
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

/// All step lines of a log.
pub fn read(path: &Path) -> Result<Vec<StepMetrics>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The step of the last measurement of the run on itself.
pub fn last_online(path: &Path) -> Result<Option<u64>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["eval"] == "online").filter_map(|line| line["step"].as_u64()).next_back())
}

/// Evaluations and the beginnings of processes stay; of the steps, those before `step`, and of the run's measurements on
/// itself those that will not be taken again. A line cut short by a crash goes.
fn is_kept(line: &str, step: u64) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return false };
    let logged = value.get("step").and_then(Value::as_u64);
    match value.get("eval") {
        // What was measured at a step was measured after those before it; before the first, nothing is kept.
        Some(eval) if eval == "online" => step > 0 && logged.is_some_and(|logged| logged <= step),
        Some(_) => true,
        None => value.get("session").is_some() || logged.is_some_and(|logged| logged < step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuing_drops_later_steps_and_torn_lines_but_keeps_evaluations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let lines = [
            r#"{"eval":"online","step":0}"#,
            r#"{"step":0}"#,
            r#"{"step":10}"#,
            r#"{"eval":"knn","step":30}"#,
            r#"{"eval":"online","step":20}"#,
            r#"{"step":20}"#,
            r#"{"eval":"online","step":21}"#,
            r#"{"st"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(last_online(&path).unwrap(), Some(21));
        MetricsLog::continue_at(&path, 20).unwrap().append(&serde_json::json!({"step": 20, "again": true})).unwrap();
        let kept = [&lines[..5], &[r#"{"again":true,"step":20}"#, ""]].concat().join("\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        assert_eq!(last_online(&path).unwrap(), Some(20));
        MetricsLog::continue_at(&path, 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", lines[3]), "a run that begins again");
    }
}
