//! Batch norm over all axes but the last, with an optional residual and ReLU in the same pass.
//!
//! Rows are cut into chunks by the shape alone. Sums run in `f32` within a chunk and are combined in `f64` in order.

use rayon::prelude::*;

use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, Lanes, load, store};
use crate::moments::{Partial, combine};

/// What a fused batch norm computes, besides its arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Length of the last axis, along which nothing is averaged.
    pub channels: usize,
    /// Added to the variance before the square root.
    pub epsilon: f32,
    /// Whether `max(·, 0)` follows the affine map and the residual.
    pub relu: bool,
}

/// Where the gradient learns which values the ReLU let pass; not read without ReLU.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, E> {
    /// The forward pass's arithmetic is repeated: for a norm without residual.
    Recompute,
    /// The forward pass's output.
    Output(&'a [E]),
}

/// Per-channel statistics and parameters of a norm, each `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct ChannelParameters<'a> {
    /// Mean.
    pub mean: &'a [f32],
    /// Biased variance.
    pub variance: &'a [f32],
    /// Learned scale γ.
    pub gamma: &'a [f32],
    /// Learned offset β.
    pub beta: &'a [f32],
}

/// Rows per chunk: about 32 Ki values, but few enough that an `f32` sum over them is exact to about 1e-6.
fn chunk_len(channels: usize) -> usize {
    (32 * 1024 / channels).clamp(16, 1024) * channels
}

fn check(channels: usize, rows: &[(&str, usize)], per_channel: &[(&str, usize)]) {
    let len = rows[0].1;
    assert!(
        channels > 0 && len > 0 && len.is_multiple_of(channels),
        "batch norm of {len} values in {channels} channels"
    );
    for (name, actual) in rows {
        assert_eq!(*actual, len, "length of {name} in batch norm");
    }
    for (name, actual) in per_channel {
        assert_eq!(*actual, channels, "length of {name} in batch norm");
    }
}

impl ChannelParameters<'_> {
    fn check(&self, norm: &BatchNorm, rows: &[(&str, usize)]) {
        let per_channel = [
            ("mean", self.mean.len()),
            ("variance", self.variance.len()),
            ("gamma", self.gamma.len()),
            ("beta", self.beta.len()),
        ];
        check(norm.channels, rows, &per_channel);
    }

    /// `1/√(variance + ε)`
    fn inverse_deviation(&self, epsilon: f32) -> Vec<f32> {
        let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + f64::from(epsilon)).sqrt()) as f32;
        self.variance.iter().map(inverse).collect()
    }

    /// `γ/√(variance + ε)`
    fn scale(&self, epsilon: f32) -> Vec<f32> {
        self.inverse_deviation(epsilon).iter().zip(self.gamma).map(|(inverse, gamma)| inverse * gamma).collect()
    }
}

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

/// Gradients of [`batch_norm_apply`] by batch statistics, through the statistics: [`batch_norm_gradient_sums`] of the rows that are
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

/// `max(value, 0)` that keeps NaN, so that a diverged run shows.
#[inline(always)]
fn relu(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

/// Whether a gradient passes the ReLU that wrote `y`; NaN passes.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN passes")]
fn passes(y: f32) -> bool {
    !(y <= 0.0)
}

/// `(x − mean) · scale + beta` per channel, then a residual and a ReLU.
struct Affine<'a> {
    mean: &'a [f32],
    scale: Vec<f32>,
    beta: &'a [f32],
    relu: bool,
}

impl<'a> Affine<'a> {
    fn new(norm: &BatchNorm, parameters: ChannelParameters<'a>) -> Self {
        let ChannelParameters { mean, beta, .. } = parameters;
        Self { mean, scale: parameters.scale(norm.epsilon), beta, relu: norm.relu }
    }

    /// `y` from `x`, or in place.
    fn apply<E: Element>(&self, isa: Isa, x: Option<&[E]>, residual: Option<&[E]>, y: &mut [E]) {
        vectorized(
            isa,
            #[inline(always)]
            || {
                let channels = self.mean.len();
                let whole = channels / LANES * LANES;
                for row in (0..y.len()).step_by(channels) {
                    for c in (0..whole).step_by(LANES) {
                        let values = self.lanes::<E, LANES>(load(x.unwrap_or(y), row + c), residual, row + c, c);
                        store(values, y, row + c);
                    }
                    for c in whole..channels {
                        let values = self.lanes::<E, 1>(load(x.unwrap_or(y), row + c), residual, row + c, c);
                        store(values, y, row + c);
                    }
                }
            },
        );
    }

