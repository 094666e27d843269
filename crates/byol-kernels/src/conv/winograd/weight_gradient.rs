//! The weight gradient: with `V = Bᵀ d B` and `M = A dY Aᵀ` of every tile, `dg = Gᵀ (Σ_tiles M ⊙ V) G`.
#![expect(unsafe_code, reason = "calls the inner loops on mapped operands, and maps without a check at every point")]

use std::ops::Range;

use rayon::prelude::*;

use super::super::shape::ConvShape;
use super::super::splits::Splits;
use super::super::window::Window;
use super::multiply::{map_inputs, point_stride};
use super::tiling::Tiling;
use super::transform::{self, EMPTY, KERNEL, OUT, POINTS, PRODUCTS, both_axes};
use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, Lanes, load_unchecked, prefetch, store_unchecked};
use crate::transpose::transpose;
use crate::vector::{Columns, ColumnsKernel, LEFT_BLOCK, Operand, panels};

/// Values of a kernel.
const TAPS: usize = KERNEL * KERNEL;

/// Tiles per chunk of the sum.
const CHUNK_TILES: usize = 128;

/// `dw` of a 3×3 convolution of stride 1. Tiles are split between tasks as positions are in the direct sum.
pub(in super::super) fn weight_gradient<E: Element>(
    isa: Isa,
    shape: &ConvShape,
    window: &Window,
    x: &[E],
    dy: &[E],
    dw: &mut [f32],
) {
    let right = panels(f32::kernels(isa).columns, |kernel| kernel.width, shape.inputs);
    let right_width = right.last().map_or(0, |(first, kernel)| first + kernel.width);
    let tiling = Tiling::new(window);
    let plan = Plan { isa, tiling, shape: *shape, tiles: shape.batch * tiling.tiles(), right, right_width };
    let splits = Splits::new(plan.tiles.div_ceil(CHUNK_TILES), shape.outputs, plan.block_len());
    let mut sums = arbitrary(splits.len());
    splits.run(&mut sums, |chunks, first_output, sums| {
        let bound = |chunk: usize| (chunk * CHUNK_TILES).min(plan.tiles);
        plan.sum_chunks(x, dy, bound(chunks.start)..bound(chunks.end), first_output, sums);
    });
    plan.add_up(&sums, splits.buffer_len(), dw);
}

struct Plan {
    isa: Isa,
    tiling: Tiling,
    shape: ConvShape,
    /// Of the whole batch.
    tiles: usize,
    right: Vec<(usize, ColumnsKernel)>,
    /// Inputs, rounded up to whole panels.
    right_width: usize,
}

impl Plan {
    /// Values between the sums of neighbouring points.
    fn sum_stride(&self) -> usize {
        point_stride(LEFT_BLOCK * self.right_width)
    }

    /// Values in the sums of a block of outputs.
    fn block_len(&self) -> usize {
        PRODUCTS * self.sum_stride()
    }

    /// Writes the products of `tiles`, at least one, to `sums`, `[blocks, points, LEFT_BLOCK, right_width]` with points
    /// [`Plan::sum_stride`] apart, of the outputs from `first_output` on.
    fn sum_chunks<E: Element>(&self, x: &[E], dy: &[E], tiles: Range<usize>, first_output: usize, sums: &mut [f32]) {
        let block_len = self.block_len();
        let blocks = sums.len() / block_len;
        let left_width = blocks * LEFT_BLOCK;
        let left_stride = point_stride(CHUNK_TILES * left_width);
        let right_stride = point_stride(CHUNK_TILES * self.right_width);
        let mut left = arbitrary::<f32>(PRODUCTS * left_stride);
        let mut right = arbitrary::<f32>(PRODUCTS * right_stride);
        for first in tiles.clone().step_by(CHUNK_TILES) {
            let chunk = first..(first + CHUNK_TILES).min(tiles.end);
            vectorized(
                self.isa,
                #[inline(always)]
                || {
                    map_inputs(&self.tiling, x, chunk.clone(), self.shape.inputs, self.right_width, &mut right);
                    self.map_gradients(dy, chunk.clone(), first_output, left_width, &mut left);
                },
            );
            for point in 0..PRODUCTS {
                for block in 0..blocks {
                    for (first_column, kernel) in &self.right {
                        let sums =
                            &mut sums[block * block_len + point * self.sum_stride()..][..LEFT_BLOCK * self.right_width];
                        let columns = Columns {
                            sums: sums[*first_column..].as_mut_ptr(),
                            stride: self.right_width,
                            accumulate: first > tiles.start,
                            count: LEFT_BLOCK.min(self.shape.outputs.saturating_sub(first_output + block * LEFT_BLOCK)),
                            left: left[point * left_stride + block * LEFT_BLOCK..].as_ptr().cast(),
                            left_stride: left_width,
                            right: right[point * right_stride + first_column..].as_ptr().cast(),
                            right_stride: self.right_width,
                            units: chunk.len(),
                        };
                        // SAFETY: `sums` has `LEFT_BLOCK` rows of `right_width` values, and the panel from `first_column` on
                        // ends within them; both operands have `CHUNK_TILES` rows of whole blocks and panels. The public
                        // function saw that the machine has the instruction set.
                        unsafe { (kernel.run)(&columns) };
                    }
                }
            }
        }
    }

