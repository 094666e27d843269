//! What the person sees while something takes longer than a moment: a bar on a terminal, a line now and then elsewhere. Always on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::{duration, shows_progress};

/// What is done sooner shows nothing.
const DELAY: Duration = Duration::from_millis(1500);
/// A bar is drawn so often.
const FRAME: Duration = Duration::from_millis(200);
/// Plain lines come no faster than this.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

/// Whether a meter is on the screen: one within another stays unseen, as two would write over each other.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Progress of one piece of work, seen from its second second on until it is dropped.
pub struct Meter {
    done: Arc<AtomicU64>,
    /// Dropped to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Starts counting to `total`; 0 where it is not known how much there is, which shows the time that has passed.
    pub fn start(what: &str, total: u64) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let (running, stop) = channel::<()>();
        let display = Display { what: what.to_owned(), total, done: done.clone(), started: Instant::now() };
        let watching = move || {
            let ended = |wait| stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
            if !ended(DELAY) && !SHOWN.swap(true, Ordering::Relaxed) {
                match std::io::stderr().is_terminal() {
                    true => display.bar(ended),
                    false => display.lines(ended),
                }
                SHOWN.store(false, Ordering::Relaxed);
            }
        };
        // Where the system starts no more threads, the work goes on without being counted on the screen.
        let thread = shows_progress().then(|| std::thread::Builder::new().spawn(watching).ok()).flatten();
        Self { done, running: Some(running), thread }
    }

    /// `count` more are done.
    pub fn advance(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// `done` are done.
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // A display that failed has nothing to say about the work.
            let _ = thread.join();
        }
    }
}

/// Does `work`, which cannot tell how far it is.
pub fn waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let _meter = Meter::start(what, 0);
    work()
}

/// What the thread of a meter knows.
struct Display {
    what: String,
    total: u64,
    done: Arc<AtomicU64>,
    started: Instant,
}

impl Display {
    /// Draws until the work has `ended`; the message is cut where the terminal ends.
    fn bar(&self, ended: impl Fn(Duration) -> bool) {
        let template = if self.total > 0 { "{bar:16} {wide_msg}" } else { "{spinner} {wide_msg}" };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::new(self.total.max(1)).with_style(style);
        loop {
            bar.set_position(self.done.load(Ordering::Relaxed));
            bar.set_message(self.words());
            bar.tick();
            if ended(FRAME) {
                break;
            }
        }
        bar.finish_and_clear();
    }

    fn lines(&self, ended: impl Fn(Duration) -> bool) {
        while !ended(LINE_INTERVAL) {
            // A reader that went away must not end the work.
            let _ = writeln!(std::io::stderr(), "{}", self.words());
        }
    }

    fn words(&self) -> String {
        let (done, secs) = (self.done.load(Ordering::Relaxed), self.started.elapsed().as_secs_f64());
        let Self { what, total, .. } = self;
        match (total, done) {
            (0, _) => format!("{what}, {} so far", duration(secs)),
            (_, 0) => format!("{what} 0/{total}"),
            _ => {
                let left = secs / done as f64 * total.saturating_sub(done) as f64;
                format!("{what} {done}/{total}, {} left", duration(left))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(total: u64, done: u64, secs: u64) -> String {
        let started = Instant::now().checked_sub(Duration::from_secs(secs)).unwrap_or_else(Instant::now);
        Display { what: "representations".to_owned(), total, done: Arc::new(done.into()), started }.words()
    }

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        assert!(display(400, 100, 10).starts_with("representations 100/400, 30 s left"));
        assert_eq!(display(400, 0, 10), "representations 0/400");
        assert!(display(0, 0, 10).starts_with("representations, 10 s so far"));
    }

    #[test]
    fn short_work_gives_its_result_and_shows_nothing() {
        assert_eq!(waiting("adding", || 1 + 1), 2);
        assert!(!SHOWN.load(Ordering::Relaxed));
    }
}
