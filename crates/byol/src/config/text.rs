//! Settings as TOML: reading, laying over each other, and comparing.

use std::path::Path;

use byol_data::DataConfig;
use byol_nn::{Error, Result};
use toml::{Table, Value};

use super::monitor::MonitorConfig;
use super::tree::{Config, TrainConfig};

impl Config {
    /// Reads the resolved configuration of a run.
    ///
    /// # Errors
    /// As for [`Overlays::over`](crate::Overlays::over): someone may have edited it.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let origin = path.display().to_string();
        let config = from_table(parse_toml(&text, &origin)?, &origin)?;
        config.validate().map_err(|error| syntax(&origin, &error.to_string()))?;
        Ok(config)
    }

    /// The whole tree as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every setting has a TOML form")
    }

    /// All settings that decide the result, as text: equal for two configurations of which one may go on with the other's
    /// checkpoint.
    pub(crate) fn identity(&self) -> String {
        let free = TrainConfig {
            log_every_steps: 1,
            checkpoint_every_steps: 1,
            checkpoint_every_minutes: 0.0,
            checkpoints_kept: 1,
            loader_threads: 0,
            prefetch_batches: 1,
            tensorboard: true,
            ..self.train.clone()
        };
        // What the pictures are decides; limits on them do not.
        let DataConfig { channels, exif_orientation, .. } = self.data;
        let data = DataConfig { channels, exif_orientation, ..DataConfig::default() };
        Self { train: free, data, eval: MonitorConfig::default(), ..self.clone() }.to_toml()
    }

    /// Whether a run may go on with a checkpoint of this [`Self::identity`]; keys that are younger than the checkpoint
    /// had their default.
    pub(crate) fn goes_on_from(&self, identity: &str) -> bool {
        let stored = parse_toml(identity, "checkpoint").and_then(|table| from_table(table, "checkpoint"));
        stored.is_ok_and(|stored| stored.identity() == self.identity())
    }

    /// This configuration with the values of `overlay` in place of its own.
    pub(crate) fn overlay(&self, overlay: Table, origin: &str) -> Result<Self> {
        let mut tree = Table::try_from(self).expect("every setting has a TOML form");
        merge(&mut tree, overlay);
        from_table(tree, origin)
    }
}

pub(crate) fn parse_toml(text: &str, origin: &str) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| syntax(origin, error.to_string().trim_end()))
}

/// `a.b.c=value` as a tree; a value that is no TOML is taken as text, so that `model.arch=resnet18` needs no quotes.
pub(crate) fn parse_setting(setting: &str) -> Result<Table> {
    let origin = format!("--set {setting}");
    let (key, value) = setting
        .split_once('=')
        .filter(|(key, _)| !key.is_empty() && key.split('.').all(|part| !part.trim().is_empty()))
        .ok_or_else(|| syntax(&origin, "expected key=value, for example train.batch_size=128"))?;
    let value = format!("x = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("x"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let mut parts = key.split('.').map(str::trim).rev();
    let leaf = parts.next().unwrap_or_default();
    let tree = Table::from_iter([(leaf.to_owned(), value)]);
    Ok(parts.fold(tree, |tree, part| Table::from_iter([(part.to_owned(), Value::Table(tree))])))
}

fn merge(tree: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (tree.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(value)) => merge(below, value),
            (_, value) => {
                tree.insert(key, value);
            }
        }
    }
}

pub(crate) fn from_table(table: Table, origin: &str) -> Result<Config> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        syntax(origin, &format!("key `{key}`: {}", in_plain_words(error.inner().message())))
    })
}

/// The parser's sentence without the names of Rust's types.
fn in_plain_words(problem: &str) -> String {
    let (found, expected) = problem.rsplit_once("expected ").unwrap_or((problem, ""));
    match expected {
        "usize" | "u64" => format!("{found}expected a whole number of 0 or more"),
        "f32" | "f64" => format!("{found}expected a number"),
        "a boolean" => format!("{found}expected true or false"),
        _ if expected.starts_with("struct ") => format!("{found}expected a table of settings"),
        _ => problem.to_owned(),
    }
}

fn syntax(origin: &str, problem: &str) -> Error {
    Error::ConfigSyntax { origin: origin.to_owned(), problem: problem.to_owned() }
}
