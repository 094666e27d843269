//! Rules on paths: which split a picture belongs to, and which label it has.
//!
//! Paths are relative, sorted bytewise and separated by `/`. Folders that hold all pictures of the data between them
//! and the top (`archive/…`) are looked through; "top" below is the first level where paths differ.
//!
//! - If folders at the top are called as parts of a data set ([`Word`]: `train` beside `test`, `val`, `dev`, …) or
//!   `data.split_map` names them, these are splits; pictures outside of them are left out, which is noted. The label
//!   comes from the first folder below the split. A lone folder around all pictures of a split is looked through unless
//!   another split has it as a class.
//! - If every folder at the top holds such folders, the splits are these, and the label comes from the top.
//! - Otherwise the label comes from the first folder.
//! - One folder alone says nothing, so there are labels only where there are at least two. Classes are sorted bytewise
//!   and taken over all splits together, so a class that `test` lacks does not shift the labels of the others.
//! - Folders of masks beside one of pictures (`images`, `masks`) are no classes: they are left out, which is noted.

use std::collections::{BTreeMap, BTreeSet};

use names::split_folders;

mod names;
mod words;

pub(crate) use names::{
    ALL, Groups, NoSuchSplit, SplitMap, choose, mapped, sort_splits, split_files, to_test_on, word_of_part,
};
pub(crate) use words::Part;

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

/// Applies the rules to the sorted `names`; without a wish for a `split`, data with splits gives its training part.
pub(crate) fn layout<'a>(
    names: impl Iterator<Item = &'a [u8]> + Clone,
    split: Option<&str>,
    map: &SplitMap,
) -> Result<Layout, NoSuchSplit> {
    let wrapper = wrapper_len(names.clone());
    let names = names.map(move |name| &name[wrapper..]);
    let (rule, mut notes) = Rule::of(names.clone(), map);
    let splits_present = rule.splits().to_vec();
    let chosen =
        if splits_present.is_empty() && split.is_none() { None } else { Some(choose(&splits_present, split)?) };
    let found: BTreeSet<&[u8]> = distinct(names.clone().filter_map(|name| rule.place(name)?.1));
    let masks: BTreeSet<&[u8]> = masks_beside_pictures(&found);
    let classes: Vec<&[u8]> = found.difference(&masks).copied().collect();
    let classes = if classes.len() > 1 { classes } else { Vec::new() };
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let (mut outside, mut masked) = (Outside::default(), 0);
    for (index, name) in (0u32..).zip(names) {
        match rule.place(name) {
            Some((_, Some(folder))) if masks.contains(folder) => masked += 1,
            Some((place, folder)) if chosen.is_none_or(|chosen| chosen == place) => {
                images.push(index);
                labels.push(folder.and_then(|folder| u32::try_from(classes.binary_search(&folder).ok()?).ok()));
            }
            Some(_) => {}
            None => outside.add(name),
        }
    }
    notes.extend(outside.note());
    if masked > 0 {
        let folders = masks.iter().map(|folder| lossy(folder)).collect::<Vec<_>>().join(", ");
        notes.push(format!("{masked} picture(s) in {folders} are taken for masks and left out"));
    }
    Ok(Layout {
        split: chosen.map(|place| splits_present[place].clone()),
        splits_present,
        classes: classes.into_iter().map(lossy).collect(),
        images,
        labels,
        notes,
    })
}

