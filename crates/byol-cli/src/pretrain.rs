//! `byol pretrain` and `byol resume`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use byol::config::{Config, SyncBatchNorm};
use byol::fit::Choice;
use byol::pretrain::{GoingOn, JoinedRun, PreparedRun, PretrainRequest, check_ranks};
use byol::recipe::{Recipe, RecipeRequest, Shorter};
use byol::train::{Outcome, Requests, TrainReport, last_checkpoint_step, train_on_ranks};
use byol::{ViewsPreset, WarmStart};
use byol_nn::dist::{Communicator, Ranks, agree, from_first, part_of};
use byol_nn::ops::Device;
use byol_nn::{Error, Result};

use crate::data::tell_notes;
use crate::device::Compute;
use crate::recipe::RecipeArguments;
use crate::screen::{paragraph, row, say, state, talks};
use crate::{Ending, cost, interrupt, show};

#[derive(clap::Args)]
pub struct PretrainArguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Run folder to create [default: the first free runs/NAME-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the settings that the run would have, as TOML on stdout, and what it would cost; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object with the result on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

#[derive(clap::Args)]
pub struct ResumeArguments {
    /// Run folder of an interrupted, killed or finished run
    run: PathBuf,
    /// Passes over the data in all; more than before prolong the run, and its schedule is drawn anew
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// Where the data of the run is now; may be repeated
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Go on though the data has changed: pictures were added, removed or have other labels
    #[arg(long)]
    changed_data: bool,
    /// Threads that decode and augment; changes no result [default: as the run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    loader_threads: Option<u16>,
    /// Print one JSON object with the result on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: PretrainArguments, ranks: &Ranks) -> Result<Ending> {
    let PretrainArguments { recipe, out, dry_run, json, compute } = arguments;
    let device = agree(&**ranks, compute.open_on(&**ranks))?;
    let requests = agree(&**ranks, interrupt::install())?;
    let recipe = RecipeRequest { ranks: ranks.ranks(), ..recipe.into() };
    let request = PretrainRequest { recipe, out, device: compute.device };
    let prepare = || prepare(&request, dry_run, json, &device, requests, ranks);
    train_prepared(prepare, json, &device, requests, ranks)
}

/// A run, or how the command ends without one.
type Prepared = std::result::Result<PreparedRun, Ending>;

/// Rank 0 prepares a run, the others join it, and all train it. What stops them is said by whoever met it.
fn train_prepared(
    prepare: impl FnOnce() -> Result<Prepared>,
    json: bool,
    device: &Device,
    requests: &Requests,
    ranks: &Ranks,
) -> Result<Ending> {
    let mut prepared = None;
    let invitation = from_first(&**ranks, || {
        let made = prepare()?;
        let invitation = made.as_ref().map_or(Ok(Vec::new()), PreparedRun::invitation);
        prepared = Some(made);
        invitation
    })?;
    let prepared = match prepared {
        Some(Ok(prepared)) => prepared,
        Some(Err(ending)) => return Ok(ending),
        None if invitation.is_empty() => return Ok(Ending::Done),
        None => {
            let JoinedRun { config, dataset } = agree(&**ranks, JoinedRun::open(&invitation))?;
            train_on_ranks(None, &config, dataset, device, requests, ranks)?;
            return Ok(Ending::Done);
        }
    };
    let report = agree(&**ranks, Ok(()))
        .and_then(|()| {
            let PreparedRun { folder, config, dataset, .. } = &prepared;
            train_on_ranks(Some(folder), config, dataset.clone(), device, requests, ranks)
        })
        .inspect_err(|error| prepared.clean_up_after(error))
        .inspect_err(|error| say_what_is_saved(&prepared, error))?;
    conclude(&prepared, &report.expect("rank 0 reports"), json)
}

fn prepare(
    request: &PretrainRequest,
    dry_run: bool,
    json: bool,
    device: &Device,
    requests: &Requests,
    ranks: &Ranks,
) -> Result<Prepared> {
    let recipe = request.open(device)?;
    check_ranks(&recipe.config, &**ranks)?;
    if requests.stop.load(Ordering::Relaxed) {
        return Ok(Err(stopped_before_the_run()));
    }
    introduce_recipe(&recipe);
    introduce_ranks(&recipe.config, &**ranks);
    if dry_run {
        return dry_run_of(&recipe, device, json, &**ranks).map(Err);
    }
    if recipe.images_per_second.is_some() || !recipe.is_asked_for {
        announce_length(&recipe, &request.recipe, device)?;
    }
    if requests.stop.load(Ordering::Relaxed) {
        return Ok(Err(stopped_before_the_run()));
    }
    let prepared = request.create(recipe, device)?;
    introduce_run(&prepared);
    Ok(Ok(prepared))
}

pub fn resume(arguments: &ResumeArguments, ranks: &Ranks) -> Result<Ending> {
    let device = agree(&**ranks, arguments.compute.open_on(&**ranks))?;
    let requests = agree(&**ranks, interrupt::install())?;
    train_prepared(|| reopen(arguments, ranks).map(Ok), arguments.json, &device, requests, ranks)
}

fn reopen(arguments: &ResumeArguments, ranks: &Ranks) -> Result<PreparedRun> {
    let going_on = GoingOn {
        epochs: arguments.epochs,
        data: arguments.data.clone(),
        accepts_changed_data: arguments.changed_data,
    };
    let (mut prepared, changes) = PreparedRun::reopen(&arguments.run, &going_on)?;
    check_ranks(&prepared.config, &**ranks)?;
    if let Some(threads) = arguments.loader_threads {
        prepared.config.train.loader_threads = usize::from(threads);
    }
    if talks() {
        row("data", &prepared.dataset.description());
        tell_notes([&*prepared.dataset]);
        introduce(&prepared.config, prepared.dataset.len());
        introduce_ranks(&prepared.config, &**ranks);
        changes.iter().for_each(|change| row("changed", change));
    }
    introduce_run(&prepared);
    Ok(prepared)
}

/// Nothing where one process trains alone.
fn introduce_ranks(config: &Config, ranks: &dyn Communicator) {
    if ranks.is_alone() || !talks() {
        return;
    }
    let (most, threads) = (part_of(config.micro_batch_size(), 0, ranks.ranks()).len(), byol_nn::ops::compute_threads());
    let statistics = match config.train.sync_batch_norm {
        SyncBatchNorm::Whether(true) => "batch statistics over all of them".to_owned(),
        SyncBatchNorm::Whether(false) | SyncBatchNorm::Groups(1) => {
            "batch statistics of each one's own pictures, another method than with one process".to_owned()
        }
        SyncBatchNorm::Groups(size) => format!("batch statistics over groups of {size}"),
    };
    row(
        "ranks",
        &format!(
            "{} processes, {} of them on this machine, each with up to {most} pictures of a pass and {threads} thread(s); {statistics}",
            ranks.ranks(),
            ranks.local_ranks()
        ),
    );
}

/// After Ctrl-C while the machine was timed.
fn stopped_before_the_run() -> Ending {
    state!("stopped before the first step; nothing was written");
    Ending::Interrupted
}

fn introduce_recipe(recipe: &Recipe) {
    if !talks() {
        return;
    }
    row("data", &recipe.dataset.description());
    tell_notes([&recipe.dataset]);
    row("preset", &recipe.preset_sentence());
    if let Some(note) = recipe.warm_start.as_ref().and_then(WarmStart::note) {
        row("weights", note);
    }
    introduce_views(recipe.views);
    for Choice { key, value, reason } in &recipe.choices {
        row("chosen", &format!("{key} {value}: {reason}"));
    }
    for adapted in &recipe.adapted {
        row("adapted", adapted);
    }
    if let Some(limit) = recipe.limit() {
        row("note", &limit);
    }
    introduce(&recipe.config, recipe.dataset.len());
}

/// Nothing where the views are the recipe's own.
pub fn introduce_views(views: ViewsPreset) {
    if views != ViewsPreset::default() {
        row("views", &format!("{views}: {}", views.description()));
    }
}

fn introduce(config: &Config, images: usize) {
    let schedule = config.schedule(images);
    let batch = config.train.batch_size;
    let stem = format!("{:?}", config.model.stem);
    row("encoder", &format!("{} ({} stem), {} px", config.model.arch, stem.to_lowercase(), config.views.size_px));
    row("compute", &format!("{} on {}", config.precision, byol_nn::ops::engine()));
    let (passes, micro) = (config.train.accumulation_steps, config.micro_batch_size());
    row("batch", &format!("{batch} pictures in {passes} pass(es) of {micro}"));
    let (steps, epochs, warmup) = (schedule.total_steps, config.schedule.epochs, schedule.warmup_steps);
    row("steps", &format!("{steps} ({epochs} epochs), {warmup} of them warm-up"));
    let (peak, base) = (schedule.peak_learning_rate, config.schedule.base_learning_rate);
    row("rate", &format!("peak {peak:.5} = base {base} × batch {batch} / 256, {:?}", config.optimizer.kind));
}

fn introduce_run(prepared: &PreparedRun) {
    if talks() {
        row("run folder", &format!("{} (all settings in config.toml)", prepared.folder.path().display()));
        if prepared.folder.replaces_abandoned() {
            row("note", "it takes the place of a run that had ended before its first checkpoint");
        }
    }
}

/// How long it will take; where nobody chose that, a shorter run is offered before the machine is busy for days.
fn announce_length(recipe: &Recipe, request: &RecipeRequest, device: &Device) -> Result<()> {
    if !talks() {
        return Ok(());
    }
    let hours = recipe.hours(device)?;
    row("time", &format!("about {} on this machine, timed just now", cost::duration(hours)));
    if let Some(shorter) = Shorter::than(hours, recipe, device)? {
        row("note", &format!("{} is made for accelerators", recipe.preset));
        cost::shorter(&shorter, &request.data);
    }
    Ok(())
}

fn dry_run_of(recipe: &Recipe, device: &Device, json: bool, ranks: &dyn Communicator) -> Result<Ending> {
    let Recipe { dataset, config, preset, reason, choices, adapted, .. } = recipe;
    let measured = byol::cost::measure(dataset, config, config.train.loader_threads, device)?.by(ranks.ranks());
    if talks() {
        cost::print(&measured);
    }
    if json {
        show::json(&serde_json::json!({
            "preset": preset.name(), "reason": reason, "views": recipe.views.name(), "choices": choices,
            "adapted": adapted, "limit": recipe.limit(),
            "config": config, "cost": measured,
        }));
    } else {
        show::on_stdout(&config.to_toml());
    }
    say!("a dry run: nothing was written. Leave out --dry-run to train");
    Ok(Ending::Done)
}

fn conclude(prepared: &PreparedRun, report: &TrainReport, json: bool) -> Result<Ending> {
    let path = prepared.folder.path();
    if json {
        show::json(&summary(path, report));
    }
    if report.bad_images > 0 {
        state!("{} picture(s) could not be read: {}", report.bad_images, prepared.folder.bad_images().display());
    }
    if report.outcome == Outcome::Interrupted {
        state!(
            "stopped after step {}; everything is saved. Go on with:\n  byol resume {}",
            report.step,
            path.display()
        );
        return Ok(Ending::Interrupted);
    }
    let conclusion = &report.conclusion;
    for finding in &conclusion.findings {
        paragraph(&format!("{}: {}; remedy: {}", finding.watch.title(), finding.found, finding.remedy));
    }
    if report.outcome == Outcome::Halted {
        state!(
            "stopped by watch.action = \"stop\" after step {}; everything is saved. To go on all the same (what was found does not stop \
             it again):\n  byol resume {}",
            report.step,
            path.display()
        );
        return Ok(Ending::BarMissed);
    }
    paragraph(&format!("done after {} steps. {}", report.step, conclusion.verdict.sentence));
    if let Some(advice) = &conclusion.advice {
        paragraph(advice);
    }
    if let Some(best) = &report.best {
        state!(
            "best encoder: step {} ({} {:.1}), {}",
            best.step,
            best.by.title(),
            best.value,
            path.join("best.safetensors").display()
        );
    }
    if conclusion.is_bad() {
        return Ok(Ending::BarMissed);
    }
    say!("See what it learned, if there are labels:");
    let data: String = prepared.folder.info()?.data.iter().map(|data| format!(" {}", data.display())).collect();
    say!("  byol eval knn {}{data}", path.display());
    Ok(Ending::Done)
}

/// After a disk that refused: what of the run is safe.
fn say_what_is_saved(prepared: &PreparedRun, error: &Error) {
    if let Error::Io { .. } = error
        && let Ok(Some(step)) = last_checkpoint_step(&prepared.folder.checkpoints())
    {
        let path = prepared.folder.path().display();
        state!("saved up to step {step}; when the disk is well again, go on with:\n  byol resume {path}");
    }
}

fn summary(path: &Path, report: &TrainReport) -> serde_json::Value {
    serde_json::json!({
        "run": path,
        "finished": report.outcome == Outcome::Finished,
        "steps": report.step,
        "seconds": report.seconds,
        "bad_images": report.bad_images,
        "last": report.last,
        "learning": report.conclusion.verdict.learning,
        "verdict": report.conclusion.verdict.sentence,
        "advice": report.conclusion.advice,
        "findings": report.conclusion.findings,
        "best": report.best,
    })
}
