//! PASCAL VOC 2007, classification: <http://host.robots.ox.ac.uk/pascal/VOC/voc2007/>. Each class has a list per part of all
//! its pictures, with 1, −1 or 0 (difficult).

use super::found::{Found, Part};
use super::labels::{MultiLabels, Presence};
use super::tree::Tree;
use crate::DataError;

const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let mut found = Found::new(Vec::new());
    let mut presences = Vec::new();
    for (part, split) in [(Part::Train, "train"), (Part::Val, "val"), (Part::Test, "test")] {
        let pictures = tree.list(&format!("ImageSets/Main/{split}.txt"), "the pictures of this part")?.names();
        let start = presences.len();
        presences.resize(start + pictures.len() * CLASSES.len(), Presence::Negative);
        for (class, name) in CLASSES.iter().enumerate() {
            let name = format!("ImageSets/Main/{name}_{split}.txt");
            let list = tree.list(&name, "which pictures of this part show the class")?;
            let mut count = 0;
            for line in list.lines() {
                let wrong = || line.wrong(format!("picture {} of {split}.txt, and 1, -1 or 0", count + 1));
                let (picture, sign) = line.split_last().ok_or_else(wrong)?;
                let presence = match sign {
                    "1" => Presence::Positive,
                    "-1" => Presence::Negative,
                    "0" => Presence::Difficult,
                    _ => return Err(wrong()),
                };
                if pictures.get(count).is_none_or(|expected| expected != picture) {
                    return Err(wrong());
                }
                presences[start + count * CLASSES.len() + class] = presence;
                count += 1;
            }
            if count != pictures.len() {
                return Err(tree.malformed(&name, format!("the {} pictures of {split}.txt", pictures.len()), count));
            }
        }
        for picture in &pictures {
            found.push(part, &format!("JPEGImages/{picture}.jpg"), None);
        }
    }
    found.targets = Some(MultiLabels::new(CLASSES.map(str::to_owned).to_vec(), presences));
    Ok(found)
}
