//! The forward pass and the input gradient.
#![expect(unsafe_code, reason = "calls the inner loops on mapped operands, and maps without a check at every point")]

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::super::destination::{Destinations, Image, Shared};
use super::super::finish::Finish;
use super::super::kept_in;
use super::super::turned::{TURNED_CHANNELS, Turned};
use super::super::weight::{MAX_WIDTH, Panel, Panels, WeightView, panels_per_task};
use super::super::window::Window;
use super::tiling::{Sources, Tiling};
use super::transform::{self, EMPTY, Half, KERNEL, OUT, POINTS, PRODUCTS, both_axes};
use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, load_unchecked, prefetch, prefetch_for_writing, store_unchecked};
use crate::vector::{GROUP_ROWS, Operand, Rows, VECTOR_CHUNK_LEN};

/// Tiles per block: each mapped kernel that is loaded serves that many rows. Between 12 and 96 the speed hardly changes.
const BLOCK_TILES: usize = 48;

/// Tiles whose outputs are finished together: those of one group of positions.
const GROUP_TILES: usize = GROUP_ROWS / (OUT * OUT);

const _: () = assert!(BLOCK_TILES <= GROUP_ROWS && BLOCK_TILES.is_multiple_of(GROUP_TILES));

/// Values between the points of an array `[POINTS, POINTS, len]`: one vector more than `len`, because 36 streams at the same
/// place of their pages would evict each other from the caches.
pub(super) fn point_stride(len: usize) -> usize {
    len + LANES
}

/// `finish(windows of source · weight)` for every position of `window`. The mapped weight is taken from `slot`, or put there.
#[expect(clippy::too_many_arguments, reason = "the product and where its weight is kept")]
pub(in super::super) fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &mut impl Finish<D>,
    slot: Option<&OnceLock<MappedWeight>>,
) {
    let tiling = Tiling::new(window);
    let tiles = image.count(destination.len()) * tiling.tiles();
    let own = OnceLock::new();
    let weight = kept_in(slot.unwrap_or(&own), || MappedWeight::new(isa, weight));
    let blocks = tiles.div_ceil(BLOCK_TILES);
    let panels_per_task = panels_per_task(blocks, weight.panels.list.len());
    let panel_tasks = weight.panels.list.len().div_ceil(panels_per_task);
    finish.begin(blocks * (BLOCK_TILES / GROUP_TILES));
    let finish = &*finish;
    let destination = Shared::new(isa, image.channels, destination);
    (0..blocks * panel_tasks).into_par_iter().for_each_init(
        || Scratch::new(window.channels),
        |scratch, task| {
            let (block, first_panel) = (task / panel_tasks, task % panel_tasks * panels_per_task);
            let tiles = block * BLOCK_TILES..((block + 1) * BLOCK_TILES).min(tiles);
            vectorized(
                isa,
                #[inline(always)]
                || map_inputs(&tiling, source, tiles.clone(), window.channels, window.channels, &mut scratch.inputs),
            );
            for panel in weight.panels.list.iter().skip(first_panel).take(panels_per_task) {
                weight.multiply(panel, tiles.len(), scratch);
                for (group, first) in (0..tiles.len()).step_by(GROUP_TILES).enumerate() {
                    let group_tiles = first..(first + GROUP_TILES).min(tiles.len());
                    vectorized(
                        isa,
                        #[inline(always)]
                        || {
                            let width = panel.kernel.width;
                            let written = destination.asked_from(panel.first_output);
                            scratch.map_outputs(&tiling, image, tiles.start, group_tiles, width, written);
                            let columns = panel.first_output..(panel.first_output + width).min(image.channels);
                            let offsets = &scratch.offsets;
                            let rows = Destinations { destination: &destination, offsets, columns };
                            let group = block * (BLOCK_TILES / GROUP_TILES) + group;
                            rows.write(finish, group, width, &scratch.outputs);
                        },
                    );
                }
            }
            destination.streams.finish();
        },
    );
}

