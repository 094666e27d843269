//! Projector and predictor of a run, which its encoder file does not have.

use byol::run::RunFolder;
use byol::train::checkpoints;
use byol_nn::encoder::Encoder;
use byol_nn::weights::{self, StoredTensors};
use byol_nn::{Error, Result};

/// Tensors under `projector.` and, where the run has a predictor, `predictor.`.
#[derive(Clone, Debug)]
pub struct Heads {
    pub(crate) tensors: StoredTensors,
}

impl Heads {
    /// Those of the online network beside `encoder`, in the newest checkpoint of the run or in `heads.safetensors`.
    ///
    /// # Errors
    /// [`Error::Path`] when there is no checkpoint, or it is of another step than the encoder: an earlier one was better, or training goes on.
    pub fn of_run(run: &RunFolder, encoder: &Encoder) -> Result<Self> {
        // An unpacked bundle has them beside the encoder.
        let bundled = run.path().join("heads.safetensors");
        if bundled.exists() {
            return Ok(Self { tensors: weights::load(&bundled)?.0 });
        }
        let folder = run.checkpoints();
        let mut there = if folder.exists() { checkpoints(&folder)? } else { Vec::new() };
        let Some(newest) = there.pop() else {
            return Err(Error::path(
                &folder,
                "no checkpoint, and the heads are in no other file; export without --heads",
            ));
        };
        let (tensors, _) = weights::load(&newest)?;
        let mut own = StoredTensors::new();
        weights::collect(&encoder.network, "online.encoder.", &mut own);
        if own.iter().any(|(name, tensor)| tensors.get(name) != Some(tensor)) {
            let problem = format!(
                "the encoder that is handed over is of step {} and this checkpoint, which has the heads, is of another; export without \
                 --heads, or resume the run",
                encoder.info.steps
            );
            return Err(Error::path(&newest, problem));
        }
        let heads = |name: String| {
            let name = name.strip_prefix("online.")?.to_owned();
            (name.starts_with("projector.") || name.starts_with("predictor.")).then_some(name)
        };
        let tensors = tensors.into_iter().filter_map(|(name, tensor)| Some((heads(name)?, tensor))).collect();
        Ok(Self { tensors })
    }
}
