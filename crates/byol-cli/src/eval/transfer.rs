//! `byol eval transfer`.

use std::rc::Rc;

use byol_data::benchmarks::{Benchmark, Metric};
use byol_eval::comparison::{Draws, Origin, ToDo};
use byol_eval::finetune::Parts;
use byol_eval::logistic::LogisticOptions;
use byol_eval::pace::{self, Pace};
use byol_eval::{Countdown, Evaluation, transfer};
use byol_nn::dist::Ranks;
use byol_nn::{Error, Result};

use super::labels::{FinetuneFlags, finetuned};
use super::numbers::{HeldOutFlag, positive, whole_number};
use super::plan::{Measurement, measure};
use super::session::{Common, Grids, Session, grid_in_words};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Read DATA in the layout of this benchmark, with its official parts and metric: food101, cifar10, cifar100, birdsnap,
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
    /// ℓ2 to choose from: how many, log-spaced from 1e-6 to 1e5 [default: 12; with --paper 45]
    #[arg(long = "l2-values", value_name = "N", value_parser = whole_number)]
    l2_values: Option<usize>,
    /// The only ℓ2, instead of a sweep
    #[arg(long, value_name = "L2", conflicts_with = "l2_values", value_parser = positive::<f64>)]
    l2: Option<f64>,
}

impl TransferFlags {
    fn options(&self, grids: Grids) -> LogisticOptions {
        let values = self.l2_values.unwrap_or(match grids {
            Grids::Narrow => 12,
            Grids::Paper => 45,
        });
        let l2 = match self.l2 {
            Some(l2) => vec![l2],
            None => byol_eval::finetune::log_spaced(1e-6, 1e5, values),
        };
        LogisticOptions { l2, ..Default::default() }
    }
}

/// Opens what the arguments say and measures it.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<crate::Ending> {
    let mut benchmark_parts = None;
    let mut session = match arguments.benchmark {
        None => Session::open(&arguments.common, ranks)?,
        Some(benchmark) => Session::open_with(&arguments.common, ranks, |config| {
            let roots = arguments.common.data.roots();
            let [root] = &roots[..] else {
                let (expected, got) = ("one folder with --benchmark".to_owned(), roots.len().to_string());
                return Err(Error::Flag { flag: "DATA", expected, got });
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
    let parts = Rc::new(parts);
    let mut plan = vec![frozen(&session, &arguments.options, parts.clone())];
    if arguments.finetune {
        plan.push(finetuned(&session, &arguments.finetune_options, parts, "transfer", "fine-tuned"));
    }
    measure(&mut session, &plan)
}

/// Logistic regression on frozen representations.
struct Transfer {
    options: LogisticOptions,
    protocol: String,
    parts: Rc<Parts>,
}

/// Logistic regression on frozen representations.
pub fn frozen(session: &Session, flags: &TransferFlags, parts: Rc<Parts>) -> Box<dyn Measurement> {
    let options = flags.options(session.grids);
    let is_given = flags.l2.is_some() || flags.l2_values.is_some();
    let grid = grid_in_words(&format!("{} values of ℓ2", options.l2.len()), is_given, session.grids);
    let protocol = transfer::protocol(&options, &parts) + &grid;
    Box::new(Transfer { options, protocol, parts })
}

impl Transfer {
    /// What fixes an outcome.
    fn terms(&self) -> String {
        let Parts { metric, held_out, truth, .. } = &*self.parts;
        format!("transfer {:?} {metric:?} {held_out:?} {truth:?}", self.options)
    }
}

impl Measurement for Transfer {
    fn name(&self) -> String {
        "transfer".to_owned()
    }

    fn to_do(&self, session: &mut Session) -> ToDo {
        let cut = session.comparison.whole_pictures();
        let to_do = session.comparison.frozen_to_do(&self.parts.frozen(), Draws::Nothing, &self.terms());
        session.comparison.restore(cut);
        to_do
    }

    fn outcome_secs(&self, session: &Session, _: &Pace) -> Result<f64> {
        let size = session.comparison.encoder.info.representation_size;
        let classes = self.parts.truth.classes(&self.parts.test).len();
        pace::logistic_secs(&self.options, self.parts.all.len(), size, classes)
    }

    fn trains(&self) -> bool {
        false
    }

    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)> {
        let Self { options, parts, .. } = self;
        let terms = self.terms();
        let stop = session.comparison.stop;
        let cut = session.comparison.whole_pictures();
        let frozen = session.comparison.frozen(&parts.frozen(), Draws::Nothing, &terms, |_, features, _| {
            let mut countdown = Countdown::start(options.l2.len() as u64).stopped_by(stop);
            countdown.name("transfer, values of ℓ2".to_owned());
            Ok(vec![transfer::evaluate_watched(parts, features, options, "", &mut countdown)?])
        });
        let evaluation = frozen.map(|frozen| {
            let origin = frozen.origin;
            (session.frozen("transfer", self.protocol.clone(), frozen), origin)
        });
        session.comparison.restore(cut);
        evaluation
    }
}
