//! The forward pass of a linear layer, which has few rows and many weights: `yᵀ = weight · xᵀ`.
//!
//! The rows of the weight are read where they lie and the rows of `x` are packed: what is packed is a small part of what is
//! multiplied, where packing the weight would take as long as multiplying it.
#![expect(unsafe_code, reason = "calls the inner loops on rows where they lie")]

use rayon::prelude::*;

use super::destination::{Destinations, Shared};
use super::finish::Store;
use super::shape::ConvShape;
use super::weight::{PackedWeight, WeightView};
use super::window::{RowLayout, RowOf};
use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::transpose::{SIDE, transpose};
use crate::vector::{GROUP_ROWS, Rows};

/// Units of a row of the weight that all of `x` is multiplied with before the next: a group of rows stays in the second cache.
const PART_UNITS: usize = 256;

/// Positions up to which the rows of `x` count as few.
const MAX_ROWS: usize = 4 * GROUP_ROWS;

/// Whether `shape` is a layer with more weights than inputs, whose rows need no gathering.
pub(super) fn suits<E: Element>(shape: &ConvShape) -> bool {
    let rows = shape.batch * shape.height * shape.width;
    shape.is_pointwise()
        && rows <= MAX_ROWS
        && rows < shape.outputs
        && RowLayout::new::<E>(&shape.input_window()).row_of == RowOf::Pixel
}

/// [`conv2d`](super::conv2d) of a shape that [`suits`].
pub(super) fn forward<E: Element, D: Element>(isa: Isa, shape: &ConvShape, x: &[E], weight: &[f32], y: &mut [D]) {
    shape.check(x.len(), weight.len(), y.len());
    assert!(isa.is_available(), "this machine has no {isa}");
    let rows = shape.batch * shape.height * shape.width;
    let layout = RowLayout::new::<E>(&shape.input_window());
    let view = WeightView {
        values: x,
        outputs: rows,
        output_stride: shape.inputs,
        channels: shape.inputs,
        channel_stride: 1,
        taps: vec![0],
    };
    let x = PackedWeight::new::<E>(isa, &view, layout);
    let widest = x.panels()[0].kernel.width;
    let group_len = GROUP_ROWS * widest.max(SIDE);
    let part_len = PART_UNITS.min(E::kernels(isa).chunk_len / widest);
    // As many tasks for every thread, of whole blocks to turn.
    let tasks = shape.outputs.div_ceil(GROUP_ROWS).next_multiple_of(2 * rayon::current_num_threads());
    let task_rows = shape.outputs.div_ceil(tasks).next_multiple_of(SIDE).min(GROUP_ROWS);
    let destination = Shared::new(isa, shape.outputs, y);
    weight.par_chunks(task_rows * shape.inputs).enumerate().for_each_init(
        || (arbitrary::<f32>(x.panels().len() * group_len), arbitrary::<f32>(group_len), Vec::new()),
        |(sums, transposed, rounded), (task, weight)| {
            let _registers = E::kernels(isa).hold_registers();
            let count = weight.len() / shape.inputs;
            let outputs = task * task_rows..task * task_rows + count;
            let weight = rows_of::<E>(isa, weight, shape.inputs, rounded);
            for (part, (taps, units)) in layout.parts(part_len).enumerate() {
                for (panel, sums) in x.panels().iter().zip(sums.chunks_exact_mut(group_len)) {
                    let rows = Rows {
                        sums: sums.as_mut_ptr(),
                        accumulate: part > 0,
                        count,
                        rows: weight.as_ptr(),
                        taps: taps.len(),
                        first_unit: units.start,
                        units: units.len(),
                        panel: x.units_from(panel, units.start).as_ptr(),
                        ahead: std::ptr::null(),
                        places: None,
                    };
                    // SAFETY: `sums` has `GROUP_ROWS` rows of the widest panel; every pointer of the table is valid for the
                    // units of a row of the weight, and so is the panel from `units.start` on. The machine has the
                    // instruction set, as asserted above.
                    unsafe { (panel.kernel.run)(&rows) };
                }
            }
            for (panel, sums) in x.panels().iter().zip(sums.chunks_exact(group_len)) {
                let (first, width) = (panel.first_output, panel.kernel.width);
                turn(isa, sums, width, count, transposed);
                let offsets: Vec<usize> = (first..(first + width).min(rows)).map(|row| row * shape.outputs).collect();
                let rows = Destinations { destination: &destination, offsets: &offsets, columns: outputs.clone() };
                vectorized(
                    isa,
                    #[inline(always)]
                    || rows.write(&Store, 0, GROUP_ROWS, transposed),
                );
            }
            destination.streams.finish();
        },
    );
}

/// Where the rows of `weight`, of `len` values each, lie as units of `E`: in `rounded` where they have to be rounded.
fn rows_of<E: Element>(isa: Isa, weight: &[f32], len: usize, rounded: &mut Vec<E>) -> [*const u32; GROUP_ROWS] {
    let start: *const u32 = match E::PER_UNIT {
        // That is `f32`: nothing is rounded.
        1 => weight.as_ptr().cast(),
        _ => {
            rounded.resize(weight.len(), E::default());
            vectorized(
                isa,
                #[inline(always)]
                || rounded.iter_mut().zip(weight).for_each(|(rounded, weight)| *rounded = E::from_f32(*weight)),
            );
            rounded.as_ptr().cast()
        }
    };
    let count = weight.len() / len;
    // What lies beyond the last row is computed with it and not used.
    std::array::from_fn(|row| start.wrapping_add(row.min(count - 1) * (len / E::PER_UNIT)))
}

/// `turned[c, r] = sums[r, c]` of `[rows, width]` sums; rows of `turned` are [`GROUP_ROWS`] long.
fn turn(isa: Isa, sums: &[f32], width: usize, rows: usize, turned: &mut [f32]) {
    // SAFETY: the same memory; any bits are a number of either type.
    let (sums, turned) = unsafe {
        let sums = std::slice::from_raw_parts(sums.as_ptr().cast::<u32>(), sums.len());
        (sums, std::slice::from_raw_parts_mut(turned.as_mut_ptr().cast::<u32>(), turned.len()))
    };
    for row in (0..rows).step_by(SIDE) {
        for column in (0..width).step_by(SIDE) {
            transpose(isa, &sums[row * width + column..], width, &mut turned[column * GROUP_ROWS + row..], GROUP_ROWS);
        }
    }
}
