//! Several processes that train one run, which MPI calls ranks: what they say to each other.
//!
//! ```text
//! communicator   the trait: sums, broadcast, gather; one process, which talks to nobody
//!   mpi            the same over MPI, with the feature `mpi`; all its calls
//!   watchdog       ends a process that waits for the others for too long
//! agreement      a result that every rank comes to alike
//! statistics     batch statistics over the pictures of all ranks; several passes that share a sum (`lockstep`)
//! gradients      sums of gradients, in buckets, while others are computed
//! ```
//!
//! Whoever needs a communicator is handed it; there is no global one.

mod agreement;
mod communicator;
mod gradients;
mod launcher;
mod lockstep;
#[cfg(feature = "mpi")]
mod mpi;
mod statistics;
mod watchdog;

pub use agreement::{agree, compute_alike, from_first, wait_for_first};
pub use communicator::{Alone, Communicator, Ranks, Summing, gathered, part_of, threads_of};
pub use gradients::{GradientSums, sum_gradients};
pub use launcher::{Launch, Session, start};
pub use lockstep::{Lockstep, Party};
pub use statistics::Across;
pub use watchdog::Watchdog;
