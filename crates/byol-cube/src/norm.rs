//! Batch norm over the last axis: statistics, normalise + residual + ReLU in one pass, and their gradient.
//!
//! Values are `[rows, channels]` of any type; statistics, scale and offset are `f32 [channels]`. Sums are taken in a fixed order, by parts of the
//! rows and then over the parts, so that the same bits come out on every run.

use cubecl::prelude::*;

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
    let [mean, variance] = [(); 2].map(|()| Array::empty(client, channels, Kind::F32));
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

/// What lets a gradient through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gate {
    /// Everything: no ReLU.
    Open,
    /// A ReLU whose sign is that of the normalised value.
    Normalised,
    /// A ReLU whose sign is that of the output, which is kept.
    Output,
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

#[cube(launch_unchecked)]
fn add_neighbours(parts: &[f32], fewer: &mut [f32], width: u32, count: u32, together: u32) {
    let at = ABSOLUTE_POS;
    if at >= fewer.len() {
        terminate!();
    }
    let first = at as u32 / width * together;
    let column = at as u32 % width;
    let end = (first + together).min(count);
    let mut sum = 0.0f32;
    for part in first..end {
        sum += parts[(part * width + column) as usize];
    }
    fewer[at] = sum;
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

/// How rows are shared: a cube has a part of them and some neighbouring vectors of channels, and each of its units one of these vectors in
/// every `down`-th row, so that what belongs to a channel is loaded once.
#[derive(Clone, Copy)]
struct Rows {
    rows: usize,
    parts: usize,
    rows_per_part: usize,
    across: usize,
    blocks: usize,
    channel_vectors: usize,
}

impl Rows {
    fn cut(rows: usize, channel_vectors: usize, most_parts: usize) -> Self {
        let across = channel_vectors.min(UNITS);
        let rows_per_part = rows.div_ceil(rows.div_ceil(UNITS / across).min(most_parts));
        let blocks = channel_vectors.div_ceil(across);
        Self { rows, parts: rows.div_ceil(rows_per_part), rows_per_part, across, blocks, channel_vectors }
    }

    fn cubes(&self) -> CubeCount {
        CubeCount::Static(self.parts as u32, self.blocks as u32, 1)
    }

    fn launch(&self) -> RowsOfUnitsLaunch {
        let &Self { rows, rows_per_part, across, channel_vectors, .. } = self;
        RowsOfUnitsLaunch::new(rows as u32, rows_per_part as u32, across as u32, channel_vectors as u32)
    }
}

/// [`Rows`] on the device.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct RowsOfUnits {
    rows: u32,
    rows_per_part: u32,
    across: u32,
    channel_vectors: u32,
}

/// What is this unit's of [`RowsOfUnits`]: rows from `first` in steps of `down` before `end`, in vector `channel`; none if not `works`.
#[derive(CubeType, Clone, Copy)]
struct Own {
    first: u32,
    down: u32,
    end: u32,
    channel: u32,
    works: bool,
}

#[cube]
fn own_rows(rows: &RowsOfUnits) -> Own {
    let down = comptime!(UNITS as u32) / rows.across;
    let row = UNIT_POS / rows.across;
    let channel = CUBE_POS_Y * rows.across + UNIT_POS % rows.across;
    let first = CUBE_POS_X * rows.rows_per_part;
    Own {
        first: first + row,
        down,
        end: (first + rows.rows_per_part).min(rows.rows),
        channel,
        works: channel < rows.channel_vectors && row < down,
    }
}

/// The grid of kernels that add parts: `LANES` units for each of 32 channels.
fn by_channel(channels: usize) -> (CubeCount, CubeDim) {
    (CubeCount::Static(channels.div_ceil(32) as u32, 1, 1), CubeDim::new_2d(32, LANES as u32))
}

/// The vector of channel values that belongs to vector `channel`.
#[cube]
fn of_channel<V: Size>(values: &[f32], channel: u32) -> Vector<f32, V> {
    let v = V::value();
    let mut vector = Vector::<f32, V>::empty();
    #[unroll]
    for e in 0..v {
        vector.insert(e, values[(channel * comptime!(v as u32)) as usize + e]);
    }
    vector
}

