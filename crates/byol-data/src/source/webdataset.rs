//! The WebDataset form (<https://github.com/webdataset/webdataset>): members of an archive called `KEY.…` are one sample. `KEY.cls`,
//! `KEY.json` and others such as `KEY.target.cls` say what the picture `KEY.jpg` or `KEY.image.jpg` shows; `KEY.seg.png` is no
//! picture of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value as Json;

use super::columns::{self, LABEL_NAMES};
use super::listing::{Listing, base_name};
use super::table::push_json;
use super::values::{Reading, Values};
use crate::splits::Layout;
use crate::{DataConfig, DataError};

/// Members with more bytes than this hold no label.
const MAX_MEMBER_BYTES: u64 = 1 << 20;

/// A longer text describes the picture rather than naming its class.
const MAX_LABEL_BYTES: usize = 256;

/// Endings of members that are a label by themselves; others are one behind a word for labels, as in `KEY.label.txt`.
const LABEL_ENDINGS: [&str; 4] = ["cls", "label", "class", "target"];

/// Words between the key and the ending of a sample's picture.
const PICTURE_WORDS: [&str; 9] = ["image", "img", "input", "rgb", "photo", "picture", "x", "0", "original"];

/// Words between the key and the ending of what goes with a sample's picture.
const SIDE_WORDS: [&str; 24] = [
    "seg",
    "segm",
    "segmentation",
    "mask",
    "masks",
    "depth",
    "target",
    "label",
    "labels",
    "gt",
    "annotation",
    "annot",
    "ann",
    "instance",
    "instances",
    "semantic",
    "sem",
    "panoptic",
    "normal",
    "normals",
    "edge",
    "edges",
    "thumb",
    "thumbnail",
];

/// What an archive's members say about the class of others.
#[derive(Debug, Default)]
pub(crate) struct MemberLabels {
    /// `data.label_column`: the ending of the members that hold labels, or a field of the `.json` ones.
    pub wish: Option<String>,
    /// Class names in the order met, and their places.
    classes: Vec<String>,
    places: HashMap<String, u32>,
    /// Name of the member without its ending; the class, and whether it comes from a `.cls`, which goes first.
    of_key: HashMap<Vec<u8>, (u32, bool)>,
    /// Endings of the members that are no pictures, for messages.
    endings: BTreeSet<String>,
}

impl MemberLabels {
    /// Whether no member names a class.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Reads the label out of a member, if it is one that holds labels.
    pub fn add(&mut self, name: &[u8], size_bytes: u64, content: &mut impl Read) -> io::Result<()> {
        let (_, ending) = cut(name);
        if self.endings.len() < 16 && !ending.is_empty() {
            self.endings.insert(ending);
        }
        let Some((key, is_text)) = self.key_of_label(name) else { return Ok(()) };
        if size_bytes > MAX_MEMBER_BYTES {
            return Ok(());
        }
        let mut bytes = Vec::new();
        content.take(MAX_MEMBER_BYTES).read_to_end(&mut bytes)?;
        let class = if is_text { class_of_text(&bytes) } else { class_of_json(&bytes, self.wish.as_deref()) };
        let Some(class) = class else { return Ok(()) };
        let (classes, next) = (&mut self.classes, self.places.len() as u32);
        let place = *self.places.entry(class).or_insert_with_key(|class| {
            classes.push(class.clone());
            next
        });
        let known = self.of_key.entry(key.to_vec()).or_insert((place, is_text));
        if is_text || !known.1 {
            *known = (place, is_text);
        }
        Ok(())
    }

    /// Puts these labels in the place of those that the folders gave, if there are any.
    pub fn apply(self, path: &Path, pictures: &Listing, layout: &mut Layout) -> Result<(), DataError> {
        let class = |index: usize| {
            let name = pictures.name(index);
            let of_key = |key: &[u8]| self.of_key.get(key);
            of_key(key(name))
                .or_else(|| of_key(without_words(key(name), &PICTURE_WORDS)))
                .or_else(|| of_key(first_key(name)))
        };
        let mut values = Values::default();
        for index in 0..pictures.len() {
            values.push_text(class(index).map_or("", |&(place, _)| &self.classes[place as usize]));
        }
        let column = self.wish.clone().unwrap_or_else(|| "cls".into());
        if values.distinct().is_empty() {
            return match &self.wish {
                // A `.json` beside no picture is about something else.
                None => Ok(()),
                Some(wish) => Err(DataError::NoColumn {
                    path: path.into(),
                    key: "label_column".into(),
                    name: wish.clone(),
                    present: Vec::from_iter(self.endings).join(", "),
                }),
            };
        }
        let insisted = self.wish.is_some();
        let reading = Reading { column: &column, insisted, names: None, numbers_are_places: false };
        let found = columns::classes(path, &values, &reading, &mut layout.notes)?;
        if !found.names.is_empty() {
            layout.labels = layout.images.iter().map(|&image| found.labels[image as usize]).collect();
            layout.classes = found.names;
        }
        Ok(())
    }

