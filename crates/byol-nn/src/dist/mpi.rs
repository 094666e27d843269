//! [`Communicator`] over MPI: every call of the library is here.
//!
//! The binding is `ferrompi`. It was chosen over `mpi` (rsmpi) by trying both with Open MPI 4.1 and MPICH 4.0: both work with both, but
//! rsmpi's errors end the process inside of the library, and it needs libclang to build.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ferrompi::{ReduceOp, ThreadLevel};

use super::communicator::{Communicator, Ranks, Summing};
use super::launcher::Launch;
use super::watchdog::Watchdog;
use crate::error::{Error, Result};

/// The library; MPI is shut down when it is dropped.
pub struct Library(#[expect(dead_code, reason = "kept until the end")] ferrompi::Mpi);

/// Ranks of one MPI communicator.
struct World {
    ranks: ferrompi::Communicator,
    local_ranks: usize,
    watchdog: Arc<Watchdog>,
    courier: Sender<Parcel>,
}

/// Values that the courier sums.
struct Parcel {
    values: Vec<f32>,
    reply: Sender<Result<Vec<f32>>>,
}

/// Starts the thread that sums gradients while others compute, through a communicator of its own, so that its messages and theirs do not
/// meet. It looks for progress now and then: waiting inside of the library keeps a core busy that has better things to do.
fn start_courier(ranks: ferrompi::Communicator) -> Result<Sender<Parcel>> {
    let (courier, parcels) = channel::<Parcel>();
    let deliver = move || {
        for Parcel { values, reply } in parcels {
            let mut sums = vec![0.0; values.len()];
            let summed = ferrompi::scope(|scope| {
                let mut sum = ranks.iallreduce(scope, &values, &mut sums, ReduceOp::Sum)?;
                while sum.test()?.is_none() {
                    std::thread::sleep(GLANCE);
                }
                Ok(())
            });
            // Whoever asked may have given up.
            let _ = reply.send(summed.map(|()| sums).map_err(failed("a sum of gradients over the ranks")));
        }
    };
    let started = std::thread::Builder::new().name("courier".to_owned()).spawn(deliver);
    started.map_err(|error| Error::Ranks(format!("the system starts no thread to sum gradients: {error}")))?;
    Ok(courier)
}

impl Debug for World {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        write!(formatter, "rank {} of {}", self.ranks.rank(), self.ranks.size())
    }
}

/// Between two looks of the courier.
const GLANCE: Duration = Duration::from_micros(100);

/// Between two looks whether the others are there.
const PAUSE: Duration = Duration::from_millis(5);

/// Of one message, in bytes: MPI counts in `i32`.
const MOST_BYTES: usize = 1 << 30;

/// Joins the others.
///
/// # Errors
/// What the library says; when it found others than were started.
pub fn start(launch: &Launch) -> Result<(Library, Ranks)> {
    // The watchdog ends a process whose training thread waits inside of a call.
    let library = ferrompi::Mpi::init_thread(ThreadLevel::Multiple).map_err(failed("starting"))?;
    if library.thread_level() < ThreadLevel::Multiple {
        let problem =
            "this MPI library was built without support for threads (MPI_THREAD_MULTIPLE); use another build of it";
        return Err(Error::Ranks(problem.to_owned()));
    }
    let world = library.world();
    if world.size() as usize != launch.ranks {
        let (Launch { ranks, by }, found) = (launch, world.size());
        return Err(Error::Ranks(format!(
            "{by} started {ranks} processes, but MPI found {found}: each would train the same run. The launcher is of another MPI library \
             than this build; start it with the mpirun of the library it was built with, or under Slurm with `srun --mpi=pmix`"
        )));
    }
    let local_ranks = world.split_shared().map_err(failed("finding the ranks of this machine"))?.size();
    let courier = start_courier(world.duplicate().map_err(failed("making a second communicator"))?)?;
    let ending = library.world();
    let watchdog = Watchdog::start(world.rank() as usize, move || ending.abort(2));
    let ranks = World { ranks: world, local_ranks: local_ranks as usize, watchdog: Arc::new(watchdog), courier };
    Ok((Library(library), Arc::new(ranks)))
}

