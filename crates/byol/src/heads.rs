//! Projector and predictor of a run, which its encoder file does not have.

use byol_nn::Result;
use byol_nn::weights::{self, StoredTensors};

use crate::run::RunFolder;
use crate::train::checkpoints;

/// Tensors under `projector.` and, where the run has a predictor, `predictor.` of the online network after `steps` steps: from the checkpoint of
/// that step, or from `heads.safetensors`, which an unpacked bundle has. In words why they are not there.
///
/// # Errors
/// The folder of checkpoints cannot be read.
pub fn heads(run: &RunFolder, steps: u64) -> Result<std::result::Result<StoredTensors, String>> {
    let bundled = run.path().join("heads.safetensors");
    if bundled.exists() {
        return Ok(weights::load(&bundled).map(|(tensors, _)| tensors).map_err(|error| error.to_string()));
    }
    let name = format!("step-{steps:08}.safetensors");
    let folder = run.checkpoints();
    let there = if folder.exists() { checkpoints(&folder)? } else { Vec::new() };
    let Some(path) = there.into_iter().find(|path| path.ends_with(&name)) else {
        return Ok(Err(format!("the checkpoint {name} of this encoder is no longer there")));
    };
    let of_head = |(name, tensor): (String, _)| {
        let name = name.strip_prefix("online.")?;
        (name.starts_with("projector.") || name.starts_with("predictor.")).then(|| (name.to_owned(), tensor))
    };
    Ok(match weights::load(&path) {
        Ok((tensors, _)) => Ok(tensors.into_iter().filter_map(of_head).collect()),
        Err(error) => Err(error.to_string()),
    })
}
