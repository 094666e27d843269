//! Products whose left side is gathered from pictures: the forward pass, the gradient of the input, and linear layers.
//!
//! `out[m, n] = Σ_t Σ_c source[at(m, t), c] · weight[n, t, c]`: position `m` of the output sees, for tap `t` of the window, the source at
//! `at(m, t) = position · step + tap · turn + first` in rows and in columns, and 0 outside.

use cubecl::cmma;
use cubecl::prelude::*;

use super::sums::{
    add_by_matrix_units, add_by_registers, add_one_by_one, fragments, own, plane_origin, registers, swizzled,
};
use crate::tile::{Tile, Units};

/// Which positions of the source an output's position sees, and where the output is written.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Window {
    /// Rows and columns of the source.
    pub source_height: u32,
    pub source_width: u32,
    /// Rows and columns of positions that are computed, of each picture, and the number of all.
    pub height: u32,
    pub width: u32,
    pub positions: u32,
    /// Taps of a row of the window, and of all.
    pub taps_x: u32,
    pub taps: u32,
    /// `at = position · step + tap · turn + first`.
    pub step: u32,
    pub turn: i32,
    pub first_y: i32,
    pub first_x: i32,
    /// The tap of the weight that tap (y, x) of the window is: `(y · weight_step + weight_y) · weight_row + x · weight_step + weight_x`.
    pub weight_step: u32,
    pub weight_row: u32,
    pub weight_y: u32,
    pub weight_x: u32,
    /// Taps that the weight has.
    pub weight_taps: u32,
    /// Position (y, x) is written at `(y · out_step + out_y, x · out_step + out_x)` of `[out_height, out_width]`.
    pub out_step: u32,
    pub out_y: u32,
    pub out_x: u32,
    pub out_height: u32,
    pub out_width: u32,
}

/// What is done to a sum before it is written: `relu?(sum + bias + residual)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Finish {
    pub bias: bool,
    pub residual: bool,
    pub relu: bool,
    /// Sums of every column and of its squares, of what is written; with matrix units, and nothing else to do.
    pub statistics: bool,
}

