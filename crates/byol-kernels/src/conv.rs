//! Two-dimensional convolution (cross-correlation, as in every deep-learning library) and its gradients.
//!
//! Each is an implicit-im2col matrix product: tiles of a few image rows gather their patches into a buffer that stays in
//! cache and multiply it with the packed weight.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::matrix::{Matrix, Write, multiply};
use crate::patches::{Axis, Patches, rows_per_tile, with_scratch};

/// Sizes of a convolution with a square kernel, zero padding and no bias, groups or dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel in pixels.
    pub kernel: usize,
    /// Step between neighbouring windows in input pixels, along both axes.
    pub stride: usize,
    /// Zeros added on each of the four sides in pixels.
    pub padding: usize,
}

impl ConvShape {
    /// `⌊(height + 2·padding − kernel) / stride⌋ + 1`. Panics when the kernel exceeds the padded input.
    pub fn output_height(&self) -> usize {
        self.output_size(self.height)
    }

    /// `⌊(width + 2·padding − kernel) / stride⌋ + 1`. Panics when the kernel exceeds the padded input.
    pub fn output_width(&self) -> usize {
        self.output_size(self.width)
    }

    /// Values in the input `[batch, height, width, inputs]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.inputs
    }

    /// Values in the weight `[outputs, inputs, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Values in the output `[batch, output height, output width, outputs]`.
    pub fn output_len(&self) -> usize {
        self.batch * self.output_height() * self.output_width() * self.outputs
    }

    fn output_size(&self, size: usize) -> usize {
        let padded = size + 2 * self.padding;
        assert!(padded >= self.kernel, "the kernel must fit in the padded input: {self:?}");
        (padded - self.kernel) / self.stride + 1
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn check(&self, x: usize, weight: usize, y: usize) {
        let sizes = [self.batch, self.height, self.width, self.inputs, self.outputs, self.kernel, self.stride];
        assert!(sizes.iter().all(|&size| size > 0), "all sizes of a convolution must be positive: {self:?}");
        assert_eq!(x, self.input_len(), "length of the input of {self:?}");
        assert_eq!(weight, self.weight_len(), "length of the weight of {self:?}");
        assert_eq!(y, self.output_len(), "length of the output of {self:?}");
    }

    /// Input patches under each output position.
    fn input_patches(&self) -> Patches {
        let axis = |source_len| Axis {
            first: 0,
            stride: 1,
            count: self.output_size(source_len),
            source_first: -(self.padding as isize),
            source_step: self.stride,
            source_len,
            taps: self.kernel,
        };
        Patches { y: axis(self.height), x: axis(self.width), channels: self.inputs }
    }

    /// The output positions that see the input positions of one phase along one axis: those `i` with
    /// `i + padding ≡ phase (mod stride)`, which meet the kernel taps `phase, phase + stride, …` only.
    fn output_axis(&self, size: usize, phase: usize) -> Axis {
        let first = (phase as isize - self.padding as isize).rem_euclid(self.stride as isize) as usize;
        let taps = self.kernel.saturating_sub(phase).div_ceil(self.stride);
        Axis {
            first,
            stride: self.stride,
            count: size.saturating_sub(first).div_ceil(self.stride),
            source_first: ((first + self.padding - phase) / self.stride) as isize + 1 - taps as isize,
            source_step: 1,
            source_len: self.output_size(size),
            taps,
        }
    }
}

/// `y[n, i, j, o] = Σ_{c, u, v} x[n, i·stride + u − padding, j·stride + v − padding, c] · weight[o, c, u, v]`.
///
/// `x` is `[batch, height, width, inputs]`, `weight` `[outputs, inputs, kernel, kernel]`, `y`
/// `[batch, output height, output width, outputs]`, fully overwritten.
pub fn conv2d(shape: &ConvShape, x: &[f32], weight: &[f32], y: &mut [f32]) {
    shape.check(x.len(), weight.len(), y.len());
    let rows = transpose(&taps_first(shape, weight), shape.outputs);
    let phase = Phase { patches: shape.input_patches(), weight: rows };
    let output = Image { height: shape.output_height(), width: shape.output_width(), channels: shape.outputs };
    convolve(&[phase], x, output, y);
}