/// Maps what `tiles` see of the source to `mapped`, `[points, tiles, row_len]` with points [`point_stride`] of a whole block
/// apart.
#[inline(always)]
pub(super) fn map_inputs<E: Element>(
    tiling: &Tiling,
    source: &[E],
    tiles: Range<usize>,
    channels: usize,
    row_len: usize,
    mapped: &mut [f32],
) {
    let stride = mapped.len() / PRODUCTS;
    let zeros = vec![E::default(); POINTS * channels];
    let mut half = EMPTY;
    assert!(channels.is_multiple_of(LANES) && tiles.len() * row_len <= stride && channels <= row_len);
    for (row, tile) in tiling.walk(tiles).enumerate() {
        let Sources { rows, columns, ahead } = tiling.sources(tile, source, &zeros);
        assert!(columns.end <= POINTS && rows.iter().all(|row| row.len() >= columns.len() * channels));
        for c in (0..channels).step_by(LANES) {
            both_axes(
                &mut half,
                #[inline(always)]
                |i, j| {
                    // What tiles see first comes from main memory, in pieces too short for the hardware to foresee.
                    prefetch(rows[i].as_ptr().wrapping_add(j * channels + c + ahead));
                    match columns.contains(&j) {
                        // SAFETY: rows have the channels of all points inside, a multiple of a vector.
                        true => unsafe { load_unchecked(rows[i], (j - columns.start) * channels + c) },
                        false => [0.0; LANES],
                    }
                },
                transform::input,
                #[inline(always)]
                |i, j, values| {
                    // SAFETY: each of the points has room for the rows of all tiles.
                    unsafe { store_unchecked(values, mapped, (i * POINTS + j) * stride + row * row_len + c) }
                },
            );
        }
    }
}

/// What a task computes in.
struct Scratch {
    /// `[points, BLOCK_TILES, channels]`
    inputs: Vec<f32>,
    /// `[points, BLOCK_TILES, width]`
    sums: Vec<f32>,
    /// `[positions, width]` of one group.
    outputs: Vec<f32>,
    /// Where the positions of the group lie in the destination.
    offsets: Vec<usize>,
    half: Half,
}

impl Scratch {
    fn new(channels: usize) -> Self {
        let block = |width: usize| arbitrary::<f32>(PRODUCTS * point_stride(BLOCK_TILES * width));
        let outputs = arbitrary(GROUP_ROWS * MAX_WIDTH);
        Self {
            inputs: block(channels),
            sums: block(MAX_WIDTH),
            outputs,
            offsets: Vec::with_capacity(GROUP_ROWS),
            half: EMPTY,
        }
    }

    /// Maps the sums of `tiles`, counted from the block's first, to outputs. Where these will go is asked for, from `written` on
    /// if that is not null.
    #[inline(always)]
    fn map_outputs<D>(
        &mut self,
        tiling: &Tiling,
        image: Image,
        block_start: usize,
        tiles: Range<usize>,
        width: usize,
        written: *const D,
    ) {
        let stride = point_stride(BLOCK_TILES * width);
        self.offsets.clear();
        assert!(width.is_multiple_of(LANES) && tiles.end * width <= stride && PRODUCTS * stride <= self.sums.len());
        for (tile, place) in tiles.clone().zip(tiling.walk(block_start + tiles.start..block_start + tiles.end)) {
            let (rows, columns) = tiling.destinations(place);
            let first = self.offsets.len();
            assert!((first + rows.len() * columns.len()) * width <= self.outputs.len());
            for lane in (0..width).step_by(LANES) {
                both_axes(
                    &mut self.half,
                    #[inline(always)]
                    |i, j| {
                        // SAFETY: each of the points has the sums of all tiles.
                        unsafe { load_unchecked(&self.sums, (i * POINTS + j) * stride + tile * width + lane) }
                    },
                    transform::output,
                    #[inline(always)]
                    |i, j, values| {
                        if i < rows.len() && j < columns.len() {
                            let at = (first + i * columns.len() + j) * width + lane;
                            // SAFETY: there is room for all positions of the tile.
                            unsafe { store_unchecked(values, &mut self.outputs, at) }
                        }
                    },
                );
            }
            for i in rows {
                let row = (place.image * image.height + i) * image.width;
                self.offsets.extend(columns.clone().map(|j| (row + j) * image.channels));
            }
            if !written.is_null() {
                self.offsets[first..].iter().for_each(|offset| prefetch_for_writing(written.wrapping_add(*offset)));
            }
        }
    }
}

