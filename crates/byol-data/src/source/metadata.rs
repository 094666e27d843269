//! Tables called `metadata` beside pictures, as Hugging Face's ImageFolder has them
//! (<https://huggingface.co/docs/datasets/image_dataset>): a column `file_name`, relative to the table, and one for labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::folder::name_path;
use super::list;
use super::listing::Listing;
use crate::splits::{Layout, sort_classes};
use crate::{DataConfig, DataError};

/// Folders in which such a table is looked for: those of pictures and above, down to this level.
const MAX_DEPTH: usize = 2;

/// More folders than this are classes, and no parts with a table each.
const MAX_FOLDERS: usize = 200;

/// Tables that people put beside pictures and that are read only where they are given as `DATA`.
const NEIGHBOURS: [&str; 8] = [
    "labels.csv",
    "train.csv",
    "annotations.csv",
    "train_labels.csv",
    "labels.txt",
    "labels.tsv",
    "data.csv",
    "metadata.parquet",
];

/// Puts the labels of such tables below `root` in the place of those that the folders gave.
pub(crate) fn apply(
    root: &Path,
    pictures: &Listing,
    layout: &mut Layout,
    config: &DataConfig,
) -> Result<(), DataError> {
    let mut classes: HashMap<u32, String> = HashMap::new();
    let (mut read, mut listed) = (Vec::new(), 0);
    for folder in folders(pictures) {
        let place = root.join(name_path(&folder));
        for base in ["metadata.csv", "metadata.jsonl"] {
            let path = place.join(base);
            if !path.is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&[&folder[..], base.as_bytes()].concat()).into_owned();
            let mut notes = Vec::new();
            let table = match list::read_table(&path, config) {
                Ok(table) => table,
                Err(error) => {
                    layout.notes.push(format!("{name} is not read: {error}"));
                    continue;
                }
            };
            let place_of = |row: usize| {
                let file = table.paths.name(row);
                pictures.find(&[&folder[..], file.strip_prefix(b"./").unwrap_or(file)].concat())
            };
            let places: Vec<Option<usize>> = (0..table.paths.len()).map(place_of).collect();
            let found = places.iter().flatten().count();
            if found == 0 {
                layout.notes.push(format!("{name} names none of the pictures beside it and is not read"));
                continue;
            }
            let labelled = list::labels(&path, &table, config, &mut notes)?.classes;
            layout.notes.extend(notes.into_iter().map(|note| format!("{name}: {note}")));
            if found < places.len() {
                layout.notes.push(format!("{name} names {} files that are not there", places.len() - found));
            }
            if labelled.names.is_empty() {
                continue;
            }
            for (place, label) in places.iter().zip(&labelled.labels) {
                if let (Some(place), Some(label)) = (place, label) {
                    classes.insert(*place as u32, labelled.names[*label as usize].clone());
                }
            }
            listed += found;
            read.push(name);
        }
    }
    if classes.is_empty() {
        layout.notes.extend(neighbours(root));
        return Ok(());
    }
    let mut names: Vec<String> = BTreeSet::from_iter(classes.values()).into_iter().cloned().collect();
    sort_classes(&mut names);
    let place: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    layout.labels = layout.images.iter().map(|image| place.get(classes.get(image)?.as_str()).copied()).collect();
    layout.classes = names;
    let without = layout.labels.iter().filter(|label| label.is_none()).count();
    let rest = if without > 0 { format!("; {without} of the pictures have none") } else { String::new() };
    layout.notes.push(format!("labels of {listed} pictures from {}{rest}", read.join(", ")));
    Ok(())
}

/// The folders of the pictures and those above, with a slash behind, `""` for the root.
fn folders(pictures: &Listing) -> BTreeSet<Vec<u8>> {
    let mut folders = BTreeSet::from([Vec::new()]);
    for name in pictures.names() {
        let slashes = name.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(place, _)| place);
        for slash in slashes.take(MAX_DEPTH) {
            if folders.len() < MAX_FOLDERS && !folders.contains(&name[..=slash]) {
                folders.insert(name[..=slash].to_vec());
            }
        }
    }
    folders
}

/// Tables beside the pictures that are not read.
fn neighbours(root: &Path) -> impl Iterator<Item = String> {
    let there = NEIGHBOURS.into_iter().filter(|name| root.join(name).is_file()).collect::<Vec<_>>();
    there
        .into_iter()
        .map(|name| format!("{name} lies beside the pictures and is not read; give it as DATA to use its labels"))
}