/// Gradient with respect to the input, `dx = ∂(y · dy)/∂x` of [`conv2d`].
///
/// `dx` `[batch, height, width, inputs]` is fully overwritten. With stride `s` the input positions fall into `s·s` phases;
/// each is a convolution of `dy` of stride 1 with the rotated taps that meet it, so no product with inserted zeros is
/// computed.
pub fn conv2d_input_gradient(shape: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), weight.len(), dy.len());
    let filters = taps_first(shape, weight);
    let mut phases = Vec::with_capacity(shape.stride * shape.stride);
    for phase_y in 0..shape.stride {
        for phase_x in 0..shape.stride {
            let patches = Patches {
                y: shape.output_axis(shape.height, phase_y),
                x: shape.output_axis(shape.width, phase_x),
                channels: shape.outputs,
            };
            let weight = rotated(shape, &filters, (phase_y, patches.y.taps), (phase_x, patches.x.taps));
            phases.push(Phase { patches, weight });
        }
    }
    let input = Image { height: shape.height, width: shape.width, channels: shape.inputs };
    convolve(&phases, dy, input, dx);
}

/// Gradient with respect to the weight, `dw = ∂(y · dy)/∂weight` of [`conv2d`], summed over the batch.
///
/// `dw` `[outputs, inputs, kernel, kernel]` is fully overwritten. The image rows are cut into chunks by the shape alone;
/// each chunk sums in its own buffer and the buffers are added in order.
pub fn conv2d_weight_gradient(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    /// Values in all buffers together: at most 16 MiB, unless one weight is larger.
    const BUFFERS_LEN: usize = 4 * 1024 * 1024;
    const MAX_CHUNKS: usize = 32;
    /// Output channels per task; a patch gathered once is multiplied this often.
    const OUTPUT_BLOCK: usize = 128;

    shape.check(x.len(), dw.len(), dy.len());
    let patches = shape.input_patches();
    let patch_len = patches.patch_len();
    let rows = shape.batch * patches.y.count;
    let tile = rows_per_tile(patches.x.count, patch_len);
    let chunks = (BUFFERS_LEN / dw.len()).clamp(1, MAX_CHUNKS).min(rows.div_ceil(tile));
    let chunk_rows = rows.div_ceil(chunks);
    let chunks = rows.div_ceil(chunk_rows);

    let mut sums = vec![0.0; chunks * dw.len()];
    let tasks: Vec<_> = sums
        .chunks_exact_mut(dw.len())
        .enumerate()
        .flat_map(|(chunk, sum)| {
            let blocks = sum.chunks_mut(OUTPUT_BLOCK * patch_len).enumerate();
            blocks.map(move |(block, sum)| (chunk, block * OUTPUT_BLOCK, sum))
        })
        .collect();
    tasks.into_par_iter().for_each(|(chunk, first_output, sum)| {
        let outputs = sum.len() / patch_len;
        let chunk_end = ((chunk + 1) * chunk_rows).min(rows);
        for first_row in (chunk * chunk_rows..chunk_end).step_by(tile) {
            let tile_rows = first_row..(first_row + tile).min(chunk_end);
            let positions = tile_rows.len() * patches.x.count;
            let dy = &dy[first_row * patches.x.count * shape.outputs + first_output..];
            let dy = Matrix::new(dy, positions, outputs, shape.outputs);
            with_scratch(patches.scratch_len(tile_rows.len()), |scratch| {
                let patches = Matrix::new(patches.of_rows(x, tile_rows, scratch), positions, patch_len, patch_len);
                multiply(sum, Write::Add, dy.transposed(), patches);
            });
        }
    });

    dw.par_chunks_exact_mut(patch_len).enumerate().for_each(|(output, dw)| {
        with_scratch(patch_len, |total| {
            total.copy_from_slice(&sums[output * patch_len..][..patch_len]);
            for sum in sums.chunks_exact(shape.outputs * patch_len).skip(1) {
                total.iter_mut().zip(&sum[output * patch_len..]).for_each(|(total, sum)| *total += sum);
            }
            for (input, dw) in dw.chunks_exact_mut(shape.taps()).enumerate() {
                dw.iter_mut().zip(total[input..].iter().step_by(shape.inputs)).for_each(|(dw, total)| *dw = *total);
            }
        });
    });
}

/// Sizes of the images that a convolution writes.
#[derive(Clone, Copy)]
struct Image {
    height: usize,
    width: usize,
    channels: usize,
}

/// The destination positions that share the same taps, with their weight `[taps y, taps x, source channels, destination
/// channels]`.
struct Phase {
    patches: Patches,
    weight: Vec<f32>,
}

/// Writes `patches · weight` of each phase to its positions; together the phases cover the destination.
fn convolve(phases: &[Phase], source: &[f32], image: Image, destination: &mut [f32]) {
    let longest_patch = phases.iter().map(|phase| phase.patches.patch_len()).max().unwrap_or(0);
    let row_positions = phases.iter().map(|phase| phase.patches.x.count).max().unwrap_or(0);
    // Of `stride` times as many rows each phase has as many as its patches have room for.
    let stride = phases.first().map_or(1, |phase| phase.patches.y.stride);
    let tile_rows = rows_per_tile(row_positions, longest_patch) * stride;
    let tile_len = tile_rows * image.width * image.channels;
    destination.par_chunks_mut(tile_len).enumerate().for_each(|(tile, destination)| {
        for phase in phases {
            convolve_tile(phase, source, image, tile * tile_rows, destination);
        }
    });
}

