//! Which pictures keep their labels: class-balanced parts by seed, and lists of names.

use std::collections::{BTreeMap, HashMap, HashSet};
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
    check_share(share)?;
    let by_class = by_class(dataset, among)?;
    let count = |places: &Vec<u32>| ((places.len() as f64 * share).round() as usize).clamp(1, places.len());
    let counts: Vec<usize> = by_class.values().map(count).collect();
    Ok(drawn(by_class, &counts, draw, seed))
}

/// Places of a class-balanced part of `among`, ascending: `count` in all, or all of `among` if those are fewer. Classes are as
/// frequent as in `dataset`, as far as whole numbers and `among` allow; every class has one if `count` is enough for that. Drawn by
/// `seed`, as is which of equal classes gets one more.
///
/// # Errors
/// [`Error::Evaluation`] for a picture without label.
pub fn class_balanced_images(
    dataset: &Dataset,
    among: &[u32],
    count: usize,
    draw: Draw,
    seed: u64,
) -> Result<Vec<u32>> {
    let all: Vec<u32> = (0..dataset.len() as u32).collect();
    let sizes = by_class(dataset, &all)?.into_iter().map(|(class, places)| (class, places.len()));
    let mut by_class = by_class(dataset, among)?;
    let (sizes, available): (Vec<usize>, Vec<usize>) =
        sizes.map(|(class, size)| (size, by_class.entry(class).or_default().len())).unzip();
    let mut turns: Vec<usize> = (0..sizes.len()).collect();
    // Classes are numbered in 32 bits: no class has this coordinate.
    Random::new(seed, Stream::Evaluation, draw.epoch(), u64::MAX).shuffle(&mut turns);
    let counts = apportion(count, &sizes, &available, &turns);
    Ok(drawn(by_class, &counts, draw, seed))
}

/// `share` of so many pictures, rounded down, at least one: 12 811 for 1 % of ImageNet's 1 281 167, as in SimCLR's list.
pub fn count_of(images: usize, share: f64) -> usize {
    // 0.29 · 100 is 28.999999999999996.
    ((images as f64 * share + 1e-6) as usize).max(1)
}

pub(super) fn check_share(share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::Evaluation(format!(
        "a share of the labels: expected a number above 0 and at most 1 (0.01 is 1 %), got {share}"
    )))
}

impl Draw {
    /// Where in the stream of evaluations no epoch of a training comes.
    fn epoch(self) -> u64 {
        match self {
            Self::Validation => u64::MAX - 1,
            Self::Labelled => u64::MAX - 2,
        }
    }
}

fn by_class(dataset: &Dataset, among: &[u32]) -> Result<BTreeMap<u32, Vec<u32>>> {
    let mut by_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &place in among {
        by_class.entry(label(dataset, place)?).or_default().push(place);
    }
    Ok(by_class)
}

/// So many places of each class, in the order of the classes.
fn drawn(by_class: BTreeMap<u32, Vec<u32>>, counts: &[usize], draw: Draw, seed: u64) -> Vec<u32> {
    let mut chosen = Vec::new();
    for ((class, mut places), &count) in by_class.into_iter().zip(counts) {
        Random::new(seed, Stream::Evaluation, draw.epoch(), class.into()).shuffle(&mut places);
        chosen.extend(&places[..count]);
    }
    chosen.sort_unstable();
    chosen
}

/// How many of each class: `total` in all, or all there are, by the largest remainders of the [`claims`]; at least one of each that
/// is available if `total` is enough for that. Of equal claims the first in `turns` is served first.
fn apportion(total: usize, sizes: &[usize], available: &[usize], turns: &[usize]) -> Vec<usize> {
    let total = total.min(available.iter().sum());
    let claims = claims(total, sizes, available);
    let present = available.iter().filter(|&&count| count > 0).count();
    let least: Vec<usize> = available.iter().map(|&count| usize::from(count > 0 && total >= present)).collect();
    let mut counts: Vec<usize> =
        claims.iter().zip(&least).map(|(&claim, &least)| (claim as usize).max(least)).collect();
    // The class that is furthest from its claim, of those that can change; `max_by` keeps the last of equals.
    let furthest = |counts: &[usize], sign: f64, can: &dyn Fn(usize) -> bool| {
        let distance = |class: usize| sign * (claims[class] - counts[class] as f64);
        let nearer = |a: &usize, b: &usize| distance(*a).total_cmp(&distance(*b));
        turns.iter().rev().copied().filter(|&class| can(class)).max_by(nearer).expect("the total can be reached")
    };
    let mut sum: usize = counts.iter().sum();
    while sum < total {
        let class = furthest(&counts, 1.0, &|class| counts[class] < available[class]);
        counts[class] += 1;
        sum += 1;
    }
    while sum > total {
        let class = furthest(&counts, -1.0, &|class| counts[class] > least[class]);
        counts[class] -= 1;
        sum -= 1;
    }
    counts
}

