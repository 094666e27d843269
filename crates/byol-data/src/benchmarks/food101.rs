//! Food-101: <https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/>.

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

/// A tenth of the 750 training pictures of a class.
const VAL_PER_CLASS: usize = 75;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let mut found = Found::new(tree.list("meta/classes.txt", "the names of the classes")?.names());
    for (part, name) in [(Part::Train, "meta/train.txt"), (Part::Test, "meta/test.txt")] {
        let list = tree.list(name, "the pictures of this part")?;
        for line in list.lines() {
            let class = line.text.split_once('/').map(|(class, _)| class);
            let label = class.and_then(|class| found.label(class));
            let label = label.ok_or_else(|| line.wrong("CLASS/NUMBER with a class of meta/classes.txt"))?;
            found.push(part, &format!("images/{}.jpg", line.text), Some(label));
        }
    }
    found.hold_out_per_class(tree, "meta/train.txt", |_| VAL_PER_CLASS)?;
    Ok(found)
}
