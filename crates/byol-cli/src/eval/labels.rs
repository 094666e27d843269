//! `byol eval finetune` and `byol eval semi`: protocols that train all weights with labels.

use std::collections::BTreeMap;
use std::path::PathBuf;

use byol_data::benchmarks::Metric;
use byol_eval::finetune::{self, FinetuneOptions, Parts};
use byol_eval::semi::{self, Labelled, Part, SemiOptions};
use byol_eval::{Countdown, Evaluation, HeldOut, Row};
use byol_nn::Result;

use super::numbers::{HeldOutFlag, not_negative, positive, share, whole_number};
use super::session::{Common, Session};

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
    /// Steps of each training
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub finetune_steps: u64,
    /// Pictures per step
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = whole_number)]
    pub finetune_batch_size: usize,
    /// Rates to choose from [default: 7 from 1e-4 to 1e-1]
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', value_parser = positive::<f64>)]
    pub finetune_rates: Vec<f64>,
    /// Weight decays to choose from, each divided by the rate [default: 0 and 7 from 1e-6 to 1e-3]
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
    /// Shares of the labels of all training pictures, drawn from every class alike by the seed
    #[arg(long, value_name = "SHARE,…", value_delimiter = ',', value_parser = share, default_values = ["1%", "10%"])]
    pub labels: Vec<f64>,
    /// Text file with the names of the labelled pictures, one per line, as SimCLR's; instead of --labels, may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    pub label_list: Vec<PathBuf>,
    /// Rates to choose from
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', default_values_t = [0.01, 0.02, 0.05, 0.1, 0.005], value_parser = positive::<f64>)]
    pub semi_rates: Vec<f64>,
    /// Numbers of passes over the labelled pictures to choose from
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [30.0, 50.0], value_parser = positive::<f64>)]
    pub semi_epochs: Vec<f64>,
    /// Pictures per step, at most the labelled ones
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = whole_number)]
    pub semi_batch_size: usize,
}

impl FinetuneFlags {
    /// The paper's grid where no flag says otherwise.
    pub fn options(&self, crop_area_min: f32) -> FinetuneOptions {
        let mut options = FinetuneOptions {
            steps: self.finetune_steps,
            batch_size: self.finetune_batch_size,
            crop_area_min,
            ..Default::default()
        };
        if !self.finetune_rates.is_empty() {
            options.learning_rates.clone_from(&self.finetune_rates);
        }
        if !self.finetune_decays.is_empty() {
            options.weight_decays.clone_from(&self.finetune_decays);
        }
        options
    }
}

/// Fine-tuning on all labels.
pub fn finetune(session: &Session, flags: &FinetuneFlags, held_out: HeldOut) -> Result<Evaluation> {
    let options = flags.options(session.crop_area_min());
    let parts = Parts::of_labelled(&session.parts, Metric::Top1, held_out)?;
    let rows = finetuned(session, &parts, &options, "")?;
    Ok(session.evaluation("finetune", options.protocol(&parts), rows))
}

/// Rows of networks fine-tuned on all labels of `parts`; `row` names them.
pub fn finetuned(session: &Session, parts: &Parts, options: &FinetuneOptions, row: &str) -> Result<Vec<Row>> {
    let mut countdown = Countdown::start(options.pictures(parts.all.len()) * session.comparison.starts());
    let device = &session.comparison.device;
    session.comparison.trained(|start, name, seed| {
        Ok(vec![finetune::evaluate(start, parts, options, seed, [name, row], device, &mut countdown)?])
    })
}

/// Fine-tuning on a part of the labels.
pub fn semi(session: &Session, flags: &SemiFlags, held_out: HeldOut) -> Result<Evaluation> {
    let labelled = match &flags.label_list[..] {
        [] => flags.labels.iter().copied().map(Labelled::Share).collect(),
        lists => lists.iter().cloned().map(Labelled::List).collect(),
    };
    let options = SemiOptions {
        labelled,
        learning_rates: flags.semi_rates.clone(),
        epochs: flags.semi_epochs.clone(),
        batch_size: flags.semi_batch_size,
        crop_area_min: session.crop_area_min(),
        held_out,
    };
    let lists = session.folder("labelled");
    let (train, test) = (&session.parts.train, &session.parts.test);
    let drawn = session.comparison.seeds.iter().map(|&seed| Ok((seed, options.parts(train, seed, lists.as_deref())?)));
    let parts: BTreeMap<u64, Vec<Part>> = drawn.collect::<Result<_>>()?;
    // The parts of all seeds are about as large.
    let pictures = parts.values().next().into_iter().flatten().map(|part| options.pictures(part)).sum::<u64>();
    let mut countdown = Countdown::start(pictures * session.comparison.starts());
    let device = &session.comparison.device;
    let rows = session.comparison.trained(|start, name, seed| {
        let of_part = |part: &Part| semi::evaluate(start, part, test, &options, seed, name, device, &mut countdown);
        parts[&seed].iter().map(of_part).collect()
    })?;
    Ok(session.evaluation("semi", options.protocol(lists.as_deref()), rows))
}
