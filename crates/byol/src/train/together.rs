//! What the ranks of a run agree on, beside gradients and statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use burn::tensor::Device;
use byol_data::BadImage;
use byol_nn::dist::{Communicator, Ranks, agree, compute_alike, from_first, threads_of};
use byol_nn::model::{Role, visit_tensors};
use byol_nn::weights::Fingerprint;
use byol_nn::{Error, Result};

use super::checkpoints::last_checkpoint_step;
use super::progress::line;
use super::state::TrainState;
use crate::config::{Config, SyncBatchNorm};
use crate::run::RunFolder;

/// What happens next, on all ranks alike: what any of them asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The run is measured.
    pub measure: bool,
    /// The run ends after this step: a signal.
    pub stop: bool,
    /// The run ends because of what it found out about itself.
    pub halt: bool,
    /// Everything is saved because somebody asked.
    pub save: bool,
    /// Everything is saved because it is time.
    pub checkpoint: bool,
}

impl Decision {
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn agreed(self, ranks: &dyn Communicator) -> Result<Self> {
        let Self { measure, stop, halt, save, checkpoint } = self;
        let mut asked = [measure, stop, halt, save, checkpoint].map(|asked| f64::from(u8::from(asked)));
        ranks.sum(&mut asked)?;
        let [measure, stop, halt, save, checkpoint] = asked.map(|asked| asked > 0.0);
        Ok(Self { measure, stop, halt, save, checkpoint })
    }
}

/// The bad pictures that all ranks have met, on all of them.
///
/// # Errors
/// The ranks cannot talk to each other.
pub fn all_bad_images(ranks: &dyn Communicator, bad: Vec<BadImage>) -> Result<Vec<BadImage>> {
    let mut count = [bad.len() as f64];
    ranks.sum(&mut count)?;
    if ranks.is_alone() || count[0] == 0.0 {
        return Ok(bad);
    }
    let own = serde_json::to_vec(&bad).expect("plain fields have a JSON form");
    let lists = ranks.gather(&own)?;
    let lists = lists.iter().map(|list| serde_json::from_slice::<Vec<BadImage>>(list));
    Ok(lists.collect::<std::result::Result<Vec<_>, _>>().expect("what a rank wrote just now").concat())
}

/// Before the first step: all ranks are of one version, and compute with the instructions that the weakest of them has.
///
/// # Errors
/// [`Error::Ranks`] when they are not.
pub fn meet(ranks: &dyn Communicator, fingerprint: u64, images: usize) -> Result<()> {
    if ranks.is_alone() {
        return Ok(());
    }
    let version = env!("CARGO_PKG_VERSION");
    let own = format!("{version}\n{fingerprint}\n{images}");
    let all = ranks.gather(own.as_bytes())?;
    let all: Vec<Vec<String>> =
        all.iter().map(|own| String::from_utf8_lossy(own).lines().map(str::to_owned).collect()).collect();
    let differs = |field: usize| all.iter().position(|own| own.get(field) != all[0].get(field));
    let problem = if let Some(rank) = differs(0) {
        let (first, other) = (&all[0][0], &all[rank][0]);
        Some(format!("rank {rank} is version {other} of byol, rank 0 is {first}; start the same program everywhere"))
    } else {
        differs(1).map(|rank| {
            let (first, other) = (&all[0][2], &all[rank][2]);
            format!(
                "rank {rank} found other data than rank 0 ({other} pictures, there {first}, or other names, sizes or labels); give all of \
                 them the same data under the same path"
            )
        })
    };
    // All came to the same conclusion; the first one says it.
    agree(ranks, problem.filter(|_| ranks.is_first()).map_or(Ok(()), |problem| Err(Error::Ranks(problem))))?;
    compute_alike(ranks)
}

