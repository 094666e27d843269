//! Batch norm over the last axis: statistics, normalise + residual + ReLU in one pass, and their gradient.
//!
//! Values are `[rows, channels]` of any type; statistics, scale and offset are `f32 [channels]`. Sums are taken in a fixed order, by parts of the
//! rows and then over the parts, so that the same bits come out on every run.

mod kernels;
mod rows;

use cubecl::prelude::*;

use self::kernels::{
    Gate, add_neighbours, finish_gradient, finish_moments, fold_norm, input_gradient_rows, normalise_rows, sum_rows,
};
use self::rows::Rows;
use crate::arena::Arena;
use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// Parts that the rows are cut into: enough for every multiprocessor of a large device to have several.
const PARTS: usize = 512;

/// Parts of passes that sum nothing.
const ROW_PARTS: usize = 4096;

/// Parts whose sums are added side by side.
const LANES: usize = 8;

/// Mean and biased variance `E[x²] − E[x]²` of each channel.
#[derive(Clone)]
pub struct Statistics {
    /// The mean.
    pub mean: Array,
    /// The biased variance.
    pub variance: Array,
}

/// A batch norm as one multiplication and one addition: `scale = γ / √(variance + ε)`, `shift = β − mean · scale`.
#[derive(Clone)]
pub struct Folded {
    /// The factor of each channel.
    pub scale: Array,
    /// The summand of each channel.
    pub shift: Array,
}

/// Gradients of a batch norm by batch statistics.
pub struct NormGradient {
    /// Of the input, in its type.
    pub z: Array,
    /// Of γ.
    pub gamma: Array,
    /// Of β.
    pub beta: Array,
    /// Of what was added before the ReLU, where it is asked for.
    pub residual: Option<Array>,
}

/// Statistics of `x [rows, channels]`.
pub fn statistics(x: &Array, channels: usize) -> Statistics {
    let rows = x.len / channels;
    let unused = Array::empty(&x.client, channels, Kind::F32);
    let parts = sum_parts(x, None, channels, Gate::Open, &unused, &unused);
    statistics_of_parts(&parts, channels, rows)
}

/// Statistics of `rows` rows from sums of x and x² over parts of them, `[parts, 2, channels]`.
pub(crate) fn statistics_of_parts(parts: &Array, channels: usize, rows: usize) -> Statistics {
    let client = &parts.client;
    let parts = fewer_parts(parts, 2 * channels);
    // One after the other, as the running averages will be that both move.
    let [mean, variance] = Arena::pair(client, channels);
    let (cubes, dim) = by_channel(channels);
    // SAFETY: the kernel checks its channel.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        finish_moments::launch_unchecked(
            client,
            cubes,
            dim,
            parts.arg(),
            mean.arg(),
            variance.arg(),
            channels as u32,
            (parts.len / channels / 2) as u32,
            1.0 / rows as f32,
        );
    }
    Statistics { mean, variance }
}

/// Scale and shift of a batch norm with these statistics.
pub fn fold(statistics: &Statistics, gamma: &Array, beta: &Array, epsilon: f32) -> Folded {
    let channels = gamma.len;
    let [scale, shift] = [(); 2].map(|()| Array::empty(&gamma.client, channels, Kind::F32));
    // SAFETY: the kernel checks its channel.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        fold_norm::launch_unchecked(
            &gamma.client,
            grid(channels.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            statistics.mean.arg(),
            statistics.variance.arg(),
            gamma.arg(),
            beta.arg(),
            scale.arg(),
            shift.arg(),
            epsilon,
        );
    }
    Folded { scale, shift }
}

/// `relu?(x · scale + shift + residual?)`, in the type of `x`.
pub fn normalise(x: &Array, folded: &Folded, residual: Option<&Array>, relu: bool) -> Array {
    let out = Array::empty(&x.client, x.len, x.kind);
    let channels = folded.scale.len;
    let vector = x.kind.vector(channels);
    let rows = Rows::cut(x.len / channels, channels / vector, ROW_PARTS);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        normalise_rows::launch_unchecked(
            &x.client,
            rows.cubes(),
            CubeDim::new_1d(UNITS as u32),
            vector,
            x.arg(),
            residual.unwrap_or(x).arg(),
            folded.scale.arg(),
            folded.shift.arg(),
            out.arg(),
            rows.launch(),
            residual.is_some(),
            relu,
            x.kind.elem(),
        );
    }
    out
}

