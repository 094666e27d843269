//! One tree of settings: preset, then file, then `--set key=value`; unknown keys fail; the result is stored with the run.

use std::path::Path;

use byol_data::DataConfig;
use byol_data::views::{EvaluationConfig, EvaluationResize, ViewsConfig};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use crate::byol::ModelConfig;
use crate::error::{Error, Result};
use crate::ops::Precision;
use crate::optim::{OptimizerConfig, RunLength, Schedule};
pub use crate::preset::Preset;
pub use crate::train::MonitorConfig;

/// Every setting of a pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where all randomness starts; 0 to 2⁶³ − 1, the whole numbers of TOML.
    pub seed: u64,
    /// Type of activations and matrix operands: `"f32"` or `"bf16"`; `"bf16"` by default where the machine has AMX.
    pub precision: Precision,
    /// Networks and what the online one is compared with.
    pub model: ModelConfig,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Length of the run and its rates.
    pub schedule: ScheduleConfig,
    /// Batches, logging, checkpoints.
    pub train: TrainConfig,
    /// Limits on the input.
    pub data: DataConfig,
    /// Augmentations of the two views.
    pub views: ViewsConfig,
    /// How pictures are cut to size for evaluation and for the exported encoder.
    pub evaluation: EvaluationSettings,
    /// What is measured while training.
    #[serde(default)]
    pub eval: MonitorConfig,
}

/// What lies over a preset: a TOML file, then `key=value` settings.
#[derive(Clone, Debug)]
pub struct Overlays {
    preset: Option<Preset>,
    tables: Vec<(String, Table)>,
}

impl Overlays {
    /// Reads the file and the settings.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::ConfigSyntax`] for one that is no TOML or names an unknown
    /// preset, and for settings that are no `key=value`.
    pub fn read(file: Option<&Path>, settings: &[String]) -> Result<Self> {
        let mut overlays = Self { preset: None, tables: Vec::new() };
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            let mut table = parse_toml(&text, &path.display().to_string())?;
            if let Some(name) = table.remove("preset") {
                overlays.preset = Some(Preset::from_value(&name, path)?);
            }
            overlays.tables.push((path.display().to_string(), table));
        }
        for setting in settings {
            overlays.tables.push((format!("--set {setting}"), parse_setting(setting)?));
        }
        Ok(overlays)
    }

    /// The preset that the file names.
    pub fn preset(&self) -> Option<Preset> {
        self.preset
    }

    /// The complete configuration: `preset`, overlaid. Its mean and standard deviation speak of three channels; for
    /// another `data.channels`, every channel starts with mean ½ and deviation ¼.
    ///
    /// # Errors
    /// [`Error::ConfigSyntax`] for unknown keys and wrong types, [`Error::Config`] for values out of range.
    pub fn over(&self, preset: Preset) -> Result<Config> {
        let mut config = preset.config();
        let channels = self.tables.iter().rev().find_map(|(_, table)| table.get("data")?.get("channels")?.as_integer());
        if let Some(channels) = channels.and_then(|channels| usize::try_from(channels).ok())
            && channels != config.views.mean.len()
        {
            (config.views.mean, config.views.std) = (vec![0.5; channels], vec![0.25; channels]);
        }
        for (origin, overlay) in &self.tables {
            config = config.overlay(overlay.clone(), origin)?;
        }
        config.validate()?;
        Ok(config)
    }
}

/// Length of the run and its rates (spec §4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Passes over the data; may be a fraction.
    pub epochs: f64,
    /// Passes over the data during which the learning rate rises from 0.
    pub warmup_epochs: f64,
    /// Learning rate at batch 256, 0 or more; the peak is this times batch / 256.
    pub base_learning_rate: f64,
    /// `τ_base` in `[0, 1]`, from which the target's averaging rises to 1 (spec §2.2).
    pub target_ema: f64,
}

/// How pictures are cut to size for evaluation (spec §3.2); size and normalisation are those of the views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Whether the centre is cut before or after resizing.
    pub resize: EvaluationResize,
    /// Share of the shorter side that is kept, above 0 and at most 1; 0.875 = 224/256 in the reference.
    pub crop_fraction: f32,
}

/// Batches, logging, checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Pictures per optimiser step, over all micro-batches.
    pub batch_size: usize,
    /// Micro-batches per optimiser step; batch norm sees one micro-batch at a time.
    pub accumulation_steps: usize,
    /// A line of metrics every so many steps, and of the last one.
    pub log_every_steps: u64,
    /// A checkpoint every so many steps, besides the one at the end.
    pub checkpoint_every_steps: u64,
    /// Checkpoints kept; older ones are deleted.
    pub checkpoints_kept: usize,
    /// Threads that decode and augment; 0 means one per core. Changes no result.
    pub loader_threads: usize,
    /// Batches prepared ahead of the model.
    pub prefetch_batches: usize,
    /// Whether the numbers go to TensorBoard's event files, too.
    #[serde(default = "yes")]
    pub tensorboard: bool,
}

