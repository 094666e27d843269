//! Caltech-101: <https://data.caltech.edu/records/mzrjq-6wc02>. There are no lists: the parts are drawn, as in DeCAF
//! (Donahue et al. 2014), which drew several times. A draw depends on the names of the class's pictures in bytewise order.
//!
//! `BACKGROUND_Google`, pictures that show none of the categories, is the last class of [`Benchmark::Caltech101`], behind the
//! categories, so that leaving it out changes neither their labels nor their parts.

use std::fs;
use std::path::Path;

use super::facts::Benchmark;
use super::found::{Found, Part};
use super::hold_out;
use super::tree::Tree;
use crate::DataError;
use crate::source::{has_picture_ending, is_hidden};

const FOLDER: &str = "101_ObjectCategories";
const BACKGROUND: &str = "BACKGROUND_Google";
const TRAIN_PER_CLASS: usize = 25;
const VAL_PER_CLASS: usize = 5;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let folder = tree.path(FOLDER);
    if !folder.is_dir() {
        return Err(tree.missing(FOLDER, 0, "a folder for each class"));
    }
    let mut classes = names(&folder, |name, is_dir| is_dir && name != BACKGROUND)?;
    if tree.benchmark == Benchmark::Caltech101 {
        let background = format!("{FOLDER}/{BACKGROUND}");
        if !tree.path(&background).is_dir() {
            let without = Benchmark::Caltech101WithoutBackground;
            let expected = format!("the 102nd class, which the paper counts ({without} is the benchmark without it)");
            return Err(tree.missing(&background, 0, &expected));
        }
        classes.push(BACKGROUND.to_owned());
    }
    let mut found = Found::new(classes.clone());
    for (label, class) in (0u32..).zip(&classes) {
        let name = format!("{FOLDER}/{class}");
        let pictures = names(&tree.path(&name), |name, is_dir| !is_dir && has_picture_ending(name))?;
        if pictures.len() <= TRAIN_PER_CLASS + VAL_PER_CLASS {
            let expected = format!("more than {} pictures", TRAIN_PER_CLASS + VAL_PER_CLASS);
            return Err(tree.malformed(&name, expected, pictures.len()));
        }
        let mut order: Vec<u32> = (0u32..).take(pictures.len()).collect();
        hold_out::shuffle(Benchmark::Caltech101, u64::from(label), &mut order);
        let mut parts = vec![Part::Test; pictures.len()];
        for (drawn, place) in order.into_iter().enumerate().take(TRAIN_PER_CLASS + VAL_PER_CLASS) {
            parts[place as usize] = if drawn < TRAIN_PER_CLASS { Part::Train } else { Part::Val };
        }
        for (picture, part) in pictures.iter().zip(parts) {
            found.push(part, &format!("{name}/{picture}"), Some(label));
        }
    }
    Ok(found)
}

/// The names in `folder` that are `wanted`, bytewise sorted.
fn names(folder: &Path, wanted: impl Fn(&String, bool) -> bool) -> Result<Vec<String>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: folder.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A name that is no text is none of this data set's.
        let Ok(name) = entry.file_name().into_string() else { continue };
        // The path, and not the entry, to follow links.
        if !is_hidden(name.as_bytes()) && wanted(&name, entry.path().is_dir()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