    /// `a/b.cls` gives `a/b` and true, `a/b.json` gives `a/b` and false.
    fn key_of_label<'a>(&self, name: &'a [u8]) -> Option<(&'a [u8], bool)> {
        let (key, ending) = (key(name), ending(name));
        if let Some(wish) = &self.wish {
            let wish = format!(".{}", wish.trim_start_matches('.').to_lowercase());
            let base = base_name(name).to_ascii_lowercase();
            if base.ends_with(wish.as_bytes()) && base.len() > wish.len() {
                return Some((&name[..name.len() - wish.len()], true));
            }
            return (ending == "json").then_some((key, false));
        }
        let shorter = without_words(key, &LABEL_NAMES);
        match ending.as_str() {
            "json" => Some((key, false)),
            ending if LABEL_ENDINGS.contains(&ending) => Some((shorter, true)),
            "txt" if shorter.len() < key.len() => Some((shorter, true)),
            _ => None,
        }
    }
}

/// Leaves members out that go with a picture and are none by themselves: with `data.image_key`, all whose ending is another;
/// else, of samples with several, those whose words say so or that most samples have beside a plain picture.
pub(crate) fn choose_pictures(
    path: &Path,
    pictures: Listing,
    has_labels: bool,
    config: &DataConfig,
) -> Result<(Listing, Vec<String>), DataError> {
    let endings: Vec<String> = (0..pictures.len()).map(|index| cut(pictures.name(index)).1).collect();
    if let Some(wish) = &config.image_key {
        let wish = wish.trim_start_matches('.').to_lowercase();
        let wanted = |ending: &String| *ending == wish || ending.ends_with(&format!(".{wish}"));
        if !endings.iter().any(wanted) {
            let present: BTreeSet<&String> = endings.iter().take(10_000).collect();
            let present = present.into_iter().take(16).cloned().collect::<Vec<_>>().join(", ");
            return Err(DataError::NoColumn { path: path.into(), key: "image_key".into(), name: wish, present });
        }
        return Ok(split_off(&pictures, &endings, |index| !wanted(&endings[index])));
    }
    // Where names hold no second dot and no key has two endings, there is nothing to choose.
    let mut samples: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for index in 0..pictures.len() {
        samples.entry(first_key(pictures.name(index))).or_default().push(index);
    }
    let count = samples.len();
    samples.retain(|_, members| members.len() > 1);
    if samples.is_empty() {
        return Ok((pictures, Vec::new()));
    }
    // How many samples have each ending beside a plainer one.
    let mut beside: HashMap<&str, usize> = HashMap::new();
    let rank = |index: usize| rank(&endings[index]);
    let least = |members: &[usize]| members.iter().map(|&index| rank(index)).min().unwrap_or(0);
    let is_beside = |members: &[usize], index: usize| {
        let least = least(members);
        let plainer = members.iter().any(|&other| rank(other) == least && endings[other] < endings[index]);
        least < 2 && (rank(index) > least || (has_labels && plainer))
    };
    for members in samples.values() {
        for &index in members.iter().filter(|&&index| is_beside(members, index)) {
            *beside.entry(&endings[index]).or_default() += 1;
        }
    }
    let mut out = vec![false; pictures.len()];
    for members in samples.values() {
        for &index in members.iter().filter(|&&index| is_beside(members, index)) {
            let known = words(&endings[index]).any(|word| SIDE_WORDS.contains(&word));
            let counted = words(&endings[index]).all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
            let plain = rank(index) < 2;
            // A number is that of a copy or of another photograph, unless every sample has it.
            out[index] = known
                || (2 * beside[endings[index].as_str()] >= count && count > 1 && (plain || !counted || has_labels));
        }
    }
    Ok(split_off(&pictures, &endings, |index| out[index]))
}

/// The pictures that stay, and a note on those that do not.
fn split_off(pictures: &Listing, endings: &[String], leave_out: impl Fn(usize) -> bool) -> (Listing, Vec<String>) {
    let mut kept = Listing::default();
    let mut out: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, ending) in endings.iter().enumerate() {
        if leave_out(index) {
            *out.entry(ending).or_default() += 1;
        } else {
            kept.push(pictures.name(index), pictures.size_bytes(index), pictures.position(index));
        }
    }
    let list: Vec<String> = out.iter().take(8).map(|(ending, count)| format!("{count} × KEY.{ending}")).collect();
    let note = format!(
        "members that go with the picture of their sample are left out: {}; --image-key ENDING reads others",
        list.join(", ")
    );
    (kept, if out.is_empty() { Vec::new() } else { vec![note] })
}

