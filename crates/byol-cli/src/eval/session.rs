//! What every protocol needs: the networks, the pictures, where results go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol::config::Config;
use byol::run::RunFolder;
use byol_data::{DataConfig, Dataset};
use byol_eval::baseline::{self, BaselineOptions};
use byol_eval::comparison::{Comparison, Frozen, Origin};
use byol_eval::{
    Evaluation, KeptOutcomes, LabelledParts, PartsRequest, Pictures, Repeat, Row, Stop, fingerprint_text, open_parts,
    read_evaluations,
};
use byol_nn::dist::Ranks;
use byol_nn::{Error, Result};
use serde::Serialize;

use super::numbers::{positive, whole_number};
use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::interrupt;
use crate::limits::Limits;
use crate::network::{NetworkChoice, open_saying};
use crate::screen::{paragraph, state, talks};

/// The flags of every protocol.
#[derive(clap::Args)]
pub struct Common {
    /// Run folder, .safetensors or .pth file, or random:ARCH[:STEM[:SIZE]]
    pub encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    #[command(flatten)]
    pub data: DataArguments,
    /// Pictures to test on [default: the test part of DATA, else a fifth of it held out]
    #[arg(long)]
    pub test: Vec<PathBuf>,
    /// Part of DATA to train classifiers on; all takes every part together, a fifth held out [default: train]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Part to test on [default: test, else val]
    #[arg(long, value_name = "NAME")]
    pub test_split: Option<String>,
    /// Seeds 0 to N − 1; numbers are mean ± standard deviation over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_number)]
    pub seeds: usize,
    /// Search the paper's full grids, with its lengths and batches: hours to weeks on a CPU
    #[arg(long)]
    pub paper: bool,
    /// Weights to compare with, for example torchvision's of ImageNet: a .pth or .safetensors file, a run folder
    #[arg(long, value_name = "FILE")]
    pub reference: Option<String>,
    /// Which network of the file of --reference, as --prefix is for the encoder
    #[arg(long, value_name = "PREFIX", requires = "reference")]
    reference_prefix: Option<String>,
    /// Train the supervised baseline for so many epochs, if the run has none yet, and show it beside the encoder
    #[arg(long, value_name = "EPOCHS", value_parser = positive::<f64>)]
    pub supervised_epochs: Option<f64>,
    /// Do not measure baselines beside the encoder
    #[arg(long)]
    pub no_baseline: bool,
    /// Compute representations and results even if the run folder has them, and keep none
    #[arg(long)]
    pub no_cache: bool,
    /// Print one JSON object with the numbers and their protocol on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    pub compute: Compute,
}

/// Which values a choice is made from, where no flag names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grids {
    /// A few, in trainings that a CPU finishes.
    Narrow,
    /// All of the paper's.
    Paper,
}

/// Where the values that a choice is made from come from, as in the protocol line.
pub fn grid_in_words(values: &str, is_given: bool, grids: Grids) -> String {
    let origin = match (is_given, grids) {
        (true, _) => "as given",
        (false, Grids::Narrow) => "narrow; --paper for all",
        (false, Grids::Paper) => "the paper's",
    };
    format!("; grid: {values} ({origin})")
}

/// An opened evaluation.
pub struct Session {
    pub comparison: Comparison,
    pub parts: LabelledParts,
    pub encoder_name: String,
    pub grids: Grids,
    /// Folders and files that were given as data, where nothing is written.
    pub data: Vec<PathBuf>,
    pub json: bool,
    /// `--split` and `--test-split`, and whether there is a `--test`.
    splits: (Option<String>, Option<String>, bool),
    run: Option<(RunFolder, Config)>,
    supervised_epochs: Option<f64>,
}

impl Session {
    /// Opens everything and says what will be measured.
    pub fn open(common: &Common, ranks: &Ranks) -> Result<Self> {
        Self::open_with(common, ranks, |config| {
            let request = PartsRequest {
                data: common.data.roots(),
                test: common.test.clone(),
                split: common.split.clone(),
                test_split: common.test_split.clone(),
            };
            let parts = open_parts(&request, config)?;
            check_labels(&parts.train)?;
            check_labels(&parts.test)?;
            check_classes(&parts.train)?;
            Ok(parts)
        })
    }

