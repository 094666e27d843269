//! Rules on paths: which split a picture belongs to, and which label it has.
//!
//! Paths are relative, sorted bytewise and separated by `/`. Folders that hold all pictures of the data between them
//! and the top (`archive/…`) are looked through; "top" below is the first level where paths differ.
//!
//! - If the top holds `train` beside `test`, `val` or `validation` (any case), these are splits; pictures outside of
//!   them are left out. The label comes from the first folder below the split.
//! - Otherwise the label comes from the first folder.
//! - One folder alone says nothing, so there are labels only where there are at least two. Classes are sorted bytewise
//!   and taken over all splits together, so a class that `test` lacks does not shift the labels of the others.

use std::collections::BTreeSet;

/// Which pictures of a source are used, and as what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The split in use, if the data has splits.
    pub split: Option<String>,
    /// Every split the data has.
    pub splits_present: Vec<String>,
    /// Class names; a label is a place in this list.
    pub classes: Vec<String>,
    /// Places in the source of the pictures in use.
    pub images: Vec<u32>,
    /// Labels of `images`, of equal length.
    pub labels: Vec<Option<u32>>,
    /// What was guessed and what was left out, a sentence each, for people.
    pub notes: Vec<String>,
}

/// A split was asked for that is not among these.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoSuchSplit(pub Vec<String>);

/// Applies the rules to the sorted `names`; without a wish for a `split`, data with splits gives `train`.
pub(crate) fn layout<'a>(
    names: impl Iterator<Item = &'a [u8]> + Clone,
    split: Option<&str>,
) -> Result<Layout, NoSuchSplit> {
    let wrapper = wrapper_len(names.clone());
    let names = names.map(move |name| &name[wrapper..]);
    let folders = distinct(names.clone().filter_map(|name| Some(first_folder(name)?.0)));
    let split_folders = split_folders(&folders);
    let splits_present: Vec<String> = split_folders.iter().map(|folder| lossy(folder)).collect();
    let chosen =
        if splits_present.is_empty() && split.is_none() { None } else { Some(choose(&splits_present, split)?) };
    // What is below the split, and whether it is the chosen one. Without splits, everything is.
    let placed = |name: &'a [u8]| -> Option<(&'a [u8], bool)> {
        let Some(chosen) = chosen else { return Some((name, true)) };
        let (folder, rest) = first_folder(name)?;
        let place = split_folders.iter().position(|split| *split == folder)?;
        Some((rest, place == chosen))
    };
    let classes = distinct(names.clone().filter_map(|name| Some(first_folder(placed(name)?.0)?.0)));
    let classes: Vec<&[u8]> = if classes.len() > 1 { classes.into_iter().collect() } else { Vec::new() };
    let (images, labels) = (0u32..)
        .zip(names)
        .filter_map(|(index, name)| match placed(name)? {
            (rest, true) => Some((index, label(&classes, rest))),
            _ => None,
        })
        .unzip();
    Ok(Layout {
        split: chosen.map(|place| splits_present[place].clone()),
        splits_present,
        classes: classes.into_iter().map(lossy).collect(),
        images,
        labels,
        notes: Vec::new(),
    })
}

/// The names of splits, in the order in which they are told.
const SPLITS: [&str; 4] = ["train", "test", "val", "validation"];

/// Sorts class names by number if all are whole numbers, else bytewise, and drops those that come twice.
pub(crate) fn sort_classes(classes: &mut Vec<String>) {
    let number = |class: &String| class.parse::<i128>().ok();
    if classes.iter().all(|class| number(class).is_some()) {
        // "1" and "01" are two names; the text decides between them.
        classes.sort_by(|a, b| number(a).cmp(&number(b)).then_with(|| a.cmp(b)));
    } else {
        classes.sort();
    }
    classes.dedup();
}

/// Sorts names of splits: those we know first, in their usual order.
pub(crate) fn sort_splits(splits: &mut Vec<String>) {
    let rank =
        |split: &String| SPLITS.iter().position(|known| split.eq_ignore_ascii_case(known)).unwrap_or(SPLITS.len());
    splits.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    splits.dedup();
}

