//! The bad pictures of a run, each counted once, and the limit on them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{BadImage, DataError, Dataset, Image, LoadMemory};

/// Known bad pictures, shared by the worker threads.
#[derive(Debug)]
pub(crate) struct BadImages {
    max_bad_fraction: f64,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// All so far, by place in the dataset.
    all: BTreeMap<u32, BadImage>,
    /// Places of those not yet reported in a batch.
    unreported: Vec<u32>,
}

impl BadImages {
    pub fn new(max_bad_fraction: f64) -> Self {
        Self { max_bad_fraction, found: Mutex::default() }
    }

    /// Decodes picture `index`, unless it is known to be bad. `None` if it is bad.
    pub fn load(&self, dataset: &Dataset, index: u32, memory: &mut LoadMemory) -> Option<Image> {
        if self.found().all.contains_key(&index) {
            return None;
        }
        match dataset.load_in(index as usize, memory) {
            Ok(image) => Some(image),
            Err(bad) => {
                let mut found = self.found();
                if found.all.insert(index, bad).is_none() {
                    found.unreported.push(index);
                }
                None
            }
        }
    }

    /// Whether there are more than the limit allows, or no good picture is left.
    pub fn too_many(&self, dataset: &Dataset) -> bool {
        let count = self.found().all.len();
        count == dataset.len() || count as f64 > self.max_bad_fraction * dataset.len() as f64
    }

    /// Those found since the last call, by place; an error if there are too many by now.
    pub fn report(&self, dataset: &Dataset) -> Result<Vec<BadImage>, DataError> {
        if self.too_many(dataset) {
            let bad = self.found().all.values().cloned().collect();
            return Err(DataError::TooManyBad { bad, total: dataset.len(), max_bad_fraction: self.max_bad_fraction });
        }
        let mut found = self.found();
        let mut new = std::mem::take(&mut found.unreported);
        new.sort_unstable();
        Ok(new.iter().filter_map(|index| found.all.get(index).cloned()).collect())
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
