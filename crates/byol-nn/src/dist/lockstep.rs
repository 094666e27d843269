//! Several passes of networks side by side that share their sums over the ranks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::communicator::Ranks;
use crate::error::{Error, Result};

/// Passes that run side by side in threads of their own. Where each has values to sum, the values of all travel together: the target's
/// two passes and the online network's first ask for their statistics norm by norm at the same time, and a sum over a network takes as
/// long for three norms as for one.
///
/// Ranks sum the same values in the same order, since every pass asks for its sums in the order of its norms, and a round is over when
/// every pass that is still running has asked.
#[derive(Debug)]
pub struct Lockstep {
    ranks: Ranks,
    round: Mutex<Round>,
    is_over: Condvar,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// Of each pass.
    places: Vec<Place>,
    /// Why there will be no more rounds.
    failure: Option<String>,
}

#[derive(Debug)]
enum Place {
    /// Computes.
    Busy,
    /// Waits for the sum of these.
    Asking(Vec<f64>),
    /// The sum, to be taken.
    Answered(Vec<f64>),
    /// Has ended.
    Gone,
}

/// One of the passes of a [`Lockstep`]; leaves it when dropped.
#[derive(Debug)]
pub struct Party {
    lockstep: Arc<Lockstep>,
    place: usize,
}

impl Lockstep {
    /// `N` passes; which is which must be the same on all ranks.
    pub fn parties<const N: usize>(ranks: Ranks) -> [Arc<Party>; N] {
        let round = Round { number: 0, places: (0..N).map(|_| Place::Busy).collect(), failure: None };
        let lockstep = Arc::new(Self { ranks, round: Mutex::new(round), is_over: Condvar::new() });
        std::array::from_fn(|place| Arc::new(Party { lockstep: lockstep.clone(), place }))
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums what was asked for, if nobody computes any more. All others wait, so that the lock may be held meanwhile.
    fn finish_if_complete(&self, round: &mut Round) {
        let is_busy = |place: &Place| matches!(place, Place::Busy | Place::Answered(_));
        if round.places.iter().any(is_busy) {
            return;
        }
        let asked = round.places.iter().flat_map(|place| match place {
            Place::Asking(values) => &values[..],
            _ => &[],
        });
        let mut all: Vec<f64> = asked.copied().collect();
        if all.is_empty() {
            return;
        }
        if let Err(error) = self.ranks.sum(&mut all) {
            round.failure = Some(error.to_string());
        }
        let mut sums = &all[..];
        for place in &mut round.places {
            if let Place::Asking(values) = place {
                let (own, rest) = sums.split_at(values.len());
                *place = Place::Answered(own.to_vec());
                sums = rest;
            }
        }
        round.number += 1;
        self.is_over.notify_all();
    }
}

impl Party {
    /// Replaces `values` by their sums over the ranks, when all passes have asked for theirs.
    ///
    /// # Errors
    /// Those of [`super::Communicator::sum`], whichever pass met them.
    pub fn sum(&self, values: &mut [f64]) -> Result<()> {
        let lockstep = &*self.lockstep;
        let mut round = lockstep.round();
        let number = round.number;
        round.places[self.place] = Place::Asking(values.to_vec());
        lockstep.finish_if_complete(&mut round);
        while round.number == number {
            round = lockstep.is_over.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        if let Place::Answered(sums) = std::mem::replace(&mut round.places[self.place], Place::Busy) {
            values.copy_from_slice(&sums);
        }
        match &round.failure {
            None => Ok(()),
            Some(problem) => Err(Error::Ranks(problem.clone())),
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        let mut round = self.lockstep.round();
        round.places[self.place] = Place::Gone;
        self.lockstep.finish_if_complete(&mut round);
    }
}
