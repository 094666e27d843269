//! Blocks of 32×32 sums, held in tiles from the first product to the last.
//!
//! Tiles 0 to 3 hold the four quarters of the sums, row by row; 4 and 5 the upper and lower half of the left operand, 6
//! and 7 the first and second half of the columns of the right one.
#![expect(unsafe_code, reason = "tile loads and stores through raw pointers")]

use std::mem::MaybeUninit;

use super::tiles::{TILE, TILE_UNITS, Tiles};

/// Rows and columns of a block of sums.
pub(crate) const BLOCK: usize = 2 * TILE;

/// Bytes from row to row of a tile of its own.
const TILE_BYTES: isize = (TILE * size_of::<u32>()) as isize;

/// `sums[r, o] (+)= Σ_{tap, u} rows[tap, r][first_unit + u] · panel[tap, u, o]` for [`BLOCK`] rows and outputs.
///
/// The rows of every tap lie anywhere in memory; those at a constant stride are multiplied where they lie, others are
/// copied first.
pub(crate) struct RowBlock {
    /// `[BLOCK, BLOCK]`, row-major.
    pub(crate) sums: *mut f32,
    /// Whether `sums` holds partial sums to add to; otherwise it is overwritten.
    pub(crate) accumulate: bool,
    /// `[taps, BLOCK]` starts of rows, the first of the next tap `tap_stride` pointers further; each is valid for
    /// `first_unit + units` units.
    pub(crate) rows: *const *const u32,
    pub(crate) tap_stride: usize,
    pub(crate) taps: usize,
    pub(crate) first_unit: usize,
    /// Any number; multiples of 16 need no copies.
    pub(crate) units: usize,
    /// `[taps, units, BLOCK]` units.
    pub(crate) panel: *const u32,
}

/// `sums[l, r] (+)= Σ_u left[u, l] · right[u, r]` for [`BLOCK`] left and right columns.
pub(crate) struct ColumnBlock {
    /// [`BLOCK`] rows of [`BLOCK`] values, `stride` values apart.
    pub(crate) sums: *mut f32,
    pub(crate) stride: usize,
    /// Whether `sums` holds partial sums to add to; otherwise it is overwritten.
    pub(crate) accumulate: bool,
    /// `[units / 16, 2]` tiles `[16 columns, 16 units]`, see [`super::pack_left`].
    pub(crate) left: *const u32,
    /// `[units, BLOCK]` units.
    pub(crate) right: *const u32,
    /// A multiple of 16.
    pub(crate) units: usize,
}

/// Computes a [`RowBlock`].
///
/// # Safety
/// The fields of `block` are as their comments say and `sums` overlaps no operand; the caller is compiled for the vector
/// instructions of `T`.
#[inline(always)]
pub(crate) unsafe fn multiply_rows<T: Tiles>(tiles: &mut T, block: &RowBlock) {
    let mut copies = [const { MaybeUninit::<Copy>::uninit() }; 4];
    let [upper_copy, lower_copy, first_copy, second_copy] = copies.each_mut().map(MaybeUninit::as_mut_ptr);
    let rest = block.units % TILE;
    let whole = block.units - rest;
    // SAFETY: each row is valid for `first_unit + units` units and the panel for `taps · units · BLOCK`; `u` is at most a
    // tile short of `units`, and only the remainder is read beyond `whole`.
    unsafe {
        if rest > 0 {
            clear(tiles, first_copy);
            clear(tiles, second_copy);
        }
        start_sums(tiles, block.sums, BLOCK, block.accumulate);
        for tap in 0..block.taps {
            let table = block.rows.add(tap * block.tap_stride);
            let (upper, lower) = (TileRows::new::<T>(table), TileRows::new::<T>(table.add(TILE)));
            let panel = block.panel.add(tap * block.units * BLOCK);
            for u in (0..whole).step_by(TILE) {
                upper.load::<T, 4>(tiles, block.first_unit + u, upper_copy);
                lower.load::<T, 5>(tiles, block.first_unit + u, lower_copy);
                load_right(tiles, panel.add(u * BLOCK));
                multiply_quarters(tiles);
            }
            if rest > 0 {
                upper.load_rest::<T, 4>(tiles, block.first_unit + whole, rest, upper_copy);
                lower.load_rest::<T, 5>(tiles, block.first_unit + whole, rest, lower_copy);
                let panel = panel.add(whole * BLOCK);
                load_rest_of_panel::<T, 6>(tiles, panel, rest, first_copy);
                load_rest_of_panel::<T, 7>(tiles, panel.add(TILE), rest, second_copy);
                multiply_quarters(tiles);
            }
        }
        store_sums(tiles, block.sums, BLOCK);
    }
}

/// Computes a [`ColumnBlock`].
///
/// # Safety
/// As for [`multiply_rows`].
#[inline(always)]
pub(crate) unsafe fn multiply_columns<T: Tiles>(tiles: &mut T, block: &ColumnBlock) {
    // SAFETY: `left` and `right` hold `units` units of BLOCK columns, and `units` is a multiple of a tile.
    unsafe {
        start_sums(tiles, block.sums, block.stride, block.accumulate);
        for u in (0..block.units).step_by(TILE) {
            let left = block.left.add(u * BLOCK);
            tiles.load::<4>(left, TILE_BYTES);
            tiles.load::<5>(left.add(TILE_UNITS), TILE_BYTES);
            load_right(tiles, block.right.add(u * BLOCK));
            multiply_quarters(tiles);
        }
        store_sums(tiles, block.sums, block.stride);
    }
}

