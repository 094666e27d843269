//! How many processes were started, and by what.

use std::sync::Arc;

use super::communicator::{Alone, Ranks};
use crate::error::Result;

/// What the variables of the environment say about the start of this process. They decide nothing about results: with them a process knows
/// whether to look for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// How many processes were started.
    pub ranks: usize,
    /// What started them, for the person.
    pub by: &'static str,
}

/// The number of processes in a variable of each launcher; all are set in every process that it starts, and only there.
const LAUNCHERS: [(&str, &str); 5] = [
    ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"),
    ("PMI_SIZE", "MPICH's mpirun or an MPI library like it"),
    ("MV2_COMM_WORLD_SIZE", "MVAPICH's mpirun"),
    ("PALS_SIZE", "Cray's mpiexec"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
];

impl Launch {
    /// Of this process; `None` where it was started by nobody.
    pub fn of_this_process() -> Option<Self> {
        Self::found(|name| std::env::var(name).ok())
    }

    fn found(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        // Within a batch script Slurm describes the step of the script itself, which is one task.
        LAUNCHERS.iter().find_map(|&(name, by)| {
            let ranks = variable(name)?.trim().parse().ok()?;
            Some(Self { ranks, by })
        })
    }
}

/// Keeps what the processes talk through; when it is dropped, they have said goodbye.
pub struct Session {
    /// The processes of this run.
    pub ranks: Ranks,
    #[cfg(feature = "mpi")]
    _mpi: Option<super::mpi::Library>,
}

/// Joins the processes that were started together. A process that no launcher started is alone, and MPI is not touched.
///
/// # Errors
/// Where a launcher started several and this build or this machine cannot join them.
pub fn start(launch: Option<&Launch>) -> Result<Session> {
    #[cfg(feature = "mpi")]
    if let Some(launch) = launch.filter(|launch| launch.ranks > 1) {
        let (library, ranks) = super::mpi::start(launch)?;
        return Ok(Session { ranks, _mpi: Some(library) });
    }
    #[cfg(not(feature = "mpi"))]
    if let Some(Launch { ranks, by }) = launch
        && *ranks > 1
    {
        return Err(crate::Error::Ranks(format!(
            "{by} started {ranks} processes, but this build of byol knows only one: each would train the same run. Build it with `cargo \
             build --release --features mpi` (it needs an MPI library with its headers, such as libopenmpi-dev), or start one process"
        )));
    }
    Ok(Session {
        ranks: Arc::new(Alone),
        #[cfg(feature = "mpi")]
        _mpi: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_known_by_their_variables() {
        let launch = |set: &[(&str, &str)]| {
            Launch::found(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(launch(&[]), None);
        assert_eq!(launch(&[("OMPI_COMM_WORLD_SIZE", "4")]).unwrap().ranks, 4);
        assert_eq!(launch(&[("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_NTASKS", "16")]).unwrap().ranks, 8);
        // A batch script that starts one process itself.
        assert_eq!(launch(&[("SLURM_NTASKS", "16")]), None);
        assert_eq!(launch(&[("PMI_SIZE", "many")]), None);
    }
}
