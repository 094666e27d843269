//! Where a product writes: one slice, in disjoint parts, by many tasks at once.
#![expect(unsafe_code, reason = "tasks write disjoint parts of one slice")]

use std::marker::PhantomData;
use std::ops::Range;

use super::finish::Finish;
use super::window::Window;
use crate::element::Element;
use crate::isa::Isa;
use crate::lanes::{CACHE_LINE_BYTES, LANES, load, store};
use crate::stream::Streams;

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

/// Where the rows of channels of `positions` start in the destination.
pub(super) fn destination_offsets(window: &Window, image: Image, positions: Range<usize>, offsets: &mut Vec<usize>) {
    offsets.clear();
    window.for_each_run(positions, |n, i, run, _| {
        let row = (n * image.height + window.y.destination(i)) * image.width;
        offsets.extend(run.map(|j| (row + window.x.destination(j)) * image.channels));
    });
}
