//! What the names of arrays say: pictures, labels, splits.

use crate::splits::Part;

/// Words for pictures in names of arrays.
pub(crate) const PICTURE_WORDS: [&str; 12] =
    ["images", "x", "data", "image", "imgs", "img", "pictures", "photos", "inputs", "input", "samples", "features"];

/// Words for labels in names of arrays.
const LABEL_WORDS: [&str; 9] = ["labels", "y", "label", "targets", "target", "classes", "class", "cls", "fine_labels"];

/// What stands between the words of a name.
const SEPARATORS: [char; 3] = ['_', '-', '.'];

/// The words of the last part of a name: `x` and `train` of `sub/x_train`.
pub(crate) fn words(name: &str) -> impl Iterator<Item = &str> {
    name.rsplit('/').next().unwrap_or(name).split(SEPARATORS)
}

pub(crate) fn split_of(name: &str) -> Option<&'static str> {
    words(name).find_map(|word| match Part::of(word)? {
        Part::Train => Some("train"),
        Part::Test => Some("test"),
        Part::Validation => Some("val"),
        Part::Unlabelled => None,
    })
}

/// A name without the words for splits: `y` of `y_train`.
pub(crate) fn without_split(name: &str) -> String {
    let is_split = |word: &&str| split_of(word).is_some();
    name.split(SEPARATORS).filter(|word| !is_split(word)).collect::<Vec<_>>().join("_")
}

/// `base` with another word instead of `word`.
fn with_word(base: &str, word: &str, other: &str) -> String {
    base.split_inclusive(SEPARATORS)
        .map(|part| match part.strip_suffix(SEPARATORS).unwrap_or(part) {
            this if this == word => [other, &part[word.len()..]].concat(),
            _ => part.to_owned(),
        })
        .collect()
}

/// The names that the labels of an array may have, best first.
pub(crate) fn label_names(name: &str) -> Vec<String> {
    let (folder, base) = name.rfind('/').map_or(("", name), |slash| name.split_at(slash + 1));
    let mut names = Vec::new();
    if base == "arr_0" {
        // What `numpy.savez(FILE, pictures, labels)` calls them.
        names.push(format!("{folder}arr_1"));
    }
    for label in LABEL_WORDS {
        let is_picture_word = |word: &&str| PICTURE_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
        if let Some(word) = words(base).find(is_picture_word) {
            names.push(format!("{folder}{}", with_word(base, word, label)));
        }
        names.push(format!("{folder}{base}_{label}"));
    }
    names.extend(LABEL_WORDS.map(|label| format!("{folder}{label}")));
    names
}
