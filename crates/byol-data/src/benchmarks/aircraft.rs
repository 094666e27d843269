//! FGVC Aircraft by variant: <https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/>.

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let mut found = Found::new(tree.list("variants.txt", "the names of the variants")?.names());
    for (part, name) in [
        (Part::Train, "images_variant_train.txt"),
        (Part::Val, "images_variant_val.txt"),
        (Part::Test, "images_variant_test.txt"),
    ] {
        let list = tree.list(name, "the pictures of this part with their variants")?;
        for line in list.lines() {
            // Names of variants have spaces, too.
            let row = line.text.split_once(' ').and_then(|(number, variant)| Some((number, found.label(variant)?)));
            let (number, label) = row.ok_or_else(|| line.wrong("NUMBER VARIANT with a variant of variants.txt"))?;
            found.push(part, &format!("images/{number}.jpg"), Some(label));
        }
    }
    Ok(found)
}
