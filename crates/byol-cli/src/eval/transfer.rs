//! `byol eval transfer`.

use byol_data::benchmarks::{Benchmark, Metric};
use byol_eval::comparison::Draws;
use byol_eval::finetune::Parts;
use byol_eval::logistic::LogisticOptions;
use byol_eval::{Evaluation, transfer};
use byol_nn::{Error, Result};

use super::labels::{FinetuneFlags, finetuned};
use super::numbers::{HeldOutFlag, positive, whole_number};
use super::session::{Common, Session};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Read --data in the layout of this benchmark, with its official parts and metric: food101, cifar10, cifar100, birdsnap,
    /// sun397, cars, aircraft, voc2007, dtd, pets, caltech101, caltech101-without-background, places365 or flowers102
    #[arg(long, value_name = "NAME", conflicts_with_all = ["test", "held_out"])]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    pub options: TransferFlags,
    /// Fine-tune all weights, too (paper D.3)
    #[arg(long)]
    finetune: bool,
    #[command(flatten)]
    finetune_options: FinetuneFlags,
    #[command(flatten)]
    choice: HeldOutFlag,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Transfer")]
pub struct TransferFlags {
    /// ℓ2 to choose from: how many, log-spaced from 1e-6 to 1e5
    #[arg(long = "l2-values", value_name = "N", default_value_t = 45, value_parser = whole_number)]
    l2_values: usize,
    /// The only ℓ2, instead of a sweep
    #[arg(long, value_name = "L2", conflicts_with = "l2_values", value_parser = positive::<f64>)]
    l2: Option<f64>,
}

impl TransferFlags {
    fn options(&self) -> LogisticOptions {
        let l2 = match self.l2 {
            Some(l2) => vec![l2],
            None => byol_eval::finetune::log_spaced(1e-6, 1e5, self.l2_values),
        };
        LogisticOptions { l2, ..Default::default() }
    }
}

/// Opens what the arguments say and measures it.
pub fn run(arguments: &Arguments) -> Result<crate::Ending> {
    let mut benchmark_parts = None;
    let mut session = match arguments.benchmark {
        None => Session::open(&arguments.common)?,
        Some(benchmark) => Session::open_with(&arguments.common, |config| {
            let [root] = &arguments.common.data[..] else {
                let (expected, got) =
                    ("one folder with --benchmark".to_owned(), arguments.common.data.len().to_string());
                return Err(Error::Flag { flag: "--data", expected, got });
            };
            let (parts, labelled) = Parts::of_benchmark(benchmark, root, config)?;
            benchmark_parts = Some(parts);
            Ok(labelled)
        })?,
    };
    let parts = match benchmark_parts {
        Some(parts) => parts,
        None => Parts::of_labelled(&session.parts, Metric::Top1, arguments.choice.held_out)?,
    };
    let mut evaluations = vec![frozen(&mut session, &parts, &arguments.options)?];
    if arguments.finetune {
        let options = arguments.finetune_options.options(session.crop_area_min());
        let rows = finetuned(&session, &parts, &options, "fine-tuned")?;
        evaluations.push(session.evaluation("transfer", options.protocol(&parts), rows));
    }
    session.finish(&evaluations)?;
    Ok(crate::Ending::Done)
}

/// Logistic regression on frozen representations.
pub fn frozen(session: &mut Session, parts: &Parts, flags: &TransferFlags) -> Result<Evaluation> {
    let options = flags.options();
    let cut = session.comparison.whole_pictures();
    let frozen = session.comparison.frozen(&parts.frozen(), Draws::Nothing, |_, features, _| {
        Ok(vec![transfer::evaluate(parts, features, &options, "")?])
    })?;
    let evaluation = session.frozen("transfer", transfer::protocol(&options, parts), frozen);
    session.comparison.restore(cut);
    Ok(evaluation)
}
