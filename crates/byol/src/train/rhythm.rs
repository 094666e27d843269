//! When a run measures itself.

use std::time::Instant;

use crate::config::Rhythm;

/// Share of a run's training time that measurements may take with [`Rhythm::Auto`].
pub const MEASURING_SHARE: f64 = 0.05;

/// Parts of a run between measurements with [`Rhythm::Auto`]: 3 at least, else 3·2ʲ, so that a finer grid holds the coarser ones.
const FEWEST_PARTS: u64 = 3;
const MOST_PARTS: u64 = 48;

/// The steps with a measurement. Which ones they are may depend on the clock; what is found there does not.
#[derive(Debug)]
pub struct Timetable {
    rhythm: Rhythm,
    /// Passes over the data per step.
    epochs_per_step: f64,
    total_steps: u64,
    first_step: u64,
    started: Instant,
    /// What the newest measurement took, and all of this process.
    last_secs: Option<f64>,
    measuring_secs: f64,
}

impl Timetable {
    /// The timetable of a process that goes on at `first_step`; `last_secs` is what the run's newest measurement took.
    pub fn start(
        rhythm: Rhythm,
        epochs_per_step: f64,
        total_steps: u64,
        first_step: u64,
        last_secs: Option<f64>,
    ) -> Self {
        let started = Instant::now();
        Self { rhythm, epochs_per_step, total_steps, first_step, started, last_secs, measuring_secs: 0.0 }
    }

    /// Notes a measurement.
    pub fn measured(&mut self, seconds: f64) {
        self.last_secs = Some(seconds);
        self.measuring_secs += seconds;
    }

    /// Whether there is a measurement after `step` steps, besides the one after the last: before the first, and where a
    /// multiple of `every_epochs` or a part of the run is passed.
    pub fn is_due(&self, step: u64) -> bool {
        let passes = |per_step: f64| (step as f64 * per_step).floor() > ((step - 1) as f64 * per_step).floor();
        step == 0
            || match self.rhythm {
                Rhythm::Epochs(every) => passes(self.epochs_per_step / every),
                Rhythm::Auto => {
                    let parts = self.last_secs.map_or(FEWEST_PARTS, |last| parts(last, self.training_secs(step)));
                    step * parts / self.total_steps > (step - 1) * parts / self.total_steps
                }
            }
    }

    /// Time that all steps of the run take at the speed of this process; 0 before its first step.
    fn training_secs(&self, step: u64) -> f64 {
        let taken = step - self.first_step;
        let secs = self.started.elapsed().as_secs_f64() - self.measuring_secs;
        if taken == 0 { 0.0 } else { secs.max(0.0) / taken as f64 * self.total_steps as f64 }
    }
}

/// The most parts whose measurements, one more than parts, take [`MEASURING_SHARE`] of the training time.
fn parts(measurement_secs: f64, training_secs: f64) -> u64 {
    let affordable = MEASURING_SHARE * training_secs / measurement_secs.max(1e-6) - 1.0;
    let mut parts = FEWEST_PARTS;
    while parts < MOST_PARTS && (parts * 2) as f64 <= affordable {
        parts *= 2;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(rhythm: Rhythm, epochs_per_step: f64, total_steps: u64) -> Vec<u64> {
        let timetable = Timetable::start(rhythm, epochs_per_step, total_steps, 0, None);
        (0..total_steps).filter(|&step| timetable.is_due(step)).collect()
    }

    #[test]
    fn measurements_come_before_the_first_step_and_when_a_multiple_is_passed() {
        let every = |every| due(Rhythm::Epochs(every), 16.0 / 50.0, 14);
        assert_eq!(every(1.0), [0, 4, 7, 10, 13]);
        assert_eq!(every(2.5), [0, 8]);
        assert_eq!(every(0.1), (0..14).collect::<Vec<_>>());
    }

    #[test]
    fn by_itself_a_run_is_measured_at_thirds_at_least_and_more_often_while_that_takes_a_twentieth_of_the_time() {
        assert_eq!(due(Rhythm::Auto, 0.3, 12), [0, 4, 8]);
        assert_eq!(due(Rhythm::Auto, 0.3, 100), [0, 34, 67]);
        // One second in 1000 s of training: 50 measurements are a twentieth.
        let cases =
            [(1.0, 0.0, 3), (1.0, 100.0, 3), (1.0, 140.0, 6), (1.0, 1000.0, 48), (6.0, 1200.0, 6), (0.0, 9e9, 48)];
        for (measurement, training, expected) in cases {
            assert_eq!(parts(measurement, training), expected, "{measurement} s in {training} s");
            let spent = measurement * (expected + 1) as f64;
            assert!(expected == FEWEST_PARTS || spent <= MEASURING_SHARE * training, "{measurement} s in {training} s");
        }
    }

    #[test]
    fn a_measurement_that_takes_long_makes_the_next_ones_rarer() {
        let mut timetable = Timetable::start(Rhythm::Auto, 0.3, 96, 0, Some(1e-9));
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(timetable.is_due(2) && !timetable.is_due(1), "48 parts");
        timetable.measured(1e6);
        assert!(!timetable.is_due(4) && timetable.is_due(32), "thirds");
    }
}
