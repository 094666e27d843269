//! The products as operations on arrays.

use std::fmt;

use byol_kernels::ConvShape;
use cubecl::client::Client;
use cubecl::prelude::*;

use super::gather::{Finish, WindowLaunch, gather};
use super::weight_gradient::{add_parts, weight_gradient_parts};
use crate::array::{Array, Kind};
use crate::norm::{Folded, Statistics, statistics, statistics_of_parts};
use crate::pack::{Order, pack_weight};
use crate::tile::{Tile, UNITS, Units, grid, units};

/// What is done after a convolution for inference: `relu?(z + bias + residual)`.
#[derive(Clone)]
pub struct Affine {
    /// One value for each output channel.
    pub bias: Option<Array>,
    /// Of the output's shape and type.
    pub residual: Option<Array>,
    /// Whether a ReLU ends it.
    pub relu: bool,
}

/// `conv(x, weight)`: `x [images, height, width, inputs]`, `weight f32 [outputs, inputs, kernel, kernel]`, of which the products take
/// values rounded to the type of `x` → `[images, height′, width′, outputs]` of type `to`.
pub fn forward(x: &Array, weight: &Array, shape: &ConvShape, to: Kind, affine: &Affine) -> Array {
    forward_packed(x, &PackedWeight::of(weight, shape, x.kind), shape, to, affine)
}

/// A weight as [`forward`] reads it: for inference, where it stays as it is.
#[derive(Clone)]
pub struct PackedWeight(Array);

impl fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedWeight").field("len", &self.0.len).field("kind", &self.0.kind).finish()
    }
}

impl PackedWeight {
    /// Of `weight` for inputs of type `kind`; the same for pictures of any size and number.
    pub fn of(weight: &Array, shape: &ConvShape, kind: Kind) -> Self {
        Self(pack_weight(weight, shape, Order::OutputTapInput, kind))
    }
}

/// [`forward`] with a weight that was packed for the type of `x`.
pub fn forward_packed(x: &Array, weight: &PackedWeight, shape: &ConvShape, to: Kind, affine: &Affine) -> Array {
    forward_with(x, weight, shape, to, affine, None)
}

/// [`forward`] in the type of `x`, and the statistics of what it gives, gathered while it is written.
pub fn forward_with_statistics(x: &Array, weight: &Array, shape: &ConvShape) -> (Array, Statistics) {
    let affine = Affine { bias: None, residual: None, relu: false };
    let rows = shape.output_len() / shape.outputs;
    let tile = Tile::choose(&x.client, x.kind, shape.outputs);
    if tile.units == Units::OneByOne {
        let z = forward(x, weight, shape, x.kind, &affine);
        let statistics = statistics(&z, shape.outputs);
        return (z, statistics);
    }
    let parts = Array::empty(&x.client, rows.div_ceil(tile.rows) * 2 * shape.outputs, Kind::F32);
    let z = forward_with(x, &PackedWeight::of(weight, shape, x.kind), shape, x.kind, &affine, Some(&parts));
    (z, statistics_of_parts(&parts, shape.outputs, rows))
}

fn forward_with(
    x: &Array,
    PackedWeight(packed): &PackedWeight,
    shape: &ConvShape,
    to: Kind,
    affine: &Affine,
    statistics: Option<&Array>,
) -> Array {
    assert_eq!(x.len, shape.input_len(), "the input of {shape:?}");
    assert_eq!((packed.len, packed.kind), (shape.weight_len(), x.kind), "the weight of {shape:?}");
    let out = Array::empty(&x.client, shape.output_len(), to);
    launch_gather(x, packed, &out, forward_window(shape), [shape.inputs, shape.outputs], affine, statistics);
    out
}

