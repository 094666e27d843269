//! Batch norm over all axes but the last, with an optional residual and ReLU in the same pass.
//!
//! Rows are cut into chunks by the shape alone. Sums run in `f32` within a chunk and are combined in `f64` in order.

use pulp::Arch;
use rayon::prelude::*;

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

impl BatchNorm {
    /// Rows per chunk: about 64 Ki values, but few enough that an `f32` sum over them is exact to about 1e-6.
    fn chunk_rows(&self) -> usize {
        (64 * 1024 / self.channels).clamp(16, 1024)
    }

    fn chunk_len(&self) -> usize {
        self.chunk_rows() * self.channels
    }

    fn inverse_deviation(&self, variance: &[f32]) -> Vec<f32> {
        variance.iter().map(|variance| (1.0 / (f64::from(*variance) + f64::from(self.epsilon)).sqrt()) as f32).collect()
    }

    fn check(&self, rows: &[(&str, usize)], per_channel: &[(&str, usize)]) {
        assert!(self.channels > 0, "batch norm needs at least one channel");
        let len = rows[0].1;
        assert!(
            len > 0 && len.is_multiple_of(self.channels),
            "batch norm of {len} values in {} channels",
            self.channels
        );
        for (name, actual) in rows {
            assert_eq!(*actual, len, "length of {name} in batch norm");
        }
        for (name, actual) in per_channel {
            assert_eq!(*actual, self.channels, "length of {name} in batch norm");
        }
    }
}

/// `y = relu?(γ · (x − mean) / √(variance + ε) + β + residual?)` with the mean and the biased variance `E[x²] − E[x]²` of
/// each channel over the rows of `x` `[rows, channels]`.
///
/// `y`, `mean` and `variance` are fully overwritten. The variance is computed from deviations, so that it stays accurate
/// when the mean is large against the deviation. NaN in `x` or `residual` reaches `y` through the ReLU.
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn batch_norm(
    norm: &BatchNorm,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[f32]>,
    y: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    norm.check(
        &[("x", x.len()), ("residual", residual.map_or(x.len(), <[f32]>::len)), ("y", y.len())],
        &[("gamma", gamma.len()), ("beta", beta.len()), ("mean", mean.len()), ("variance", variance.len())],
    );
    let arch = Arch::new();
    moments(norm, arch, x, mean, variance);
    let scale: Vec<f32> =
        norm.inverse_deviation(variance).iter().zip(gamma).map(|(inverse, gamma)| inverse * gamma).collect();
    let affine = Affine { mean, scale: &scale, beta };
    let chunk_len = norm.chunk_len();
    let chunks = y.par_chunks_mut(chunk_len).zip(x.par_chunks(chunk_len)).enumerate();
    chunks.for_each(|(chunk, (y, x))| {
        let residual = residual.map(|residual| &residual[chunk * chunk_len..][..x.len()]);
        arch.dispatch(
            #[inline(always)]
            || match (residual, norm.relu) {
                (None, false) => affine.apply(x, y, |value| value),
                (None, true) => affine.apply(x, y, relu),
                (Some(residual), false) => affine.apply_and_add(x, residual, y, |value| value),
                (Some(residual), true) => affine.apply_and_add(x, residual, y, relu),
            },
        );
    });
}

