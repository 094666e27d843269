//! `byol eval`: one subcommand per protocol.

mod ablate;
mod frozen;
mod labels;
mod numbers;
mod plan;
mod session;
mod table;
mod transfer;

use std::rc::Rc;

use byol_data::benchmarks::Metric;
use byol_eval::finetune::Parts;
use byol_eval::{dismiss, help};
use byol_nn::dist::Ranks;
use byol_nn::{Error, Result};

use crate::Ending;
use crate::ranks::by_the_first;
use crate::screen::paragraph;
use plan::{Measurement, measure};
use session::{Common, Session};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(clap::Subcommand)]
enum Protocol {
    /// Weighted k-nearest-neighbour accuracy of the representation
    Knn(frozen::KnnArguments),
    /// Accuracy of a linear classifier on the frozen representation (paper C.1)
    Linear(frozen::LinearArguments),
    /// Accuracy after fine-tuning on all labels, beside the same network from random weights (paper D.3)
    Finetune(labels::FinetuneArguments),
    /// Accuracy after fine-tuning on 1 % and 10 % of the labels, beside the same network from random weights (paper C.1)
    Semi(labels::SemiArguments),
    /// Accuracy of a logistic regression on the frozen representation of another data set (paper D.2)
    Transfer(Box<transfer::Arguments>),
    /// Every protocol above on the same data
    All(Box<AllArguments>),
    /// Train the variants of a table of the paper and print their accuracy beside the paper's
    Ablate(Box<ablate::Arguments>),
}

#[derive(clap::Args)]
struct AllArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    knn: frozen::KnnFlags,
    #[command(flatten)]
    linear: frozen::LinearFlags,
    #[command(flatten)]
    transfer: transfer::TransferFlags,
    #[command(flatten)]
    semi: labels::SemiFlags,
    #[command(flatten)]
    finetune: labels::FinetuneFlags,
    #[command(flatten)]
    choice: numbers::HeldOutFlag,
}

/// Rank 0 measures; the others help with representations, and with `ablate` wait.
pub fn run(arguments: Arguments, ranks: &Ranks) -> Result<Ending> {
    let compute = match &arguments.protocol {
        Protocol::Knn(arguments) => &arguments.common.compute,
        Protocol::Linear(arguments) => &arguments.common.compute,
        Protocol::Finetune(arguments) => &arguments.common.compute,
        Protocol::Semi(arguments) => &arguments.common.compute,
        Protocol::Transfer(arguments) => &arguments.common.compute,
        Protocol::All(arguments) => &arguments.common.compute,
        Protocol::Ablate(_) => return by_the_first(ranks, || measure_by(arguments.protocol, ranks)),
    };
    if !ranks.is_first() {
        help(&compute.open_with(&**ranks)?, &**ranks)?;
        return Ok(Ending::Done);
    }
    match measure_by(arguments.protocol, ranks)? {
        // The others may be in the middle of an errand.
        Ending::Interrupted if !ranks.is_alone() => ranks.abort(130),
        ended => {
            dismiss(&**ranks)?;
            Ok(ended)
        }
    }
}

fn measure_by(protocol: Protocol, ranks: &Ranks) -> Result<Ending> {
    match protocol {
        Protocol::Knn(arguments) => {
            one(&arguments.common, ranks, |session| Ok(frozen::knn(session, &arguments.options)))
        }
        Protocol::Linear(arguments) => one(&arguments.common, ranks, |session| {
            frozen::linear(session, &arguments.options, arguments.choice.held_out, arguments.save.as_deref())
        }),
        Protocol::Finetune(arguments) => one(&arguments.common, ranks, |session| {
            let parts = Parts::of_labelled(&session.parts, Metric::Top1, arguments.choice.held_out)?;
            Ok(labels::finetune(session, &arguments.options, Rc::new(parts)))
        }),
        Protocol::Semi(arguments) => one(&arguments.common, ranks, |session| {
            labels::semi(session, &arguments.options, arguments.choice.held_out)
        }),
        Protocol::Transfer(arguments) => transfer::run(&arguments, ranks),
        Protocol::All(arguments) => all(&arguments, ranks),
        Protocol::Ablate(arguments) => ablate::run(*arguments),
    }
}

fn one(
    common: &Common,
    ranks: &Ranks,
    protocol: impl FnOnce(&mut Session) -> Result<Box<dyn Measurement>>,
) -> Result<Ending> {
    let mut session = Session::open(common, ranks)?;
    let measurement = protocol(&mut session)?;
    measure(&mut session, &[measurement])
}

fn all(arguments: &AllArguments, ranks: &Ranks) -> Result<Ending> {
    let mut session = Session::open(&arguments.common, ranks)?;
    let held_out = arguments.choice.held_out;
    let parts = Rc::new(Parts::of_labelled(&session.parts, Metric::Top1, held_out)?);
    let mut plan = vec![
        frozen::knn(&session, &arguments.knn),
        frozen::linear(&session, &arguments.linear, held_out, None)?,
        transfer::frozen(&session, &arguments.transfer, parts.clone()),
    ];
    match labels::semi(&session, &arguments.semi, held_out) {
        Ok(semi) => plan.push(semi),
        // Too few pictures for one protocol are enough for the others.
        Err(Error::Evaluation(problem)) => paragraph(&format!("left out: {problem}")),
        Err(error) => return Err(error),
    }
    plan.push(labels::finetune(&session, &arguments.finetune, parts));
    measure(&mut session, &plan)
}
