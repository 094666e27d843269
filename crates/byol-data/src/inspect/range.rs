//! Which sample values pictures use.

use crate::Samples;
use crate::value_range::proposal;

/// Pictures that use less than this share of their range are dark or flat by an oversight.
const SLIVER: f64 = 0.25;

/// The share of samples beyond each percentile: single hot or dead pixels say nothing about the range.
const BEYOND: f64 = 0.005;

/// Sample values that pictures of one depth use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Used {
    /// 8 or 16.
    pub bits: u8,
    /// Smallest and largest sample.
    pub extremes: [u16; 2],
    /// The lowest 0.5th and the highest 99.5th percentile of a picture.
    pub percentiles: [u16; 2],
}

impl Used {
    pub(super) fn of(samples: &Samples, counts: &mut Vec<u32>) -> Self {
        counts.clear();
        let bits = match samples {
            Samples::U8(samples) => {
                counts.resize(1 << 8, 0);
                samples.iter().for_each(|&sample| counts[usize::from(sample)] += 1);
                8
            }
            Samples::U16(samples) => {
                counts.resize(1 << 16, 0);
                samples.iter().for_each(|&sample| counts[usize::from(sample)] += 1);
                16
            }
        };
        let beyond = (samples.len() as f64 * BEYOND) as u32;
        // The first value with more than so many samples up to it.
        fn first(counts: impl Iterator<Item = (usize, u32)>, more_than: u32) -> u16 {
            let mut sum = 0;
            let mut values = counts.skip_while(|&(_, count)| {
                sum += count;
                sum <= more_than
            });
            values.next().map_or(0, |(value, _)| value as u16)
        }
        let up = || counts.iter().copied().enumerate();
        let down = || counts.iter().copied().enumerate().rev();
        Self {
            bits,
            extremes: [first(up(), 0), first(down(), 0)],
            percentiles: [first(up(), beyond), first(down(), beyond)],
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        let join =
            |[low, high]: [u16; 2], [other_low, other_high]: [u16; 2]| [low.min(other_low), high.max(other_high)];
        self.extremes = join(self.extremes, other.extremes);
        self.percentiles = join(self.percentiles, other.percentiles);
    }

    /// A range for pictures that use a sliver of theirs: of whole bits if that is a sliver too, else from percentile to
    /// percentile.
    pub fn proposal(&self) -> Option<[f64; 2]> {
        let full = f64::from(self.bits).exp2() - 1.0;
        let [low, high] = self.percentiles.map(f64::from);
        if low >= high || high - low > SLIVER * full {
            return None;
        }
        let [from, to] = proposal(low, high);
        Some(if to - from <= SLIVER * full { [from, to] } else { [low, high] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(samples: Samples) -> Used {
        Used::of(&samples, &mut vec![7; 3])
    }

    #[test]
    fn a_sliver_is_proposed_in_whole_bits_and_hot_pixels_do_not_count() {
        let twelve: Vec<u16> = (0..4096).collect();
        assert_eq!(used(Samples::U16(twelve.clone())).extremes, [0, 4095]);
        assert_eq!(used(Samples::U16(twelve.clone())).proposal(), Some([0.0, 4095.0]));
        let hot = [&twelve[..], &[65_535; 5]].concat();
        assert_eq!(used(Samples::U16(hot)).proposal(), Some([0.0, 4095.0]));
        let full: Vec<u16> = (0..65_535).collect();
        assert_eq!(used(Samples::U16(full)).proposal(), None);
        let high: Vec<u16> = (40_000..41_000).collect();
        assert_eq!(used(Samples::U16(high)).proposal(), Some([40_005.0, 40_994.0]));
        assert_eq!(used(Samples::U8((0..=20).collect())).proposal(), Some([0.0, 20.0]));
        assert_eq!(used(Samples::U8(vec![9; 50])).proposal(), None);
    }

    #[test]
    fn pictures_join_to_the_widest_range() {
        let mut both = used(Samples::U16((100..200).collect()));
        both.join(used(Samples::U16((1000..4000).collect())));
        assert_eq!((both.extremes, both.proposal()), ([100, 3999], Some([0.0, 4095.0])));
    }
}
