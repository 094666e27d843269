//! The weight gradient directly: a product along the positions.
#![expect(unsafe_code, reason = "calls the inner loops on packed buffers")]

use std::ops::Range;

use rayon::prelude::*;

use super::shape::ConvShape;
use super::splits::Splits;
use super::window::{RowLayout, RowOf, RowTable, Window};
use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{CACHE_LINE_BYTES, prefetch};
use crate::vector::{Columns, ColumnsKernel, GROUP_ROWS, Kernels, LEFT_BLOCK, LeftLayout, panels};

/// Units of the reduction per chunk: one group of rows per value of a unit.
const CHUNK_UNITS: usize = GROUP_ROWS;

/// `dw[o, c, u, v] = Σ_{n, i, j} dy[n, i, j, o] · x[n, i·stride + u − top, j·stride + v − left, c]`.
///
/// Outputs are on the left of the products and input channels on the right. The positions are split between tasks, each
/// sums in its own buffer, and the buffers are added in order.
pub(super) fn weight_gradient<E: Element>(
    isa: Isa,
    shape: &ConvShape,
    window: &Window,
    x: &[E],
    dy: &[E],
    dw: &mut [f32],
) {
    let layout = RowLayout::new::<E>(window);
    // Of spans, all that a window sees is one row.
    let (taps, row_len) = match layout.row_of {
        RowOf::Pixel => (layout.taps, shape.inputs),
        RowOf::Span => (layout.taps.min(1), window.taps() * shape.inputs),
    };
    let right = panels(E::kernels(isa).columns, |kernel| kernel.width, row_len);
    let last = *right.last().expect("a convolution has inputs");
    let plan = Plan {
        isa,
        window: *window,
        outputs: shape.outputs,
        positions: dy.len() / shape.outputs,
        kernels: E::kernels(isa),
        layout,
        taps,
        row_len,
        right_width: last.0 + last.1.width,
        right: right.chunks((RIGHT_LEN / right[0].1.width).max(1)).map(<[_]>::to_vec).collect(),
    };
    let splits = Splits::new(plan.chunk_count(), shape.outputs, LEFT_BLOCK * plan.output_stride());
    let sum = |chunks, first_output, sums: &mut [f32]| {
        plan.sum_chunks(x, dy, plan.positions_of(chunks), first_output, sums);
    };
    // One buffer, and each output a row of inputs: that is the weight itself.
    if plan.taps == 1 && layout.row_of == RowOf::Pixel && plan.right_width == shape.inputs && splits.len() == dw.len() {
        return splits.run(dw, sum);
    }
    let mut sums = arbitrary(splits.len());
    splits.run(&mut sums, sum);
    plan.add_up(&sums, splits.buffer_len(), shape, dw);
}

/// Columns of the right operand that are packed at a time and then multiplied with all outputs of a task.
const RIGHT_LEN: usize = 256;

struct Plan {
    isa: Isa,
    window: Window,
    outputs: usize,
    positions: usize,
    kernels: Kernels,
    layout: RowLayout,
    /// Rows of the right operand for every position.
    taps: usize,
    /// Values in each of them.
    row_len: usize,
    /// Neighbouring panels that are packed together.
    right: Vec<Vec<(usize, ColumnsKernel)>>,
    /// `row_len`, rounded up to whole panels.
    right_width: usize,
}

impl Plan {
    /// Values between the sums of neighbouring outputs: `[taps, right_width]`.
    fn output_stride(&self) -> usize {
        self.taps * self.right_width
    }

    fn chunk_positions<E: Element>() -> usize {
        CHUNK_UNITS * E::PER_UNIT
    }

    fn chunk_count(&self) -> usize {
        self.positions.div_ceil(GROUP_ROWS * 2)
    }

    fn positions_of(&self, chunks: Range<usize>) -> Range<usize> {
        let bound = |chunk: usize| (chunk * GROUP_ROWS * 2).min(self.positions);
        bound(chunks.start)..bound(chunks.end)
    }