/// One phase of the image rows from `first_row` on (counted through the batch) that `destination` holds.
fn convolve_tile(phase: &Phase, source: &[f32], image: Image, first_row: usize, destination: &mut [f32]) {
    let Phase { patches, weight } = phase;
    let row_len = image.width * image.channels;
    let end_row = first_row + destination.len() / row_len;
    let rows = patches.rows_before(first_row, image.height)..patches.rows_before(end_row, image.height);
    let (positions, patch_len) = (rows.len() * patches.x.count, patches.patch_len());
    if positions == 0 {
        return;
    }
    let is_dense = patches.y.stride == 1 && patches.x.stride == 1;
    let product_len = if is_dense { 0 } else { positions * image.channels };
    with_scratch(product_len + patches.scratch_len(rows.len()), |scratch| {
        let (product, scratch) = scratch.split_at_mut(product_len);
        let mut multiply_into = |product: &mut [f32]| {
            if patch_len == 0 {
                return product.fill(0.0);
            }
            let patches = Matrix::new(patches.of_rows(source, rows.clone(), scratch), positions, patch_len, patch_len);
            multiply(
                product,
                Write::Overwrite,
                patches,
                Matrix::new(weight, patch_len, image.channels, image.channels),
            );
        };
        if is_dense {
            return multiply_into(destination);
        }
        multiply_into(product);
        for (row, product) in rows.clone().zip(product.chunks_exact(patches.x.count * image.channels)) {
            let image_row = row / patches.y.count * image.height + patches.y.destination(row % patches.y.count);
            let destination = &mut destination[(image_row - first_row) * row_len..][..row_len];
            for (i, product) in product.chunks_exact(image.channels).enumerate() {
                destination[patches.x.destination(i) * image.channels..][..image.channels].copy_from_slice(product);
            }
        }
    });
}

/// The weight as `[outputs, kernel, kernel, inputs]`.
fn taps_first<'a>(shape: &ConvShape, weight: &'a [f32]) -> Cow<'a, [f32]> {
    if shape.taps() == 1 {
        return Cow::Borrowed(weight);
    }
    let filter_len = shape.inputs * shape.taps();
    let mut filters = vec![0.0; weight.len()];
    filters.par_chunks_exact_mut(filter_len).zip(weight.par_chunks_exact(filter_len)).for_each(|(filter, weight)| {
        for (tap, filter) in filter.chunks_exact_mut(shape.inputs).enumerate() {
            let weight = weight[tap..].iter().step_by(shape.taps());
            filter.iter_mut().zip(weight).for_each(|(filter, weight)| *filter = *weight);
        }
    });
    Cow::Owned(filters)
}

/// `[rows, columns]` as `[columns, rows]`.
fn transpose(matrix: &[f32], rows: usize) -> Vec<f32> {
    /// Columns per task: one cache line of the source.
    const COLUMN_BLOCK: usize = 16;
    let columns = matrix.len() / rows;
    let mut transposed = vec![0.0; matrix.len()];
    transposed.par_chunks_mut(COLUMN_BLOCK * rows).enumerate().for_each(|(block, transposed)| {
        for (row, values) in matrix.chunks_exact(columns).enumerate() {
            let values = &values[block * COLUMN_BLOCK..];
            let column = transposed[row..].iter_mut().step_by(rows);
            column.zip(values).for_each(|(transposed, value)| *transposed = *value);
        }
    });
    transposed
}

/// The taps `phase, phase + stride, …` along y and x in reverse order, as `[taps y, taps x, outputs, inputs]`; `filters` is
/// `[outputs, kernel, kernel, inputs]`.
fn rotated(
    shape: &ConvShape,
    filters: &[f32],
    (phase_y, taps_y): (usize, usize),
    (phase_x, taps_x): (usize, usize),
) -> Vec<f32> {
    let taps: Vec<_> = (0..taps_y)
        .rev()
        .flat_map(|y| (0..taps_x).rev().map(move |x| (y, x)))
        .map(|(y, x)| (phase_y + y * shape.stride) * shape.kernel + phase_x + x * shape.stride)
        .collect();
    let mut rotated = vec![0.0; taps.len() * shape.outputs * shape.inputs];
    rotated.par_chunks_exact_mut(shape.inputs).enumerate().for_each(|(row, rotated)| {
        let (tap, output) = (taps[row / shape.outputs], row % shape.outputs);
        rotated.copy_from_slice(&filters[(output * shape.taps() + tap) * shape.inputs..][..shape.inputs]);
    });
    rotated
}
