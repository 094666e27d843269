//! Which picture is the g-th sample of a run.

use crate::{Random, Stream};

/// The samples of a run, numbered from 0 across all epochs.
///
/// Sample `g` is picture `permutation(seed, g / len)[g % len]`: each epoch shows each picture once, in an order of its
/// own. Step `s` with a batch of `B` takes the samples `s·B .. (s+1)·B`, so a batch may straddle two epochs and nothing
/// is dropped.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    len: u32,
    /// The epoch last asked for and its permutation.
    epoch: u64,
    permutation: Vec<u32>,
}

/// One sample: the picture and the epoch that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Place of the picture in the dataset.
    pub image: u32,
}

impl Order {
    /// The order of a run with `seed` over `len` pictures.
    ///
    /// # Panics
    /// When `len` is 0.
    pub fn new(seed: u64, len: u32) -> Self {
        assert!(len > 0, "an order needs pictures");
        Self { seed, len, epoch: 0, permutation: permutation(seed, len, 0) }
    }

    /// Sample number `g`. Going up is cheap; each change of epoch costs one shuffle.
    pub fn sample(&mut self, g: u64) -> Sample {
        let epoch = g / u64::from(self.len);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.permutation = permutation(self.seed, self.len, epoch);
        }
        Sample { epoch, image: self.permutation[(g % u64::from(self.len)) as usize] }
    }
}

fn permutation(seed: u64, len: u32, epoch: u64) -> Vec<u32> {
    let mut images: Vec<u32> = (0..len).collect();
    Random::new(seed, Stream::Order, epoch, 0).shuffle(&mut images);
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_shows_every_picture_once_and_in_another_order() {
        for (seed, len) in [(0, 1), (1, 2), (7, 10), (42, 997)] {
            let mut order = Order::new(seed, len);
            let mut epochs = Vec::new();
            for epoch in 0..4u64 {
                let samples: Vec<Sample> =
                    (0..u64::from(len)).map(|i| order.sample(epoch * u64::from(len) + i)).collect();
                assert!(samples.iter().all(|sample| sample.epoch == epoch));
                let images: Vec<u32> = samples.iter().map(|sample| sample.image).collect();
                let mut sorted = images.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..len).collect::<Vec<_>>());
                epochs.push(images);
            }
            let differ = |a: usize| (0..a).all(|b| epochs[a] != epochs[b]);
            assert!(len < 10 || (0..4).all(differ));
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_what_was_asked_before() {
        let mut upwards = Order::new(3, 11);
        let all: Vec<Sample> = (0..60).map(|g| upwards.sample(g)).collect();
        for start in [59, 33, 12, 0] {
            let mut order = Order::new(3, 11);
            assert!((start..60).all(|g| order.sample(g) == all[g as usize]));
        }
    }
}
