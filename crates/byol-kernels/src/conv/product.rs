//! The direct product of all windows with a packed weight: the forward pass and the input gradient.
#![expect(unsafe_code, reason = "calls the inner loops on a table of pointers")]

use rayon::prelude::*;

use super::destination::{Destinations, Image, Shared, destination_offsets};
use super::finish::Finish;
use super::weight::{MAX_WIDTH, PackedWeight, Panel, WeightView, panels_per_task};
use super::window::{RowLayout, RowTable, Window};
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::vector::{GROUP_ROWS, Rows};

/// `finish(windows of source · weight)` for every position of `window`.
pub(super) fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &mut impl Finish<D>,
) {
    let positions = image.count(destination.len()) * window.positions();
    if positions == 0 {
        return;
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
