//! The product of all windows with a packed weight: the forward pass and the input gradient.
#![expect(unsafe_code, reason = "tasks write disjoint parts of one slice")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::weight::{PackedWeight, Panel, WeightView};
use super::window::{RowLayout, RowTable, Window};
use super::winograd;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{CACHE_LINE_BYTES, LANES, load, prefetch, store};
use crate::stream::Streams;
use crate::vector::{GROUP_ROWS, Rows};

/// Sizes of the images that a product writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// What happens to the sums. Always inlined into code compiled for the instruction set.
pub(super) trait Finish<D: Element>: Sync {
    /// Called once before all others, with the number of groups to come; each has at most [`GROUP_ROWS`] positions.
    fn begin(&mut self, _groups: usize) {}

    /// Asks for what `values` will read at place `at` of arrays like the destination.
    fn prefetch(&self, _at: usize) {}

    /// Sees the sums `[positions, width]` of a group, of the outputs from `first_output` on.
    fn observe(&self, _group: usize, _first_output: usize, _width: usize, _sums: &[f32]) {}

    /// What is written for the sums of the outputs from `output` on; `y` is what the destination holds, `at` the place there.
    fn values<const W: usize>(&self, sums: [f32; W], y: impl Fn() -> [f32; W], output: usize, at: usize) -> [f32; W];
}

/// `finish(windows of source · weight)` for every position of `window`, `images` times.
pub(super) fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &mut impl Finish<D>,
) {
    assert_eq!(weight.taps.len(), window.taps());
    assert_eq!(weight.channels, window.channels);
    let images = destination.len() / (image.height * image.width * image.channels);
    let positions = images * window.positions();
    if positions == 0 {
        return;
    }
    if winograd::suits::<E>(isa, window, images, weight.outputs) {
        return winograd::multiply(isa, window, source, weight, image, destination, finish);
    }
    let layout = RowLayout::new::<E>(window);
    let weight = PackedWeight::new::<E>(isa, weight, layout);
    let destination = Shared::new(isa, image.channels, destination);
    let groups = positions.div_ceil(GROUP_ROWS);
    finish.begin(groups);
    let finish = &*finish;
    let panels_per_task = panels_per_task(groups, weight.panels().len());
    let panel_tasks = weight.panels().len().div_ceil(panels_per_task);
    let chunk_len = E::kernels(isa).chunk_len;
    (0..groups * panel_tasks).into_par_iter().for_each_init(
        || (RowTable::new(layout), vec![0.0; GROUP_ROWS * MAX_WIDTH], Vec::new()),
        |(table, sums, offsets), task| {
            let _registers = E::kernels(isa).hold_registers();
            let (group, first_panel) = (task / panel_tasks, task % panel_tasks * panels_per_task);
            let positions = group * GROUP_ROWS..((group + 1) * GROUP_ROWS).min(positions);
            table.fill(window, source, positions.clone());
            destination_offsets(window, image, positions.clone(), offsets);
            for panel in weight.panels().iter().skip(first_panel).take(panels_per_task) {
                let (first, width) = (panel.first_output, panel.kernel.width);
                let columns = first..(first + width).min(image.channels);
                let rows = Destinations { destination: &destination, offsets, columns };
                rows.prefetch(finish);
                multiply_group(table, layout, &weight, panel, chunk_len, positions.len(), sums);
                vectorized(
                    isa,
                    #[inline(always)]
                    || rows.write(finish, group, width, sums),
                );
            }
            destination.streams.finish();
        },
    );
}

/// Widest panel of all kernels.
pub(super) const MAX_WIDTH: usize = 64;

/// Enough tasks for every thread to have several, without reading the windows more often than that takes.
pub(super) fn panels_per_task(groups: usize, panels: usize) -> usize {
    let wanted = 4 * rayon::current_num_threads();
    panels.div_ceil(wanted.div_ceil(groups)).max(1)
}

/// `sums = rows of the table · panel`, in chunks of the reduction, of `chunk_len` units of the panel, short enough that they
/// stay in a cache while all rows of the group pass.
fn multiply_group(
    table: &RowTable,
    layout: RowLayout,
    weight: &PackedWeight,
    panel: &Panel,
    chunk_len: usize,
    count: usize,
    sums: &mut [f32],
) {
    if layout.units() == 0 {
        sums.fill(0.0);
        return;
    }
    let chunk_units = chunk_len / panel.kernel.width;
    let RowLayout { taps, row_units, .. } = layout;
    let taps_per_chunk = (chunk_units / row_units).clamp(1, taps);
    let parts = if taps_per_chunk > 1 { 1 } else { row_units.div_ceil(chunk_units) };
    let part_units = row_units.div_ceil(parts);
    let mut accumulate = false;
    for tap in (0..taps).step_by(taps_per_chunk) {
        for first_unit in (0..row_units).step_by(part_units) {
            let rows = Rows {
                sums: sums.as_mut_ptr(),
                accumulate,
                count,
                // SAFETY: the table has a row of pointers for every tap.
                rows: unsafe { table.pointers().add(tap * GROUP_ROWS) },
                taps: taps_per_chunk.min(taps - tap),
                first_unit,
                units: part_units.min(row_units - first_unit),
                panel: weight.units_from(panel, tap * row_units + first_unit).as_ptr(),
            };
            // SAFETY: `sums` holds `GROUP_ROWS · MAX_WIDTH` values; every pointer of the table is valid for `row_units`
            // units; the panel holds all units from there on, and where `taps > 1` the chunk's units are consecutive
            // because it takes whole rows. `PackedWeight` and `multiply` saw that the machine has the instruction set.
            unsafe { (panel.kernel.run)(&rows) };
            accumulate = true;
        }
    }
}

