//! Output for people (stderr) and for scripts (stdout).

use std::io::IsTerminal;

use byol_eval::{Column, Statistic};
use serde::Serialize;

/// The one JSON object of `--json`.
pub fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("results have a JSON form"));
}

/// What stderr can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns that tables must fit into.
    pub columns: usize,
    /// Whether sentences are broken at that width; a file keeps them whole, so that they are found.
    pub wraps: bool,
    /// Whether bold letters are understood and wanted.
    pub bold: bool,
}

impl Screen {
    /// That of stderr: the terminal's width, bold unless `NO_COLOR` is set; 80 columns of plain text elsewhere.
    pub fn of_stderr() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let size = terminal_size::terminal_size_of(std::io::stderr());
        let columns = size.map_or(80, |(width, _)| usize::from(width.0)).max(40);
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { columns, wraps: is_terminal, bold: is_terminal && !no_color }
    }

    /// A sentence with its first line and the others indented, broken between words.
    pub fn sentence(self, text: &str, first: &str, rest: &str) -> String {
        let mut lines = vec![first.to_owned()];
        let mut width = first.chars().count();
        let mut is_empty = true;
        for word in text.split(' ') {
            let word_width = word.chars().count();
            let is_full = width + usize::from(!is_empty) + word_width > self.columns;
            // A word that is too long for every line is not moved.
            let fits_below = !is_empty || rest.chars().count() + word_width <= self.columns;
            if self.wraps && is_full && fits_below {
                lines.push(rest.to_owned());
                (width, is_empty) = (rest.chars().count(), true);
            }
            let line = lines.last_mut().expect("there is a first line");
            if !is_empty {
                line.push(' ');
                width += 1;
            }
            line.push_str(word);
            (width, is_empty) = (width + word_width, false);
        }
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        lines.join("\n")
    }

    /// `text` in bold where that is understood.
    pub fn strong(self, text: &str) -> String {
        if self.bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
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
        eprintln!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_on_a_terminal_only() {
        let narrow = Screen { columns: 12, wraps: true, bold: false };
        assert_eq!(narrow.sentence("one two three four", "  ", "    "), "  one two\n    three\n    four");
        assert_eq!(narrow.sentence("incomprehensibilities one", "", " "), "incomprehensibilities\n one");
        assert_eq!(narrow.sentence("dangerous word", "a name: ", "  "), "a name:\n  dangerous\n  word");
        let file = Screen { wraps: false, ..narrow };
        assert_eq!(file.sentence("one two three four", "  ", "    "), "  one two three four");
    }
}
