//! Which pictures train a probe and which test it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use byol_data::{DataConfig, Dataset, Random, Stream};
use byol_nn::{Error, Result};

use super::meter::waiting;

/// Training and test pictures of an evaluation.
#[derive(Clone, Debug)]
pub struct LabelledParts {
    /// Pictures with labels to learn from.
    pub train: Arc<Dataset>,
    /// Pictures to be tested on, once.
    pub test: Arc<Dataset>,
    /// Where the two come from, for the protocol line.
    pub description: String,
}

/// Share of the pictures that is tested on when the data has no test part.
const HELD_OUT: f64 = 0.2;

/// Where the pictures of an evaluation are.
#[derive(Clone, Debug, Default)]
pub struct PartsRequest {
    /// Roots of the pictures to train on, and of those to test on unless `test` has some.
    pub data: Vec<PathBuf>,
    /// Roots of the pictures to test on.
    pub test: Vec<PathBuf>,
    /// The split of `data` to train on, `all` for everything; by default the training part.
    pub split: Option<String>,
    /// The split to test on, of `test` if that has roots; by default the test part, else the validation part.
    pub test_split: Option<String>,
}

/// Opens what `request` asks for. Data without a test part has a fifth of its pictures, chosen by seed 0, held out.
///
/// # Errors
/// Data errors, and [`Error::Evaluation`] when the two parts do not have the same classes, or pictures to test on are of
/// classes that no picture to train on has.
pub fn open_parts(request: &PartsRequest, limits: &DataConfig) -> Result<LabelledParts> {
    waiting("opening the data", || open_all(request, limits))
}

fn open_all(request: &PartsRequest, limits: &DataConfig) -> Result<LabelledParts> {
    let PartsRequest { data, test, split, test_split } = request;
    let train = Dataset::open_all(data, split.as_deref(), limits)?;
    if test.is_empty() {
        let present = match test_split {
            Some(split) => vec![split.clone()],
            None => test_splits(&train),
        };
        let Some((tested_on, test)) = first_labelled(data, &present, limits)? else { return hold_out(&train, data) };
        let trained_on = train.split().unwrap_or("all");
        if train.split().is_some() && train.split() == test.split() {
            let problem = format!("pictures to train on and pictures to test on are both the part `{trained_on}`");
            return Err(Error::Evaluation(format!("{}: {problem}; give another --test-split", named(data))));
        }
        let description =
            format!("trained on the `{trained_on}` part, tested on the `{tested_on}` part of {}", named(data));
        return parts(train, test, description);
    }
    let present = Dataset::open_all(test, test_split.as_deref(), limits)?;
    let splits = if test_split.is_some() { Vec::new() } else { test_splits(&present) };
    let test_set = first_labelled(test, &splits, limits)?.map_or(present, |(_, test)| test);
    parts(train, test_set, format!("trained on {}, tested on {}", named(data), named(test)))
}

/// The splits that may be tested on, the likeliest first.
fn test_splits(dataset: &Dataset) -> Vec<String> {
    let candidates = dataset.test_splits().into_iter().filter(|split| Some(*split) != dataset.split());
    candidates.map(str::to_owned).collect()
}

/// The first of `splits` with a label for every picture, else the first: test parts of contests come without labels.
fn first_labelled(data: &[PathBuf], splits: &[String], limits: &DataConfig) -> Result<Option<(String, Dataset)>> {
    let mut first = None;
    for split in splits {
        let opened = Dataset::open_all(data, Some(split), limits)?;
        if (0..opened.len()).all(|index| opened.label(index).is_some()) {
            return Ok(Some((split.clone(), opened)));
        }
        first = first.or_else(|| Some((split.clone(), opened)));
    }
    Ok(first)
}

fn named(roots: &[PathBuf]) -> String {
    roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn parts(train: Dataset, test: Dataset, description: String) -> Result<LabelledParts> {
    if train.classes() != test.classes() {
        return Err(Error::Evaluation(format!(
            "{description}: expected the same classes in both, in folders of the same names; got {:?} and {:?}",
            preview(train.classes()),
            preview(test.classes())
        )));
    }
    check_seen(&train, &test, &description)?;
    Ok(LabelledParts { train: Arc::new(train), test: Arc::new(test), description })
}

/// A picture of a class that was not there to learn from is wrong whatever the encoder is.
fn check_seen(train: &Dataset, test: &Dataset, description: &str) -> Result<()> {
    let labels = |of: &Dataset| (0..of.len()).filter_map(|index| of.label(index)).collect::<Vec<u32>>();
    let seen: BTreeSet<u32> = labels(train).into_iter().collect();
    let unseen: Vec<u32> = labels(test).into_iter().filter(|label| !seen.contains(label)).collect();
    if unseen.is_empty() || seen.is_empty() {
        return Ok(());
    }
    let classes: BTreeSet<&str> = unseen.iter().map(|&label| test.classes()[label as usize].as_str()).collect();
    let few: Vec<&str> = classes.iter().take(5).copied().collect();
    Err(Error::Evaluation(format!(
        "{description}: {} of {} pictures to test on are in classes that no picture to train on has ({}{}), so none of them \
         could be right. Name their folders as those of the training part, give a list of paths and labels with --test LIST, \
         or leave them out",
        unseen.len(),
        test.len(),
        few.join(", "),
        if classes.len() > few.len() { ", …" } else { "" }
    )))
}

fn preview(classes: &[String]) -> &[String] {
    &classes[..classes.len().min(5)]
}

fn hold_out(all: &Dataset, data: &[PathBuf]) -> Result<LabelledParts> {
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    Random::new(0, Stream::Evaluation, u64::MAX, 0).shuffle(&mut order);
    let held_out = (all.len() as f64 * HELD_OUT) as usize;
    if held_out == 0 {
        let problem = format!("an evaluation needs at least 5 pictures, got {}", all.len());
        return Err(Error::Evaluation(format!("{}: {problem}", named(data))));
    }
    let (test, train) = order.split_at_mut(held_out);
    test.sort_unstable();
    train.sort_unstable();
    let description = format!("no test part in {}: a fifth of it held out (seed 0)", named(data));
    parts(all.subset(train), all.subset(test), description)
}