    /// As [`Self::open`], with pictures opened by `open_data`.
    pub fn open_with(
        common: &Common,
        ranks: &Ranks,
        open_data: impl FnOnce(&DataConfig) -> Result<LabelledParts>,
    ) -> Result<Self> {
        let device = common.compute.open_with(&**ranks)?;
        let encoder = common.network.open(&common.encoder, &device)?;
        let parts = open_data(&common.limits.of(&common.encoder, &encoder.info, &common.data)?)?;
        if talks() {
            paragraph(&parts.description);
            tell_notes([&*parts.train, &parts.test]);
        }
        let run = match RunFolder::open(Path::new(&common.encoder)) {
            Ok(run) => Some((run.config()?, run)).map(|(config, run)| (run, config)),
            Err(_) => None,
        };
        let reference = match &common.reference {
            Some(text) => Some((text.clone(), open_saying(text, common.reference_prefix.as_deref(), &device)?)),
            None => None,
        };
        if let Some((name, reference)) = &reference
            && reference.info.channels() != encoder.info.channels()
        {
            return Err(Error::Evaluation(format!(
                "--reference {name}: expected an encoder of pictures with {} channel(s) as {}, got one of {}",
                encoder.info.channels(),
                common.encoder,
                reference.info.channels()
            )));
        }
        let kept_in = run.as_ref().filter(|_| !common.no_cache).map(|(run, _)| run);
        let comparison = Comparison {
            with_random: !common.no_baseline && !common.encoder.starts_with("random:"),
            encoder,
            supervised: Vec::new(),
            reference,
            seeds: (0..common.seeds as u64).collect(),
            cache: kept_in.map(RunFolder::features),
            kept: KeptOutcomes::new(kept_in.map(RunFolder::outcomes)),
            stop: Stop::on(&interrupt::install()?.stop),
            device,
            ranks: ranks.clone(),
        };
        let mut session = Self {
            comparison,
            parts,
            encoder_name: common.encoder.clone(),
            grids: if common.paper { Grids::Paper } else { Grids::Narrow },
            data: [common.data.roots(), common.test.clone()].concat(),
            json: common.json,
            splits: (common.split.clone(), common.test_split.clone(), !common.test.is_empty()),
            run,
            supervised_epochs: common.supervised_epochs,
        };
        if session.comparison.with_random {
            session.find_supervised(None)?;
        }
        Ok(session)
    }

    /// Smallest area of random crops: that of the run's pretraining, else the paper's.
    pub fn crop_area_min(&self) -> f32 {
        self.run.as_ref().map_or(0.08, |(_, config)| config.views.view1.crop_area_min)
    }

    /// Settings of the run, if the encoder is one.
    pub fn config(&self) -> Option<&Config> {
        self.run.as_ref().map(|(_, config)| config)
    }

    /// A folder of the run for files of an evaluation; may not exist yet.
    pub fn folder(&self, name: &str) -> Option<PathBuf> {
        self.run.as_ref().map(|(run, _)| run.path().join(name))
    }

    /// The record of a protocol on frozen representations of some training parts and, last, the test part.
    pub fn frozen(&self, eval: &str, protocol: String, frozen: Frozen) -> Evaluation {
        let Frozen { rows, mut images, bad, not_kept, not_shared, origin: _ } = frozen;
        if !bad.is_empty() {
            state!("{} picture(s) could not be read and are left out", bad.len());
        }
        if let Some(error) = not_kept {
            state!("what was computed is not kept for the next time: {error}");
        }
        if let Some(problem) = not_shared {
            state!("rank 0 made all representations, since another could not help: {problem}");
        }
        let test_images = images.pop().unwrap_or(0);
        Evaluation { train_images: images.iter().sum(), test_images, ..self.evaluation(eval, protocol, rows) }
    }

    /// What it takes to measure with these options once more.
    pub fn repeat(&self, options: &impl Serialize) -> Repeat {
        let (split, test_split, separate_test) = self.splits.clone();
        let LabelledParts { train, test, .. } = &self.parts;
        let pictures = Pictures {
            split,
            test_split,
            separate_test,
            // Where things are kept on this machine is nobody's business.
            reading: DataConfig { remote_cache: None, ..train.config().clone() },
            train_fingerprint: fingerprint_text(train),
            test_fingerprint: fingerprint_text(test),
        };
        Repeat { options: serde_json::to_value(options).expect("plain fields have a JSON form"), pictures }
    }

    /// The record of a protocol that trained on all pictures.
    pub fn evaluation(&self, eval: &str, protocol: String, rows: Vec<Row>) -> Evaluation {
        let info = &self.comparison.encoder.info;
        Evaluation {
            eval: eval.to_owned(),
            encoder: self.encoder_name.clone(),
            arch: info.arch,
            training: info.training.clone(),
            step: info.steps,
            data: self.parts.description.clone(),
            preprocessing: info.preprocessing.clone(),
            train_images: self.parts.train.len(),
            test_images: self.parts.test.len(),
            classes: self.parts.test.classes().to_vec(),
            protocol,
            rows,
            largest_class: None,
            repeat: None,
        }
        .judged()
    }