    /// Of channels `c..c + W`, at place `at` of the arrays.
    #[inline(always)]
    fn lanes<E: Element, const W: usize>(
        &self,
        mut x: [f32; W],
        residual: Option<&[E]>,
        at: usize,
        c: usize,
    ) -> [f32; W] {
        let (mean, scale) = (load::<f32, W>(self.mean, c), load::<f32, W>(&self.scale, c));
        let beta = load::<f32, W>(self.beta, c);
        for i in 0..W {
            x[i] = (x[i] - mean[i]) * scale[i] + beta[i];
        }
        if let Some(residual) = residual {
            let residual = load::<E, W>(residual, at);
            for i in 0..W {
                x[i] += residual[i];
            }
        }
        if self.relu {
            for value in &mut x {
                *value = relu(*value);
            }
        }
        x
    }
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
        (x, y, dy): (&[E], &[E], &[E]),
        dx: &mut [E],
        dresidual: &mut Option<&mut [E]>,
        gate: &impl LaneGate<E>,
    ) {
        let channels = self.mean.len();
        let whole = channels / LANES * LANES;
        for row in (0..dx.len()).step_by(channels) {
            for c in (0..whole).step_by(LANES) {
                let (result, g) = self.lanes::<E, LANES>((x, y, dy), gate, row + c, c);
                store(result, dx, row + c);
                if let Some(dresidual) = dresidual {
                    store(g, dresidual, row + c);
                }
            }
            for c in whole..channels {
                let (result, g) = self.lanes::<E, 1>((x, y, dy), gate, row + c, c);
                store(result, dx, row + c);
                if let Some(dresidual) = dresidual {
                    store(g, dresidual, row + c);
                }
            }
        }
    }

    /// `dx` and `g` of channels `c..c + W`, at place `at` of the arrays.
    #[inline(always)]
    fn lanes<E: Element, const W: usize>(
        &self,
        (x, y, dy): (&[E], &[E], &[E]),
        gate: &impl LaneGate<E>,
        at: usize,
        c: usize,
    ) -> ([f32; W], [f32; W]) {
        let x = load::<E, W>(x, at);
        let g = gate.gradient::<W>(x, load(y, at), load(dy, at), c);
        let (mean, scale) = (load::<f32, W>(self.mean, c), load::<f32, W>(self.scale, c));
        let (shift, slope) = (load::<f32, W>(self.shift, c), load::<f32, W>(self.slope, c));
        let mut result = [0.0; W];
        for i in 0..W {
            result[i] = scale[i] * (g[i] - shift[i] - (x[i] - mean[i]) * slope[i]);
        }
        (result, g)
    }
}

/// What reaches the affine map of `dy` through the ReLU, for channels from `c` on.
trait LaneGate<E: Element> {
    fn gradient<const W: usize>(&self, x: [f32; W], y: [f32; W], dy: [f32; W], c: usize) -> [f32; W];
}

/// There is no ReLU.
struct Always;

impl<E: Element> LaneGate<E> for Always {
    #[inline(always)]
    fn gradient<const W: usize>(&self, _: [f32; W], _: [f32; W], dy: [f32; W], _: usize) -> [f32; W] {
        dy
    }
}

/// The output tells.
struct WhereOutputPasses;

impl<E: Element> LaneGate<E> for WhereOutputPasses {
    #[inline(always)]
    fn gradient<const W: usize>(&self, _: [f32; W], y: [f32; W], mut dy: [f32; W], _: usize) -> [f32; W] {
        for i in 0..W {
            dy[i] = if passes(y[i]) { dy[i] } else { 0.0 };
        }
        dy
    }
}

/// The output is computed again, to the last bit.
impl<E: Element> LaneGate<E> for Affine<'_> {
    #[inline(always)]
    fn gradient<const W: usize>(&self, x: [f32; W], _: [f32; W], mut dy: [f32; W], c: usize) -> [f32; W] {
        let (mean, scale) = (load::<f32, W>(self.mean, c), load::<f32, W>(&self.scale, c));
        let beta = load::<f32, W>(self.beta, c);
        for i in 0..W {
            let y = E::from_f32((x[i] - mean[i]) * scale[i] + beta[i]).to_f32();
            dy[i] = if passes(y) { dy[i] } else { 0.0 };
        }
        dy
    }
}

