//! The person's screen: what is said on it, how wide it is, and what `--quiet` leaves away. All of it on stderr.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

/// Columns of the names that [`row`] puts before what is said of them.
const NAME_COLUMNS: usize = 12;

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

/// `eprintln!` for what is neither result nor error: `--quiet` leaves it away.
macro_rules! say {
    ($($words:tt)*) => {
        if crate::screen::talks() {
            eprintln!($($words)*);
        }
    };
}
pub(crate) use say;

/// A result: `name`, and `text` beside it, in as many lines as the screen needs.
pub fn row(name: &str, text: &str) {
    for line in rows(name, text, width()) {
        eprintln!("{line}");
    }
}

/// `text` in as many lines as the screen needs.
pub fn paragraph(text: &str) {
    for line in wrapped(text, width()) {
        eprintln!("{line}");
    }
}

/// Columns of the terminal; elsewhere those that `COLUMNS` asks for, or as many as a line has.
fn width() -> usize {
    let stderr = std::io::stderr();
    let terminal = stderr.is_terminal().then(|| terminal_size_of(&stderr)).flatten();
    let asked = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = terminal.map(|(Width(columns), _)| usize::from(columns)).or_else(asked);
    columns.filter(|&columns| columns > 0).map_or(usize::MAX, |columns| columns.max(40))
}

/// `text` beside `name`; below it where the name is long.
fn rows(name: &str, text: &str, width: usize) -> Vec<String> {
    let lines = wrapped(text, width.saturating_sub(NAME_COLUMNS));
    let room = NAME_COLUMNS.saturating_sub(name.width());
    let mut rows = Vec::new();
    if room == 0 {
        rows.push(name.to_owned());
    }
    for (number, line) in lines.iter().enumerate() {
        let head = if number == 0 && room > 0 { name } else { "" };
        rows.push(format!("{head}{}{line}", " ".repeat(NAME_COLUMNS - head.width())).trim_end().to_owned());
    }
    rows
}

/// `text` in lines of at most `columns`, broken at spaces; what has none, such as a path, is not broken, so that it can be copied.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_at_the_width_and_paths_stay_whole() {
        let text = "3000 pictures in ten classes with names of several letters at /a/path/that/is/longer/than/a/line/of/forty/columns";
        let rows = rows("data", text, 40);
        assert!(rows.iter().all(|row| row.width() <= 40 || row.contains("/a/path")), "{rows:#?}");
        assert!(rows[0].starts_with("data        3000 pictures") && rows[1].starts_with("            "));
        assert!(rows.last().unwrap().ends_with("forty/columns"));
    }

    #[test]
    fn wide_letters_count_twice_and_long_names_stand_alone() {
        assert_eq!(wrapped("写真 写真 写真", 9), ["写真 写真", "写真"]);
        assert_eq!(rows("in validation too", "3", 80), ["in validation too", "            3"]);
    }
}
