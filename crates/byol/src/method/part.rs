//! The part of a batch that this process has, where several train one run.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use byol_nn::Result;
use byol_nn::dist::{Across, Alone, GradientSums, Lockstep, Ranks, gathered};
use byol_nn::model::BatchNormMode;
use byol_nn::weights::to_vec;

use super::step::PassModes;

/// Which part of a batch is here, and who has the others.
#[derive(Clone, Debug)]
pub struct Part {
    /// All ranks of the run.
    pub ranks: Ranks,
    /// Those whose pictures batch statistics are taken of; `None` where each rank takes its own.
    pub statistics: Option<Ranks>,
    /// Pictures here / pictures of all ranks, 0 to 1: the weight of the mean loss here in the mean loss of all.
    pub share: f32,
    /// Where the gradients of the step travel that its last pass back is done with, while it goes on; `None` before the last pass.
    pub sums: Option<Arc<GradientSums>>,
}

impl Part {
    /// All of the batch.
    pub fn whole() -> Self {
        Self { ranks: Arc::new(Alone), statistics: None, share: 1.0, sums: None }
    }

    /// The mode over the pictures of the ranks that share statistics.
    pub(super) fn mode(&self, mode: &BatchNormMode) -> BatchNormMode {
        match &self.statistics {
            Some(ranks) => mode.over(Across::Ranks(ranks.clone())),
            None => mode.clone(),
        }
    }

    /// The same for passes side by side, whose sums travel together: the target's two and the online network's first. Each must run until
    /// its end in a thread of its own, and the online network's asks for the most.
    pub(super) fn modes_beside(&self, ranks: &Ranks, PassModes { first, second }: &PassModes) -> [BatchNormMode; 3] {
        let [target1, target2, online1] = Lockstep::parties(ranks.clone()).map(Across::Lockstep);
        [first.over(target1), second.over(target2), first.over(online1)]
    }

    /// The rows of all ranks, in their order; those from here carry their gradient, those from elsewhere none.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub(super) fn gathered(&self, rows: Tensor<2>) -> Result<Tensor<2>> {
        if self.ranks.is_alone() {
            return Ok(rows);
        }
        let ([count, size], device) = (rows.dims(), rows.device().inner());
        let all = gathered(&*self.ranks, &to_vec(rows.clone().without_autodiff().reshape([count * size])))?;
        let constant = |values: Vec<f32>| {
            let pictures = values.len() / size;
            let tensor = Tensor::<2>::from_data(TensorData::new(values, [pictures, size]), &device);
            if rows.is_autodiff() { tensor.autodiff() } else { tensor }
        };
        let parts = all.into_iter().enumerate();
        let parts = parts.map(|(rank, values)| if rank == self.ranks.rank() { rows.clone() } else { constant(values) });
        Ok(Tensor::cat(parts.collect(), 0))
    }
}