/// 0 for a plain ending, 1 behind a word for pictures, else 2.
fn rank(ending: &str) -> u8 {
    if words(ending).next().is_none() {
        0
    } else if words(ending).all(|word| PICTURE_WORDS.contains(&word)) {
        1
    } else {
        2
    }
}

/// The words before the last ending: `seg` of `seg.png`.
fn words(ending: &str) -> impl Iterator<Item = &str> {
    ending.rsplit_once('.').map_or("", |(words, _)| words).split(['.', '_', '-']).filter(|word| !word.is_empty())
}

/// A name without its ending.
fn key(name: &[u8]) -> &[u8] {
    let base = base_name(name);
    let dot = base.iter().rposition(|&byte| byte == b'.').unwrap_or(base.len());
    &name[..name.len() - base.len() + dot]
}

/// What follows the last dot, lower case.
fn ending(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(key(name).len() + 1..).unwrap_or_default()).to_lowercase()
}

/// A name up to the first dot of its last part, which is how WebDataset groups `KEY.left.jpg` and `KEY.cls`.
fn first_key(name: &[u8]) -> &[u8] {
    cut(name).0
}

/// The key and the ending as WebDataset has them, lower case: `KEY` and `seg.png`.
fn cut(name: &[u8]) -> (&[u8], String) {
    let base = base_name(name);
    let dot = base.iter().position(|&byte| byte == b'.').unwrap_or(base.len());
    let key = &name[..name.len() - base.len() + dot];
    (key, String::from_utf8_lossy(base.get(dot + 1..).unwrap_or_default()).to_lowercase())
}

/// A key without a last part that is one of `words`: `KEY` of `KEY.target`.
fn without_words<'a>(key: &'a [u8], words: &[&str]) -> &'a [u8] {
    let base = base_name(key);
    let Some(dot) = base.iter().rposition(|&byte| byte == b'.') else { return key };
    let word = String::from_utf8_lossy(&base[dot + 1..]).into_owned();
    if columns::named(&[word], words).is_some() { &key[..key.len() - base.len() + dot] } else { key }
}

fn class_of_text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if text.is_empty() || text.len() > MAX_LABEL_BYTES {
        return None;
    }
    // "007" and "7" are the same number.
    Some(text.parse::<i64>().map_or_else(|_| text.to_owned(), |number| number.to_string()))
}