/// Gradients of `relu?(batch_norm(z) + residual?)` for `dy`, the gradient of the output. `output` is the output where something was added
/// before the ReLU.
#[expect(clippy::too_many_arguments, reason = "one per symbol")]
pub fn norm_gradient(
    z: &Array,
    dy: &Array,
    output: Option<&Array>,
    statistics: &Statistics,
    gamma: &Array,
    beta: &Array,
    relu: bool,
    epsilon: f32,
) -> NormGradient {
    let client = &z.client;
    let channels = gamma.len;
    let rows = z.len / channels;
    let folded = fold(statistics, gamma, beta, epsilon);
    let gate = match (relu, output) {
        (false, _) => Gate::Open,
        (true, None) => Gate::Normalised,
        (true, Some(_)) => Gate::Output,
    };
    let parts = sum_parts(z, Some((dy, output)), channels, gate, &folded.scale, &folded.shift);
    let [dgamma, dbeta, of_z, offset] = [(); 4].map(|()| Array::empty(client, channels, Kind::F32));
    let (cubes, dim) = by_channel(channels);
    // SAFETY: the kernel checks its channel.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        finish_gradient::launch_unchecked(
            client,
            cubes,
            dim,
            parts.arg(),
            statistics.mean.arg(),
            statistics.variance.arg(),
            folded.scale.arg(),
            dgamma.arg(),
            dbeta.arg(),
            of_z.arg(),
            offset.arg(),
            channels as u32,
            (parts.len / channels / 2) as u32,
            1.0 / rows as f32,
            epsilon,
        );
    }
    let dz = Array::empty(client, z.len, z.kind);
    let residual = output.is_some().then(|| Array::empty(client, z.len, z.kind));
    let vector = z.kind.vector(channels);
    let rows = Rows::cut(rows, channels / vector, ROW_PARTS);
    // SAFETY: the kernel checks its row and channel.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        input_gradient_rows::launch_unchecked(
            client,
            rows.cubes(),
            CubeDim::new_1d(UNITS as u32),
            vector,
            z.arg(),
            dy.arg(),
            output.unwrap_or(z).arg(),
            folded.scale.arg(),
            folded.shift.arg(),
            of_z.arg(),
            offset.arg(),
            dz.arg(),
            residual.as_ref().unwrap_or(&Array::empty(client, 16, z.kind)).arg(),
            rows.launch(),
            gate,
            residual.is_some(),
            z.kind.elem(),
        );
    }
    NormGradient { z: dz, gamma: dgamma, beta: dbeta, residual }
}

/// Sums of neighbouring parts, so that at most [`PARTS`] are left; `width` values each.
fn fewer_parts(parts: &Array, width: usize) -> Array {
    let count = parts.len / width;
    if count <= PARTS {
        return parts.clone();
    }
    let together = count.div_ceil(PARTS / 4);
    let fewer = Array::empty(&parts.client, count.div_ceil(together) * width, Kind::F32);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        add_neighbours::launch_unchecked(
            &parts.client,
            grid(fewer.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            parts.arg(),
            fewer.arg(),
            width as u32,
            count as u32,
            together as u32,
        );
    }
    fewer
}

/// Sums of each channel over parts of the rows, `[parts, 2, channels]`: of x and x², or of the gradient and the gradient times x.
fn sum_parts(
    x: &Array,
    gradient: Option<(&Array, Option<&Array>)>,
    channels: usize,
    gate: Gate,
    scale: &Array,
    shift: &Array,
) -> Array {
    let vector = x.kind.vector(channels);
    let rows = Rows::cut(x.len / channels, channels / vector, PARTS);
    let parts = Array::empty(&x.client, rows.parts * 2 * channels, Kind::F32);
    let (dy, output) = gradient.map_or((x, x), |(dy, output)| (dy, output.unwrap_or(dy)));
    // SAFETY: the kernel checks its row and channel.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        sum_rows::launch_unchecked(
            &x.client,
            rows.cubes(),
            CubeDim::new_1d(UNITS as u32),
            vector,
            x.arg(),
            dy.arg(),
            output.arg(),
            scale.arg(),
            shift.arg(),
            parts.arg(),
            rows.launch(),
            gradient.is_some(),
            gate,
            x.kind.elem(),
        );
    }
    parts
}

/// The grid of kernels that add parts: `LANES` units for each of 32 channels.
fn by_channel(channels: usize) -> (CubeCount, CubeDim) {
    (CubeCount::Static(channels.div_ceil(32) as u32, 1, 1), CubeDim::new_2d(32, LANES as u32))
}
