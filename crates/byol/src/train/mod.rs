//! The training loop, written out.

mod checkpoints;
mod feed;
mod loss_scale;
mod measures;
mod monitor;
mod probe;
mod progress;
mod record;
mod rhythm;
mod saving;
mod stager;
mod state;
mod stopwatch;
mod tensorboard;
mod together;
pub mod watch;
mod weights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use byol_data::views::Views;
use byol_data::{Batch, Dataset, LoaderOptions, PairLoader};
use byol_nn::dist::{Alone, Communicator, GradientSums, Ranks, agree};
use byol_nn::model::NamedGradients;
use byol_nn::ops::{self, catching_failure};
use byol_nn::optim::Schedule;
use byol_nn::{Error, Result};

use crate::config::Config;
use crate::method::{Losses, Part};
use crate::run::{RunFolder, StepMetrics};
pub use checkpoints::{checkpoints, last_checkpoint_step};
use feed::{Feed, Meal};
use measures::Sums;
pub use monitor::{Monitor, OnlineLine, OnlineNumbers};
use probe::Lesson;
pub use probe::Probe;
use record::{Ended, Record};
pub use state::TrainState;
use stopwatch::Stopwatch;
use together::Decision;
pub use watch::check_keep_best;
use watch::{Conclusion, Kept};

/// What may be asked of a training while it runs, from a signal handler or another thread.
#[derive(Debug, Default)]
pub struct Requests {
    /// End after this step; everything is saved.
    pub stop: AtomicBool,
    /// Save after this step and go on.
    pub save: AtomicBool,
}

impl Requests {
    /// None yet.
    pub const fn new() -> Self {
        Self { stop: AtomicBool::new(false), save: AtomicBool::new(false) }
    }

    /// To end after the first step.
    pub fn stopping() -> Self {
        Self { stop: AtomicBool::new(true), ..Self::new() }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// Stopped on request; a checkpoint holds everything.
    Interrupted,
    /// Stopped because of what it found out about itself, as `watch.action = "stop"` wants it; a checkpoint holds everything.
    Halted,
}

/// What [`train`] has to say at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Optimiser steps taken since the run began.
    pub step: u64,
    /// The last logged step of the run.
    pub last: Option<StepMetrics>,
    /// Distinct pictures that could not be read, since the run began.
    pub bad_images: usize,
    /// What the run has come to.
    pub conclusion: Conclusion,
    /// The encoder of the best measurement, with `train.keep_best`.
    pub best: Option<Kept>,
    /// Wall-clock time of this process.
    pub seconds: f64,
}

/// Trains from the newest good checkpoint of `run`, or from the start, until the schedule ends or it is asked to stop. Where the
/// disk is full it waits.
///
/// # Errors
/// Data errors, file errors, a run that another process trains, [`Error::Device`] when a graphics card gives up, [`Error::NonFinite`] when
/// the loss or a weight is NaN or infinite, [`Error::NoRoom`] when the next checkpoint would not fit, and [`Error::DiskFull`] when it is stopped while it
/// waits for room.
pub fn train(
    run: &RunFolder,
    config: &Config,
    dataset: Arc<Dataset>,
    device: &Device,
    requests: &Requests,
) -> Result<TrainReport> {
    let report = train_on_ranks(Some(run), config, dataset, device, requests, &(Arc::new(Alone) as Ranks))?;
    Ok(report.expect("the first rank reports"))
}

/// [`train`] by several processes, which call it alike: one run, the numbers that one process would have come to but for rounding. Rank 0
/// has the run folder, loads and saves, speaks, and reports; the others have neither folder nor report.
///
/// # Errors
/// Those of [`train`]; what stops one rank is [`Error::OnRank`] there and [`Error::Elsewhere`] on all others. Any other error
/// is one that the others do not know of: they must be ended.
pub fn train_on_ranks(
    run: Option<&RunFolder>,
    config: &Config,
    dataset: Arc<Dataset>,
    device: &Device,
    requests: &Requests,
    ranks: &Ranks,
) -> Result<Option<TrainReport>> {
    let work = || steps(run, config, dataset, device, requests, ranks);
    match run {
        Some(run) => catching_failure(work, |words| checkpoints::device_failed(words, config, &run.checkpoints())),
        None => work(),
    }
}

