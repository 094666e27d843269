//! Gradients of the normalisation.
#![expect(unsafe_code, reason = "reads and writes rows without a check at every vector")]

use rayon::prelude::*;

use super::blocks::{Block, in_blocks};
use super::forward::Affine;
use super::sums::{Terms, add_rows};
use super::{BatchNorm, ChannelParameters, Mask, check, chunk_len};
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{load, load_unchecked, prefetch, store_unchecked};

/// Sums over rows that the gradient of a batch norm is made of; over all rows that the statistics were taken of, which may be more than
/// there are here.
#[derive(Clone, Copy, Debug)]
pub struct GradientSums<'a> {
    /// How many rows.
    pub rows: f64,
    /// `Σ g · x̂` of each channel `[channels]`.
    pub gamma: &'a [f32],
    /// `Σ g` of each channel `[channels]`.
    pub beta: &'a [f32],
}

/// Gradients of [`batch_norm_apply`](super::batch_norm_apply) by batch statistics, through the statistics: [`batch_norm_gradient_sums`] of the rows that are
/// here, then [`batch_norm_input_gradient`].
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn batch_norm_gradient<E: Element>(
    isa: Isa,
    norm: &BatchNorm,
    x: &[E],
    parameters: ChannelParameters,
    mask: Mask<E>,
    dy: &[E],
    dx: &mut [E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    dresidual: Option<&mut [E]>,
) {
    batch_norm_gradient_sums(isa, norm, x, parameters, mask, dy, dgamma, dbeta);
    let sums = GradientSums { rows: (x.len() / norm.channels) as f64, gamma: dgamma, beta: dbeta };
    batch_norm_input_gradient(isa, norm, x, parameters, mask, dy, sums, dx, dresidual);
}

/// With `g = dy` where the ReLU let the value pass (everywhere without ReLU) and 0 elsewhere, and `x̂ = (x − mean) /
/// √(variance + ε)`: `dβ = Σ g` and `dγ = Σ g · x̂` over the rows that are here. Both are fully overwritten.
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn batch_norm_gradient_sums<E: Element>(
    isa: Isa,
    norm: &BatchNorm,
    x: &[E],
    parameters: ChannelParameters,
    mask: Mask<E>,
    dy: &[E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let (gate, y) = Gate::new(norm, x, parameters, mask);
    let rows = [("x", x.len()), ("y", y.len()), ("dy", dy.len())];
    parameters.check(norm, &rows);
    check(norm.channels, &rows, &[("dgamma", dgamma.len()), ("dbeta", dbeta.len())]);
    let inverse = parameters.inverse_deviation(norm.epsilon);
    sum_gradients(isa, &gate, (x, y, dy), parameters.mean, &inverse, dgamma, dbeta);
}

/// `dx = γ / √(variance + ε) · (g − Σg / n − x̂ · Σ(g·x̂) / n)` and `dresidual = g`, with `g` and `x̂` as in
/// [`batch_norm_gradient_sums`] and the sums over all `n` rows that mean and variance are of. Both are fully overwritten.
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn batch_norm_input_gradient<E: Element>(
    isa: Isa,
    norm: &BatchNorm,
    x: &[E],
    parameters: ChannelParameters,
    mask: Mask<E>,
    dy: &[E],
    sums: GradientSums,
    dx: &mut [E],
    mut dresidual: Option<&mut [E]>,
) {
    let dresidual_len = dresidual.as_ref().map_or(x.len(), |dresidual| dresidual.len());
    let (gate, y) = Gate::new(norm, x, parameters, mask);
    let rows = [("x", x.len()), ("y", y.len()), ("dy", dy.len()), ("dx", dx.len()), ("dresidual", dresidual_len)];
    parameters.check(norm, &rows);
    check(norm.channels, &rows, &[("sums.gamma", sums.gamma.len()), ("sums.beta", sums.beta.len())]);
    let inverse = parameters.inverse_deviation(norm.epsilon);
    let count = sums.rows as f32;
    let terms = InputGradient {
        mean: parameters.mean,
        scale: &parameters.scale(norm.epsilon),
        shift: &sums.beta.iter().map(|beta| beta / count).collect::<Vec<_>>(),
        slope: &inverse.iter().zip(sums.gamma).map(|(inverse, gamma)| inverse * (gamma / count)).collect::<Vec<_>>(),
    };
    let chunk_len = chunk_len(norm.channels);
    let mut residuals: Vec<Option<&mut [E]>> = match &mut dresidual {
        None => (0..x.len().div_ceil(chunk_len)).map(|_| None).collect(),
        Some(dresidual) => dresidual.chunks_mut(chunk_len).map(Some).collect(),
    };
    let inputs = x.par_chunks(chunk_len).zip(y.par_chunks(chunk_len)).zip(dy.par_chunks(chunk_len));
    dx.par_chunks_mut(chunk_len).zip(inputs).zip(&mut residuals).for_each(|((dx, ((x, y), dy)), dresidual)| {
        vectorized(
            isa,
            #[inline(always)]
            || match &gate {
                Gate::Open => terms.write((x, y, dy), dx, dresidual, &Always),
                Gate::Output => terms.write((x, y, dy), dx, dresidual, &WhereOutputPasses),
                Gate::Recompute(affine) => terms.write((x, y, dy), dx, dresidual, affine),
            },
        );
    });
}

/// What decides whether a gradient passes the ReLU.
enum Gate<'a> {
    Open,
    Recompute(Affine<'a>),
    Output,
}

impl<'a> Gate<'a> {
    /// And the forward pass's output, or `x` where it is not read.
    fn new<'b, E>(
        norm: &BatchNorm,
        x: &'b [E],
        parameters: ChannelParameters<'a>,
        mask: Mask<'b, E>,
    ) -> (Self, &'b [E]) {
        match (norm.relu, mask) {
            (false, _) => (Self::Open, x),
            (true, Mask::Recompute) => (Self::Recompute(Affine::new(norm, parameters)), x),
            (true, Mask::Output(y)) => (Self::Output, y),
        }
    }
}

/// What reaches the affine map of `dy` through the ReLU, for `x`, `y` and `dy` of one lane of the channels from `c` on.
trait Passage<E> {
    fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32, f32, f32) -> f32;
}

