//! What every protocol needs: the networks, the pictures, the table at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol::config::Config;
use byol::run::RunFolder;
use byol_data::{DataConfig, Dataset};
use byol_eval::baseline::{self, BaselineOptions};
use byol_eval::comparison::{Comparison, Frozen};
use byol_eval::{COLUMNS, Column, Evaluation, LabelledParts, Network, Row, open_parts};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde_json::Value;

use super::numbers::{positive, whole_number};
use crate::device::Compute;
use crate::limits::Limits;
use crate::show;

/// The flags of every protocol.
#[derive(clap::Args)]
pub struct Common {
    /// Run folder, .safetensors or .pth file, or random:ARCH[:STEM[:SIZE]]
    pub encoder: String,
    /// Labelled pictures; their test part is tested on if there is one. May be repeated
    #[arg(long, required = true)]
    pub data: Vec<PathBuf>,
    /// Pictures to test on [default: the test part of --data, else a fifth of it held out]
    #[arg(long)]
    pub test: Vec<PathBuf>,
    /// Seeds 0 to N − 1; numbers are mean ± standard deviation over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_number)]
    pub seeds: usize,
    /// Weights to compare with, for example torchvision's of ImageNet: a .pth or .safetensors file, a run folder
    #[arg(long, value_name = "FILE")]
    pub reference: Option<String>,
    /// Train the supervised baseline for so many epochs, if the run has none yet, and show it beside the encoder
    #[arg(long, value_name = "EPOCHS", value_parser = positive::<f64>)]
    pub supervised_epochs: Option<f64>,
    /// Do not measure baselines beside the encoder
    #[arg(long)]
    pub no_baseline: bool,
    /// Compute representations even if the run folder has them
    #[arg(long)]
    pub no_cache: bool,
    /// Print one JSON object with the numbers and their protocol on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    compute: Compute,
}

/// An opened evaluation.
pub struct Session {
    pub comparison: Comparison,
    pub parts: LabelledParts,
    pub encoder_name: String,
    run: Option<(RunFolder, Config)>,
    json: bool,
}

impl Session {
    /// Opens everything and says what will be measured.
    pub fn open(common: &Common) -> Result<Self> {
        Self::open_with(common, |config| {
            let parts = open_parts(&common.data, &common.test, config)?;
            check_labels(&parts.train)?;
            check_labels(&parts.test)?;
            Ok(parts)
        })
    }

