//! Where a setting was written, down to line and column.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A source of settings.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A TOML file, with its text.
    File { path: PathBuf, text: String },
    /// `--set`, as typed.
    Setting(String),
    /// Settings that nobody typed.
    Stored(&'static str),
}

impl Origin {
    pub fn file(path: &Path, text: &str) -> Self {
        Self::File { path: path.to_owned(), text: text.to_owned() }
    }

    /// `file:line:column` of a dotted key, or of its value; without the place where the key is not written out.
    pub fn at(&self, key: &str, part: Part) -> String {
        match self {
            Self::File { path, text } => match span(text, key, part) {
                Some(span) => self.at_byte(span.start),
                None => path.display().to_string(),
            },
            other => other.to_string(),
        }
    }

    /// `file:line:column` of a byte.
    pub fn at_byte(&self, byte: usize) -> String {
        let Self::File { path, text } = self else { return self.to_string() };
        let before = &text[..text.floor_char_boundary(byte)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}", path.display())
    }

    /// Whether a file of this origin has `key`.
    pub fn has(&self, key: &str) -> bool {
        matches!(self, Self::File { text, .. } if span(text, key, Part::Value).is_some())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Setting(setting) => write!(f, "--set {setting}"),
            Self::Stored(name) => f.write_str(name),
        }
    }
}

/// What of a setting to point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its name.
    Key,
    /// What it is set to.
    Value,
}

/// Where `key` is in a text that is TOML.
fn span(text: &str, key: &str, part: Part) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.into_inner();
    // An element of a list is as good as found by its list.
    let mut names = key.split('.').map(|name| name.split('[').next().unwrap_or(name)).peekable();
    while let Some(name) = names.next() {
        let at = table.keys().find(|found| found.get_ref() == name)?.span();
        let value = table.remove(name)?;
        match names.peek() {
            None => return Some(if part == Part::Key { at } else { value.span() }),
            Some(_) => match value.into_inner() {
                DeValue::Table(below) => table = below,
                _ => return None,
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_their_line_and_column() {
        let origin = Origin::file(
            Path::new("my.toml"),
            "seed = 1\n[train]\n  # größer\n  batch_size = 8\n[views]\nview1.hue = 0.5\n",
        );
        let cases = [
            ("seed", Part::Key, "my.toml:1:1"),
            ("train.batch_size", Part::Key, "my.toml:4:3"),
            ("train.batch_size", Part::Value, "my.toml:4:16"),
            ("views.view1.hue", Part::Value, "my.toml:6:13"),
            ("train.other", Part::Key, "my.toml"),
        ];
        for (key, part, expected) in cases {
            assert_eq!(origin.at(key, part), expected, "{key}");
        }
        assert!(origin.has("seed") && !origin.has("schedule.epochs"));
        assert_eq!(Origin::Setting("a=1".to_owned()).at("a", Part::Key), "--set a=1");
    }
}