/// The first field with a name for labels that holds one whole number or text, or the field `wish`, `json.` before it or not.
fn class_of_json(bytes: &[u8], wish: Option<&str>) -> Option<String> {
    let object: serde_json::Map<String, Json> = serde_json::from_slice(bytes).ok()?;
    let class = |field: &Json| {
        let mut values = Values::default();
        push_json(&mut values, Some(field));
        class_of_text(values.text(0)?.as_bytes())
    };
    if let Some(wish) = wish {
        let mut parts = wish.strip_prefix("json.").unwrap_or(wish).split('.');
        let first = object.get(parts.next()?)?;
        return class(parts.try_fold(first, |field, part| field.get(part))?);
    }
    let names: Vec<String> = object.keys().cloned().collect();
    let known = |name: &&str| columns::named(&names, &[*name]).and_then(|place| class(&object[&names[place]]));
    ["label", "cls", "class"].iter().chain(&LABEL_NAMES).find_map(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(members: &[(&str, &str)]) -> MemberLabels {
        let mut labels = MemberLabels::default();
        for (name, content) in members {
            labels.add(name.as_bytes(), content.len() as u64, &mut content.as_bytes()).unwrap();
        }
        labels
    }

    fn applied(members: &[(&str, &str)], pictures: &[&str]) -> (Vec<String>, Vec<Option<u32>>) {
        let mut listing = Listing::default();
        pictures.iter().for_each(|name| listing.push(name.as_bytes(), 1, 0));
        let mut layout = crate::splits::layout(listing.names(), None, &crate::splits::SplitMap::new()).unwrap();
        labels(members).apply(Path::new("a.tar"), &listing, &mut layout).unwrap();
        (layout.classes, layout.labels)
    }

    #[test]
    fn cls_and_json_give_the_label_of_the_same_key() {
        let members = [
            ("a/1.cls", "10\n"),
            ("a/2.cls", "9"),
            ("a/3.json", r#"{"text": "x", "label": 10}"#),
            ("b/4.JSON", r#"{"class": "9"}"#),
            ("b/5.json", r#"{"label": 1.5, "cls": 9}"#),
            ("b/6.json", "no json"),
            ("c/7.cls", "77"),
        ];
        let pictures = ["a/1.jpg", "a/2.left.jpg", "a/3.png", "b/4.jpg", "b/5.jpg", "b/6.jpg"];
        let expected = [Some(1), Some(0), Some(1), Some(0), Some(0), None];
        assert_eq!(applied(&members, &pictures), (vec!["9".into(), "10".into()], expected.to_vec()));
    }

    #[test]
    fn a_cls_goes_before_a_json_whatever_comes_first() {
        for members in [
            [("1.cls", "cat"), ("1.json", r#"{"label": "dog"}"#)],
            [("1.json", r#"{"label": "dog"}"#), ("1.cls", "cat")],
        ] {
            assert_eq!(applied(&members, &["1.jpg"]), (vec!["cat".into()], vec![Some(0)]));
        }
    }

    #[test]
    fn members_that_name_no_class_leave_the_labels_to_the_folders() {
        let long = "x".repeat(MAX_LABEL_BYTES + 1);
        let members = [("a/1.json", r#"{"width": 3}"#), ("a/2.cls", long.as_str()), ("z.cls", "3"), ("a/1.cls", " ")];
        let expected = (vec!["a".into(), "b".into()], vec![Some(0), Some(1)]);
        assert_eq!(applied(&members, &["a/1.jpg", "b/2.jpg"]), expected);
    }

    #[test]
    fn words_for_labels_and_pictures_stand_between_key_and_ending() {
        let members = [
            ("a.target.cls", "dog"),
            ("b.label.txt", "cat"),
            ("b.txt", "a caption"),
            ("c.1.class", "dog"),
            ("d.json", r#"{"width": 3, "Category": "cat"}"#),
            ("e.json", r#"{"labels": [true]}"#),
        ];
        let pictures = ["a.image.jpg", "b.jpg", "c.1.jpg", "d.img.png", "e.jpg"];
        let expected = [Some(1), Some(0), Some(1), Some(0), Some(2)];
        assert_eq!(
            applied(&members, &pictures),
            (["cat", "dog", "true"].map(String::from).to_vec(), expected.to_vec())
        );
    }

    fn chosen(pictures: &[&str], has_labels: bool, image_key: Option<&str>) -> Result<(Vec<String>, usize), String> {
        let mut listing = Listing::default();
        pictures.iter().for_each(|name| listing.push(name.as_bytes(), 1, 0));
        let config = DataConfig { image_key: image_key.map(str::to_owned), ..DataConfig::default() };
        let (kept, notes) =
            choose_pictures(Path::new("a.tar"), listing, has_labels, &config).map_err(|error| error.to_string())?;
        Ok((kept.names().map(|name| String::from_utf8_lossy(name).into_owned()).collect(), notes.len()))
    }

    #[test]
    fn masks_are_no_pictures() {
        for side in ["seg.png", "mask.png", "depth.tiff", "SEG.PNG", "left_half.png"] {
            let names = [format!("1.{side}"), "1.jpg".into(), format!("2.{side}"), "2.jpg".into()];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(chosen(&names, false, None), Ok((vec!["1.jpg".into(), "2.jpg".into()], 1)), "{side}");
        }
        let named = ["1.image.jpg", "1.mask.png", "2.image.jpg", "2.mask.png"];
        assert_eq!(chosen(&named, false, None), Ok((vec!["1.image.jpg".into(), "2.image.jpg".into()], 1)));
        assert_eq!(chosen(&named, false, Some("mask.png")), Ok((vec!["1.mask.png".into(), "2.mask.png".into()], 1)));
        assert!(chosen(&named, false, Some("rgb.png")).unwrap_err().contains("image.jpg, mask.png"));
        // With labels these are samples of a picture and something else; without, two pictures.
        let twice = ["1.jpg", "1.png", "2.jpg", "2.png"];
        assert_eq!(chosen(&twice, true, None), Ok((vec!["1.jpg".into(), "2.jpg".into()], 1)));
        assert_eq!(chosen(&twice, false, None).unwrap().0, twice);
    }

    #[test]
    fn photographs_with_dots_in_their_names_all_stay() {
        for names in [
            &["IMG.2019.05.jpg", "IMG.2019.06.jpg", "IMG.2020.jpg"][..],
            &["IMG.jpg", "IMG.2.jpg", "IMG.3.jpg", "b.jpg", "c.jpg"],
            &["a.left.jpg", "a.right.jpg", "b.left.jpg", "b.right.jpg"],
            &["me.and.you.jpg", "me.jpg", "you.jpg", "us.jpg", "them.jpg"],
        ] {
            assert_eq!(chosen(names, false, None).unwrap().0, names);
        }
    }
}