/// There is no ReLU.
struct Always;

impl<E: Element> Passage<E> for Always {
    #[inline(always)]
    fn of<const W: usize>(&self, _: usize) -> impl Fn(usize, f32, f32, f32) -> f32 {
        #[inline(always)]
        |_, _, _, dy| dy
    }
}

/// The output tells.
struct WhereOutputPasses;

impl<E: Element> Passage<E> for WhereOutputPasses {
    #[inline(always)]
    fn of<const W: usize>(&self, _: usize) -> impl Fn(usize, f32, f32, f32) -> f32 {
        #[inline(always)]
        |_, _, y, dy| where_it_passes(y, dy, 0.0)
    }
}

/// The output is computed again, but for its rounding: it is known what that makes zero.
impl<E: Element> Passage<E> for Affine<'_> {
    #[inline(always)]
    fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32, f32, f32) -> f32 {
        let affine = self.of::<W>(c);
        #[inline(always)]
        move |i, x, _, dy| where_it_passes(affine(i, x), dy, E::LARGEST_ZERO)
    }
}

/// `dy` where `y` exceeds `zero` or is NaN, which a diverged run shall show.
#[inline(always)]
fn where_it_passes(y: f32, dy: f32, zero: f32) -> f32 {
    if y <= zero { 0.0 } else { dy }
}

/// `dx = scale · (g − shift − (x − mean) · slope)` per channel.
struct InputGradient<'a> {
    mean: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    slope: &'a [f32],
}

impl InputGradient<'_> {
    #[inline(always)]
    fn write<E: Element>(
        &self,
        arrays: (&[E], &[E], &[E]),
        dx: &mut [E],
        dresidual: &mut Option<&mut [E]>,
        passage: &impl Passage<E>,
    ) {
        let (rows, channels) = (dx.len() / self.mean.len(), self.mean.len());
        let dresidual = dresidual.as_deref_mut();
        let residual_len = dresidual.as_ref().map_or(dx.len(), |dresidual| dresidual.len());
        assert!([arrays.0.len(), arrays.1.len(), arrays.2.len(), residual_len] == [dx.len(); 4]);
        in_blocks(rows, channels, &mut WriteGradient { terms: self, arrays, dx, dresidual, passage });
    }
}

