//! Which source positions a destination position sees, as pointers to rows of channels.
#![expect(unsafe_code, reason = "computes row pointers that the inner loops read through")]

use std::ops::Range;

use crate::element::Element;
use crate::isa::{Isa, vectorized};

/// How destination indices along one spatial axis read source indices: destination `first + stride·i`, `i < count`, reads
/// the `taps` consecutive source indices from `source_first + source_step·i`; those outside `0..source_len` are zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
    pub(super) source_first: isize,
    pub(super) source_step: usize,
    pub(super) source_len: usize,
    pub(super) taps: usize,
}

impl Axis {
    /// Source index that destination `first + stride·i` reads through `tap`; may lie outside.
    fn source(&self, i: usize, tap: usize) -> isize {
        self.source_first + (i * self.source_step + tap) as isize
    }

    /// Destination index of the `i`-th.
    pub(super) fn destination(&self, i: usize) -> usize {
        self.first + self.stride * i
    }

    /// Those of `range` whose source lies inside through all taps.
    #[inline(always)]
    fn all_inside(&self, range: &Range<usize>) -> Range<usize> {
        let (first, last) = (self.inside(0, range), self.inside(self.taps - 1, range));
        let start = first.start.max(last.start);
        start..first.end.min(last.end).max(start)
    }

    /// Those of `range` whose source through `tap` lies inside.
    #[inline(always)]
    fn inside(&self, tap: usize, range: &Range<usize>) -> Range<usize> {
        let offset = self.source_first + tap as isize;
        // The first i with offset + step·i ≥ 0, and the first with offset + step·i ≥ source_len.
        let reaching = |bound: isize| match ((bound - offset).max(0) as usize, self.source_step) {
            (distance, 1) => distance, // the usual one, without the division
            (distance, step) => distance.div_ceil(step),
        };
        let start = reaching(0).clamp(range.start, range.end);
        let end = reaching(self.source_len as isize).clamp(start, range.end);
        start..end
    }
}

/// The window that slides over a batch of channels-last images. Its positions `[images, y.count, x.count]` are counted
/// through the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) y: Axis,
    pub(super) x: Axis,
    /// Channels of the source.
    pub(super) channels: usize,
}

/// Units that a kernel may sum together: those of a tile register.
const TILE_UNITS: usize = 16;

/// What is a row of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOf {
    /// The channels of one pixel.
    Pixel,
    /// The channels of all neighbouring pixels that a window sees in one row of the image, where one pixel has very few or an
    /// odd number of `bf16`. What completes the last unit is whatever follows in the image, and meets a weight of zero.
    Span,
}

/// How the reduction is cut into rows: `taps` rows of `row_units` units for every position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) taps: usize,
    pub(super) row_units: usize,
    pub(super) row_of: RowOf,
}

impl RowLayout {
    /// The layout for what `window` sees of a source of `E`.
    pub(super) fn new<E: Element>(window: &Window) -> Self {
        let (taps, channels) = (window.taps(), window.channels);
        match channels.is_multiple_of(E::PER_UNIT) && (channels / E::PER_UNIT >= 4 || taps == 1) {
            true => Self { taps, row_units: channels / E::PER_UNIT, row_of: RowOf::Pixel },
            false => {
                let row_units = window.span_len().div_ceil(E::PER_UNIT);
                Self { taps: if taps == 0 { 0 } else { window.y.taps }, row_units, row_of: RowOf::Span }
            }
        }
    }

    /// Units from the start of a row that can be read: of a span whole tiles.
    fn readable_units(self) -> usize {
        match self.row_of {
            RowOf::Pixel => self.row_units,
            RowOf::Span => self.row_units.next_multiple_of(TILE_UNITS),
        }
    }

    /// Units of the reduction.
    pub(super) fn units(&self) -> usize {
        self.taps * self.row_units
    }

