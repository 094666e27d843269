//! Birdsnap 1.1: <http://thomasberg.org/>. Tables with tabs between the columns and a header; `get_birdsnap.py`, which comes
//! with them, fetches the pictures into `download/images`, those that are still on line.

use std::collections::{HashMap, HashSet};

use super::found::{Found, Part};
use super::tree::{Line, List, Tree};
use crate::DataError;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let species = tree.list("species.txt", "the species, by tabs: id, common, scientific, dir")?;
    let mut names = Vec::new();
    let mut label_of_id = HashMap::new();
    for (line, [id, common]) in rows(&species, ["id", "common"])? {
        if label_of_id.insert(id.to_owned(), names.len()).is_some() {
            return Err(line.wrong("an id of its own"));
        }
        names.push(common.to_owned());
    }
    let test_list = tree.list("test_images.txt", "the paths of the test pictures")?;
    let mut lines_of_test = rows(&test_list, ["path"])?;
    let is_test: HashSet<&str> = lines_of_test.iter().map(|(_, [path])| *path).collect();
    let images = tree.list("images.txt", "the pictures, by tabs: url, md5, path, species_id and more")?;
    let rows_of_images = rows(&images, ["path", "species_id"])?;
    let all: HashSet<&str> = rows_of_images.iter().map(|(_, [path, _])| *path).collect();
    lines_of_test.retain(|(_, [path])| !all.contains(path));
    if let Some((line, _)) = lines_of_test.first() {
        return Err(line.wrong("a path of images.txt"));
    }
    let folder = tree.existing(&["download/images", "images"]);
    let mut found = Found::new(names);
    found.may_lack_pictures = true;
    for (line, [path, id]) in rows_of_images {
        let label = label_of_id.get(id).and_then(|&label| u32::try_from(label).ok());
        let label = label.ok_or_else(|| line.wrong("a species_id of species.txt"))?;
        let part = if is_test.contains(path) { Part::Test } else { Part::Train };
        found.push(part, &format!("{folder}/{path}"), Some(label));
    }
    // Drawn from the list and not from the pictures that are there, so that a machine that lacks others has the same parts.
    let test_counts = found.test_counts();
    found.hold_out_per_class(tree, "images.txt", |class| test_counts[class])?;
    Ok(found)
}

/// The fields of each row in the columns that have the names `columns` in the header.
fn rows<'a, const N: usize>(list: &'a List, columns: [&str; N]) -> Result<Vec<(Line<'a>, [&'a str; N])>, DataError> {
    let mut lines = list.lines();
    let Some(header) = lines.next() else { return Ok(Vec::new()) };
    let mut places = [0; N];
    for (place, column) in places.iter_mut().zip(columns) {
        let found = header.text.split('\t').position(|name| name.trim() == column);
        *place = found.ok_or_else(|| header.wrong(format!("a header with the column {column}")))?;
    }
    let row = |line: Line<'a>| {
        let fields: Vec<&str> = line.text.split('\t').map(str::trim).collect();
        let last = places.iter().max().unwrap_or(&0);
        if fields.len() <= *last {
            return Err(line.wrong(format!("at least {} columns", last + 1)));
        }
        Ok((line, places.map(|place| fields[place])))
    };
    lines.map(row).collect()
}
