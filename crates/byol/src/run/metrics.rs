//! `metrics.jsonl`: one line per logged step.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use byol_nn::files::{append_whole, write_atomically};
use byol_nn::ops::Precision;
use byol_nn::{Error, Result};
use chrono::{DateTime, SecondsFormat, Utc};
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
    /// What the loss was multiplied by for the pass back; only in `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
    /// Steps of the run so far that were not taken because a gradient left the range of `f16`; they have no line. Only in `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
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
    /// Instruction set of the CPU kernels, or the graphics card.
    pub isa: String,
    /// The processor's name, where the system tells it; runs of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Threads that compute, of each rank.
    pub threads: usize,
    /// Processes that trained together.
    #[serde(default = "one")]
    pub ranks: usize,
    /// Type of activations and matrix operands.
    pub precision: Precision,
}

fn one() -> usize {
    1
}

/// Any line, and when it was written.
#[derive(Serialize)]
struct Timed<'a, T> {
    #[serde(flatten)]
    line: &'a T,
    /// As RFC 3339 has it, in UTC: `2026-11-27T09:30:00.125Z`.
    time: String,
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
        let text = read_text(path)?;
        let mut kept = text.lines().filter(|line| is_kept(line, step));
        write_atomically(path, |writer| kept.try_for_each(|line| writeln!(writer, "{line}")))?;
        Self::open(path)
    }

    /// Opens an existing log to append to it. After a line that was cut short a new one begins.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
        let mut log = Self { file, path: path.to_owned() };
        if ends_within_a_line(path)? {
            log.write("\n")?;
        }
        Ok(log)
    }

    /// Appends one line with the time of now, or nothing where the disk is full.
    pub fn append(&mut self, metrics: &impl Serialize) -> Result<()> {
        let time = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = serde_json::to_string(&Timed { line: metrics, time }).expect("plain fields have a JSON form");
        self.write(&(line + "\n"))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        append_whole(&mut self.file, text.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

/// A log as text; a line that was cut short may end in the middle of a character.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the last line of a log has no end: the process that wrote it was killed.
pub(super) fn ends_within_a_line(path: &Path) -> Result<bool> {
    let mut last = [b'\n'];
    let result = File::open(path).and_then(|mut file| match file.seek(SeekFrom::End(0))? {
        0 => Ok(()),
        _ => file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)),
    });
    result.map(|()| last != *b"\n").map_err(Error::io("read", path))
}

/// All step lines of a log.
pub fn read(path: &Path) -> Result<Vec<StepMetrics>> {
    let text = read_text(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The step of the last measurement of the run on itself.
pub fn last_online(path: &Path) -> Result<Option<u64>> {
    let text = read_text(path)?;
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
        // So with what was found.
        None if value.get("watch").is_some() => step > 0 && logged.is_some_and(|logged| logged <= step),
        None => value.get("session").is_some() || logged.is_some_and(|logged| logged < step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_after_one_that_was_cut_short_stands_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let torn = "{\"eval\":\"knn\"}\n{\"data\":\"Größ".as_bytes();
        fs::write(&path, &torn[..torn.len() - 1]).unwrap();
        MetricsLog::open(&path).unwrap().append(&serde_json::json!({"eval": "online", "step": 3})).unwrap();
        assert_eq!(last_online(&path).unwrap(), Some(3));
        MetricsLog::continue_at(&path, 5).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let Some((first, second)) = text.split_once('\n') else { panic!("{text}") };
        assert_eq!(first, "{\"eval\":\"knn\"}");
        assert!(second.starts_with("{\"eval\":\"online\",\"step\":3,\"time\":\"20"), "{text}");
    }

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
        let text = fs::read_to_string(&path).unwrap();
        let (kept, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(kept, lines[..5].join("\n"));
        assert!(last.starts_with(r#"{"again":true,"step":20,"time":"#), "{last}");
        let time = serde_json::from_str::<Value>(last).unwrap()["time"].as_str().unwrap().to_owned();
        let age = Utc::now().signed_duration_since(DateTime::parse_from_rfc3339(&time).unwrap());
        assert!(time.ends_with('Z') && age.num_seconds().abs() < 60, "{time}");
        assert_eq!(last_online(&path).unwrap(), Some(20));
        MetricsLog::continue_at(&path, 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", lines[3]), "a run that begins again");
    }
}