/// Where a path says which split and class a picture has.
enum Rule<'a> {
    /// No splits; the class is the first folder.
    Classes,
    /// The split is the first folder, the class one below it, behind as many folders as all pictures of the split share.
    AtTop { splits: Vec<String>, of_folder: BTreeMap<&'a [u8], usize>, shared: Vec<usize> },
    /// The class is the first folder, the split the second.
    BelowClasses { splits: Vec<String>, of_folder: BTreeMap<&'a [u8], usize> },
}

/// Folders that may be splits by their names, without anybody saying so, in sets as small as this are worth a remark.
const FEW_FOLDERS: usize = 5;

impl<'a> Rule<'a> {
    /// The rule for `names`, and what is to be said about it.
    fn of(names: impl Iterator<Item = &'a [u8]> + Clone, map: &SplitMap) -> (Self, Vec<String>) {
        let folders: Vec<&[u8]> =
            distinct(names.clone().filter_map(|name| Some(first_folder(name)?.0))).into_iter().collect();
        let written = folders.iter().map(|folder| lossy(folder)).collect::<Vec<_>>();
        if let Some(Groups { splits, of, mut notes }) = split_folders(&written, map) {
            let of_folder = folders.iter().zip(of).filter_map(|(&folder, place)| Some((folder, place?))).collect();
            let mut rule = Self::AtTop { shared: vec![0; splits.len()], splits, of_folder };
            notes.extend(rule.look_through(names));
            return (rule, notes);
        }
        if folders.len() > 1
            && let Some((rule, notes)) = Self::below_classes(names.clone(), map)
        {
            return (rule, notes);
        }
        let mut notes: Vec<String> = map
            .keys()
            .map(|name| format!("data.split_map: there is no folder {name} at the top of the data"))
            .collect();
        if (2..=FEW_FOLDERS).contains(&written.len()) {
            let word = written.iter().find(|name| Part::of(name).is_some()).map(|name| format!("{name} may be a part"));
            let alike = || {
                let below = shared_below(names);
                let shown = below.iter().take(2).map(|folder| lossy(folder)).collect::<Vec<_>>().join(" and ");
                (below.len() > 1).then(|| format!("each of them holds folders of the same names, {shown}"))
            };
            if let Some(doubt) = word.or_else(alike) {
                notes.push(format!(
                    "the folders {} are taken for classes, but {doubt}; if they are parts of the data to train and to test on, say which \
                     is what: --split-map NAME=train (or test, val)",
                    written.join(", ")
                ));
            }
        }
        (Self::Classes, notes)
    }

    fn below_classes(names: impl Iterator<Item = &'a [u8]>, map: &SplitMap) -> Option<(Self, Vec<String>)> {
        let mut below: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        for name in names {
            let (class, rest) = first_folder(name)?;
            below.entry(class).or_default().extend(first_folder(rest).map(|(folder, _)| folder));
        }
        let folders: BTreeSet<&[u8]> = below.values().flatten().copied().collect();
        let written = folders.iter().map(|folder| lossy(folder)).collect::<Vec<_>>();
        let Groups { splits, of, mut notes } = split_folders(&written, map)?;
        let of_folder: BTreeMap<&[u8], usize> =
            folders.iter().zip(of).filter_map(|(&folder, place)| Some((folder, place?))).collect();
        if !below.values().all(|inside| inside.iter().any(|folder| of_folder.contains_key(folder))) {
            return None;
        }
        notes.push(format!("the splits {} lie inside of each folder at the top", splits.join(", ")));
        Some((Self::BelowClasses { splits, of_folder }, notes))
    }

    /// Passes over the lone folder in a split, unless it is a class of another. Says where that leaves pictures without a
    /// class while other splits have some.
    fn look_through(&mut self, names: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<String> {
        let mut passed: BTreeMap<usize, &[u8]> = BTreeMap::new();
        loop {
            let mut classes: Vec<BTreeSet<Option<&[u8]>>> = vec![BTreeSet::new(); self.splits().len()];
            let mut last = None;
            for placed in names.clone().filter_map(|name| self.place(name)) {
                if last.replace(placed) != Some(placed) {
                    classes[placed.0].insert(placed.1);
                }
            }
            let lone = (0..classes.len()).find_map(|place| {
                let [only] = classes[place].iter().flatten().collect::<Vec<_>>()[..] else { return None };
                let elsewhere = classes.iter().any(|classes| classes.len() > 1 && classes.contains(&Some(only)));
                (classes[place].len() == 1 && !elsewhere).then_some((place, *only))
            });
            let (Some((place, folder)), Self::AtTop { shared, .. }) = (lone, &mut *self) else {
                let without_classes = |place: &usize| classes[*place].iter().flatten().next().is_none();
                let others_have = classes.iter().any(|classes| classes.iter().flatten().count() > 1);
                return passed
                    .iter()
                    .filter(|(place, _)| others_have && without_classes(place))
                    .map(|(&place, folder)| {
                        let (split, folder) = (&self.splits()[place], lossy(folder));
                        format!(
                            "the pictures of {split} all lie in its folder {folder}, which is no class of another part: they \
                             have no labels"
                        )
                    })
                    .collect();
            };
            shared[place] += 1;
            passed.insert(place, folder);
        }
    }

    /// Names of the splits.
    fn splits(&self) -> &[String] {
        match self {
            Self::Classes => &[],
            Self::AtTop { splits, .. } | Self::BelowClasses { splits, .. } => splits,
        }
    }

    /// The place of the split of a picture and the folder that may be its class; none outside of all splits. Without
    /// splits, everything is in the first.
    fn place(&self, name: &'a [u8]) -> Option<(usize, Option<&'a [u8]>)> {
        match self {
            Self::Classes => Some((0, first_folder(name).map(|(folder, _)| folder))),
            Self::AtTop { of_folder, shared, .. } => {
                let (folder, mut rest) = first_folder(name)?;
                let &place = of_folder.get(folder)?;
                for _ in 0..shared[place] {
                    rest = first_folder(rest)?.1;
                }
                Some((place, first_folder(rest).map(|(folder, _)| folder)))
            }
            Self::BelowClasses { of_folder, .. } => {
                let (class, rest) = first_folder(name)?;
                Some((*of_folder.get(first_folder(rest)?.0)?, Some(class)))
            }
        }
    }
}

/// Pictures that are in no split, by the folder they are in.
#[derive(Default)]
struct Outside {
    counts: BTreeMap<String, usize>,
}

impl Outside {
    fn add(&mut self, name: &[u8]) {
        let folder = first_folder(name).map_or_else(String::new, |(folder, _)| lossy(folder));
        *self.counts.entry(folder).or_default() += 1;
    }

    fn note(&self) -> Option<String> {
        const SHOWN: usize = 5;
        let named = self.counts.keys().find(|folder| !folder.is_empty());
        let mut places: Vec<String> = self
            .counts
            .iter()
            .take(SHOWN)
            .map(|(folder, count)| match folder.as_str() {
                "" => format!("{count} beside the folders"),
                folder => format!("{count} in {folder}"),
            })
            .collect();
        if self.counts.len() > SHOWN {
            places.push("…".to_owned());
        }
        let remedy = named
            .map_or_else(String::new, |folder| format!("; --split-map {folder}=train takes pictures of a folder in"));
        (!places.is_empty()).then(|| {
            let count: usize = self.counts.values().sum();
            format!("{count} picture(s) are in no split and left out ({}){remedy}", places.join(", "))
        })
    }
}

/// The names of folders that every folder at the top holds.
fn shared_below<'a>(names: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&'a [u8]> {
    let mut below: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for (top, rest) in names.filter_map(first_folder) {
        below.entry(top).or_default().extend(first_folder(rest).map(|(folder, _)| folder));
    }
    below.into_values().reduce(|shared, inside| shared.intersection(&inside).copied().collect()).unwrap_or_default()
}

/// The folders of masks among folders that are nothing but pictures and their masks.
fn masks_beside_pictures<'a>(folders: &BTreeSet<&'a [u8]>) -> BTreeSet<&'a [u8]> {
    const PICTURES: [&str; 7] = ["images", "image", "imgs", "img", "pictures", "photos", "jpegimages"];
    const MASKS: [&str; 14] = [
        "masks",
        "mask",
        "labels",
        "label",
        "annotations",
        "annotation",
        "segmentations",
        "segmentation",
        "segmentationclass",
        "segmentationobject",
        "groundtruth",
        "ground_truth",
        "gt",
        "seg",
    ];
    let is_among =
        |folder: &[u8], words: &[&str]| words.iter().any(|word| folder.eq_ignore_ascii_case(word.as_bytes()));
    let (masks, others): (BTreeSet<&[u8]>, BTreeSet<&[u8]>) =
        folders.iter().copied().partition(|folder| is_among(folder, &MASKS));
    if !others.is_empty() && others.iter().all(|folder| is_among(folder, &PICTURES)) { masks } else { BTreeSet::new() }
}

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

