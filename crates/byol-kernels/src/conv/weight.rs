//! Weights packed for the inner loops.

use rayon::prelude::*;

use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::transpose::{SIDE, transpose};
use crate::vector::{RowsKernel, panels};

use super::window::RowLayout;

/// A weight as a product sees it: `values[output · output_stride + channel · channel_stride + taps[tap]]`.
pub(super) struct WeightView<'a> {
    pub(super) values: &'a [f32],
    pub(super) outputs: usize,
    pub(super) output_stride: usize,
    pub(super) channels: usize,
    pub(super) channel_stride: usize,
    /// Offset of each tap of the window.
    pub(super) taps: Vec<usize>,
}

/// Widest panel of all kernels.
pub(super) const MAX_WIDTH: usize = 64;

/// Enough tasks for every thread to have several, without reading the windows more often than that takes.
pub(super) fn panels_per_task(groups: usize, panels: usize) -> usize {
    let wanted = 4 * rayon::current_num_threads();
    panels.div_ceil(wanted.div_ceil(groups)).max(1)
}

/// Where the panels of a packed weight lie.
pub(super) struct Panels {
    pub(super) list: Vec<Panel>,
    /// Of all of them.
    pub(super) len: usize,
}

/// One panel of a packed weight.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) first_output: usize,
    pub(super) kernel: RowsKernel,
    pub(super) offset: usize,
    len: usize,
}

impl Panels {
    /// Panels of `kernels` that cover `outputs`, of `len(width)` values each.
    pub(super) fn new(kernels: &[RowsKernel], outputs: usize, len: impl Fn(usize) -> usize) -> Self {
        let mut offset = 0;
        let list = panels(kernels, |kernel| kernel.width, outputs).into_iter().map(|(first_output, kernel)| {
            let panel = Panel { first_output, kernel, offset, len: len(kernel.width) };
            offset += panel.len;
            panel
        });
        Self { list: list.collect(), len: offset }
    }

    /// Fills the part of `values` that belongs to each panel, in parallel.
    pub(super) fn fill<T: Send>(&self, values: &mut [T], fill: impl Fn(&Panel, &mut [T]) + Sync) {
        let mut slices = Vec::with_capacity(self.list.len());
        let mut rest = values;
        for panel in &self.list {
            let (slice, more) = rest.split_at_mut(panel.len);
            slices.push((panel, slice));
            rest = more;
        }
        slices.into_par_iter().for_each(|(panel, slice)| fill(panel, slice));
    }
}

/// Panels of the weight, each `[taps, units, width]` units with zeros beyond the last output.
pub(super) struct PackedWeight {
    units: Vec<u32>,
    panels: Panels,
}

impl PackedWeight {
    /// Rounds to `E` and packs for rows of `layout`.
    pub(super) fn new<E: Element>(isa: Isa, weight: &WeightView, layout: RowLayout) -> Self {
        let panels = Panels::new(E::kernels(isa).rows, weight.outputs, |width| layout.units() * width);
        let mut units = vec![0; panels.len];
        panels.fill(&mut units, |panel, units| {
            vectorized(
                isa,
                #[inline(always)]
                || match layout.in_place {
                    true => pack_taps::<E>(isa, weight, panel, layout.row_units, units),
                    false => pack_patches::<E>(weight, panel, units),
                },
            );
        });
        Self { units, panels }
    }

    pub(super) fn panels(&self) -> &[Panel] {
        &self.panels.list
    }

    /// The units of `panel` from unit `first` of the reduction on.
    pub(super) fn units_from(&self, panel: &Panel, first: usize) -> &[u32] {
        &self.units[panel.offset + first * panel.kernel.width..]
    }
}

/// Every tap is a row of channels. Sixteen outputs at a time are rounded as their rows of channels lie and then transposed.
#[inline(always)]
fn pack_taps<E: Element>(isa: Isa, weight: &WeightView, panel: &Panel, row_units: usize, units: &mut [u32]) {
    let (width, taps) = (panel.kernel.width, weight.taps.len());
    if taps == 0 {
        return;
    }
    let row_len = taps * SIDE;
    let mut rows = vec![0; SIDE * row_len];
    let mut columns = [0; SIDE * SIDE];
    for first_lane in (0..width).step_by(SIDE) {
        let lanes = SIDE.min(width - first_lane);
        for first_unit in (0..row_units).step_by(SIDE) {
            let count = SIDE.min(row_units - first_unit);
            for (lane, row) in rows.chunks_exact_mut(row_len).enumerate() {
                let output = panel.first_output + first_lane + lane;
                if lane >= lanes || output >= weight.outputs {
                    row.fill(0);
                    continue;
                }
                for (tap, row) in row.chunks_exact_mut(SIDE).enumerate() {
                    weight.round_row::<E>(output, tap, first_unit * E::PER_UNIT, row);
                }
            }
            for tap in 0..taps {
                transpose(isa, &rows[tap * SIDE..], row_len, &mut columns, SIDE);
                let units = &mut units[(tap * row_units + first_unit) * width + first_lane..];
                for (unit, column) in columns.chunks_exact(SIDE).take(count).enumerate() {
                    units[unit * width..][..lanes].copy_from_slice(&column[..lanes]);
                }
            }
        }
    }
}

impl WeightView<'_> {
    /// Sixteen units of the channels from `first` on, of one output and tap, with zeros beyond the last.
    #[inline(always)]
    fn round_row<E: Element>(&self, output: usize, tap: usize, first: usize, units: &mut [u32]) {
        let mut values = [0.0; 2 * SIDE];
        let start = output * self.output_stride + first * self.channel_stride + self.taps[tap];
        let count = (SIDE * E::PER_UNIT).min(self.channels - first);
        let column = self.values[start..].iter().step_by(self.channel_stride);
        values[..count].iter_mut().zip(column).for_each(|(value, weight)| *value = *weight);
        let units: &mut [u32; SIDE] = units.try_into().expect("a block of units");
        for (unit, slot) in units.iter_mut().enumerate() {
            let channel = unit * E::PER_UNIT;
            *slot = E::unit(E::from_f32(values[channel]), E::from_f32(values[channel + E::PER_UNIT - 1]));
        }
    }
}

/// All taps together are one row, `[taps, channels]`.
fn pack_patches<E: Element>(weight: &WeightView, panel: &Panel, units: &mut [u32]) {
    let width = panel.kernel.width;
    let lanes = width.min(weight.outputs - panel.first_output);
    let len = weight.taps.len() * weight.channels;
    for lane in 0..lanes {
        let value = |i: usize| {
            let (tap, channel) = (i / weight.channels, i % weight.channels);
            let output = (panel.first_output + lane) * weight.output_stride;
            E::from_f32(weight.values[output + channel * weight.channel_stride + weight.taps[tap]])
        };
        for (unit, units) in units.chunks_exact_mut(width).enumerate() {
            let first = unit * E::PER_UNIT;
            let second = if first + 1 < len { value(first + 1) } else { E::default() };
            units[lane] = E::unit(value(first), second);
        }
    }
}