/// Kernels mapped to points: panels `[points, channels, width]`.
pub(in super::super) struct MappedWeight {
    values: Vec<f32>,
    panels: Panels,
    channels: usize,
}

impl MappedWeight {
    fn new(isa: Isa, weight: &WeightView) -> Self {
        let len = |width| PRODUCTS * point_stride(weight.channels * width);
        let panels = Panels::new(f32::kernels(isa).rows, weight.outputs, len);
        let mut values = arbitrary::<f32>(panels.len);
        panels.fill(&mut values, |panel, values| {
            vectorized(
                isa,
                #[inline(always)]
                || map_kernels(isa, weight, panel, values),
            );
        });
        Self { values, panels, channels: weight.channels }
    }

    /// `sums[point, tile, output] = Σ_c inputs[point, tile, c] · weight[point, c, output]`.
    fn multiply(&self, panel: &Panel, tiles: usize, scratch: &mut Scratch) {
        let width = panel.kernel.width;
        let chunk = VECTOR_CHUNK_LEN / width;
        let input_stride = point_stride(BLOCK_TILES * self.channels);
        let sum_stride = point_stride(BLOCK_TILES * width);
        let weight_stride = point_stride(self.channels * width);
        assert!((PRODUCTS - 1) * input_stride + BLOCK_TILES * self.channels <= scratch.inputs.len());
        // Rows of the first point; those of the others are as many units further on.
        let mut table = [std::ptr::null(); GROUP_ROWS];
        for (pointer, row) in table[..BLOCK_TILES].iter_mut().zip(scratch.inputs.chunks_exact(self.channels)) {
            *pointer = row.as_ptr().cast();
        }
        for point in 0..PRODUCTS {
            let weight = &self.values[panel.offset + point * weight_stride..][..self.channels * width];
            let sums = &mut scratch.sums[point * sum_stride..][..BLOCK_TILES * width];
            for first_unit in (0..self.channels).step_by(chunk) {
                let rows = Rows {
                    sums: sums.as_mut_ptr(),
                    accumulate: first_unit > 0,
                    count: tiles,
                    rows: table.as_ptr(),
                    taps: 1,
                    first_unit: point * input_stride + first_unit,
                    units: chunk.min(self.channels - first_unit),
                    panel: weight[first_unit * width..].as_ptr().cast(),
                    ahead: std::ptr::null(),
                    places: None,
                };
                // SAFETY: `sums` has `BLOCK_TILES` rows of the panel's width and the table as many rows of `channels` values at
                // every point, as asserted; kernels take rows in blocks that divide `BLOCK_TILES`, so that no more are touched. The panel holds all
                // units of this point. The caller saw that the machine has the instruction set.
                unsafe { (panel.kernel.run)(&rows) };
            }
        }
    }
}

/// Maps the kernels of one panel.
#[inline(always)]
fn map_kernels(isa: Isa, weight: &WeightView, panel: &Panel, values: &mut [f32]) {
    let width = panel.kernel.width;
    let stride = point_stride(weight.channels * width);
    let mut half = EMPTY;
    let mut turned = Turned::new(weight);
    assert!(weight.channels * width <= stride && PRODUCTS * stride <= values.len());
    for first in (0..weight.channels).step_by(TURNED_CHANNELS) {
        let channels = first..(first + TURNED_CHANNELS).min(weight.channels);
        for lane in (0..width).step_by(LANES) {
            turned.turn(isa, weight, panel.first_output + lane, channels.clone());
            for channel in channels.clone() {
                both_axes(
                    &mut half,
                    #[inline(always)]
                    |i, j| turned.lanes(channel, i * KERNEL + j),
                    transform::kernel,
                    #[inline(always)]
                    |i, j, mapped| {
                        // SAFETY: each of the points has room for all channels.
                        unsafe { store_unchecked(mapped, values, (i * POINTS + j) * stride + channel * width + lane) }
                    },
                );
            }
        }
    }
}
