//! Which pixels a tile reads and writes.

use std::ops::Range;

use super::super::window::{Axis, Window, copy_inside};
use super::transform::{OUT, POINTS};

/// Tiles that cover the destinations of a window, row by row, image by image.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    y: Axis,
    x: Axis,
    channels: usize,
}

/// A tile's place.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) image: usize,
    /// First destination along both axes.
    y: usize,
    x: usize,
}

impl Tiling {
    pub(super) fn new(window: &Window) -> Self {
        Self { y: window.y, x: window.x, channels: window.channels }
    }

    /// Tiles of one image.
    pub(super) fn tiles(&self) -> usize {
        self.y.count.div_ceil(OUT) * self.x.count.div_ceil(OUT)
    }

    /// The tile of that number, counted through the batch.
    pub(super) fn tile(&self, number: usize) -> Tile {
        let (image, place) = (number / self.tiles(), number % self.tiles());
        let across = self.x.count.div_ceil(OUT);
        Tile { image, y: place / across * OUT, x: place % across * OUT }
    }

    /// What `tile` sees of each of the source's rows, `[POINTS, channels]`. Where it reaches over the left or right edge, that
    /// is put together in `patch`, `[POINTS, POINTS, channels]`; `zeros` is a row of zeros.
    #[inline(always)]
    pub(super) fn sources<'a, E: Copy + Default>(
        &self,
        tile: Tile,
        source: &'a [E],
        zeros: &'a [E],
        patch: &'a mut [E],
    ) -> [&'a [E]; POINTS] {
        let (row_len, span_len) = (self.x.source_len * self.channels, POINTS * self.channels);
        let image = &source[tile.image * self.y.source_len * row_len..][..self.y.source_len * row_len];
        let first_row = self.y.source_first + tile.y as isize;
        let start = (self.x.source_first + tile.x as isize) * self.channels as isize;
        let is_whole = start >= 0 && start as usize + span_len <= row_len;
        let mut patch = patch.chunks_exact_mut(span_len);
        std::array::from_fn(|i| {
            let y = first_row + i as isize;
            if y < 0 || y >= self.y.source_len as isize {
                return zeros;
            }
            let row = &image[y as usize * row_len..][..row_len];
            if is_whole {
                return &row[start as usize..][..span_len];
            }
            let span = patch.next().expect("a patch has as many rows");
            copy_inside(row, start, span);
            span
        })
    }

    /// The rows and columns of destinations that `tile` covers, all inside.
    pub(super) fn destinations(&self, tile: Tile) -> (Range<usize>, Range<usize>) {
        (tile.y..(tile.y + OUT).min(self.y.count), tile.x..(tile.x + OUT).min(self.x.count))
    }
}
