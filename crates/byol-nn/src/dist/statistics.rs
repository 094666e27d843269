//! Batch statistics over the pictures of all ranks.

use std::sync::Arc;

use super::communicator::Ranks;
use super::lockstep::Party;

/// Whose pictures the statistics of a batch norm are taken of, where it is not this process alone.
///
/// One sum per norm and pass, in `f64`: forward `[n, n·mean, M2 + n·mean²]` of every channel, backward `[n, Σg, Σg·x̂]`.
#[derive(Clone, Debug)]
pub enum Across {
    /// Those of these ranks.
    Ranks(Ranks),
    /// The same, in a pass that shares its sums with others that run beside it.
    Lockstep(Arc<Party>),
}

impl Across {
    /// Sums over the ranks. There is nothing to go on with when it fails, and no way to say so from inside of a network, so that it
    /// panics; whoever starts several ranks ends all of them when one panics.
    fn sum(&self, values: &mut [f64]) {
        let summed = match self {
            Self::Ranks(ranks) => ranks.sum(values),
            Self::Lockstep(party) => party.sum(values),
        };
        summed.unwrap_or_else(|error| panic!("batch statistics over all ranks: {error}"));
    }

    /// From mean and biased variance of `rows` rows here to those of the rows of all ranks, in place.
    ///
    /// With `n` rows: `mean = Σ n·mean / Σ n` and `variance = Σ n·(variance + mean²) / Σ n − mean²`.
    pub fn moments(&self, rows: usize, mean: &mut [f32], variance: &mut [f32]) {
        let (rows, channels) = (rows as f64, mean.len());
        let mut sums = Vec::with_capacity(1 + 2 * channels);
        sums.push(rows);
        sums.extend(mean.iter().map(|&mean| rows * f64::from(mean)));
        let squares = mean.iter().zip(&*variance);
        sums.extend(squares.map(|(&mean, &variance)| rows * (f64::from(variance) + f64::from(mean).powi(2))));
        self.sum(&mut sums);
        let (total, sums) = (sums[0], &sums[1..]);
        for channel in 0..channels {
            let average = sums[channel] / total;
            mean[channel] = average as f32;
            variance[channel] = (sums[channels + channel] / total - average * average).max(0.0) as f32;
        }
    }

    /// `Σ g·x̂` and `Σ g` of the rows here → how many rows all ranks have, and their sums.
    pub fn gradient_sums(&self, rows: usize, gamma: &[f32], beta: &[f32]) -> (f64, Vec<f32>, Vec<f32>) {
        let local = gamma.iter().chain(beta).map(|&sum| f64::from(sum));
        let mut sums: Vec<f64> = std::iter::once(rows as f64).chain(local).collect();
        self.sum(&mut sums);
        let f32s = |sums: &[f64]| sums.iter().map(|&sum| sum as f32).collect();
        let (gamma, beta) = sums[1..].split_at(gamma.len());
        (sums[0], f32s(gamma), f32s(beta))
    }
}
