//! A graphics card that gives up: it is lost, or its memory is full. Cards work on behind the calls, so that this shows wherever somebody
//! waits for an answer; from there it unwinds to whoever can say what is kept.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DataError, Tensor, TensorReadError};

use crate::error::{Error, Result};

/// What unwinds where an answer does not come.
struct Unanswered(String);

/// What the crates of drivers panicked with since the last failure, in whatever thread; the first is closest to the cause.
static DRIVERS_SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn drivers_said() -> MutexGuard<'static, Vec<String>> {
    DRIVERS_SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a flat tensor. Waits for the device.
///
/// # Panics
/// If the tensor is not one of floats. Where a card does not answer this unwinds, too, to [`catching_failure`], without the panic hook.
pub fn read(tensor: Tensor<1>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap_or_else(|error| match error {
        TensorReadError::Execution(_) | TensorReadError::Data(DataError::StorageAccess(_)) => {
            unanswered(error.to_string())
        }
        error => panic!("a float tensor reads as f32: {error}"),
    })
}

/// The value of a tensor of one; as [`read`].
///
/// # Panics
/// As there.
pub fn read_one(tensor: Tensor<1>) -> f32 {
    read(tensor)[0]
}

fn unanswered(words: String) -> ! {
    // Nobody has made a mistake whose place a hook should print.
    panic::resume_unwind(Box::new(Unanswered(words)))
}

/// From now on what the crates of drivers panic with is kept for [`catching_failure`] and not printed. For the program as a whole.
pub fn listen_to_drivers() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        let words = text(panicked.payload()).unwrap_or("no words");
        // Burn where it reads, wherever it was called from.
        let is_of_a_driver = panicked.location().is_some_and(|location| is_of_a_driver(location.file()))
            || words.contains("Error while reading data");
        // Who looks for a mistake sees everything.
        if !is_of_a_driver || std::env::var_os("RUST_BACKTRACE").is_some() {
            told(panicked);
        }
        if is_of_a_driver {
            drivers_said().push(words.to_owned());
        }
    }));
}

fn is_of_a_driver(source_file: &str) -> bool {
    let path = source_file.replace('\\', "/");
    ["/cubecl-", "/burn-cubecl-", "/wgpu-", "/cudarc-"].iter().any(|name| path.contains(name))
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied())
}

/// Runs `work`. If a card gives up meanwhile, the error is what `failed` makes of the words of its driver.
///
/// # Errors
/// Those of `work`, and that one.
pub fn catching_failure<T>(work: impl FnOnce() -> Result<T>, failed: impl FnOnce(&str) -> Error) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| match words_of_a_failure(&*payload) {
        Some(words) => Err(failed(&in_one_line(&words))),
        None => panic::resume_unwind(payload),
    })
}

/// Why a card gave up, if that is what unwinds.
fn words_of_a_failure(payload: &(dyn Any + Send)) -> Option<String> {
    let mut said = drivers_said();
    let own = payload.downcast_ref::<Unanswered>().map(|Unanswered(words)| words.as_str());
    let panicked = || text(payload).filter(|text| said.iter().any(|words| words == text));
    let own = own.or_else(panicked)?.to_owned();
    let first = said.first().cloned();
    said.clear();
    Some(first.unwrap_or(own))
}

/// Without backtraces and what only joins lines.
fn in_one_line(words: &str) -> String {
    let words = words.split("Backtrace:").next().unwrap_or(words);
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    lines.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(words: &str) -> Error {
        Error::Ranks(words.to_owned())
    }

    fn caught(work: impl FnOnce() -> Result<()>) -> Option<String> {
        panic::catch_unwind(AssertUnwindSafe(|| catching_failure(work, failed)))
            .ok()
            .map(|outcome| outcome.unwrap_err().to_string())
    }

    /// One test, since drivers speak to the process as a whole.
    #[test]
    fn a_card_that_gives_up_is_an_error_in_the_first_words_of_its_driver_and_a_bug_is_none() {
        let lost = || unanswered("poisoned\n\nCaused by:\n  no answer\nBacktrace:\nnone".to_owned());
        assert_eq!(caught(lost).as_deref(), Some("poisoned: no answer"));
        assert_eq!(catching_failure(|| Ok(1), failed).unwrap(), 1);
        assert_eq!(caught(|| panic!("a bug")), None);

        listen_to_drivers();
        // As Burn panics, in a thread of a driver; then somebody misses an answer, or makes a mistake of his own.
        let driver = || drop(std::thread::spawn(|| panic!("Error while reading data: lost")).join());
        driver();
        assert_eq!(caught(lost).as_deref(), Some("Error while reading data: lost"));
        assert_eq!(caught(lost).as_deref(), Some("poisoned: no answer"), "words of an earlier failure");
        driver();
        assert_eq!(caught(|| panic!("a bug beside it")), None);
        assert_eq!(
            caught(|| panic!("Error while reading data: lost")).as_deref(),
            Some("Error while reading data: lost")
        );
    }

    #[test]
    fn drivers_are_known_by_the_folders_of_their_crates() {
        assert!(is_of_a_driver("registry/src/index/cubecl-wgpu-0.11.3/src/compute/stream.rs"));
        assert!(is_of_a_driver("C:\\cargo\\registry\\src\\wgpu-30.0.1\\src\\lib.rs"));
        assert!(!is_of_a_driver("crates/byol-cube/src/arena.rs"));
    }
}
