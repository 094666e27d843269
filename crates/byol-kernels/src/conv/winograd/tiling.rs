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

/// What a tile sees of the source's rows.
pub(super) struct Sources<'a, E> {
    /// From the first column inside of the image on; zeros where the row is outside.
    pub(super) rows: [&'a [E]; POINTS],
    /// The points that are inside; there is nothing left and right of them.
    pub(super) columns: Range<usize>,
    /// Values from there to what is seen soon, see [`Tiling::pixels_ahead`].
    pub(super) ahead: usize,
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

    /// The tiles of these numbers, counted through the batch.
    #[inline(always)]
    pub(super) fn walk(self, numbers: Range<usize>) -> impl Iterator<Item = Tile> {
        let mut next = self.tile(numbers.start);
        numbers.map(
            #[inline(always)]
            move |_| {
                let tile = next;
                next.x += OUT;
                if next.x >= self.x.count {
                    (next.x, next.y) = (0, next.y + OUT);
                }
                if next.y >= self.y.count {
                    (next.y, next.image) = (0, next.image + 1);
                }
                tile
            },
        )
    }

    fn tile(&self, number: usize) -> Tile {
        let (image, place) = (number / self.tiles(), number % self.tiles());
        let across = self.x.count.div_ceil(OUT);
        Tile { image, y: place / across * OUT, x: place % across * OUT }
    }

    /// What `tile` sees of the source; `zeros` is a row of zeros, `[POINTS, channels]`.
    #[inline(always)]
    pub(super) fn sources<'a, E: Copy>(&self, tile: Tile, source: &'a [E], zeros: &'a [E]) -> Sources<'a, E> {
        let row_len = self.x.source_len * self.channels;
        let image = &source[tile.image * self.y.source_len * row_len..][..self.y.source_len * row_len];
        let (first_row, first_column) = (self.y.source_first + tile.y as isize, self.x.source_first + tile.x as isize);
        let inside = |column: isize| column.clamp(0, self.x.source_len as isize);
        let (start, end) = (inside(first_column), inside(first_column + POINTS as isize));
        let columns = (start - first_column) as usize..(end - first_column) as usize;
        let span = start as usize * self.channels..end as usize * self.channels;
        let rows = std::array::from_fn(|i| {
            let y = first_row + i as isize;
            match y < 0 || y >= self.y.source_len as isize {
                true => zeros,
                false => &image[y as usize * row_len..][..row_len][span.clone()],
            }
        });
        let ahead = self.pixels_ahead(tile, self.x.source_len, self.channels) * self.channels;
        Sources { rows, columns, ahead }
    }

    /// Pixels from what `tile` sees of a map, `width_px` wide, to what the tile a few later sees, which is to be asked for while this
    /// one is mapped: the fewer channels a tile has, the sooner it is done. At the end of an image it is roughly there.
    #[inline(always)]
    pub(super) fn pixels_ahead(&self, tile: Tile, width_px: usize, channels: usize) -> usize {
        /// Channels of all tiles that are mapped until main memory has answered.
        const CHANNELS_AHEAD: usize = 64;
        let columns = (CHANNELS_AHEAD / channels).max(1) * OUT;
        let across = self.x.count.div_ceil(OUT) * OUT;
        match tile.x + columns >= across {
            true => columns + (OUT * width_px).saturating_sub(across),
            false => columns,
        }
    }

    /// The rows and columns of destinations that `tile` covers, all inside.
    pub(super) fn destinations(&self, tile: Tile) -> (Range<usize>, Range<usize>) {
        (tile.y..(tile.y + OUT).min(self.y.count), tile.x..(tile.x + OUT).min(self.x.count))
    }
}