/// Gradients of [`batch_norm`], through the statistics.
///
/// With `g = dy` where `y > 0` (everywhere without ReLU) and 0 elsewhere, `x̂ = (x − mean) / √(variance + ε)` and `n` rows:
/// `dβ = Σ g`, `dγ = Σ g · x̂`, `dx = γ / √(variance + ε) · (g − dβ / n − x̂ · dγ / n)`, `dresidual = g`.
///
/// `y` is the output of the forward pass and is read only with ReLU. All outputs are fully overwritten.
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn batch_norm_gradient(
    norm: &BatchNorm,
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    dresidual: Option<&mut [f32]>,
) {
    let dresidual_len = dresidual.as_ref().map_or(x.len(), |dresidual| dresidual.len());
    norm.check(
        &[("x", x.len()), ("y", y.len()), ("dy", dy.len()), ("dx", dx.len()), ("dresidual", dresidual_len)],
        &[
            ("gamma", gamma.len()),
            ("mean", mean.len()),
            ("variance", variance.len()),
            ("dgamma", dgamma.len()),
            ("dbeta", dbeta.len()),
        ],
    );
    let arch = Arch::new();
    let inverse = norm.inverse_deviation(variance);
    sum_gradients(norm, arch, (x, y, dy), mean, &inverse, dgamma, dbeta);

    let rows = (x.len() / norm.channels) as f32;
    let terms = InputGradient {
        mean,
        scale: &inverse.iter().zip(gamma).map(|(inverse, gamma)| inverse * gamma).collect::<Vec<_>>(),
        shift: &dbeta.iter().map(|dbeta| dbeta / rows).collect::<Vec<_>>(),
        slope: &inverse.iter().zip(&*dgamma).map(|(inverse, dgamma)| inverse * (dgamma / rows)).collect::<Vec<_>>(),
    };
    let chunk_len = norm.chunk_len();
    let inputs = x.par_chunks(chunk_len).zip(y.par_chunks(chunk_len)).zip(dy.par_chunks(chunk_len));
    let chunks = dx.par_chunks_mut(chunk_len).zip(inputs);
    match dresidual {
        None => chunks.for_each(|(dx, ((x, y), dy))| {
            arch.dispatch(
                #[inline(always)]
                || match norm.relu {
                    false => terms.write(x, y, dy, dx, |_, dy| dy),
                    true => terms.write(x, y, dy, dx, relu_gradient),
                },
            );
        }),
        Some(dresidual) => {
            chunks.zip(dresidual.par_chunks_mut(chunk_len)).for_each(|((dx, ((x, y), dy)), dresidual)| {
                arch.dispatch(
                    #[inline(always)]
                    || match norm.relu {
                        false => terms.write_with_residual(x, y, dy, dx, dresidual, |_, dy| dy),
                        true => terms.write_with_residual(x, y, dy, dx, dresidual, relu_gradient),
                    },
                );
            });
        }
    }
}

/// `max(value, 0)` that keeps NaN, so that a diverged run shows.
#[inline(always)]
fn relu(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

#[inline(always)]
fn relu_gradient(y: f32, dy: f32) -> f32 {
    if y <= 0.0 { 0.0 } else { dy }
}

/// `(x − mean) · scale + beta` per channel.
struct Affine<'a> {
    mean: &'a [f32],
    scale: &'a [f32],
    beta: &'a [f32],
}

impl Affine<'_> {
    #[inline(always)]
    fn apply(&self, x: &[f32], y: &mut [f32], activation: impl Fn(f32) -> f32) {
        let channels = self.mean.len();
        let (scale, beta) = (&self.scale[..channels], &self.beta[..channels]);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for c in 0..channels {
                y[c] = activation((x[c] - self.mean[c]) * scale[c] + beta[c]);
            }
        }
    }

    #[inline(always)]
    fn apply_and_add(&self, x: &[f32], residual: &[f32], y: &mut [f32], activation: impl Fn(f32) -> f32) {
        let channels = self.mean.len();
        let (scale, beta) = (&self.scale[..channels], &self.beta[..channels]);
        let rows = x.chunks_exact(channels).zip(residual.chunks_exact(channels)).zip(y.chunks_exact_mut(channels));
        for ((x, residual), y) in rows {
            for c in 0..channels {
                y[c] = activation((x[c] - self.mean[c]) * scale[c] + beta[c] + residual[c]);
            }
        }
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
    fn write(&self, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32], mask: impl Fn(f32, f32) -> f32) {
        let channels = self.mean.len();
        let (scale, shift, slope) = (&self.scale[..channels], &self.shift[..channels], &self.slope[..channels]);
        let inputs = x.chunks_exact(channels).zip(y.chunks_exact(channels)).zip(dy.chunks_exact(channels));
        for (((x, y), dy), dx) in inputs.zip(dx.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let g = mask(y[c], dy[c]);
                dx[c] = scale[c] * (g - shift[c] - (x[c] - self.mean[c]) * slope[c]);
            }
        }
    }

    #[inline(always)]
    fn write_with_residual(
        &self,
        x: &[f32],
        y: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dresidual: &mut [f32],
        mask: impl Fn(f32, f32) -> f32,
    ) {
        for ((g, y), dy) in dresidual.iter_mut().zip(y).zip(dy) {
            *g = mask(*y, *dy);
        }
        self.write(x, y, dresidual, dx, |_, g| g);
    }
}

