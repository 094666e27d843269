//! What a run folder holds, as far as it is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use byol::config::Config;
use byol::run::{RunFolder, RunInfo, Session, SessionLine};
use byol::train::watch::{self, Facts, Series, Verdict};
use byol_data::BadImage;
use byol_eval::Evaluation;
use byol_nn::encoder::EncoderInfo;
use byol_nn::{Error, Result};
use serde_json::Value;

/// A run as the report sees it. What is missing or damaged is empty, with a sentence in `problems`.
pub(super) struct RunRecord {
    /// Name of the folder, or its path where two have the same name.
    pub name: String,
    pub path: PathBuf,
    pub config: Option<Config>,
    /// `config.toml` as it is.
    pub config_text: String,
    pub info: Option<RunInfo>,
    pub encoder: Option<EncoderInfo>,
    /// Logged steps, rising.
    pub steps: Vec<Logged>,
    /// Lines of monitors (`eval: "online"`), rising.
    pub monitors: Vec<Logged>,
    /// What the numbers of the last monitor line stand for.
    pub monitor_protocol: Option<String>,
    /// The same lines as the run watches them.
    pub series: Series,
    pub sessions: Vec<Session>,
    pub evaluations: Vec<Evaluation>,
    pub bad: Vec<BadImage>,
    /// When something was logged last.
    pub written: Option<SystemTime>,
    pub state: State,
    pub problems: Vec<String>,
}

/// Numbers of one step.
pub(super) struct Logged {
    pub step: u64,
    pub epoch: f64,
    pub values: BTreeMap<String, f64>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No step is logged.
    Empty,
    /// A process is training it.
    Running,
    /// No process trains it, and steps are missing.
    Interrupted,
    /// All steps are done.
    Finished,
}

