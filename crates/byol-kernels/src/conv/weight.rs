//! Weights packed for the inner loops.

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::lanes::{LANES, prefetch};
use crate::transpose::{SIDE, transpose};
use crate::vector::{RowsKernel, panels};

use super::turned::{TURNED_CHANNELS, Turned};
use super::window::{RowLayout, RowOf};

/// A weight as a product sees it: `values[output · output_stride + channel · channel_stride + taps[tap]]`.
pub(super) struct WeightView<'a, V = f32> {
    pub(super) values: &'a [V],
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
    pub(super) fn new<E: Element>(isa: Isa, weight: &WeightView<impl Element>, layout: RowLayout) -> Self {
        let panels = Panels::new(E::kernels(isa).rows, weight.outputs, |width| layout.units() * width);
        let mut units = arbitrary(panels.len);
        panels.fill(&mut units, |panel, units| match layout.row_of {
            RowOf::Pixel => weight.pack::<E>(isa, panel, 0..layout.taps, 0..layout.row_units, units),
            RowOf::Span => pack_spans::<E>(weight, panel, layout, units),
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

impl<V: Element> WeightView<'_, V> {
    /// Whether all taps of all channels of an output lie together.
    pub(super) fn has_long_runs(&self) -> bool {
        self.channel_stride < self.output_stride
    }

    /// Rounds these taps and units of each tap's row of channels to `E` and packs them for `panel`, `[taps, units, width]`.
    pub(super) fn pack<E: Element>(
        &self,
        isa: Isa,
        panel: &Panel,
        taps: Range<usize>,
        units: Range<usize>,
        packed: &mut [u32],
    ) {
        if packed.is_empty() {
            return;
        }
        vectorized(
            isa,
            #[inline(always)]
            || match (self.output_stride, self.channel_stride) {
                (1, _) => self.pack_neighbours::<E>(panel, taps, units, packed),
                (_, 2..) if self.has_long_runs() => self.pack_turned::<E>(isa, panel, taps, units, packed),
                _ => self.pack_transposed::<E>(isa, panel, taps, units, packed),
            },
        );
    }

    /// Outputs that lie side by side.
    #[inline(always)]
    fn pack_neighbours<E: Element>(&self, panel: &Panel, taps: Range<usize>, units: Range<usize>, packed: &mut [u32]) {
        const AHEAD: usize = 12;
        let width = panel.kernel.width;
        let lanes = width.min(self.outputs - panel.first_output);
        let places = taps.flat_map(|tap| units.clone().map(move |unit| (tap, unit)));
        for ((tap, unit), packed) in places.zip(packed.chunks_exact_mut(width)) {
            let row = |channel: usize| {
                &self.values[channel * self.channel_stride + self.taps[tap] + panel.first_output..][..lanes]
            };
            let (packed, beyond) = packed.split_at_mut(lanes);
            let channel = unit * E::PER_UNIT;
            // Short pieces of far rows, which the hardware does not foresee, `AHEAD` units ahead.
            for ahead in AHEAD * E::PER_UNIT..(AHEAD + 1) * E::PER_UNIT {
                for lane in (0..lanes).step_by(LANES) {
                    prefetch(row(channel).as_ptr().wrapping_add(ahead * self.channel_stride + lane));
                }
            }
            let values = row(channel).iter().zip(row(channel + E::PER_UNIT - 1));
            for (unit, (first, second)) in packed.iter_mut().zip(values) {
                *unit = E::unit(E::from_f32(first.to_f32()), E::from_f32(second.to_f32()));
            }
            beyond.fill(0);
        }
    }

    /// All taps of neighbouring channels lie together.
    #[inline(always)]
    fn pack_turned<E: Element>(
        &self,
        isa: Isa,
        panel: &Panel,
        taps: Range<usize>,
        units: Range<usize>,
        packed: &mut [u32],
    ) {
        let width = panel.kernel.width;
        let block_units = TURNED_CHANNELS / E::PER_UNIT;
        let mut turned = Turned::new(self);
        for first_lane in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first_lane);
            for first_unit in units.clone().step_by(block_units) {
                let block = first_unit..(first_unit + block_units).min(units.end);
                let channels = block.start * E::PER_UNIT..block.end * E::PER_UNIT;
                turned.turn(isa, self, panel.first_output + first_lane, channels);
                for (place, tap) in taps.clone().enumerate() {
                    for unit in block.clone() {
                        let channel = unit * E::PER_UNIT;
                        let first = turned.lanes(channel, tap);
                        let second = turned.lanes(channel + E::PER_UNIT - 1, tap);
                        let mut column = [0; LANES];
                        for i in 0..LANES {
                            column[i] = E::unit(E::from_f32(first[i]), E::from_f32(second[i]));
                        }
                        let at = (place * units.len() + unit - units.start) * width + first_lane;
                        match packed[at..].first_chunk_mut::<LANES>() {
                            Some(packed) if lanes == LANES => *packed = column,
                            _ => packed[at..][..lanes].copy_from_slice(&column[..lanes]),
                        }
                    }
                }
            }
        }
    }

    /// Sixteen outputs at a time are rounded as their rows of channels lie and then transposed.
    #[inline(always)]
    fn pack_transposed<E: Element>(
        &self,
        isa: Isa,
        panel: &Panel,
        taps: Range<usize>,
        units: Range<usize>,
        packed: &mut [u32],
    ) {
        let (width, row_len) = (panel.kernel.width, taps.len() * SIDE);
        let mut rows = vec![0; SIDE * row_len];
        let mut columns = [0; SIDE * SIDE];
        for first_lane in (0..width).step_by(SIDE) {
            let lanes = SIDE.min(width - first_lane);
            for first_unit in units.clone().step_by(SIDE) {
                let count = SIDE.min(units.end - first_unit);
                for (lane, row) in rows.chunks_exact_mut(row_len).enumerate() {
                    let output = panel.first_output + first_lane + lane;
                    if lane >= lanes || output >= self.outputs {
                        row.fill(0);
                        continue;
                    }
                    for (tap, row) in taps.clone().zip(row.chunks_exact_mut(SIDE)) {
                        self.round_row::<E>(output, tap, first_unit * E::PER_UNIT, row);
                    }
                }
                for tap in 0..taps.len() {
                    transpose(isa, &rows[tap * SIDE..], row_len, &mut columns, SIDE);
                    let packed = &mut packed[(tap * units.len() + first_unit - units.start) * width + first_lane..];
                    for (unit, column) in columns.chunks_exact(SIDE).take(count).enumerate() {
                        packed[unit * width..][..lanes].copy_from_slice(&column[..lanes]);
                    }
                }
            }
        }
    }

    /// Sixteen units of the channels from `first` on, of one output and tap, with zeros beyond the last.
    #[inline(always)]
    fn round_row<E: Element>(&self, output: usize, tap: usize, first: usize, units: &mut [u32]) {
        let mut values = [0.0; 2 * SIDE];
        let column = &self.values[output * self.output_stride + first * self.channel_stride + self.taps[tap]..];
        let count = (SIDE * E::PER_UNIT).min(self.channels - first);
        match self.channel_stride {
            1 if count == SIDE * E::PER_UNIT => {
                let values = &mut values[..SIDE * E::PER_UNIT];
                values
                    .iter_mut()
                    .zip(&column[..SIDE * E::PER_UNIT])
                    .for_each(|(value, weight)| *value = weight.to_f32());
            }
            stride => {
                let column = column.iter().step_by(stride);
                values[..count].iter_mut().zip(column).for_each(|(value, weight)| *value = weight.to_f32());
            }
        }
        let units: &mut [u32; SIDE] = units.try_into().expect("a block of units");
        for (unit, slot) in units.iter_mut().enumerate() {
            let channel = unit * E::PER_UNIT;
            *slot = E::unit(E::from_f32(values[channel]), E::from_f32(values[channel + E::PER_UNIT - 1]));
        }
    }
}

/// The taps of a row of the window and their channels together are one row, with a zero behind an odd number.
fn pack_spans<E: Element>(weight: &WeightView<impl Element>, panel: &Panel, layout: RowLayout, packed: &mut [u32]) {
    let width = panel.kernel.width;
    let lanes = width.min(weight.outputs - panel.first_output);
    let Some(span_taps) = weight.taps.len().checked_div(layout.taps) else { return };
    packed.fill(0);
    for (row, packed) in packed.chunks_exact_mut(layout.row_units * width).enumerate() {
        let taps = &weight.taps[row * span_taps..][..span_taps];
        for lane in 0..lanes {
            let output = (panel.first_output + lane) * weight.output_stride;
            let value = |i: usize| match taps.get(i / weight.channels) {
                Some(tap) => {
                    let at = output + i % weight.channels * weight.channel_stride + tap;
                    E::from_f32(weight.values[at].to_f32())
                }
                None => E::default(),
            };
            for (unit, packed) in packed.chunks_exact_mut(width).enumerate() {
                let first = unit * E::PER_UNIT;
                packed[lane] = E::unit(value(first), value(first + E::PER_UNIT - 1));
            }
        }
    }
}
