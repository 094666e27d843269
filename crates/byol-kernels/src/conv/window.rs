//! Which source positions a destination position sees, as pointers to rows of channels.
#![expect(unsafe_code, reason = "computes row pointers that the inner loops read through")]

use std::ops::Range;

use crate::element::Element;
use crate::vector::GROUP_ROWS;

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
    fn inside(&self, tap: usize, range: &Range<usize>) -> Range<usize> {
        let offset = self.source_first + tap as isize;
        // The first i with offset + step·i ≥ 0, and the first with offset + step·i ≥ source_len.
        let reaching = |bound: isize| (bound - offset).max(0) as usize;
        let start = reaching(0).div_ceil(self.source_step).clamp(range.start, range.end);
        let end = reaching(self.source_len as isize).div_ceil(self.source_step).clamp(start, range.end);
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
}

/// The rows that up to [`GROUP_ROWS`] positions see.
pub(super) struct RowTable {
    pointers: Vec<*const u32>,
    /// Dense copies of patches, where rows are not read in place.
    patches: Vec<u32>,
    zeros: Vec<u32>,
    layout: RowLayout,
}

impl RowTable {
    /// Room for a group of rows.
    pub(super) fn new(layout: RowLayout) -> Self {
        Self {
            pointers: vec![std::ptr::null(); layout.taps * GROUP_ROWS],
            patches: vec![0; if layout.in_place { 0 } else { GROUP_ROWS * layout.row_units }],
            zeros: vec![0; layout.row_units],
            layout,
        }
    }

    /// `[taps, GROUP_ROWS]` pointers, each valid for `row_units` units as long as the source and the table live.
    pub(super) fn pointers(&self) -> *const *const u32 {
        self.pointers.as_ptr()
    }

    /// The rows of `tap`.
    pub(super) fn rows(&self, tap: usize) -> &[*const u32] {
        &self.pointers[tap * GROUP_ROWS..][..GROUP_ROWS]
    }

    /// Points the table at what `positions` (at most [`GROUP_ROWS`]) see of `source`; the rest of it at zeros.
    pub(super) fn fill<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        assert!(positions.len() <= GROUP_ROWS);
        if self.layout.in_place {
            self.point_into(window, source, positions);
        } else {
            self.gather(window, source, positions);
        }
    }

    fn point_into<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        let zeros = self.zeros.as_ptr();
        self.pointers.fill(zeros);
        let row_len = window.x.source_len * window.channels;
        window.for_each_run(positions, |image, i, columns, first| {
            for tap_y in 0..window.y.taps {
                let y = window.y.source(i, tap_y);
                if y < 0 || y >= window.y.source_len as isize {
                    continue;
                }
                let row = (image * window.y.source_len + y as usize) * row_len;
                assert!(row + row_len <= source.len(), "the window leaves its source");
                // SAFETY: the row lies in the source, as just asserted.
                let row = unsafe { source.as_ptr().add(row) };
                for tap_x in 0..window.x.taps {
                    let inside = window.x.inside(tap_x, &columns);
                    let slots = first + inside.start - columns.start;
                    let table =
                        &mut self.pointers[(tap_y * window.x.taps + tap_x) * GROUP_ROWS + slots..][..inside.len()];
                    for (j, slot) in inside.zip(table) {
                        // `inside` has only columns whose source lies in the row.
                        let offset = window.x.source(j, tap_x) as usize * window.channels;
                        *slot = row.wrapping_add(offset).cast();
                    }
                }
            }
        });
    }

    fn gather<E: Element>(&mut self, window: &Window, source: &[E], positions: Range<usize>) {
        if self.layout.taps == 0 {
            return;
        }
        let patch_len = window.taps() * window.channels;
        let row_units = self.layout.row_units;
        self.patches.fill(0);
        // SAFETY: the buffer has room for `GROUP_ROWS` patches of `row_units` units, and any bits are a value of E.
        let patches: &mut [E] = unsafe {
            std::slice::from_raw_parts_mut(self.patches.as_mut_ptr().cast(), self.patches.len() * E::PER_UNIT)
        };
        let row_len = window.x.source_len * window.channels;
        window.for_each_run(positions, |image, i, columns, first| {
            for tap_y in 0..window.y.taps {
                let y = window.y.source(i, tap_y);
                if y < 0 || y >= window.y.source_len as isize {
                    continue;
                }
                let row = &source[(image * window.y.source_len + y as usize) * row_len..][..row_len];
                for (slot, j) in (first..).zip(columns.clone()) {
                    let patch = &mut patches[slot * row_units * E::PER_UNIT..][..patch_len];
                    let span = &mut patch[tap_y * window.x.taps * window.channels..][..window.x.taps * window.channels];
                    copy_inside(row, window.x.source(j, 0), window.channels, span);
                }
            }
        });
        for (slot, pointer) in self.pointers.iter_mut().enumerate() {
            *pointer = self.patches[slot * row_units..].as_ptr();
        }
    }
}

/// Copies source columns from `start` on to `span`, leaving out those outside of the row.
fn copy_inside<E: Copy>(row: &[E], start: isize, channels: usize, span: &mut [E]) {
    let (len, columns) = ((row.len() / channels) as isize, (span.len() / channels) as isize);
    let (from, to) = (start.clamp(0, len), (start + columns).clamp(0, len));
    if from < to {
        let inside = &row[from as usize * channels..to as usize * channels];
        span[(from - start) as usize * channels..][..inside.len()].copy_from_slice(inside);
    }
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
