//! A run as MLflow keeps it in files: `EXPERIMENT/RUN/metrics`, `params` and `tags`, with a `meta.yaml` each.
//!
//! The form is that of the file store of MLflow 3.17, which its own tools read (`mlflow.store.tracking.file_store`): a line `time value step`
//! per number, times in milliseconds since 1970. Nothing is sent anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use byol_eval::Evaluation;
use byol_nn::encoder::EncoderInfo;
use byol_nn::files::{check_outside, write_atomically};
use byol_nn::{Error, Result};
use chrono::DateTime;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::run::RunFolder;

/// MLflow takes no longer ones.
const LONGEST_PARAMETER: usize = 6000;

/// Tag that says a run is one of ours.
const RUN_TAG: &str = "byol.run";

/// Status numbers of MLflow.
const RUNNING: u8 = 1;
const FINISHED: u8 = 3;
const KILLED: u8 = 5;

/// What [`write()`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The folder of the run in the store.
    pub run: PathBuf,
    /// Its identifier.
    pub run_id: String,
    /// Numbers written.
    pub numbers: usize,
    /// Whether an earlier state of the same run was replaced.
    pub replaced: bool,
    /// Lines without a time, of a version before 0.1.0 wrote it; they have that of the file.
    pub without_time: usize,
}

/// All numbers of a run by name: lines of MLflow's files.
#[derive(Default)]
struct Numbers {
    files: BTreeMap<String, String>,
    count: usize,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    without_time: usize,
}

/// Writes the run in `run` into the file store `store`, which is made if needed, under the experiment called `experiment`. A run that is there
/// already, from the same folder, is replaced by what it is now.
///
/// # Errors
/// [`Error::Path`] for a folder that is no run, a store inside of it, or a foreign run of the same identifier; [`Error::Io`].
pub fn write(run: &Path, store: &Path, experiment: &str) -> Result<Logged> {
    let folder = RunFolder::open(run)?;
    let full = run.canonicalize().map_err(Error::io("resolve", run))?;
    check_outside(store, &full)?;
    if experiment.is_empty() || experiment.chars().any(char::is_control) {
        let expected = "a name of one line".to_owned();
        return Err(Error::Flag { flag: "--experiment", expected, got: format!("{experiment:?}") });
    }
    check_store(store)?;
    let numbers = Numbers::read(&folder)?;
    fs::create_dir_all(store).map_err(Error::io("create", store))?;
    let store = store.canonicalize().map_err(Error::io("resolve", store))?;
    let experiment = experiment_folder(&store, experiment, numbers.first_ms.unwrap_or(0))?;
    let run_id = hex(full.as_os_str().as_encoded_bytes(), 16);
    let place = experiment.join(&run_id);
    if place.exists() && !place.join("tags").join(RUN_TAG).exists() {
        return Err(Error::path(&place, "holds a run of somebody else; give another folder"));
    }
    let new = store.join(format!(".{run_id}.partial"));
    discard(&new)?;
    fill(&new, &place, &folder, &full, &numbers)?;
    // Between these two there is no such run; nothing of it is lost, since all is made from the run folder.
    let replaced = place.exists();
    discard(&place)?;
    fs::rename(&new, &place).map_err(Error::io("write", &place))?;
    Ok(Logged { run: place, run_id, numbers: numbers.count, replaced, without_time: numbers.without_time })
}

/// A folder of something else is left alone.
fn check_store(store: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(store) else { return Ok(()) };
    let entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_store = entries.is_empty() || entries.iter().any(|entry| entry.join("meta.yaml").exists());
    match is_store {
        true => Ok(()),
        false => Err(Error::path(store, "expected a store of MLflow or a new folder, got a folder of something else")),
    }
}

fn discard(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(Error::io("delete", folder)) } else { Ok(()) }
}

/// The folder of the experiment of this name, made if there is none.
fn experiment_folder(store: &Path, name: &str, time_ms: i64) -> Result<PathBuf> {
    let line = format!("name: {}", yaml(name));
    let plain = format!("name: {name}");
    for entry in fs::read_dir(store).map_err(Error::io("read", store))?.flatten() {
        let meta = fs::read_to_string(entry.path().join("meta.yaml")).unwrap_or_default();
        if meta.lines().any(|found| found == line || found == plain) {
            return Ok(entry.path());
        }
    }
    // Eighteen digits, as MLflow draws them.
    let digits = u64::from_str_radix(&hex(name.as_bytes(), 7), 16).unwrap_or(0) % 100_000_000_000_000_000;
    let folder = store.join(format!("9{digits:017}"));
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let meta = [
        ("artifact_location", yaml(&url(&folder))),
        ("creation_time", time_ms.to_string()),
        ("experiment_id", yaml(&id)),
        ("last_update_time", time_ms.to_string()),
        ("lifecycle_stage", "active".to_owned()),
        ("name", yaml(name)),
    ];
    write_meta(&folder, &meta)?;
    Ok(folder)
}

