//! Making batches ahead of their use.
//!
//! One thread makes batch after batch and hands them over in order through a bounded channel; within a batch the
//! pictures are shared out one by one among scoped worker threads, each of which writes to its own part of the batch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::DataError;
use crate::error::panic_message;

/// Batches of type `B`, made by a thread of their own. Dropping it stops that thread and waits for it.
pub(crate) struct Prefetch<B> {
    /// `None` only while dropping.
    ready: Option<Receiver<Result<B, DataError>>>,
    used: Sender<B>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + 'static> Prefetch<B> {
    /// Starts making batches, at most `depth` finished ones in waiting. `make` is given a used batch to fill anew, if
    /// there is one, and a flag that asks it to give up; it ends the sequence with `None`, or with an error.
    pub fn new(
        depth: usize,
        mut make: impl FnMut(Option<B>, &AtomicBool) -> Option<Result<B, DataError>> + Send + 'static,
    ) -> Self {
        let (to_user, ready) = sync_channel(depth);
        let (used, from_user) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let making = move || {
            while !stopped.load(Ordering::Relaxed) {
                let made = catch_unwind(AssertUnwindSafe(|| make(from_user.try_recv().ok(), &stopped)));
                let Some(batch) = made.unwrap_or_else(|panic| Some(Err(worker_failed(&*panic)))) else { break };
                let last = batch.is_err();
                if to_user.send(batch).is_err() || last {
                    break;
                }
            }
        };
        match thread::Builder::new().spawn(making) {
            Ok(thread) => Self { ready: Some(ready), used, stop, thread: Some(thread) },
            Err(error) => {
                let (to_user, ready) = sync_channel(1);
                let message = format!("the system starts no more threads ({error}); see `ulimit -u`");
                // There is room for it, and its reader is right here.
                let _ = to_user.send(Err(DataError::WorkerFailed { message }));
                Self { ready: Some(ready), used, stop, thread: None }
            }
        }
    }

    /// The next batch, waiting for it if need be; `None` after the last and after an error.
    pub fn next(&mut self) -> Option<Result<B, DataError>> {
        self.ready.as_ref()?.recv().ok()
    }

    /// Gives a batch back so that its memory is used again.
    pub fn recycle(&self, batch: B) {
        // The maker may have finished; then there is no use for it.
        let _ = self.used.send(batch);
    }
}

impl<B> Drop for Prefetch<B> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A maker that waits for room in the channel wakes up when the receiver goes.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What each of `threads` threads needs for itself; 0 stands for as many threads as the machine runs at once.
pub(crate) fn one_per_thread<S: Default>(threads: usize) -> Vec<S> {
    let threads = if threads > 0 { threads } else { thread::available_parallelism().map_or(1, usize::from) };
    std::iter::repeat_with(S::default).take(threads).collect()
}

/// Runs `work` on every job, on one thread per scratch, until the jobs are done or `stop` is set. Where the system starts
/// fewer threads, those do it, if need be the calling one alone.
///
/// # Errors
/// [`DataError::WorkerFailed`] if `work` panicked.
pub(crate) fn in_parallel<J: Send, S: Send>(
    jobs: impl Iterator<Item = J> + Send,
    scratches: &mut [S],
    stop: &AtomicBool,
    work: impl Fn(J, &mut S) + Sync,
) -> Result<(), DataError> {
    let jobs = Mutex::new(jobs);
    let next_job = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = |scratch: &mut S| {
        while !stop.load(Ordering::Relaxed) {
            let Some(job) = next_job() else { break };
            work(job, scratch);
        }
    };
    let started = thread::scope(|scope| -> Result<usize, DataError> {
        let start = |scratch| thread::Builder::new().spawn_scoped(scope, || run(scratch)).ok();
        let workers: Vec<_> = scratches.iter_mut().map_while(start).collect();
        let started = workers.len();
        // All are joined before any failure is returned: a scope panics on a thread whose panic nobody took.
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|panic| worker_failed(&*panic)))?;
        Ok(started)
    })?;
    if let (0, Some(scratch)) = (started, scratches.first_mut()) {
        run(scratch);
    }
    Ok(())
}

fn worker_failed(panic: &(dyn Any + Send)) -> DataError {
    DataError::WorkerFailed { message: panic_message(panic) }
}
