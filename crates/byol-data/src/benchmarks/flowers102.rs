//! Flowers-102: <https://www.robots.ox.ac.uk/~vgg/data/flowers/102/>. Parts and labels are MATLAB files.

use super::found::{Found, Part};
use super::mat;
use super::tree::Tree;
use crate::DataError;

const CLASSES: u32 = 102;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let labels = numbers(tree, "imagelabels.mat", "the labels of all pictures", "labels")?;
    let mut found = Found::new((1..=CLASSES).map(|class| class.to_string()).collect());
    for (part, variable) in [(Part::Train, "trnid"), (Part::Val, "valid"), (Part::Test, "tstid")] {
        for picture in numbers(tree, "setid.mat", "the numbers of the pictures of each part", variable)? {
            let class = picture.checked_sub(1).and_then(|place| labels.get(place as usize)).ok_or_else(|| {
                let expected = format!("numbers from 1 to {} in {variable}, as imagelabels.mat has", labels.len());
                tree.malformed("setid.mat", expected, picture)
            })?;
            let label = class.checked_sub(1).filter(|&label| label < CLASSES);
            let label = label.ok_or_else(|| tree.malformed("imagelabels.mat", "labels from 1 to 102", class))?;
            found.push(part, &format!("jpg/image_{picture:05}.jpg"), Some(label));
        }
    }
    Ok(found)
}

fn numbers(tree: &Tree<'_>, name: &str, expected: &str, variable: &str) -> Result<Vec<u32>, DataError> {
    let bytes = tree.bytes(name, expected)?;
    let malformed = |reason: String| tree.malformed(name, format!("{variable} in a MATLAB 5 file"), reason);
    let value = mat::variable(&bytes, variable).map_err(malformed)?;
    value.whole_numbers().ok_or_else(|| malformed("something other than whole numbers".into()))
}