/// The gradient of [`forward`] with respect to `x`: `dy [images, height′, width′, outputs]` → `[images, height, width, inputs]`, of the
/// type of `dy`, or of type `to`.
///
/// With stride s an input's position is reached by every s-th tap only: positions of equal remainder are computed together, with
/// the taps that reach them.
pub fn input_gradient(dy: &Array, weight: &Array, shape: &ConvShape, to: Kind) -> Array {
    let &ConvShape { batch, height, width, inputs, outputs, kernel, stride, .. } = shape;
    let ([before_y, before_x], output) = (before(shape), output(shape));
    assert_eq!(dy.len, shape.output_len(), "the gradient of the output of {shape:?}");
    let packed = pack_weight(weight, shape, Order::InputTapOutput, dy.kind);
    let out = Array::empty(&dy.client, shape.input_len(), to);
    let none = Affine { bias: None, residual: None, relu: false };
    // Along one axis, for positions `start + stride · i`: the first tap that reaches them, how many do, and the output it comes from.
    let phase = |start: usize, before: usize| {
        let first_tap = (start + before) % stride;
        let taps = kernel.saturating_sub(first_tap).div_ceil(stride);
        (first_tap, taps, ((start + before - first_tap) / stride) as i32)
    };
    for y in 0..stride.min(height) {
        for x in 0..stride.min(width) {
            let positions = [(height - y).div_ceil(stride), (width - x).div_ceil(stride)];
            let ((tap_y, taps_y, first_y), (tap_x, taps_x, first_x)) = (phase(y, before_y), phase(x, before_x));
            let window = Numbers {
                source: output,
                positions,
                count: batch * positions[0] * positions[1],
                taps: [taps_y, taps_x],
                step: 1,
                turn: -1,
                first: [first_y, first_x],
                weight: Weight { step: stride, first: [tap_y, tap_x], row: kernel, taps: kernel * kernel },
                out: Out { step: stride, first: [y, x], size: [height, width] },
            };
            launch_gather(dy, &packed, &out, window, [outputs, inputs], &none, None);
        }
    }
    out
}

/// The gradient of [`forward`] with respect to the weight, `f32 [outputs, inputs, kernel, kernel]`. The input is `x`, or with `normalised`
/// `relu(x · scale + shift)`, which is computed while it is loaded.
pub fn weight_gradient(x: &Array, normalised: Option<&Folded>, dy: &Array, shape: &ConvShape) -> Array {
    let &ConvShape { inputs, outputs, kernel, .. } = shape;
    assert_eq!((x.len, dy.len), (shape.input_len(), shape.output_len()), "input and gradient of {shape:?}");
    let client = &x.client;
    let columns = kernel * kernel * inputs;
    let positions = shape.output_len() / outputs;
    let tile = weight_gradient_tile(client, x.kind, outputs, columns);
    let widest = if tile.units == Units::OneByOne { 4 } else { 8 };
    let [v, u] = [inputs, outputs].map(|channels| x.kind.vector(channels).min(widest));
    let tiles = [outputs.div_ceil(tile.rows), columns.div_ceil(tile.columns)];
    let cubes = tiles[0] * tiles[1];
    let part_len = cubes * tile.rows * tile.columns;
    // Enough cubes for the largest devices, parts that are worth their sum, and no more memory than a small activation.
    let wanted = 1024usize.div_ceil(cubes);
    let part_count = wanted.min(positions.div_ceil(tile.depth * 8)).min((1 << 26) / part_len).clamp(1, 4096);
    let per_part = positions.div_ceil(part_count).next_multiple_of(tile.depth);
    let part_count = positions.div_ceil(per_part);
    let parts = Array::empty(client, part_count * part_len, Kind::F32);
    let window = forward_window(shape);
    let nothing = Array::empty(client, 4, Kind::F32);
    let (scale, shift) = normalised.map_or((&nothing, &nothing), |input| (&input.scale, &input.shift));
    // SAFETY: every index is checked against the shapes, which the callers' arrays have.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        weight_gradient_parts::launch_unchecked(
            client,
            grid(cubes, part_count),
            tile.dim(),
            v,
            u,
            x.arg(),
            dy.arg(),
            scale.arg(),
            shift.arg(),
            parts.arg(),
            window.launch(),
            (window.positions[0] * window.positions[1]) as u32,
            window.positions[1] as u32,
            inputs as u32,
            outputs as u32,
            per_part as u32,
            cubes as u32,
            normalised.is_some(),
            kernel == 1 && shape.stride == 1 && before(shape) == [0; 2],
            tile,
            x.kind.elem(),
        );
    }
    let dw = Array::empty(client, outputs * columns, Kind::F32);
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        add_parts::launch_unchecked(
            client,
            grid(dw.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            parts.arg(),
            dw.arg(),
            (kernel * kernel) as u32,
            inputs as u32,
            (tiles[1] * tile.columns) as u32,
            part_len as u32,
            part_count as u32,
        );
    }
    dw
}

