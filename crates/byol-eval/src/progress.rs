//! What the person sees while a protocol trains: a bar on a terminal, a line now and then elsewhere. Always on stderr.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use byol_nn::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Whether the person asked to stop; by default nobody can.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop(Option<&'static AtomicBool>);

impl Stop {
    /// Asked for by `flag`.
    pub fn on(flag: &'static AtomicBool) -> Self {
        Self(Some(flag))
    }

    /// To be called wherever work may end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once the flag is set.
    pub fn check(self) -> Result<()> {
        match self.0 {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Whether nobody wants to see progress.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From here on this process shows no progress.
pub fn silence_progress() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Whether progress may be shown.
pub fn shows_progress() -> bool {
    !SILENT.load(Ordering::Relaxed)
}

/// Counts the pictures of all trainings of a protocol down.
pub struct Countdown {
    display: Display,
    total: u64,
    done: u64,
    what: String,
    started: Instant,
    last_line: Instant,
    stop: Stop,
}

/// Where progress is seen.
enum Display {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

/// Plain lines come no faster than this.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

impl Countdown {
    /// Starts counting `total` pictures.
    pub fn start(total: u64) -> Self {
        let display = match (shows_progress(), std::io::stderr().is_terminal()) {
            (false, _) => Display::Nothing,
            (true, true) => {
                let style = ProgressStyle::with_template("{bar:16} {wide_msg}").expect("the template is well formed");
                Display::Bar(ProgressBar::new(total).with_style(style))
            }
            (true, false) => Display::Lines,
        };
        Self::shown(total, display)
    }

    /// Counts without a word.
    pub fn silent() -> Self {
        Self::shown(0, Display::Nothing)
    }

    /// Whether nothing of it is seen.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.display, Display::Nothing)
    }

    /// Ends the work at the next [`advance`](Self::advance) once `stop` says so.
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    fn shown(total: u64, display: Display) -> Self {
        let now = Instant::now();
        Self { display, total, done: 0, what: String::new(), started: now, last_line: now, stop: Stop::default() }
    }

    /// Says what is being done from here on.
    pub fn begin(&mut self, what: String) {
        self.what = what;
        self.show(true);
    }

    /// As [`begin`](Self::begin), to be seen when something is done.
    pub fn name(&mut self, what: String) {
        self.what = what;
    }

    /// `pictures` more are done.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the person asked to stop.
    pub fn advance(&mut self, pictures: u64) -> Result<()> {
        self.done += pictures;
        self.show(false);
        self.stop.check()
    }

    /// `pictures` need not be done after all.
    pub fn leave_out(&mut self, pictures: u64) {
        self.total = self.total.saturating_sub(pictures);
    }

    /// Pictures still to come.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.done)
    }

    fn show(&mut self, now: bool) {
        if matches!(self.display, Display::Nothing) {
            return;
        }
        let left = self.started.elapsed().as_secs_f64() / self.done.max(1) as f64 * self.left() as f64;
        let left = if self.done == 0 { String::new() } else { format!("  left {}", duration(left)) };
        let message = format!("{:3.0} %{left}  {}", 100.0 * self.done as f64 / self.total.max(1) as f64, self.what);
        match &self.display {
            Display::Bar(bar) => {
                bar.set_length(self.total);
                bar.set_position(self.done);
                bar.set_message(message);
            }
            Display::Lines if now || self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                // A reader that went away must not end an evaluation.
                let _ = writeln!(std::io::stderr(), "{message}");
            }
            Display::Lines | Display::Nothing => {}
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// `43 s`, `12 min`, `3 h 20 min`, `2 d 5 h`.
pub fn duration(secs: f64) -> String {
    let secs = secs.round() as u64;
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h {} min", secs / 3600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [(43.2, "43 s"), (600.0, "10 min"), (12_000.0, "3 h 20 min"), (190_800.0, "2 d 5 h")];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn a_countdown_ends_the_work_once_it_is_asked_to() {
        static ASKED: AtomicBool = AtomicBool::new(false);
        let mut countdown = Countdown::silent().stopped_by(Stop::on(&ASKED));
        assert!(countdown.advance(1).is_ok() && Countdown::silent().advance(1).is_ok());
        ASKED.store(true, Ordering::Relaxed);
        assert!(matches!(countdown.advance(1), Err(Error::Interrupted)));
        assert!(Countdown::silent().advance(1).is_ok(), "nobody can stop this one");
    }
}