/// Two terms of each value, for [`add_rows`].
trait LaneTerms<E: Element> {
    fn terms<const W: usize>(&self, x: [f32; W], y: [f32; W], dy: [f32; W], c: usize) -> [[f32; W]; 2];
}

/// `x − pivot` and its square.
struct Moments<'a> {
    pivot: &'a [f32],
}

impl<E: Element> LaneTerms<E> for Moments<'_> {
    #[inline(always)]
    fn terms<const W: usize>(&self, x: [f32; W], _: [f32; W], _: [f32; W], c: usize) -> [[f32; W]; 2] {
        let pivot = load::<f32, W>(self.pivot, c);
        let mut terms = [[0.0; W]; 2];
        for i in 0..W {
            let deviation = x[i] - pivot[i];
            terms[0][i] = deviation;
            terms[1][i] = deviation * deviation;
        }
        terms
    }
}

/// `g · (x − mean)` and `g`.
struct GradientTerms<'a, G> {
    mean: &'a [f32],
    gate: &'a G,
}

impl<E: Element, G: LaneGate<E>> LaneTerms<E> for GradientTerms<'_, G> {
    #[inline(always)]
    fn terms<const W: usize>(&self, x: [f32; W], y: [f32; W], dy: [f32; W], c: usize) -> [[f32; W]; 2] {
        let mean = load::<f32, W>(self.mean, c);
        let g = self.gate.gradient::<W>(x, y, dy, c);
        let mut product = [0.0; W];
        for i in 0..W {
            product[i] = g[i] * (x[i] - mean[i]);
        }
        [product, g]
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
                    Gate::Open => add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, gate: &Always }),
                    Gate::Output => {
                        add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, gate: &WhereOutputPasses })
                    }
                    Gate::Recompute(affine) => {
                        add_rows(channels, (x, y, dy), sums, &GradientTerms { mean, gate: affine });
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

/// Adds the two terms of every value to `first` and `second`, channel by channel; rows are added four at a time, so that
/// the sums are loaded and stored a quarter as often and rounded less.
#[inline(always)]
fn add_rows<E: Element>(
    channels: usize,
    arrays: (&[E], &[E], &[E]),
    [first, second]: [&mut [f32]; 2],
    terms: &impl LaneTerms<E>,
) {
    let whole = channels / LANES * LANES;
    let rows = arrays.0.len() / channels;
    let fours = rows / 4 * 4;
    for row in (0..fours).step_by(4) {
        for c in (0..whole).step_by(LANES) {
            add_lanes::<E, 4, LANES>(channels, arrays, [first, second], terms, row, c);
        }
        for c in whole..channels {
            add_lanes::<E, 4, 1>(channels, arrays, [first, second], terms, row, c);
        }
    }
    for row in fours..rows {
        for c in (0..whole).step_by(LANES) {
            add_lanes::<E, 1, LANES>(channels, arrays, [first, second], terms, row, c);
        }
        for c in whole..channels {
            add_lanes::<E, 1, 1>(channels, arrays, [first, second], terms, row, c);
        }
    }
}

/// Channels `c..c + W` of `ROWS` rows from `row` on.
#[inline(always)]
fn add_lanes<E: Element, const ROWS: usize, const W: usize>(
    channels: usize,
    (x, y, dy): (&[E], &[E], &[E]),
    [first, second]: [&mut [f32]; 2],
    terms: &impl LaneTerms<E>,
    row: usize,
    c: usize,
) {
    let mut sums = [[0.0; W]; 2];
    for row in row..row + ROWS {
        let at = row * channels + c;
        let [a, b] = terms.terms::<W>(load(x, at), load(y, at), load(dy, at), c);
        for i in 0..W {
            sums[0][i] += a[i];
            sums[1][i] += b[i];
        }
    }
    let (mut total, mut other) = (load::<f32, W>(first, c), load::<f32, W>(second, c));
    for i in 0..W {
        total[i] += sums[0][i];
        other[i] += sums[1][i];
    }
    store(total, first, c);
    store(other, second, c);
}
