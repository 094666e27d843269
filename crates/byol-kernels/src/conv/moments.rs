//! Batch statistics of a convolution's output, gathered while its sums are still in the first cache.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::finish::Finish;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, Lanes};
use crate::moments::{Partial, combine};

/// Writes the sums and gathers for each group of positions and each output a pivot (the group's first value),
/// `Σ (x − pivot)` and `Σ (x − pivot)²`: sums of deviations stay accurate where the mean is large against them. An outlier
/// as pivot does no harm: its own deviation outweighs what rounding loses.
pub(super) struct StoreWithMoments {
    outputs: usize,
    /// Positions of each group: tasks write disjoint parts of both.
    rows: Vec<AtomicU32>,
    /// `[groups, 3, outputs]` bits of `f32`.
    partials: Vec<AtomicU32>,
}

impl StoreWithMoments {
    /// Of so many outputs.
    pub(super) fn new(outputs: usize) -> Self {
        Self { outputs, rows: Vec::new(), partials: Vec::new() }
    }

    /// Mean and biased variance of each output over all positions.
    pub(super) fn write(self, isa: Isa, mean: &mut [f32], variance: &mut [f32]) {
        let Self { outputs, rows, partials } = self;
        mean.par_chunks_mut(LANES).zip(variance.par_chunks_mut(LANES)).enumerate().for_each(
            |(block, (mean, variance))| {
                let first = block * LANES;
                vectorized(
                    isa,
                    #[inline(always)]
                    || {
                        let groups = rows.iter().zip(partials.chunks_exact(3 * outputs));
                        let partials = groups.filter_map(|(rows, partials)| {
                            let lanes = |which: usize| -> Lanes {
                                let values = &partials[which * outputs..][first..outputs.min(first + LANES)];
                                let value = |i: usize| values.get(i).map_or(0, |value| value.load(Ordering::Relaxed));
                                std::array::from_fn(|i| f32::from_bits(value(i)))
                            };
                            let rows = f64::from(rows.load(Ordering::Relaxed));
                            (rows > 0.0).then(|| Partial { rows, pivot: lanes(0), sum: lanes(1), square: lanes(2) })
                        });
                        combine(partials, mean, variance);
                    },
                );
            },
        );
    }
}

impl<D: Element> Finish<D> for StoreWithMoments {
    fn begin(&mut self, groups: usize) {
        let zeros = |len: usize| (0..len).map(|_| AtomicU32::new(0)).collect();
        self.rows = zeros(groups);
        self.partials = zeros(groups * 3 * self.outputs);
    }

    #[inline(always)]
    fn observe(&self, group: usize, first_output: usize, width: usize, sums: &[f32]) {
        self.rows[group].store((sums.len() / width) as u32, Ordering::Relaxed);
        match width {
            64 => self.gather::<64>(group, first_output, sums),
            48 => self.gather::<48>(group, first_output, sums),
            32 => self.gather::<32>(group, first_output, sums),
            16 => self.gather::<16>(group, first_output, sums),
            8 => self.gather::<8>(group, first_output, sums),
            _ => unreachable!("no panel is {width} wide"),
        }
    }

    #[inline(always)]
    fn values<const W: usize>(&self, sums: [f32; W], _: impl Fn() -> [f32; W], _: usize, _: usize) -> [f32; W] {
        sums
    }
}

impl StoreWithMoments {
    /// Of the sums `[positions, WIDTH]`; the width is a constant so that all totals stay in registers.
    #[inline(always)]
    fn gather<const WIDTH: usize>(&self, group: usize, first_output: usize, sums: &[f32]) {
        let (sums, _) = sums.as_chunks::<WIDTH>();
        let pivot = sums[0];
        let (mut total, mut square) = ([0.0; WIDTH], [0.0; WIDTH]);
        for sums in sums {
            for lane in 0..WIDTH {
                let deviation = sums[lane] - pivot[lane];
                total[lane] += deviation;
                square[lane] += deviation * deviation;
            }
        }
        let outputs = WIDTH.min(self.outputs - first_output);
        for (which, values) in [&pivot, &total, &square].into_iter().enumerate() {
            let partials = &self.partials[(group * 3 + which) * self.outputs + first_output..][..outputs];
            for (partial, value) in partials.iter().zip(values) {
                partial.store(value.to_bits(), Ordering::Relaxed);
            }
        }
    }
}