    /// Maps `dy` of `tiles`, `[points, tiles, left_width]` of the outputs from `first_output` on. What lies outside of the
    /// image counts as zero; what lies beyond the last output is not written, and its sums are not read.
    #[inline(always)]
    fn map_gradients<E: Element>(
        &self,
        dy: &[E],
        tiles: Range<usize>,
        first_output: usize,
        left_width: usize,
        mapped: &mut [f32],
    ) {
        let stride = mapped.len() / PRODUCTS;
        let (height, width) = (self.shape.output_height(), self.shape.output_width());
        let outputs = self.shape.outputs;
        let mut half = EMPTY;
        assert!(
            tiles.len() * left_width <= stride && outputs.is_multiple_of(LANES) && left_width.is_multiple_of(LANES)
        );
        for (row, tile) in self.tiling.walk(tiles).enumerate() {
            let (rows, columns) = self.tiling.destinations(tile);
            let first = ((tile.image * height + rows.start) * width + columns.start) * outputs + first_output;
            let ahead = self.tiling.pixels_ahead(tile, width, outputs) * outputs;
            let last = first + ((rows.len() - 1) * width + columns.len() - 1) * outputs;
            assert!(last + outputs - first_output <= dy.len());
            for c in (0..left_width.min(outputs - first_output)).step_by(LANES) {
                both_axes::<OUT, POINTS>(
                    &mut half,
                    #[inline(always)]
                    |i, j| match i < rows.len() && j < columns.len() {
                        true => {
                            let at = first + (i * width + j) * outputs + c;
                            prefetch(dy.as_ptr().wrapping_add(at + ahead));
                            // SAFETY: the last position of the tile has all outputs.
                            unsafe { load_unchecked(dy, at) }
                        }
                        false => [0.0; LANES],
                    },
                    transform::output_gradient,
                    #[inline(always)]
                    |i, j, values| {
                        // SAFETY: each of the points has room for the rows of all tiles.
                        unsafe { store_unchecked(values, mapped, (i * POINTS + j) * stride + row * left_width + c) }
                    },
                );
            }
        }
    }

    /// Adds the buffers of all splits, `buffer_len` values each, and maps the sums back to kernels.
    fn add_up(&self, sums: &[f32], buffer_len: usize, dw: &mut [f32]) {
        let inputs = self.shape.inputs;
        let parts = sums.len() / buffer_len;
        dw.par_chunks_exact_mut(inputs * TAPS).enumerate().for_each(|(output, dw)| {
            let first = output / LEFT_BLOCK * self.block_len() + output % LEFT_BLOCK * self.right_width;
            vectorized(
                self.isa,
                #[inline(always)]
                || {
                    let mut half = EMPTY;
                    let mut g = [0; LANES * LANES];
                    assert!(first + (PRODUCTS - 1) * self.sum_stride() + self.right_width <= buffer_len);
                    for c in (0..inputs).step_by(LANES) {
                        both_axes::<POINTS, KERNEL>(
                            &mut half,
                            #[inline(always)]
                            |i, j| {
                                let at = first + (i * POINTS + j) * self.sum_stride() + c;
                                let mut total = [0.0; LANES];
                                for part in 0..parts {
                                    let at = part * buffer_len + at;
                                    // Of the next channels: 36 streams are more than the hardware follows.
                                    prefetch(sums.as_ptr().wrapping_add(at + LANES));
                                    // SAFETY: each point of every buffer has the row of this output, of whole vectors.
                                    let part: Lanes = unsafe { load_unchecked(sums, at) };
                                    for lane in 0..LANES {
                                        total[lane] += part[lane];
                                    }
                                }
                                total
                            },
                            transform::kernel_gradient,
                            #[inline(always)]
                            |i, j, values| {
                                for lane in 0..LANES {
                                    g[(i * KERNEL + j) * LANES + lane] = values[lane].to_bits();
                                }
                            },
                        );
                        self.write_kernels(&g, &mut dw[c * TAPS..]);
                    }
                },
            );
        });
    }

    /// Writes the kernels of sixteen channels, `[TAPS, LANES]` bits in the first rows of `g`, as `[LANES, TAPS]` values.
    #[inline(always)]
    fn write_kernels(&self, g: &[u32; LANES * LANES], dw: &mut [f32]) {
        let mut kernels = [0; LANES * LANES];
        transpose(self.isa, g, LANES, &mut kernels, LANES);
        for (channel, kernel) in kernels.as_chunks::<LANES>().0.iter().enumerate() {
            let dw = &mut dw[channel * TAPS..];
            // A whole vector in one go, where what it writes beyond the kernel is overwritten by the next.
            match dw.first_chunk_mut::<LANES>() {
                Some(dw) if channel + 1 < LANES => {
                    for i in 0..LANES {
                        dw[i] = f32::from_bits(kernel[i]);
                    }
                }
                _ => dw[..TAPS].iter_mut().zip(kernel).for_each(|(dw, bits)| *dw = f32::from_bits(*bits)),
            }
        }
    }
}
