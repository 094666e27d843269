//! Places365-Standard: <http://places2.csail.mit.edu/download.html>. Lists name pictures and labels; folders are not walked.

use std::collections::BTreeMap;

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

/// Of 3 068 to 5 000; the paper holds nothing out.
const VAL_PER_CLASS: usize = 50;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let categories = tree.list("categories_places365.txt", "the classes with their numbers")?;
    let mut classes = BTreeMap::new();
    for line in categories.lines() {
        let row = line.split_last().and_then(|(folder, label)| {
            // Behind the first letter: "/a/airport_terminal" is "airport_terminal".
            Some((label.parse::<usize>().ok()?, folder.strip_prefix('/')?.split_once('/')?.1))
        });
        let (label, class) = row.ok_or_else(|| line.wrong("a class and its number, like /a/airfield 0"))?;
        if classes.insert(label, class.to_owned()).is_some() {
            return Err(line.wrong("a number of its own"));
        }
    }
    if let Some((_, label)) = (0..).zip(classes.keys()).find(|(expected, label)| expected != *label) {
        let expected = format!("classes numbered from 0 to {}", classes.len() - 1);
        return Err(tree.malformed("categories_places365.txt", expected, format!("class {label}")));
    }
    let mut found = Found::new(classes.into_values().collect());
    // As the archives unpack, and as torchvision renames what they unpack to; small pictures first.
    let train = tree.existing(&["data_256", "data_256_standard", "data_large", "data_large_standard"]);
    let test = tree.existing(if train.starts_with("data_256") {
        &["val_256", "val_large"]
    } else {
        &["val_large", "val_256"]
    });
    for (part, folder, name) in
        [(Part::Train, train, "places365_train_standard.txt"), (Part::Test, test, "places365_val.txt")]
    {
        let list = tree.list(name, "the pictures of this part with their labels")?;
        for line in list.lines() {
            let row = line.split_last().and_then(|(path, label)| Some((path, found.numbered(label, 0)?)));
            let (path, label) = row.ok_or_else(|| line.wrong("a picture and a label of categories_places365.txt"))?;
            found.push(part, &format!("{folder}/{}", path.trim_start_matches('/')), Some(label));
        }
    }
    found.hold_out_per_class(tree, "places365_train_standard.txt", |_| VAL_PER_CLASS)?;
    Ok(found)
}
