//! Labels in the WebDataset form (<https://github.com/webdataset/webdataset>): in an archive, the members `KEY.cls` or
//! `KEY.json` say what the picture `KEY.jpg` shows.

use std::collections::HashMap;
use std::io::{self, Read};

use super::listing::{Listing, base_name};
use crate::splits::{Layout, sort_classes};

/// Members with more bytes than this hold no label.
const MAX_MEMBER_BYTES: u64 = 1 << 20;

/// A longer text describes the picture rather than naming its class.
const MAX_LABEL_BYTES: usize = 256;

/// What an archive's members say about the class of others.
#[derive(Debug, Default)]
pub(crate) struct MemberLabels {
    /// Class names in the order met, and their places.
    classes: Vec<String>,
    places: HashMap<String, u32>,
    /// Name of the member without its ending; the class, and whether it comes from a `.cls`, which goes first.
    of_key: HashMap<Vec<u8>, (u32, bool)>,
}

impl MemberLabels {
    /// Reads the label out of a member, if it is one that holds labels.
    pub fn add(&mut self, name: &[u8], size_bytes: u64, content: &mut impl Read) -> io::Result<()> {
        let Some((key, is_cls)) = key_of_label(name) else { return Ok(()) };
        if size_bytes > MAX_MEMBER_BYTES {
            return Ok(());
        }
        let mut bytes = Vec::new();
        content.take(MAX_MEMBER_BYTES).read_to_end(&mut bytes)?;
        let Some(class) = (if is_cls { class_of_text(&bytes) } else { class_of_json(&bytes) }) else { return Ok(()) };
        let (classes, next) = (&mut self.classes, self.places.len() as u32);
        let place = *self.places.entry(class).or_insert_with_key(|class| {
            classes.push(class.clone());
            next
        });
        let known = self.of_key.entry(key.to_vec()).or_insert((place, is_cls));
        if is_cls || !known.1 {
            *known = (place, is_cls);
        }
        Ok(())
    }

    /// Puts these labels in the place of those that the folders gave, if there are any.
    pub fn apply(mut self, pictures: &Listing, layout: &mut Layout) {
        let class = |index: usize| {
            self.of_key.get(key(pictures.name(index))).or_else(|| self.of_key.get(first_key(pictures.name(index))))
        };
        let found: Vec<Option<u32>> = (0..pictures.len()).map(|index| class(index).map(|&(place, _)| place)).collect();
        // A `.json` beside no picture is about something else.
        let mut used = vec![false; self.classes.len()];
        found.iter().flatten().for_each(|&place| used[place as usize] = true);
        if !used.contains(&true) {
            return;
        }
        let mut classes: Vec<String> =
            self.classes.drain(..).zip(&used).filter(|&(_, &used)| used).map(|(class, _)| class).collect();
        sort_classes(&mut classes);
        let mut renumbered = vec![None; used.len()];
        for (label, class) in (0u32..).zip(&classes) {
            renumbered[self.places[class] as usize] = Some(label);
        }
        layout.labels = layout
            .images
            .iter()
            .map(|&image| found[image as usize].and_then(|place| renumbered[place as usize]))
            .collect();
        layout.classes = classes;
    }
}

/// `a/b.cls` gives `a/b` and true, `a/b.json` gives `a/b` and false.
fn key_of_label(name: &[u8]) -> Option<(&[u8], bool)> {
    let key = key(name);
    match name[key.len()..].to_ascii_lowercase().as_slice() {
        b".cls" => Some((key, true)),
        b".json" => Some((key, false)),
        _ => None,
    }
}

/// A name without its ending.
fn key(name: &[u8]) -> &[u8] {
    let base = base_name(name);
    let dot = base.iter().rposition(|&byte| byte == b'.').unwrap_or(base.len());
    &name[..name.len() - base.len() + dot]
}

/// A name up to the first dot of its last part, which is how WebDataset groups `KEY.left.jpg` and `KEY.cls`.
fn first_key(name: &[u8]) -> &[u8] {
    let base = base_name(name);
    let dot = base.iter().position(|&byte| byte == b'.').unwrap_or(base.len());
    &name[..name.len() - base.len() + dot]
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

fn class_of_json(bytes: &[u8]) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    ["label", "cls", "class"].into_iter().find_map(|field| match object.get(field)? {
        serde_json::Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        serde_json::Value::String(text) => class_of_text(text.as_bytes()),
        _ => None,
    })
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
        labels(members).apply(&listing, &mut layout);
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
}