fn weight_gradient_tile(client: &Client, kind: Kind, rows: usize, columns: usize) -> Tile {
    let units = units(client, kind);
    if units == Units::OneByOne {
        return Tile { rows: 64, columns: 64, depth: 16, planes: [1, 8], units };
    }
    let [rows, columns] = [rows, columns].map(|len| if len <= 64 { 64 } else { 128 });
    let planes = if rows < columns { [2, 4] } else { [4, 2] };
    Tile { rows, columns, depth: 32, planes, units }
}

/// Zeros above and left of the input.
fn before(shape: &ConvShape) -> [usize; 2] {
    [shape.height, shape.width].map(|size| shape.padding.around(size, shape.kernel, shape.stride).0)
}

/// Rows and columns of the output.
fn output(shape: &ConvShape) -> [usize; 2] {
    [shape.output_height(), shape.output_width()]
}

/// What every output position sees of the input.
fn forward_window(shape: &ConvShape) -> Numbers {
    Numbers {
        source: [shape.height, shape.width],
        positions: output(shape),
        count: shape.output_len() / shape.outputs,
        taps: [shape.kernel; 2],
        step: shape.stride,
        turn: 1,
        first: before(shape).map(|before| -(before as i32)),
        weight: Weight { step: 1, first: [0; 2], row: shape.kernel, taps: shape.kernel * shape.kernel },
        out: Out { step: 1, first: [0; 2], size: output(shape) },
    }
}

/// The numbers of a `Window`, axes as `[y, x]`.
struct Numbers {
    source: [usize; 2],
    positions: [usize; 2],
    count: usize,
    taps: [usize; 2],
    step: usize,
    turn: i32,
    first: [i32; 2],
    weight: Weight,
    out: Out,
}

struct Weight {
    step: usize,
    first: [usize; 2],
    row: usize,
    taps: usize,
}

struct Out {
    step: usize,
    first: [usize; 2],
    size: [usize; 2],
}

impl Numbers {
    fn launch(&self) -> WindowLaunch {
        let Self { source, positions, count, taps, step, turn, first, weight, out } = self;
        let n = |number: usize| u32::try_from(number).expect("fewer than 2³² positions");
        WindowLaunch::new(
            n(source[0]),
            n(source[1]),
            n(positions[0]),
            n(positions[1]),
            n(*count),
            n(taps[1].max(1)),
            n(taps[0] * taps[1]),
            n(*step),
            *turn,
            first[0],
            first[1],
            n(weight.step),
            n(weight.row),
            n(weight.first[0]),
            n(weight.first[1]),
            n(weight.taps),
            n(out.step),
            n(out.first[0]),
            n(out.first[1]),
            n(out.size[0]),
            n(out.size[1]),
        )
    }
}

fn launch_gather(
    source: &Array,
    packed: &Array,
    out: &Array,
    window: Numbers,
    [channels, outputs]: [usize; 2],
    affine: &Affine,
    statistics: Option<&Array>,
) {
    let client = &source.client;
    let tile = Tile::choose(client, source.kind, outputs);
    let (v, w) = match tile.units {
        Units::OneByOne => (source.kind.vector(channels).min(4), 1),
        Units::Fragments | Units::Registers => (source.kind.vector(channels), out.kind.vector(outputs)),
    };
    let cubes = window.count.div_ceil(tile.rows) * outputs.div_ceil(tile.columns);
    let finish = Finish {
        bias: affine.bias.is_some(),
        residual: affine.residual.is_some(),
        relu: affine.relu,
        statistics: statistics.is_some(),
    };
    let nothing = Array::empty(client, 8, Kind::F32);
    let bias = affine.bias.as_ref().unwrap_or(&nothing);
    let residual = affine.residual.as_ref().unwrap_or(&nothing);
    // SAFETY: every index is checked against the shapes, which the callers' arrays have.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        gather::launch_unchecked(
            client,
            grid(cubes, 1),
            tile.dim(),
            v,
            w,
            source.arg(),
            packed.arg(),
            out.arg(),
            bias.arg(),
            residual.arg(),
            statistics.unwrap_or(&nothing).arg(),
            window.launch(),
            channels as u32,
            outputs as u32,
            cubes as u32,
            window.taps[0] * window.taps[1] <= 32,
            finish,
            tile,
            source.kind.elem(),
            out.kind.elem(),
        );
    }
}
