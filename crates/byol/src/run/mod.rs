//! The run folder: `config.toml`, `run.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, `encoder.*`,
//! `bad_images.jsonl`.

mod bad_images;
mod metrics;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use byol_eval::{Evaluation, read_evaluations, write_evaluations};
use byol_nn::files::{Lock, check_outside, lock, write_atomically};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::Config;
pub(crate) use bad_images::BadImageLog;
pub(crate) use metrics::{MetricsLog, last_online};
pub use metrics::{Session, SessionLine, StepMetrics, read as read_metrics};

/// A folder that holds one pretraining run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Folders that were made on the way to it, outermost last.
    new_parents: Vec<PathBuf>,
    /// Whether a run that had come to nothing was here before.
    replaces_abandoned: bool,
}

/// The files of a new run are written in less.
const BEGINNING: Duration = Duration::from_secs(60);

/// What a run has written before its first checkpoint.
const BEGUN: [&str; 6] = ["config.toml", "run.json", "metrics.jsonl", "bad_images.jsonl", "tensorboard", "checkpoints"];

/// `run.json`: what is needed to go on, besides the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Absolute paths of the roots of `DATA`; empty for pictures drawn in memory.
    pub data: Vec<PathBuf>,
    /// `--split`, if given.
    pub split: Option<String>,
    /// Fingerprint of names, sizes and labels of the data.
    pub data_fingerprint: u64,
    /// Pictures.
    pub images: usize,
    /// What decodes, resizes and augments, and how exactly: part of the recipe.
    pub input: String,
    /// Device the run was started on.
    pub device: String,
    /// Version of this program.
    pub version: String,
    /// Name of the preset it started from; runs of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The weights it started from, if not from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStartRecord>,
    /// The data of earlier steps, where `byol resume --changed-data` went on with another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_data: Vec<EarlierData>,
}

/// Data that a run has seen before the one it sees now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierData {
    /// Steps taken when it was left.
    pub until_step: u64,
    /// Pictures.
    pub images: usize,
    /// Fingerprint.
    pub data_fingerprint: u64,
}

/// What `run.json` keeps of a warm start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmStartRecord {
    /// As given: a run folder or a file.
    pub from: String,
    /// How those weights were trained, as far as they say.
    pub training: String,
    /// Which networks were taken: `encoder`, or `encoder, projector, predictor, target`.
    pub networks: String,
    /// Channels of the first layer [there, here], where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted_channels: Option<[usize; 2]>,
}

impl RunFolder {
    /// Creates the folder with its configuration. An existing one is never touched, unless it is that of a run which ended
    /// before its first checkpoint, and nobody trains it: that is replaced. A folder inside `data` is never made.
    ///
    /// # Errors
    /// [`Error::Path`] when `path` exists or lies inside the data, [`Error::Io`] when it cannot be written; then nothing
    /// is left behind.
    pub fn create(path: &Path, config: &Config, info: &RunInfo) -> Result<Self> {
        Self::check_free(path, &info.data)?;
        let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let new_parents = parents.take_while(|parent| !parent.exists()).map(Path::to_owned).collect();
        let replaces_abandoned = path.exists();
        if replaces_abandoned {
            fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
        }
        let run = Self { path: path.to_owned(), new_parents, replaces_abandoned };
        run.make_folder().inspect_err(|_| run.discard_parents())?;
        run.fill(config, info).inspect_err(|_| run.discard())?;
        Ok(run)
    }

