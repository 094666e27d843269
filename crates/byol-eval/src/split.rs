//! Which pictures train a probe and which test it.

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

/// Names of a test part, in the order of preference.
const TEST_SPLITS: [&str; 3] = ["test", "val", "validation"];

/// Share of the pictures that is tested on when the data has no test part.
const HELD_OUT: f64 = 0.2;

/// Opens `data` and, if given, `test`. Without `test` the data's own test part is used, and without one a fifth of the
/// pictures, chosen by seed 0, is held out.
///
/// # Errors
/// Data errors, and [`Error::Evaluation`] when the two parts do not have the same classes.
pub fn open_parts(data: &[PathBuf], test: &[PathBuf], limits: &DataConfig) -> Result<LabelledParts> {
    waiting("opening the data", || open_all(data, test, limits))
}

fn open_all(data: &[PathBuf], test: &[PathBuf], limits: &DataConfig) -> Result<LabelledParts> {
    let train = Dataset::open_all(data, None, limits)?;
    if test.is_empty() {
        return match test_split(&train) {
            Some(split) => {
                let test = Dataset::open_all(data, Some(split), limits)?;
                let trained_on = train.split().unwrap_or("all");
                let description =
                    format!("trained on the `{trained_on}` part, tested on the `{split}` part of {}", named(data));
                parts(train, test, description)
            }
            None => hold_out(&train, data),
        };
    }
    let present = Dataset::open_all(test, None, limits)?;
    let test_set = match test_split(&present) {
        Some(split) => Dataset::open_all(test, Some(split), limits)?,
        None => present,
    };
    parts(train, test_set, format!("trained on {}, tested on {}", named(data), named(test)))
}

fn test_split(dataset: &Dataset) -> Option<&'static str> {
    TEST_SPLITS.into_iter().find(|name| dataset.splits_present().iter().any(|present| present == name))
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
    Ok(LabelledParts { train: Arc::new(train), test: Arc::new(test), description })
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
