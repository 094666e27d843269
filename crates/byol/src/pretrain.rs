//! From a request to a run that can be trained: everything is checked before anything is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{Dataset, is_url};
use byol_eval::waiting;
use byol_nn::dist::Communicator;
use byol_nn::ops::{engine, has_precision, precisions};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Config, SyncBatchNorm};
use crate::recipe::{Recipe, RecipeRequest};
use crate::run::{EarlierData, RunFolder, RunInfo, read_metrics};
use crate::train::{check_keep_best, last_checkpoint_step};

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct PretrainRequest {
    /// The data and the settings.
    pub recipe: RecipeRequest,
    /// Run folder; by default the first free `runs/NAME-N`.
    pub out: Option<PathBuf>,
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
    /// Opens the data and resolves the configuration, and checks both. Nothing is written.
    ///
    /// # Errors
    /// Whatever makes the run impossible.
    pub fn open(&self, device: &Device) -> Result<Recipe> {
        // A mistake in a flag is reported before a large archive is read.
        if let Some(out) = &self.out {
            RunFolder::check_free(out, &self.recipe.data)?;
        }
        let recipe = self.recipe.open(device)?;
        check_against(&recipe.config, recipe.dataset.len())?;
        check_keep_best(&recipe.config, recipe.dataset.classes().len())?;
        Ok(recipe)
    }

    /// Creates the run folder of a recipe that [`Self::open`] gave; with a warm start, its first checkpoint, too.
    ///
    /// # Errors
    /// When the folder cannot be made, or the weights to start from are of another network; then nothing is left behind.
    pub fn create(&self, recipe: Recipe, device: &Device) -> Result<PreparedRun> {
        let preset_sentence = recipe.preset_sentence();
        let Recipe { config, dataset, preset, warm_start, .. } = recipe;
        let start = warm_start.map(|start| start.state(&config, dataset.classes().len(), device)).transpose()?;
        let info = RunInfo {
            data: dataset.roots().iter().map(|root| absolute(root)).collect::<Result<_>>()?,
            split: self.recipe.split.clone(),
            data_fingerprint: dataset.fingerprint(),
            images: dataset.len(),
            input: byol_data::FIDELITY.to_owned(),
            device: self.device.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            preset: Some(preset.name().to_owned()),
            warm_start: start.as_ref().map(|(_, record)| record.clone()),
            earlier_data: Vec::new(),
        };
        let out = self.out.clone().unwrap_or_else(|| free_numbered(&self.recipe.data_name()));
        let folder = RunFolder::create(&out, &config, &info)?;
        if let Some((state, _)) = start {
            state.save(&folder.checkpoints(), &config).inspect_err(|_| folder.discard())?;
        }
        Ok(PreparedRun { folder, config, dataset: Arc::new(dataset), preset: Some(preset_sentence) })
    }
}

impl PreparedRun {
    /// What the other ranks need to join this run.
    pub fn invitation(&self) -> Result<Vec<u8>> {
        let info = self.folder.info()?;
        let invitation = Invitation { config: self.config.to_toml(), data: info.data, split: info.split };
        Ok(serde_json::to_vec(&invitation).expect("plain fields have a JSON form"))
    }

    /// Removes a run that was just created when its training ended in `error` because the data cannot be used or the disk has
    /// no room, and there is no checkpoint to go on from. Whatever else may have stopped it, the folder stays.
    pub fn clean_up_after(&self, error: &Error) {
        let is_new = self.preset.is_some();
        // The checkpoint of a warm start is of step 0.
        let is_saved = last_checkpoint_step(&self.folder.checkpoints()).is_ok_and(|step| step > Some(0));
        let started = is_saved || read_metrics(&self.folder.metrics()).is_ok_and(|steps| !steps.is_empty());
        let is_unusable = |error: &Error| {
            matches!(error, Error::Data(_) | Error::NoRoom { .. } | Error::Ranks(_) | Error::Elsewhere { .. })
        };
        let error = if let Error::OnRank { source, .. } = error { source } else { error };
        if is_new && is_unusable(error) && !started {
            self.folder.discard();
        }
    }

    /// Opens a run to go on with it, and says in sentences what is another than before; that is written into the run.
    ///
    /// # Errors
    /// When `path` is no run folder, the data is gone or has changed without [`GoingOn`] saying so, or there is nothing left to
    /// do in the epochs asked for.
    pub fn reopen(path: &Path, going_on: &GoingOn) -> Result<(Self, Vec<String>)> {
        let folder = RunFolder::open(path)?;
        let (mut config, mut info) = (folder.config()?, folder.info()?);
        let before = (config.clone(), info.clone());
        let mut changes = Vec::new();
        if !going_on.data.is_empty() {
            info.data = going_on.data.iter().map(|root| absolute(root)).collect::<Result<_>>()?;
        }
        let dataset = open_data(&folder, &config, &info, going_on)?;
        if info.data != before.1.data {
            let roots: Vec<String> = info.data.iter().map(|root| root.display().to_string()).collect();
            changes.push(format!("the data is at {} now", roots.join(" and ")));
        }
        let step = last_checkpoint_step(&folder.checkpoints())?.unwrap_or(0);
        if dataset.fingerprint() != info.data_fingerprint {
            changes.push(format!(
                "from step {step} on there are {} pictures instead of {}, or other names, sizes or labels",
                dataset.len(),
                info.images
            ));
            info.earlier_data.push(EarlierData {
                until_step: step,
                images: info.images,
                data_fingerprint: info.data_fingerprint,
            });
            (info.images, info.data_fingerprint) = (dataset.len(), dataset.fingerprint());
        }
        if let Some(epochs) = going_on.epochs {
            config.schedule.epochs = epochs;
            config.validate()?;
        }
        check_against(&config, dataset.len())?;
        let (schedule, earlier) = (config.schedule(info.images), before.0.schedule(before.1.images));
        if schedule.total_steps != earlier.total_steps {
            if schedule.total_steps <= step {
                return Err(Error::Config {
                    key: "schedule.epochs".to_owned(),
                    expected: format!("more than the {step} steps that are done"),
                    got: format!("{}, which are {} steps", config.schedule.epochs, schedule.total_steps),
                });
            }
            changes.push(format!(
                "the schedule is drawn anew for {} steps instead of {}: at step {step} the learning rate is {:.2e} instead of \
                 {:.2e}, and the target's averaging {:.5} instead of {:.5}",
                schedule.total_steps,
                earlier.total_steps,
                schedule.learning_rate(step),
                earlier.learning_rate(step),
                schedule.target_ema(step),
                earlier.target_ema(step)
            ));
        }
        if (&config, &info) != (&before.0, &before.1) {
            folder.change(&config, &info)?;
        }
        Ok((Self { folder, config, dataset: Arc::new(dataset), preset: None }, changes))
    }
}

