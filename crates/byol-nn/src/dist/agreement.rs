//! Results that all ranks come to alike, so that none waits for one that has given up.

use byol_kernels::Isa;

use super::communicator::{Communicator, gathered};
use crate::error::{Error, Result};
use crate::ops;

/// `result` where it is good on every rank; else an error on all of them: the rank's own, named ([`Error::OnRank`]), or that another
/// one has failed ([`Error::Elsewhere`]). Of several that failed, the lowest is named.
///
/// # Errors
/// These two, and those of the collective calls.
pub fn agree<T>(ranks: &dyn Communicator, result: Result<T>) -> Result<T> {
    if ranks.is_alone() {
        return result;
    }
    let mut failed = vec![0.0; ranks.ranks()];
    failed[ranks.rank()] = f64::from(u8::from(result.is_err()));
    ranks.sum(&mut failed)?;
    match (failed.iter().position(|&failed| failed > 0.0), result) {
        (None, Ok(value)) => Ok(value),
        (Some(first), Err(error)) if first == ranks.rank() => {
            Err(Error::OnRank { rank: first, source: Box::new(error) })
        }
        (Some(rank), _) => Err(Error::Elsewhere { rank }),
        (None, Err(error)) => Err(error),
    }
}

/// Waits for what rank 0 does alone while the others have nothing to do; they say so and end if that takes too long.
///
/// # Errors
/// Those of the collective calls.
pub fn wait_for_first(ranks: &dyn Communicator) -> Result<()> {
    match ranks.watchdog() {
        Some(watchdog) => watchdog.during(|| ranks.wait_patiently()),
        None => ranks.wait_patiently(),
    }
}

/// What rank 0 made, as bytes on every rank; where it failed, the others get [`Error::Elsewhere`].
///
/// # Errors
/// Rank 0's own error there, that it failed elsewhere, and those of the collective calls.
pub fn from_first(ranks: &dyn Communicator, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let made = if ranks.is_first() { make() } else { Ok(Vec::new()) };
    wait_for_first(ranks)?;
    let mut bytes = agree(ranks, made)?;
    ranks.broadcast(&mut bytes)?;
    Ok(bytes)
}

/// Lets every rank compute with the instructions that the weakest of them has, since others round differently.
///
/// # Errors
/// Those of the collective calls.
pub fn compute_alike(ranks: &dyn Communicator) -> Result<()> {
    if ranks.is_alone() {
        return Ok(());
    }
    let own = Isa::ALL.iter().position(|&isa| isa == ops::isa()).unwrap_or(0);
    let weakest = gathered(ranks, &[own as u64])?.concat().into_iter().min().unwrap_or(own as u64);
    let chosen = ops::choose_isa(Isa::ALL[weakest as usize]);
    agree(ranks, chosen.map_err(|expected| Error::Ranks(format!("instruction set of all ranks: expected {expected}"))))
}
