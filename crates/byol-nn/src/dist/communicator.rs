//! What ranks can say to each other, and the process that is alone.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::watchdog::Watchdog;
use crate::error::{Error, Result};

/// The processes of a run. Every method but the first few is collective: all ranks call the same one in the same order.
///
/// # Errors
/// Of every collective method: what the network or the library below says, as [`crate::Error::Ranks`].
pub trait Communicator: Debug + Send + Sync {
    /// Which of the processes this one is, below [`Self::ranks`].
    fn rank(&self) -> usize;

    /// How many processes there are, at least 1.
    fn ranks(&self) -> usize;

    /// How many of them run on this machine, at least 1.
    fn local_ranks(&self) -> usize;

    /// Replaces every value by its sum over the ranks; the same bits on all of them.
    fn sum(&self, values: &mut [f64]) -> Result<()>;

    /// Begins to sum `values` over the ranks, while this thread goes on; sums that are under way at once end in the order they began.
    fn start_sum(&self, values: Vec<f32>) -> Result<Summing>;

    /// Replaces the bytes by those of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()>;

    /// The bytes of every rank, in the order of ranks, on every rank.
    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Waits until every rank is here, without keeping a core busy, and for as long as it takes: for what rank 0 does while it alone has
    /// something to do.
    fn wait_patiently(&self) -> Result<()>;

    /// The ranks of this one's group, where each `size` neighbours are a group; the last may be smaller.
    fn group(&self, size: usize) -> Result<Ranks>;

    /// What ends a process that waits for the others for too long; none where there are no others.
    fn watchdog(&self) -> Option<&Watchdog>;

    /// Ends all ranks at once, with this exit code: for errors that the others do not know of.
    fn abort(&self, code: i32) -> !;

    /// Whether there is but one process.
    fn is_alone(&self) -> bool {
        self.ranks() == 1
    }

    /// Whether this is rank 0, which owns the run folder and talks to the person.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }
}

/// A sum that is under way.
#[derive(Debug)]
pub struct Summing(Receiver<Result<Vec<f32>>>);

impl Summing {
    /// Whose outcome will come through `receiver`.
    pub fn by(receiver: Receiver<Result<Vec<f32>>>) -> Self {
        Self(receiver)
    }

    /// That has ended.
    pub fn done(outcome: Result<Vec<f32>>) -> Self {
        let (sender, receiver) = channel();
        // The receiver is here.
        let _ = sender.send(outcome);
        Self(receiver)
    }

    /// Waits for the sum.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn finish(self, ranks: &dyn Communicator) -> Result<Vec<f32>> {
        let wait = || self.0.recv();
        let outcome = match ranks.watchdog() {
            Some(watchdog) => watchdog.during(wait),
            None => wait(),
        };
        outcome.unwrap_or_else(|_| Err(Error::Ranks("the thread that sums gradients has ended".to_owned())))
    }
}

/// A communicator, shared by whoever needs one.
pub type Ranks = Arc<dyn Communicator>;

/// The stretch of `0..len` that is of one rank, as [`byol_data::PairLoader`] cuts batches: stretches follow each other from rank 0 on and
/// differ by at most one, longer ones first.
pub fn part_of(len: usize, rank: usize, ranks: usize) -> Range<usize> {
    let part = byol_data::part_of(&(0..len as u64), rank as u64, ranks as u64);
    part.start as usize..part.end as usize
}

/// Threads for each rank where nobody asks for a number: the ranks of a machine share the cores that this process may use.
pub fn threads_of(ranks: &dyn Communicator) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / ranks.local_ranks()).max(1)
}

/// The numbers of every rank, in the order of ranks, on every rank.
///
/// # Errors
/// Those of [`Communicator::gather`].
pub fn gathered<T: bytemuck::Pod>(ranks: &dyn Communicator, own: &[T]) -> Result<Vec<Vec<T>>> {
    let all = ranks.gather(bytemuck::cast_slice(own))?;
    Ok(all.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
}

/// One process: every sum is its own values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn local_ranks(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn start_sum(&self, values: Vec<f32>) -> Result<Summing> {
        Ok(Summing::done(Ok(values)))
    }

    fn broadcast(&self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn wait_patiently(&self) -> Result<()> {
        Ok(())
    }

    fn group(&self, _: usize) -> Result<Ranks> {
        Ok(Arc::new(Self))
    }

    fn watchdog(&self) -> Option<&Watchdog> {
        None
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