    /// Cuts the reduction into parts of at most `len` units, `(taps, units of each row)`: whole rows of several taps, or parts
    /// of the row of one, which end where a tile of [`TILE_UNITS`] does: tiles sum their units together, and so the bits are
    /// those of any other cut.
    pub(super) fn parts(self, len: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let taps_per_part = (len / self.row_units.max(1)).clamp(1, self.taps.max(1));
        let cuts = if taps_per_part > 1 { 1 } else { self.row_units.div_ceil(len).max(1) };
        let part_units = self.row_units.div_ceil(cuts).next_multiple_of(TILE_UNITS).min(len.max(1));
        (0..self.taps).step_by(taps_per_part).flat_map(move |tap| {
            let taps = tap..(tap + taps_per_part).min(self.taps);
            let firsts = (0..self.row_units).step_by(part_units);
            firsts.map(move |first| (taps.clone(), first..(first + part_units).min(self.row_units)))
        })
    }
}

/// The rows that up to `capacity` positions see.
pub(super) struct RowTable {
    capacity: usize,
    /// `[taps, capacity]`
    pointers: Vec<*const u32>,
    /// `[capacity, taps]` rows of [`RowLayout::readable_units`], for spans that leave the image.
    edges: Vec<u32>,
    zeros: Vec<u32>,
    layout: RowLayout,
}

impl RowTable {
    /// Room for the rows of `capacity` positions.
    pub(super) fn new(layout: RowLayout, capacity: usize) -> Self {
        let edges_len = match layout.row_of {
            RowOf::Pixel => 0,
            RowOf::Span => capacity * layout.taps * layout.readable_units(),
        };
        Self {
            capacity,
            pointers: vec![std::ptr::null(); layout.taps * capacity],
            edges: vec![0; edges_len],
            zeros: vec![0; layout.readable_units()],
            layout,
        }
    }

    /// `[taps, capacity]` rows, each valid for `row_units` units, and those of spans for whole tiles of them, as long as the source
    /// and the table live; of spans not aligned to units.
    pub(super) fn rows(&self, taps: Range<usize>) -> &[*const u32] {
        &self.pointers[taps.start * self.capacity..taps.end * self.capacity]
    }

    /// Points the table at what `positions` (at most its capacity) see of `source`; the rest of it at zeros.
    pub(super) fn fill<E: Element>(&mut self, isa: Isa, window: &Window, source: &[E], positions: Range<usize>) {
        assert!(positions.len() <= self.capacity);
        vectorized(
            isa,
            #[inline(always)]
            || match self.layout.row_of {
                RowOf::Pixel => self.point_into(window, source, positions),
                RowOf::Span => self.point_into_spans(window, source, positions),
            },
        );
    }

