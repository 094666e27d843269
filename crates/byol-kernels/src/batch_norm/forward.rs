//! Batch statistics and the normalisation by them.
#![expect(unsafe_code, reason = "reads and writes rows without a check at every vector")]

use rayon::prelude::*;

use super::blocks::{Block, in_blocks};
use super::sums::{Terms, add_rows};
use super::{BatchNorm, ChannelParameters, check, chunk_len};
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, Lanes, load, load_unchecked, store_unchecked};
use crate::moments::{Partial, combine};

/// Mean and biased variance `E[x²] − E[x]²` of each channel over the rows of `x` `[rows, channels]`.
///
/// The variance is computed from deviations, so that it stays accurate when the mean is large against the deviation.
pub fn batch_moments<E: Element>(isa: Isa, channels: usize, x: &[E], mean: &mut [f32], variance: &mut [f32]) {
    check(channels, &[("x", x.len())], &[("mean", mean.len()), ("variance", variance.len())]);
    let chunk_len = chunk_len(channels);
    let partials: Vec<[Vec<f32>; 3]> = x
        .par_chunks(chunk_len)
        .map(|x| {
            let pivot = mean_of_first_rows(channels, x);
            let (mut sum, mut square) = (vec![0.0; channels], vec![0.0; channels]);
            vectorized(
                isa,
                #[inline(always)]
                || {
                    add_rows(channels, (x, x, x), [&mut sum, &mut square], &Moments { pivot: &pivot });
                },
            );
            [pivot, sum, square]
        })
        .collect();
    let blocks = mean.par_chunks_mut(LANES).zip(variance.par_chunks_mut(LANES)).with_min_len(16);
    blocks.enumerate().for_each(|(block, (mean, variance))| {
        let first = block * LANES;
        let lanes =
            |values: &[f32]| -> Lanes { std::array::from_fn(|i| values.get(first + i).copied().unwrap_or(0.0)) };
        vectorized(
            isa,
            #[inline(always)]
            || {
                let partials = partials.iter().enumerate().map(|(chunk, [pivot, sum, square])| {
                    let rows = (chunk_len.min(x.len() - chunk * chunk_len) / channels) as f64;
                    Partial { rows, pivot: lanes(pivot), sum: lanes(sum), square: lanes(square) }
                });
                combine(partials, mean, variance);
            },
        );
    });
}

/// The mean of the first 16 rows: near enough to the mean of all, also where the first row is an outlier.
fn mean_of_first_rows<E: Element>(channels: usize, x: &[E]) -> Vec<f32> {
    let mut mean = vec![0.0; channels];
    let rows = (x.len() / channels).min(16);
    for x in x.chunks_exact(channels).take(rows) {
        mean.iter_mut().zip(x).for_each(|(mean, x)| *mean += x.to_f32() / rows as f32);
    }
    mean
}

/// `x − pivot` and its square.
struct Moments<'a> {
    pivot: &'a [f32],
}

impl<E> Terms<E> for Moments<'_> {
    #[inline(always)]
    fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32, f32, f32) -> [f32; 2] {
        let pivot = load::<f32, W>(self.pivot, c);
        #[inline(always)]
        move |i, x, _, _| {
            let deviation = x - pivot[i];
            [deviation, deviation * deviation]
        }
    }
}

/// `y = relu?(γ · (x − mean) / √(variance + ε) + β + residual?)` for batch or running statistics.
///
/// `y` is fully overwritten. NaN in `x` or `residual` reaches `y` through the ReLU.
pub fn batch_norm_apply<E: Element>(
    isa: Isa,
    norm: &BatchNorm,
    x: &[E],
    parameters: ChannelParameters,
    residual: Option<&[E]>,
    y: &mut [E],
) {
    parameters.check(norm, &[("x", x.len()), ("y", y.len()), ("residual", residual.map_or(x.len(), <[E]>::len))]);
    let affine = Affine::new(norm, parameters);
    let chunk_len = chunk_len(norm.channels);
    y.par_chunks_mut(chunk_len).zip(x.par_chunks(chunk_len)).enumerate().for_each(|(chunk, (y, x))| {
        let residual = residual.map(|residual| &residual[chunk * chunk_len..][..x.len()]);
        affine.apply(isa, Some(x), residual, y);
    });
}

