//! From a request to a run that can be trained: everything is checked before anything is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol_data::Dataset;

use crate::config::{Config, Overlays, Preset};
use crate::error::{Error, Result};
use crate::run::{RunFolder, RunInfo};
use crate::train::checkpoints;

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct PretrainRequest {
    /// `DATA`.
    pub data: PathBuf,
    /// Part of the data, if not its `train` part or all of it.
    pub split: Option<String>,
    /// Run folder; by default the first free `runs/NAME-N`.
    pub out: Option<PathBuf>,
    /// Recipe; chosen by the size of the pictures if not given.
    pub preset: Option<Preset>,
    /// TOML file over the preset.
    pub config: Option<PathBuf>,
    /// `key=value` over the file.
    pub settings: Vec<String>,
    /// Name of the device, for the record.
    pub device: String,
}

/// A run whose folder exists and whose data opens.
#[derive(Clone, Debug)]
pub struct PreparedRun {
    /// Its folder.
    pub folder: RunFolder,
    /// Its settings.
    pub config: Config,
    /// Its pictures.
    pub dataset: Arc<Dataset>,
    /// The preset and why it was taken; unknown when a run is reopened.
    pub preset: Option<String>,
}

impl PretrainRequest {
    /// Opens the data, resolves the configuration, checks both, and only then creates the run folder.
    ///
    /// # Errors
    /// Whatever makes the run impossible; then nothing was written.
    pub fn prepare(&self) -> Result<PreparedRun> {
        // A mistake in a flag is reported before a large archive is read.
        if let Some(out) = &self.out {
            RunFolder::check_free(out, &self.data)?;
        }
        let overlays = Overlays::read(self.config.as_deref(), &self.settings)?;
        let chosen = self.preset.or(overlays.preset());
        let first = overlays.over(chosen.unwrap_or(Preset::Imagenette128))?;
        let dataset = Dataset::open(&self.data, self.split.as_deref(), &first.data)?;
        let (config, preset) = match chosen {
            Some(preset) => (first, format!("{preset}: {}", preset.description())),
            None => {
                let (preset, reason) = suggest(&dataset);
                (overlays.over(preset)?, format!("{preset}, because {reason}"))
            }
        };
        check_against(&config, dataset.len())?;
        let data = self.data.canonicalize().map_err(Error::io("resolve", &self.data))?;
        let info = RunInfo {
            data,
            split: self.split.clone(),
            data_fingerprint: dataset.fingerprint(),
            images: dataset.len(),
            device: self.device.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let out = self.out.clone().unwrap_or_else(|| free_run_folder(&self.data));
        let folder = RunFolder::create(&out, &config, &info)?;
        Ok(PreparedRun { folder, config, dataset: Arc::new(dataset), preset: Some(preset) })
    }
}

impl PreparedRun {
    /// Removes a run that was just created when its training ended in `error` because the data cannot be used and there
    /// is no checkpoint to go on from. Whatever else may have stopped it, the folder stays.
    pub fn clean_up_after(&self, error: &Error) {
        let started = checkpoints(&self.folder.checkpoints()).is_ok_and(|checkpoints| !checkpoints.is_empty());
        if matches!(error, Error::Data(_)) && !started {
            self.folder.discard();
        }
    }

    /// Opens a run to go on with it; its data must be what it was.
    ///
    /// # Errors
    /// When `path` is no run folder, or the data is gone or has changed.
    pub fn reopen(path: &Path) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        let (config, info) = (folder.config()?, folder.info()?);
        if !info.data.exists() {
            let problem = format!(
                "the data of {} is no longer there; put it back, or start a new run where it is now",
                path.display()
            );
            return Err(Error::path(&info.data, problem));
        }
        let dataset = Dataset::open(&info.data, info.split.as_deref(), &config.data)?;
        if dataset.fingerprint() != info.data_fingerprint {
            let problem = format!(
                "the data has changed since the run began: expected the same {} pictures, got {} with other names, sizes or \
                 labels; a resumed run would not see what it should. Restore the data or start a new run",
                info.images,
                dataset.len()
            );
            return Err(Error::path(&info.data, problem));
        }
        check_against(&config, dataset.len())?;
        Ok(Self { folder, config, dataset: Arc::new(dataset), preset: None })
    }
}

/// Settings that only make sense for enough pictures.
fn check_against(config: &Config, images: usize) -> Result<()> {
    let batch = config.train.batch_size;
    let wrong = |key: &str, expected: String, got: String| Err(Error::Config { key: key.to_owned(), expected, got });
    if batch > images {
        let expected = format!("at most {images}, the number of pictures");
        return wrong("train.batch_size", expected, batch.to_string());
    }
    let schedule = config.schedule(images);
    if schedule.total_steps == 0 {
        let least = batch as f64 / images as f64;
        let expected = format!("at least {least:.4}, which is one batch of {batch} of the {images} pictures");
        return wrong("schedule.epochs", expected, config.schedule.epochs.to_string());
    }
    if schedule.warmup_steps > schedule.total_steps {
        let expected = format!("at most schedule.epochs = {}", config.schedule.epochs);
        return wrong("schedule.warmup_epochs", expected, config.schedule.warmup_epochs.to_string());
    }
    Ok(())
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

fn free_run_folder(data: &Path) -> PathBuf {
    let name = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let name = name.file_name().map_or("data".to_owned(), |name| name.to_string_lossy().into_owned());
    let name = name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("data").to_owned();
    free_numbered(&name)
}

/// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
pub fn free_numbered(name: &str) -> PathBuf {
    (1u64..)
        .map(|number| Path::new("runs").join(format!("{name}-{number}")))
        .find(|path| path.symlink_metadata().is_err())
        .expect("there are more numbers than folders")
}