/// The gradient behind the ReLU.
#[cube]
fn gated<F: Float, V: Size>(
    dy: Vector<F, V>,
    z: Vector<f32, V>,
    output: Vector<F, V>,
    scale: Vector<f32, V>,
    shift: Vector<f32, V>,
    #[comptime] gate: Gate,
) -> Vector<f32, V> {
    let v = V::value();
    let gradient = Vector::<f32, V>::cast_from(dy);
    if comptime!(gate == Gate::Open) {
        gradient
    } else {
        let sign = if comptime!(gate == Gate::Normalised) {
            z * scale + shift
        } else {
            Vector::<f32, V>::cast_from(output)
        };
        let mut through = Vector::<f32, V>::empty();
        #[unroll]
        for e in 0..v {
            through.insert(e, select(sign.extract(e) > 0.0f32, gradient.extract(e), 0.0f32));
        }
        through
    }
}

#[cube(launch_unchecked)]
fn sum_rows<F: Float, V: Size>(
    x: &[Vector<F, V>],
    dy: &[Vector<F, V>],
    output: &[Vector<F, V>],
    scale: &[f32],
    shift: &[f32],
    parts: &mut [f32],
    rows: &RowsOfUnits,
    #[comptime] is_gradient: bool,
    #[comptime] gate: Gate,
    #[define(F)] _type: ElemType,
) {
    let v = V::value();
    let own = own_rows(rows);
    let mut sums = Vector::<f32, V>::new(0.0f32);
    let mut products = Vector::<f32, V>::new(0.0f32);
    if own.works {
        let mut scales = Vector::<f32, V>::new(1.0f32);
        let mut shifts = Vector::<f32, V>::new(0.0f32);
        if comptime!(gate == Gate::Normalised) {
            scales = of_channel(scale, own.channel);
            shifts = of_channel(shift, own.channel);
        }
        let mut row = own.first;
        while row < own.end {
            let at = (row * rows.channel_vectors + own.channel) as usize;
            let value = Vector::<f32, V>::cast_from(x[at]);
            if comptime!(is_gradient) {
                let gradient = gated(dy[at], value, output[at], scales, shifts, gate);
                sums += gradient;
                products += gradient * value;
            } else {
                sums += value;
                products += value * value;
            }
            row += own.down;
        }
    }
    let mut all_sums = Shared::<[Vector<f32, V>]>::new_slice(UNITS);
    let mut all_products = Shared::<[Vector<f32, V>]>::new_slice(UNITS);
    all_sums[UNIT_POS as usize] = sums;
    all_products[UNIT_POS as usize] = products;
    sync_cube();
    if UNIT_POS < rows.across && own.works {
        for i in 1..own.down {
            sums += all_sums[(UNIT_POS + i * rows.across) as usize];
            products += all_products[(UNIT_POS + i * rows.across) as usize];
        }
        let channels = rows.channel_vectors * comptime!(v as u32);
        let to = (CUBE_POS_X * 2 * channels + own.channel * comptime!(v as u32)) as usize;
        #[unroll]
        for e in 0..v {
            parts[to + e] = sums.extract(e);
            parts[to + channels as usize + e] = products.extract(e);
        }
    }
}

/// Both sums of a channel over all parts, for the unit of lane 0.
#[cube]
fn add_parts(parts: &[f32], channel: u32, channels: u32, part_count: u32) -> (f32, f32) {
    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    if channel < channels {
        let mut part = UNIT_POS_Y;
        while part < part_count {
            let at = (part * 2 * channels + channel) as usize;
            sum += parts[at];
            product += parts[at + channels as usize];
            part += comptime!(LANES as u32);
        }
    }
    let mut sums = Shared::<[f32]>::new_slice(comptime!(32 * LANES));
    let mut products = Shared::<[f32]>::new_slice(comptime!(32 * LANES));
    sums[UNIT_POS as usize] = sum;
    products[UNIT_POS as usize] = product;
    sync_cube();
    let mut total = 0.0f32;
    let mut total_product = 0.0f32;
    #[unroll]
    for lane in 0..comptime!(LANES as u32) {
        total += sums[(lane * 32 + UNIT_POS_X) as usize];
        total_product += products[(lane * 32 + UNIT_POS_X) as usize];
    }
    (total, total_product)
}

#[cube(launch_unchecked)]
fn finish_moments(
    parts: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
    channels: u32,
    part_count: u32,
    per_row: f32,
) {
    let channel = CUBE_POS_X * 32 + UNIT_POS_X;
    let (sum, squares) = add_parts(parts, channel, channels, part_count);
    if UNIT_POS_Y == 0 && channel < channels {
        let average = sum * per_row;
        mean[channel as usize] = average;
        variance[channel as usize] = (squares * per_row - average * average).max(0.0f32);
    }
}

