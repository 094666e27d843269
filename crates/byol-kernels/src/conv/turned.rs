//! A weight with its outputs side by side, where those lie far apart in memory.

use std::ops::Range;

use super::weight::WeightView;
use crate::element::Element;
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes};
use crate::transpose::{SIDE, transpose};

const _: () = assert!(SIDE == LANES);

/// Channels that are turned at a time.
pub(super) const TURNED_CHANNELS: usize = 16;

/// `[channels, taps]` vectors of [`LANES`] outputs, of a block of at most [`TURNED_CHANNELS`] channels.
///
/// The values of an output lie in runs: those of all channels of the block in one, or one for each channel. Runs of
/// sixteen outputs are copied below each other and transposed, which is faster than to pick single values.
pub(super) struct Turned {
    /// `[LANES, row_len]` bits of `f32`.
    rows: Vec<u32>,
    /// `[row_len, LANES]` of the same.
    columns: Vec<u32>,
    row_len: usize,
    /// Values of a run that belong to one channel.
    reach: usize,
    /// Columns from channel to channel: the channels' stride if all lie in one run.
    step: usize,
    /// Column of each tap.
    taps: Vec<usize>,
    /// The smallest offset of a tap.
    first_tap: usize,
    first_channel: usize,
}

impl Turned {
    /// For blocks of channels of `weight`, which has taps.
    pub(super) fn new<V: Element>(weight: &WeightView<V>) -> Self {
        let first_tap = weight.taps.iter().copied().min().expect("a weight with taps");
        let taps: Vec<usize> = weight.taps.iter().map(|tap| tap - first_tap).collect();
        let reach = taps.iter().max().map_or(0, |last| last + 1);
        let is_one_run = weight.has_long_runs();
        let step = if is_one_run { weight.channel_stride } else { SIDE };
        assert!(is_one_run || reach <= SIDE, "at most sixteen values from the first tap to the last");
        let row_len = ((TURNED_CHANNELS - 1) * step + reach).next_multiple_of(SIDE);
        let (rows, columns) = (vec![0; LANES * row_len], vec![0; row_len * LANES]);
        Self { rows, columns, row_len, reach, step, taps, first_tap, first_channel: 0 }
    }

    /// Turns the values of these channels and of the outputs from `first_output` on; zeros beyond the last one. Called in code
    /// compiled for `isa`, with the weight that it was made for.
    #[inline(always)]
    pub(super) fn turn<V: Element>(
        &mut self,
        isa: Isa,
        weight: &WeightView<V>,
        first_output: usize,
        channels: Range<usize>,
    ) {
        assert!(channels.len() <= TURNED_CHANNELS && channels.end <= weight.channels);
        self.first_channel = channels.start;
        let outputs = first_output..(first_output + LANES).min(weight.outputs);
        match weight.has_long_runs() {
            true => self.turn_one_run(isa, weight, outputs, channels),
            false => self.turn_runs(isa, weight, outputs, channels),
        }
    }

    /// The channels lie in one run.
    #[inline(always)]
    fn turn_one_run<V: Element>(
        &mut self,
        isa: Isa,
        weight: &WeightView<V>,
        outputs: Range<usize>,
        channels: Range<usize>,
    ) {
        let len = (channels.len() - 1) * self.step + self.reach;
        let first = self.first_tap + channels.start * weight.channel_stride;
        let start = |output: usize| first + output * weight.output_stride;
        for (lane, row) in self.rows.chunks_exact_mut(self.row_len).enumerate() {
            let output = outputs.start + lane;
            match output < outputs.end {
                true => copy_bits(&weight.values[start(output)..][..len], &mut row[..len]),
                false => row.fill(0),
            }
        }
        for column in (0..len).step_by(SIDE) {
            transpose(isa, &self.rows[column..], self.row_len, &mut self.columns[column * LANES..], LANES);
        }
    }

    /// Each channel has a run of its own.
    #[inline(always)]
    fn turn_runs<V: Element>(
        &mut self,
        isa: Isa,
        weight: &WeightView<V>,
        outputs: Range<usize>,
        channels: Range<usize>,
    ) {
        for (block, channel) in channels.enumerate() {
            let first = self.first_tap + channel * weight.channel_stride;
            for lane in 0..LANES {
                let row = &mut self.rows.as_chunks_mut::<SIDE>().0[lane];
                let output = outputs.start + lane;
                if output >= outputs.end {
                    row.fill(0);
                    continue;
                }
                let start = first + output * weight.output_stride;
                // What follows the run does no harm, and a whole vector is copied in one go.
                match weight.values[start..].first_chunk::<SIDE>() {
                    Some(values) => {
                        for i in 0..SIDE {
                            row[i] = values[i].to_f32().to_bits();
                        }
                    }
                    None => copy_bits(&weight.values[start..][..self.reach], &mut row[..self.reach]),
                }
            }
            transpose(isa, &self.rows, SIDE, &mut self.columns[block * SIDE * LANES..], LANES);
        }
    }

    /// The outputs' values of `channel` at `tap`.
    #[inline(always)]
    pub(super) fn lanes(&self, channel: usize, tap: usize) -> Lanes {
        let column = (channel - self.first_channel) * self.step + self.taps[tap];
        let bits: &[u32; LANES] = self.columns[column * LANES..][..LANES].try_into().expect("a column");
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = f32::from_bits(bits[i]);
        }
        lanes
    }
}

#[inline(always)]
fn copy_bits<V: Element>(values: &[V], bits: &mut [u32]) {
    bits.iter_mut().zip(values).for_each(|(bits, value)| *bits = value.to_f32().to_bits());
}
