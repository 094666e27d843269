//! From `DATA`, preset, file and settings to opened pictures and a complete configuration.

use std::path::{Path, PathBuf};

use byol_data::{DataConfig, Dataset};
use byol_nn::Result;

use crate::config::Config;
use crate::overlays::Overlays;
use crate::preset::Preset;

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct RecipeRequest {
    /// `DATA`: one or several roots.
    pub data: Vec<PathBuf>,
    /// Part of the data, if not its `train` part or all of it.
    pub split: Option<String>,
    /// Named recipe; chosen by the size of the pictures if not given.
    pub preset: Option<Preset>,
    /// TOML file over the preset.
    pub config: Option<PathBuf>,
    /// `key=value` over the file.
    pub settings: Vec<String>,
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
}

impl Recipe {
    /// The preset and the reason, for people.
    pub fn preset_sentence(&self) -> String {
        format!("{}: {}", self.preset, self.reason)
    }
}

impl RecipeRequest {
    /// Opens the data and resolves the configuration.
    ///
    /// # Errors
    /// Whatever makes either impossible.
    pub fn open(&self) -> Result<Recipe> {
        let overlays = Overlays::read(self.config.as_deref(), &self.settings)?;
        let open = |limits: &DataConfig| Dataset::open_all(&self.data, self.split.as_deref(), limits);
        match self.preset.or(overlays.preset()) {
            Some(preset) => {
                let config = overlays.over(preset)?;
                Ok(Recipe { dataset: open(&config.data)?, config, preset, reason: preset.description().to_owned() })
            }
            None => {
                // Which preset it is follows from the pictures, and whether the settings make sense from the preset.
                let limits = overlays.merged_over(Preset::Imagenette128)?.data;
                limits.validate()?;
                let dataset = open(&limits)?;
                let (preset, reason) = suggest(&dataset);
                Ok(Recipe { dataset, config: overlays.over(preset)?, preset, reason })
            }
        }
    }

    /// A short name of the data, for run folders: the last part of the first root without its endings.
    pub fn data_name(&self) -> String {
        let first = self.data.first().map_or(Path::new("data"), PathBuf::as_path);
        let path = first.canonicalize().unwrap_or_else(|_| first.to_owned());
        let name = path.file_name().map_or("data".to_owned(), |name| name.to_string_lossy().into_owned());
        name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("data").to_owned()
    }
}

/// The small-picture recipe for small pictures, the reference's small-scale recipe for the rest.
fn suggest(dataset: &Dataset) -> (Preset, String) {
    const SAMPLE: usize = 64;
    const SMALL_PX: usize = 64;
    let step = (dataset.len() / SAMPLE).max(1);
    let mut sides: Vec<usize> = (0..dataset.len())
        .step_by(step)
        .filter_map(|index| dataset.load(index).ok())
        .map(|image| image.width_px().min(image.height_px()))
        .collect();
    sides.sort_unstable();
    let median = sides.get(sides.len() / 2).copied().unwrap_or(0);
    let preset = if median <= SMALL_PX { Preset::Cifar10 } else { Preset::Imagenette128 };
    (preset, format!("the pictures' shorter side is {median} px (median); choose another with --preset"))
}
