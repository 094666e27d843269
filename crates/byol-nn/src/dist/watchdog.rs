//! Ends a process that waits for the other ranks for too long: one that is stopped, or a machine that is lost, says nothing, and those that
//! wait for it would wait for ever.

use std::fmt::{self, Debug, Formatter};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Until a run says otherwise (`train.rank_timeout_secs`).
const DEFAULT_LIMIT: Duration = Duration::from_secs(1800);

/// Rank 0 speaks first; the others only if it is rank 0 that is lost.
const GRACE: Duration = Duration::from_secs(5);

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What is said when time is over.
type LastWords = Box<dyn Fn(Duration) + Send>;

/// Watches the collective calls of a process.
pub struct Watchdog {
    state: Arc<Mutex<State>>,
}

struct State {
    limit: Duration,
    waiting_since: Option<Instant>,
    last_words: LastWords,
}

impl Debug for Watchdog {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        formatter.write_str("Watchdog")
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Watches from a thread of its own; `end` ends all ranks.
    pub fn start(rank: usize, end: impl Fn() + Send + 'static) -> Self {
        let last_words: LastWords = Box::new(move |waited| {
            // A reader that went away must not keep the others waiting.
            let _ = writeln!(
                std::io::stderr(),
                "error: rank {rank} has waited {:.0} s for the other ranks, before the first step; all ranks end now",
                waited.as_secs_f64()
            );
        });
        let state = Arc::new(Mutex::new(State { limit: DEFAULT_LIMIT, waiting_since: None, last_words }));
        let watched = state.clone();
        let grace = if rank == 0 { Duration::ZERO } else { GRACE };
        let watch = move || {
            loop {
                std::thread::sleep(PAUSE);
                let state = locked(&watched);
                let waited = state.waiting_since.map_or(Duration::ZERO, |since| since.elapsed());
                if waited > state.limit + grace {
                    (state.last_words)(waited);
                    end();
                }
            }
        };
        // Without threads a run does not start at all, so that this one is there.
        let _ = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
        Self { state }
    }

    /// From now on, `last_words` are said to the person with the time it took, and all ranks end, when a wait takes longer than `limit`.
    pub fn set(&self, limit: Duration, last_words: impl Fn(Duration) + Send + 'static) {
        let mut state = locked(&self.state);
        (state.limit, state.last_words) = (limit, Box::new(last_words));
    }

    /// Does `wait`, which waits for other ranks.
    pub fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        let since = Some(Instant::now());
        locked(&self.state).waiting_since = since;
        let outcome = wait();
        locked(&self.state).waiting_since = None;
        outcome
    }
}
