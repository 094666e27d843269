//! Lines for people, on stderr: how wide they may be, and where they are broken.

use std::io::IsTerminal;

use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter};

/// Columns below which nothing is readable.
const LEAST_COLUMNS: usize = 40;

/// Columns of the terminal that stderr is; elsewhere those that the variable `COLUMNS` asks for, if it does.
pub fn screen_columns() -> Option<usize> {
    let stderr = std::io::stderr();
    let terminal = stderr.is_terminal().then(|| terminal_size_of(&stderr)).flatten();
    let asked = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = terminal.map(|(Width(columns), _)| usize::from(columns)).or_else(asked);
    columns.filter(|&columns| columns > 0).map(|columns| columns.max(LEAST_COLUMNS))
}

/// `text` broken between words, the first line after `first`, the others after `rest`; a word that is too long for a line, such as
/// a path, stays whole, so that it can be copied. Wide letters count twice.
pub fn wrapped(text: &str, columns: usize, first: &str, rest: &str) -> String {
    let options = Options::new(columns)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines = textwrap::wrap(text, options);
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