/// Writes the run into `folder`, which will become `place`.
fn fill(folder: &Path, place: &Path, run: &RunFolder, full: &Path, numbers: &Numbers) -> Result<()> {
    let make = |path: &Path| fs::create_dir_all(path).map_err(Error::io("create", path));
    let put = |kind: &str, name: &str, text: &str| {
        let path = folder.join(kind).join(name);
        make(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).map_err(Error::io("write", &path))
    };
    make(&folder.join("artifacts"))?;
    let (config, info) = (run.config()?, run.info()?);
    let config: toml::Value = toml::from_str(&config.to_toml()).expect("what was just written");
    for (key, value) in flat("", &config) {
        put("params", &allowed(&key), &value.chars().take(LONGEST_PARAMETER).collect::<String>())?;
    }
    for (name, lines) in &numbers.files {
        put("metrics", name, lines)?;
    }
    let name = full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned();
    let user = std::env::var("USER").unwrap_or_default();
    let roots: Vec<String> = info.data.iter().map(|root| root.display().to_string()).collect();
    let tags = [
        ("mlflow.runName", name.clone()),
        ("mlflow.source.name", "byol".to_owned()),
        ("mlflow.source.type", "LOCAL".to_owned()),
        ("mlflow.user", user.clone()),
        (RUN_TAG, full.display().to_string()),
        ("byol.version", info.version.clone()),
        ("byol.preset", info.preset.clone().unwrap_or_default()),
        ("byol.data", roots.join(", ")),
        ("byol.data_fingerprint", format!("{:016x}", info.data_fingerprint)),
        ("byol.images", info.images.to_string()),
    ];
    tags.iter().try_for_each(|(name, text)| put("tags", name, text))?;
    let end = numbers.last_ms.map_or("null".to_owned(), |ms| ms.to_string());
    let status = status(run, &info)?;
    let id = place.file_name().unwrap_or_default().to_string_lossy();
    let experiment = place.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let meta = [
        ("artifact_uri", yaml(&url(&place.join("artifacts")))),
        ("end_time", if status == RUNNING { "null".to_owned() } else { end }),
        ("entry_point_name", yaml("")),
        ("experiment_id", yaml(&experiment)),
        ("lifecycle_stage", "active".to_owned()),
        ("run_id", yaml(&id)),
        ("run_name", yaml(&name)),
        ("source_name", yaml("")),
        ("source_type", "4".to_owned()),
        ("source_version", yaml("")),
        ("start_time", numbers.first_ms.unwrap_or(0).to_string()),
        ("status", status.to_string()),
        ("tags", "[]".to_owned()),
        ("user_id", yaml(&user)),
    ];
    write_meta(folder, &meta)
}

/// Trained to its end, being trained, or neither.
fn status(run: &RunFolder, info: &crate::run::RunInfo) -> Result<u8> {
    if run.lock().is_err() {
        return Ok(RUNNING);
    }
    let total = run.config()?.schedule(info.images).total_steps;
    let encoder = fs::read(run.path().join("encoder.json")).ok();
    let encoder: Option<EncoderInfo> = encoder.and_then(|json| serde_json::from_slice(&json).ok());
    Ok(if encoder.is_some_and(|encoder| encoder.steps >= total) { FINISHED } else { KILLED })
}

impl Numbers {
    /// Everything in `metrics.jsonl`.
    fn read(run: &RunFolder) -> Result<Self> {
        let path = run.metrics();
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let changed = fs::metadata(&path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let changed_ms = DateTime::<chrono::Utc>::from(changed).timestamp_millis();
        let mut numbers = Self::default();
        for line in String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()) {
            numbers.add_line(&line, changed_ms);
        }
        Ok(numbers)
    }