    /// As [`Self::open`], with pictures opened by `open_data`.
    pub fn open_with(common: &Common, open_data: impl FnOnce(&DataConfig) -> Result<LabelledParts>) -> Result<Self> {
        let device = common.compute.open()?;
        let encoder = Encoder::open(&common.encoder, &device)?;
        let parts = open_data(&common.limits.of(&common.encoder, &encoder.info)?)?;
        eprintln!("{}", parts.description);
        let run = match RunFolder::open(Path::new(&common.encoder)) {
            Ok(run) => Some((run.config()?, run)).map(|(config, run)| (run, config)),
            Err(_) => None,
        };
        let reference = match &common.reference {
            Some(text) => Some((text.clone(), Encoder::open(text, &device)?)),
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
        let cache = run.as_ref().filter(|_| !common.no_cache).map(|(run, _)| run.features());
        let comparison = Comparison {
            with_random: !common.no_baseline && !common.encoder.starts_with("random:"),
            encoder,
            supervised: Vec::new(),
            reference,
            seeds: (0..common.seeds as u64).collect(),
            cache,
            device,
        };
        let mut session = Self { comparison, parts, encoder_name: common.encoder.clone(), run, json: common.json };
        if session.comparison.with_random {
            session.find_supervised(common.supervised_epochs)?;
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
        let Frozen { rows, mut images, bad, not_kept } = frozen;
        if !bad.is_empty() {
            eprintln!("{} picture(s) could not be read and are left out", bad.len());
        }
        if let Some(error) = not_kept {
            eprintln!("representations are not kept for the next time: {error}");
        }
        let test_images = images.pop().unwrap_or(0);
        Evaluation { train_images: images.iter().sum(), test_images, ..self.evaluation(eval, protocol, rows) }
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
        }
    }

    /// Shows the evaluations and adds them to the run's files.
    pub fn finish(&self, evaluations: &[Evaluation]) -> Result<()> {
        for evaluation in evaluations {
            print(evaluation);
            if let Some((run, _)) = &self.run {
                run.remember(evaluation)?;
            }
        }
        if self.json {
            match evaluations {
                [only] => show::json(only),
                all => show::json(&BTreeMap::from([("evaluations", all)])),
            }
        }
        Ok(())
    }

    /// The supervised baselines that the run has for these pictures; with `epochs`, trained where they are missing.
    fn find_supervised(&mut self, epochs: Option<f64>) -> Result<()> {
        let folder = self.folder("supervised");
        let options = epochs.map(|epochs| BaselineOptions::new(epochs, self.crop_area_min()));
        let Comparison { encoder, seeds, device, .. } = &self.comparison;
        let train = &self.parts.train;
        self.comparison.supervised =
            baseline::supervised(&encoder.info, train, seeds, options.as_ref(), folder.as_deref(), device)?;
        Ok(())
    }
}

/// Every picture needs a label; said before the time is spent on representations.
pub fn check_labels(dataset: &Arc<Dataset>) -> Result<()> {
    let Some(first) = (0..dataset.len()).find(|&index| dataset.label(index).is_none()) else { return Ok(()) };
    let problem = format!(
        "an evaluation needs a label for every picture, and {} has none; expected one folder per class \
         (train/cat/1.jpg) or a labelled file set such as CIFAR or IDX",
        dataset.name(first)
    );
    Err(match dataset.roots().first() {
        Some(root) => Error::path(root, problem),
        None => Error::Evaluation(problem),
    })
}

/// The numbers as a table, below it what fixes them.
pub fn print(evaluation: &Evaluation) {
    let has = |column: &Column| evaluation.rows.iter().any(|row| row.numbers.contains_key(column.metric));
    let columns: Vec<_> = COLUMNS.into_iter().filter(has).collect();
    let with_settings = evaluation.rows.iter().any(|row| !row.setting.is_empty());
    let mut header = vec![format!("{}: network", evaluation.eval)];
    header.extend(with_settings.then(String::new));
    header.extend(columns.iter().map(|column| column.title.to_owned()));
    let mut table = vec![header];
    for row in &evaluation.rows {
        let mut cells = vec![row.name.clone()];
        cells.extend(with_settings.then(|| row.setting.clone()));
        let number = |column: &Column| row.numbers.get(column.metric).map(|number| show::statistic(column, number));
        cells.extend(columns.iter().map(|column| number(column).unwrap_or_default()));
        table.push(cells);
    }
    eprintln!();
    show::table(&table);
    eprintln!();
    for row in evaluation.rows.iter().filter(|row| row.network == Network::Encoder) {
        let chosen: Vec<String> = row.chosen.iter().flat_map(in_words).collect();
        if !chosen.is_empty() {
            eprintln!(
                "  chosen{}: {}",
                if row.setting.is_empty() { String::new() } else { format!(" ({})", row.setting) },
                chosen.join("; ")
            );
        }
    }
    eprintln!(
        "  {} training and {} test pictures; {}",
        evaluation.train_images, evaluation.test_images, evaluation.data
    );
    eprintln!("  {}", evaluation.protocol);
}

/// What was chosen, without the scores it was chosen by.
fn in_words(chosen: &Value) -> Option<String> {
    let fields: Vec<String> = chosen
        .as_object()?
        .iter()
        .filter(|(key, _)| *key != "held_out")
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    (!fields.is_empty()).then(|| fields.join(", "))
}
