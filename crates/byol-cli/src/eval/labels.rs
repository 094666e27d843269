//! `byol eval finetune` and `byol eval semi`: protocols that train all weights with labels.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use byol_data::Dataset;
use byol_eval::comparison::{Origin, ToDo};
use byol_eval::finetune::{self, FinetuneOptions, Parts};
use byol_eval::pace::Pace;
use byol_eval::semi::{self, Labelled, Part, SemiOptions};
use byol_eval::{Countdown, Evaluation, HeldOut};
use byol_nn::{Error, Result};

use super::numbers::{HeldOutFlag, not_negative, positive, share, whole_number};
use super::plan::Measurement;
use super::session::{Common, Grids, Session, grid_in_words};
use crate::screen::paragraph;

#[derive(clap::Args)]
pub struct FinetuneArguments {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub options: FinetuneFlags,
    #[command(flatten)]
    pub choice: HeldOutFlag,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct FinetuneFlags {
    /// Steps of each training [default: 10 epochs, 200 to 20000; with --paper 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub finetune_steps: Option<u64>,
    /// Pictures per step [default: a tenth of the training pictures, 16 to 64; with --paper 256]
    #[arg(long, value_name = "N", value_parser = whole_number)]
    pub finetune_batch_size: Option<usize>,
    /// Rates to choose from [default: 0.01, 0.03, 0.1; with --paper 7 from 1e-4 to 1e-1]
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', value_parser = positive::<f64>)]
    pub finetune_rates: Vec<f64>,
    /// Weight decays to choose from, each divided by the rate [default: 0; with --paper 0 and 7 from 1e-6 to 1e-3]
    #[arg(long, value_name = "DECAY,…", value_delimiter = ',', value_parser = not_negative)]
    pub finetune_decays: Vec<f64>,
}

#[derive(clap::Args)]
pub struct SemiArguments {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub options: SemiFlags,
    #[command(flatten)]
    pub choice: HeldOutFlag,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Semi-supervised")]
pub struct SemiFlags {
    /// Shares of the labels of all training pictures, drawn from every class alike by the seed [default: 1%,10%, as far as they
    /// have a picture for every class]
    #[arg(long, value_name = "SHARE,…", value_delimiter = ',', value_parser = share)]
    pub labels: Vec<f64>,
    /// Text file with the names of the labelled pictures, one per line, as SimCLR's; instead of --labels, may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    pub label_list: Vec<PathBuf>,
    /// Rates to choose from [default: 0.01, 0.03, 0.1; with --paper 0.01, 0.02, 0.05, 0.1, 0.005]
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', value_parser = positive::<f64>)]
    pub semi_rates: Vec<f64>,
    /// Numbers of passes over the labelled pictures to choose from [default: 30, and more where those are fewer than 200 steps; with
    /// --paper 30, 50]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = positive::<f64>)]
    pub semi_epochs: Vec<f64>,
    /// Pictures per step, at most the labelled ones [default: 32; with --paper 1024]
    #[arg(long, value_name = "N", value_parser = whole_number)]
    pub semi_batch_size: Option<usize>,
}

/// Epochs of a narrow fine-tuning, and the bounds of its steps.
const FINETUNE_EPOCHS: usize = 10;
const FINETUNE_STEPS: std::ops::RangeInclusive<u64> = 200..=20_000;

/// Bounds of the batch of a narrow fine-tuning, and its share of the training pictures: few pictures in large batches would be
/// passed hundreds of times to reach the least steps.
const FINETUNE_BATCH: std::ops::RangeInclusive<usize> = 16..=64;
const FINETUNE_BATCHES: usize = 10;

/// Steps at least on the labelled part in a narrow semi-supervised evaluation.
const LEAST_SEMI_STEPS: u64 = 200;

impl FinetuneFlags {
    /// The grid that `grids` says where no flag says otherwise, for so many training pictures.
    fn options(&self, grids: Grids, crop_area_min: f32, images: usize) -> FinetuneOptions {
        let mut options = FinetuneOptions { crop_area_min, ..Default::default() };
        if grids == Grids::Narrow {
            let tenth = (images / FINETUNE_BATCHES).clamp(*FINETUNE_BATCH.start(), *FINETUNE_BATCH.end());
            let batch_size = self.finetune_batch_size.unwrap_or(1 << tenth.ilog2());
            let steps = (FINETUNE_EPOCHS * images / batch_size) as u64;
            options.batch_size = batch_size;
            options.steps = steps.clamp(*FINETUNE_STEPS.start(), *FINETUNE_STEPS.end());
            options.learning_rates = vec![0.01, 0.03, 0.1];
            options.weight_decays = vec![0.0];
        }
        options.steps = self.finetune_steps.unwrap_or(options.steps);
        options.batch_size = self.finetune_batch_size.unwrap_or(options.batch_size);
        if !self.finetune_rates.is_empty() {
            options.learning_rates.clone_from(&self.finetune_rates);
        }
        if !self.finetune_decays.is_empty() {
            options.weight_decays.clone_from(&self.finetune_decays);
        }
        options
    }

