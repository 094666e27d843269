//! The passes over rows, and over sums of parts of them.

use cubecl::prelude::*;

use super::LANES;
use super::rows::{RowsOfUnits, own_rows};
use crate::tile::UNITS;

/// What lets a gradient through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    /// Everything: no ReLU.
    Open,
    /// A ReLU whose sign is that of the normalised value.
    Normalised,
    /// A ReLU whose sign is that of the output, which is kept.
    Output,
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
        let sign =
            if comptime!(gate == Gate::Normalised) { z * scale + shift } else { Vector::<f32, V>::cast_from(output) };
        let mut through = Vector::<f32, V>::empty();
        #[unroll]
        for e in 0..v {
            through.insert(e, select(sign.extract(e) > 0.0f32, gradient.extract(e), 0.0f32));
        }
        through
    }
}

#[cube(launch_unchecked)]
pub(super) fn sum_rows<F: Float, V: Size>(
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
pub(super) fn finish_moments(
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
pub(super) fn fold_norm(
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
pub(super) fn normalise_rows<F: Float, V: Size>(
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
pub(super) fn finish_gradient(
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
pub(super) fn input_gradient_rows<F: Float, V: Size>(
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

#[cube(launch_unchecked)]
pub(super) fn add_neighbours(parts: &[f32], fewer: &mut [f32], width: u32, count: u32, together: u32) {
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
