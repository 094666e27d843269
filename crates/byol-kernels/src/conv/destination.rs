//! Where a product writes: one slice, in disjoint parts, by many tasks at once.
#![expect(unsafe_code, reason = "tasks write disjoint parts of one slice")]

use std::marker::PhantomData;
use std::ops::Range;

use super::finish::Finish;
use super::window::Window;
use crate::element::Element;
use crate::isa::Isa;
use crate::lanes::{LANES, load, store};
use crate::stream::Streams;
use crate::vector::Places;

/// Sizes of the images that a product writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Image {
    /// How many of them `len` values are.
    pub(super) fn count(self, len: usize) -> usize {
        len / (self.height * self.width * self.channels)
    }
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

    /// The first row from `column` on, from where rows can be asked for that will be written; null where they are written past the
    /// caches and need not come there first.
    pub(super) fn asked_from(&self, column: usize) -> *const D {
        if self.streams.is_on() { std::ptr::null() } else { self.start.wrapping_add(column) }
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
    /// What [`Destinations::write`] will touch: pieces too short for the hardware to foresee.
    pub(super) fn places(&self, finish: &impl Finish<D>) -> Places {
        Places {
            offsets: self.offsets.as_ptr(),
            value_bytes: D::BYTES,
            len: self.columns.len() * D::BYTES,
            written: self.destination.asked_from(self.columns.start).cast(),
            read: finish.also_reads().map_or(std::ptr::null(), |array| array[self.columns.start..].as_ptr().cast()),
        }
    }

    /// Lets `finish` see the sums `[positions, width]` of `group` and writes what it makes of them.
    #[inline(always)]
    pub(super) fn write(self, finish: &impl Finish<D>, group: usize, width: usize, sums: &[f32]) {
        let sums = &sums[..self.offsets.len() * width];
        finish.observe(group, self.columns.start, width, sums);
        // Whole panels in one go; past the caches, rows that come more slowly are faster.
        let is_whole = self.columns.len() == width && !self.destination.streams.is_on();
        match if is_whole { width } else { 0 } {
            64 => self.write_panel::<64>(finish, sums),
            48 => self.write_panel::<48>(finish, sums),
            32 => self.write_panel::<32>(finish, sums),
            16 => self.write_panel::<16>(finish, sums),
            _ => self.write_part(finish, width, sums),
        }
    }

    /// A whole panel; the width is a constant so that a row is a few vectors without loops and checks.
    #[inline(always)]
    fn write_panel<const WIDTH: usize>(&self, finish: &impl Finish<D>, sums: &[f32]) {
        let first = self.columns.start;
        for (sums, offset) in sums.as_chunks::<WIDTH>().0.iter().zip(self.offsets) {
            let row = self.row(*offset);
            let row: &mut [D; WIDTH] = row.try_into().expect("as many columns as the panel is wide");
            for c in (0..WIDTH).step_by(LANES) {
                let y = finish.values::<LANES>(load(sums, c), || load(row, c), first + c, offset + first + c);
                store(y, row, c);
            }
        }
    }

    /// Fewer columns than the panel has, or past the caches.
    #[inline(always)]
    fn write_part(&self, finish: &impl Finish<D>, width: usize, sums: &[f32]) {
        let (first, streams) = (self.columns.start, self.destination.streams);
        let whole = self.columns.len() / LANES * LANES;
        for (sums, offset) in sums.chunks_exact(width).zip(self.offsets) {
            let row = self.row(*offset);
            for c in (0..whole).step_by(LANES) {
                let y = finish.values::<LANES>(load(sums, c), || load(row, c), first + c, offset + first + c);
                streams.write(y, row, c);
            }
            for c in whole..row.len() {
                let y = finish.values::<1>(load(sums, c), || load(row, c), first + c, offset + first + c);
                store(y, row, c);
            }
        }
    }

    /// These columns of the row that starts at `offset`.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "nobody else has them, see the type")]
    fn row(&self, offset: usize) -> &mut [D] {
        let (destination, at) = (self.destination, offset + self.columns.start);
        assert!(at + self.columns.len() <= destination.len, "the product leaves its destination");
        // SAFETY: in bounds as just asserted. Every position has its own destination, `columns` belongs to one panel, and
        // each pair of group and panel is one task's, which has one row at a time.
        unsafe { std::slice::from_raw_parts_mut(destination.start.add(at), self.columns.len()) }
    }
}

/// Where the rows of channels of `positions` start in the destination.
pub(super) fn destination_offsets(window: &Window, image: Image, positions: Range<usize>, offsets: &mut Vec<usize>) {
    offsets.clear();
    let step = window.x.stride * image.channels;
    window.for_each_run(positions, |n, i, run, _| {
        let row = (n * image.height + window.y.destination(i)) * image.width;
        let first = (row + window.x.destination(run.start)) * image.channels;
        offsets.extend((0..run.len()).map(|j| first + j * step));
    });
}
