//! The training loop, written out.

mod checkpoints;
mod feed;
mod monitor;
mod probe;
mod progress;
mod rhythm;
mod saving;
mod state;
mod stopwatch;
mod tensorboard;
pub mod watch;
mod weights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use byol_data::views::Views;
use byol_data::{DataError, Dataset, LoaderOptions, PairLoader};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::model::NamedGradients;
use byol_nn::ops;
use byol_nn::optim::Schedule;
use byol_nn::{Error, Result};
use serde::Serialize;

use crate::config::Config;
use crate::method::{Losses, positive_cosine, projection_std};
use crate::run::{
    BadImageLog, MetricsLog, RunFolder, Session, SessionLine, StepMetrics, WarmStartRecord, last_online, read_metrics,
};
pub use checkpoints::{checkpoints, last_checkpoint_step};
use feed::{Feed, Meal};
pub use monitor::{Monitor, OnlineLine, OnlineNumbers};
use probe::Lesson;
pub use probe::Probe;
use progress::Progress;
use rhythm::Timetable;
use saving::Saving;
pub use state::TrainState;
use stopwatch::Stopwatch;
use tensorboard::EventFile;
pub use watch::check_keep_best;
use watch::{BestEncoder, Conclusion, Facts, Finding, Kept, Series, Watch};

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
/// Data errors, file errors, a run that another process trains, [`Error::NonFinite`] when the loss or a weight is NaN
/// or infinite, [`Error::NoRoom`] when the next checkpoint would not fit, and [`Error::DiskFull`] when it is stopped while it
/// waits for room.
pub fn train(
    run: &RunFolder,
    config: &Config,
    dataset: Arc<Dataset>,
    device: &Device,
    requests: &Requests,
) -> Result<TrainReport> {
    let started = Instant::now();
    let lock = run.lock()?;
    let schedule = config.schedule(dataset.len());
    let classes = dataset.classes().len();
    let info = run.info()?;
    let encoder_of = |state: &TrainState| encoder(config, &schedule, info.warm_start.as_ref(), state);
    let found = checkpoints::load_newest(&run.checkpoints(), config, classes, device)?;
    let is_resumed = found.is_some();
    let mut state = found.unwrap_or_else(|| TrainState::new(config, classes, device));
    let mut progress = Progress::start(state.step, schedule.total_steps);
    if lock.is_none() {
        progress.say(
            "warning: this file system has no locks, so nothing keeps a second `byol resume` from training this run at the same time",
        );
    }
    let mut saving = Saving::start(run, config, &state, &requests.stop);
    let mut best = BestEncoder::start(config, run.path(), &Series::read(&run.metrics())?);
    if state.step < schedule.total_steps {
        saving.check_room(&state, config, &progress).inspect_err(|_| progress.finish())?;
    }
    if is_resumed {
        // A process that died between checkpoint and encoder left an old encoder behind.
        encoder_of(&state).save(run.path())?;
    }
    let mut log = MetricsLog::continue_at(&run.metrics(), state.step)?;
    // A process that was stopped left the measurement of its last step to the next one.
    let mut measured_at = last_online(&run.metrics())?;
    let is_unmeasured = measured_at.is_some_and(|step| step < state.step);
    let (mut events, mut monitor) = (None, None);
    if state.step < schedule.total_steps || is_unmeasured {
        log.append(&SessionLine { session: session(config, state.step) })?;
        events = config.train.tensorboard.then(|| EventFile::start(&run.tensorboard(), state.step)).transpose()?;
        monitor = Monitor::new(config, &dataset);
    }
    let mut watch = Watch::start(Facts::of_run(config, &info), &run.metrics())?;
    let newest = watch.series().online.last().cloned();
    if let (Some(best), Some(measured)) = (&mut best, newest.as_ref().filter(|measured| measured.step == state.step)) {
        // A process that died between the line and the file left this to the next one.
        best.consider(measured, || encoder_of(&state))?;
    }
    let mut timetable = monitor.as_ref().map(|monitor| {
        let last_secs = newest.and_then(|measured| measured.seconds);
        let total = schedule.total_steps;
        Timetable::start(config.eval.every_epochs, monitor.epochs_per_step(), total, state.step, last_secs)
    });
    let mut bad_images = BadImageLog::open(&run.bad_images())?;
    let batches =
        (schedule.total_steps - state.step.min(schedule.total_steps)) * config.train.accumulation_steps as u64;
    let mut feed = Feed::start(start_loader(config, &dataset, &schedule, state.step)?, batches, config, device);
    let mut stopwatch = Stopwatch::start(state.step);
    let mut last = read_metrics(&run.metrics())?.pop();
    let first_step = state.step;
    // Steps already taken are not lost because the data went away.
    let rescue = |saving: &mut Saving, progress: &Progress, state: &TrainState, error| match state.step > first_step {
        true => {
            saving.save(state.step, progress, || save(run, config, state, &encoder_of(state))).err().unwrap_or(error)
        }
        false => error,
    };

    loop {
        let is_done = state.step >= schedule.total_steps;
        if let (Some(monitor), Some(timetable)) = (&monitor, &mut timetable)
            && measured_at != Some(state.step)
            && (is_done || timetable.is_due(state.step))
        {
            progress.measuring();
            let line = monitor
                .measure(&state, config, device)
                .map_err(|error| rescue(&mut saving, &progress, &state, error))?;
            saving.log("metrics.jsonl", &progress, || log.append(&line))?;
            saving.log("tensorboard", &progress, || append_events(&mut events, "online", line.step, &line.numbers))?;
            progress.show_online(&line);
            stopwatch.skip(line.numbers.seconds);
            timetable.measured(line.numbers.seconds);
            measured_at = Some(line.step);
            if let Some(best) = &mut best {
                let measured = (&line).into();
                saving.log("best.safetensors", &progress, || best.consider(&measured, || encoder_of(&state)))?;
            }
            announce(watch.measured(&line), &mut log, &mut saving, &progress)?;
        }
        if is_done || watch.stops() {
            break;
        }
        let learning_rate = schedule.learning_rate(state.step);
        let tau = schedule.target_ema(state.step);

        // Gradients of the micro-batches are averaged; the views pass one after the other.
        let mut gradients = NamedGradients::new();
        let mut measured = Sums::default();
        let mut lesson = Lesson::default();
        let mut passed = None;
        for _ in 0..config.train.accumulation_steps {
            let Meal { batch, views } = stopwatch
                .waiting(|| next_batch(&mut feed, &mut bad_images))
                .map_err(|error| rescue(&mut saving, &progress, &state, error))?;
            saving.log("bad_images.jsonl", &progress, || bad_images.append(&batch.bad))?;
            let losses = backward(&mut state, config, views, &mut gradients);
            measured.add(&losses, config.train.accumulation_steps);
            if let (Some(probe), Some(monitor)) = (&state.probe, &monitor) {
                probe.study(losses.representation.clone(), &monitor.labels(&batch), &mut lesson);
            }
            feed.recycle(batch);
            passed = Some(losses);
            feed.prepare();
        }
        let asked = Instant::now();
        let measured = measured
            .read(&gradients)
            .map_err(|error| checkpoints::device_failed(&error, config, &run.checkpoints()))?;
        // A device that answers at once was idle: the pictures came too late.
        let waited = feed.waited();
        if !ops::is_processor(device) && asked.elapsed() < IDLE {
            stopwatch.waited(waited);
        }
        if !(measured.loss.is_finite() && measured.grad_norm.is_finite()) {
            let what = passed.and_then(|losses| weights::first_non_finite(&state.byol, &losses, &gradients));
            let what = what.unwrap_or_else(|| "the loss".to_owned());
            let good = checkpoints(&run.checkpoints())?.pop();
            let finding = watch.not_finite(&what, state.step, good.as_deref());
            announce(vec![finding], &mut log, &mut saving, &progress)?;
            progress.finish();
            return Err(checkpoints::non_finite(&what, state.step, &run.checkpoints()));
        }

        let probe_rate = learning_rate * config.eval.probe_rate_factor;
        let probe = state.probe.as_mut().and_then(|probe| probe.learn(lesson, probe_rate));
        let is_last = state.step + 1 == schedule.total_steps;
        let metrics = (is_last || state.step.is_multiple_of(config.train.log_every_steps)).then(|| StepMetrics {
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
        });

        state.optimizer.step(&mut state.byol.online, gradients, learning_rate);
        state.byol.update_target(tau);
        state.step += 1;
        progress.advance(state.step);

        if let Some(metrics) = metrics {
            saving.log("metrics.jsonl", &progress, || log.append(&metrics))?;
            saving.log("tensorboard", &progress, || append_events(&mut events, "train", metrics.step, &metrics))?;
            progress.show(&metrics);
            announce(watch.logged(&metrics), &mut log, &mut saving, &progress)?;
            stopwatch = Stopwatch::start(state.step);
            last = Some(metrics);
        }
        let stopping = requests.stop.load(Ordering::Relaxed) || watch.stops();
        let asked_to_save = requests.save.swap(false, Ordering::Relaxed);
        if stopping || is_last || asked_to_save || saving.is_due(state.step) {
            saving.save(state.step, &progress, || save(run, config, &state, &encoder_of(&state)))?;
        }
        if asked_to_save && !stopping {
            progress.say(&format!("saved after step {} as asked; training goes on", state.step));
        }
        let waited = saving.waited();
        stopwatch.skip(waited.as_secs_f64());
        progress.skip(waited);
        if stopping && !is_last {
            break;
        }
    }
    progress.finish();
    let outcome = match (state.step >= schedule.total_steps, watch.stops()) {
        (true, _) => Outcome::Finished,
        (false, true) => Outcome::Halted,
        (false, false) => Outcome::Interrupted,
    };
    if outcome == Outcome::Halted && checkpoints_end_before(run, state.step)? {
        // Stopped by a measurement, between two checkpoints.
        saving.save(state.step, &progress, || save(run, config, &state, &encoder_of(&state)))?;
    }
    Ok(TrainReport {
        outcome,
        step: state.step,
        last,
        bad_images: bad_images.len(),
        conclusion: watch.conclude(),
        best: best.and_then(|best| best.kept()),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// An answer as fast as this means that the device had nothing left to do.
const IDLE: Duration = Duration::from_millis(1);

fn session(config: &Config, first_step: u64) -> Session {
    Session {
        first_step,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isa: ops::engine(),
        threads: rayon::current_num_threads(),
        precision: config.precision,
    }
}

/// Says findings, once each, here and in the log.
fn announce(findings: Vec<Finding>, log: &mut MetricsLog, saving: &mut Saving, progress: &Progress) -> Result<()> {
    findings.into_iter().try_for_each(|finding| {
        progress.say(&finding.in_columns(progress.columns()));
        saving.log("metrics.jsonl", progress, || log.append(&finding))
    })
}

/// Whether the newest checkpoint is older than `step`.
fn checkpoints_end_before(run: &RunFolder, step: u64) -> Result<bool> {
    Ok(last_checkpoint_step(&run.checkpoints())?.is_none_or(|newest| newest < step))
}

fn append_events(events: &mut Option<EventFile>, group: &str, step: u64, numbers: &impl Serialize) -> Result<()> {
    events.as_mut().map_or(Ok(()), |events| events.append(group, step, numbers))
}

/// Loss and gradients of one micro-batch; the gradients are added to `sum`, divided by the number of micro-batches.
fn backward(state: &mut TrainState, config: &Config, views: [Tensor<4>; 2], sum: &mut NamedGradients) -> Losses {
    let modes = state.next_passes(config.model.batch_norm_decay);
    let scale = 1.0 / config.train.accumulation_steps as f32;
    state.byol.add_gradients(views, modes, scale, sum)
}

fn start_loader(config: &Config, dataset: &Arc<Dataset>, schedule: &Schedule, step: u64) -> Result<PairLoader> {
    let options = LoaderOptions {
        seed: config.seed,
        batch_size: config.micro_batch_size(),
        first_sample: step * config.train.batch_size as u64,
        total_samples: schedule.total_steps * config.train.batch_size as u64,
        rank: 0,
        ranks: 1,
        threads: config.train.loader_threads,
        prefetch_batches: config.train.prefetch_batches,
        max_bad_fraction: config.data.max_bad_fraction,
    };
    let views = Views::new(config.views.clone()).map_err(Error::from)?;
    Ok(PairLoader::start(dataset.clone(), views, options))
}

/// The next batch. The unreadable pictures that end a run come on the list here, those of a batch with it.
fn next_batch(feed: &mut Feed, bad_images: &mut BadImageLog) -> Result<Meal> {
    let meal = feed.take();
    if let Err(DataError::TooManyBad { bad, .. }) = &meal {
        bad_images.append(bad)?;
    }
    meal.map_err(Error::from)
}

fn save(run: &RunFolder, config: &Config, state: &TrainState, encoder: &Encoder) -> Result<()> {
    run.flush_logs()?;
    state.save(&run.checkpoints(), config)?;
    encoder.save(run.path())
}

/// The online encoder as it is handed over.
fn encoder(config: &Config, schedule: &Schedule, start: Option<&WarmStartRecord>, state: &TrainState) -> Encoder {
    let start = start.map_or(String::new(), |start| format!(", from {} ({})", start.from, start.training));
    let training = format!(
        "BYOL, step {} of {} ({} epochs), batch {}, seed {}{start}",
        state.step, schedule.total_steps, config.schedule.epochs, config.train.batch_size, config.seed
    );
    let info = EncoderInfo::new(
        config.model.resnet(),
        config.preprocessing(),
        config.precision,
        training,
        state.step,
        state.passes,
    )
    .with_value_range(config.data.value_range);
    Encoder { network: state.byol.online.encoder.valid(), info }
}

/// Means over the micro-batches of a step, where they are computed.
#[derive(Default)]
struct Sums {
    /// Loss, spread of the projections and cosine of the two views, `[3]`.
    means: Option<Tensor<1>>,
}

/// What a step measured.
struct Measured {
    loss: f32,
    projection_std: f32,
    positive_cosine: f32,
    grad_norm: f32,
}

impl Sums {
    fn add(&mut self, losses: &Losses, micro_batches: usize) {
        let [z1, z2] = losses.projections.clone();
        let spread = (projection_std(z1.clone()) + projection_std(z2.clone())) * 0.5;
        let means = Tensor::cat(vec![losses.loss.clone(), spread, positive_cosine(z1, z2)], 0);
        let means = means * (1.0 / micro_batches as f32);
        self.means = Some(match self.means.take() {
            Some(sum) => sum + means,
            None => means,
        });
    }

    /// The one moment of a step at which this thread waits for the device.
    fn read(self, gradients: &NamedGradients) -> std::result::Result<Measured, String> {
        let squares = gradients.values().map(|gradient| ops::sum_of_squares(gradient.clone()));
        let all = self.means.into_iter().chain(squares.reduce(|sum, square| sum + square)).collect();
        let data = Tensor::cat(all, 0).try_into_data().map_err(|error| error.to_string())?;
        let values: Vec<f32> = data.try_into_vec().expect("four values of f32");
        let [loss, projection_std, positive_cosine, squares] = values[..] else {
            unreachable!("a step has a loss and gradients");
        };
        Ok(Measured { loss, projection_std, positive_cosine, grad_norm: squares.sqrt() })
    }
}