    /// Writes the products of `positions`, at least one, to `sums` `[outputs, taps, right_width]` of the outputs from
    /// `first_output` on.
    fn sum_chunks<E: Element>(
        &self,
        x: &[E],
        dy: &[E],
        positions: Range<usize>,
        first_output: usize,
        sums: &mut [f32],
    ) {
        let _registers = self.kernels.hold_registers();
        let blocks = sums.len() / (LEFT_BLOCK * self.output_stride());
        let mut table = RowTable::new(self.layout, CHUNK_UNITS * E::PER_UNIT);
        let mut left = arbitrary(blocks * CHUNK_UNITS * LEFT_BLOCK);
        let mut spare = arbitrary(CHUNK_UNITS * LEFT_BLOCK);
        let mut right = arbitrary(CHUNK_UNITS * self.right_width.min(RIGHT_LEN));
        for first in positions.clone().step_by(Self::chunk_positions::<E>()) {
            let chunk = first..(first + Self::chunk_positions::<E>()).min(positions.end);
            let units = chunk.len().div_ceil(E::PER_UNIT).next_multiple_of(self.kernels.left.units());
            table.fill(self.isa, &self.window, x, chunk.clone());
            let left_len = units * LEFT_BLOCK;
            for (block, left) in left[..blocks * left_len].chunks_exact_mut(left_len).enumerate() {
                self.pack_left(dy, &chunk, first_output + block * LEFT_BLOCK, left, &mut spare[..left_len]);
            }
            for tap in 0..self.taps {
                for panels in &self.right {
                    match self.layout.row_of {
                        RowOf::Pixel => self.pack_right::<E>(&table, tap, panels, units, &mut right),
                        RowOf::Span => self.pack_spans::<E>(&table, panels, units, &mut right),
                    }
                    let first_column = panels[0].0;
                    for (column, kernel) in panels {
                        for block in 0..blocks {
                            let sums = &mut sums[block * LEFT_BLOCK * self.output_stride()..]
                                [..LEFT_BLOCK * self.output_stride()];
                            let columns = Columns {
                                sums: sums[tap * self.right_width + column..].as_mut_ptr(),
                                stride: self.output_stride(),
                                accumulate: first > positions.start,
                                count: self.count_from(first_output + block * LEFT_BLOCK),
                                left: left[block * left_len..].as_ptr(),
                                left_stride: LEFT_BLOCK,
                                right: right[units * (column - first_column)..].as_ptr(),
                                right_stride: kernel.width,
                                units,
                            };
                            // SAFETY: the block's last row starts `(LEFT_BLOCK − 1) · output_stride` after its first and has
                            // `right_width − column ≥ width` values from there on in this tap; both operands are packed for
                            // `units` units. The public function saw that the machine has the instruction set.
                            unsafe { (kernel.run)(&columns) };
                        }
                    }
                }
            }
        }
    }

    /// Outputs of the block that begins with `first`; there are none where the last task has blocks to spare.
    fn count_from(&self, first: usize) -> usize {
        LEFT_BLOCK.min(self.outputs.saturating_sub(first))
    }

