//! Output for people (stderr) and for scripts (stdout).

use std::io::Write;

use byol_eval::{Column, Statistic};
use serde::Serialize;

use crate::screen::{self, state};

/// The one JSON object of `--json`.
pub fn json(value: &impl Serialize) {
    on_stdout(&(serde_json::to_string(value).expect("results have a JSON form") + "\n"));
}

/// Writes `text` to stdout. Where that cannot be (a full disk, a reader that went away) it is said on stderr, and the exit
/// code stays that of the work, which is done and kept.
pub fn on_stdout(text: &str) {
    if !screen::speaks() {
        return;
    }
    let mut stdout = std::io::stdout();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        state!("standard output cannot be written, so what belongs there is lost: {error}");
    }
}

/// A table with a header, columns padded to the widest cell.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        state!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Percent with one digit.
pub fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

/// Mean and, if there is one, the deviation: `59.2 ± 0.3`; the unit stands in the head of the column.
pub fn statistic(column: &Column, statistic: &Statistic) -> String {
    let digits = column.digits;
    match statistic.std {
        Some(std) => format!("{:.digits$} ± {std:.digits$}", statistic.mean),
        None => format!("{:.digits$}", statistic.mean),
    }
}
