//! The weight gradient directly: a product along the positions.
#![expect(unsafe_code, reason = "calls the inner loops on packed buffers")]

use std::ops::Range;

use rayon::prelude::*;

use super::shape::ConvShape;
use super::splits::Splits;
use super::window::{RowLayout, RowTable, Window};
use crate::element::Element;
use crate::isa::{Isa, vectorized};
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
    let row_len = layout.row_units * E::PER_UNIT;
    let right = panels(E::kernels(isa).columns, |kernel| kernel.width, row_len);
    let last = right.last().expect("a convolution has inputs");
    let plan = Plan {
        isa,
        window: *window,
        outputs: shape.outputs,
        positions: dy.len() / shape.outputs,
        kernels: E::kernels(isa),
        layout,
        row_len,
        right_width: last.0 + last.1.width,
        right,
    };
    let splits = Splits::new(plan.chunk_count(), shape.outputs, LEFT_BLOCK * plan.output_stride());
    let sums = splits.run(|chunks, first_output, sums| {
        plan.sum_chunks(x, dy, plan.positions_of(chunks), first_output, sums);
    });
    plan.add_up(&sums, splits.buffer_len(), shape, dw);
}

struct Plan {
    isa: Isa,
    window: Window,
    outputs: usize,
    positions: usize,
    kernels: Kernels,
    layout: RowLayout,
    /// Values in a row of the layout.
    row_len: usize,
    right: Vec<(usize, ColumnsKernel)>,
    /// `row_len`, rounded up to whole panels.
    right_width: usize,
}

impl Plan {
    /// Values between the sums of neighbouring outputs: `[taps, right_width]`.
    fn output_stride(&self) -> usize {
        self.layout.taps * self.right_width
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
        let mut tables: Vec<RowTable> = (0..E::PER_UNIT).map(|_| RowTable::new(self.layout)).collect();
        let mut left = vec![0; blocks * CHUNK_UNITS * LEFT_BLOCK];
        let mut spare = vec![0; CHUNK_UNITS * LEFT_BLOCK];
        let mut right = vec![0; CHUNK_UNITS * self.right_width];
        for first in positions.clone().step_by(Self::chunk_positions::<E>()) {
            let chunk = first..(first + Self::chunk_positions::<E>()).min(positions.end);
            for (part, table) in tables.iter_mut().enumerate() {
                let start = (chunk.start + part * GROUP_ROWS).min(chunk.end);
                table.fill(&self.window, x, start..(start + GROUP_ROWS).min(chunk.end));
            }
            for (block, left) in left.chunks_exact_mut(CHUNK_UNITS * LEFT_BLOCK).enumerate() {
                self.pack_left(dy, &chunk, first_output + block * LEFT_BLOCK, left, &mut spare);
            }
            for tap in 0..self.layout.taps {
                self.pack_right::<E>(&tables, tap, &mut right);
                for (first_column, kernel) in &self.right {
                    for block in 0..blocks {
                        let sums =
                            &mut sums[block * LEFT_BLOCK * self.output_stride()..][..LEFT_BLOCK * self.output_stride()];
                        let columns = Columns {
                            sums: sums[tap * self.right_width + first_column..].as_mut_ptr(),
                            stride: self.output_stride(),
                            accumulate: first > positions.start,
                            left: left[block * CHUNK_UNITS * LEFT_BLOCK..].as_ptr(),
                            left_stride: LEFT_BLOCK,
                            right: right[CHUNK_UNITS * first_column..].as_ptr(),
                            right_stride: kernel.width,
                            units: CHUNK_UNITS,
                        };
                        // SAFETY: the block's last row starts `(LEFT_BLOCK − 1) · output_stride` after its first and has
                        // `right_width − first_column ≥ width` values from there on in this tap; both operands are packed
                        // for `CHUNK_UNITS` units. The public function saw that the machine has the instruction set.
                        unsafe { (kernel.run)(&columns) };
                    }
                }
            }
        }
    }

    /// One block of outputs of `dy` at the positions of `chunk`, with zeros beyond.
    fn pack_left<E: Element>(&self, dy: &[E], chunk: &Range<usize>, first: usize, left: &mut [u32], spare: &mut [u32]) {
        let columns = LEFT_BLOCK.min(self.outputs - first.min(self.outputs));
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
                    interleave(self.isa, row(position), row(position + E::PER_UNIT - 1), units);
                }
            },
        );
        #[cfg(target_arch = "x86_64")]
        if self.kernels.left == LeftLayout::Tiles {
            crate::amx::pack_left(spare, LEFT_BLOCK, 0, left);
        }
    }

    /// The rows that `tap` sees, as panels `[CHUNK_UNITS, width]` of units one after the other. Row by row, because rows come
    /// from far away.
    fn pack_right<E: Element>(&self, tables: &[RowTable], tap: usize, right: &mut [u32]) {
        let row = |position: usize| -> &[E] {
            let row = tables[position / GROUP_ROWS].rows(tap)[position % GROUP_ROWS];
            // SAFETY: rows of the table are valid for `row_units` units, that is `row_len` values.
            unsafe { std::slice::from_raw_parts(row.cast::<E>(), self.row_len) }
        };
        vectorized(
            self.isa,
            #[inline(always)]
            || {
                for unit in 0..CHUNK_UNITS {
                    let position = unit * E::PER_UNIT;
                    let (upper, lower) = (row(position), row(position + E::PER_UNIT - 1));
                    for (first, kernel) in &self.right {
                        let columns = *first..(first + kernel.width).min(self.row_len);
                        let units = &mut right[CHUNK_UNITS * first + unit * kernel.width..][..kernel.width];
                        interleave(self.isa, &upper[columns.clone()], &lower[columns], units);
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
                        *dw = match self.layout.in_place {
                            true => total[tap * self.right_width + input],
                            false => total[tap * shape.inputs + input],
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
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 && units.len().is_multiple_of(16) && first.len() == units.len() && second.len() == units.len()
    {
        // SAFETY: all three have the same length, a multiple of 16; the caller is compiled for AVX-512.
        return unsafe { E::interleave_avx512(first, second, units) };
    }
    let _ = isa;
    if first.len() == units.len() && second.len() == units.len() {
        for ((unit, first), second) in units.iter_mut().zip(first).zip(second) {
            *unit = E::unit(*first, *second);
        }
        return;
    }
    let value = |row: &[E], i: usize| row.get(i).copied().unwrap_or_default();
    for (i, unit) in units.iter_mut().enumerate() {
        *unit = E::unit(value(first, i), value(second, i));
    }
}