impl RunRecord {
    /// Reads all runs and gives them names that differ where their paths do.
    ///
    /// # Errors
    /// [`Error::Path`] for a path that is no run folder.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        let mut runs: Vec<Self> = paths.iter().map(|path| Self::read(path)).collect::<Result<_>>()?;
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        for run in &mut runs {
            if names.iter().filter(|name| **name == run.name).count() > 1 {
                run.name = run.path.to_string_lossy().into_owned();
            }
        }
        Ok(runs)
    }

    fn read(path: &Path) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned();
        let mut problems = Vec::new();
        let config = folder.config().map_err(|error| problems.push(error.to_string())).ok();
        let config_text = fs::read(path.join("config.toml")).map_or_else(|_| String::new(), lossy);
        let info = folder.info().map_err(|error| problems.push(error.to_string())).ok();
        let encoder = fs::read(path.join("encoder.json")).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let mut run = Self {
            name,
            path: path.to_owned(),
            config,
            config_text,
            info,
            encoder,
            steps: Vec::new(),
            monitors: Vec::new(),
            monitor_protocol: None,
            series: Series::default(),
            sessions: Vec::new(),
            evaluations: Vec::new(),
            bad: bad_images(&folder.bad_images()),
            written: fs::metadata(folder.metrics()).and_then(|metadata| metadata.modified()).ok(),
            state: State::Empty,
            problems,
        };
        run.read_metrics(&folder.metrics());
        run.read_evaluations(&path.join("evaluation.json"));
        run.state = run.judge(&folder);
        Ok(run)
    }

    /// Steps, monitors and sessions; a step that was taken twice counts as it was the last time.
    fn read_metrics(&mut self, path: &Path) {
        let Ok(text) = fs::read(path).map(lossy) else {
            self.problems.push("metrics.jsonl cannot be read: no curves".to_owned());
            return;
        };
        self.series = Series::of(&text);
        let (mut steps, mut monitors) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            if value.get("session").is_some() {
                self.sessions.extend(serde_json::from_value::<SessionLine>(value).ok().map(|line| line.session));
                continue;
            }
            if value.get("watch").is_some() {
                continue;
            }
            let to = match value.get("eval").and_then(Value::as_str) {
                None => &mut steps,
                Some("online") => &mut monitors,
                Some(_) => continue,
            };
            if let Some(logged) = Logged::of(&value) {
                to.insert(logged.step, logged);
            }
            if let Some(protocol) = value.get("protocol").and_then(Value::as_str) {
                self.monitor_protocol = Some(protocol.to_owned());
            }
        }
        self.steps = steps.into_values().collect();
        self.monitors = monitors.into_values().collect();
    }

    fn read_evaluations(&mut self, path: &Path) {
        let Ok(json) = fs::read(path) else { return };
        let Some(entries) = evaluation_entries(&json) else {
            self.problems.push("evaluation.json is damaged: no results from it".to_owned());
            return;
        };
        for (place, entry) in entries.into_iter().enumerate() {
            match serde_json::from_value(entry) {
                Ok(evaluation) => self.evaluations.push(evaluation),
                Err(_) => self.problems.push(format!(
                    "entry {} of evaluation.json is not as this version writes it and is left out",
                    place + 1
                )),
            }
        }
    }

    fn judge(&self, folder: &RunFolder) -> State {
        let total = self.total_steps();
        match self.steps.last() {
            Some(last) if total.is_some_and(|total| last.step + 1 >= total) => State::Finished,
            // Held for an instant: only a training that starts in this very instant would be turned away.
            _ if matches!(folder.lock(), Err(Error::Path { .. })) => State::Running,
            Some(_) => State::Interrupted,
            None => State::Empty,
        }
    }

    /// Steps of the whole schedule.
    pub fn total_steps(&self) -> Option<u64> {
        Some(self.config.as_ref()?.schedule(self.info.as_ref()?.images).total_steps)
    }

    /// A number of the last logged step.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.steps.last()?.values.get(key).copied()
    }

    /// `projection_std` of projections that are spread evenly: 1/√size.
    pub fn healthy_std(&self) -> Option<f64> {
        Some(1.0 / (self.config.as_ref()?.model.projection_size as f64).sqrt())
    }

    /// Whether the projections fell together.
    pub fn collapsed(&self) -> bool {
        let collapse = self.healthy_std().map(|healthy| watch::COLLAPSE_SHARE * healthy);
        self.last("projection_std").zip(collapse).is_some_and(|(std, collapse)| std < collapse)
    }

    /// What the run watches itself by; `None` without its settings.
    pub fn facts(&self) -> Option<Facts> {
        let info = self.info.as_ref()?;
        Some(Facts::of_run(self.config.as_ref()?, info))
    }

    /// What a finished run learned, as at the end of `byol pretrain`.
    pub fn learned(&self) -> Option<Verdict> {
        let facts = self.facts().filter(|_| self.state == State::Finished && !self.monitors.is_empty())?;
        Some(watch::verdict(&self.series, &facts))
    }
}

impl Logged {
    fn of(line: &Value) -> Option<Self> {
        let fields = line.as_object()?;
        let number = |key: &str| fields.get(key)?.as_f64().filter(|value| value.is_finite());
        let values = fields.keys().filter(|key| !["step", "epoch"].contains(&key.as_str()));
        Some(Self {
            step: fields.get("step")?.as_u64()?,
            epoch: number("epoch")?,
            values: values.filter_map(|key| Some((key.clone(), number(key)?))).collect(),
        })
    }
}

