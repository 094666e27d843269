//! The folder of checkpoints: which are there, and the newest good one.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use byol_nn::model::Stem;
use byol_nn::ops::{Precision, engine};
use byol_nn::{Error, Result};

use super::progress;
use super::state::TrainState;
use crate::config::Config;

/// The error for `what`, with the newest checkpoint in `folder`: every checkpoint was finite when it was written.
pub(super) fn non_finite(what: &str, step: u64, folder: &Path) -> Error {
    let newest = checkpoints(folder).unwrap_or_default().pop();
    let kept = newest.map_or("none yet (no checkpoint was due)".to_owned(), |path| path.display().to_string());
    Error::NonFinite { what: what.to_owned(), step, kept }
}

/// The error for a graphics card that gave up within a step: `problem` in the driver's words.
pub(super) fn device_failed(problem: &str, config: &Config, folder: &Path) -> Error {
    let newest = checkpoints(folder).unwrap_or_default().pop();
    let kept = match newest {
        Some(path) => {
            let on = if config.precision == Precision::F16 { ", on a card that has f16" } else { "" };
            format!("the last good state is {}; `byol resume` goes on from it{on}", path.display())
        }
        None => "there is no checkpoint yet (none was due)".to_owned(),
    };
    let (micro, passes) = (config.micro_batch_size(), config.train.accumulation_steps);
    // What is asked of a card after it ran out of memory fails for want of what was never written.
    let is_lost = ["is lost", "poisoned"].iter().any(|word| problem.contains(word));
    let is_shortage = ["out of memory", "allocate", "never written", "memory left"]
        .iter()
        .any(|words| problem.to_lowercase().contains(words));
    let problem = problem.to_owned();
    if is_lost || !is_shortage {
        return Error::Device { device: engine(), problem, remedy: kept };
    }
    let remedy = format!(
        "a pass of {micro} pictures of {} px was too much (one layer alone takes {} MiB). In {} passes of {} it needs about half: \
         --set train.accumulation_steps={}, for the same batch of {}. Of the run, {kept}",
        config.views.size_px,
        largest_layer_bytes(config, micro) >> 20,
        2 * passes,
        micro.div_ceil(2),
        2 * passes,
        config.train.batch_size,
    );
    Error::Device { device: engine(), problem, remedy }
}

/// Bytes of the largest activation of `pictures` pictures: the stem's output, or that of the first group.
fn largest_layer_bytes(config: &Config, pictures: usize) -> usize {
    let (arch, size) = (config.model.arch, config.views.size_px);
    let [stem_px, group_px] = match config.model.stem {
        Stem::Imagenet => [size.div_ceil(2), size.div_ceil(4)],
        Stem::Cifar => [size; 2],
    };
    let channels = arch.stem_channels();
    let values = (stem_px * stem_px).max(group_px * group_px * arch.block_kind().expansion()) * channels;
    pictures * values * config.precision.bytes()
}

/// Checkpoints in `folder`, oldest first.
pub fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((step_of(path.file_name()?.to_str()?)?, path)))
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The step of the newest checkpoint in `folder`; `None` when there is none.
pub fn last_checkpoint_step(folder: &Path) -> Result<Option<u64>> {
    let newest = checkpoints(folder)?.pop();
    Ok(newest.and_then(|path| step_of(path.file_name()?.to_str()?)))
}

/// The step in `step-NNNNNNNN.safetensors`; other files are not ours.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// The state of the newest good checkpoint in `folder`; `None` when there is none at all. Damaged ones that are newer get the
/// ending `.damaged` and are named on stderr, once: they would count as kept. What a killed process left half written goes.
///
/// # Errors
/// [`Error::Path`] when the run is another one or no checkpoint is good; then nothing was renamed. [`Error::Io`].
pub(super) fn load_newest(
    folder: &Path,
    config: &Config,
    classes: usize,
    device: &Device,
) -> Result<Option<TrainState>> {
    remove_partial(folder)?;
    let mut damaged: Vec<(PathBuf, String)> = Vec::new();
    for path in checkpoints(folder)?.into_iter().rev() {
        match TrainState::load(&path, config, classes, device) {
            Ok(state) => {
                damaged.iter().try_for_each(|(path, problem)| set_aside(path, problem, state.step))?;
                return Ok(Some(state));
            }
            Err(Error::Damaged { path, problem }) => damaged.push((path, problem)),
            Err(error) => return Err(error),
        }
    }
    match damaged.first() {
        None => Ok(None),
        Some((newest, problem)) => {
            let others = match damaged.len() - 1 {
                0 => "there is no older one to go back to".to_owned(),
                count => format!("the {count} older one(s) are damaged, too"),
            };
            let problem = format!(
                "{problem}; {others} (train.checkpoints_kept). Restore one from a copy or start a new run; \
                 encoder.safetensors was left as it is"
            );
            Err(Error::path(newest, problem))
        }
    }
}

fn set_aside(path: &Path, problem: &str, step: u64) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    fs::rename(path, &aside).map_err(Error::io("rename", path))?;
    progress::line(&format!(
        "damaged checkpoint: {}: {problem}. Going on from the one of step {step} before it; the steps since then are trained \
         again. The damaged file is now {}, and may be deleted",
        path.display(),
        aside.display()
    ));
    Ok(())
}

/// Names of files that were being written when a process died; nobody else writes them while the run is locked.
fn remove_partial(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))?.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        if name.to_str().and_then(|name| name.strip_suffix(".partial")).and_then(step_of).is_some() {
            fs::remove_file(entry.path()).map_err(Error::io("delete", &entry.path()))?;
        }
    }
    Ok(())
}
