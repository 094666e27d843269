//! What the person sees while a protocol trains: a bar on a terminal, a line now and then elsewhere. Always on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts the pictures of all trainings of a protocol down.
pub struct Countdown {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    what: String,
    started: Instant,
    last_line: Instant,
}

/// Plain lines come no faster than this.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

impl Countdown {
    /// Starts counting `total` pictures.
    pub fn start(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}").expect("the template is well formed");
            ProgressBar::new(total).with_style(style)
        });
        Self { bar, total, done: 0, what: String::new(), started: Instant::now(), last_line: Instant::now() }
    }

    /// Says what is being trained from here on.
    pub fn begin(&mut self, what: String) {
        self.what = what;
        self.show(true);
    }

    /// `pictures` more are done.
    pub fn advance(&mut self, pictures: u64) {
        self.done += pictures;
        self.show(false);
    }

    /// Pictures still to come.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.done)
    }

    fn show(&mut self, now: bool) {
        let left = self.started.elapsed().as_secs_f64() / self.done.max(1) as f64 * self.left() as f64;
        let left = if self.done == 0 { String::new() } else { format!("  left {}", duration(left)) };
        let message = format!("{:3.0} %{left}  {}", 100.0 * self.done as f64 / self.total.max(1) as f64, self.what);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(message);
        } else if now || self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            // A reader that went away must not end an evaluation.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
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
    use super::duration;

    #[test]
    fn durations_read_well() {
        let cases = [(43.2, "43 s"), (600.0, "10 min"), (12_000.0, "3 h 20 min"), (190_800.0, "2 d 5 h")];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
    }
}
