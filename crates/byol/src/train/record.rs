//! What a run writes and says while it trains: log, event files, checkpoints, progress, and what it thinks of itself. Of several ranks the
//! first has it.

use std::fs::File;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::Device;
use byol_data::{BadImage, DataError, Dataset};
use byol_nn::dist::Communicator;
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::ops;
use byol_nn::optim::Schedule;
use byol_nn::{Error, Result};
use serde::Serialize;

use super::checkpoints::{self, checkpoints, last_checkpoint_step};
use super::monitor::OnlineLine;
use super::progress::Progress;
use super::rhythm::Timetable;
use super::saving::Saving;
use super::state::TrainState;
use super::tensorboard::EventFile;
use super::watch::{BestEncoder, Conclusion, Facts, Finding, Kept, Series, Watch};
use crate::config::Config;
use crate::run::{
    BadImageLog, MetricsLog, RunFolder, Session, SessionLine, StepMetrics, WarmStartRecord, last_online, read_metrics,
};

/// The open files of a run, and what is known of it.
pub(super) struct Record<'a> {
    run: &'a RunFolder,
    config: &'a Config,
    schedule: Schedule,
    warm_start: Option<WarmStartRecord>,
    /// Keeps other processes from training the run.
    _lock: Option<File>,
    progress: Progress,
    saving: Saving<'a>,
    log: MetricsLog,
    events: Option<EventFile>,
    watch: Watch,
    best: Option<BestEncoder>,
    bad_images: BadImageLog,
    timetable: Option<Timetable>,
    measured_at: Option<u64>,
    last: Option<StepMetrics>,
    /// When this process began.
    first_step: u64,
}

impl<'a> Record<'a> {
    /// Opens the files of `run` and finds the state it goes on from: its newest good checkpoint, or that of the start.
    ///
    /// # Errors
    /// Those of [`super::train`].
    pub fn start(
        run: &'a RunFolder,
        config: &'a Config,
        dataset: &Dataset,
        device: &Device,
        stop: &'a AtomicBool,
        ranks: &dyn Communicator,
    ) -> Result<(TrainState, Self)> {
        let lock = run.lock()?;
        let schedule = config.schedule(dataset.len());
        let classes = dataset.classes().len();
        let info = run.info()?;
        let found = checkpoints::load_newest(&run.checkpoints(), config, classes, device)?;
        let is_resumed = found.is_some();
        let state = found.unwrap_or_else(|| TrainState::new(config, classes, device));
        let progress = Progress::start(state.step, schedule.total_steps);
        if lock.is_none() {
            progress.say(
                "warning: this file system has no locks, so nothing keeps a second `byol resume` from training this run at the same time",
            );
        }
        let saving = Saving::start(run, config, &state, stop);
        let best = BestEncoder::start(config, run.path(), &Series::read(&run.metrics())?);
        if state.step < schedule.total_steps {
            saving.check_room(&state, config, &progress).inspect_err(|_| progress.finish())?;
        }
        let encoder = || encoder(config, &schedule, info.warm_start.as_ref(), &state);
        if is_resumed {
            // A process that died between checkpoint and encoder left an old encoder behind.
            encoder().save(run.path())?;
        }
        let mut log = MetricsLog::continue_at(&run.metrics(), state.step)?;
        // A process that was stopped left the measurement of its last step to the next one.
        let measured_at = last_online(&run.metrics())?;
        let is_unmeasured = measured_at.is_some_and(|step| step < state.step);
        let goes_on = state.step < schedule.total_steps || is_unmeasured;
        let mut events = None;
        if goes_on {
            log.append(&SessionLine { session: session(config, state.step, ranks) })?;
            events = config.train.tensorboard.then(|| EventFile::start(&run.tensorboard(), state.step)).transpose()?;
        }
        let watch = Watch::start(Facts::of_run(config, &info), &run.metrics())?;
        let newest = watch.series().online.last().cloned();
        let mut best = best;
        if let (Some(best), Some(measured)) =
            (&mut best, newest.as_ref().filter(|measured| measured.step == state.step))
        {
            // A process that died between the line and the file left this to the next one.
            best.consider(measured, encoder)?;
        }
        let timetable = (goes_on && config.eval.is_on()).then(|| {
            let last_secs = newest.and_then(|measured| measured.seconds);
            let epochs_per_step = config.train.batch_size as f64 / dataset.len() as f64;
            Timetable::start(config.eval.every_epochs, epochs_per_step, schedule.total_steps, state.step, last_secs)
        });
        let record = Self {
            run,
            config,
            warm_start: info.warm_start,
            _lock: lock,
            progress,
            saving,
            log,
            events,
            watch,
            best,
            bad_images: BadImageLog::open(&run.bad_images())?,
            timetable,
            measured_at,
            last: read_metrics(&run.metrics())?.pop(),
            first_step: state.step,
            schedule,
        };
        Ok((state, record))
    }

