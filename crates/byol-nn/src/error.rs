//! What can go wrong, in words for the person at the keyboard.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use byol_data::DataError;

/// Shorthand for results of this crate and those above it.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that stops a command: one type for this crate and all above it, so that `?` works from a kernel to `main`. Each message says what, where, expected, got and the remedy where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A configuration key has an unusable value.
    #[error("config key `{key}`: expected {expected}, got {got}; correct it in the config file or with --set {key}=…")]
    Config {
        /// Dotted path of the key.
        key: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A flag has an unusable value.
    #[error("{flag}: expected {expected}, got {got}")]
    Flag {
        /// As typed, with its dashes.
        flag: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A configuration file or `--set` cannot be understood.
    #[error("{origin}: {problem}")]
    ConfigSyntax {
        /// File or flag.
        origin: String,
        /// What is wrong, with the names that exist.
        problem: String,
    },
    /// A file or folder of ours is missing, malformed or in the way.
    #[error("{path}: {problem}", path = path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file of ours is not what was written: cut short, or with other bits.
    #[error("{path}: {problem}; restore it from a copy (`byol resume` writes the encoder of a run again)", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no room for what a run will write next; nothing was trained.
    #[error("disk full: {shortage}; {remedy}")]
    NoRoom {
        /// What needs how much room, how much there is, and where.
        shortage: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A run that waited for room on its disk was stopped.
    #[error("stopped while the disk was full ({shortage}). {saved}; free some space, then go on with `byol resume {run}`", run = run.display())]
    DiskFull {
        /// What needs how much room, how much there is, and where.
        shortage: String,
        /// What was saved last.
        saved: String,
        /// The run folder.
        run: PathBuf,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {path}: {source}; {remedy}", path = path.display(), remedy = remedy(source.kind()))]
    Io {
        /// Verb: "create", "write", "read".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The loss or a weight became NaN or infinite.
    #[error(
        "{what} is no longer finite at step {step}; stopped. The last good state is {kept}. Lower \
         schedule.base_learning_rate or lengthen schedule.warmup_epochs (LARS rates are far too high for SGD and Adam), \
         then start again"
    )]
    NonFinite {
        /// "the loss" or the name of a tensor.
        what: String,
        /// The step that found it.
        step: u64,
        /// Where the last good checkpoint is, or that there is none yet.
        kept: String,
    },
    /// A graphics card gave up: it ran out of memory, or was lost.
    #[error("{device} failed: {problem}; {remedy}")]
    Device {
        /// Which.
        device: String,
        /// The driver's words.
        problem: String,
        /// What is kept, and what to do.
        remedy: String,
    },
    /// The processes of a run cannot talk to each other.
    #[error("{0}")]
    Ranks(String),
    /// What stopped a rank, of which all others know.
    #[error("rank {rank}: {source}")]
    OnRank {
        /// Which.
        rank: usize,
        /// Its error.
        source: Box<Error>,
    },
    /// Another rank cannot go on, and says why itself.
    #[error("rank {rank} could not go on; it says why")]
    Elsewhere {
        /// Which.
        rank: usize,
    },
    /// The person asked to stop; what was complete by then is kept.
    #[error("interrupted")]
    Interrupted,
    /// Labels are needed and there are none, or an evaluation cannot be set up.
    #[error("{0}")]
    Evaluation(String),
}

impl From<byol_data::InvalidConfig> for Error {
    fn from(error: byol_data::InvalidConfig) -> Self {
        Self::Config { key: error.key, expected: error.expected, got: error.got }
    }
}

impl Error {
    /// For `map_err`: an operating-system error with its file.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A problem with a path of ours.
    pub fn path(path: &Path, problem: impl Into<String>) -> Self {
        Self::Path { path: path.to_owned(), problem: problem.into() }
    }
}

/// What to do when the system refuses.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "check the spelling of the path",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a part of the path is a file; choose another path",
        ErrorKind::IsADirectory => "this is a folder; give a file",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space or choose another disk",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "check the permissions or choose another path",
        ErrorKind::InvalidData => "expected text in UTF-8",
        _ => "check the path, the permissions and the disk",
    }
}
