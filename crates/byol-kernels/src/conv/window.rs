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

/// How the reduction is cut into rows: `taps` rows of `row_units` units for every position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) taps: usize,
    pub(super) row_units: usize,
    /// Whether rows are read where they lie. Rows of very few channels, or of an odd number of `bf16`, are gathered into
    /// one patch over all taps.
    pub(super) in_place: bool,
}

impl RowLayout {
    /// The layout for what `window` sees of a source of `E`.
    pub(super) fn new<E: Element>(window: &Window) -> Self {
        let (taps, channels) = (window.taps(), window.channels);
        let in_place = channels.is_multiple_of(E::PER_UNIT) && (channels / E::PER_UNIT >= 4 || taps == 1);
        match in_place {
            true => Self { taps, row_units: channels / E::PER_UNIT, in_place },
            false => Self { taps: taps.min(1), row_units: (taps * channels).div_ceil(E::PER_UNIT), in_place },
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
    /// Dense copies of patches, where rows are not read in place.
    patches: Vec<u32>,
    zeros: Vec<u32>,
    layout: RowLayout,
}

impl RowTable {
    /// Room for the rows of `capacity` positions.
    pub(super) fn new(layout: RowLayout, capacity: usize) -> Self {
        Self {
            capacity,
            pointers: vec![std::ptr::null(); layout.taps * capacity],
            patches: vec![0; if layout.in_place { 0 } else { capacity * layout.row_units }],
            zeros: vec![0; layout.row_units],
            layout,
        }
    }

    /// `[taps, capacity]` rows, each valid for `row_units` units as long as the source and the table live.
    pub(super) fn rows(&self, taps: Range<usize>) -> &[*const u32] {
        &self.pointers[taps.start * self.capacity..taps.end * self.capacity]
    }

    /// Points the table at what `positions` (at most its capacity) see of `source`; the rest of it at zeros.
    pub(super) fn fill<E: Element>(&mut self, isa: Isa, window: &Window, source: &[E], positions: Range<usize>) {
        assert!(positions.len() <= self.capacity);
        vectorized(
            isa,
            #[inline(always)]
            || match self.layout.in_place {
                true => self.point_into(window, source, positions),
                false => self.gather(window, source, positions),
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
    fn gather<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        if self.layout.taps == 0 {
            return;
        }
        let (span_len, row_len) = (window.x.taps * window.channels, window.x.source_len * window.channels);
        let patch_len = self.layout.row_units * E::PER_UNIT;
        // SAFETY: the buffer has room for `capacity` patches of `row_units` units, and any bits are a value of E.
        let patches: &mut [E] = unsafe {
            std::slice::from_raw_parts_mut(self.patches.as_mut_ptr().cast(), self.patches.len() * E::PER_UNIT)
        };
        let mut written = 0;
        window.for_each_run(
            positions,
            #[inline(always)]
            |image, i, columns, first| {
                written = first + columns.len();
                for (slot, j) in (first..).zip(columns) {
                    let patch = &mut patches[slot * patch_len..][..patch_len];
                    let start = window.x.source(j, 0) * window.channels as isize;
                    let is_whole = start >= 0 && start as usize + span_len <= row_len;
                    for tap_y in 0..window.y.taps {
                        let y = window.y.source(i, tap_y);
                        let span = &mut patch[tap_y * span_len..][..span_len];
                        if y < 0 || y >= window.y.source_len as isize {
                            span.fill(E::default());
                            continue;
                        }
                        let row = &source[(image * window.y.source_len + y as usize) * row_len..][..row_len];
                        match is_whole {
                            true => copy_short(&row[start as usize..][..span_len], span),
                            false => copy_inside(row, start, span),
                        }
                    }
                    patch[window.y.taps * span_len..].fill(E::default());
                }
            },
        );
        patches[written * patch_len..].fill(E::default());
        for (slot, pointer) in self.pointers.iter_mut().enumerate() {
            *pointer = self.patches[slot * self.layout.row_units..].as_ptr();
        }
    }
}

/// Copies a few values, for which a call of the library's copy would take longer than the copy.
#[inline(always)]
fn copy_short<E: Copy>(from: &[E], to: &mut [E]) {
    const STEP: usize = 8;
    let len = from.len().min(to.len());
    if len < STEP {
        return to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    // The last step overlaps the one before where the length is no multiple.
    for at in (0..len).step_by(STEP).map(|at| at.min(len - STEP)) {
        let step: [E; STEP] = from[at..at + STEP].try_into().expect("a slice of that length");
        to[at..at + STEP].copy_from_slice(&step);
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