/// The split that a file in a folder of archives belongs to by its name: `train-000.tar`, `val.tar`, `test/0.tar`.
pub(crate) fn split_of_file(name: &str) -> Option<&'static str> {
    let word = name.split(['/', '-', '_', '.']).next()?;
    SPLITS.into_iter().find(|known| word.eq_ignore_ascii_case(known))
}

/// The innermost folder that all of the sorted `names` share.
pub(crate) fn lone_folder<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Option<String> {
    let wrapper_bytes = wrapper_len(names.clone());
    let wrapper = names.clone().next()?[..wrapper_bytes].strip_suffix(b"/")?;
    Some(lossy(wrapper.rsplit(|&byte| byte == b'/').next()?))
}

/// The different ones of `names`. Equal names often follow each other, which spares most of the searches.
fn distinct<'a>(names: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&'a [u8]> {
    let mut last = None;
    names.filter(|&name| last.replace(name) != Some(name)).collect()
}

/// The place in `present` of the split asked for, or of `train`, or else the first.
pub(crate) fn choose(present: &[String], wish: Option<&str>) -> Result<usize, NoSuchSplit> {
    let place = |wanted: &str| present.iter().position(|split| split.eq_ignore_ascii_case(wanted));
    match wish {
        Some(wish) => place(wish),
        None => place("train").or((!present.is_empty()).then_some(0)),
    }
    .ok_or_else(|| NoSuchSplit(present.to_vec()))
}

/// Length of the folders that all names begin with. Names are sorted, so the first and the last decide.
fn wrapper_len<'a>(mut names: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = names.next() else { return 0 };
    let last = names.last().unwrap_or(first);
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    first[..common].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)
}

fn split_folders<'a>(folders: &BTreeSet<&'a [u8]>) -> Vec<&'a [u8]> {
    let found: Vec<&[u8]> = SPLITS
        .iter()
        .flat_map(|name| folders.iter().find(|f| f.eq_ignore_ascii_case(name.as_bytes())))
        .copied()
        .collect();
    let train_beside_another = found.len() > 1 && found[0].eq_ignore_ascii_case(b"train");
    if train_beside_another { found } else { Vec::new() }
}

fn label(classes: &[&[u8]], name: &[u8]) -> Option<u32> {
    let place = classes.binary_search(&first_folder(name)?.0).ok()?;
    u32::try_from(place).ok()
}