/// The memory a tile is loaded from when its rows do not lie as a load wants them.
#[repr(align(64))]
#[expect(dead_code, reason = "read and written through pointers")]
struct Copy([u32; TILE_UNITS]);

/// Sixteen rows that become a tile.
#[derive(Clone, Copy)]
struct TileRows {
    pointers: *const *const u32,
    /// Bytes from each row to the next, if the same for all.
    stride: Option<isize>,
}

impl TileRows {
    /// # Safety
    /// `pointers` is valid for [`TILE`] pointers.
    #[inline(always)]
    unsafe fn new<T: Tiles>(pointers: *const *const u32) -> Self {
        // SAFETY: the caller's contract.
        Self { pointers, stride: unsafe { T::stride(pointers) } }
    }

    /// # Safety
    /// Every row is valid for `unit + TILE` units.
    #[inline(always)]
    unsafe fn load<T: Tiles, const N: usize>(self, tiles: &mut T, unit: usize, copy: *mut Copy) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.stride {
                Some(stride) => tiles.load::<N>((*self.pointers).add(unit), stride),
                None => self.load_rest::<T, N>(tiles, unit, TILE, copy),
            }
        }
    }

    /// Loads `count` units of every row and zeros behind them.
    ///
    /// # Safety
    /// Every row is valid for `unit + count` units.
    #[inline(always)]
    unsafe fn load_rest<T: Tiles, const N: usize>(self, tiles: &mut T, unit: usize, count: usize, copy: *mut Copy) {
        let copy = copy.cast::<u32>();
        // SAFETY: the caller's contract, and `copy` is a whole tile.
        unsafe {
            for r in 0..TILE {
                T::copy_row((*self.pointers.add(r)).add(unit), count, copy.add(r * TILE));
            }
            tiles.load::<N>(copy, TILE_BYTES);
        }
    }
}

/// Fills `copy` with zeros, without a call into a library that knows nothing of live tiles.
///
/// # Safety
/// The machine has the tiles of `T`.
#[inline(always)]
unsafe fn clear<T: Tiles>(tiles: &mut T, copy: *mut Copy) {
    // SAFETY: the caller's contract, and `copy` is a whole tile.
    unsafe {
        tiles.zero::<6>();
        tiles.store::<6>(copy.cast(), TILE_BYTES);
    }
}

/// Loads tile `N` from `count` rows of a panel and what `copy` holds below them: zeros, not whatever follows the panel,
/// because zero times infinity is no zero.
///
/// # Safety
/// `panel` is valid for [`TILE`] units of `count` rows.
#[inline(always)]
unsafe fn load_rest_of_panel<T: Tiles, const N: usize>(
    tiles: &mut T,
    panel: *const u32,
    count: usize,
    copy: *mut Copy,
) {
    let copy = copy.cast::<u32>();
    // SAFETY: the caller's contract, and `copy` is a whole tile.
    unsafe {
        for r in 0..count {
            T::copy_row(panel.add(r * BLOCK), TILE, copy.add(r * TILE));
        }
        tiles.load::<N>(copy, TILE_BYTES);
    }
}

/// # Safety
/// `right` is valid for `[TILE, BLOCK]` units.
#[inline(always)]
unsafe fn load_right<T: Tiles>(tiles: &mut T, right: *const u32) {
    // SAFETY: the caller's contract.
    unsafe {
        tiles.load::<6>(right, 2 * TILE_BYTES);
        tiles.load::<7>(right.add(TILE), 2 * TILE_BYTES);
    }
}

/// # Safety
/// The machine has the tiles of `T`.
#[inline(always)]
unsafe fn multiply_quarters<T: Tiles>(tiles: &mut T) {
    // SAFETY: the caller's contract.
    unsafe {
        tiles.multiply_add::<0, 4, 6>();
        tiles.multiply_add::<1, 4, 7>();
        tiles.multiply_add::<2, 5, 6>();
        tiles.multiply_add::<3, 5, 7>();
    }
}

/// # Safety
/// `sums` is valid for [`BLOCK`] rows of [`BLOCK`] values, `stride` values apart.
#[inline(always)]
unsafe fn start_sums<T: Tiles>(tiles: &mut T, sums: *const f32, stride: usize, accumulate: bool) {
    let bytes = (stride * size_of::<f32>()) as isize;
    // SAFETY: the caller's contract.
    unsafe {
        if accumulate {
            let sums = sums.cast::<u32>();
            tiles.load::<0>(sums, bytes);
            tiles.load::<1>(sums.add(TILE), bytes);
            tiles.load::<2>(sums.add(TILE * stride), bytes);
            tiles.load::<3>(sums.add(TILE * stride + TILE), bytes);
        } else {
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
        }
    }
}

/// # Safety
/// As for [`start_sums`].
#[inline(always)]
unsafe fn store_sums<T: Tiles>(tiles: &T, sums: *mut f32, stride: usize) {
    let bytes = (stride * size_of::<f32>()) as isize;
    // SAFETY: the caller's contract.
    unsafe {
        tiles.store::<0>(sums, bytes);
        tiles.store::<1>(sums.add(TILE), bytes);
        tiles.store::<2>(sums.add(TILE * stride), bytes);
        tiles.store::<3>(sums.add(TILE * stride + TILE), bytes);
    }
}
