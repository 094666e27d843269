//! Signals. Ctrl-C: the first one asks the loop to stop after its step, the second one kills. SIGUSR1: save, and go on.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use byol::train::Requests;
use byol_nn::{Error, Result};

use crate::screen::state;

static REQUESTS: Requests = Requests::new();
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Signals closer together are one request: `timeout` and batch systems send theirs to the process and to its group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Installs the handlers and gives the flags they set.
pub fn install() -> Result<&'static Requests> {
    ctrlc::set_handler(|| {
        if FIRST.get().is_some_and(|first| first.elapsed() >= ONE_REQUEST) {
            std::process::exit(130);
        }
        FIRST.get_or_init(Instant::now);
        if !REQUESTS.stop.swap(true, Ordering::Relaxed) {
            state!("\nstopping after this step; Ctrl-C again after a second stops at once");
        }
    })
    .map_err(|error| Error::Evaluation(format!("cannot listen for Ctrl-C: {error}")))?;
    #[cfg(unix)]
    save_on_signal();
    Ok(&REQUESTS)
}

/// What was typed, so that a shell reads it as it was.
pub fn command_line() -> String {
    let quoted = |argument: String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
        match !argument.is_empty() && argument.chars().all(is_plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().into_owned()));
    std::iter::once("byol".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Batch systems announce the end of a job's time by SIGUSR1 (`sbatch --signal`), which would otherwise end the process.
#[cfg(unix)]
fn save_on_signal() {
    use signal_hook::consts::SIGUSR1;
    use signal_hook::iterator::Signals;

    // Without the listener everything else works as before.
    let Ok(mut signals) = Signals::new([SIGUSR1]) else { return };
    let listen = move || signals.forever().for_each(|_| REQUESTS.save.store(true, Ordering::Relaxed));
    let _ = std::thread::Builder::new().spawn(listen);
}