fn failed(action: &'static str) -> impl FnOnce(ferrompi::Error) -> Error {
    move |error| Error::Ranks(format!("{action} failed: {error}"))
}

impl World {
    /// A part of what [`Communicator::gather`] gathers, one after the other.
    fn gather_part(&self, bytes: &[u8], counts: &[i32]) -> Result<Vec<u8>> {
        let starts: Vec<i32> = counts
            .iter()
            .scan(0, |start, count| {
                let own = *start;
                *start += count;
                Some(own)
            })
            .collect();
        let mut all = vec![0; counts.iter().map(|&count| count as usize).sum()];
        let gather = || self.ranks.allgatherv(bytes, &mut all, counts, &starts);
        self.watchdog.during(gather).map_err(failed("gathering from the ranks"))?;
        Ok(all)
    }
}

impl Communicator for World {
    fn rank(&self) -> usize {
        self.ranks.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.ranks.size() as usize
    }

    fn local_ranks(&self) -> usize {
        self.local_ranks
    }

    fn sum(&self, values: &mut [f64]) -> Result<()> {
        let sum = || self.ranks.allreduce_inplace(values, ReduceOp::Sum);
        self.watchdog.during(sum).map_err(failed("a sum over the ranks"))
    }

    fn start_sum(&self, values: Vec<f32>) -> Result<Summing> {
        let (reply, outcome) = channel();
        let gone = || Error::Ranks("the thread that sums gradients has ended".to_owned());
        self.courier.send(Parcel { values, reply }).map_err(|_| gone())?;
        Ok(Summing::by(outcome))
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut len = [bytes.len() as u64];
        let broadcast = || {
            self.ranks.broadcast(&mut len, 0)?;
            bytes.resize(len[0] as usize, 0);
            bytes.chunks_mut(MOST_BYTES).try_for_each(|part| self.ranks.broadcast(part, 0))
        };
        self.watchdog.during(broadcast).map_err(failed("a broadcast from rank 0"))
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut lens = vec![0.0; self.ranks()];
        lens[self.rank()] = bytes.len() as f64;
        self.sum(&mut lens)?;
        let lens: Vec<usize> = lens.into_iter().map(|len| len as usize).collect();
        let mut gathered: Vec<Vec<u8>> = lens.iter().map(|&len| Vec::with_capacity(len)).collect();
        let most = MOST_BYTES / self.ranks();
        for start in (0..lens.iter().copied().max().unwrap_or(0)).step_by(most) {
            let counts: Vec<i32> = lens.iter().map(|len| len.saturating_sub(start).min(most) as i32).collect();
            let own = &bytes[start.min(bytes.len())..(start + most).min(bytes.len())];
            let all = self.gather_part(own, &counts)?;
            let mut rest = &all[..];
            for (gathered, &count) in gathered.iter_mut().zip(&counts) {
                let (part, others) = rest.split_at(count as usize);
                gathered.extend_from_slice(part);
                rest = others;
            }
        }
        Ok(gathered)
    }

    fn wait_patiently(&self) -> Result<()> {
        let waited = ferrompi::scope(|scope| {
            let mut everyone = self.ranks.ibarrier(scope)?;
            while everyone.test()?.is_none() {
                std::thread::sleep(PAUSE);
            }
            Ok(())
        });
        waited.map_err(failed("waiting for the ranks"))
    }

    fn group(&self, size: usize) -> Result<Ranks> {
        let colour = (self.rank() / size) as i32;
        let split = || self.ranks.split(Some(colour), self.ranks.rank());
        let split = self.watchdog.during(split).map_err(failed("making groups of ranks"))?;
        let ranks = split.expect("every rank has a group");
        Ok(Arc::new(Self {
            ranks,
            local_ranks: self.local_ranks,
            watchdog: self.watchdog.clone(),
            courier: self.courier.clone(),
        }))
    }

    fn watchdog(&self) -> Option<&Watchdog> {
        Some(&self.watchdog)
    }

    fn abort(&self, code: i32) -> ! {
        self.ranks.abort(code)
    }
}
