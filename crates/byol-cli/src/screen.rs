//! The person's screen: what is said on it, how wide it is, and what `--quiet` leaves away. All of it on stderr.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use byol_eval::screen_columns;
use unicode_width::UnicodeWidthStr;

/// Columns of the names that [`row`] puts before what is said of them.
const NAME_COLUMNS: usize = 12;

/// Columns of a table that goes to a file.
const ORDINARY_COLUMNS: usize = 80;

static QUIET: AtomicBool = AtomicBool::new(false);

/// `--quiet`: from here on only results and errors.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
    byol_eval::silence_progress();
}

/// Whether more than results and errors is wanted.
pub fn talks() -> bool {
    !QUIET.load(Ordering::Relaxed)
}

/// Of several ranks the first one speaks; the others only say what stops them.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From here on nothing at all: another rank says it.
pub fn be_silent() {
    be_quiet();
    SILENT.store(true, Ordering::Relaxed);
}

/// Whether anything is said here.
pub fn speaks() -> bool {
    !SILENT.load(Ordering::Relaxed)
}

/// Ends [`be_silent`]: this rank has an error of its own.
pub fn speak() {
    SILENT.store(false, Ordering::Relaxed);
}

/// A line on stderr. Where that is a full disk, or its reader went away, the line is lost and the work goes on:
/// `eprintln!` would panic.
macro_rules! state {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        if crate::screen::speaks() {
            let _ = writeln!(std::io::stderr(), $($words)*);
        }
    }};
}
pub(crate) use state;

/// [`state!`] for what is neither result nor error: `--quiet` leaves it away.
macro_rules! say {
    ($($words:tt)*) => {
        if crate::screen::talks() {
            crate::screen::state!($($words)*);
        }
    };
}
pub(crate) use say;

/// A result: `name`, and `text` beside it, in as many lines as the screen needs.
pub fn row(name: &str, text: &str) {
    state!("{}", Screen::of_stderr().row(name, text));
}

/// `text` in as many lines as the screen needs.
pub fn paragraph(text: &str) {
    state!("{}", Screen::of_stderr().wrapped(text, "", ""));
}

/// What stderr can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns that lines are broken at; a file has none, its lines stay whole, so that they are found.
    pub columns: Option<usize>,
    /// Whether bold letters are understood and wanted.
    pub bold: bool,
}

impl Screen {
    /// That of stderr: the terminal's columns, elsewhere those that `COLUMNS` asks for; bold on a terminal unless `NO_COLOR` is set.
    pub fn of_stderr() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { columns: screen_columns(), bold: std::io::stderr().is_terminal() && !no_color }
    }

    /// Columns that a table must fit into.
    pub fn table_columns(self) -> usize {
        self.columns.unwrap_or(ORDINARY_COLUMNS)
    }

    /// [`byol_eval::wrapped`] at the columns of the screen.
    pub fn wrapped(self, text: &str, first: &str, rest: &str) -> String {
        byol_eval::wrapped(text, self.columns.unwrap_or(usize::MAX), first, rest)
    }

    /// `text` beside `name`; below it where the name is long.
    fn row(self, name: &str, text: &str) -> String {
        let indent = " ".repeat(NAME_COLUMNS);
        match NAME_COLUMNS.checked_sub(name.width() + 1) {
            Some(room) => self.wrapped(text, &format!("{name}{}", " ".repeat(room + 1)), &indent),
            None => format!("{name}\n{}", self.wrapped(text, &indent, &indent)),
        }
    }

    /// `text` in bold where that is understood.
    pub fn strong(self, text: &str) -> String {
        if self.bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Screen = Screen { columns: Some(12), bold: false };

    #[test]
    fn lines_hold_at_the_width_and_paths_stay_whole() {
        let text = "3000 pictures in ten classes with names of several letters at /a/path/that/is/longer/than/a/line/of/forty/columns";
        let row = Screen { columns: Some(40), bold: false }.row("data", text);
        let lines: Vec<&str> = row.lines().collect();
        assert!(lines.iter().all(|line| line.width() <= 40 || line.contains("/a/path")), "{lines:#?}");
        assert!(lines[0].starts_with("data        3000 pictures") && lines[1].starts_with("            "));
        assert!(lines.last().unwrap().ends_with("forty/columns"));
    }

    #[test]
    fn wide_letters_count_twice_and_long_names_stand_alone() {
        assert_eq!(Screen { columns: Some(9), bold: false }.wrapped("写真 写真 写真", "", ""), "写真 写真\n写真");
        assert_eq!(
            Screen { columns: Some(80), bold: false }.row("in validation too", "3"),
            "in validation too\n            3"
        );
    }

    #[test]
    fn sentences_are_broken_on_a_terminal_only() {
        assert_eq!(NARROW.wrapped("one two three four", "  ", "    "), "  one two\n    three\n    four");
        assert_eq!(NARROW.wrapped("incomprehensibilities one", "", " "), "incomprehensibilities\n one");
        assert_eq!(NARROW.wrapped("a name: dangerous word", "", "  "), "a name:\n  dangerous\n  word");
        let file = Screen { columns: None, ..NARROW };
        assert_eq!(file.wrapped("one two three four", "  ", "    "), "  one two three four");
        assert_eq!(file.wrapped("one\ntwo", "a ", "  "), "a one\n  two", "lines of the text stay lines");
    }
}
