//! Randomness as a function of (seed, epoch, image, view).
//!
//! Nothing here depends on which thread asks or in which order, so thread count, rank count and a resume change
//! no draw. The generator is SplitMix64 (Steele, Lea & Flood 2014), seeded by mixing the coordinates of the draw.

/// A small deterministic generator; one per (seed, epoch, image, view).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// What a stream of draws is for; keeps streams with equal coordinates apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The order of the images of an epoch.
    Order,
    /// The augmentation of view 1 or 2 (given as 0 or 1).
    View(u8),
    /// Weight initialisation.
    Weights,
    /// Pictures drawn by the demo.
    Drawing,
    /// Evaluation: held-out parts, training augmentations of a probe.
    Evaluation,
    /// The validation parts of [benchmarks](crate::benchmarks), by benchmark and class.
    HeldOut,
    /// Factors and offsets of the channels of a view.
    Channels,
    /// The noise of a view, by channel.
    Noise,
    /// First centres of clusters, by restart.
    Clusters,
}

impl Random {
    /// The generator of `stream` at coordinates (`seed`, `epoch`, `item`).
    pub fn new(seed: u64, stream: Stream, epoch: u64, item: u64) -> Self {
        let stream = match stream {
            Stream::Order => 1,
            Stream::Weights => 2,
            Stream::Drawing => 3,
            Stream::Evaluation => 4,
            Stream::HeldOut => 5,
            Stream::Channels => 6,
            Stream::Noise => 7,
            Stream::Clusters => 8,
            Stream::View(view) => 16 + u64::from(view),
        };
        let state = [stream, epoch, item].iter().fold(mix(seed), |state, &part| mix(state ^ mix(part)));
        Self { state }
    }

    /// 64 uniformly distributed bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        finish(self.state)
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in `0..count`; `count` at least 1. Multiply-shift: the bias is below `count / 2⁶⁴`.
    pub fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// True with probability `p`, as `u ≤ p` in the reference (spec §3.1); `p = 0` never, `p = 1` always.
    pub fn chance(&mut self, p: f32) -> bool {
        let u = self.unit();
        p > 0.0 && u <= p
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(self.unit())).cos()) as f32
    }

    /// Fisher–Yates shuffle, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(x: u64) -> u64 {
    finish(x.wrapping_add(GOLDEN))
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_splitmix64_sequence() {
        // First outputs for state 1234567, as printed by the algorithm's reference C program.
        let mut random = Random { state: 1_234_567 };
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| random.bits()), expected);
    }

    #[test]
    fn coordinates_give_unrelated_streams() {
        let draw = |seed, stream, epoch, item| Random::new(seed, stream, epoch, item).bits();
        let base = draw(1, Stream::View(0), 2, 3);
        assert_eq!(base, draw(1, Stream::View(0), 2, 3));
        for other in [draw(2, Stream::View(0), 2, 3), draw(1, Stream::View(1), 2, 3), draw(1, Stream::View(0), 3, 2)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn draws_have_the_stated_mean_and_spread() {
        let mut random = Random::new(0, Stream::Order, 0, 0);
        let normal: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal())).collect();
        let mean = normal.iter().sum::<f64>() / normal.len() as f64;
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / normal.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "mean {mean} variance {variance}");
        let heads = (0..100_000).filter(|_| random.chance(0.2)).count();
        assert!((heads as f64 / 1e5 - 0.2).abs() < 0.01);
        assert!((0..1000).all(|_| !random.chance(0.0) && random.chance(1.0)));
    }
}
