//! What the reader of a benchmark found, and what becomes of it.

use std::collections::HashMap;

use super::hold_out::{self, TooFew};
use super::labels::MultiLabels;
use super::parts::BenchmarkParts;
use super::tree::Tree;
use crate::source::{self, Listing};
use crate::splits::Layout;
use crate::{DataConfig, DataError, Dataset};

/// A part that a picture belongs to.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Train,
    Val,
    Test,
}

/// Pictures, their labels and their parts.
#[derive(Default)]
pub(super) struct Found {
    classes: Vec<String>,
    place_of_class: HashMap<String, u32>,
    paths: Listing,
    labels: Vec<Option<u32>>,
    /// Places of the pictures of each part.
    parts: [Vec<u32>; 3],
    /// Classes and presences of data with several classes per picture.
    pub targets: Option<MultiLabels>,
    /// Whether pictures that are not there are left out.
    pub may_lack_pictures: bool,
}

impl Found {
    pub fn new(classes: Vec<String>) -> Self {
        let place_of_class = classes.iter().cloned().zip(0..).collect();
        Self { classes, place_of_class, ..Self::default() }
    }

    /// The label of the class `name`.
    pub fn label(&self, name: &str) -> Option<u32> {
        self.place_of_class.get(name).copied()
    }

    /// The label that `number` is, counted from `first`.
    pub fn numbered(&self, number: &str, first: u32) -> Option<u32> {
        let label = number.parse::<u32>().ok()?.checked_sub(first)?;
        ((label as usize) < self.classes.len()).then_some(label)
    }

    /// Adds the picture at `path`, relative to the base of the tree.
    pub fn push(&mut self, part: Part, path: &str, label: Option<u32>) {
        // `source::of_paths` refuses more pictures than a place can count.
        let place = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.paths.push(path.as_bytes(), 0, 0);
        self.labels.push(label);
        self.parts[part as usize].push(place);
    }

    /// Number of test pictures of each class.
    pub fn test_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in self.part_labels(Part::Test) {
            counts[label as usize] += 1;
        }
        counts
    }

    fn part_labels(&self, part: Part) -> Vec<u32> {
        self.parts[part as usize].iter().filter_map(|&place| self.labels[place as usize]).collect()
    }

    /// Moves `held_out(class)` training pictures of each class, which stand in `list`, to the validation part.
    pub fn hold_out_per_class(
        &mut self,
        tree: &Tree<'_>,
        list: &str,
        held_out: impl Fn(usize) -> usize,
    ) -> Result<(), DataError> {
        let labels = self.part_labels(Part::Train);
        let parted = hold_out::per_class(tree.benchmark, &labels, self.classes.len(), held_out);
        let parted = parted.map_err(|TooFew { class, held_out, found }| {
            let expected = format!("more than {held_out} pictures of {}, to hold {held_out} out", self.classes[class]);
            tree.malformed(list, expected, found)
        })?;
        self.part(parted);
        Ok(())
    }

    /// Moves `val` of each `of` training pictures to the validation part.
    pub fn hold_out_share(&mut self, tree: &Tree<'_>, val: u32, of: u32) {
        let count = u32::try_from(self.parts[Part::Train as usize].len()).unwrap_or(u32::MAX);
        self.part(hold_out::share(tree.benchmark, count, val, of));
    }

    fn part(&mut self, (kept, held_out): hold_out::Parted) {
        let train = &self.parts[Part::Train as usize];
        let of = |places: Vec<u32>| places.into_iter().map(|place| train[place as usize]).collect();
        let (kept, held_out) = (of(kept), of(held_out));
        self.parts[Part::Train as usize] = kept;
        self.parts[Part::Val as usize] = held_out;
    }

    /// Looks which pictures are there, and opens the parts.
    pub fn open(self, tree: &Tree<'_>, config: &DataConfig) -> Result<BenchmarkParts, DataError> {
        self.check_distinct(tree)?;
        let Self { classes, paths, labels, mut parts, targets, may_lack_pictures, .. } = self;
        let (source, missing) = source::of_paths(&tree.base, paths)?;
        let name = |place: &u32| source.name(*place as usize).into_owned();
        if let Some(first) = missing.first().filter(|_| !may_lack_pictures) {
            return Err(tree.missing(&name(first), missing.len() - 1, "every picture that the lists name"));
        }
        if let Some(first) = missing.first().filter(|_| missing.len() == labels.len()) {
            return Err(tree.missing(
                &name(first),
                missing.len() - 1,
                "at least some of the pictures that the lists name",
            ));
        }
        for part in &mut parts {
            part.retain(|place| missing.binary_search(place).is_err());
        }
        let missing = missing.iter().map(name).collect();
        let images = (0u32..).take(labels.len()).collect();
        let layout = Layout { classes, images, labels, ..Layout::default() };
        let all = Dataset::new(source, layout, vec![tree.root.into()], config.clone());
        let [train, val, test] = parts.map(|places| all.subset(&places));
        BenchmarkParts { benchmark: tree.benchmark, train, val, test, targets, missing }.checked(tree)
    }

    /// Refuses a picture that is named twice, which might be in two parts.
    fn check_distinct(&self, tree: &Tree<'_>) -> Result<(), DataError> {
        let mut order: Vec<usize> = (0..self.paths.len()).collect();
        order.sort_unstable_by_key(|&place| self.paths.name(place));
        let twice = order.windows(2).find(|pair| self.paths.name(pair[0]) == self.paths.name(pair[1]));
        let Some(&[place, _]) = twice else { return Ok(()) };
        let name = String::from_utf8_lossy(self.paths.name(place)).into_owned();
        Err(tree.malformed(&name, "a picture that the lists name once", "it twice"))
    }
}
