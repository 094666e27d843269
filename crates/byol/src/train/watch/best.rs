//! The encoder of the best measurement, as `best.safetensors` and `best.json`.

use std::fs;
use std::path::{Path, PathBuf};

use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::{Error, Result};
use serde::Serialize;

use super::series::{Measurement, Series};
use crate::config::{Config, KeepBest};

/// Keeps the encoder whose number is the largest so far.
#[derive(Debug)]
pub struct BestEncoder {
    by: KeepBest,
    folder: PathBuf,
    kept: Option<Kept>,
}

/// Which encoder is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// What decided.
    pub by: KeepBest,
    /// Optimiser steps it was trained for.
    pub step: u64,
    /// Its number.
    pub value: f64,
}

/// Checks that the run measures what shall decide.
///
/// # Errors
/// [`Error::Config`] for a number that needs labels where there are none, or measurements that are off.
pub fn check_keep_best(config: &Config, classes: usize) -> Result<()> {
    let (got, needs_labels) = match config.train.keep_best {
        KeepBest::None => return Ok(()),
        KeepBest::RankMe => ("rank_me", false),
        KeepBest::Knn => ("knn", true),
        KeepBest::Probe => ("probe", true),
    };
    let expected = match (config.eval.is_on(), needs_labels && classes < 2) {
        (false, _) => "none, since eval.every_epochs = 0 measures nothing",
        (_, true) => "rank_me or none, since the pictures have no labels of two classes or more",
        _ => return Ok(()),
    };
    Err(Error::Config { key: "train.keep_best".to_owned(), expected: expected.to_owned(), got: got.to_owned() })
}

impl BestEncoder {
    /// Goes on in the run `folder`, whose whole log is `series`: lines of steps that are taken again may still say what the file
    /// is worth. `None` when no encoder shall be kept.
    pub fn start(config: &Config, folder: &Path, series: &Series) -> Option<Self> {
        let by = config.train.keep_best;
        let steps =
            fs::read(folder.join("best.json")).ok().and_then(|json| serde_json::from_slice::<EncoderInfo>(&json).ok());
        let kept = steps.and_then(|EncoderInfo { steps: step, .. }| {
            let value = series.online.iter().find(|measured| measured.step == step)?.number(by)?;
            Some(Kept { by, step, value })
        });
        (by != KeepBest::None).then(|| Self { by, folder: folder.to_owned(), kept })
    }

    /// Which encoder is kept.
    pub fn kept(&self) -> Option<Kept> {
        self.kept
    }

    /// Writes the encoder of this measurement if it is better than the one that is kept; of equals the first stays.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn consider(&mut self, measured: &Measurement, encoder: impl FnOnce() -> Encoder) -> Result<()> {
        let Some(value) = measured.number(self.by).filter(|value| value.is_finite()) else { return Ok(()) };
        if self.kept.is_some_and(|kept| value <= kept.value) {
            return Ok(());
        }
        // Both files are whole before the first takes its place; weights come first, for an older description fits them as well.
        let whole = self.folder.join("best.partial");
        fs::create_dir_all(&whole).map_err(Error::io("create", &whole))?;
        encoder().save(&whole)?;
        for (from, to) in [("encoder.safetensors", "best.safetensors"), ("encoder.json", "best.json")] {
            fs::rename(whole.join(from), self.folder.join(to)).map_err(Error::io("write", &self.folder.join(to)))?;
        }
        fs::remove_dir_all(&whole).map_err(Error::io("delete", &whole))?;
        self.kept = Some(Kept { by: self.by, step: measured.step, value });
        Ok(())
    }
}
