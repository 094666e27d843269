//! Which names of folders, files and values of a column are which split.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{Part, Word};

/// What names of splits stand for, by `data.split_map`.
pub(crate) type SplitMap = BTreeMap<String, String>;

/// The wish for all splits as one set.
pub(crate) const ALL: &str = "all";

/// A split was asked for that is not among these.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoSuchSplit(pub Vec<String>);

/// Which names are which split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// The splits, in their usual order.
    pub splits: Vec<String>,
    /// The place of each name's split.
    pub of: Vec<Option<usize>>,
    /// What is to be said about them.
    pub notes: Vec<String>,
}

/// The splits among folders that lie side by side, if there are any. Without a word in `map`, that takes a folder to train
/// on beside another, or nothing but such folders. What the name of a folder says beside the word of its part
/// (`seg_train`) must stand in one of each kind (`seg_test`), for `train_station` is no split.
pub(super) fn split_folders(folders: &[String], map: &SplitMap) -> Option<Groups> {
    let words: Vec<Option<Word>> = folders.iter().map(|folder| Word::within(folder)).collect();
    let has = |rest: &str, is_train: bool| {
        words.iter().flatten().any(|word| word.rest == rest && (word.part == Part::Train) == is_train)
    };
    let is_meant = |word: &Word| word.rest.is_empty() || (has(&word.rest, true) && has(&word.rest, false));
    let words: Vec<Option<Word>> = words.iter().map(|word| word.clone().filter(is_meant)).collect();
    let is_alone = |word: &Word| {
        words.iter().flatten().filter(|other| (other.part, &other.rest) == (word.part, &word.rest)).count() == 1
    };
    let name = |place: usize, word: &Word| match word.rest.as_str() {
        _ if is_alone(word) => folders[place].clone(),
        "" => word.text.clone(),
        rest => format!("{}_{rest}", word.text),
    };
    let named: Vec<Option<String>> =
        (0..folders.len()).map(|place| words[place].as_ref().map(|word| name(place, word))).collect();
    grouped(folders, named, map)
}

/// The splits among files that lie side by side, `imagenet-train-0000.tar`, `test/0.tar`: the word in the name of the
/// file, else in that of the innermost folder that has one.
pub(crate) fn split_files(files: &[String], map: &SplitMap) -> Option<Groups> {
    let word = |name: &String| {
        let stem = |part: &str| part.split('.').next().unwrap_or(part).to_owned();
        name.rsplit('/').find_map(|part| Word::within(&stem(part)))
    };
    let words: Vec<Option<Word>> = files.iter().map(word).collect();
    let name = |word: &Word| {
        let first = words.iter().flatten().find(|other| other.part == word.part);
        first.map_or_else(|| word.text.clone(), |first| first.text.clone())
    };
    let named = words.iter().map(|word| word.as_ref().map(name)).collect();
    grouped(files, named, map)
}

/// Puts names of the same split together; `named` has the split of each as its own name tells it, `map` goes before.
fn grouped(names: &[String], named: Vec<Option<String>>, map: &SplitMap) -> Option<Groups> {
    let named: Vec<Option<String>> =
        names.iter().zip(named).map(|(name, named)| mapped(name, map).map(str::to_owned).or(named)).collect();
    let is_mapped = names.iter().any(|name| mapped(name, map).is_some());
    let parts: BTreeSet<Option<Part>> =
        named.iter().flatten().map(|split| Word::within(split).map(|word| word.part)).collect();
    let has_train_beside_another = parts.len() > 1 && parts.contains(&Some(Part::Train));
    let has_nothing_else = parts.len() > 1 && named.iter().all(Option::is_some);
    if !(is_mapped || has_train_beside_another || has_nothing_else) {
        return None;
    }
    let mut splits: Vec<String> = named.iter().flatten().cloned().collect();
    sort_splits(&mut splits);
    splits.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
    let place = |split: &String| splits.iter().position(|other| other.eq_ignore_ascii_case(split));
    let of: Vec<Option<usize>> = named.iter().map(|split| place(split.as_ref()?)).collect();
    let mut notes = Vec::new();
    for (name, split) in map {
        if !names.iter().any(|there| mapped(there, map) == Some(split) && is_called(there, name)) {
            notes.push(format!("data.split_map: nothing is called {name}; there are {}", few(names)));
        }
    }
    Some(Groups { splits, of, notes })
}