    /// One block of outputs of `dy` at the positions of `chunk`, with zeros beyond.
    fn pack_left<E: Element>(&self, dy: &[E], chunk: &Range<usize>, first: usize, left: &mut [u32], spare: &mut [u32]) {
        let columns = self.count_from(first);
        let row = |position: usize| match position < chunk.len() {
            true => &dy[(chunk.start + position) * self.outputs + first..][..columns],
            false => &[],
        };
        let plain: &mut [u32] = if self.kernels.left == LeftLayout::UnitsFirst { left } else { &mut *spare };
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                for (unit, units) in plain.chunks_exact_mut(LEFT_BLOCK).enumerate() {
                    let position = unit * E::PER_UNIT;
                    // Of the next chunk: pieces of far rows, which the hardware does not foresee.
                    for ahead in position..position + E::PER_UNIT {
                        let at = (chunk.start + Self::chunk_positions::<E>() + ahead) * self.outputs + first;
                        for c in (0..columns).step_by(CACHE_LINE_BYTES / E::BYTES) {
                            prefetch(dy.as_ptr().wrapping_add(at + c));
                        }
                    }
                    let (units, beyond) = units.split_at_mut(columns);
                    interleave(self.isa, row(position), row(position + E::PER_UNIT - 1), units);
                    beyond.fill(0);
                }
            },
        );
        #[cfg(target_arch = "x86_64")]
        if self.kernels.left == LeftLayout::Tiles {
            crate::amx::pack_left(spare, LEFT_BLOCK, 0, left);
        }
    }

    /// The columns of `panels` of the rows that `tap` sees, as panels `[units, width]` one after the other. Row by row, because
    /// rows come from far away.
    fn pack_right<E: Element>(
        &self,
        table: &RowTable,
        tap: usize,
        panels: &[(usize, ColumnsKernel)],
        units: usize,
        right: &mut [u32],
    ) {
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                let end = panels.last().map_or(0, |(first, kernel)| (first + kernel.width).min(self.row_len));
                let rows = table.rows(tap..tap + 1).chunks_exact(E::PER_UNIT).take(units);
                for (unit, rows) in rows.enumerate() {
                    // SAFETY: rows of the table are valid for `row_units` units, that is `row_len` values.
                    let row = |row: *const u32| unsafe { std::slice::from_raw_parts(row.cast::<E>(), self.row_len) };
                    let (upper, lower) = (row(rows[0]), row(rows[E::PER_UNIT - 1]));
                    if self.taps == 1 {
                        // The rows of the next chunk lie as far ahead, if windows do not overlap.
                        for row in rows {
                            let row = row.cast::<E>().wrapping_add(Self::chunk_positions::<E>() * self.row_len);
                            for c in (panels[0].0..end).step_by(CACHE_LINE_BYTES / E::BYTES) {
                                prefetch(row.wrapping_add(c));
                            }
                        }
                    }
                    for (first, kernel) in panels {
                        let columns = *first..(first + kernel.width).min(self.row_len);
                        let units = &mut right[units * (first - panels[0].0) + unit * kernel.width..][..kernel.width];
                        interleave(self.isa, &upper[columns.clone()], &lower[columns], units);
                    }
                }
            },
        );
    }

    /// [`Plan::pack_right`] of windows that are seen as spans: those of all rows of the window, one behind the other.
    fn pack_spans<E: Element>(
        &self,
        table: &RowTable,
        panels: &[(usize, ColumnsKernel)],
        units: usize,
        right: &mut [u32],
    ) {
        const STEP: usize = 16;
        let (taps, span_len) = (self.layout.taps, self.window.span_len());
        let table = table.rows(0..taps);
        let capacity = table.len() / taps;
        // Whole steps, of which the next span overwrites what is too much.
        let mut row = vec![0; self.right_width + STEP];
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                for unit in 0..units {
                    for tap in 0..taps {
                        let slots = &table[tap * capacity + unit * E::PER_UNIT..][..E::PER_UNIT];
                        for at in (0..span_len).step_by(STEP) {
                            // SAFETY: spans of the table are valid for whole tiles, which are whole steps.
                            let step = |slot: *const u32| unsafe {
                                slot.cast::<E>().add(at).cast::<[E; STEP]>().read_unaligned()
                            };
                            let (upper, lower) = (step(slots[0]), step(slots[E::PER_UNIT - 1]));
                            interleave(self.isa, &upper, &lower, &mut row[tap * span_len + at..][..STEP]);
                        }
                    }
                    for (first, kernel) in panels {
                        let right = &mut right[units * (first - panels[0].0) + unit * kernel.width..][..kernel.width];
                        right.copy_from_slice(&row[*first..][..kernel.width]);
                    }
                }
            },
        );
    }

    /// Adds the buffers of all splits, `buffer_len` values each, and writes the sum in the weight's layout.
    fn add_up(&self, sums: &[f32], buffer_len: usize, shape: &ConvShape, dw: &mut [f32]) {
        let filter_len = shape.inputs * shape.taps();
        dw.par_chunks_exact_mut(filter_len).enumerate().for_each_init(
            || vec![0.0; self.output_stride()],
            |total, (output, dw)| {
                let stride = self.output_stride();
                total.copy_from_slice(&sums[output * stride..][..stride]);
                for sums in sums.chunks_exact(buffer_len).skip(1) {
                    total.iter_mut().zip(&sums[output * stride..]).for_each(|(total, sum)| *total += sum);
                }
                for (input, dw) in dw.chunks_exact_mut(shape.taps()).enumerate() {
                    for (tap, dw) in dw.iter_mut().enumerate() {
                        *dw = match self.layout.row_of {
                            RowOf::Pixel => total[tap * self.right_width + input],
                            RowOf::Span => total[tap * shape.inputs + input],
                        };
                    }
                }
            },
        );
    }
}

/// Units of the values of two rows, which are `second` in each unit where that has two; zeros where a row has ended.
/// Called in code compiled for `isa`.
#[inline(always)]
fn interleave<E: Element>(isa: Isa, first: &[E], second: &[E], units: &mut [u32]) {
    const STEP: usize = 8;
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 && units.len().is_multiple_of(16) && first.len() == units.len() && second.len() == units.len()
    {
        // SAFETY: all three have the same length, a multiple of 16; the caller is compiled for AVX-512.
        return unsafe { E::interleave_avx512(first, second, units) };
    }
    let _ = isa;
    if first.len() == units.len() && second.len() == units.len() && units.len().is_multiple_of(STEP) {
        let rows = first.as_chunks::<STEP>().0.iter().zip(second.as_chunks::<STEP>().0);
        for (units, (first, second)) in units.as_chunks_mut::<STEP>().0.iter_mut().zip(rows) {
            for i in 0..STEP {
                units[i] = E::unit(first[i], second[i]);
            }
        }
        return;
    }
    let value = |row: &[E], i: usize| row.get(i).copied().unwrap_or_default();
    for (i, unit) in units.iter_mut().enumerate() {
        *unit = E::unit(value(first, i), value(second, i));
    }
}
