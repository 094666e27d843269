//! The bad pictures of a run, each counted once, and the limit on them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Unread;
use crate::{BadImage, DataError, Dataset, Image, LoadMemory};

/// Known bad pictures, shared by the worker threads.
#[derive(Debug)]
pub(crate) struct BadImages {
    max_bad_fraction: f64,
    /// Pictures that the limit is a share of.
    total: usize,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// All so far, by place in the dataset.
    all: BTreeMap<u32, BadImage>,
    /// Places of those not yet reported in a batch.
    unreported: Vec<u32>,
    /// Why no picture can be read any more.
    lost: Option<DataError>,
}

impl BadImages {
    pub fn new(max_bad_fraction: f64, total: usize) -> Self {
        Self { max_bad_fraction, total, found: Mutex::default() }
    }

    /// Decodes picture `index`, unless it is known to be bad. `None` if it is bad or nothing can be read any more.
    pub fn load(&self, dataset: &Dataset, index: u32, memory: &mut LoadMemory) -> Option<Image> {
        if self.found().all.contains_key(&index) {
            return None;
        }
        match dataset.try_load(index as usize, memory) {
            Ok(image) => Some(image),
            Err(Unread::Lost(error)) => {
                self.found().lost.get_or_insert(*error);
                None
            }
            Err(Unread::Bad(reason)) => {
                let bad = BadImage { name: dataset.name(index as usize), reason };
                let mut found = self.found();
                if found.all.insert(index, bad).is_none() {
                    found.unreported.push(index);
                }
                None
            }
        }
    }

    /// Whether there is no going on: nothing can be read, there are more than the limit allows, or no good picture is left.
    pub fn must_end(&self) -> bool {
        let found = self.found();
        found.lost.is_some() || too_many(found.all.len(), self.total, self.max_bad_fraction)
    }

    /// Those found since the last call, by place; an error if there are too many by now, or nothing can be read.
    pub fn report(&self) -> Result<Vec<BadImage>, DataError> {
        let mut found = self.found();
        if let Some(lost) = found.lost.take() {
            return Err(lost);
        }
        if too_many(found.all.len(), self.total, self.max_bad_fraction) {
            let bad = found.all.values().cloned().collect();
            return Err(DataError::TooManyBad { bad, total: self.total, max_bad_fraction: self.max_bad_fraction });
        }
        let mut new = std::mem::take(&mut found.unreported);
        new.sort_unstable();
        Ok(new.iter().filter_map(|index| found.all.get(index).cloned()).collect())
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(count: usize, total: usize, max_bad_fraction: f64) -> bool {
    count == total || count as f64 > max_bad_fraction * total as f64
}

/// Whether a data set of `total` pictures is of use with the `bad` ones left out, which several loaders may have found.
///
/// # Errors
/// [`DataError::TooManyBad`] when they are more than this share of it, or all.
pub fn check_bad(bad: &[BadImage], total: usize, max_bad_fraction: f64) -> Result<(), DataError> {
    match total > 0 && too_many(bad.len(), total, max_bad_fraction) {
        true => Err(DataError::TooManyBad { bad: bad.to_vec(), total, max_bad_fraction }),
        false => Ok(()),
    }
}