    #[inline(always)]
    fn point_into<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        let zeros = self.zeros.as_ptr();
        self.pointers.fill(zeros);
        let row_len = window.x.source_len * window.channels;
        let step = window.x.source_step * window.channels;
        window.for_each_run(
            positions,
            #[inline(always)]
            |image, i, columns, first| {
                for tap_x in 0..window.x.taps {
                    let inside = window.x.inside(tap_x, &columns);
                    if inside.is_empty() {
                        continue;
                    }
                    // `inside` has only columns whose source lies in the row.
                    let offset = window.x.source(inside.start, tap_x) as usize * window.channels;
                    let slot = first + inside.start - columns.start;
                    for tap_y in 0..window.y.taps {
                        let y = window.y.source(i, tap_y);
                        if y < 0 || y >= window.y.source_len as isize {
                            continue;
                        }
                        let row = (image * window.y.source_len + y as usize) * row_len;
                        assert!(row + row_len <= source.len(), "the window leaves its source");
                        // SAFETY: the row lies in the source, as just asserted.
                        let start = unsafe { source.as_ptr().add(row + offset) };
                        let slots = &mut self.pointers[(tap_y * window.x.taps + tap_x) * self.capacity + slot..];
                        for (j, slot) in slots[..inside.len()].iter_mut().enumerate() {
                            *slot = start.wrapping_add(j * step).cast();
                        }
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn point_into_spans<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        self.pointers.fill(self.zeros.as_ptr());
        let (taps, row_len) = (self.layout.taps, window.x.source_len * window.channels);
        let (unit_len, readable_len) =
            (self.layout.row_units * E::PER_UNIT, self.layout.readable_units() * E::PER_UNIT);
        let step = window.x.source_step * window.channels;
        let edges = self.edges.as_mut_ptr().cast::<E>();
        window.for_each_run(
            positions,
            #[inline(always)]
            |image, i, columns, first| {
                for tap_y in 0..taps {
                    let y = window.y.source(i, tap_y);
                    if y < 0 || y >= window.y.source_len as isize {
                        continue;
                    }
                    let row_start = (image * window.y.source_len + y as usize) * row_len;
                    let row = &source[row_start..][..row_len];
                    let start = |j: usize| window.x.source(j, 0) * window.channels as isize;
                    let mut whole = window.x.all_inside(&columns);
                    if window.taps() == 1 {
                        // Whatever follows belongs to another position.
                        whole.end = whole.start;
                    }
                    // What completes the last unit is of the same image, and there is a whole tile to read.
                    let image_end = (image + 1) * window.y.source_len * row_len;
                    let fits = |at: usize| at + unit_len <= image_end && at + readable_len <= source.len();
                    while let Some(last) = whole.clone().next_back()
                        && !fits(row_start + start(last) as usize)
                    {
                        whole.end = last;
                    }
                    let slots = &mut self.pointers[tap_y * self.capacity + first..][..columns.len()];
                    if !whole.is_empty() {
                        let from = source[row_start + start(whole.start) as usize..].as_ptr();
                        let slots = &mut slots[whole.start - columns.start..][..whole.len()];
                        for (j, slot) in slots.iter_mut().enumerate() {
                            *slot = from.wrapping_add(j * step).cast();
                        }
                    }
                    for j in (columns.start..whole.start).chain(whole.end..columns.end) {
                        let slot = j - columns.start;
                        let edge = edges.wrapping_add(((first + slot) * taps + tap_y) * readable_len);
                        slots[slot] = edge.cast();
                        // SAFETY: the buffer has as many values for each of `capacity` positions and each tap, and any bits are
                        // a value of E.
                        let edge = unsafe { std::slice::from_raw_parts_mut(edge, readable_len) };
                        edge.fill(E::default());
                        copy_inside(row, start(j), &mut edge[..window.span_len()]);
                    }
                }
            },
        );
    }
}

/// Copies the source's values from `start` on to `span`, zeros for those outside of the row.
#[inline(always)]
fn copy_inside<E: Copy + Default>(row: &[E], start: isize, span: &mut [E]) {
    let (len, end) = (row.len() as isize, start + span.len() as isize);
    let (from, to) = (start.clamp(0, len), end.clamp(0, len));
    let (before, rest) = span.split_at_mut((from - start).clamp(0, span.len() as isize) as usize);
    let (inside, after) = rest.split_at_mut((to - from).max(0) as usize);
    before.fill(E::default());
    inside.copy_from_slice(&row[from as usize..][..inside.len()]);
    after.fill(E::default());
}

impl Window {
    /// Positions of one image.
    pub(super) fn positions(&self) -> usize {
        self.y.count * self.x.count
    }

    /// Values of the neighbouring pixels that a destination position sees in one row of the source.
    pub(super) fn span_len(&self) -> usize {
        self.x.taps * self.channels
    }

    /// Source positions that a destination position sees.
    pub(super) fn taps(&self) -> usize {
        self.y.taps * self.x.taps
    }

    /// Calls `visit(image, i, columns, first)` for each run of positions in one row `i` of destinations; `first` counts
    /// positions from the start of `positions`.
    #[inline(always)]
    pub(super) fn for_each_run(
        &self,
        positions: Range<usize>,
        mut visit: impl FnMut(usize, usize, Range<usize>, usize),
    ) {
        let mut position = positions.start;
        while position < positions.end {
            let (row, column) = (position / self.x.count, position % self.x.count);
            let columns = column..(column + positions.end - position).min(self.x.count);
            let len = columns.len();
            visit(row / self.y.count, row % self.y.count, columns, position - positions.start);
            position += len;
        }
    }
}
