//! Ctrl-C: the first one asks the loop to stop after its step, the second one kills.

use std::sync::atomic::{AtomicBool, Ordering};

use byol::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler and gives the flag it sets.
pub fn install() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step and saving; press Ctrl-C again to stop at once");
    })
    .map_err(|error| Error::Evaluation(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(&STOP)
}
