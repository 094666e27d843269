//! Which training pictures are held out to choose a setting on.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use byol_data::{Dataset, Random, Stream};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::subset::{self, Draw};

/// How many training pictures are held out, and which. As text: `10%` or `0.1`, `10009`, `last:10009`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOut {
    /// A share in `(0, 1)`, drawn by the seed.
    Share(f64),
    /// So many, drawn by the seed.
    Images(usize),
    /// The last so many in the order of the data, as in the paper (C.1: the last 10 009 of ImageNet, whose records there are
    /// shuffled). Data in the order of its classes is refused if a class would be held out whole.
    Last(usize),
}

impl Default for HeldOut {
    /// A tenth.
    fn default() -> Self {
        Self::Share(0.1)
    }
}

impl HeldOut {
    /// How many of `images` training pictures; a share is rounded down, and at least one.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when none or all would be held out.
    pub fn count(self, images: usize) -> Result<usize> {
        let count = match self {
            Self::Share(share) => subset::count_of(images, share),
            Self::Images(count) | Self::Last(count) => count,
        };
        let is_share = match self {
            Self::Share(share) => share > 0.0 && share < 1.0,
            Self::Images(_) | Self::Last(_) => true,
        };
        if is_share && count > 0 && count < images { Ok(count) } else { Err(self.leaves_nothing(images)) }
    }

    /// Rows to choose on, those left to learn from, and all, of `images` rows; drawn by `seed` whatever their class.
    ///
    /// # Errors
    /// As for [`Self::count`].
    pub(super) fn of_rows(self, images: usize, seed: u64) -> Result<[Vec<usize>; 3]> {
        let count = self.count(images)?;
        let mut rows: Vec<usize> = (0..images).collect();
        if let Self::Last(_) = self {
            let (left, held_out) = rows.split_at(images - count);
            return Ok([held_out.to_vec(), left.to_vec(), rows]);
        }
        Random::new(seed, Stream::Evaluation, 0, 0).shuffle(&mut rows);
        let (held_out, left) = rows.split_at(count);
        Ok([held_out.to_vec(), left.to_vec(), rows])
    }

    /// Places to choose on and those of `among` that are left, both ascending. `among` are all of `train` or those that no list
    /// claims; what is drawn, by `seed`, has the classes of `train`: of a share, each class gives its part, rounded, at least one.
    ///
    /// # Errors
    /// As for [`Self::count`], when there are fewer in `among`, and for a picture without label.
    pub(super) fn class_balanced(self, train: &Dataset, among: &[u32], seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
        let count = self.count(train.len())?;
        if !matches!(self, Self::Share(_)) && count > among.len() {
            let free = format!("at most the {} training pictures that are in no list", among.len());
            return Err(self.wrong(&free));
        }
        let held_out = match self {
            Self::Share(share) if among.len() == train.len() => {
                subset::class_balanced(train, among, share, Draw::Validation, seed)?
            }
            Self::Share(share) => {
                let of_among = (share * train.len() as f64 / among.len() as f64).min(1.0);
                subset::class_balanced(train, among, of_among, Draw::Validation, seed)?
            }
            Self::Images(_) => subset::class_balanced_images(train, among, count, Draw::Validation, seed)?,
            Self::Last(_) => among[among.len() - count..].to_vec(),
        };
        // With one picture to a class, a share takes them all.
        if held_out.len() == train.len() {
            return Err(self.leaves_nothing(train.len()));
        }
        let left = subset::without(among, &held_out);
        // Beside a list it is the list that is learned from.
        if among.len() == train.len() {
            self.leaves_classes([&held_out, &left].map(|places| subset::labels(train, places)))?;
        }
        Ok((held_out, left))
    }

    /// Whether the last pictures are no whole class: nothing could be chosen on a class that is not learned. The labels are those
    /// of the pictures held out and of those left.
    ///
    /// # Errors
    /// [`Error::Evaluation`] that names the class.
    pub(super) fn leaves_classes(self, [held_out, left]: [HashSet<u32>; 2]) -> Result<()> {
        let Self::Last(count) = self else { return Ok(()) };
        match held_out.difference(&left).min() {
            None => Ok(()),
            Some(class) => Err(Error::Evaluation(format!(
                "pictures held out to choose a setting: the last {count} training pictures hold all of class {class} (counted from 0), so \
                 that none are left to learn it from; files of a folder come class by class; draw them by --held-out {count}, or give \
                 the data in another order, as a list of paths"
            ))),
        }
    }

    /// As in a sentence; `drawn` says how, where it was: `10 % held-out training pictures (drawn at random)`.
    pub(super) fn in_words(self, drawn: &str) -> String {
        match self {
            Self::Share(share) => format!("{} % held-out training pictures ({drawn})", percent(share)),
            Self::Images(count) => format!("{count} held-out training pictures ({drawn})"),
            Self::Last(count) => format!("the last {count} training pictures, held out"),
        }
    }

    fn leaves_nothing(self, images: usize) -> Error {
        let most = images.saturating_sub(1);
        self.wrong(&format!("at most {most} of the {images} training pictures, so that some are left to learn from"))
    }

    fn wrong(self, most: &str) -> Error {
        Error::Evaluation(format!(
            "pictures held out to choose a setting: expected at least 1 and {most}; got {self}; give another number or share by \
             --held-out"
        ))
    }
}

/// Percent without the digits that floating point adds.
pub(super) fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

impl fmt::Display for HeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{}%", percent(*share)),
            Self::Images(count) => write!(f, "{count}"),
            Self::Last(count) => write!(f, "last:{count}"),
        }
    }
}

