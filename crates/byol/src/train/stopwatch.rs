//! The speed that logged steps state.

use std::time::{Duration, Instant};

/// Time since the last logged step, or since the process began, and how much of it was waiting for pictures.
pub struct Stopwatch {
    since: Instant,
    first_step: u64,
    waited_secs: f64,
}

impl Stopwatch {
    /// A window that begins before step `first_step`.
    pub fn start(first_step: u64) -> Self {
        Self { since: Instant::now(), first_step, waited_secs: 0.0 }
    }

    /// Counts the time of `wait` as waiting.
    pub fn waiting<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = wait();
        self.waited_secs += start.elapsed().as_secs_f64();
        value
    }

    /// Counts what passed while nobody measured it as waiting.
    pub fn waited(&mut self, wait: Duration) {
        self.waited_secs += wait.as_secs_f64();
    }

    /// Leaves out time that was spent on something else, as far as it lies within this window.
    pub fn skip(&mut self, seconds: f64) {
        self.since = (self.since + Duration::from_secs_f64(seconds)).min(Instant::now());
    }

    /// Steps before `step` per second.
    pub fn steps_per_second(&self, step: u64) -> f64 {
        (step - self.first_step) as f64 / self.since.elapsed().as_secs_f64()
    }

    /// Share of the time that was waiting, 0 to 1.
    pub fn waiting_share(&self) -> f64 {
        (self.waited_secs / self.since.elapsed().as_secs_f64()).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_of_a_resumed_run_counts_all_of_its_steps() {
        let began = |first_step| Stopwatch {
            since: Instant::now() - Duration::from_secs(1000),
            ..Stopwatch::start(first_step)
        };
        let speeds = [began(0).steps_per_second(1), began(14).steps_per_second(20)];
        // However long this test is kept waiting, six steps are six times one.
        assert!((speeds[1] / speeds[0] - 6.0).abs() < 0.6, "{speeds:?}");
    }
}