    fn names_a_grid(&self) -> bool {
        !self.finetune_rates.is_empty() || !self.finetune_decays.is_empty()
    }
}

impl SemiFlags {
    /// The shares that are measured of these pictures; those that are too small for them are named.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when none is left.
    fn shares(&self, train: &Dataset) -> Result<Vec<f64>> {
        const SHARES: [f64; 2] = [0.01, 0.1];
        if !self.labels.is_empty() || !self.label_list.is_empty() {
            return Ok(self.labels.clone());
        }
        let (images, classes) = (train.len(), train.classes().len());
        let (fitting, small): (Vec<f64>, _) =
            SHARES.into_iter().partition(|share| share * images as f64 >= classes as f64);
        let percent =
            |shares: &[f64]| shares.iter().map(|share| format!("{}%", 100.0 * share)).collect::<Vec<_>>().join(",");
        let problem = format!("{} of {images} pictures are fewer than the {classes} classes", percent(&small));
        match fitting.is_empty() {
            true => Err(Error::Evaluation(format!("semi-supervised evaluation: {problem}; --labels 50% takes more"))),
            false => {
                if !small.is_empty() {
                    paragraph(&format!("semi: left out: {problem}"));
                }
                Ok(fitting)
            }
        }
    }

    fn options(&self, shares: Vec<f64>, grids: Grids, crop_area_min: f32, held_out: HeldOut) -> SemiOptions {
        let labelled = match &self.label_list[..] {
            [] => shares.into_iter().map(Labelled::Share).collect(),
            lists => lists.iter().cloned().map(Labelled::List).collect(),
        };
        let mut options = SemiOptions { labelled, crop_area_min, held_out, ..Default::default() };
        if grids == Grids::Narrow {
            options.batch_size = 32;
            options.learning_rates = vec![0.01, 0.03, 0.1];
            options.epochs = vec![30.0];
            options.least_steps = LEAST_SEMI_STEPS;
        }
        options.batch_size = self.semi_batch_size.unwrap_or(options.batch_size);
        if !self.semi_rates.is_empty() {
            options.learning_rates.clone_from(&self.semi_rates);
        }
        if !self.semi_epochs.is_empty() {
            options.epochs.clone_from(&self.semi_epochs);
            options.least_steps = 1;
        }
        options
    }