/// Mean and biased variance of each channel.
///
/// Each chunk computes its own mean and then, still in cache, the squared deviations from it; the chunks are combined by
/// the formula of Chan, Golub and LeVeque (1983).
fn moments(norm: &BatchNorm, arch: Arch, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let channels = norm.channels;
    let partials: Vec<ChunkMoments> =
        x.par_chunks(norm.chunk_len()).map(|x| ChunkMoments::new(arch, channels, x)).collect();
    for c in 0..channels {
        let (mut rows, mut total_mean, mut total_square) = (0.0, 0.0, 0.0);
        for chunk in &partials {
            let pivot_to_mean = f64::from(chunk.deviation[c]) / chunk.rows;
            let difference = f64::from(chunk.pivot[c]) + pivot_to_mean - total_mean;
            let square = f64::from(chunk.square[c]) - f64::from(chunk.deviation[c]) * pivot_to_mean;
            total_square += square + difference * difference * rows * chunk.rows / (rows + chunk.rows);
            rows += chunk.rows;
            total_mean += difference * chunk.rows / rows;
        }
        mean[c] = total_mean as f32;
        variance[c] = (total_square / rows).max(0.0) as f32;
    }
}

/// Sums over the rows of one chunk.
struct ChunkMoments {
    rows: f64,
    /// The chunk's mean up to rounding.
    pivot: Vec<f32>,
    /// `Σ (x − pivot)`: what rounding left.
    deviation: Vec<f32>,
    /// `Σ (x − pivot)²`
    square: Vec<f32>,
}

impl ChunkMoments {
    fn new(arch: Arch, channels: usize, x: &[f32]) -> Self {
        let rows = (x.len() / channels) as f32;
        let zeros = || vec![0.0; channels];
        let (mut pivot, mut deviation, mut square) = (zeros(), zeros(), zeros());
        arch.dispatch(
            #[inline(always)]
            || {
                for x in x.chunks_exact(channels) {
                    pivot.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
                }
                pivot.iter_mut().for_each(|pivot| *pivot /= rows);
                add_rows(channels, &[x], [&mut deviation, &mut square], |[x], c| {
                    let deviation = x - pivot[c];
                    [deviation, deviation * deviation]
                });
            },
        );
        Self { rows: f64::from(rows), pivot, deviation, square }
    }
}

/// `dγ = Σ g · x̂` and `dβ = Σ g` of each channel.
fn sum_gradients(
    norm: &BatchNorm,
    arch: Arch,
    (x, y, dy): (&[f32], &[f32], &[f32]),
    mean: &[f32],
    inverse: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let (channels, chunk_len) = (norm.channels, norm.chunk_len());
    let inputs = x.par_chunks(chunk_len).zip(y.par_chunks(chunk_len)).zip(dy.par_chunks(chunk_len));
    let partials: Vec<(Vec<f32>, Vec<f32>)> = inputs
        .map(|((x, y), dy)| {
            let (mut product, mut sum) = (vec![0.0; channels], vec![0.0; channels]);
            let mean = &mean[..channels];
            arch.dispatch(
                #[inline(always)]
                || match norm.relu {
                    false => add_rows(channels, &[x, dy], [&mut product, &mut sum], |[x, g], c| [g * (x - mean[c]), g]),
                    true => add_rows(channels, &[x, y, dy], [&mut product, &mut sum], |[x, y, dy], c| {
                        let g = relu_gradient(y, dy);
                        [g * (x - mean[c]), g]
                    }),
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

/// Adds the two `terms` of every row of `inputs` to `first` and `second`, channel by channel; rows are added four at a
/// time, so that the sums are loaded and stored a quarter as often and rounded less.
#[inline(always)]
fn add_rows<const N: usize>(
    channels: usize,
    inputs: &[&[f32]; N],
    [first, second]: [&mut [f32]; 2],
    terms: impl Fn([f32; N], usize) -> [f32; 2],
) {
    let (first, second) = (&mut first[..channels], &mut second[..channels]);
    let rows = inputs[0].len() / channels;
    let fours = rows / 4 * 4;
    for row in (0..fours).step_by(4) {
        let block = inputs.map(|input| &input[row * channels..][..4 * channels]);
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| block.map(|block| &block[i * channels..][..channels]));
        for i in 0..channels {
            let [a, b] = [terms(a.map(|a| a[i]), i), terms(b.map(|b| b[i]), i)];
            let [c, d] = [terms(c.map(|c| c[i]), i), terms(d.map(|d| d[i]), i)];
            first[i] += (a[0] + b[0]) + (c[0] + d[0]);
            second[i] += (a[1] + b[1]) + (c[1] + d[1]);
        }
    }
    for row in fours..rows {
        let values = inputs.map(|input| &input[row * channels..][..channels]);
        for i in 0..channels {
            let [a, b] = terms(values.map(|values| values[i]), i);
            first[i] += a;
            second[i] += b;
        }
    }
}