/// One cube computes a tile of the output. `source [images, height, width, channels]`, `weight [outputs, taps, channels]`,
/// `out [images, height, width, outputs]`, `bias [outputs]`, `statistics [row tiles, 2, outputs]`; `V` divides the channels and `W` the
/// outputs. `few_taps` says that the window has at most 32: which of them a position sees is then known before the first.
#[cube(launch_unchecked)]
pub(super) fn gather<F: Float, O: Float, V: Size, W: Size>(
    source: &[Vector<F, V>],
    weight: &[Vector<F, V>],
    out: &mut [Vector<O, W>],
    bias: &[f32],
    residual: &[Vector<O, W>],
    statistics: &mut [f32],
    window: &Window,
    channels: u32,
    outputs: u32,
    cubes: u32,
    #[comptime] few_taps: bool,
    #[comptime] finish: Finish,
    #[comptime] tile: Tile,
    #[define(F)] _from: ElemType,
    #[define(O)] _to: ElemType,
) {
    let v = V::value();
    let cube = CUBE_POS as u32;
    if cube >= cubes {
        terminate!();
    }
    let column_tiles = outputs.div_ceil(comptime!(tile.columns as u32));
    let first_row = cube / column_tiles * comptime!(tile.rows as u32);
    let first_column = cube % column_tiles * comptime!(tile.columns as u32);

    // Two stages of both operands. Neighbouring rows must lie in different banks: a row is longer by 16 bytes, or its pieces of 16 bytes
    // change places.
    let row_vectors = comptime!(tile.depth / v);
    let stride = comptime!(if tile.swizzles() { row_vectors } else { row_vectors + 8usize.div_ceil(v) });
    let lhs_len = comptime!(tile.rows * stride);
    let rhs_len = comptime!(tile.columns * stride);
    let mut lhs = Shared::<[Vector<F, V>]>::new_aligned_slice(comptime!(2 * lhs_len), 16usize);
    let mut rhs = Shared::<[Vector<F, V>]>::new_aligned_slice(comptime!(2 * rhs_len), 16usize);

    // Every unit loads the same place of the depth, of several rows.
    let place = UNIT_POS % comptime!(row_vectors as u32);
    let row = UNIT_POS / comptime!(row_vectors as u32);
    let rows_at_once = comptime!(tile.units() / row_vectors);
    let lhs_loads = comptime!(tile.rows / rows_at_once);
    let rhs_loads = comptime!(tile.columns / rows_at_once);

    let store_to =
        row * comptime!(stride as u32) + if comptime!(tile.swizzles()) { swizzled::<V>(place, row) } else { place };

    let zero = Vector::<F, V>::new(F::from_int(0));
    let channel_vectors = channels / comptime!(v as u32);
    let weight_vectors = window.weight_taps * channel_vectors;
    let steps = (window.taps * channel_vectors).div_ceil(comptime!(row_vectors as u32));

    let mut base = Array::<u32>::new(lhs_loads);
    let mut from_y = Array::<i32>::new(lhs_loads);
    let mut from_x = Array::<i32>::new(lhs_loads);
    let mut seen = Array::<u32>::new(lhs_loads);
    let picture = window.height * window.width;
    #[unroll]
    for i in 0..lhs_loads {
        let position = first_row + row + comptime!((i * rows_at_once) as u32);
        let rest = position % picture;
        base[i] = position / picture * window.source_height * window.source_width;
        // A position behind the last one sees nothing.
        let outside = select(position < window.positions, 0i32, -1_000_000i32);
        from_y[i] = i32::cast_from(rest / window.width * window.step) + window.first_y + outside;
        from_x[i] = i32::cast_from(rest % window.width * window.step) + window.first_x;
        if comptime!(few_taps) {
            let mut taps = 0u32;
            let mut y = from_y[i];
            let mut x = from_x[i];
            let mut column = 0u32;
            for tap in 0..window.taps {
                if u32::cast_from(y) < window.source_height && u32::cast_from(x) < window.source_width {
                    taps |= 1u32 << tap;
                }
                x += window.turn;
                column += 1;
                if column == window.taps_x {
                    column -= window.taps_x;
                    x = from_x[i];
                    y += window.turn;
                }
            }
            seen[i] = taps;
            // Wraps where the first tap lies outside; no tap outside is loaded.
            let first = base[i] + u32::cast_from(from_y[i]) * window.source_width + u32::cast_from(from_x[i]);
            base[i] = first * channel_vectors;
        }
    }
    let mut weight_row = Array::<u32>::new(rhs_loads);
    let mut is_column = Array::<bool>::new(rhs_loads);
    #[unroll]
    for i in 0..rhs_loads {
        let column = first_column + row + comptime!((i * rows_at_once) as u32);
        weight_row[i] = column * weight_vectors;
        is_column[i] = column < outputs;
    }

    let mut lhs_next = Array::<Vector<F, V>>::new(lhs_loads);
    let mut rhs_next = Array::<Vector<F, V>>::new(rhs_loads);
    let fragments = fragments(tile);
    let mut registers = registers(tile);
    let mut sums = Array::<f32>::new(16usize);
    if comptime!(tile.units == Units::OneByOne) {
        #[unroll]
        for i in 0..16usize {
            sums[i] = 0.0f32;
        }
    }

    let mut tap = place / channel_vectors;
    let mut tap_y = tap / window.taps_x;
    let mut tap_x = tap % window.taps_x;
    let mut channel = place % channel_vectors;
    for step in 0..steps + 1 {
        // Loads of this step travel while the step before is computed.
        let is_tap = tap < window.taps;
        let dy = i32::cast_from(tap_y) * window.turn;
        let dx = i32::cast_from(tap_x) * window.turn;
        if comptime!(few_taps) {
            let offset = (u32::cast_from(dy) * window.source_width + u32::cast_from(dx)) * channel_vectors + channel;
            #[unroll]
            for i in 0..lhs_loads {
                let mut value = zero;
                if is_tap && (seen[i] >> tap) & 1 == 1 {
                    value = source[(base[i] + offset) as usize];
                }
                lhs_next[i] = value;
            }
        } else {
            #[unroll]
            for i in 0..lhs_loads {
                let y = u32::cast_from(from_y[i] + dy);
                let x = u32::cast_from(from_x[i] + dx);
                let mut value = zero;
                if is_tap && y < window.source_height && x < window.source_width {
                    value = source[((base[i] + y * window.source_width + x) * channel_vectors + channel) as usize];
                }
                lhs_next[i] = value;
            }
        }
        let weight_tap = (tap_y * window.weight_step + window.weight_y) * window.weight_row
            + tap_x * window.weight_step
            + window.weight_x;
        let of_tap = weight_tap * channel_vectors + channel;
        #[unroll]
        for i in 0..rhs_loads {
            let mut value = zero;
            if is_tap && is_column[i] {
                value = weight[(weight_row[i] + of_tap) as usize];
            }
            rhs_next[i] = value;
        }
        channel += comptime!(row_vectors as u32);
        while channel >= channel_vectors {
            channel -= channel_vectors;
            tap += 1;
            tap_x += 1;
            if tap_x == window.taps_x {
                tap_x -= window.taps_x;
                tap_y += 1;
            }
        }
        if step > 0 {
            let lhs_at = (step - 1) % 2 * comptime!(lhs_len as u32);
            let rhs_at = (step - 1) % 2 * comptime!(rhs_len as u32);
            if comptime!(tile.units == Units::Registers) {
                add_by_registers(&lhs, &rhs, lhs_at, rhs_at, &mut registers, stride, stride, true, tile);
            } else if comptime!(tile.units == Units::Fragments) {
                add_by_matrix_units(&lhs, &rhs, lhs_at, rhs_at, &fragments, stride, stride, true, tile);
            } else {
                add_one_by_one(&lhs, &rhs, lhs_at, rhs_at, &mut sums, stride, stride, true, tile);
            }
        }
        if step < steps {
            let lhs_to = step % 2 * comptime!(lhs_len as u32) + store_to;
            let rhs_to = step % 2 * comptime!(rhs_len as u32) + store_to;
            #[unroll]
            for i in 0..lhs_loads {
                lhs[(lhs_to + comptime!((i * rows_at_once * stride) as u32)) as usize] = lhs_next[i];
            }
            #[unroll]
            for i in 0..rhs_loads {
                rhs[(rhs_to + comptime!((i * rows_at_once * stride) as u32)) as usize] = rhs_next[i];
            }
        }
        sync_cube();
    }

    let w = W::value();
    if comptime!(tile.units != Units::OneByOne) {
        // Through a patch of shared memory for each plane: half a row of 16 for each unit.
        let mut patches = Shared::<[f32]>::new_aligned_slice(comptime!(tile.units() * 8), 32usize);
        let patch = (UNIT_POS_Y * 256) as usize;
        let (plane_row, plane_column) = plane_origin(tile);
        let unit_row = UNIT_POS_X / 2;
        let unit_column = UNIT_POS_X % 2 * 8;
        let mut sums_of = Array::<f32>::new(comptime!(tile.fragments(1) * 8));
        let mut squares_of = Array::<f32>::new(comptime!(tile.fragments(1) * 8));
        if comptime!(finish.statistics) {
            #[unroll]
            for e in 0..comptime!(tile.fragments(1) * 8) {
                sums_of[e] = 0.0f32;
                squares_of[e] = 0.0f32;
            }
        }
        #[unroll]
        for i in 0..comptime!(tile.fragments(0)) {
            let position = first_row + plane_row + comptime!((i * 16) as u32) + unit_row;
            let to = out_row(position, window) * (outputs / comptime!(w as u32));
            #[unroll]
            for j in 0..comptime!(tile.fragments(1)) {
                let piece = comptime!(i * tile.fragments(1) + j);
                if comptime!(tile.units == Units::Registers) {
                    #[unroll]
                    for half in 0..2usize {
                        let pairs = registers.index(comptime!(piece * 2 + half));
                        #[unroll]
                        for below in 0..2usize {
                            let row = UNIT_POS_X / 4 + comptime!(below as u32 * 8);
                            let to = row * 16 + UNIT_POS_X % 4 * 2 + comptime!(half as u32 * 8);
                            let pair = pairs[below];
                            patches[patch + to as usize] = pair.extract(0usize);
                            patches[patch + to as usize + 1] = pair.extract(1usize);
                        }
                    }
                } else {
                    let sum = fragments.index(piece);
                    cmma::store(&mut patches[patch..patch + 256], sum, 16u32, cmma::MatrixLayout::RowMajor);
                }
                sync_plane();
                let column = first_column + plane_column + comptime!((j * 16) as u32) + unit_column;
                #[unroll]
                for part in 0..comptime!(8 / w) {
                    let column = column + comptime!((part * w) as u32);
                    let place = patch + (unit_row * 16 + unit_column) as usize + comptime!(part * w);
                    let mut values = Vector::<f32, W>::empty();
                    #[unroll]
                    for e in 0..w {
                        values.insert(e, patches[place + e]);
                    }
                    if comptime!(finish.statistics) {
                        // Rows behind the last one are 0.
                        let written = Vector::<f32, W>::cast_from(Vector::<O, W>::cast_from(values));
                        #[unroll]
                        for e in 0..w {
                            let value = written.extract(e);
                            sums_of[comptime!(j * 8 + part * w + e)] += value;
                            squares_of[comptime!(j * 8 + part * w + e)] += value * value;
                        }
                    }
                    if position < window.positions && column < outputs {
                        let to = (to + column / comptime!(w as u32)) as usize;
                        out[to] = finished(values, column, to, bias, residual, finish);
                    }
                }
                sync_plane();
            }
        }
        if comptime!(finish.statistics) {
            // Units of a plane that have the same columns, then planes that have the same columns.
            let mut totals = Shared::<[f32]>::new_slice(comptime!(2 * tile.planes[0] * tile.columns));
            let row_of_planes = UNIT_POS_Y / comptime!(tile.planes[1] as u32);
            #[unroll]
            for j in 0..comptime!(tile.fragments(1)) {
                #[unroll]
                for e in 0..8usize {
                    let sum = over_units(sums_of[comptime!(j * 8 + e)]);
                    let squares = over_units(squares_of[comptime!(j * 8 + e)]);
                    if UNIT_POS_X < 2 {
                        let at = row_of_planes * comptime!(2 * tile.columns as u32)
                            + plane_column
                            + comptime!((j * 16 + e) as u32)
                            + unit_column;
                        totals[at as usize] = sum;
                        totals[(at + comptime!(tile.columns as u32)) as usize] = squares;
                    }
                }
            }
            sync_cube();
            let mut at = UNIT_POS;
            while at < comptime!(2 * tile.columns as u32) {
                let mut sum = 0.0f32;
                #[unroll]
                for plane in 0..comptime!(tile.planes[0] as u32) {
                    sum += totals[(plane * comptime!(2 * tile.columns as u32) + at) as usize];
                }
                let column = first_column + at % comptime!(tile.columns as u32);
                let which = at / comptime!(tile.columns as u32);
                if column < outputs {
                    let to = (cube / column_tiles * 2 + which) * outputs + column;
                    statistics[to as usize] = sum;
                }
                at += comptime!(tile.units() as u32);
            }
        }
    } else {
        #[unroll]
        for i in 0..4usize {
            let position = first_row + own(UNIT_POS / 16, i, v, true);
            let to = out_row(position, window) * outputs;
            #[unroll]
            for j in 0..4usize {
                let column = first_column + own(UNIT_POS % 16, j, v, true);
                if position < window.positions && column < outputs {
                    let values = Vector::<f32, W>::new(sums[comptime!(i * 4 + j)]);
                    let to = (to + column) as usize;
                    out[to] = finished(values, column, to, bias, residual, finish);
                }
            }
        }
    }
}