/// For switches that are on where a file does not name them.
fn yes() -> bool {
    true
}

impl Config {
    /// `preset` with `key=value` settings over it; see [`Overlays`].
    ///
    /// # Errors
    /// As for [`Overlays::over`].
    pub fn resolve(preset: Preset, settings: &[String]) -> Result<Self> {
        Overlays::read(None, settings)?.over(preset)
    }

    /// Reads the resolved configuration of a run.
    ///
    /// # Errors
    /// As for [`Overlays::over`]: someone may have edited it.
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

    /// `base · batch / 256` and the step counts for `images` training pictures.
    pub fn schedule(&self, images: usize) -> Schedule {
        let lengths = RunLength {
            images,
            batch_size: self.train.batch_size,
            epochs: self.schedule.epochs,
            warmup_epochs: self.schedule.warmup_epochs,
        };
        Schedule::new(lengths, self.schedule.base_learning_rate, self.schedule.target_ema)
    }

    /// The complete preprocessing of evaluation: what travels with the encoder.
    pub fn preprocessing(&self) -> EvaluationConfig {
        let ViewsConfig { size_px, semantics, mean, std, .. } = self.views.clone();
        let EvaluationSettings { resize, crop_fraction } = self.evaluation;
        EvaluationConfig { size_px, resize, crop_fraction, semantics, mean, std }
    }

    /// All settings that decide the result, as text: equal for two configurations of which one may go on with the other's
    /// checkpoint.
    pub(crate) fn identity(&self) -> String {
        let free = TrainConfig {
            log_every_steps: 1,
            checkpoint_every_steps: 1,
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

    /// Pictures per micro-batch.
    pub fn micro_batch_size(&self) -> usize {
        self.train.batch_size / self.train.accumulation_steps
    }

    fn overlay(&self, overlay: Table, origin: &str) -> Result<Self> {
        let mut tree = Table::try_from(self).expect("every setting has a TOML form");
        merge(&mut tree, overlay);
        from_table(tree, origin)
    }

    /// Checks every range.
    pub fn validate(&self) -> Result<()> {
        let positive = |key: &str, value: usize| check(value > 0, key, "a whole number above 0", value);
        let finite =
            |key: &str, value: f64| check(value.is_finite() && value >= 0.0, key, "a number of 0 or more", value);
        let fraction = |key: &str, value: f64| check((0.0..=1.0).contains(&value), key, "a number from 0 to 1", value);
        let below_one =
            |key: &str, value: f64| check((0.0..1.0).contains(&value), key, "a number from 0 to below 1", value);
        let units = |key: &str, value: usize| check((1..=65_536).contains(&value), key, "1 to 65536", value);
        units("model.projector_hidden", self.model.projector_hidden)?;
        units("model.predictor_hidden", self.model.predictor_hidden)?;
        units("model.projection_size", self.model.projection_size)?;
        let layers = |key: &str, value: usize| check((1..=3).contains(&value), key, "1, 2 or 3", value);
        layers("model.projector_layers", self.model.projector_layers)?;
        layers("model.predictor_layers", self.model.predictor_layers)?;
        finite("model.negatives_weight", self.model.negatives_weight.into())?;
        let temperature = self.model.negatives_temperature;
        check(
            (1e-3..=1e3).contains(&temperature),
            "model.negatives_temperature",
            "a number from 0.001 to 1000",
            temperature,
        )?;
        below_one("model.batch_norm_decay", self.model.batch_norm_decay)?;
        below_one("optimizer.momentum", self.optimizer.momentum)?;
        finite("optimizer.weight_decay", self.optimizer.weight_decay)?;
        finite("optimizer.trust_coefficient", self.optimizer.trust_coefficient)?;
        below_one("optimizer.beta1", self.optimizer.beta1)?;
        below_one("optimizer.beta2", self.optimizer.beta2)?;
        finite("optimizer.epsilon", self.optimizer.epsilon)?;
        let epochs = self.schedule.epochs;
        check((0.0..=1e6).contains(&epochs), "schedule.epochs", "a number from 0 to 1000000", epochs)?;
        finite("schedule.warmup_epochs", self.schedule.warmup_epochs)?;
        finite("schedule.base_learning_rate", self.schedule.base_learning_rate)?;
        fraction("schedule.target_ema", self.schedule.target_ema)?;
        let batch = self.train.batch_size;
        check(batch >= 2, "train.batch_size", "2 or more (batch norm needs more than one picture)", batch)?;
        positive("train.accumulation_steps", self.train.accumulation_steps)?;
        let micro = self.train.accumulation_steps;
        check(
            batch.is_multiple_of(micro) && batch / micro >= 2,
            "train.accumulation_steps",
            &format!("a divisor of train.batch_size = {batch} that leaves at least 2 pictures"),
            micro,
        )?;
        check(
            self.train.log_every_steps > 0,
            "train.log_every_steps",
            "a whole number above 0",
            self.train.log_every_steps,
        )?;
        let every = self.train.checkpoint_every_steps;
        check(every > 0, "train.checkpoint_every_steps", "a whole number above 0", every)?;
        positive("train.checkpoints_kept", self.train.checkpoints_kept)?;
        let prefetch = self.train.prefetch_batches;
        check((1..=1024).contains(&prefetch), "train.prefetch_batches", "1 to 1024", prefetch)?;
        check(self.train.loader_threads <= 1024, "train.loader_threads", "0 to 1024", self.train.loader_threads)?;
        self.eval.validate()?;
        self.data.validate().map_err(invalid)?;
        self.views.validate().map_err(invalid)?;
        let channels = self.data.channels;
        check(
            self.views.mean.len() == channels,
            "views.mean",
            &format!("{channels} number(s), as data.channels says, and as many in views.std"),
            format!("{:?}", self.views.mean),
        )?;
        self.preprocessing().validate("evaluation").map_err(invalid)
    }
}

pub(crate) fn invalid(error: byol_data::InvalidConfig) -> Error {
    Error::Config { key: error.key, expected: error.expected, got: error.got }
}

fn check(good: bool, key: &str, expected: &str, got: impl ToString) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::Config { key: key.to_owned(), expected: expected.to_owned(), got: got.to_string() })
}

