//! Implicit im2col: the patches of a few image rows at a time become the rows of a matrix that fits in cache.

use std::cell::RefCell;
use std::ops::Range;

/// How destination indices along one spatial axis read source indices: destination `first + stride·i`, `i < count`, reads
/// the `taps` consecutive source indices from `source_first + source_step·i`; those outside `0..source_len` are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) first: usize,
    pub(crate) stride: usize,
    pub(crate) count: usize,
    pub(crate) source_first: isize,
    pub(crate) source_step: usize,
    pub(crate) source_len: usize,
    pub(crate) taps: usize,
}

impl Axis {
    /// Source index of the first tap of destination `first + stride·i`; may be negative.
    fn source_start(&self, i: usize) -> isize {
        self.source_first + (i * self.source_step) as isize
    }

    /// Destination index of the `i`-th.
    pub(crate) fn destination(&self, i: usize) -> usize {
        self.first + self.stride * i
    }

    /// Whether destination index `i` is exactly source index `i`, so that nothing needs gathering.
    fn is_identity(&self) -> bool {
        self.taps == 1
            && self.stride == 1
            && self.source_step == 1
            && self.source_first == 0
            && self.count == self.source_len
    }
}

/// The patches that a window of taps sees at every destination position of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches {
    pub(crate) y: Axis,
    pub(crate) x: Axis,
    pub(crate) channels: usize,
}

impl Patches {
    /// Length of one patch, `[taps y, taps x, channels]`.
    pub(crate) fn patch_len(&self) -> usize {
        self.y.taps * self.x.taps * self.channels
    }

    /// Rows of patches that belong to the first `image_rows` destination rows of a batch of images of `height`.
    pub(crate) fn rows_before(&self, image_rows: usize, height: usize) -> usize {
        let (image, row) = (image_rows / height, image_rows % height);
        image * self.y.count + row.saturating_sub(self.y.first).div_ceil(self.y.stride)
    }

    /// Scratch values that [`Patches::of_rows`] needs for `rows` rows.
    pub(crate) fn scratch_len(&self, rows: usize) -> usize {
        if self.is_source() { 0 } else { rows * self.x.count * self.patch_len() }
    }

    /// The patches `[rows · x.count, patch_len]` of `rows`, counted through the batch of images `source`.
    pub(crate) fn of_rows<'a>(&self, source: &'a [f32], rows: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        let row_len = self.x.count * self.patch_len();
        if self.is_source() {
            return &source[rows.start * row_len..rows.end * row_len];
        }
        let image_len = self.y.source_len * self.x.source_len * self.channels;
        for (row, patches) in rows.zip(scratch.chunks_exact_mut(row_len)) {
            let image = &source[row / self.y.count * image_len..][..image_len];
            self.gather_row(image, row % self.y.count, patches);
        }
        scratch
    }

    /// Whether the patch matrix is the source itself (a 1×1 convolution of stride 1 without padding).
    fn is_source(&self) -> bool {
        self.y.is_identity() && self.x.is_identity()
    }

    /// Writes the patches of one row of destinations: row `i` of image `source`, all of the x axis, into `patches`
    /// `[x.count, patch_len]`.
    fn gather_row(&self, source: &[f32], i: usize, patches: &mut [f32]) {
        let span = self.x.taps * self.channels;
        let source_row_len = self.x.source_len * self.channels;
        let patch_len = self.patch_len();
        for tap_y in 0..self.y.taps {
            let row = self.y.source_start(i) + tap_y as isize;
            let spans = patches.chunks_exact_mut(patch_len).map(|patch| &mut patch[tap_y * span..(tap_y + 1) * span]);
            if row < 0 || row >= self.y.source_len as isize {
                spans.for_each(|span| span.fill(0.0));
                continue;
            }
            let source_row = &source[row as usize * source_row_len..][..source_row_len];
            for (j, span) in spans.enumerate() {
                self.gather_span(source_row, self.x.source_start(j), span);
            }
        }
    }

    /// Copies the taps from source column `start` on, with zeros outside the row.
    #[inline]
    fn gather_span(&self, source_row: &[f32], start: isize, span: &mut [f32]) {
        let end = start + self.x.taps as isize;
        let len = self.x.source_len as isize;
        if start >= 0 && end <= len {
            span.copy_from_slice(&source_row[start as usize * self.channels..][..span.len()]);
            return;
        }
        let (inside_start, inside_end) = (start.clamp(0, len), end.clamp(0, len));
        if inside_start >= inside_end {
            span.fill(0.0);
            return;
        }
        let left = (inside_start - start) as usize * self.channels;
        let inside = &source_row[inside_start as usize * self.channels..inside_end as usize * self.channels];
        let (zeros, rest) = span.split_at_mut(left);
        let (copied, more_zeros) = rest.split_at_mut(inside.len());
        zeros.fill(0.0);
        copied.copy_from_slice(inside);
        more_zeros.fill(0.0);
    }
}

/// Image rows per tile, so that a tile of patches (`row_positions` of `patch_len` values per image row) takes about 256 KiB
/// of a core's L2 cache but has at least 128 positions, enough to amortise streaming the weights.
pub(crate) fn rows_per_tile(row_positions: usize, patch_len: usize) -> usize {
    const TILE_LEN: usize = 64 * 1024;
    const MIN_POSITIONS: usize = 128;
    let positions = (TILE_LEN / patch_len.max(1)).max(MIN_POSITIONS);
    (positions / row_positions.max(1)).max(1)
}

/// Runs `work` with this thread's scratch memory of `len` values of arbitrary content. Must not be nested.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        work(&mut scratch[..len])
    })
}
