//! From `DATA`, preset, file and settings to opened pictures and a complete configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use byol_data::Dataset;
use byol_eval::waiting;
use byol_nn::Result;
use serde::Serialize;
use toml::Value;

use crate::config::{Config, ScheduleConfig};
use crate::cost;
use crate::fit::{Choice, Pictures, fit};
use crate::overlays::Overlays;
use crate::preset::Preset;
use crate::views_preset::ViewsPreset;
use crate::warm_start::WarmStart;

/// Shorter side up to which pictures count as small.
const SMALL_PX: usize = 64;

/// Steps below which the published recipes teach little (`docs/recipes.md`).
const SHORT_STEPS: f64 = 5000.0;

/// Pictures below which no recipe was tried (`docs/recipes.md`, "How few pictures").
const FEW_PICTURES: usize = 100;

/// A run that takes longer than this, and that nobody asked for, is not started without an offer.
const LONG_HOURS: f64 = 3.0;

/// How long loading is timed, for each of its three parts.
const MEASURED: Duration = Duration::from_millis(300);

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct RecipeRequest {
    /// `DATA`: one or several roots.
    pub data: Vec<PathBuf>,
    /// Part of the data, if not its `train` part or all of it.
    pub split: Option<String>,
    /// Named recipe; chosen by the size of the pictures if not given.
    pub preset: Option<Preset>,
    /// Views by what the pictures show; those of the file, or of photographs, if not given.
    pub views: Option<ViewsPreset>,
    /// TOML file over the preset.
    pub config: Option<PathBuf>,
    /// `key=value` over the file.
    pub settings: Vec<String>,
    /// Minutes that the run may take on this machine; the recipe is fitted to them.
    pub minutes: Option<f64>,
    /// Weights to start from: a run folder or a file.
    pub init: Option<String>,
    /// Which network of that file, as in [`Encoder::open_under`](byol_nn::encoder::Encoder::open_under).
    pub init_prefix: Option<String>,
    /// Processes that will train together, each on cores of its own: so many times faster than this one is. 0 is 1.
    pub ranks: usize,
}

/// Pictures and what to do with them.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The pictures.
    pub dataset: Dataset,
    /// All settings.
    pub config: Config,
    /// The preset they start from.
    pub preset: Preset,
    /// Why it was taken, or what it is if it was asked for.
    pub reason: String,
    /// The views that lie over it.
    pub views: ViewsPreset,
    /// What rules chose for these pictures, this machine and this time.
    pub choices: Vec<Choice>,
    /// What was adapted to the settings given and to the number of pictures.
    pub adapted: Vec<String>,
    /// The weights to start from, if not random ones.
    pub warm_start: Option<WarmStart>,
    /// Whether the person named a preset, a length or a time; what nobody asked for may be too long.
    pub is_asked_for: bool,
    /// Pictures per second that this machine trains with, where it was timed.
    pub images_per_second: Option<f64>,
    request: RecipeRequest,
}

impl Recipe {
    /// The recipe of the same request that fits so many minutes.
    ///
    /// # Errors
    /// As of [`RecipeRequest::open`].
    pub fn fitted_to(&self, minutes: f64, device: &Device) -> Result<Self> {
        RecipeRequest { minutes: Some(minutes), ..self.request.clone() }.resolve(self.dataset.clone(), device)
    }

    /// What the run costs on `device`; timed now, if it was not.
    ///
    /// # Errors
    /// As of [`cost::measure`].
    pub fn hours(&self, device: &Device) -> Result<f64> {
        let images_per_second = match self.images_per_second {
            Some(images_per_second) => images_per_second,
            None => self.request.speed(&self.dataset, &self.config, device)?,
        };
        Ok(self.config.schedule.epochs * self.dataset.len() as f64 / images_per_second / 3600.0)
    }

    /// Where the rules end: what to know of a run on so few pictures from random weights.
    pub fn limit(&self) -> Option<String> {
        let images = self.dataset.len();
        (images < FEW_PICTURES && self.warm_start.is_none()).then(|| {
            format!(
                "{images} pictures are fewer than any recipe was tried on ({FEW_PICTURES}); weights that have seen more pictures \
                 are a better start: --init FILE"
            )
        })
    }

