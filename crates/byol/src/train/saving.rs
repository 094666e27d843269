//! When checkpoints are due, and what happens when the disk has no room for them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use byol_nn::files::{free_bytes, is_disk_full};
use byol_nn::{Error, Result};

use super::checkpoints::{checkpoints, last_checkpoint_step};
use super::progress::Progress;
use super::state::TrainState;
use crate::config::Config;
use crate::run::RunFolder;

/// Writes what a run leaves on the disk. A full disk makes the run wait; neither that nor the time of a checkpoint changes a
/// bit of what is trained.
pub(super) struct Saving<'a> {
    run: &'a RunFolder,
    stop: &'a AtomicBool,
    every_steps: u64,
    every: Option<Duration>,
    last_save: Instant,
    /// Upper bounds, for a checkpoint and for it with the encoder.
    checkpoint_bytes: u64,
    needed_bytes: u64,
    /// Time spent waiting for room since the last [`Self::waited`].
    waited: Duration,
}

/// A line of a log takes less.
const LINE_BYTES: u64 = 64 << 10;

/// Between two looks at a full disk, and at the request to stop meanwhile.
const POLL: Duration = Duration::from_secs(2);
const STOP_POLL: Duration = Duration::from_millis(50);

impl<'a> Saving<'a> {
    /// The first checkpoint by time is due one interval from now.
    pub fn start(run: &'a RunFolder, config: &Config, state: &TrainState, stop: &'a AtomicBool) -> Self {
        let minutes = config.train.checkpoint_every_minutes;
        let checkpoint_bytes = state.checkpoint_bytes(config);
        Self {
            run,
            stop,
            every_steps: config.train.checkpoint_every_steps,
            every: (minutes > 0.0).then(|| Duration::from_secs_f64(60.0 * minutes)),
            last_save: Instant::now(),
            checkpoint_bytes,
            needed_bytes: checkpoint_bytes + state.encoder_bytes(),
            waited: Duration::ZERO,
        }
    }

    /// Checks that the next checkpoint and encoder fit on the disk, and says so if those that will be kept do not.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn check_room(&self, state: &TrainState, config: &Config, progress: &Progress) -> Result<()> {
        let Some(free) = free_bytes(self.run.path()) else { return Ok(()) };
        if free < self.needed_bytes {
            return Err(Error::NoRoom {
                shortage: self.shortage(&checkpoint_after(state.step), self.needed_bytes),
                remedy: "free some space, or choose another disk with --out (for a run that exists: move its folder)",
            });
        }
        // While one is written, those that are kept are all there.
        let kept = config.train.checkpoints_kept;
        let missing = (kept + 1).saturating_sub(checkpoints(&self.run.checkpoints())?.len());
        let in_all = self.needed_bytes + self.checkpoint_bytes * (missing.max(1) - 1) as u64;
        if free < in_all {
            progress.say(&format!(
                "note: {} free at {}, but this run will take {} (train.checkpoints_kept = {kept}, and one more while it is \
                 written); training waits when the disk is full",
                mebibytes(free),
                self.run.path().display(),
                mebibytes(in_all)
            ));
        }
        Ok(())
    }

    /// Whether a checkpoint is due after `step` steps.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every_steps) || self.every.is_some_and(|every| self.last_save.elapsed() >= every)
    }

    /// Saves the state and the encoder made of it by `write`, waiting for room if need be.
    ///
    /// # Errors
    /// Those of `write`, and [`Error::DiskFull`] when the run is stopped while it waits.
    pub fn save(&mut self, step: u64, progress: &Progress, write: impl FnMut() -> Result<()>) -> Result<()> {
        self.patiently(&format!("the checkpoint of step {step}"), self.needed_bytes, progress, write)?;
        self.last_save = Instant::now();
        Ok(())
    }

    /// Adds to the log called `name`, waiting for room if need be.
    ///
    /// # Errors
    /// As for [`Self::save`].
    pub fn log(&mut self, name: &str, progress: &Progress, write: impl FnMut() -> Result<()>) -> Result<()> {
        self.patiently(name, LINE_BYTES, progress, write)
    }

    /// Time spent waiting since it was last asked for.
    pub fn waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    fn patiently(
        &mut self,
        what: &str,
        needed: u64,
        progress: &Progress,
        mut write: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let mut waiting_since = None;
        loop {
            if free_bytes(self.run.path()).is_none_or(|free| free >= needed) {
                match write() {
                    // Others fill the disk, too, and not everything that limits a person is seen in advance.
                    Err(Error::Io { source, .. }) if is_disk_full(&source) => {}
                    done => {
                        if let Some(since) = waiting_since {
                            progress.say("there is room on the disk again; going on");
                            self.waited += Instant::elapsed(&since);
                        }
                        return done;
                    }
                }
            }
            let shortage = self.shortage(what, needed);
            if waiting_since.is_none() {
                waiting_since = Some(Instant::now());
                progress.say(&format!("disk full: {shortage}; waiting, Ctrl-C stops here"));
            }
            if self.stopped_within(POLL) {
                progress.finish();
                return Err(Error::DiskFull { shortage, saved: self.saved(), run: self.run.path().to_owned() });
            }
        }
    }

    /// Waits, and says whether the run was asked to stop.
    fn stopped_within(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            if self.stop.load(Ordering::Relaxed) {
                return true;
            }
            thread::sleep(STOP_POLL);
        }
        self.stop.load(Ordering::Relaxed)
    }

    fn shortage(&self, what: &str, needed: u64) -> String {
        let free = free_bytes(self.run.path()).map_or("an unknown space".to_owned(), mebibytes);
        format!("{} needed for {what}, {free} free at {}", mebibytes(needed), absolute(self.run.path()))
    }

    fn saved(&self) -> String {
        match last_checkpoint_step(&self.run.checkpoints()) {
            Ok(Some(step)) => format!("Saved last: step {step}"),
            _ => "Nothing was saved yet".to_owned(),
        }
    }
}

fn checkpoint_after(step: u64) -> String {
    format!("the next checkpoint (after step {step}) and the encoder")
}

/// The disk is found by the whole path.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
