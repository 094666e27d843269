//! The `byol` program: flags → one library call → what the person sees.
//!
//! Results for people and progress go to stderr; `--json` prints exactly one JSON object on stdout.
//! Exit codes: 0 done, 1 finished but a stated bar failed, 2 could not run, 130 interrupted.

mod bench;
mod cost;
mod demo;
mod device;
mod doctor;
mod embed;
mod eval;
mod interrupt;
mod limits;
mod predict;
mod pretrain;
mod preview;
mod recipe;
mod report;
mod show;

use std::process::ExitCode;

use byol_data::DataError;
use clap::{Parser, Subcommand};

/// A training step asks for the same large blocks every time.
#[global_allocator]
static ALLOCATOR: byol_kernels::ReusingAllocator = byol_kernels::ReusingAllocator::new();

/// Pretrain an image encoder without labels (BYOL), see that it learned something, use it.
#[derive(Parser)]
#[command(name = "byol", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw a small data set, pretrain on it, compare with random weights; needs no data
    Demo(demo::Arguments),
    /// Look at the data: what is there, what is broken, how long a run will take
    Doctor(doctor::Arguments),
    /// Write a picture of the views that training would see
    Preview(preview::Arguments),
    /// Pretrain an encoder on a folder, an archive or a file set of pictures
    Pretrain(pretrain::PretrainArguments),
    /// Go on with an interrupted run
    Resume(pretrain::ResumeArguments),
    /// Measure an encoder, beside random weights of the same architecture
    Eval(eval::Arguments),
    /// Write the representation of every picture to a file
    Embed(embed::Arguments),
    /// Write what a saved linear classifier takes every picture for to a file
    Predict(predict::Arguments),
    /// Write one HTML file about one or several runs: curves, results, neighbours and a map of the pictures
    Report(report::Arguments),
    /// Measure how fast this machine loads, trains and embeds
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// How a command ended, when it could run at all.
enum Ending {
    /// Everything asked for is done.
    Done,
    /// It finished, but missed a bar it states itself.
    BarMissed,
    /// Ctrl-C; everything is saved.
    Interrupted,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Preview(arguments) => preview::run(arguments),
        Command::Pretrain(arguments) => pretrain::run(arguments),
        Command::Resume(arguments) => pretrain::resume(&arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Embed(arguments) => embed::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Bench(bench) => bench::run(bench),
    };
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::BarMissed) => ExitCode::from(1),
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(error) => {
            list_bad_images(&error);
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The message names the first few; whoever must repair them needs all.
fn list_bad_images(error: &byol_nn::Error) {
    if let byol_nn::Error::Data(DataError::TooManyBad { bad, .. }) = error {
        for image in bad {
            eprintln!("cannot use {}: {}", image.name, image.reason);
        }
    }
}