    /// The preset, the reason, and which of its settings are others now, but for those of the views by name.
    pub fn preset_sentence(&self) -> String {
        let Self { preset, reason, .. } = self;
        match differences(&self.views.over(&preset.config()), &self.config) {
            differences if differences.is_empty() => format!("{preset}: {reason}"),
            differences => format!("{preset}: {reason}; changed: {}", differences.join(", ")),
        }
    }
}

/// A recipe that fits a shorter time.
#[derive(Clone, Debug, Serialize)]
pub struct Shorter {
    /// The time.
    pub minutes: f64,
    /// Encoder.
    pub arch: String,
    /// Side of a view in pixels.
    pub size_px: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Passes over the pictures.
    pub epochs: f64,
}

impl Shorter {
    /// Looks for one where nobody asked for a length, and the whole recipe takes `hours`.
    ///
    /// # Errors
    /// As of [`Recipe::fitted_to`].
    pub fn than(hours: f64, recipe: &Recipe, device: &Device) -> Result<Option<Self>> {
        const MINUTES: f64 = 60.0;
        if recipe.is_asked_for || hours < LONG_HOURS {
            return Ok(None);
        }
        let Config { model, views, train, schedule, .. } = recipe.fitted_to(MINUTES, device)?.config;
        Ok(Some(Self {
            minutes: MINUTES,
            arch: model.arch.to_string(),
            size_px: views.size_px,
            batch_size: train.batch_size,
            epochs: schedule.epochs,
        }))
    }
}

impl RecipeRequest {
    /// Opens the data and resolves the configuration. Where it is to fit a time, training steps are timed on `device`.
    ///
    /// # Errors
    /// Whatever makes either impossible.
    pub fn open(&self, device: &Device) -> Result<Recipe> {
        let overlays = self.overlays()?;
        // Which preset it is may follow from the pictures, and whether the settings make sense from the preset.
        let limits = match self.preset.or(overlays.preset()) {
            Some(preset) => overlays.over(preset)?.data,
            None => overlays.merged_over(Preset::Imagenette128)?.data,
        };
        limits.validate()?;
        let dataset = waiting("opening the data", || Dataset::open_all(&self.data, self.split.as_deref(), &limits))?;
        self.resolve(dataset, device)
    }

    /// What the person said.
    fn overlays(&self) -> Result<Overlays> {
        Ok(Overlays::read(self.config.as_deref(), &self.settings)?.with_views(self.views))
    }

    fn resolve(&self, dataset: Dataset, device: &Device) -> Result<Recipe> {
        let asked = self.overlays()?;
        let warm_start = match &self.init {
            Some(from) => Some(WarmStart::open(from, self.init_prefix.as_deref(), device)?),
            None => None,
        };
        let named = self.preset.or(asked.preset());
        let (overlays, mut choices) = match &warm_start {
            // What `suggest` will say of a run that has no name.
            Some(start) => start.beneath(&asked, named.unwrap_or(Preset::Small))?,
            None => (asked, Vec::new()),
        };
        let pictures = Pictures { count: dataset.len(), shorter_side_px: shorter_side_px(&dataset) };
        let (preset, reason) = match named {
            Some(preset) => (preset, preset.description().to_owned()),
            None => self.suggest(pictures, &overlays)?,
        };
        let mut images_per_second = None;
        if named.is_none() || self.minutes.is_some() {
            let fitted = waiting("timing this machine", || {
                fit(preset, pictures, &overlays, self.minutes, |config| self.speed(&dataset, config, device))
            })?;
            choices.extend(fitted.choices);
            images_per_second = fitted.images_per_second;
        }
        let is_asked_for = named.is_some() || self.minutes.is_some() || overlays.sets("schedule.epochs");
        let overlays = overlays.above(choices.iter().map(Choice::setting))?;
        let mut config = overlays.over(preset)?;
        let adapted = adapt(&mut config, &overlays, dataset.len());
        let request = self.clone();
        Ok(Recipe {
            dataset,
            config,
            preset,
            reason,
            views: overlays.views(),
            choices,
            adapted,
            warm_start,
            is_asked_for,
            images_per_second,
            request,
        })
    }