    fn add_line(&mut self, line: &Value, changed_ms: i64) {
        let time = line["time"].as_str().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        self.without_time += usize::from(time.is_none());
        let ms = time.map_or(changed_ms, |time| time.timestamp_millis());
        self.first_ms = Some(self.first_ms.map_or(ms, |first| first.min(ms)));
        self.last_ms = Some(self.last_ms.map_or(ms, |last| last.max(ms)));
        let Some(step) = line["step"].as_u64() else { return };
        let group = match line.get("eval") {
            None if line.get("watch").is_some() => return,
            None => "train",
            Some(eval) if eval == "online" => "online",
            Some(_) => {
                if let Ok(evaluation) = serde_json::from_value(line.clone()) {
                    self.add_evaluation(&evaluation, ms);
                }
                return;
            }
        };
        for (key, value) in line.as_object().into_iter().flatten() {
            if let (Some(value), true) = (value.as_f64(), key != "step") {
                self.add(&format!("{group}/{key}"), value, step, ms);
            }
        }
    }

    fn add_evaluation(&mut self, evaluation: &Evaluation, ms: i64) {
        for row in &evaluation.rows {
            let network = row.network.short_name();
            let setting = if row.setting.is_empty() { String::new() } else { format!("{}/", row.setting) };
            for (metric, number) in &row.numbers {
                let name = format!("{}/{network}/{setting}{metric}", evaluation.eval);
                self.add(&name, number.mean, evaluation.step, ms);
            }
        }
    }

    fn add(&mut self, name: &str, value: f64, step: u64, ms: i64) {
        *self.files.entry(allowed(name)).or_default() += &format!("{ms} {value} {step}\n");
        self.count += 1;
    }
}

/// MLflow's names are of letters, digits, `_-. :/`.
fn allowed(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-. :/".contains(c);
    name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

/// Settings by their dotted names.
fn flat(prefix: &str, value: &toml::Value) -> Vec<(String, String)> {
    match value {
        toml::Value::Table(table) => {
            let name = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            table.iter().flat_map(|(key, value)| flat(&name(key), value)).collect()
        }
        toml::Value::String(text) => vec![(prefix.to_owned(), text.clone())],
        other => vec![(prefix.to_owned(), other.to_string())],
    }
}

fn write_meta(folder: &Path, lines: &[(&str, String)]) -> Result<()> {
    write_atomically(&folder.join("meta.yaml"), |to| {
        lines.iter().try_for_each(|(key, value)| writeln!(to, "{key}: {value}"))
    })
}

/// A text that YAML reads as it is.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `file:///…`, with what has a meaning in a URL escaped.
fn url(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let escaped = path.as_os_str().as_encoded_bytes().iter();
    let escaped: String =
        escaped.map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect();
    format!("file://{escaped}")
}

/// The first `bytes` bytes of the SHA-256 of `of`, two digits each.
fn hex(of: &[u8], bytes: usize) -> String {
    Sha256::digest(of).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_texts_and_paths_are_what_mlflow_takes() {
        assert_eq!(allowed("semi/random/1 % of the labels/top1"), "semi/random/1 _ of the labels/top1");
        assert_eq!(yaml("it's"), "'it''s'");
        assert_eq!(url(Path::new("/a b/größe")), "file:///a%20b/gr%C3%B6%C3%9Fe");
        let value: toml::Value = toml::from_str("seed = 1\n[a]\nb = \"x\"\nc = [1, 2]\n").unwrap();
        let expected = [("a.b", "x"), ("a.c", "[1, 2]"), ("seed", "1")];
        let flat = flat("", &value);
        assert_eq!(flat.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn lines_become_numbers_with_their_times() {
        let mut numbers = Numbers::default();
        let time = "2026-11-27T00:00:01.500Z";
        numbers.add_line(&serde_json::json!({"session": {"first_step": 0}, "time": "2026-11-27T00:00:00Z"}), 7);
        numbers.add_line(&serde_json::json!({"step": 3, "loss": 1.5, "time": time}), 7);
        numbers.add_line(&serde_json::json!({"step": 4, "loss": 1.25}), 7);
        numbers.add_line(&serde_json::json!({"eval": "online", "step": 4, "rank_me": 9.0, "time": time}), 7);
        numbers.add_line(&serde_json::json!({"watch": "collapse", "step": 4, "time": time}), 7);
        let ms = 1_795_737_601_500i64;
        assert_eq!(numbers.files["train/loss"], format!("{ms} 1.5 3\n7 1.25 4\n"));
        assert_eq!(numbers.files["online/rank_me"], format!("{ms} 9 4\n"));
        assert_eq!((numbers.count, numbers.files.len(), numbers.without_time), (3, 2, 1));
        assert_eq!((numbers.first_ms, numbers.last_ms), (Some(7), Some(ms)));
    }
}