    fn names_a_grid(&self) -> bool {
        !self.semi_rates.is_empty() || !self.semi_epochs.is_empty()
    }
}

/// As in a sentence.
fn listed(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

/// Fine-tuning on all labels of some parts.
struct Finetune {
    options: FinetuneOptions,
    protocol: String,
    parts: Rc<Parts>,
    /// The protocol it belongs to, and what tells its rows apart there.
    eval: &'static str,
    row: &'static str,
}

/// Fine-tuning on all labels.
pub fn finetune(session: &Session, flags: &FinetuneFlags, parts: Rc<Parts>) -> Box<dyn Measurement> {
    finetuned(session, flags, parts, "finetune", "")
}

/// Fine-tuning on all labels of `parts` as a part of `eval`; `row` names its rows there.
pub fn finetuned(
    session: &Session,
    flags: &FinetuneFlags,
    parts: Rc<Parts>,
    eval: &'static str,
    row: &'static str,
) -> Box<dyn Measurement> {
    let options = flags.options(session.grids, session.crop_area_min(), parts.all.len());
    let grid = format!("rates {}; decays {}", listed(&options.learning_rates), listed(&options.weight_decays));
    let protocol = options.protocol(&parts) + &grid_in_words(&grid, flags.names_a_grid(), session.grids);
    Box::new(Finetune { options, protocol, parts, eval, row })
}

impl Finetune {
    /// What fixes an outcome besides [`Self::parts`].
    fn terms(&self) -> String {
        let Parts { metric, held_out, truth, .. } = &*self.parts;
        format!("finetune {:?} {metric:?} {held_out:?} {truth:?} {}", self.options, self.row)
    }

    fn parts(&self) -> [Arc<Dataset>; 3] {
        self.parts.frozen()
    }
}

impl Measurement for Finetune {
    fn name(&self) -> String {
        if self.row.is_empty() { self.eval.to_owned() } else { format!("{} ({})", self.eval, self.row) }
    }

    fn to_do(&self, session: &mut Session) -> ToDo {
        session.comparison.trained_to_do(&self.parts(), &self.terms())
    }

    fn outcome_secs(&self, _: &Session, pace: &Pace) -> Result<f64> {
        let parts = &self.parts;
        let settings = self.options.learning_rates.len() * self.options.weight_decays.len();
        let judged = settings * parts.validation.len() + parts.test.len();
        let trained = self.options.pictures(parts.all.len()) as f64;
        Ok(trained * pace.train_secs + judged as f64 * pace.represent_secs)
    }

    fn trains(&self) -> bool {
        true
    }

    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)> {
        let Self { options, parts, row, .. } = self;
        let outcomes = self.to_do(session).outcomes;
        let pictures = options.pictures(parts.all.len()) * outcomes;
        let mut countdown = Countdown::start(pictures).stopped_by(session.comparison.stop);
        let device = &session.comparison.device;
        let trained = session.comparison.trained(&self.parts(), &self.terms(), |start, name, seed| {
            Ok(vec![finetune::evaluate(start, parts, options, seed, [name, row], device, &mut countdown)?])
        })?;
        drop(countdown);
        Ok((session.evaluation(self.eval, self.protocol.clone(), trained.rows), trained.origin))
    }
}

/// Fine-tuning on a part of the labels.
struct Semi {
    options: SemiOptions,
    protocol: String,
    /// The labelled parts by seed.
    parts: BTreeMap<u64, Vec<Part>>,
}

/// Fine-tuning on a part of the labels.
pub fn semi(session: &Session, flags: &SemiFlags, held_out: HeldOut) -> Result<Box<dyn Measurement>> {
    let shares = flags.shares(&session.parts.train)?;
    let options = flags.options(shares, session.grids, session.crop_area_min(), held_out);
    let lists = session.folder("labelled");
    let train = &session.parts.train;
    let drawn = session.comparison.seeds.iter().map(|&seed| Ok((seed, options.parts(train, seed, lists.as_deref())?)));
    let parts: BTreeMap<u64, Vec<Part>> = drawn.collect::<Result<_>>()?;
    let grid = format!("rates {}; epochs {}", listed(&options.learning_rates), listed(&options.epochs));
    let grid = grid_in_words(&grid, flags.names_a_grid(), session.grids);
    let protocol = options.protocol(lists.as_deref()) + &grid;
    Ok(Box::new(Semi { options, protocol, parts }))
}

impl Semi {
    /// What fixes an outcome besides the training and the test part; lists may have changed under their names.
    fn terms(&self) -> String {
        let of_part = |part: &Part| (part.labelled.fingerprint(), part.labelled.len());
        let listed: Vec<_> = self.parts.values().next().into_iter().flatten().map(of_part).collect();
        format!("semi {:?} {listed:?}", self.options)
    }

    /// Pictures that pass in the trainings of one outcome; the parts of all seeds are about as large.
    fn pictures(&self) -> u64 {
        self.parts.values().next().into_iter().flatten().map(|part| self.options.pictures(part)).sum()
    }
}

impl Measurement for Semi {
    fn name(&self) -> String {
        "semi".to_owned()
    }

    fn to_do(&self, session: &mut Session) -> ToDo {
        let parts = [session.parts.train.clone(), session.parts.test.clone()];
        session.comparison.trained_to_do(&parts, &self.terms())
    }

    fn outcome_secs(&self, session: &Session, pace: &Pace) -> Result<f64> {
        let settings = self.options.learning_rates.len() * self.options.epochs.len();
        let of_part = |part: &Part| settings * part.validation.len() + session.parts.test.len();
        let judged: usize = self.parts.values().next().into_iter().flatten().map(of_part).sum();
        Ok(self.pictures() as f64 * pace.train_secs + judged as f64 * pace.represent_secs)
    }

    fn trains(&self) -> bool {
        true
    }

    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)> {
        let outcomes = self.to_do(session).outcomes;
        let (options, test) = (&self.options, session.parts.test.clone());
        let parts = [session.parts.train.clone(), test.clone()];
        let mut countdown = Countdown::start(self.pictures() * outcomes).stopped_by(session.comparison.stop);
        let device = &session.comparison.device;
        let trained = session.comparison.trained(&parts, &self.terms(), |start, name, seed| {
            let of_part = |part: &Part| semi::evaluate(start, part, &test, options, seed, name, device, &mut countdown);
            self.parts[&seed].iter().map(of_part).collect()
        })?;
        drop(countdown);
        Ok((session.evaluation("semi", self.protocol.clone(), trained.rows), trained.origin))
    }
}