/// A run that rank 0 has prepared, as the other ranks have it: settings and pictures, no folder.
#[derive(Clone, Debug)]
pub struct JoinedRun {
    /// Its settings.
    pub config: Config,
    /// Its pictures.
    pub dataset: Arc<Dataset>,
}

/// What rank 0 tells the others.
#[derive(Serialize, Deserialize)]
struct Invitation {
    config: String,
    data: Vec<PathBuf>,
    split: Option<String>,
}

impl JoinedRun {
    /// Opens the data of a run to which [`PreparedRun::invitation`] invites, under the paths that it has on rank 0.
    ///
    /// # Errors
    /// Whatever keeps the data from being opened here.
    pub fn open(invitation: &[u8]) -> Result<Self> {
        let Invitation { config, data, split } =
            serde_json::from_slice(invitation).expect("what rank 0 wrote just now");
        let config = Config::stored(&config)?;
        let dataset = Dataset::open_all(&data, split.as_deref(), &config.data)?;
        check_against(&config, dataset.len())?;
        Ok(Self { config, dataset: Arc::new(dataset) })
    }
}

/// Whether every rank has pictures to train with.
///
/// # Errors
/// [`Error::Config`] where a pass has fewer pictures than there are ranks.
pub fn check_ranks(config: &Config, ranks: &dyn Communicator) -> Result<()> {
    let each = match config.train.sync_batch_norm {
        SyncBatchNorm::Whether(true) => 1,
        // Batch norm needs two.
        _ => 2,
    };
    let (needed, micro) = (each * ranks.ranks(), config.micro_batch_size());
    if ranks.is_alone() || micro >= needed {
        return Ok(());
    }
    let passes = config.train.accumulation_steps;
    Err(Error::Config {
        key: "train.batch_size".to_owned(),
        expected: format!(
            "at least {}, {each} picture(s) for each of the {} ranks in {passes} pass(es)",
            needed * passes,
            ranks.ranks()
        ),
        got: config.train.batch_size.to_string(),
    })
}

/// What is to be another when a run goes on.
#[derive(Clone, Debug, Default)]
pub struct GoingOn {
    /// Passes over the data in all, if not as before.
    pub epochs: Option<f64>,
    /// Where the data is now; empty where it was.
    pub data: Vec<PathBuf>,
    /// Whether the data may be another.
    pub accepts_changed_data: bool,
}

/// A root as it will be found from any folder; a URL is that already.
fn absolute(root: &Path) -> Result<PathBuf> {
    if is_url(root) { Ok(root.to_owned()) } else { root.canonicalize().map_err(Error::io("resolve", root)) }
}

fn open_data(folder: &RunFolder, config: &Config, info: &RunInfo, going_on: &GoingOn) -> Result<Dataset> {
    let run = folder.path().display();
    if let Some(missing) = info.data.iter().find(|data| !is_url(data) && !data.exists()) {
        let problem = format!(
            "the data of {run} is no longer there; put it back, or say where it is now: byol resume {run} --data DATA"
        );
        return Err(Error::path(missing, problem));
    }
    let dataset = waiting("opening the data", || Dataset::open_all(&info.data, info.split.as_deref(), &config.data))?;
    if dataset.fingerprint() == info.data_fingerprint || going_on.accepts_changed_data {
        return Ok(dataset);
    }
    let problem = format!(
        "the data has changed since the run began: expected the same {} pictures, got {} with other names, sizes or labels; a \
         resumed run would not see what it should. Restore the data, start a new run, or go on with the data as it is now: \
         byol resume {run} --changed-data",
        info.images,
        dataset.len()
    );
    Err(Error::path(&info.data[0], problem))
}

/// Settings that only make sense for enough pictures.
fn check_against(config: &Config, images: usize) -> Result<()> {
    let batch = config.train.batch_size;
    let wrong = |key: &str, expected: String, got: String| Err(Error::Config { key: key.to_owned(), expected, got });
    if !has_precision(config.precision) {
        let expected = format!("{}, since {} has no {}", precisions(), engine(), config.precision);
        return wrong("precision", expected, config.precision.to_string());
    }
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

/// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
pub fn free_numbered(name: &str) -> PathBuf {
    (1u64..)
        .map(|number| Path::new("runs").join(format!("{name}-{number}")))
        .find(|path| path.symlink_metadata().is_err())
        .expect("there are more numbers than folders")
}
