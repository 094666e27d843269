//! Ctrl-C: the first one asks the loop to stop after its step, the second one kills.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use byol_nn::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler and gives the flag it sets.
pub fn install() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        // A reader that went away must not end a training.
        let _ = writeln!(std::io::stderr(), "\nstopping after this step; press Ctrl-C again to stop at once");
    })
    .map_err(|error| Error::Evaluation(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(&STOP)
}