/// [`batch_norm_apply`] with `y` in the place of `x`.
pub fn batch_norm_apply_in_place<E: Element>(
    isa: Isa,
    norm: &BatchNorm,
    parameters: ChannelParameters,
    residual: Option<&[E]>,
    xy: &mut [E],
) {
    parameters.check(norm, &[("x", xy.len()), ("residual", residual.map_or(xy.len(), <[E]>::len))]);
    let affine = Affine::new(norm, parameters);
    let chunk_len = chunk_len(norm.channels);
    xy.par_chunks_mut(chunk_len).enumerate().for_each(|(chunk, xy)| {
        let residual = residual.map(|residual| &residual[chunk * chunk_len..][..xy.len()]);
        affine.apply(isa, None, residual, xy);
    });
}

/// `max(value, 0)` that keeps NaN, so that a diverged run shows.
#[inline(always)]
fn relu(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

/// `(x − mean) · scale + beta` per channel, then a residual and a ReLU.
pub(super) struct Affine<'a> {
    mean: &'a [f32],
    scale: Vec<f32>,
    beta: &'a [f32],
    relu: bool,
}

impl<'a> Affine<'a> {
    pub(super) fn new(norm: &BatchNorm, parameters: ChannelParameters<'a>) -> Self {
        let ChannelParameters { mean, beta, .. } = parameters;
        Self { mean, scale: parameters.scale(norm.epsilon), beta, relu: norm.relu }
    }

    /// `(x − mean) · scale + beta` of one lane of the channels from `c` on.
    #[inline(always)]
    pub(super) fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32) -> f32 {
        let (mean, scale) = (load::<f32, W>(self.mean, c), load::<f32, W>(&self.scale, c));
        let beta = load::<f32, W>(self.beta, c);
        #[inline(always)]
        move |i, x| (x - mean[i]) * scale[i] + beta[i]
    }

    /// `y` from `x`, or in place.
    fn apply<E: Element>(&self, isa: Isa, x: Option<&[E]>, residual: Option<&[E]>, y: &mut [E]) {
        let channels = self.mean.len();
        assert!([x, residual].iter().all(|array| array.is_none_or(|array| array.len() == y.len())));
        let (rows, mut apply) = (y.len() / channels, Apply { affine: self, x, residual, y });
        vectorized(
            isa,
            #[inline(always)]
            || in_blocks(rows, channels, &mut apply),
        );
    }
}

/// All arrays have the same length.
struct Apply<'a, 'b, E> {
    affine: &'a Affine<'b>,
    x: Option<&'a [E]>,
    residual: Option<&'a [E]>,
    y: &'a mut [E],
}

impl<E: Element> Block for Apply<'_, '_, E> {
    const ROWS: usize = 1;

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "such a loop becomes a vector")]
    fn run<const ROWS: usize, const W: usize>(&mut self, row: usize, c: usize) {
        let (channels, len) = (self.affine.mean.len(), self.y.len());
        assert!((row + ROWS) * channels <= len && c + W <= channels);
        let affine = self.affine.of::<W>(c);
        for row in row..row + ROWS {
            let at = row * channels + c;
            // SAFETY: the block's channels lie in the row, and the rows in all three arrays.
            let mut y: [f32; W] = unsafe { load_unchecked(self.x.unwrap_or(self.y), at) };
            for i in 0..W {
                y[i] = affine(i, y[i]);
            }
            if let Some(residual) = self.residual {
                // SAFETY: as above.
                let residual: [f32; W] = unsafe { load_unchecked(residual, at) };
                for i in 0..W {
                    y[i] += residual[i];
                }
            }
            if self.affine.relu {
                y.iter_mut().for_each(|value| *value = relu(*value));
            }
            // SAFETY: as above.
            unsafe { store_unchecked(y, self.y, at) };
        }
    }
}
