//! Which pictures keep their labels: class-balanced parts by seed, and lists of names.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use byol_data::{Dataset, Random, Stream};
use byol_nn::files::write_atomically;
use byol_nn::{Error, Result};

/// Which draw a random part comes from; keeps parts with equal seeds apart.
#[derive(Clone, Copy, Debug)]
pub enum Draw {
    /// Pictures held out to choose settings on.
    Validation,
    /// Pictures that keep their labels.
    Labelled,
}

/// Places of a class-balanced part of `among`, ascending: `share` of the pictures of each class, rounded, at least one; drawn by
/// `seed`.
///
/// # Errors
/// [`Error::Evaluation`] for a share outside `(0, 1]` or a picture without label.
pub fn class_balanced(dataset: &Dataset, among: &[u32], share: f64, draw: Draw, seed: u64) -> Result<Vec<u32>> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(Error::Evaluation(format!(
            "a share of the labels: expected a number above 0 and at most 1 (0.01 is 1 %), got {share}"
        )));
    }
    let mut by_class: HashMap<u32, Vec<u32>> = HashMap::new();
    for &place in among {
        by_class.entry(label(dataset, place)?).or_default().push(place);
    }
    let mut chosen = Vec::new();
    for (class, mut places) in by_class {
        let epoch = match draw {
            Draw::Validation => u64::MAX - 1,
            Draw::Labelled => u64::MAX - 2,
        };
        Random::new(seed, Stream::Evaluation, epoch, class.into()).shuffle(&mut places);
        let count = ((places.len() as f64 * share).round() as usize).clamp(1, places.len());
        chosen.extend(&places[..count]);
    }
    chosen.sort_unstable();
    Ok(chosen)
}

fn label(dataset: &Dataset, place: u32) -> Result<u32> {
    dataset.label(place as usize).ok_or_else(|| {
        Error::Evaluation(format!("{} has no label; expected one for every picture", dataset.name(place as usize)))
    })
}

/// Those of `all` that are not in `taken`; both ascending.
pub fn without(all: &[u32], taken: &[u32]) -> Vec<u32> {
    all.iter().copied().filter(|place| taken.binary_search(place).is_err()).collect()
}

/// Places of the pictures named in the text file `list`, one per line: a picture's name in the data, or its last part, as
/// in SimCLR's lists of 1 % and 10 % of ImageNet (`n01440764_10026.JPEG`). Empty lines are left out.
///
/// # Errors
/// [`Error::Path`] with the line for a name that is not in the data, fits several pictures, or comes twice.
pub fn from_list(dataset: &Dataset, list: &Path) -> Result<Vec<u32>> {
    let text = fs::read_to_string(list).map_err(Error::io("read", list))?;
    let mut places: HashMap<String, Option<u32>> = HashMap::new();
    for place in 0..dataset.len() as u32 {
        let name = dataset.name(place as usize);
        if let Some(last) = name.rsplit('/').next().filter(|last| *last != name) {
            places.entry(last.to_owned()).and_modify(|place| *place = None).or_insert(Some(place));
        }
        // A full name says more than the last part of another one.
        places.insert(name, Some(place));
    }
    let mut chosen = Vec::new();
    for (line, name) in text.lines().enumerate().map(|(line, name)| (line + 1, name.trim())) {
        if name.is_empty() {
            continue;
        }
        let wrong = |problem: &str| Err(Error::path(list, format!("line {line}: {name:?} {problem}")));
        match places.get(name) {
            Some(Some(place)) => chosen.push((*place, line)),
            Some(None) => {
                return wrong("is the name of several pictures; write its path in the data, such as cat/1.jpg");
            }
            None => {
                return wrong(
                    "is no picture of the training data; expected one name per line, such as cat/1.jpg or 1.jpg",
                );
            }
        }
    }
    chosen.sort_unstable();
    if let Some(pair) = chosen.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let problem = format!("lines {} and {} name the same picture; expected each once", pair[0].1, pair[1].1);
        return Err(Error::path(list, problem));
    }
    if chosen.is_empty() {
        return Err(Error::path(list, "no names in this list; expected one per line, such as cat/1.jpg"));
    }
    Ok(chosen.into_iter().map(|(place, _)| place).collect())
}

/// Writes the names of `places`, one per line: what [`from_list`] reads.
pub fn write_list(dataset: &Dataset, places: &[u32], list: &Path) -> Result<()> {
    write_atomically(list, |writer| {
        places.iter().try_for_each(|&place| writeln!(writer, "{}", dataset.name(place as usize)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use byol_data::Image;

    /// Pictures of `counts[c]` per class, named `c/i.png`.
    fn dataset(counts: &[usize]) -> Dataset {
        let pictures: Vec<(u32, usize)> =
            counts.iter().zip(0..).flat_map(|(&count, class)| (0..count).map(move |i| (class, i))).collect();
        Dataset::from_images(
            pictures.iter().map(|_| Image::rgb8(1, 1, vec![0; 3])).collect(),
            Some(pictures.iter().map(|(class, _)| *class).collect()),
            (0..counts.len()).map(|class| class.to_string()).collect(),
            pictures.iter().map(|(class, i)| format!("{class}/{i}-{class}.png")).collect(),
        )
    }

    fn all(dataset: &Dataset) -> Vec<u32> {
        (0..dataset.len() as u32).collect()
    }

    #[test]
    fn a_part_has_its_share_of_every_class_and_depends_on_seed_and_draw() {
        let data = dataset(&[100, 40, 3]);
        let part = |draw, seed| class_balanced(&data, &all(&data), 0.1, draw, seed).unwrap();
        let of_class = |part: &[u32], class| part.iter().filter(|&&p| data.label(p as usize) == Some(class)).count();
        let first = part(Draw::Labelled, 0);
        assert_eq!([0, 1, 2].map(|class| of_class(&first, class)), [10, 4, 1]);
        assert_eq!(first, part(Draw::Labelled, 0));
        assert_ne!(first, part(Draw::Labelled, 1));
        assert_ne!(first, part(Draw::Validation, 0));
        assert_eq!(class_balanced(&data, &all(&data), 1.0, Draw::Labelled, 0).unwrap(), all(&data));
        assert!(class_balanced(&data, &all(&data), 10.0, Draw::Labelled, 0).is_err());
    }

    #[test]
    fn a_written_list_reads_back_and_short_names_do() {
        let (folder, data) = (tempfile::tempdir().unwrap(), dataset(&[5, 5]));
        let list = folder.path().join("list.txt");
        write_list(&data, &[1, 7], &list).unwrap();
        assert_eq!(from_list(&data, &list).unwrap(), [1, 7]);
        fs::remove_file(&list).unwrap();
        fs::write(&list, "2-1.png\n\n0-0.png\n").unwrap();
        assert_eq!(from_list(&data, &list).unwrap(), [0, 7]);
    }

    #[test]
    fn a_list_that_does_not_fit_names_the_line() {
        let (folder, data) = (tempfile::tempdir().unwrap(), dataset(&[5]));
        for (number, (text, expected)) in
            [("0/1-0.png\n0/9-0.png\n", "line 2"), ("1-0.png\n0/1-0.png", "lines 1 and 2"), ("\n", "no names")]
                .into_iter()
                .enumerate()
        {
            let list = folder.path().join(number.to_string());
            fs::write(&list, text).unwrap();
            let message = from_list(&data, &list).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
