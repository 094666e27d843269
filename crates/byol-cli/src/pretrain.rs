//! `byol pretrain` and `byol resume`.

use std::path::{Path, PathBuf};

use byol::pretrain::{PreparedRun, PretrainRequest};
use byol::run::StepMetrics;
use byol::train::{COLLAPSE_SHARE, Outcome, TrainReport, train};
use byol_nn::Result;

use crate::device::Compute;
use crate::recipe::RecipeArguments;
use crate::{Ending, interrupt, show};

#[derive(clap::Args)]
pub struct PretrainArguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Run folder to create [default: the first free runs/NAME-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object with the result on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

#[derive(clap::Args)]
pub struct ResumeArguments {
    /// Run folder of an interrupted or killed run
    run: PathBuf,
    /// Threads that decode and augment; changes no result [default: as the run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    loader_threads: Option<u16>,
    /// Print one JSON object with the result on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: PretrainArguments) -> Result<Ending> {
    let device = arguments.compute.open()?;
    let request =
        PretrainRequest { recipe: arguments.recipe.into(), out: arguments.out, device: arguments.compute.device };
    let stop = interrupt::install()?;
    let prepared = request.prepare()?;
    introduce(&prepared);
    let report = train(&prepared.folder, &prepared.config, prepared.dataset.clone(), &device, stop)
        .inspect_err(|error| prepared.clean_up_after(error))?;
    conclude(&prepared, &report, arguments.json)
}

pub fn resume(arguments: &ResumeArguments) -> Result<Ending> {
    let device = arguments.compute.open()?;
    let stop = interrupt::install()?;
    let mut prepared = PreparedRun::reopen(&arguments.run)?;
    if let Some(threads) = arguments.loader_threads {
        prepared.config.train.loader_threads = usize::from(threads);
    }
    introduce(&prepared);
    let report = train(&prepared.folder, &prepared.config, prepared.dataset.clone(), &device, stop)?;
    conclude(&prepared, &report, arguments.json)
}

fn introduce(prepared: &PreparedRun) {
    let config = &prepared.config;
    let schedule = config.schedule(prepared.dataset.len());
    let batch = config.train.batch_size;
    eprintln!("data        {}", prepared.dataset.description());
    if let Some(preset) = &prepared.preset {
        eprintln!("preset      {preset}");
    }
    eprintln!("encoder     {} ({:?} stem), {} px", config.model.arch, config.model.stem, config.views.size_px);
    eprintln!("compute     {} on {}", config.precision, byol_nn::ops::isa());
    eprintln!(
        "batch       {batch} pictures in {} pass(es) of {}",
        config.train.accumulation_steps,
        config.micro_batch_size()
    );
    eprintln!(
        "steps       {} ({} epochs), {} of them warm-up",
        schedule.total_steps, config.schedule.epochs, schedule.warmup_steps
    );
    eprintln!(
        "rate        peak {:.5} = base {} × batch {batch} / 256, {:?}",
        schedule.peak_learning_rate, config.schedule.base_learning_rate, config.optimizer.kind
    );
    eprintln!("run folder  {} (all settings in config.toml)", prepared.folder.path().display());
}

fn conclude(prepared: &PreparedRun, report: &TrainReport, json: bool) -> Result<Ending> {
    let path = prepared.folder.path();
    if json {
        show::json(&summary(path, report));
    }
    if report.bad_images > 0 {
        eprintln!("{} picture(s) could not be read: {}", report.bad_images, prepared.folder.bad_images().display());
    }
    if report.outcome == Outcome::Interrupted {
        eprintln!(
            "stopped after step {}; everything is saved. Go on with:\n  byol resume {}",
            report.step,
            path.display()
        );
        return Ok(Ending::Interrupted);
    }
    let healthy = 1.0 / (prepared.config.model.projection_size as f32).sqrt();
    if let Some(last) = &report.last
        && last.projection_std < COLLAPSE_SHARE * healthy
    {
        warn_of_collapse(last, healthy);
        return Ok(Ending::BarMissed);
    }
    eprintln!("done after {} steps. See what it learned, if there are labels:", report.step);
    let data: String = prepared.folder.info()?.data.iter().map(|data| format!(" --data {}", data.display())).collect();
    eprintln!("  byol eval knn {}{data}", path.display());
    Ok(Ending::Done)
}

fn warn_of_collapse(last: &StepMetrics, healthy: f32) {
    eprintln!(
        "the representation has collapsed: projection_std is {:.5}, healthy is about {healthy:.4}; the encoder is of little use.",
        last.projection_std
    );
    eprintln!("Lower schedule.base_learning_rate first; keep the predictor, batch norm and the moving-average target.");
}

fn summary(path: &Path, report: &TrainReport) -> serde_json::Value {
    serde_json::json!({
        "run": path,
        "finished": report.outcome == Outcome::Finished,
        "steps": report.step,
        "seconds": report.seconds,
        "bad_images": report.bad_images,
        "last": report.last,
    })
}
