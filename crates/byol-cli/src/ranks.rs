//! Several processes that an MPI launcher started: how they begin, and how they end together.

use std::process::ExitCode;

use byol_nn::dist::{Communicator, Launch, Ranks, Session, start};
use byol_nn::{Error, Result};

use crate::{Ending, screen};

/// Joins the processes that were started with this one. From here on the first speaks for all, and a panic of one ends all.
///
/// # Errors
/// Several were started, and this build or this machine cannot join them.
pub fn join() -> Result<Session> {
    let session = start(Launch::of_this_process().as_ref())?;
    let ranks = session.ranks.clone();
    if !ranks.is_first() {
        screen::be_silent();
    }
    if !ranks.is_alone() {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panicked| {
            screen::speak();
            screen::paragraph(&format!("error: rank {} has a bug, and all ranks end:", ranks.rank()));
            told(panicked);
            ranks.abort(2);
        }));
    }
    Ok(session)
}

/// Work for one process: the first does it, the others wait without keeping a core from it.
///
/// # Errors
/// Those of the work, on the first rank.
pub fn by_the_first(ranks: &Ranks, work: impl FnOnce() -> Result<Ending>) -> Result<Ending> {
    let ended = if ranks.is_first() { work()? } else { Ending::Done };
    ranks.wait_patiently()?;
    Ok(ended)
}

/// Says `error`, unless another rank does, and ends the other ranks if they do not know of it.
pub fn end_all_after(error: &Error, ranks: &dyn Communicator) -> ExitCode {
    if let Error::Elsewhere { .. } = error {
        return ExitCode::from(2);
    }
    screen::speak();
    let code = crate::failed(error);
    if !ranks.is_alone() && !matches!(error, Error::OnRank { .. }) {
        screen::paragraph(&format!("All ranks end, since rank {} cannot go on.", ranks.rank()));
        ranks.abort(2);
    }
    code
}