fn steps(
    run: Option<&RunFolder>,
    config: &Config,
    dataset: Arc<Dataset>,
    device: &Device,
    requests: &Requests,
    ranks: &Ranks,
) -> Result<Option<TrainReport>> {
    let started = Instant::now();
    let schedule = config.schedule(dataset.len());
    let classes = dataset.classes().len();
    together::meet(&**ranks, dataset.fingerprint(), dataset.len())?;
    let opened = match run {
        Some(run) => Record::start(run, config, &dataset, device, &requests.stop, &**ranks)
            .map(|(state, record)| (state, Some(record))),
        None => Ok((TrainState::new(config, classes, device), None)),
    };
    let (mut state, mut record) = agree(&**ranks, opened)?;
    together::shared(&**ranks, &mut state, config, classes, device)?;
    let statistics = together::statistics_ranks(ranks, config.train.sync_batch_norm)?;
    let steps_done = Arc::new(AtomicU64::new(state.step));
    together::watch_over(&**ranks, config, run, steps_done.clone());

    let wish = Decision {
        measure: record.as_ref().is_some_and(|record| record.measurement_is_due(state.step)),
        ..Decision::default()
    };
    let mut decision = wish.agreed(&**ranks)?;
    let monitor = match state.step < schedule.total_steps || decision.measure {
        true => Monitor::new(config, &dataset),
        false => None,
    };
    let batches =
        (schedule.total_steps - state.step.min(schedule.total_steps)) * config.train.accumulation_steps as u64;
    let loader = start_loader(config, &dataset, &schedule, state.step, &**ranks)?;
    let mut feed = Feed::start(loader, batches, config, device);
    let mut stopwatch = Stopwatch::start(state.step);

    loop {
        let is_done = state.step >= schedule.total_steps;
        if let Some(monitor) = monitor.as_ref().filter(|_| decision.measure) {
            if let Some(record) = &record {
                record.measuring();
            }
            let line = monitor
                .measure(&state, config, device, &**ranks)
                .map_err(|error| rescued(&mut record, &state, error))?;
            stopwatch.skip(line.numbers.seconds);
            let mut halt = false;
            if let Some(record) = &mut record {
                record.measured(&line, &state)?;
                halt = record.stops();
            }
            decision = Decision { halt, ..Decision::default() }.agreed(&**ranks)?;
        }
        if is_done || decision.halt {
            break;
        }
        let learning_rate = schedule.learning_rate(state.step);
        let tau = schedule.target_ema(state.step);

        // Gradients of the micro-batches are averaged; the views pass one after the other.
        let mut gradients = NamedGradients::new();
        let mut measured = Sums::default();
        let mut lesson = Lesson::default();
        let mut passed = None;
        let sums = Arc::new(GradientSums::new(ranks.clone()));
        for micro_batch in 1..=config.train.accumulation_steps {
            let taken = stopwatch.waiting(|| feed.take()).map_err(Error::from);
            let Meal { mut batch, views } =
                agree(&**ranks, taken).map_err(|error| rescued(&mut record, &state, error))?;
            note_bad_images(&mut batch, &mut record, &dataset, &**ranks)
                .map_err(|error| rescued(&mut record, &state, error))?;
            let part = Part {
                ranks: ranks.clone(),
                statistics: statistics.clone(),
                share: batch.images.len() as f32 / config.micro_batch_size() as f32,
                sums: (!ranks.is_alone() && micro_batch == config.train.accumulation_steps).then(|| sums.clone()),
            };
            let losses = backward(&mut state, config, views, &part, &mut gradients)?;
            measured.add(&losses, config.train.accumulation_steps, &part);
            if let (Some(probe), Some(monitor)) = (&state.probe, &monitor) {
                probe.study(losses.representation.clone(), &monitor.labels(&batch), &mut lesson);
            }
            feed.recycle(batch);
            passed = Some(losses);
            feed.prepare();
        }
        let sums = Arc::into_inner(sums).expect("the passes of the step have ended");
        let gradients = sums.finish(gradients)?;
        let asked = Instant::now();
        let measured = measured.read(&gradients, config.model.projection_size, &**ranks)?;
        // A device that answers at once was idle: the pictures came too late.
        let waited = feed.waited();
        if !ops::is_processor(device) && asked.elapsed() < IDLE {
            stopwatch.waited(waited);
        }
        let is_taken = match &mut state.loss_scale {
            Some(scale) if measured.loss.is_finite() => scale.takes(measured.grad_norm.is_finite()),
            _ => true,
        };
        if is_taken && !(measured.loss.is_finite() && measured.grad_norm.is_finite()) {
            let what = passed.and_then(|losses| weights::first_non_finite(&state.byol, &losses, &gradients));
            let what = what.unwrap_or_else(|| "the loss".to_owned());
            let ended = record.as_mut().map(|record| record.not_finite(&what, state.step)).transpose()?;
            agree(&**ranks, ended.map_or(Ok(()), Err))?;
            return Ok(None);
        }

        let probe_rate = learning_rate * config.eval.probe_rate_factor;
        lesson.sum(ranks)?;
        let probe = state.probe.as_mut().and_then(|probe| probe.learn(lesson, probe_rate));
        let is_last = state.step + 1 == schedule.total_steps;
        let is_logged = is_taken && (is_last || state.step.is_multiple_of(config.train.log_every_steps));
        let metrics = is_logged.then(|| StepMetrics {
            step: state.step,
            epoch: (state.step * config.train.batch_size as u64) as f64 / dataset.len() as f64,
            loss: measured.loss,
            learning_rate,
            target_ema: tau,
            images_per_second: stopwatch.steps_per_second(state.step + 1) * config.train.batch_size as f64,
            data_wait: stopwatch.waiting_share(),
            projection_std: measured.projection_std,
            positive_cosine: measured.positive_cosine,
            grad_norm: measured.grad_norm,
            probe_loss: probe.map(|probe| probe.loss),
            probe_top1: probe.map(|probe| probe.top1),
            loss_scale: state.loss_scale.map(|_| state.byol.loss_scale),
            skipped_steps: state.loss_scale.map(|scale| scale.skipped_steps()),
        });

        if is_taken {
            state.optimizer.step(&mut state.byol.online, gradients, learning_rate);
            state.byol.update_target(tau);
        } else if let Some(record) = &record {
            record.overflowed(&state);
        }
        state.step += 1;
        steps_done.store(state.step, Ordering::Relaxed);

        let mut wish = Decision { stop: requests.stop.load(Ordering::Relaxed), ..Decision::default() };
        wish.save = requests.save.swap(false, Ordering::Relaxed);
        if let Some(record) = &mut record {
            record.advance(state.step);
            if let Some(metrics) = &metrics {
                record.logged(metrics)?;
            }
            wish.halt = record.stops();
            wish.checkpoint = record.is_save_due(state.step);
            wish.measure = record.measurement_is_due(state.step);
        }
        if metrics.is_some() {
            stopwatch = Stopwatch::start(state.step);
        }
        decision = wish.agreed(&**ranks)?;
        let stopping = decision.stop || decision.halt;
        if stopping || is_last || decision.save || decision.checkpoint {
            together::check_same_weights(&**ranks, &state)?;
            if let Some(record) = &mut record {
                record.save(&state)?;
            }
        }
        if let Some(record) = &mut record {
            if decision.save && !stopping {
                record.say(&format!("saved after step {} as asked; training goes on", state.step));
            }
            stopwatch.skip(record.waited_secs());
        }
        if stopping && !is_last {
            break;
        }
    }
    let Some(record) = &mut record else { return Ok(None) };
    let Ended { last, bad_images, conclusion, best } = record.end(&state)?;
    let outcome = match (state.step >= schedule.total_steps, record.stops()) {
        (true, _) => Outcome::Finished,
        (false, true) => Outcome::Halted,
        (false, false) => Outcome::Interrupted,
    };
    let seconds = started.elapsed().as_secs_f64();
    Ok(Some(TrainReport { outcome, step: state.step, last, bad_images, conclusion, best, seconds }))
}