    /// Adds an evaluation to the run's files, if the encoder is a run; one that is kept whole from before is there already.
    pub fn remember(&self, evaluation: &Evaluation, origin: Origin) -> Result<()> {
        let Some((run, _)) = &self.run else { return Ok(()) };
        let is_same = |other: &Evaluation| {
            let seeds = |of: &Evaluation| of.rows.iter().map(|row| row.seeds.clone()).collect::<Vec<_>>();
            let key = |of: &Evaluation| (of.eval.clone(), of.data.clone(), of.protocol.clone(), of.step, seeds(of));
            key(other) == key(evaluation)
        };
        if origin.computed == 0 && read_evaluations(&run.evaluations())?.iter().any(is_same) {
            return Ok(());
        }
        run.remember(evaluation)
    }

    /// Whether what is finished stays on disk.
    pub fn keeps(&self) -> bool {
        self.run.is_some() && self.comparison.kept.is_on()
    }

    /// Pictures that pass while [`Self::train_supervised`] trains.
    pub fn supervised_pictures(&self) -> u64 {
        match self.supervised_options().filter(|_| self.comparison.with_random) {
            Some(options) => {
                let folder = self.folder("supervised");
                baseline::pictures_to_train(&self.parts.train, &self.comparison.seeds, &options, folder.as_deref())
            }
            None => 0,
        }
    }

    /// Trains the supervised baselines that were asked for and that the run has not.
    pub fn train_supervised(&mut self) -> Result<()> {
        match self.supervised_options().filter(|_| self.comparison.with_random) {
            Some(options) => self.find_supervised(Some(&options)),
            None => Ok(()),
        }
    }

    fn supervised_options(&self) -> Option<BaselineOptions> {
        self.supervised_epochs.map(|epochs| BaselineOptions::new(epochs, self.crop_area_min()))
    }

    /// The supervised baselines that the run has for these pictures; with `options`, trained where they are missing.
    fn find_supervised(&mut self, options: Option<&BaselineOptions>) -> Result<()> {
        let folder = self.folder("supervised");
        let Comparison { encoder, seeds, device, stop, .. } = &self.comparison;
        let train = &self.parts.train;
        self.comparison.supervised =
            baseline::supervised(&encoder.info, train, seeds, options, folder.as_deref(), *stop, device)?;
        Ok(())
    }
}

/// Every picture needs a label; said before the time is spent on representations.
pub fn check_labels(dataset: &Arc<Dataset>) -> Result<()> {
    let Some(first) = (0..dataset.len()).find(|&index| dataset.label(index).is_none()) else { return Ok(()) };
    let problem = format!(
        "an evaluation needs a label for every picture, and {} has none; expected a folder for each of at least two \
         classes (train/cat/1.jpg, train/dog/1.jpg), a list of paths and labels, or a labelled file set such as CIFAR or IDX",
        dataset.name(first)
    );
    Err(wrong_data(dataset, problem))
}

/// There must be something to tell apart.
fn check_classes(dataset: &Arc<Dataset>) -> Result<()> {
    let Some(first) = (0..dataset.len()).find_map(|index| dataset.label(index)) else { return Ok(()) };
    if (0..dataset.len()).any(|index| dataset.label(index).is_some_and(|label| label != first)) {
        return Ok(());
    }
    let problem = format!(
        "an evaluation needs training pictures of at least two classes, got {} of {:?} alone; expected one folder per class \
         (train/cat/1.jpg, train/dog/1.jpg); give the folder above the classes",
        dataset.len(),
        dataset.classes()[first as usize]
    );
    Err(wrong_data(dataset, problem))
}

fn wrong_data(dataset: &Dataset, problem: String) -> Error {
    match dataset.roots().first() {
        Some(root) => Error::path(root, problem),
        None => Error::Evaluation(problem),
    }
}

#[cfg(test)]
mod tests {
    use byol_data::Image;

    use super::*;

    #[test]
    fn one_class_alone_is_refused_with_the_remedy() {
        let dataset = |labels: [u32; 3]| {
            let images = labels.iter().map(|_| Image::rgb8(1, 1, vec![0; 3])).collect();
            let names = ["a", "b", "c"].map(str::to_owned).to_vec();
            let classes = ["cat", "dog"].map(str::to_owned).to_vec();
            Arc::new(Dataset::from_images(images, Some(labels.to_vec()), classes, names))
        };
        assert!(check_classes(&dataset([0, 1, 0])).is_ok());
        let error = check_classes(&dataset([1, 1, 1])).unwrap_err().to_string();
        assert!(
            error.contains("at least two classes, got 3 of \"dog\" alone") && error.contains("folder above"),
            "{error}"
        );
    }
}
