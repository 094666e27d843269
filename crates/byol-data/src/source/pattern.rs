//! Paths with braces, as data cut in shards is named: `shard-{000..127}.tar`, `{train,extra}/{0..9}.tar`.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::remote::is_url;

/// More paths than this come from a slip of the pen.
const MAX_PATHS: usize = 1 << 20;

/// The paths meant by `paths`: one that does not exist as it is written and has braces stands for several, in order.
pub(crate) fn expand_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut expanded = Vec::new();
    for path in paths {
        match path.to_str().filter(|_| path.symlink_metadata().is_err()).map(expand) {
            None => expanded.push(path.clone()),
            Some(None) => return Err(DataError::TooManyPaths { pattern: path.clone(), limit: MAX_PATHS }),
            Some(Some(several)) => {
                let several: Vec<PathBuf> = several.into_iter().map(PathBuf::from).collect();
                // Whether a URL is there only its server knows.
                if !is_url(path)
                    && several != [path.clone()]
                    && let Some(missing) = several.iter().find(|path| path.symlink_metadata().is_err())
                {
                    return Err(missing_shard(path, missing, several.len()));
                }
                expanded.extend(several);
            }
        }
    }
    Ok(expanded)
}

fn missing_shard(pattern: &Path, missing: &Path, count: usize) -> DataError {
    DataError::MissingShard { pattern: pattern.into(), path: missing.into(), count }
}

/// What a text with braces stands for; itself without any, `None` for too much.
fn expand(text: &str) -> Option<Vec<String>> {
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some((before, items, after)) = first_braces(rest) {
        let items = items?;
        if done.len().checked_mul(items.len())? > MAX_PATHS {
            return None;
        }
        done = done.iter().flat_map(|start| items.iter().map(move |item| format!("{start}{before}{item}"))).collect();
        rest = after;
    }
    done.iter_mut().for_each(|path| path.push_str(rest));
    Some(done)
}

/// What stands before the first braces that hold a range or a list, their items (`None` for too many), and the rest.
fn first_braces(text: &str) -> Option<(&str, Option<Vec<String>>, &str)> {
    for (open, _) in text.match_indices('{') {
        let inner = &text[open + 1..];
        let Some(close) = inner.find(['{', '}']).filter(|&close| inner.as_bytes()[close] == b'}') else { continue };
        let (inside, after) = (&inner[..close], &inner[close + 1..]);
        if let Some(range) = inside.split_once("..").and_then(|(first, last)| Range::of(first, last)) {
            return Some((&text[..open], range.items(), after));
        } else if inside.contains(',') {
            return Some((&text[..open], Some(inside.split(',').map(str::to_owned).collect()), after));
        }
    }
    None
}

struct Range {
    first: u64,
    last: u64,
    /// Digits to fill up to with zeros.
    digits: usize,
}

impl Range {
    fn of(first: &str, last: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let padded = |text: &str| text.len() > 1 && text.starts_with('0');
        let digits = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
        Some(Self { first: number(first)?, last: number(last)?, digits })
    }

    /// Upwards or downwards.
    fn items(&self) -> Option<Vec<String>> {
        let &Self { first, last, digits } = self;
        if first.abs_diff(last) >= MAX_PATHS as u64 || digits > 255 {
            return None;
        }
        let text = |number: u64| format!("{number:0digits$}");
        Some(if first <= last { (first..=last).map(text).collect() } else { (last..=first).rev().map(text).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_every_number_and_word_in_order() {
        for (text, paths) in [
            ("plain.tar", &["plain.tar"][..]),
            ("s-{08..11}.tar", &["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
            ("{8..10}", &["8", "9", "10"]),
            ("{001..2}", &["001", "002"]),
            ("{2..1}", &["2", "1"]),
            ("{a,b}/{0..1}", &["a/0", "a/1", "b/0", "b/1"]),
            ("x{,y}", &["x", "xy"]),
            ("{a}{b..c}{", &["{a}{b..c}{"]),
            ("{x{1..2}}", &["{x1}", "{x2}"]),
            ("{-1..2}", &["{-1..2}"]),
        ] {
            assert_eq!(expand(text).unwrap(), paths, "{text}");
        }
    }

    #[test]
    fn a_pattern_of_endless_length_is_refused() {
        for text in ["{0..99999999999}", "{0..1048575}{0..9}", "{0..9999}{0..9999}{0..9999}{0..9999}{0..9999}{0..9999}"]
        {
            assert_eq!(expand(text), None, "{text}");
        }
        let message = expand_all(&["/no/{0..99999999999}".into()]).unwrap_err().to_string();
        assert!(message.contains("/no/{0..99999999999}") && message.contains("1048576"), "{message}");
    }
}