    /// The recipe for few pictures where time or length are short, else the small-picture recipe for small pictures and the
    /// reference's small-scale recipe for the rest.
    fn suggest(&self, pictures: Pictures, overlays: &Overlays) -> Result<(Preset, String)> {
        if let Some(minutes) = self.minutes {
            return Ok((Preset::Small, format!("fitted to {} pictures and {minutes} minutes", pictures.count)));
        }
        if self.init.is_some() {
            return Ok((Preset::Small, "the recipe that goes on from weights".to_owned()));
        }
        let preset = if pictures.shorter_side_px <= SMALL_PX { Preset::Cifar10 } else { Preset::Imagenette128 };
        if overlays.sets("schedule.epochs") {
            let Config { schedule: ScheduleConfig { epochs, .. }, train, .. } = overlays.merged_over(preset)?;
            let steps = epochs * pictures.count as f64 / train.batch_size as f64;
            if steps < SHORT_STEPS {
                let reason =
                    format!("{epochs} epochs are only {steps:.0} steps of {preset}, which needs {SHORT_STEPS}");
                return Ok((Preset::Small, reason));
            }
        }
        let side = pictures.shorter_side_px;
        let reason = format!("the pictures' shorter side is about {side} px; choose another with --preset");
        Ok((preset, reason))
    }

    /// Pictures per second of a run.
    fn speed(&self, dataset: &Dataset, config: &Config, device: &Device) -> Result<f64> {
        let alone = cost::speed(dataset, config, config.train.loader_threads, MEASURED, device)?;
        Ok(alone.images_per_second() * self.ranks.max(1) as f64)
    }

    /// A short name of the data, for run folders: the last part of the first root without its endings.
    pub fn data_name(&self) -> String {
        let first = self.data.first().map_or(Path::new("data"), PathBuf::as_path);
        let path = first.canonicalize().unwrap_or_else(|_| first.to_owned());
        let name = path.file_name().map_or("data".to_owned(), |name| name.to_string_lossy().into_owned());
        name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("data").to_owned()
    }
}

/// Median of the shorter sides, of a sample.
fn shorter_side_px(dataset: &Dataset) -> usize {
    const SAMPLE: usize = 64;
    let step = (dataset.len() / SAMPLE).max(1);
    let mut sides: Vec<usize> = (0..dataset.len())
        .step_by(step)
        .filter_map(|index| dataset.load(index).ok())
        .map(|image| image.width_px().min(image.height_px()))
        .collect();
    sides.sort_unstable();
    sides.get(sides.len() / 2).copied().unwrap_or(0)
}

/// Settings that hang on others, where the person did not set them; a sentence for each.
fn adapt(config: &mut Config, overlays: &Overlays, images: usize) -> Vec<String> {
    let mut adapted = Vec::new();
    let batch = config.train.batch_size;
    if (2..batch).contains(&images) {
        let fitting = 1 << images.ilog2();
        config.train.batch_size = fitting;
        let passes = config.train.accumulation_steps.min(fitting / 2);
        config.train.accumulation_steps = 1 << passes.ilog2();
        adapted.push(format!("train.batch_size {fitting} instead of {batch}: there are {images} pictures"));
    }
    let (epochs, warmup) = (config.schedule.epochs, config.schedule.warmup_epochs);
    if overlays.sets("schedule.epochs") && !overlays.sets("schedule.warmup_epochs") && warmup > epochs / 10.0 {
        config.schedule.warmup_epochs = epochs / 10.0;
        adapted.push(format!("schedule.warmup_epochs {} instead of {warmup}: a tenth of the epochs", epochs / 10.0));
    }
    adapted
}

/// `key value (value of the preset)` of every setting that is another.
fn differences(preset: &Config, config: &Config) -> Vec<String> {
    let tree = |config: &Config| Value::try_from(config).expect("every setting has a TOML form");
    let mut found = Vec::new();
    compare("", &tree(preset), &tree(config), &mut found);
    found
}

fn compare(key: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Table(before), Value::Table(now)) => {
            for (name, now) in now {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                match before.get(name) {
                    Some(before) => compare(&key, before, now, found),
                    None => found.push(format!("{key} {}", shown(now))),
                }
            }
        }
        (before, now) if before != now => found.push(format!("{key} {} ({})", shown(now), shown(before))),
        _ => {}
    }
}

/// As a person would write it: many settings are single precision, whose digits in double precision mean nothing.
fn shown(value: &Value) -> String {
    match value {
        Value::Float(value) if f64::from(*value as f32) == *value => format!("{:?}", *value as f32),
        Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}