    /// Whether the run is to be measured before the next step.
    pub fn measurement_is_due(&self, step: u64) -> bool {
        let is_done = step >= self.schedule.total_steps;
        let is_due = |timetable: &Timetable| is_done || timetable.is_due(step);
        self.measured_at != Some(step) && self.timetable.as_ref().is_some_and(is_due)
    }

    /// Shows that a measurement takes its time.
    pub fn measuring(&self) {
        self.progress.measuring();
    }

    /// Writes a measurement, says it, and keeps the encoder if it is the best so far.
    pub fn measured(&mut self, line: &OnlineLine, state: &TrainState) -> Result<()> {
        let Self { saving, progress, log, events, .. } = self;
        saving.log("metrics.jsonl", progress, || log.append(line))?;
        saving.log("tensorboard", progress, || append_events(events, "online", line.step, &line.numbers))?;
        progress.show_online(line);
        if let Some(timetable) = &mut self.timetable {
            timetable.measured(line.numbers.seconds);
        }
        self.measured_at = Some(line.step);
        if let Some(best) = &mut self.best {
            let measured = line.into();
            let encoder = || encoder(self.config, &self.schedule, self.warm_start.as_ref(), state);
            self.saving.log("best.safetensors", &self.progress, || best.consider(&measured, encoder))?;
        }
        let findings = self.watch.measured(line);
        self.announce(findings)
    }

    /// Lists bad pictures, and says whether there are too many of them in a run of `ranks`, which each count their own.
    pub fn add_bad_images(&mut self, bad: &[BadImage], dataset: &Dataset, ranks: &dyn Communicator) -> Result<()> {
        let Self { saving, progress, bad_images, .. } = self;
        saving.log("bad_images.jsonl", progress, || bad_images.append(bad))?;
        let max_bad_fraction = self.config.data.max_bad_fraction;
        if !ranks.is_alone() && self.bad_images.len() as f64 > max_bad_fraction * dataset.len() as f64 {
            let total = dataset.len();
            return Err(DataError::TooManyBad { bad: bad.to_vec(), total, max_bad_fraction }.into());
        }
        Ok(())
    }

    /// Steps already taken are not lost because of `error`, such as data that went away: saves them.
    pub fn rescue(&mut self, state: &TrainState, error: Error) -> Error {
        let cause = if let Error::OnRank { source, .. } = &error { source } else { &error };
        if let Error::Data(DataError::TooManyBad { bad, .. }) = cause
            && let Err(error) = self.bad_images.append(bad)
        {
            return error;
        }
        match state.step > self.first_step {
            true => self.save(state).err().unwrap_or(error),
            false => error,
        }
    }

    /// Says that the step has no finite loss, and gives the error that ends the run.
    pub fn not_finite(&mut self, what: &str, step: u64) -> Result<Error> {
        let good = checkpoints(&self.run.checkpoints())?.pop();
        let finding = self.watch.not_finite(what, step, good.as_deref());
        self.announce(vec![finding])?;
        self.progress.finish();
        Ok(checkpoints::non_finite(what, step, &self.run.checkpoints()))
    }

    /// Says that a step was not taken because gradients left the range of `f16`.
    pub fn overflowed(&self, state: &TrainState) {
        self.say(&format!(
            "step {}: a gradient left the range of f16; this step is not taken, and the loss is scaled by {} from here on",
            state.step,
            state.loss_scale.map_or(1.0, |scale| scale.factor())
        ));
    }

