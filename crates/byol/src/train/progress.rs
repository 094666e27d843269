//! What the person sees while a run goes on: a bar on a terminal, plain lines elsewhere. Always on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use byol_eval::{duration, screen_columns, shows_progress};
use indicatif::{ProgressBar, ProgressStyle};

use super::monitor::{OnlineLine, OnlineNumbers};
use crate::run::StepMetrics;

/// Progress of the training loop.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    total_steps: u64,
    first_step: u64,
    started: Instant,
    last_line: Option<Instant>,
    /// The newest of the run's measurements on itself: that of k-NN, and the others.
    online: [String; 2],
    /// What the bar says of the last logged step, behind the time left.
    message: String,
}

/// One line on stderr.
pub fn line(message: &str) {
    // A reader that went away must not end a training.
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Plain lines come no faster than this.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts the display of steps `first_step .. total_steps`.
    pub fn start(first_step: u64, total_steps: u64) -> Self {
        let bar = (shows_progress() && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total_steps).with_position(first_step);
            let style =
                ProgressStyle::with_template("{bar:8} {pos}/{len} {wide_msg}").expect("the template is well formed");
            bar.set_style(style);
            bar
        });
        Self {
            bar,
            total_steps,
            first_step,
            started: Instant::now(),
            last_line: None,
            online: Default::default(),
            message: String::new(),
        }
    }

    /// Moves the bar; but for the time left its message stays that of the last logged step.
    pub fn advance(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("left {}{}", self.time_left(done), self.message));
        }
    }

    /// Shows a logged step.
    pub fn show(&mut self, metrics: &StepMetrics) {
        let done = metrics.step + 1;
        let [knn, others] = &self.online;
        // What does not fit into a narrow terminal is at the end.
        self.message = format!(
            "  epoch {:.2}  loss {:.3}{knn}  {:.0} images/s{others}  std {:.4}  data wait {:.0} %",
            metrics.epoch,
            metrics.loss,
            metrics.images_per_second,
            metrics.projection_std,
            metrics.data_wait * 100.0,
        );
        let message = format!("left {}{}", self.time_left(done), self.message);
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None => self.print(done, &message),
        }
    }

    /// Says that the run measures itself and takes no step meanwhile.
    pub fn measuring(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("measuring …{}", self.message));
        }
    }

    /// Shows what the run measured on itself, here and in the lines of the steps that follow; its time is not counted.
    pub fn show_online(&mut self, line: &OnlineLine) {
        let OnlineNumbers { rank_me, knn_top1, linear_probe_top1, alignment, uniformity, seconds, .. } = line.numbers;
        self.skip(Duration::from_secs_f64(seconds));
        let percent =
            |name: &str, top1: Option<f64>| top1.map_or(String::new(), |top1| format!("  {name} {top1:.1} %"));
        let others = format!("{}  rank {rank_me:.1}", percent("probe", linear_probe_top1));
        self.online = [percent("k-NN", knn_top1), others];
        if shows_progress() {
            let [knn, others] = &self.online;
            let found = format!("step {}/{}  epoch {:.2}{knn}{others}", line.step, self.total_steps, line.epoch);
            self.say(&match &self.bar {
                Some(_) => found,
                None => format!("{found}  alignment {alignment:.3}  uniformity {uniformity:.3}  in {seconds:.1} s"),
            });
        }
    }

    /// A plain line; of those that come too fast only that of the last step.
    fn print(&mut self, done: u64, message: &str) {
        if !shows_progress() {
            return;
        }
        if self.last_line.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) || done == self.total_steps {
            self.last_line = Some(Instant::now());
            line(&format!("step {done}/{}  {message}", self.total_steps));
        }
    }

    /// Columns that a message may have.
    pub fn columns(&self) -> usize {
        const ORDINARY_COLUMNS: usize = 80;
        screen_columns().unwrap_or(ORDINARY_COLUMNS)
    }

    /// Shows a message, above the bar if there is one.
    pub fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line(message)),
            None => line(message),
        }
    }

    /// Leaves time out that was spent on something else than steps.
    pub fn skip(&mut self, time: Duration) {
        self.started += time;
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Steps left at the mean speed since this process started.
    fn time_left(&self, done: u64) -> String {
        let secs_per_step = self.started.elapsed().as_secs_f64() / (done - self.first_step).max(1) as f64;
        duration(secs_per_step * self.total_steps.saturating_sub(done) as f64)
    }
}