    /// Removes a folder just created, and the parents created for it. What cannot be removed stays: the caller has an
    /// error to report already.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_dir_all(&self.path);
        self.discard_parents();
    }

    /// Whether [`Self::create`] put it in place of a run that had ended before its first checkpoint.
    pub fn replaces_abandoned(&self) -> bool {
        self.replaces_abandoned
    }

    fn discard_parents(&self) {
        for parent in &self.new_parents {
            let _ = fs::remove_dir(parent);
        }
    }

    fn make_folder(&self) -> Result<()> {
        if let Some(parent) = self.new_parents.first() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        fs::create_dir(&self.path).map_err(Error::io("create", &self.path))
    }

    /// Checks that `path` may become a run folder for `data`.
    pub fn check_free(path: &Path, data: &[PathBuf]) -> Result<()> {
        if path.symlink_metadata().is_ok() && !is_abandoned(path) {
            let problem = "already exists, and a run never overwrites; give another --out, or go on with `byol resume`";
            return Err(Error::path(path, problem));
        }
        data.iter().try_for_each(|data| check_outside(path, data))
    }

    /// Opens an existing run folder.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self { path: path.to_owned(), new_parents: Vec::new(), replaces_abandoned: false };
        if run.config_path().is_file() && run.info_path().is_file() {
            return Ok(run);
        }
        let got = match path.symlink_metadata() {
            Ok(_) if path.is_dir() => {
                "a folder that lacks one or both (of a run that was killed as it began: delete it)"
            }
            Ok(_) => "a file",
            Err(_) => "nothing at this path",
        };
        let problem = format!(
            "not a run folder: expected config.toml and run.json in it, got {got}; give the --out of a `byol pretrain`"
        );
        Err(Error::path(path, problem))
    }

    fn fill(&self, config: &Config, info: &RunInfo) -> Result<()> {
        fs::create_dir(self.checkpoints()).map_err(Error::io("create", &self.checkpoints()))?;
        fs::File::create(self.metrics()).map(drop).map_err(Error::io("create", &self.metrics()))?;
        // A folder with both is a whole run, whenever this process is killed.
        self.write(config, info)
    }

    fn write(&self, config: &Config, info: &RunInfo) -> Result<()> {
        write_atomically(&self.config_path(), |writer| writer.write_all(config.to_toml().as_bytes()))?;
        let json = serde_json::to_string_pretty(info).expect("plain fields have a JSON form");
        write_atomically(&self.info_path(), |writer| writeln!(writer, "{json}"))
    }

    /// Writes what a run goes on with in place of what it began with.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Path`] when another process trains the run.
    pub(crate) fn change(&self, config: &Config, info: &RunInfo) -> Result<()> {
        let _lock = self.lock()?;
        self.write(config, info)
    }

    /// Reads `run.json`.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.info_path();
        let json = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&json).map_err(|error| {
            Error::path(&path, format!("damaged run description: {error}; restore the file from a copy"))
        })
    }

    /// Keeps every other process from training this run while the returned file is open; `None` where the file system has no
    /// locks.
    ///
    /// # Errors
    /// [`Error::Path`] when another process has it.
    pub fn lock(&self) -> Result<Option<fs::File>> {
        match lock(&self.info_path())? {
            Lock::Ours(file) => Ok(Some(file)),
            Lock::Unknown => Ok(None),
            Lock::Taken => {
                Err(Error::path(&self.path, "another process is training this run; wait for it, or stop it first"))
            }
        }
    }

    /// Flushes the lists of steps and of bad pictures to the disk. Done before a checkpoint, so that a power failure leaves no
    /// hole in what is logged of the steps before it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn flush_logs(&self) -> Result<()> {
        for path in [self.metrics(), self.bad_images()] {
            match fs::OpenOptions::new().append(true).open(&path).and_then(|log| log.sync_data()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("write", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads `config.toml`.
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.config_path())
    }

    /// Appends the evaluation to `metrics.jsonl`, and puts it into `evaluation.json` in place of an earlier one of the same
    /// protocol, data and steps.
    ///
    /// # Errors
    /// [`Error::Io`] and, for an `evaluation.json` that someone has damaged, [`Error::Path`].
    pub fn remember(&self, evaluation: &Evaluation) -> Result<()> {
        MetricsLog::open(&self.metrics())?.append(evaluation)?;
        let mut evaluations = read_evaluations(&self.evaluations())?;
        let key = |e: &Evaluation| (e.eval.clone(), e.data.clone(), e.protocol.clone(), e.step);
        evaluations.retain(|earlier| key(earlier) != key(evaluation));
        evaluations.push(evaluation.clone());
        write_evaluations(&self.evaluations(), evaluations)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `evaluation.json`.
    pub fn evaluations(&self) -> PathBuf {
        self.path.join("evaluation.json")
    }

    /// `features/`, where representations are kept.
    pub fn features(&self) -> PathBuf {
        self.path.join("features")
    }

    /// `outcomes/`, where finished outcomes of evaluations are kept.
    pub fn outcomes(&self) -> PathBuf {
        self.path.join("outcomes")
    }

    /// `tensorboard/`.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// `bad_images.jsonl`.
    pub fn bad_images(&self) -> PathBuf {
        self.path.join("bad_images.jsonl")
    }

    fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    fn info_path(&self) -> PathBuf {
        self.path.join("run.json")
    }
}

/// Whether `path` is the folder of a run that ended before its first checkpoint: nothing in it is worth keeping.
fn is_abandoned(path: &Path) -> bool {
    let names = |folder: &Path| -> Option<Vec<String>> {
        let entries = fs::read_dir(folder).ok()?;
        entries.map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    };
    let is_ours = names(path).is_some_and(|names| {
        ["config.toml", "checkpoints"].iter().all(|ours| names.iter().any(|name| name == ours))
            && names.iter().all(|name| BEGUN.contains(&name.as_str()))
    });
    // The first checkpoint of a warm start holds what it was given.
    let has_no_step = names(&path.join("checkpoints"))
        .is_some_and(|names| names.iter().all(|name| name == "step-00000000.safetensors"));
    let run = RunFolder { path: path.to_owned(), new_parents: Vec::new(), replaces_abandoned: false };
    let is_free = match run.info_path().exists() {
        // Where there are no locks, nobody can tell.
        true => matches!(run.lock(), Ok(Some(_))),
        // Killed as it began, unless it is just beginning.
        false => fs::metadata(run.config_path())
            .and_then(|file| file.modified())
            .is_ok_and(|written| written.elapsed().is_ok_and(|age| age > BEGINNING)),
    };
    !path.is_symlink() && is_ours && has_no_step && is_free
}