/// The split that `data.split_map` says for a folder, a value of a column, or a file by its whole name, its stem or what
/// stands before its number.
pub(crate) fn mapped<'a>(name: &str, map: &'a SplitMap) -> Option<&'a str> {
    map.iter().find(|(key, _)| is_called(name, key)).map(|(_, split)| split.as_str())
}

fn is_called(name: &str, key: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    let before_number = stem.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches(['-', '_']);
    [name, stem, before_number].iter().any(|text| text.eq_ignore_ascii_case(key))
        || name.rsplit_once('/').is_some_and(|(folders, base)| {
            is_called(base, key) || folders.split('/').any(|folder| folder.eq_ignore_ascii_case(key))
        })
}

fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { shown + ", …" } else { shown }
}

/// Sorts names of splits: those we know first, in their usual order.
pub(crate) fn sort_splits(splits: &mut Vec<String>) {
    let rank = |split: &String| Word::within(split).map_or((true, None), |word| (false, Some(word.part)));
    splits.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    splits.dedup();
}

/// The word for a part of a data set in a name, as it is written: `val` in `in1k-val-00`.
pub(crate) fn word_of_part(name: &str) -> Option<String> {
    Word::within(name).map(|word| word.text)
}

/// The test parts among `present`, then the validation parts.
pub(crate) fn to_test_on(present: &[String]) -> Vec<&str> {
    let of = |part: Part| {
        present
            .iter()
            .filter(move |split| Word::within(split).is_some_and(|word| word.part == part))
            .map(String::as_str)
    };
    of(Part::Test).chain(of(Part::Validation)).collect()
}

/// The place in `present` of the split asked for, by its name or by a word for the same part of a data set; without a wish,
/// that of the part to train on, or else the first.
pub(crate) fn choose(present: &[String], wish: Option<&str>) -> Result<usize, NoSuchSplit> {
    let called = |wanted: &str| present.iter().position(|split| split.eq_ignore_ascii_case(wanted));
    let of_part = |part: Part| {
        let in_part = |split: &String| Word::within(split).is_some_and(|word| word.part == part);
        let plain = present.iter().position(|split| Part::of(split) == Some(part));
        plain.or_else(|| present.iter().position(in_part))
    };
    match wish {
        Some(wish) => called(wish).or_else(|| of_part(Part::of(wish)?)),
        None => called("train").or_else(|| of_part(Part::Train)).or((!present.is_empty()).then_some(0)),
    }
    .ok_or_else(|| NoSuchSplit(present.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files(files: &[&str], map: &[(&str, &str)]) -> Option<(Vec<String>, Vec<Option<usize>>)> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        let map = map.iter().map(|&(name, split)| (name.to_owned(), split.to_owned())).collect();
        split_files(&files, &map).map(|groups| (groups.splits, groups.of))
    }

    #[test]
    fn names_of_archives_tell_their_split() {
        let two = |splits: [&str; 2], of: &[Option<usize>]| Some((splits.map(str::to_owned).to_vec(), of.to_vec()));
        for (files, expected) in [
            (&["train-000.tar", "Train.tar.gz", "val_1.tar"][..], two(["train", "val"], &[Some(0), Some(0), Some(1)])),
            (&["in1k-train-0.tar", "in1k-validation-00.tar"], two(["train", "validation"], &[Some(0), Some(1)])),
            (&["test/0.tar", "train/0.tar", "wind.tar"], two(["train", "test"], &[Some(1), Some(0), None])),
            (&["train-0.tar", "train-1.tar"], None),
            (&["a.tar", "test.tar"], None),
        ] {
            assert_eq!(of_files(files, &[]), expected, "{files:?}");
        }
        let map = [("part", "train"), ("rest", "test")];
        assert_eq!(of_files(&["part-00.tar", "x/rest.7.tar"], &map), two(["train", "test"], &[Some(0), Some(1)]));
    }

    #[test]
    fn a_split_is_chosen_by_name_or_by_meaning() {
        let present = ["training", "validation", "test_2"].map(str::to_owned);
        for (wish, place) in [
            (None, Some(0)),
            (Some("Validation"), Some(1)),
            (Some("val"), Some(1)),
            (Some("dev"), Some(1)),
            (Some("train"), Some(0)),
            (Some("test"), Some(2)),
            (Some("unlabeled"), None),
            (Some("fold"), None),
        ] {
            assert_eq!(choose(&present, wish).ok(), place, "{wish:?}");
        }
        assert_eq!(choose(&["b".to_owned(), "a".to_owned()], None), Ok(0));
        assert_eq!(choose(&[], None), Err(NoSuchSplit(Vec::new())));
    }
}
