//! Describable Textures, the first of ten splits: <https://www.robots.ox.ac.uk/~vgg/data/dtd/>.

use std::collections::BTreeSet;

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let list = |name: &str| tree.list(name, "the pictures of this part of split 1");
    let lists = [
        (Part::Train, list("labels/train1.txt")?),
        (Part::Val, list("labels/val1.txt")?),
        (Part::Test, list("labels/test1.txt")?),
    ];
    let mut rows = Vec::new();
    let mut classes = BTreeSet::new();
    for (part, list) in &lists {
        for line in list.lines() {
            let class = line.text.split_once('/').ok_or_else(|| line.wrong("a picture like banded/banded_0002.jpg"))?.0;
            classes.insert(class);
            rows.push((*part, line.text, class));
        }
    }
    let mut found = Found::new(classes.into_iter().map(str::to_owned).collect());
    for (part, path, class) in rows {
        let label = found.label(class);
        found.push(part, &format!("images/{path}"), label);
    }
    Ok(found)
}