/// An answer as fast as this means that the device had nothing left to do.
const IDLE: Duration = Duration::from_millis(1);

/// `error`, when what can be saved is saved.
fn rescued(record: &mut Option<Record>, state: &TrainState, error: Error) -> Error {
    match record {
        Some(record) => record.rescue(state, error),
        None => error,
    }
}

/// Puts the bad pictures that any rank has met with a batch on the list of the run.
fn note_bad_images(
    batch: &mut Batch,
    record: &mut Option<Record>,
    dataset: &Dataset,
    ranks: &dyn Communicator,
) -> Result<()> {
    let bad = together::all_bad_images(ranks, std::mem::take(&mut batch.bad))?;
    if bad.is_empty() {
        return Ok(());
    }
    agree(ranks, record.as_mut().map_or(Ok(()), |record| record.add_bad_images(&bad, dataset, ranks)))
}

/// Loss and gradients of one micro-batch; the gradients are added to `sum`, divided by the number of micro-batches.
fn backward(
    state: &mut TrainState,
    config: &Config,
    views: [Tensor<4>; 2],
    part: &Part,
    sum: &mut NamedGradients,
) -> Result<Losses> {
    let modes = state.next_passes(config.model.batch_norm_decay);
    state.byol.loss_scale = state.loss_scale.map_or(1.0, |scale| scale.factor());
    let scale = 1.0 / config.train.accumulation_steps as f32;
    state.byol.add_gradients(views, modes, part, scale, sum)
}

fn start_loader(
    config: &Config,
    dataset: &Arc<Dataset>,
    schedule: &Schedule,
    step: u64,
    ranks: &dyn Communicator,
) -> Result<PairLoader> {
    let options = LoaderOptions {
        seed: config.seed,
        batch_size: config.micro_batch_size(),
        first_sample: step * config.train.batch_size as u64,
        total_samples: schedule.total_steps * config.train.batch_size as u64,
        rank: ranks.rank(),
        ranks: ranks.ranks(),
        threads: together::loader_threads(config, ranks),
        prefetch_batches: config.train.prefetch_batches,
        max_bad_fraction: config.data.max_bad_fraction,
    };
    let views = Views::new(config.views.clone()).map_err(Error::from)?;
    Ok(PairLoader::start(dataset.clone(), views, options))
}
