//! The product of all windows with a packed weight: the forward pass and the input gradient.
#![expect(unsafe_code, reason = "tasks write disjoint parts of one slice")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::weight::{PackedWeight, Panel, WeightView};
use super::window::{RowLayout, RowTable, Window};
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::vector::{GROUP_ROWS, Rows};

/// Sizes of the images that a product writes.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// What happens to the sums of a group of positions.
pub(super) trait Finish<D: Element>: Sync {
    /// Takes the sums `[positions, width]` of the outputs from `first_output` on; `rows` gives the destination, one slice
    /// of as many values as outputs remain (at most `width`) for each position. `group` counts groups of positions.
    /// Always inlined into code compiled for the instruction set.
    fn finish<'a>(&self, group: usize, first_output: usize, width: usize, sums: &[f32], rows: Destinations<'a, D>);
}

/// `finish(windows of source · weight)` for every position of `window`, `images` times.
pub(super) fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &impl Finish<D>,
) {
    assert_eq!(weight.taps.len(), window.taps());
    assert_eq!(weight.channels, window.channels);
    let images = destination.len() / (image.height * image.width * image.channels);
    let positions = images * window.positions();
    if positions == 0 {
        return;
    }
    let layout = RowLayout::new::<E>(window);
    let weight = PackedWeight::new::<E>(isa, weight, layout);
    let destination = Shared { start: destination.as_mut_ptr(), len: destination.len(), image };
    let groups = positions.div_ceil(GROUP_ROWS);
    let panels_per_task = panels_per_task(groups, weight.panels().len());
    let panel_tasks = weight.panels().len().div_ceil(panels_per_task);
    (0..groups * panel_tasks).into_par_iter().for_each_init(
        || (RowTable::new(layout), vec![0.0; GROUP_ROWS * MAX_WIDTH]),
        |(table, sums), task| {
            let _registers = E::kernels(isa).hold_registers();
            let (group, first_panel) = (task / panel_tasks, task % panel_tasks * panels_per_task);
            let positions = group * GROUP_ROWS..((group + 1) * GROUP_ROWS).min(positions);
            table.fill(window, source, positions.clone());
            for panel in weight.panels().iter().skip(first_panel).take(panels_per_task) {
                multiply_group(table, layout, &weight, panel, positions.len(), sums);
                vectorized(
                    isa,
                    #[inline(always)]
                    || {
                        let (first, width) = (panel.first_output, panel.kernel.width);
                        let columns = first..(first + width).min(image.channels);
                        let rows =
                            Destinations { destination: &destination, window, positions: positions.clone(), columns };
                        finish.finish(group, first, width, &sums[..positions.len() * width], rows);
                    },
                );
            }
        },
    );
}

/// Widest panel of all kernels.
const MAX_WIDTH: usize = 64;

/// Enough tasks for every thread to have several, without filling the row table more often than that takes.
fn panels_per_task(groups: usize, panels: usize) -> usize {
    let wanted = 4 * rayon::current_num_threads();
    panels.div_ceil(wanted.div_ceil(groups)).max(1)
}

/// `sums = rows of the table · panel`, in chunks of the reduction short enough that a chunk of the panel stays in the
/// first cache while all rows of the group pass.
fn multiply_group(
    table: &RowTable,
    layout: RowLayout,
    weight: &PackedWeight,
    panel: &Panel,
    count: usize,
    sums: &mut [f32],
) {
    /// 16 KiB of units.
    const CHUNK_LEN: usize = 4096;
    if layout.units() == 0 {
        sums.fill(0.0);
        return;
    }
    let chunk_units = CHUNK_LEN / panel.kernel.width;
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

/// The destination, written by many tasks at once.
struct Shared<D> {
    start: *mut D,
    len: usize,
    image: Image,
}

// SAFETY: tasks write through `Destinations` only, and no two of them share a position and a panel.
unsafe impl<D: Send> Sync for Shared<D> {}

/// The destination rows of a group of positions, one slice of channels for each.
pub(super) struct Destinations<'a, D> {
    destination: &'a Shared<D>,
    window: &'a Window,
    positions: Range<usize>,
    columns: Range<usize>,
}

impl<D> Destinations<'_, D> {
    /// Calls `write` with the number of each position in the group, the offset of its slice in the destination and the
    /// slice.
    #[inline(always)]
    pub(super) fn for_each(self, mut write: impl FnMut(usize, usize, &mut [D])) {
        let Self { destination, window, positions, columns } = self;
        let image = destination.image;
        window.for_each_run(positions, |n, i, run, first| {
            let row = (n * image.height + window.y.destination(i)) * image.width;
            for (position, j) in (first..).zip(run) {
                let offset = (row + window.x.destination(j)) * image.channels + columns.start;
                assert!(offset + columns.len() <= destination.len, "the product leaves its destination");
                // SAFETY: in bounds as just asserted. Every position has its own destination, `columns` belongs to one
                // panel, and `multiply` gives each pair of group and panel to one task.
                let slice = unsafe { std::slice::from_raw_parts_mut(destination.start.add(offset), columns.len()) };
                write(position, offset, slice);
            }
        });
    }
}

/// Writes the sums as they are.
pub(super) struct Store<D>(PhantomData<D>);

impl<D> Store<D> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<D: Element> Finish<D> for Store<D> {
    #[inline(always)]
    fn finish(&self, _: usize, _: usize, width: usize, sums: &[f32], rows: Destinations<D>) {
        rows.for_each(|position, _, row| {
            for (y, sum) in row.iter_mut().zip(&sums[position * width..][..width]) {
                *y = D::from_f32(*sum);
            }
        });
    }
}

/// Adds the sums to what is there.
pub(super) struct Add;

impl<D: Element> Finish<D> for Add {
    #[inline(always)]
    fn finish(&self, _: usize, _: usize, width: usize, sums: &[f32], rows: Destinations<D>) {
        rows.for_each(|position, _, row| {
            for (y, sum) in row.iter_mut().zip(&sums[position * width..][..width]) {
                *y = D::from_f32(y.to_f32() + *sum);
            }
        });
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
    fn finish(&self, _: usize, first_output: usize, width: usize, sums: &[f32], rows: Destinations<D>) {
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        rows.for_each(|position, offset, row| {
            let sums = &sums[position * width..][..row.len()];
            let bias = &self.bias[first_output..][..row.len()];
            let cut = |value: f32| if value < floor { floor } else { value };
            match self.residual {
                None => {
                    for ((y, sum), bias) in row.iter_mut().zip(sums).zip(bias) {
                        *y = D::from_f32(cut(sum + bias));
                    }
                }
                Some(residual) => {
                    let residual = &residual[offset..][..row.len()];
                    for (((y, sum), bias), residual) in row.iter_mut().zip(sums).zip(bias).zip(residual) {
                        *y = D::from_f32(cut(sum + bias + residual.to_f32()));
                    }
                }
            }
        });
    }
}