fn evaluation_entries(json: &[u8]) -> Option<Vec<Value>> {
    match serde_json::from_slice::<Value>(json).ok()?.get_mut("evaluations")?.take() {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

fn bad_images(path: &Path) -> Vec<BadImage> {
    let text = fs::read(path).map_or_else(|_| String::new(), lossy);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use byol::Preset;

    /// A run of 90 pictures in batches of 16 for 2 epochs, which is 11 steps, with the given lines of metrics.
    pub fn run_with(folder: &Path, name: &str, metrics: &str) -> PathBuf {
        let settings = ["train.batch_size=16", "schedule.epochs=2", "model.projection_size=16"];
        run_of(folder, name, Preset::Cifar10, &settings, metrics)
    }

    /// A run of 90 pictures by `preset` with `settings`, with the given lines of metrics.
    pub fn run_of(folder: &Path, name: &str, preset: Preset, settings: &[&str], metrics: &str) -> PathBuf {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let config = preset.resolve(&settings).unwrap();
        let info = RunInfo {
            data: vec![folder.join("gone")],
            split: None,
            data_fingerprint: 1,
            images: 90,
            input: "test".to_owned(),
            device: "cpu".to_owned(),
            version: "0.0.0".to_owned(),
            preset: Some(preset.name().to_owned()),
            warm_start: None,
            earlier_data: Vec::new(),
        };
        let path = folder.join(name);
        RunFolder::create(&path, &config, &info).unwrap();
        fs::write(path.join("metrics.jsonl"), metrics).unwrap();
        path
    }

    fn step(step: u64, loss: f64, std: f64) -> String {
        format!(
            "{{\"step\":{step},\"epoch\":{},\"loss\":{loss},\"projection_std\":{std}}}\n",
            step as f64 * 16.0 / 90.0
        )
    }

    fn read(metrics: &str) -> RunRecord {
        let folder = tempfile::tempdir().unwrap();
        RunRecord::read_all(&[run_with(folder.path(), "run", metrics)]).unwrap().pop().unwrap()
    }

    #[test]
    fn the_state_is_told_by_the_last_step_and_collapse_by_the_spread() {
        let (empty, half, whole) = (read(""), read(&step(4, 1.0, 0.2)), read(&step(10, 1.0, 0.02)));
        assert_eq!((empty.state, half.state, whole.state), (State::Empty, State::Interrupted, State::Finished));
        assert_eq!(whole.total_steps(), Some(11));
        assert_eq!((half.collapsed(), whole.collapsed()), (false, true));
    }

    #[test]
    fn a_run_in_training_is_running() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        let _lock = RunFolder::open(&path).unwrap().lock().unwrap();
        assert_eq!(RunRecord::read_all(&[path]).unwrap()[0].state, State::Running);
    }

    #[test]
    fn lines_that_are_torn_or_no_numbers_are_left_out_and_repeated_steps_count_once() {
        let text = step(0, 3.0, 0.2)
            + &step(1, 2.0, 0.2)
            + "{\"step\":1,\"epoch\":0.2,\"loss\":1.5,\"grad_norm\":null}\n"
            + "{\"eval\":\"online\",\"step\":5,\"epoch\":1.0,\"rank_me\":7.5}\n"
            + "{\"eval\":\"knn\",\"step\":5,\"result\":{}}\n"
            + "{\"session\":{\"first_step\":0,\"version\":\"1\",\"isa\":\"avx2\",\"threads\":2,\"precision\":\"f32\"}}\n"
            + "{\"step\":2,\"epo";
        let run = read(&text);
        assert_eq!(run.steps.iter().map(|logged| logged.values["loss"]).collect::<Vec<_>>(), [3.0, 1.5]);
        assert!(!run.steps[1].values.contains_key("grad_norm"));
        assert_eq!((run.monitors.len(), run.monitors[0].values["rank_me"], run.sessions.len()), (1, 7.5, 1));
    }

    #[test]
    fn damaged_results_are_named_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        for (json, words) in [("{", "damaged"), ("{\"evaluations\": [{}]}", "entry 1")] {
            fs::write(path.join("evaluation.json"), json).unwrap();
            let run = RunRecord::read_all(std::slice::from_ref(&path)).unwrap().pop().unwrap();
            assert!(run.evaluations.is_empty() && run.problems[0].contains(words), "{:?}", run.problems);
        }
    }

    #[test]
    fn two_runs_of_one_name_are_told_apart_by_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        let paths = [run_with(folder.path(), "run", ""), run_with(&folder.path().join("b"), "run", "")];
        let runs = RunRecord::read_all(&paths).unwrap();
        assert!(runs[0].name != runs[1].name && runs[1].name.ends_with("b/run"), "{}", runs[1].name);
    }
}
