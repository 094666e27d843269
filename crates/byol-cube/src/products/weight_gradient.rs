//! The gradient of a weight: a product along all positions of a batch, which several cubes share.
//!
//! `dw[n, t, c] = Σ_m dy[m, n] · x[at(m, t), c]`. Every cube sums a part of the positions; the parts are added afterwards in their order, so
//! that the same bits come out on every run.

use cubecl::cmma;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::gather::Window;
use super::sums::{add_by_matrix_units, add_by_registers, add_one_by_one, fragments, own, plane_origin, registers};
use crate::tile::{Tile, Units};

/// One cube computes a tile of one part: `parts [part, rows, columns]` with rows and columns of whole tiles, a row for every output
/// channel, a column for every tap and input channel. `x [images, height, width, channels]`, `dy [positions, outputs]`.
///
/// `pointwise` says that a position sees itself alone. With `normalised`, `x` is `relu(x · scale + shift)` of each channel, rounded to its type: a batch norm that is not kept.
#[cube(launch_unchecked)]
pub(super) fn weight_gradient_parts<F: Float, V: Size, U: Size>(
    x: &[Vector<F, V>],
    dy: &[Vector<F, U>],
    scale: &[f32],
    shift: &[f32],
    parts: &mut [f32],
    window: &Window,
    picture: FastDivmod<u32>,
    width: FastDivmod<u32>,
    channels: u32,
    outputs: u32,
    positions_per_part: u32,
    cubes: u32,
    #[comptime] normalised: bool,
    #[comptime] pointwise: bool,
    #[comptime] tile: Tile,
    #[define(F)] _type: ElemType,
) {
    let v = V::value();
    let u = U::value();
    let cube = CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X;
    if cube >= cubes {
        terminate!();
    }
    let columns = window.taps * channels;
    let column_tiles = columns.div_ceil(comptime!(tile.columns as u32));
    let row_tiles = outputs.div_ceil(comptime!(tile.rows as u32));
    let first_row = cube / column_tiles * comptime!(tile.rows as u32);
    let first_column = cube % column_tiles * comptime!(tile.columns as u32);
    let first = CUBE_POS_Z * positions_per_part;
    let end = (first + positions_per_part).min(window.positions);

    let lhs_row = comptime!(tile.rows / u);
    let rhs_row = comptime!(tile.columns / v);
    let lhs_stride = comptime!(lhs_row + 8usize.div_ceil(u));
    let rhs_stride = comptime!(rhs_row + 8usize.div_ceil(v));
    let lhs_len = comptime!(tile.depth * lhs_stride);
    let rhs_len = comptime!(tile.depth * rhs_stride);
    let mut lhs = Shared::<[Vector<F, U>]>::new_aligned_slice(comptime!(2 * lhs_len), 16usize);
    let mut rhs = Shared::<[Vector<F, V>]>::new_aligned_slice(comptime!(2 * rhs_len), 16usize);

    // Every unit loads the same channels, of several positions.
    let lhs_at_once = comptime!(tile.units() / lhs_row);
    let rhs_at_once = comptime!(tile.units() / rhs_row);
    let lhs_loads = comptime!(tile.depth / lhs_at_once);
    let rhs_loads = comptime!(tile.depth / rhs_at_once);
    let lhs_place = UNIT_POS % comptime!(lhs_row as u32);
    let lhs_depth = UNIT_POS / comptime!(lhs_row as u32);
    let rhs_place = UNIT_POS % comptime!(rhs_row as u32);
    let rhs_depth = UNIT_POS / comptime!(rhs_row as u32);

    let output = first_row / comptime!(u as u32) + lhs_place;
    let output_vectors = outputs / comptime!(u as u32);
    let channel_vectors = channels / comptime!(v as u32);
    let column = first_column / comptime!(v as u32) + rhs_place;
    let is_column = column < columns / comptime!(v as u32);
    let tap = column / channel_vectors;
    let channel = column % channel_vectors;
    let dy_tap = i32::cast_from(tap / window.taps_x) * window.turn + window.first_y;
    let dx_tap = i32::cast_from(tap % window.taps_x) * window.turn + window.first_x;

    let mut scales = Vector::<f32, V>::new(1.0f32);
    let mut shifts = Vector::<f32, V>::new(0.0f32);
    if comptime!(normalised) {
        #[unroll]
        for e in 0..v {
            let at = (channel * comptime!(v as u32)) as usize + e;
            scales.insert(e, scale[at]);
            shifts.insert(e, shift[at]);
        }
    }

    let mut lhs_next = Array::<Vector<F, U>>::new(lhs_loads);
    let mut rhs_next = Array::<Vector<F, V>>::new(rhs_loads);
    let lhs_zero = Vector::<F, U>::new(F::from_int(0));
    let rhs_zero = Vector::<F, V>::new(F::from_int(0));
    let fragments = fragments(tile);
    let mut registers = registers(tile);
    let mut sums = Array::<f32>::new(16usize);
    if comptime!(tile.units == Units::OneByOne) {
        #[unroll]
        for i in 0..16usize {
            sums[i] = 0.0f32;
        }
    }

    let steps = (end.max(first) - first).div_ceil(comptime!(tile.depth as u32));
    for step in 0..steps + 1 {
        let start = first + step * comptime!(tile.depth as u32);
        #[unroll]
        for i in 0..lhs_loads {
            let position = start + lhs_depth + comptime!((i * lhs_at_once) as u32);
            let mut value = lhs_zero;
            if position < end && output < output_vectors {
                value = dy[(position * output_vectors + output) as usize];
            }
            lhs_next[i] = value;
        }
        #[unroll]
        for i in 0..rhs_loads {
            let position = start + rhs_depth + comptime!((i * rhs_at_once) as u32);
            let mut row = position;
            let mut is_inside = position < end && is_column;
            if comptime!(!pointwise) {
                let (image, rest) = picture.div_mod(position);
                let (y, x) = width.div_mod(rest);
                let y = u32::cast_from(i32::cast_from(y * window.step) + dy_tap);
                let x = u32::cast_from(i32::cast_from(x * window.step) + dx_tap);
                row = (image * window.source_height + y) * window.source_width + x;
                is_inside = is_inside && y < window.source_height && x < window.source_width;
            }
            let mut value = rhs_zero;
            if is_inside {
                value = x[(row * channel_vectors + channel) as usize];
                if comptime!(normalised) {
                    let normal = Vector::<f32, V>::cast_from(value) * scales + shifts;
                    value = Vector::<F, V>::cast_from(normal.max(Vector::<f32, V>::new(0.0f32)));
                }
            }
            rhs_next[i] = value;
        }
        if step > 0 {
            let lhs_at = (step - 1) % 2 * comptime!(lhs_len as u32);
            let rhs_at = (step - 1) % 2 * comptime!(rhs_len as u32);
            if comptime!(tile.units == Units::Registers) {
                add_by_registers(&lhs, &rhs, lhs_at, rhs_at, &mut registers, lhs_stride, rhs_stride, false, tile);
            } else if comptime!(tile.units == Units::Fragments) {
                add_by_matrix_units(&lhs, &rhs, lhs_at, rhs_at, &fragments, lhs_stride, rhs_stride, false, tile);
            } else {
                add_one_by_one(&lhs, &rhs, lhs_at, rhs_at, &mut sums, lhs_stride, rhs_stride, false, tile);
            }
        }
        if step < steps {
            #[unroll]
            for i in 0..lhs_loads {
                let depth = lhs_depth + comptime!((i * lhs_at_once) as u32);
                let to = step % 2 * comptime!(lhs_len as u32) + depth * comptime!(lhs_stride as u32) + lhs_place;
                lhs[to as usize] = lhs_next[i];
            }
            #[unroll]
            for i in 0..rhs_loads {
                let depth = rhs_depth + comptime!((i * rhs_at_once) as u32);
                let to = step % 2 * comptime!(rhs_len as u32) + depth * comptime!(rhs_stride as u32) + rhs_place;
                rhs[to as usize] = rhs_next[i];
            }
        }
        sync_cube();
    }

    let part_columns = column_tiles * comptime!(tile.columns as u32);
    let part = CUBE_POS_Z * row_tiles * comptime!(tile.rows as u32) * part_columns;
    if comptime!(tile.units != Units::OneByOne) {
        let (plane_row, plane_column) = plane_origin(tile);
        #[unroll]
        for i in 0..comptime!(tile.fragments(0)) {
            #[unroll]
            for j in 0..comptime!(tile.fragments(1)) {
                let row = first_row + plane_row + comptime!((i * 16) as u32);
                let column = first_column + plane_column + comptime!((j * 16) as u32);
                let piece = comptime!(i * tile.fragments(1) + j);
                if comptime!(tile.units == Units::Registers) {
                    #[unroll]
                    for half in 0..2usize {
                        let pairs = registers.index(comptime!(piece * 2 + half));
                        #[unroll]
                        for below in 0..2usize {
                            let row = row + UNIT_POS_X / 4 + comptime!(below as u32 * 8);
                            let column = column + UNIT_POS_X % 4 * 2 + comptime!(half as u32 * 8);
                            let to = (part + row * part_columns + column) as usize;
                            let pair = pairs[below];
                            parts[to] = pair.extract(0usize);
                            parts[to + 1] = pair.extract(1usize);
                        }
                    }
                } else {
                    let to = (part + row * part_columns + column) as usize;
                    let end = parts.len();
                    cmma::store(
                        &mut parts[to..end],
                        fragments.index(piece),
                        part_columns,
                        cmma::MatrixLayout::RowMajor,
                    );
                }
            }
        }
    } else {
        #[unroll]
        for i in 0..4usize {
            #[unroll]
            for j in 0..4usize {
                let row = first_row + own(UNIT_POS / 16, i, u, false);
                let column = first_column + own(UNIT_POS % 16, j, v, false);
                parts[(part + row * part_columns + column) as usize] = sums[comptime!(i * 4 + j)];
            }
        }
    }
}

/// Adds the parts: `dw [outputs, channels, taps]`, which is the layout of weights outside of the device.
#[cube(launch_unchecked)]
pub(super) fn add_parts(
    parts: &[f32],
    dw: &mut [f32],
    taps: u32,
    channels: u32,
    part_columns: u32,
    part_len: u32,
    part_count: u32,
) {
    let at = ABSOLUTE_POS as u32;
    if at as usize >= dw.len() {
        terminate!();
    }
    let tap = at % taps;
    let channel = at / taps % channels;
    let output = at / taps / channels;
    let from = output * part_columns + tap * channels + channel;
    let mut sum = 0.0f32;
    for part in 0..part_count {
        sum += parts[(part * part_len + from) as usize];
    }
    dw[at as usize] = sum;
}
