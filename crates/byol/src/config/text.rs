//! Settings as TOML: reading, laying over each other, and comparing.

use std::path::Path;

use byol_data::DataConfig;
use byol_nn::{Error, Result};
use toml::{Table, Value};

use super::monitor::MonitorConfig;
use super::origin::{Origin, Part};
use super::suggest::{expected_names, keys, nearest, question, refused_name, similar_keys};
use super::tree::{Config, KeepBest, TrainConfig};
use super::watch::WatchConfig;

impl Config {
    /// Reads the resolved configuration of a run.
    ///
    /// # Errors
    /// As for [`Overlays::over`](crate::Overlays::over): someone may have edited it.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let origin = Origin::file(path, &text);
        let config = from_table(parse_toml(&text, &origin)?, &origin, &[])?;
        config.validate().map_err(|error| located(error, &origin))?;
        Ok(config)
    }

    /// The whole tree as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every setting has a TOML form")
    }

    /// All settings that decide the result, as text: equal for two configurations of which one may go on with the other's
    /// checkpoint.
    /// Settings that [`Self::to_toml`] wrote.
    pub(crate) fn stored(text: &str) -> Result<Self> {
        let origin = Origin::Stored("run");
        from_table(parse_toml(text, &origin)?, &origin, &[])
    }

    pub(crate) fn identity(&self) -> String {
        let free = TrainConfig {
            log_every_steps: 1,
            checkpoint_every_steps: 1,
            checkpoint_every_minutes: 0.0,
            checkpoints_kept: 1,
            loader_threads: 0,
            prefetch_batches: 1,
            tensorboard: true,
            keep_best: KeepBest::None,
            rank_timeout_secs: 0.0,
            ..self.train.clone()
        };
        // What the pictures are decides; limits on them do not.
        let DataConfig { channels, exif_orientation, jpeg, image_key, value_range, .. } = self.data.clone();
        let data = DataConfig { channels, exif_orientation, jpeg, image_key, value_range, ..DataConfig::default() };
        Self { train: free, data, eval: MonitorConfig::default(), watch: WatchConfig::default(), ..self.clone() }
            .to_toml()
    }

    /// Whether a run may go on with a checkpoint of this [`Self::identity`]; keys that are younger than the checkpoint
    /// had their default, and a run may be prolonged.
    pub(crate) fn goes_on_from(&self, identity: &str) -> bool {
        let origin = Origin::Stored("checkpoint");
        let stored = parse_toml(identity, &origin).and_then(|table| from_table(table, &origin, &[]));
        stored.is_ok_and(|mut stored| {
            stored.schedule.epochs = self.schedule.epochs;
            stored.identity() == self.identity()
        })
    }

    /// This configuration with the values of `overlay` in place of its own.
    pub(crate) fn overlay(&self, overlay: Table, origin: &Origin) -> Result<Self> {
        let mut tree = self.tree();
        let known = keys(&tree);
        merge(&mut tree, overlay);
        from_table(tree, origin, &known)
    }

    fn tree(&self) -> Table {
        Table::try_from(self).expect("every setting has a TOML form")
    }
}

/// The settings that `name` may stand for, as dotted keys, the likeliest first; at most three, and none where nothing is
/// similar. For a flag that does not exist, too: `batch-size` is `train.batch_size`.
pub fn similar_settings(name: &str, config: &Config) -> Vec<String> {
    similar_keys(name, &keys(&config.tree()))
}

pub(crate) fn parse_toml(text: &str, origin: &Origin) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or_else(|| origin.to_string(), |span| origin.at_byte(span.start));
        syntax(&at, error.to_string().trim_end())
    })
}

/// `a.b.c=value` as a tree; a value that is no TOML is taken as text, so that `model.arch=resnet18` needs no quotes.
pub(crate) fn parse_setting(setting: &str) -> Result<Table> {
    let origin = Origin::Setting(setting.to_owned()).to_string();
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

/// The configuration of a complete `table`; `known` are the keys that a wrong one may have been meant for.
pub(crate) fn from_table(table: Table, origin: &Origin, known: &[String]) -> Result<Config> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let (key, message) = (error.path().to_string(), error.inner().message());
        let is_key = message.starts_with("unknown field");
        let meant = match is_key {
            true => similar_keys(&key, known),
            false => Vec::new(),
        };
        let meant = match meant.is_empty() {
            true => refused_name(message)
                .and_then(|name| nearest(name, expected_names(message).into_iter()))
                .into_iter()
                .collect(),
            false => meant,
        };
        let at = origin.at(&key, if is_key { Part::Key } else { Part::Value });
        syntax(&at, &format!("key `{key}`: {}{}", in_plain_words(message), question(&meant)))
    })
}

/// `error` of a value with its line, where `origin` is the file that has it.
pub(crate) fn located(error: Error, origin: &Origin) -> Error {
    match &error {
        Error::Config { key, .. } if origin.has(key) => syntax(&origin.at(key, Part::Value), &error.to_string()),
        _ => error,
    }
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