impl FromStr for HeldOut {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let count = |text: &str| text.parse().ok().filter(|&count: &usize| count > 0);
        let share = |text: &str, whole: f64| {
            text.parse::<f64>().ok().map(|part| part / whole).filter(|share| *share > 0.0 && *share < 1.0)
        };
        let parsed = match (text.strip_prefix("last:"), text.strip_suffix('%')) {
            (Some(last), _) => count(last).map(Self::Last),
            (None, Some(part)) => share(part.trim(), 100.0).map(Self::Share),
            (None, None) => count(text).map(Self::Images).or_else(|| share(text, 1.0).map(Self::Share)),
        };
        parsed.ok_or(
            "expected a share above 0 and below 1 (10%), a number of pictures (10009) or the last ones (last:10009)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subset::tests::{all, dataset};

    #[test]
    fn shares_numbers_and_the_last_pictures_are_read_and_shown() {
        let read = |text: &str| text.parse::<HeldOut>();
        for (text, expected) in [
            ("10%", HeldOut::default()),
            ("29%", HeldOut::Share(0.29)),
            ("10009", HeldOut::Images(10_009)),
            ("last:10009", HeldOut::Last(10_009)),
        ] {
            assert_eq!(read(text), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!((read("0.1"), read("12.5 %")), (Ok(HeldOut::Share(0.1)), Ok(HeldOut::Share(0.125))));
        for text in ["", "0", "0%", "100%", "1.0", "-5", "last:", "last:0", "last:10%", "first:5", "NaN"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_exact_and_something_is_always_left() {
        let imagenet = 1_281_167;
        for (held_out, images, expected) in [
            (HeldOut::Images(10_009), imagenet, 10_009),
            (HeldOut::Last(10_009), imagenet, 10_009),
            (HeldOut::Share(0.1), imagenet, 128_116),
            (HeldOut::Share(0.29), 100, 29),
            (HeldOut::Share(0.1), 2, 1),
        ] {
            assert_eq!(held_out.count(images).unwrap(), expected, "{held_out} of {images}");
            if images < imagenet {
                continue;
            }
            let [chosen_on, left, all] = held_out.of_rows(images, 3).unwrap();
            assert_eq!((chosen_on.len(), left.len(), all.len()), (expected, images - expected, images));
        }
        for (held_out, images) in [
            (HeldOut::Images(400), 400),
            (HeldOut::Last(500), 400),
            (HeldOut::Images(0), 400),
            (HeldOut::Share(1.0), 400),
            (HeldOut::Share(f64::NAN), 400),
            (HeldOut::Share(0.1), 1),
        ] {
            let message = held_out.count(images).unwrap_err().to_string();
            let expected = format!("at most {} of the {images} training pictures", images - 1);
            assert!(message.contains(&expected) && message.contains("--held-out"), "{message}");
        }
    }

    #[test]
    fn rows_are_drawn_by_the_seed_or_the_last_and_never_overlap() {
        for held_out in [HeldOut::Share(0.2), HeldOut::Images(7), HeldOut::Last(7)] {
            let [mut chosen_on, left, mut every] = held_out.of_rows(50, 1).unwrap();
            assert!(chosen_on.iter().all(|row| !left.contains(row)));
            assert_eq!([&chosen_on[..], &left].concat().len(), 50);
            every.sort_unstable();
            assert_eq!(every, (0..50).collect::<Vec<_>>());
            let is_last = matches!(held_out, HeldOut::Last(_));
            chosen_on.sort_unstable();
            assert_eq!(chosen_on.iter().copied().eq(43..50), is_last, "{held_out}");
            assert_eq!(held_out.of_rows(50, 2).unwrap()[0] == held_out.of_rows(50, 1).unwrap()[0], is_last);
        }
    }

    #[test]
    fn balanced_parts_have_the_classes_of_the_data_and_never_overlap() {
        let data = dataset(&[100, 40, 3]);
        let of_class = |part: &[u32], class| part.iter().filter(|&&p| data.label(p as usize) == Some(class)).count();
        for (held_out, expected) in [
            (HeldOut::Share(0.1), [10, 4, 1]),
            (HeldOut::Images(14), [9, 4, 1]),
            (HeldOut::Images(2), [1, 1, 0]),
            (HeldOut::Last(2), [0, 0, 2]),
        ] {
            let (chosen_on, left) = held_out.class_balanced(&data, &all(&data), 0).unwrap();
            assert_eq!([0, 1, 2].map(|class| of_class(&chosen_on, class)), expected, "{held_out}");
            assert!(chosen_on.iter().all(|place| left.binary_search(place).is_err()));
            assert_eq!(chosen_on.len() + left.len(), 143);
        }
        // What a list claims is not held out; a share is one of all pictures.
        let (listed, rest) = ((0..100).collect::<Vec<u32>>(), (100..143).collect::<Vec<u32>>());
        for (held_out, expected) in [(HeldOut::Share(0.1), 14), (HeldOut::Images(20), 20), (HeldOut::Last(43), 43)] {
            let (chosen_on, _) = held_out.class_balanced(&data, &rest, 0).unwrap();
            assert_eq!(chosen_on.len(), expected, "{held_out}");
            assert!(chosen_on.iter().all(|place| !listed.contains(place)));
        }
        assert!(HeldOut::Images(44).class_balanced(&data, &rest, 0).is_err());
        let whole_class = HeldOut::Last(5).class_balanced(&data, &all(&data), 0).unwrap_err().to_string();
        assert!(whole_class.contains("all of class 2") && whole_class.contains("--held-out 5"), "{whole_class}");
        let alone = dataset(&[1, 1, 1]);
        assert!(HeldOut::default().class_balanced(&alone, &all(&alone), 0).is_err());
    }
}