#[cube(launch_unchecked)]
fn fold_norm(
    mean: &[f32],
    variance: &[f32],
    gamma: &[f32],
    beta: &[f32],
    scale: &mut [f32],
    shift: &mut [f32],
    epsilon: f32,
) {
    let channel = ABSOLUTE_POS;
    if channel >= scale.len() {
        terminate!();
    }
    let factor = gamma[channel] / (variance[channel] + epsilon).sqrt();
    scale[channel] = factor;
    shift[channel] = beta[channel] - mean[channel] * factor;
}

#[cube(launch_unchecked)]
fn normalise_rows<F: Float, V: Size>(
    x: &[Vector<F, V>],
    residual: &[Vector<F, V>],
    scale: &[f32],
    shift: &[f32],
    out: &mut [Vector<F, V>],
    rows: &RowsOfUnits,
    #[comptime] has_residual: bool,
    #[comptime] relu: bool,
    #[define(F)] _type: ElemType,
) {
    let own = own_rows(rows);
    if own.works {
        let scales = of_channel::<V>(scale, own.channel);
        let shifts = of_channel::<V>(shift, own.channel);
        let mut row = own.first;
        while row < own.end {
            let at = (row * rows.channel_vectors + own.channel) as usize;
            let mut value = Vector::<f32, V>::cast_from(x[at]) * scales + shifts;
            if comptime!(has_residual) {
                value += Vector::<f32, V>::cast_from(residual[at]);
            }
            if comptime!(relu) {
                value = value.max(Vector::<f32, V>::new(0.0f32));
            }
            out[at] = Vector::<F, V>::cast_from(value);
            row += own.down;
        }
    }
}

/// With N rows, Σg = dβ and Σg·x̂ = dγ: `dz = scale · (g − dβ/N − x̂ · dγ/N)` as `scale · g + of_z · z + offset`.
#[cube(launch_unchecked)]
fn finish_gradient(
    parts: &[f32],
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    of_z: &mut [f32],
    offset: &mut [f32],
    channels: u32,
    part_count: u32,
    per_row: f32,
    epsilon: f32,
) {
    let channel = CUBE_POS_X * 32 + UNIT_POS_X;
    let (sum, product) = add_parts(parts, channel, channels, part_count);
    if UNIT_POS_Y == 0 && channel < channels {
        let at = channel as usize;
        let inverse = 1.0f32 / (variance[at] + epsilon).sqrt();
        let by_normal = (product - mean[at] * sum) * inverse;
        dgamma[at] = by_normal;
        dbeta[at] = sum;
        let slope = -scale[at] * by_normal * inverse * per_row;
        of_z[at] = slope;
        offset[at] = -scale[at] * sum * per_row - slope * mean[at];
    }
}

#[cube(launch_unchecked)]
fn input_gradient_rows<F: Float, V: Size>(
    z: &[Vector<F, V>],
    dy: &[Vector<F, V>],
    output: &[Vector<F, V>],
    scale: &[f32],
    shift: &[f32],
    of_z: &[f32],
    offset: &[f32],
    dz: &mut [Vector<F, V>],
    residual: &mut [Vector<F, V>],
    rows: &RowsOfUnits,
    #[comptime] gate: Gate,
    #[comptime] has_residual: bool,
    #[define(F)] _type: ElemType,
) {
    let own = own_rows(rows);
    if own.works {
        let scales = of_channel::<V>(scale, own.channel);
        let shifts = of_channel::<V>(shift, own.channel);
        let slopes = of_channel::<V>(of_z, own.channel);
        let offsets = of_channel::<V>(offset, own.channel);
        let mut row = own.first;
        while row < own.end {
            let at = (row * rows.channel_vectors + own.channel) as usize;
            let value = Vector::<f32, V>::cast_from(z[at]);
            let gradient = gated(dy[at], value, output[at], scales, shifts, gate);
            dz[at] = Vector::<F, V>::cast_from(gradient * scales + value * slopes + offsets);
            if comptime!(has_residual) {
                residual[at] = Vector::<F, V>::cast_from(gradient);
            }
            row += own.down;
        }
    }
}
