//! The `byol` program: flags → one library call → what the person sees.
//!
//! Results for people and progress go to stderr; `--json` prints exactly one JSON object on stdout.
//! Exit codes: 0 done, 1 finished but a stated bar failed, 2 could not run, 130 interrupted.

mod bench;
mod bundle;
mod cost;
mod data;
mod demo;
mod device;
mod doctor;
mod embed;
mod eval;
mod examples;
mod export;
mod index;
mod interrupt;
mod limits;
mod log;
mod mistakes;
mod network;
mod predict;
mod pretrain;
mod preview;
mod ranks;
mod recipe;
mod report;
mod screen;
mod shell;
mod show;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::ranks::by_the_first;
use crate::screen::state;
use byol_data::DataError;
use byol_nn::dist::Ranks;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// A training step asks for the same large blocks every time.
#[global_allocator]
static ALLOCATOR: byol_kernels::ReusingAllocator = byol_kernels::ReusingAllocator::new();

/// Pretrain an image encoder without labels (BYOL), see that it learned something, use it.
#[derive(Parser)]
#[command(name = "byol", version, long_version = version::long(), propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// Say nothing on stderr but results and errors: no progress, no explanations
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw a small data set, pretrain on it, compare with random weights; needs no data
    Demo(demo::Arguments),
    /// Look at the data: what is there, what is broken, how long a run will take
    #[command(override_usage = "byol doctor [OPTIONS] <DATA>...")]
    Doctor(doctor::Arguments),
    /// Write a picture of the views that training would see
    #[command(override_usage = "byol preview [OPTIONS] --out <FILE> <DATA>...")]
    Preview(preview::Arguments),
    /// Pretrain an encoder on a folder, an archive or a file set of pictures
    #[command(override_usage = "byol pretrain [OPTIONS] <DATA>...")]
    Pretrain(pretrain::PretrainArguments),
    /// Go on with an interrupted run
    Resume(pretrain::ResumeArguments),
    /// Measure an encoder, beside random weights of the same architecture
    Eval(eval::Arguments),
    /// Write the representation of every picture to a file
    #[command(override_usage = "byol embed [OPTIONS] --out <FILE> <ENCODER> <DATA>...")]
    Embed(embed::Arguments),
    /// Write an encoder as a file of other programs (ONNX, torchvision, timm, transformers), run before it is handed over
    Export(export::Arguments),
    /// Find the pictures among embeddings that are most like other pictures
    Search(index::search::Arguments),
    /// Find pictures that are nearly the same among embeddings, and which to keep
    Duplicates(index::duplicates::Arguments),
    /// Rank embeddings by how far they are from their neighbours
    Outliers(index::outliers::Arguments),
    /// Sort embeddings into clusters; with labels, say how well the two agree
    Clusters(index::clusters::Arguments),
    /// Choose the pictures among embeddings that are best labelled first
    Select(index::select::Arguments),
    /// Find labels that the neighbours of a picture contradict
    LabelErrors(index::label_errors::Arguments),
    /// Write what a saved linear classifier takes every picture for to a file
    #[command(override_usage = "byol predict [OPTIONS] --out <FILE> <ENCODER> <CLASSIFIER> <DATA>...")]
    Predict(predict::Arguments),
    /// Put a run into one file for somebody else: encoder, numbers with their protocols, model card, checksums
    Bundle(bundle::BundleArguments),
    /// Check that a bundle is whole and, with its pictures, that its numbers come out again
    Verify(bundle::VerifyArguments),
    /// Write the numbers of a run as files that a tracker reads; nothing is sent anywhere
    Log(log::Arguments),
    /// Write one HTML file about one or several runs: curves, results, neighbours and a map of the pictures
    Report(report::Arguments),
    /// Measure how fast this machine loads, trains and embeds
    #[command(subcommand)]
    Bench(bench::Bench),
    /// List the graphics cards that `--device` can name, and what each can do
    Devices(device::ListArguments),
    /// Print completions for a shell
    Completions(shell::CompletionArguments),
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man(shell::ManArguments),
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

/// All commands, with examples.
fn command() -> clap::Command {
    examples::added_to(Cli::command())
}

/// What was typed; help, version and mistakes end the program here.
fn parse() -> Cli {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let parsed = command().try_get_matches_from(&arguments).and_then(|mut found| Cli::from_arg_matches_mut(&mut found));
    parsed.unwrap_or_else(|error| {
        let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        mistakes::with_tip(error, &command(), &words).exit()
    })
}

fn main() -> ExitCode {
    let Cli { quiet, command: asked } = parse();
    if quiet {
        screen::be_quiet();
    }
    let session = match ranks::join() {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    match device::failing_as_error(|| carry_out(asked, &session.ranks)) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::BarMissed) => ExitCode::from(1),
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(error) => ranks::end_all_after(&error, &*session.ranks),
    }
}

/// Says what stopped the command.
fn failed(error: &byol_nn::Error) -> ExitCode {
    list_bad_images(error);
    screen::paragraph(&format!("error: {error}"));
    ExitCode::from(2)
}

fn carry_out(command: Command, ranks: &Ranks) -> byol_nn::Result<Ending> {
    match command {
        Command::Pretrain(arguments) => pretrain::run(arguments, ranks),
        Command::Resume(arguments) => pretrain::resume(&arguments, ranks),
        Command::Bench(bench) => bench::run(bench, ranks),
        Command::Doctor(arguments) => doctor::run(arguments, &**ranks),
        Command::Embed(arguments) => embed::run(&arguments, &**ranks),
        Command::Demo(arguments) => by_the_first(ranks, || demo::run(&arguments)),
        Command::Preview(arguments) => by_the_first(ranks, || preview::run(arguments)),
        Command::Eval(arguments) => eval::run(arguments, ranks),
        Command::Export(arguments) => by_the_first(ranks, || export::run(&arguments)),
        Command::Search(arguments) => by_the_first(ranks, || index::search::run(&arguments)),
        Command::Duplicates(arguments) => by_the_first(ranks, || index::duplicates::run(&arguments)),
        Command::Outliers(arguments) => by_the_first(ranks, || index::outliers::run(&arguments)),
        Command::Clusters(arguments) => by_the_first(ranks, || index::clusters::run(&arguments)),
        Command::Select(arguments) => by_the_first(ranks, || index::select::run(&arguments)),
        Command::LabelErrors(arguments) => by_the_first(ranks, || index::label_errors::run(&arguments)),
        Command::Predict(arguments) => by_the_first(ranks, || predict::run(&arguments)),
        Command::Bundle(arguments) => by_the_first(ranks, || bundle::bundle(arguments)),
        Command::Verify(arguments) => by_the_first(ranks, || bundle::verify(arguments)),
        Command::Log(arguments) => by_the_first(ranks, || log::run(&arguments)),
        Command::Report(arguments) => by_the_first(ranks, || report::run(arguments)),
        Command::Devices(arguments) => by_the_first(ranks, || device::list(&arguments)),
        Command::Completions(arguments) => by_the_first(ranks, || shell::completions(self::command(), &arguments)),
        Command::Man(arguments) => by_the_first(ranks, || shell::man(self::command(), &arguments)),
    }
}

/// The message names the first few; whoever must repair them needs all.
fn list_bad_images(error: &byol_nn::Error) {
    let error = if let byol_nn::Error::OnRank { source, .. } = error { source } else { error };
    if let byol_nn::Error::Data(DataError::TooManyBad { bad, .. }) = error {
        for image in bad {
            state!("cannot use {}: {}", image.name, image.reason);
        }
    }
}
