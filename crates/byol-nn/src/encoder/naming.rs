//! How another program names the parts of a ResNet: as torchvision does, by their places in a `Sequential`, or as Haiku does.

use std::collections::BTreeMap;

use super::haiku::{self, Haiku};
use crate::weights::StateDict;

/// End of the first convolution's name in the first block of every group.
const FIRST_BLOCK: &str = ".0.conv1.weight";

/// Where the parts of one ResNet are.
#[derive(Debug)]
pub(super) struct Naming {
    /// What stands before all its names, with its dot.
    pub prefix: String,
    style: Style,
}

#[derive(Debug)]
enum Style {
    Torch(Torch),
    Haiku(Haiku),
}

/// torchvision's names, or places for some of them; after the prefix.
#[derive(Debug)]
struct Torch {
    conv: String,
    norm: String,
    groups: [String; 4],
    /// What torchvision calls `downsample`.
    shortcut: &'static str,
    /// Place of group 4 where names are places.
    last_place: Option<usize>,
}

impl Naming {
    /// The full name of a tensor that torchvision calls `name`.
    pub fn of(&self, name: &str) -> String {
        match &self.style {
            Style::Torch(torch) => format!("{}{}", self.prefix, torch.of(name)),
            Style::Haiku(haiku) => haiku.of(name),
        }
    }

    /// Whether Haiku gave the names, so that JAX computes with the weights.
    pub fn is_haiku(&self) -> bool {
        matches!(self.style, Style::Haiku(_))
    }

    /// The prefix as a person writes it.
    pub fn shown(&self) -> &str {
        self.prefix.strip_suffix('.').unwrap_or(&self.prefix)
    }

    /// Numbers of the blocks that a group has names of.
    pub fn blocks<'a>(&'a self, dict: &'a StateDict, group: usize) -> Box<dyn Iterator<Item = usize> + 'a> {
        match &self.style {
            Style::Torch(torch) => {
                let start = format!("{}{}.", self.prefix, torch.groups[group]);
                let number = move |name: &str| name.strip_prefix(&start)?.split('.').next()?.parse().ok();
                Box::new(dict.names().filter_map(number))
            }
            Style::Haiku(haiku) => Box::new(haiku.blocks(dict, group)),
        }
    }

    /// Whether a tensor computes inside of the network, as opposed to what follows it or counts.
    pub fn is_inside(&self, name: &str) -> bool {
        match &self.style {
            Style::Torch(torch) => name.strip_prefix(&self.prefix).is_some_and(|name| torch.is_inside(name)),
            Style::Haiku(haiku) => haiku.is_inside(name),
        }
    }
}

impl Torch {
    fn of(&self, name: &str) -> String {
        let (part, rest) = name.split_once('.').unwrap_or((name, ""));
        let group = part.strip_prefix("layer").and_then(|number| self.groups.get(number.parse::<usize>().ok()? - 1));
        let part = match (part, group) {
            ("conv1", _) => &self.conv,
            ("bn1", _) => &self.norm,
            (_, Some(group)) => group,
            (other, None) => other,
        };
        format!("{part}.{}", rest.replace("downsample", self.shortcut))
    }

    fn is_inside(&self, name: &str) -> bool {
        let part = name.split('.').next().unwrap_or_default();
        match self.last_place {
            _ if name.ends_with(".num_batches_tracked") => false,
            Some(last) => part.parse().is_ok_and(|place: usize| place <= last),
            None => {
                let word = |part: &str| part.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
                let word_of = word(part);
                ["conv", "bn"].contains(&word_of.as_str()) || word_of == word(&self.groups[0])
            }
        }
    }
}

/// Every place where a ResNet may be, complete or not; shortest prefix first. Then those that are none, in words.
pub(super) fn find(dict: &StateDict) -> (Vec<Naming>, Vec<String>) {
    // By what stands before the groups and the word of their name, which is empty for places: their numbers.
    let mut rows: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for path in dict.names().filter_map(|name| name.strip_suffix(FIRST_BLOCK)) {
        let (prefix, group) = path.split_at(path.rfind('.').map_or(0, |dot| dot + 1));
        let word = group.trim_end_matches(|c: char| c.is_ascii_digit());
        if let Ok(number) = group[word.len()..].parse() {
            rows.entry((prefix, word)).or_default().push(number);
        }
    }
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for ((prefix, word), mut numbers) in rows {
        numbers.sort_unstable();
        // Of torchvision's names, whatever is missing is named later.
        let numbers = match <[usize; 4]>::try_from(numbers) {
            Ok(numbers) => numbers,
            Err(_) if word == "layer" && dict.shape(&format!("{prefix}layer1{FIRST_BLOCK}")).is_some() => [1, 2, 3, 4],
            Err(numbers) => {
                problems.push(format!("{} groups of blocks under `{prefix}`, expected 4", numbers.len()));
                continue;
            }
        };
        let groups = numbers.map(|number| format!("{word}{number}"));
        match stem(dict, prefix, word, numbers[0], &groups) {
            Ok((conv, norm)) => {
                let is_short =
                    |name: &str| groups.iter().any(|group| name.starts_with(&format!("{prefix}{group}.0.shortcut.")));
                let shortcut = if dict.names().any(is_short) { "shortcut" } else { "downsample" };
                let last_place = word.is_empty().then_some(numbers[3]);
                let torch = Torch { conv, norm, groups, shortcut, last_place };
                found.push(Naming { prefix: prefix.to_owned(), style: Style::Torch(torch) });
            }
            Err(problem) => problems.push(problem),
        }
    }
    let (of_haiku, lacking) = haiku::find(dict);
    found.extend(of_haiku.into_iter().map(|(prefix, haiku)| Naming { prefix, style: Style::Haiku(haiku) }));
    problems.extend(lacking);
    found.sort_by_key(|naming| naming.prefix.len());
    (found, problems)
}

/// The names of the convolution and the norm before the groups.
fn stem(
    dict: &StateDict,
    prefix: &str,
    word: &str,
    first: usize,
    groups: &[String],
) -> Result<(String, String), String> {
    let torchvision = || ("conv1".to_owned(), "bn1".to_owned());
    if dict.shape(&format!("{prefix}conv1.weight")).is_some() {
        return Ok(torchvision());
    }
    let before = |name: &&str| {
        let part = name.split('.').next().unwrap_or_default();
        match word.is_empty() {
            true => part.parse().is_ok_and(|place: usize| place < first),
            false => !groups.iter().any(|group| group == part),
        }
    };
    let named = |ending: &'static str, axes: usize| -> Vec<&str> {
        let under = dict.names().filter_map(|name| name.strip_prefix(prefix)).filter(before);
        let parts = under.filter_map(|name| name.strip_suffix(ending));
        parts
            .filter(|part| dict.shape(&format!("{prefix}{part}{ending}")).is_some_and(|shape| shape.len() == axes))
            .collect()
    };
    match (&named(".weight", 4)[..], &named(".running_mean", 1)[..]) {
        (&[conv], &[norm]) => Ok((conv.to_owned(), norm.to_owned())),
        _ if word == "layer" => Ok(torchvision()),
        (convs, norms) => {
            let (convs, norms) = (convs.len(), norms.len());
            Err(format!(
                "{convs} convolution(s) and {norms} batch norm(s) under `{prefix}` before the blocks, expected one of each"
            ))
        }
    }
}
