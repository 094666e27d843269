//! Sums of gradients over the ranks.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};

use super::communicator::{Ranks, Summing};
use crate::error::Result;
use crate::model::NamedGradients;
use crate::weights::to_vec;

/// What travels at once: enough that a network is busy sending, little enough that the first bucket is on its way while others are made.
const BUCKET_BYTES: usize = 25 << 20;

/// The gradients of one step on their way to their sums over the ranks. They travel in the order of their names, in buckets of
/// [`BUCKET_BYTES`]; a larger gradient is a bucket of its own.
#[derive(Debug)]
pub struct GradientSums {
    ranks: Ranks,
    under_way: Mutex<Vec<Bucket>>,
}

/// Some gradients, one after the other.
#[derive(Debug)]
struct Bucket {
    /// Name, number of values, device of each.
    named: Vec<(String, usize, Device)>,
    summing: Summing,
}

impl GradientSums {
    /// Of a step in which nothing is ready yet.
    pub fn new(ranks: Ranks) -> Self {
        Self { ranks, under_way: Mutex::default() }
    }

    /// Sends gradients on their way that this step adds nothing to any more, while others are still computed. All ranks send the same names in the
    /// same order.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn begin(&self, ready: NamedGradients) -> Result<()> {
        let (mut named, mut values) = (Vec::new(), Vec::new());
        for (name, gradient) in ready {
            let device = gradient.device();
            let own = to_vec(gradient);
            if !values.is_empty() && size_of_val(&values[..]) + size_of_val(&own[..]) > BUCKET_BYTES {
                self.send(std::mem::take(&mut named), std::mem::take(&mut values))?;
            }
            named.push((name, own.len(), device));
            values.extend(own);
        }
        match named.is_empty() {
            true => Ok(()),
            false => self.send(named, values),
        }
    }

    fn send(&self, named: Vec<(String, usize, Device)>, values: Vec<f32>) -> Result<()> {
        let summing = self.ranks.start_sum(values)?;
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push(Bucket { named, summing });
        Ok(())
    }

    /// Sends what is left and waits for all: the gradients of the whole batch.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn finish(self, rest: NamedGradients) -> Result<NamedGradients> {
        if self.ranks.is_alone() {
            return Ok(rest);
        }
        self.begin(rest)?;
        let mut summed = NamedGradients::new();
        for Bucket { named, summing } in self.under_way.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let values = summing.finish(&*self.ranks)?;
            let mut rest = &values[..];
            for (name, len, device) in named {
                let (own, others) = rest.split_at(len);
                summed.insert(name, Tensor::from_data(TensorData::new(own.to_vec(), [len]), &device));
                rest = others;
            }
        }
        Ok(summed)
    }
}

/// Replaces every gradient by its sum over the ranks.
///
/// # Errors
/// The ranks cannot talk to each other.
pub fn sum_gradients(ranks: &Ranks, gradients: NamedGradients) -> Result<NamedGradients> {
    GradientSums::new(ranks.clone()).finish(gradients)
}