fn first_folder(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = name.iter().position(|&byte| byte == b'/')?;
    Some((&name[..slash], &name[slash + 1..]))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        names: &'static [&'static str],
        wish: Option<&'static str>,
        split: Option<&'static str>,
        present: &'static [&'static str],
        classes: &'static [&'static str],
        images: &'static [u32],
        labels: &'static [Option<u32>],
    }

    const PLAIN: Case =
        Case { names: &[], wish: None, split: None, present: &[], classes: &[], images: &[], labels: &[] };

    #[test]
    fn paths_give_splits_and_labels() {
        let cases = [
            PLAIN,
            Case { names: &["a.jpg", "b.jpg"], images: &[0, 1], labels: &[None, None], ..PLAIN },
            Case { names: &["cat/a.jpg", "cat/b.jpg"], images: &[0, 1], labels: &[None, None], ..PLAIN },
            Case {
                names: &["cat/deep/er/a.jpg", "dog/b.jpg", "loose.jpg"],
                classes: &["cat", "dog"],
                images: &[0, 1, 2],
                labels: &[Some(0), Some(1), None],
                ..PLAIN
            },
            // A folder around everything is looked through.
            Case {
                names: &["all/cat/a.jpg", "all/dog/b.jpg"],
                classes: &["cat", "dog"],
                images: &[0, 1],
                labels: &[Some(0), Some(1)],
                ..PLAIN
            },
            Case {
                names: &["extra/z.jpg", "test/dog/a.jpg", "train/cat/b.jpg", "train/dog/c.jpg"],
                split: Some("train"),
                present: &["train", "test"],
                classes: &["cat", "dog"],
                images: &[2, 3],
                labels: &[Some(0), Some(1)],
                ..PLAIN
            },
            // "dog" keeps its label although the test part has no "cat".
            Case {
                names: &["set/Train/cat/b.jpg", "set/Train/dog/c.jpg", "set/val/dog/a.jpg"],
                wish: Some("val"),
                split: Some("val"),
                present: &["Train", "val"],
                classes: &["cat", "dog"],
                images: &[2],
                labels: &[Some(1)],
            },
            Case {
                names: &["test/a.jpg", "train/b.jpg"],
                split: Some("train"),
                present: &["train", "test"],
                images: &[1],
                labels: &[None],
                ..PLAIN
            },
            // Without "train" beside them, "test" and "val" are classes like any other.
            Case {
                names: &["test/a.jpg", "val/b.jpg"],
                classes: &["test", "val"],
                images: &[0, 1],
                labels: &[Some(0), Some(1)],
                ..PLAIN
            },
        ];
        for case in cases {
            let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let expected = Layout {
                split: case.split.map(str::to_owned),
                splits_present: strings(case.present),
                classes: strings(case.classes),
                images: case.images.to_vec(),
                labels: case.labels.to_vec(),
                notes: Vec::new(),
            };
            let names = case.names.iter().map(|name| name.as_bytes());
            assert_eq!(layout(names, case.wish), Ok(expected), "{:?}", case.names);
        }
    }

    #[test]
    fn classes_are_sorted_as_numbers_only_if_all_are() {
        for (classes, sorted) in [
            (&["10", "9", "-1", "9"][..], &["-1", "9", "10"][..]),
            (&["10", "9", "a"], &["10", "9", "a"]),
            (&["2", "01", "1"], &["01", "1", "2"]),
            (&[], &[]),
        ] {
            let mut classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
            sort_classes(&mut classes);
            assert_eq!(classes, sorted);
        }
    }

    #[test]
    fn names_of_archives_tell_their_split() {
        for (name, split) in [
            ("train-000.tar", Some("train")),
            ("Train.tar.gz", Some("train")),
            ("val_1.tar", Some("val")),
            ("validation.7.tar", Some("validation")),
            ("test/0.tar", Some("test")),
            ("training-0.tar", None),
            ("shard-train-0.tar", None),
        ] {
            assert_eq!(split_of_file(name), split, "{name}");
        }
    }

    #[test]
    fn the_folder_around_everything_is_the_lone_one() {
        let lone = |names: &'static [&'static str]| lone_folder(names.iter().map(|name| name.as_bytes()));
        assert_eq!(lone(&["all/cat/1.jpg", "all/cat/2/3.jpg"]), Some("cat".into()));
        assert_eq!((lone(&["1.jpg", "cat/1.jpg"]), lone(&["1.jpg"]), lone(&[])), (None, None, None));
    }

    #[test]
    fn a_split_that_is_not_there_is_answered_with_those_that_are() {
        let names = |list: &'static [&'static str]| list.iter().map(|name| name.as_bytes());
        let error = layout(names(&["test/a.jpg", "train/b.jpg"]), Some("val")).unwrap_err();
        assert_eq!(error, NoSuchSplit(vec!["train".into(), "test".into()]));
        assert_eq!(layout(names(&["a.jpg"]), Some("test")).unwrap_err(), NoSuchSplit(vec![]));
    }

    #[test]
    fn names_that_are_not_text_are_no_obstacle() {
        let names: [&[u8]; 2] = [b"\xFFa/1.jpg", b"\xFFb/1.jpg"];
        let layout = layout(names.into_iter(), None).unwrap();
        assert_eq!(layout.classes, ["\u{FFFD}a", "\u{FFFD}b"]);
        assert_eq!(layout.labels, [Some(0), Some(1)]);
    }
}
