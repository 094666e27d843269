//! SUN397: <https://vision.princeton.edu/projects/2010/SUN/>. The pictures unpack to `SUN397/a/abbey/…`; the lists come in
//! `Partitions.zip`, and name the pictures `/a/abbey/…`.

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

/// Where the lists may have been unpacked to, the usual place first.
const CLASSES: [&str; 3] = ["SUN397/ClassName.txt", "ClassName.txt", "Partitions/ClassName.txt"];
const TRAIN: [&str; 3] = ["Training_01.txt", "Partitions/Training_01.txt", "SUN397/Training_01.txt"];
const TEST: [&str; 3] = ["Testing_01.txt", "Partitions/Testing_01.txt", "SUN397/Testing_01.txt"];
/// Of 50.
const VAL_PER_CLASS: usize = 10;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let list = |names: [&str; 3], expected: &str| tree.list(tree.existing(&names), expected);
    let folders = list(CLASSES, "the folders of the classes, like /a/abbey")?;
    let mut classes = Vec::new();
    for line in folders.lines() {
        // Behind the first letter: "/c/church/indoor" is "church/indoor".
        let class = line.text.strip_prefix('/').and_then(|folder| folder.split_once('/'));
        classes.push(class.ok_or_else(|| line.wrong("a folder like /a/abbey"))?.1.to_owned());
    }
    let mut found = Found::new(classes);
    let folder = if tree.path("SUN397").is_dir() { "SUN397" } else { "." };
    for (part, names) in [(Part::Train, TRAIN), (Part::Test, TEST)] {
        let list = list(names, "the pictures of this part of split 1, from Partitions.zip")?;
        for line in list.lines() {
            let class = line.text.strip_prefix('/').and_then(|path| path.split_once('/')?.1.rsplit_once('/'));
            let label = class.and_then(|(class, _)| found.label(class));
            let label =
                label.ok_or_else(|| line.wrong("a picture like /a/abbey/sun_1.jpg in a folder of ClassName.txt"))?;
            let path = format!("{folder}{}", line.text);
            found.push(part, path.trim_start_matches("./"), Some(label));
        }
    }
    found.hold_out_per_class(tree, tree.existing(&TRAIN), |_| VAL_PER_CLASS)?;
    Ok(found)
}