/// The sum over the 16 units of a plane that have the same columns.
#[cube]
fn over_units(value: f32) -> f32 {
    let mut sum = value;
    #[unroll]
    for i in 1..5u32 {
        sum += plane_shuffle_xor(sum, comptime!(1 << i));
    }
    sum
}

/// The row of the output that is written for a position.
#[cube]
fn out_row(position: u32, window: &Window) -> u32 {
    let picture = window.height * window.width;
    let rest = position % picture;
    let y = rest / window.width * window.out_step + window.out_y;
    let x = rest % window.width * window.out_step + window.out_x;
    (position / picture * window.out_height + y) * window.out_width + x
}

#[cube]
fn finished<O: Float, W: Size>(
    sums: Vector<f32, W>,
    column: u32,
    to: usize,
    bias: &[f32],
    residual: &[Vector<O, W>],
    #[comptime] finish: Finish,
) -> Vector<O, W> {
    let w = W::value();
    let mut values = sums;
    if comptime!(finish.bias) {
        let mut offsets = Vector::<f32, W>::empty();
        #[unroll]
        for e in 0..w {
            offsets.insert(e, bias[column as usize + e]);
        }
        values += offsets;
    }
    if comptime!(finish.residual) {
        values += Vector::<f32, W>::cast_from(residual[to]);
    }
    if comptime!(finish.relu) {
        values = values.max(Vector::<f32, W>::new(0.0f32));
    }
    Vector::<O, W>::cast_from(values)
}
