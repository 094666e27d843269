//! Ctrl-C: the first one asks the loop to stop after its step, the second one kills.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use byol_nn::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Signals closer together are one request: `timeout` and batch systems send theirs to the process and to its group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Installs the handler and gives the flag it sets.
pub fn install() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if FIRST.get().is_some_and(|first| first.elapsed() >= ONE_REQUEST) {
            std::process::exit(130);
        }
        FIRST.get_or_init(Instant::now);
        if !STOP.swap(true, Ordering::Relaxed) {
            // A reader that went away must not end a training.
            let _ =
                writeln!(std::io::stderr(), "\nstopping after this step; Ctrl-C again after a second stops at once");
        }
    })
    .map_err(|error| Error::Evaluation(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(&STOP)
}