/// Length of the folders that all names begin with. Names are sorted, so the first and the last decide.
fn wrapper_len<'a>(mut names: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = names.next() else { return 0 };
    let last = names.last().unwrap_or(first);
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    first[..common].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)
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
            // Nothing but splits, none of them to train on.
            Case {
                names: &["test/a.jpg", "val/b.jpg"],
                split: Some("test"),
                present: &["test", "val"],
                images: &[0],
                labels: &[None],
                ..PLAIN
            },
            Case {
                names: &["Testing/a/1.jpg", "Testing/b/2.jpg", "Training/a/3.jpg", "Training/b/4.jpg"],
                wish: Some("test"),
                split: Some("Testing"),
                present: &["Training", "Testing"],
                classes: &["a", "b"],
                images: &[0, 1],
                labels: &[Some(0), Some(1)],
            },
            // What stands beside the word stands in both; the lone folder in each is none of the other's classes.
            Case {
                names: &["seg_test/seg_test/a/1.jpg", "seg_train/seg_train/a/2.jpg", "seg_train/seg_train/b/3.jpg"],
                split: Some("seg_train"),
                present: &["seg_train", "seg_test"],
                classes: &["a", "b"],
                images: &[1, 2],
                labels: &[Some(0), Some(1)],
                ..PLAIN
            },
            Case {
                names: &["bus/1.jpg", "test_tube/2.jpg", "train_station/3.jpg"],
                classes: &["bus", "test_tube", "train_station"],
                images: &[0, 1, 2],
                labels: &[Some(0), Some(1), Some(2)],
                ..PLAIN
            },
            // Splits inside of each class.
            Case {
                names: &["cat/dev/1.jpg", "cat/train/2.jpg", "dog/train/3.jpg"],
                split: Some("train"),
                present: &["train", "dev"],
                classes: &["cat", "dog"],
                images: &[1, 2],
                labels: &[Some(0), Some(1)],
                ..PLAIN
            },
        ];
        for case in cases {
            let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let names = case.names.iter().map(|name| name.as_bytes());
            let found = layout(names, case.wish, &SplitMap::new()).unwrap();
            let expected = Layout {
                split: case.split.map(str::to_owned),
                splits_present: strings(case.present),
                classes: strings(case.classes),
                images: case.images.to_vec(),
                labels: case.labels.to_vec(),
                notes: found.notes.clone(),
            };
            assert_eq!(found, expected, "{:?}", case.names);
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
    fn the_folder_around_everything_is_the_lone_one() {
        let lone = |names: &'static [&'static str]| lone_folder(names.iter().map(|name| name.as_bytes()));
        assert_eq!(lone(&["all/cat/1.jpg", "all/cat/2/3.jpg"]), Some("cat".into()));
        assert_eq!((lone(&["1.jpg", "cat/1.jpg"]), lone(&["1.jpg"]), lone(&[])), (None, None, None));
    }

    #[test]
    fn a_split_that_is_not_there_is_answered_with_those_that_are() {
        let names = |list: &'static [&'static str]| list.iter().map(|name| name.as_bytes());
        let error = layout(names(&["test/a.jpg", "train/b.jpg"]), Some("val"), &SplitMap::new()).unwrap_err();
        assert_eq!(error, NoSuchSplit(vec!["train".into(), "test".into()]));
        assert_eq!(layout(names(&["a.jpg"]), Some("test"), &SplitMap::new()).unwrap_err(), NoSuchSplit(vec![]));
    }

    #[test]
    fn names_that_are_not_text_are_no_obstacle() {
        let names: [&[u8]; 2] = [b"\xFFa/1.jpg", b"\xFFb/1.jpg"];
        let layout = layout(names.into_iter(), None, &SplitMap::new()).unwrap();
        assert_eq!(layout.classes, ["\u{FFFD}a", "\u{FFFD}b"]);
        assert_eq!(layout.labels, [Some(0), Some(1)]);
    }

    fn found(names: &[&str], map: &[(&str, &str)]) -> Layout {
        let map = map.iter().map(|&(name, split)| (name.to_owned(), split.to_owned())).collect();
        layout(names.iter().map(|name| name.as_bytes()), None, &map).unwrap()
    }

    #[test]
    fn a_map_says_which_folders_are_which_split() {
        let names = ["fold1/a/1.jpg", "fold1/b/2.jpg", "fold2/a/3.jpg", "fold2/b/4.jpg", "fold3/a/5.jpg", "raw/6.jpg"];
        let layout = found(&names, &[("Fold1", "train"), ("fold2", "train"), ("fold3", "test"), ("fold4", "test")]);
        assert_eq!(
            (layout.split.as_deref(), layout.splits_present),
            (Some("train"), vec!["train".into(), "test".into()])
        );
        assert_eq!((layout.images, layout.classes), (vec![0, 1, 2, 3], vec!["a".to_owned(), "b".into()]));
        assert_eq!(
            layout.notes,
            [
                "data.split_map: nothing is called fold4; there are fold1, fold2, fold3, raw",
                "1 picture(s) are in no split and left out (1 in raw); --split-map raw=train takes pictures of a folder in",
            ]
        );
        // Alone, a map for something else changes nothing but is told.
        let layout = found(&["cat/1.jpg", "dog/2.jpg"], &[("x", "train")]);
        assert_eq!((layout.classes.len(), layout.notes.len()), (2, 1));
    }

    #[test]
    fn numbered_folders_of_a_part_are_one_split() {
        let layout = found(&["test/a.jpg", "train_1/b.jpg", "train_2/c.jpg"], &[]);
        assert_eq!((layout.split.as_deref(), layout.images), (Some("train"), vec![1, 2]));
        let names = ["test/a.jpg", "test_another/b.jpg", "train_another/c.jpg", "validation_another/d.jpg"];
        assert_eq!(found(&names, &[]).splits_present, ["train_another", "test", "test_another", "validation_another"]);
    }

    #[test]
    fn a_folder_that_is_no_class_elsewhere_gives_no_labels() {
        let names = ["test/images/1.jpg", "train/n01/images/2.jpg", "train/n02/images/3.jpg", "val/images/4.jpg"];
        let names = || names.iter().map(|name| name.as_bytes());
        let layout = layout(names(), Some("val"), &SplitMap::new()).unwrap();
        assert_eq!((layout.classes, layout.labels), (vec!["n01".to_owned(), "n02".into()], vec![None]));
        assert!(
            layout.notes.iter().any(|note| note.contains("val all lie in its folder images")),
            "{:?}",
            layout.notes
        );
    }

    #[test]
    fn masks_beside_pictures_are_no_pictures() {
        for names in [
            ["images/1.jpg", "images/2.jpg", "masks/1.png"],
            ["data/images/1.jpg", "data/images/2.jpg", "data/masks/1.png"],
        ] {
            let layout = found(&names, &[]);
            assert_eq!((layout.images, layout.classes.len()), (vec![0, 1], 0));
            assert_eq!(layout.notes, ["1 picture(s) in masks are taken for masks and left out"]);
        }
        let layout = found(&["images/train/1.jpg", "images/val/2.jpg", "labels/train/1.png", "labels/val/2.png"], &[]);
        assert_eq!((layout.split.as_deref(), layout.images), (Some("train"), vec![0]));
    }

    #[test]
    fn few_folders_that_may_be_splits_are_remarked_on() {
        let layout = found(&["other/1.jpg", "train/2.jpg"], &[]);
        assert_eq!((layout.splits_present.len(), layout.classes), (0, vec!["other".to_owned(), "train".into()]));
        assert!(layout.notes[0].contains("--split-map NAME=train"), "{:?}", layout.notes);
        let names = ["fold_1/a/1.jpg", "fold_1/b/2.jpg", "fold_2/a/3.jpg", "fold_2/b/4.jpg"];
        assert!(found(&names, &[]).notes[0].contains("folders of the same names, a and b"));
        assert_eq!(found(&["cat/big/1.jpg", "cat/small/2.jpg", "dog/big/3.jpg"], &[]).notes, [""; 0]);
    }
}