/// What each class would get if pictures could be cut: `total` in proportion to `sizes`; what a class has not, the others share.
/// `total` is at most all that is available.
fn claims(total: usize, sizes: &[usize], available: &[usize]) -> Vec<f64> {
    let mut exhausted = vec![false; sizes.len()];
    loop {
        let (mut left, mut open) = (total, 0);
        for (class, &is_exhausted) in exhausted.iter().enumerate() {
            if is_exhausted {
                left -= available[class];
            } else {
                open += sizes[class];
            }
        }
        let claim = |class: usize| match exhausted[class] {
            true => available[class] as f64,
            false => left as f64 * sizes[class] as f64 / open as f64,
        };
        let claims: Vec<f64> = (0..sizes.len()).map(claim).collect();
        let over = |&class: &usize| claims[class] > available[class] as f64;
        let newly: Vec<usize> = (0..sizes.len()).filter(over).collect();
        if newly.is_empty() {
            return claims;
        }
        newly.into_iter().for_each(|class| exhausted[class] = true);
    }
}

/// The classes of the pictures at `places`.
pub(super) fn labels(dataset: &Dataset, places: &[u32]) -> HashSet<u32> {
    places.iter().filter_map(|&place| dataset.label(place as usize)).collect()
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
pub(super) mod tests {
    use super::*;
    use byol_data::Image;

    /// Pictures of `counts[c]` per class, named `c/i.png`.
    pub(crate) fn dataset(counts: &[usize]) -> Dataset {
        let pictures: Vec<(u32, usize)> =
            counts.iter().zip(0..).flat_map(|(&count, class)| (0..count).map(move |i| (class, i))).collect();
        Dataset::from_images(
            pictures.iter().map(|_| Image::rgb8(1, 1, vec![0; 3])).collect(),
            Some(pictures.iter().map(|(class, _)| *class).collect()),
            (0..counts.len()).map(|class| class.to_string()).collect(),
            pictures.iter().map(|(class, i)| format!("{class}/{i}-{class}.png")).collect(),
        )
    }

    pub(crate) fn all(dataset: &Dataset) -> Vec<u32> {
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
    fn a_count_is_met_exactly_with_the_remainder_where_claims_are_largest() {
        // ImageNet: 1 % is 12 811 of 1 281 167 pictures in 1000 classes, 12.8 of each.
        let sizes: Vec<usize> = (0..1000).map(|class| if class < 167 { 1282 } else { 1281 }).collect();
        let total = count_of(sizes.iter().sum(), 0.01);
        assert_eq!(total, 12_811);
        let turns: Vec<usize> = (0..1000).rev().collect();
        let counts = apportion(total, &sizes, &sizes, &turns);
        assert_eq!(counts.iter().sum::<usize>(), total);
        // 811 classes get a thirteenth: the larger ones, then those whose turn it is.
        let thirteen = |class: usize| !(167..1000 - (811 - 167)).contains(&class);
        assert!((0..1000).all(|class| counts[class] == if thirteen(class) { 13 } else { 12 }), "{counts:?}");

        let cases: [(usize, [&[usize]; 3]); 6] = [
            (10, [&[500, 300, 200], &[500, 300, 200], &[5, 3, 2]]),
            (7, [&[1000, 1, 1], &[1000, 1, 1], &[5, 1, 1]]),
            (2, [&[10, 10, 10], &[10, 10, 10], &[0, 1, 1]]),
            (10, [&[10, 10], &[3, 10], &[3, 7]]),
            (99, [&[10, 10], &[3, 10], &[3, 10]]),
            (4, [&[10, 10, 10], &[10, 0, 10], &[2, 0, 2]]),
        ];
        for (total, [sizes, available, expected]) in cases {
            let turns: Vec<usize> = (0..sizes.len()).rev().collect();
            assert_eq!(apportion(total, sizes, available, &turns), expected, "{total} of {sizes:?}");
        }
    }

    #[test]
    fn the_seed_draws_which_pictures_and_which_classes_get_one_more() {
        let data = dataset(&[20; 10]);
        let part = |seed| class_balanced_images(&data, &all(&data), 15, Draw::Labelled, seed).unwrap();
        let of_class = |part: &[u32], class| part.iter().filter(|&&p| data.label(p as usize) == Some(class)).count();
        let counts = |seed| (0..10).map(|class| of_class(&part(seed), class)).collect::<Vec<_>>();
        assert_eq!((part(0).len(), part(0)), (15, part(0)));
        assert!(counts(0).iter().all(|count| [1, 2].contains(count)), "{:?}", counts(0));
        assert_ne!(counts(0), counts(1));
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