/// Values ahead of those computed that are asked for: three streams are more than the hardware foresees.
const AHEAD: usize = 512;

/// All arrays have the same length.
struct WriteGradient<'a, 'b, E, P> {
    terms: &'a InputGradient<'b>,
    arrays: (&'a [E], &'a [E], &'a [E]),
    dx: &'a mut [E],
    dresidual: Option<&'a mut [E]>,
    passage: &'a P,
}

impl<E: Element, P: Passage<E>> Block for WriteGradient<'_, '_, E, P> {
    const ROWS: usize = 1;

    #[inline(always)]
    fn run<const ROWS: usize, const W: usize>(&mut self, row: usize, c: usize) {
        let InputGradient { mean, scale, shift, slope } = *self.terms;
        let ((x, y, dy), channels, len) = (self.arrays, mean.len(), self.dx.len());
        assert!((row + ROWS) * channels <= len && c + W <= channels);
        let passage = self.passage.of::<W>(c);
        let (mean, scale) = (load::<f32, W>(mean, c), load::<f32, W>(scale, c));
        let (shift, slope) = (load::<f32, W>(shift, c), load::<f32, W>(slope, c));
        for row in row..row + ROWS {
            let at = row * channels + c;
            for array in [x, y, dy] {
                prefetch(array.as_ptr().wrapping_add(at + AHEAD));
            }
            // SAFETY: the block's channels lie in the row, and the rows in all arrays.
            let x: [f32; W] = unsafe { load_unchecked(x, at) };
            // SAFETY: as above.
            let y: [f32; W] = unsafe { load_unchecked(y, at) };
            // SAFETY: as above.
            let dy: [f32; W] = unsafe { load_unchecked(dy, at) };
            let (mut g, mut dx) = ([0.0; W], [0.0; W]);
            for i in 0..W {
                g[i] = passage(i, x[i], y[i], dy[i]);
                dx[i] = scale[i] * (g[i] - shift[i] - (x[i] - mean[i]) * slope[i]);
            }
            // SAFETY: as above.
            unsafe { store_unchecked(dx, self.dx, at) };
            if let Some(dresidual) = &mut self.dresidual {
                // SAFETY: as above.
                unsafe { store_unchecked(g, dresidual, at) };
            }
        }
    }
}

/// `g · (x − mean)` and `g`.
struct GradientTerms<'a, P> {
    mean: &'a [f32],
    passage: &'a P,
}

impl<E: Element, P: Passage<E>> Terms<E> for GradientTerms<'_, P> {
    #[inline(always)]
    fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32, f32, f32) -> [f32; 2] {
        let (mean, passage) = (load::<f32, W>(self.mean, c), self.passage.of::<W>(c));
        #[inline(always)]
        move |i, x, y, dy| {
            let g = passage(i, x, y, dy);
            [g * (x - mean[i]), g]
        }
    }
}

/// `dγ = Σ g · x̂` and `dβ = Σ g` of each channel.
fn sum_gradients<E: Element>(
    isa: Isa,
    gate: &Gate,
    (x, y, dy): (&[E], &[E], &[E]),
    mean: &[f32],
    inverse: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let channels = mean.len();
    let chunk_len = chunk_len(channels);
    let inputs = x.par_chunks(chunk_len).zip(y.par_chunks(chunk_len)).zip(dy.par_chunks(chunk_len));
    let partials: Vec<(Vec<f32>, Vec<f32>)> = inputs
        .map(|((x, y), dy)| {
            let (mut product, mut sum) = (vec![0.0; channels], vec![0.0; channels]);
            let sums = [&mut product[..], &mut sum[..]];
            vectorized(
                isa,
                #[inline(always)]
                || match gate {
                    Gate::Open => add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, passage: &Always }),
                    Gate::Output => {
                        add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, passage: &WhereOutputPasses })
                    }
                    Gate::Recompute(affine) => {
                        add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, passage: affine })
                    }
                },
            );
            (product, sum)
        })
        .collect();
    for c in 0..channels {
        let (product, sum) = partials.iter().fold((0.0, 0.0), |(products, sums), (product, sum)| {
            (products + f64::from(product[c]), sums + f64::from(sum[c]))
        });
        dgamma[c] = (product * f64::from(inverse[c])) as f32;
        dbeta[c] = sum as f32;
    }
}