    /// Shows that a step is done.
    pub fn advance(&self, step: u64) {
        self.progress.advance(step);
    }

    /// Writes a step and says it.
    pub fn logged(&mut self, metrics: &StepMetrics) -> Result<()> {
        let Self { saving, progress, log, events, .. } = self;
        saving.log("metrics.jsonl", progress, || log.append(metrics))?;
        saving.log("tensorboard", progress, || append_events(events, "train", metrics.step, metrics))?;
        progress.show(metrics);
        let findings = self.watch.logged(metrics);
        self.last = Some(metrics.clone());
        self.announce(findings)
    }

    /// Whether a checkpoint is due.
    pub fn is_save_due(&self, step: u64) -> bool {
        self.saving.is_due(step)
    }

    /// Whether the run ends because of what it found out about itself.
    pub fn stops(&self) -> bool {
        self.watch.stops()
    }

    /// Writes checkpoint and encoder; where the disk is full it waits.
    pub fn save(&mut self, state: &TrainState) -> Result<()> {
        let Self { run, config, schedule, warm_start, saving, progress, .. } = self;
        let encoder = encoder(config, schedule, warm_start.as_ref(), state);
        saving.save(state.step, progress, || {
            run.flush_logs()?;
            state.save(&run.checkpoints(), config)?;
            encoder.save(run.path())
        })
    }

    /// Time spent waiting on a full disk since this was last asked, in seconds; it counts for no speed.
    pub fn waited_secs(&mut self) -> f64 {
        let waited = self.saving.waited();
        self.progress.skip(waited);
        waited.as_secs_f64()
    }

    /// Says something beside the bar.
    pub fn say(&self, message: &str) {
        self.progress.say(message);
    }

    /// Takes the bar away; saves what a stop between two checkpoints would lose, and says what the run has come to.
    pub fn end(&mut self, state: &TrainState) -> Result<Ended> {
        self.progress.finish();
        if let Some(skipped) = state.loss_scale.map(|scale| scale.skipped_steps()).filter(|&skipped| skipped > 0) {
            let remedy = if 10 * skipped >= state.step { ": start again with --set precision=f32" } else { "" };
            let of = state.step;
            self.say(&format!("{skipped} of {of} steps were not taken: a gradient left the range of f16{remedy}"));
        }
        if self.stops()
            && state.step < self.schedule.total_steps
            && last_checkpoint_step(&self.run.checkpoints())?.is_none_or(|newest| newest < state.step)
        {
            self.save(state)?;
        }
        Ok(Ended {
            last: self.last.take(),
            bad_images: self.bad_images.len(),
            conclusion: self.watch.conclude(),
            best: self.best.as_ref().and_then(BestEncoder::kept),
        })
    }

    /// Says findings, once each, here and in the log.
    fn announce(&mut self, findings: Vec<Finding>) -> Result<()> {
        let Self { saving, progress, log, .. } = self;
        findings.into_iter().try_for_each(|finding| {
            progress.say(&finding.in_columns(progress.columns()));
            saving.log("metrics.jsonl", progress, || log.append(&finding))
        })
    }
}

/// What is known of a run at its end.
pub(super) struct Ended {
    pub last: Option<StepMetrics>,
    pub bad_images: usize,
    pub conclusion: Conclusion,
    pub best: Option<Kept>,
}

fn append_events(events: &mut Option<EventFile>, group: &str, step: u64, numbers: &impl Serialize) -> Result<()> {
    events.as_mut().map_or(Ok(()), |events| events.append(group, step, numbers))
}

fn session(config: &Config, first_step: u64, ranks: &dyn Communicator) -> Session {
    Session {
        first_step,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isa: ops::engine(),
        cpu: byol_kernels::cpu_name(),
        threads: rayon::current_num_threads(),
        ranks: ranks.ranks(),
        precision: config.precision,
    }
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
    .reading(&config.data);
    Encoder { network: state.byol.online.encoder.valid(), info }
}