/// Where the rows of channels of `positions` start in the destination.
fn destination_offsets(window: &Window, image: Image, positions: Range<usize>, offsets: &mut Vec<usize>) {
    offsets.clear();
    window.for_each_run(positions, |n, i, run, _| {
        let row = (n * image.height + window.y.destination(i)) * image.width;
        offsets.extend(run.map(|j| (row + window.x.destination(j)) * image.channels));
    });
}

/// A destination that is written by many tasks at once.
pub(super) struct Shared<'a, D> {
    start: *mut D,
    len: usize,
    pub(super) streams: Streams,
    borrow: PhantomData<&'a mut [D]>,
}

// SAFETY: tasks write through `Destinations` only, and no two of them share a position and a panel.
unsafe impl<D: Send> Sync for Shared<'_, D> {}

impl<'a, D: Element> Shared<'a, D> {
    /// Rows of `channels` values, written in code compiled for `isa`.
    pub(super) fn new(isa: Isa, channels: usize, destination: &'a mut [D]) -> Self {
        let streams = Streams::into(isa, channels, destination);
        Self { start: destination.as_mut_ptr(), len: destination.len(), streams, borrow: PhantomData }
    }
}

/// The destination rows of a group of positions, one slice of channels for each. Nobody else has the same position and
/// columns at that time.
pub(super) struct Destinations<'a, D> {
    pub(super) destination: &'a Shared<'a, D>,
    /// Start of each position's row of channels.
    pub(super) offsets: &'a [usize],
    /// Channels.
    pub(super) columns: Range<usize>,
}

impl<D: Element> Destinations<'_, D> {
    /// Asks for the rows that [`Destinations::write`] will touch: pieces too short for the hardware to foresee, which arrive
    /// while the sums are computed.
    #[inline(always)]
    pub(super) fn prefetch(&self, finish: &impl Finish<D>) {
        for offset in self.offsets {
            for at in (offset + self.columns.start..offset + self.columns.end).step_by(CACHE_LINE_BYTES / D::BYTES) {
                finish.prefetch(at);
            }
        }
    }

    /// Lets `finish` see the sums `[positions, width]` of `group` and writes what it makes of them.
    #[inline(always)]
    pub(super) fn write(self, finish: &impl Finish<D>, group: usize, width: usize, sums: &[f32]) {
        let Self { destination, offsets, columns } = self;
        let sums = &sums[..offsets.len() * width];
        finish.observe(group, columns.start, width, sums);
        let whole = columns.len() / LANES * LANES;
        for (sums, offset) in sums.chunks_exact(width).zip(offsets) {
            let at = offset + columns.start;
            assert!(at + columns.len() <= destination.len, "the product leaves its destination");
            // SAFETY: in bounds as just asserted. Every position has its own destination, `columns` belongs to one panel, and
            // each pair of group and panel is one task's.
            let row = unsafe { std::slice::from_raw_parts_mut(destination.start.add(at), columns.len()) };
            for c in (0..whole).step_by(LANES) {
                let y = finish.values::<LANES>(load(sums, c), || load(row, c), columns.start + c, at + c);
                destination.streams.write(y, row, c);
            }
            for c in whole..row.len() {
                let y = finish.values::<1>(load(sums, c), || load(row, c), columns.start + c, at + c);
                store(y, row, c);
            }
        }
    }
}

/// Writes the sums as they are.
pub(super) struct Store;

impl<D: Element> Finish<D> for Store {
    #[inline(always)]
    fn values<const W: usize>(&self, sums: [f32; W], _: impl Fn() -> [f32; W], _: usize, _: usize) -> [f32; W] {
        sums
    }
}

/// Adds the sums to what is there.
pub(super) struct Add;

impl<D: Element> Finish<D> for Add {
    #[inline(always)]
    fn values<const W: usize>(&self, mut sums: [f32; W], y: impl Fn() -> [f32; W], _: usize, _: usize) -> [f32; W] {
        let y = y();
        for i in 0..W {
            sums[i] += y[i];
        }
        sums
    }
}

/// Adds a bias of each output, an optional residual, and cuts below zero if asked.
pub(super) struct Affine<'a, D> {
    pub(super) bias: &'a [f32],
    pub(super) residual: Option<&'a [D]>,
    pub(super) relu: bool,
}

impl<D: Element> Finish<D> for Affine<'_, D> {
    #[inline(always)]
    fn prefetch(&self, at: usize) {
        if let Some(residual) = self.residual {
            prefetch(residual.as_ptr().wrapping_add(at));
        }
    }

    #[inline(always)]
    fn values<const W: usize>(
        &self,
        mut sums: [f32; W],
        _: impl Fn() -> [f32; W],
        output: usize,
        at: usize,
    ) -> [f32; W] {
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let bias = load::<f32, W>(self.bias, output);
        let residual = self.residual.map_or([0.0; W], |residual| load(residual, at));
        for i in 0..W {
            let value = sums[i] + bias[i] + residual[i];
            sums[i] = if value < floor { floor } else { value };
        }
        sums
    }
}
