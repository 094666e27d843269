//! A graphics card that gives up: it is lost, or its memory is full. Cards work on behind the calls, so that this shows wherever somebody
//! waits for an answer; from there it unwinds to whoever can say what is kept.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::Tensor;

use crate::error::{Error, Result};

/// What unwinds where an answer does not come.
struct Unanswered(String);

/// The first thing that a driver's crate panicked with, in whatever thread: closer to the cause than what is seen afterwards.
static FIRST_WORDS: Mutex<Option<String>> = Mutex::new(None);

/// Whether the last panic of all was one of a driver's crate, so that it is no mistake of ours that unwinds.
static DRIVER_PANICKED: AtomicBool = AtomicBool::new(false);

/// The values of a flat tensor. Waits for the device.
pub fn read(tensor: Tensor<1>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap_or_else(|error| unanswered(&error.to_string()))
}

/// The value of a tensor of one. Waits for the device.
pub fn read_one(tensor: Tensor<1>) -> f32 {
    read(tensor)[0]
}

fn unanswered(words: &str) -> ! {
    // Not a panic: nobody has made a mistake.
    panic::resume_unwind(Box::new(Unanswered(words.to_owned())))
}

/// From now on what the crates of drivers panic with is kept for [`catching_failure`] and not printed. For the program as a whole.
pub fn listen_to_drivers() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        let words = text(panicked.payload()).unwrap_or("no words");
        // Burn where it reads, wherever it was called from.
        let is_of_a_driver =
            panicked.location().is_some_and(is_of_a_driver) || words.contains("Error while reading data");
        DRIVER_PANICKED.store(is_of_a_driver, Ordering::Relaxed);
        // Who looks for a mistake sees everything.
        if !is_of_a_driver || std::env::var_os("RUST_BACKTRACE").is_some() {
            told(panicked);
        }
        if is_of_a_driver {
            FIRST_WORDS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words.to_owned());
        }
    }));
}

fn is_of_a_driver(location: &Location) -> bool {
    ["/cubecl-", "/burn-cubecl-", "/wgpu-", "/cudarc-"].iter().any(|name| location.file().contains(name))
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied())
}

/// Runs `work`. If a card gives up meanwhile, the error is what `failed` makes of the words of its driver.
///
/// # Errors
/// Those of `work`, and that one.
pub fn catching_failure<T>(work: impl FnOnce() -> Result<T>, failed: impl FnOnce(&str) -> Error) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let unanswered = payload.downcast_ref::<Unanswered>().map(|Unanswered(words)| words.clone());
        match unanswered.is_some() || DRIVER_PANICKED.load(Ordering::Relaxed) {
            true => Err(failed(&in_one_line(&first_words().or(unanswered).unwrap_or_default()))),
            false => panic::resume_unwind(payload),
        }
    })
}

/// Without backtraces and what only joins lines.
fn in_one_line(words: &str) -> String {
    let words = words.split("Backtrace:").next().unwrap_or(words);
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    lines.collect::<Vec<_>>().join(": ")
}

/// What a driver said first.
fn first_words() -> Option<String> {
    FIRST_WORDS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_come_is_an_error_and_a_bug_is_none() {
        let failed = |words: &str| Error::Ranks(words.to_owned());
        let outcome = catching_failure::<()>(|| unanswered("poisoned\n\nCaused by:\n  lost\nBacktrace:\nnone"), failed);
        assert_eq!(outcome.unwrap_err().to_string(), "poisoned: lost");
        assert_eq!(catching_failure(|| Ok(1), failed).unwrap(), 1);
        let bug = || catching_failure::<()>(|| panic!("a bug"), failed);
        assert!(panic::catch_unwind(bug).is_err());
    }
}