/// The state of rank 0 on every rank: where they start is no matter of luck.
///
/// # Errors
/// The ranks cannot talk to each other.
pub fn shared(
    ranks: &dyn Communicator,
    state: &mut TrainState,
    config: &Config,
    classes: usize,
    device: &Device,
) -> Result<()> {
    if ranks.is_alone() {
        return Ok(());
    }
    let bytes = from_first(ranks, || Ok(state.to_bytes(config)))?;
    if !ranks.is_first() {
        *state = TrainState::from_bytes(&bytes, config, classes, device)?;
    }
    Ok(())
}

/// The ranks whose pictures batch statistics are taken of; `None` where each takes its own.
///
/// # Errors
/// The ranks cannot talk to each other.
pub fn statistics_ranks(ranks: &Ranks, sync: SyncBatchNorm) -> Result<Option<Ranks>> {
    match sync {
        _ if ranks.is_alone() => Ok(None),
        SyncBatchNorm::Whether(false) => Ok(None),
        SyncBatchNorm::Whether(true) => Ok(Some(ranks.clone())),
        SyncBatchNorm::Groups(1) => Ok(None),
        SyncBatchNorm::Groups(size) => ranks.group(size).map(Some),
    }
}

/// Whether all ranks have the same weights, to the bit: one that drifted apart trains another run, and says nothing.
///
/// # Errors
/// [`Error::Ranks`] naming those that differ from rank 0.
pub fn check_same_weights(ranks: &dyn Communicator, state: &TrainState) -> Result<()> {
    if ranks.is_alone() {
        return Ok(());
    }
    let mut fingerprint = Fingerprint::default();
    // Running averages are those of the pictures that a rank has seen, which need not be all.
    visit_tensors(&state.byol.online, |tensor| {
        if tensor.role != Role::Buffer {
            fingerprint.add(tensor.values);
        }
    });
    visit_tensors(&state.byol.target, |tensor| {
        if tensor.role != Role::Buffer {
            fingerprint.add(tensor.values);
        }
    });
    let all = ranks.gather(&fingerprint.value().to_le_bytes())?;
    let others: Vec<String> = (1..all.len()).filter(|&rank| all[rank] != all[0]).map(|rank| rank.to_string()).collect();
    let problem = (ranks.is_first() && !others.is_empty()).then(|| {
        Error::Ranks(format!(
            "the weights of rank {} are no longer those of rank 0 after step {}: a machine that computes wrongly, or an MPI library whose \
             sums differ from rank to rank. Nothing was saved at this step; go on from the newest checkpoint with `byol resume`",
            others.join(", "),
            state.step
        ))
    });
    agree(ranks, problem.map_or(Ok(()), Err))
}

/// Ends this process when it waits for the others for longer than `train.rank_timeout_secs`, and says where the run can go on.
pub fn watch_over(ranks: &dyn Communicator, config: &Config, run: Option<&RunFolder>, steps_done: Arc<AtomicU64>) {
    let Some(watchdog) = ranks.watchdog() else { return };
    let (rank, checkpoints) = (ranks.rank(), run.map(RunFolder::checkpoints));
    watchdog.set(Duration::from_secs_f64(config.train.rank_timeout_secs), move |waited| {
        let newest = checkpoints.as_ref().and_then(|folder| last_checkpoint_step(folder).ok().flatten());
        let saved = match (newest, &checkpoints) {
            (Some(step), _) => format!("; saved up to step {step}, `byol resume` goes on from there"),
            (None, Some(_)) => "; no checkpoint was due yet".to_owned(),
            (None, None) => String::new(),
        };
        line(&format!(
            "error: rank {rank} has waited {:.0} s for the other ranks in step {}: one of them is stopped, or its machine or network is lost. \
             All ranks end now (train.rank_timeout_secs){saved}",
            waited.as_secs_f64(),
            steps_done.load(Ordering::Relaxed)
        ));
    });
}

/// Threads that load pictures: the ranks of a machine share its cores.
pub fn loader_threads(config: &Config, ranks: &dyn Communicator) -> usize {
    match config.train.loader_threads {
        0 if !ranks.is_alone() => threads_of(ranks),
        threads => threads,
    }
}
