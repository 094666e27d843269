//! Which pixels a tile reads and writes.

use std::ops::Range;

use super::super::window::{Axis, Window};
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

    /// The rows of channels that `tile` sees of the source; `zeros` outside.
    #[inline(always)]
    pub(super) fn sources<'a, E>(&self, tile: Tile, source: &'a [E], zeros: &'a [E]) -> [[&'a [E]; POINTS]; POINTS] {
        let row_len = self.x.source_len * self.channels;
        let image = &source[tile.image * self.y.source_len * row_len..][..self.y.source_len * row_len];
        let inside =
            |first: isize, i: usize, len: usize| usize::try_from(first + i as isize).ok().filter(|at| *at < len);
        std::array::from_fn(|i| {
            let y = inside(self.y.source_first + tile.y as isize, i, self.y.source_len);
            std::array::from_fn(|j| match (y, inside(self.x.source_first + tile.x as isize, j, self.x.source_len)) {
                (Some(y), Some(x)) => &image[y * row_len + x * self.channels..][..self.channels],
                _ => zeros,
            })
        })
    }

    /// The rows and columns of destinations that `tile` covers, all inside.
    pub(super) fn destinations(&self, tile: Tile) -> (Range<usize>, Range<usize>) {
        (tile.y..(tile.y + OUT).min(self.y.count), tile.x..(tile.x + OUT).min(self.x.count))
    }
}
