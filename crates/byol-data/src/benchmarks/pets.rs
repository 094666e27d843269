//! Oxford-IIIT Pets: <https://www.robots.ox.ac.uk/~vgg/data/pets/>. Lines are `Abyssinian_100 1 1 1`: picture, class from 1,
//! species, breed within the species.

use std::collections::BTreeMap;

use super::found::{Found, Part};
use super::tree::Tree;
use crate::DataError;

const VAL_PER_CLASS: usize = 20;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let lists = [(Part::Train, "annotations/trainval.txt"), (Part::Test, "annotations/test.txt")];
    let mut rows = Vec::new();
    let mut names = BTreeMap::new();
    for (part, name) in lists {
        let list = tree.list(name, "the pictures of this part with their classes")?;
        for line in list.lines().filter(|line| !line.text.starts_with('#')) {
            let wrong =
                || line.wrong("PICTURE CLASS SPECIES BREED, the class a number from 1 that always has the same name");
            let mut fields = line.text.split_ascii_whitespace();
            let (picture, class) = fields.next().zip(fields.next()).ok_or_else(wrong)?;
            let class = class.parse::<u32>().ok().filter(|&class| class > 0).ok_or_else(wrong)?;
            let (breed, _) = picture.rsplit_once('_').ok_or_else(wrong)?;
            if names.entry(class).or_insert_with(|| breed.to_owned()) != breed {
                return Err(wrong());
            }
            rows.push((part, picture.to_owned(), class - 1));
        }
    }
    if let Some((_, class)) = (1..).zip(names.keys()).find(|(expected, class)| expected != *class) {
        let expected = format!("classes numbered from 1 to {}", names.len());
        return Err(tree.malformed(lists[0].1, expected, format!("class {class}")));
    }
    let mut found = Found::new(names.into_values().collect());
    for (part, picture, label) in rows {
        found.push(part, &format!("images/{picture}.jpg"), Some(label));
    }
    found.hold_out_per_class(tree, lists[0].1, |_| VAL_PER_CLASS)?;
    Ok(found)
}