fn parse_toml(text: &str, origin: &str) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| syntax(origin, error.to_string().trim_end()))
}

/// `a.b.c=value` as a tree; a value that is no TOML is taken as text, so that `model.arch=resnet18` needs no quotes.
fn parse_setting(setting: &str) -> Result<Table> {
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

fn from_table(table: Table, origin: &str) -> Result<Config> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(settings: &[&str]) -> Result<Config> {
        Config::resolve(Preset::Cifar10, &settings.iter().map(|&s| s.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn settings_override_the_preset_and_text_needs_no_quotes() {
        let config = resolve(&["model.arch=resnet18x0.25", "train.batch_size=128", "schedule.epochs=3"]).unwrap();
        assert_eq!(config.model.arch.to_string(), "resnet18x0.25");
        assert_eq!((config.train.batch_size, config.schedule.epochs), (128, 3.0));
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_allowed() {
        let cases = [
            ("train.batchsize=3", "batch_size"),
            ("nonsense=1", "unknown field `nonsense`"),
            ("train.batch_size=many", "train.batch_size"),
            ("train.batch_size=-1", "train.batch_size"),
            ("train.batch_size=1", "2 or more"),
            ("train.accumulation_steps=7", "divisor"),
            ("model.arch=vgg", "resnet18"),
            ("schedule.epochs=-2", "from 0 to"),
            ("train.prefetch_batches=1000000000000", "1 to 1024"),
            ("model.projector_hidden=100000", "1 to 65536"),
            ("views.view1.blur_p=2", "views.view1.blur_p"),
            ("eval.every_epochs=-1", "eval.every_epochs"),
            ("eval.images=1", "2 to 65536"),
            ("eval.temperature=0", "eval.temperature"),
            ("eval.every=1", "unknown field `every`"),
            ("=3", "key=value"),
            ("train", "key=value"),
        ];
        for (setting, expected) in cases {
            let message = resolve(&[setting]).unwrap_err().to_string();
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }

    #[test]
    fn a_checkpoint_of_a_version_without_some_keys_goes_on_and_one_of_other_settings_does_not() {
        let config = resolve(&["eval.every_epochs=0.5", "train.tensorboard=false", "train.loader_threads=3"]).unwrap();
        let mut table: Table = resolve(&[]).unwrap().identity().parse().unwrap();
        assert!(config.goes_on_from(&table.to_string()));
        table.remove("eval").unwrap();
        table["train"].as_table_mut().unwrap().remove("tensorboard").unwrap();
        assert!(config.goes_on_from(&table.to_string()));
        table.insert("seed".to_owned(), 5.into());
        assert!(!config.goes_on_from(&table.to_string()) && !config.goes_on_from("no settings"));
    }

    #[test]
    fn every_preset_is_valid_and_survives_its_own_toml() {
        for preset in Preset::ALL {
            let config = Config::resolve(preset, &[]).unwrap();
            let again = from_table(parse_toml(&config.to_toml(), "test").unwrap(), "test").unwrap();
            assert_eq!(config, again, "{preset}");
        }
    }
}
