//! The two inner loops of every convolution and linear layer, written once over [`Vector`].
#![expect(unsafe_code, reason = "raw pointers keep bounds checks out of the innermost loops")]

use std::ops::Range;

use crate::lanes::{CACHE_LINE_BYTES, prefetch, prefetch_for_writing};

/// Units of a cache line.
const LINE_UNITS: usize = CACHE_LINE_BYTES / size_of::<u32>();

/// Rows per group: a multiple of what every kernel takes at a time.
pub(crate) const GROUP_ROWS: usize = 96;

/// Left columns per block of [`Columns`]: a multiple of what every kernel takes at a time.
pub(crate) const LEFT_BLOCK: usize = 32;

/// The lanes of one register, and how a product of units is added to them.
///
/// # Safety
/// All functions need the instruction set they are written for and pointers valid for [`Vector::LANES`] (`splat`: one)
/// 32-bit values; alignment is not needed.
pub(crate) trait Vector {
    /// Outputs side by side.
    const LANES: usize;
    /// `f32` sums of all lanes.
    type Sum: Copy;
    /// One unit for all lanes.
    type Units: Copy;

    unsafe fn zero() -> Self::Sum;
    unsafe fn load_sum(from: *const f32) -> Self::Sum;
    unsafe fn store_sum(sum: Self::Sum, to: *mut f32);
    unsafe fn load(from: *const u32) -> Self::Units;
    unsafe fn splat(from: *const u32) -> Self::Units;
    unsafe fn multiply_add(sum: Self::Sum, left: Self::Units, right: Self::Units) -> Self::Sum;
}

/// `sums[r, o] (+)= Σ_{tap, u} rows[tap, r][first_unit + u] · panel[tap, u, o]` for a group of rows and one panel.
///
/// The rows of every tap lie anywhere in memory: this is how a convolution is a matrix product without a matrix of patches.
pub(crate) struct Rows {
    /// `[GROUP_ROWS, width]`, row-major.
    pub(crate) sums: *mut f32,
    /// Whether `sums` holds partial sums to add to; otherwise it is overwritten.
    pub(crate) accumulate: bool,
    /// Rows that count, at most [`GROUP_ROWS`]; up to [`GROUP_ROWS`] are read and written.
    pub(crate) count: usize,
    /// `[taps, GROUP_ROWS]` starts of rows; every one valid for `first_unit + units` units.
    pub(crate) rows: *const *const u32,
    pub(crate) taps: usize,
    pub(crate) first_unit: usize,
    pub(crate) units: usize,
    /// `[taps, units, width]` units.
    pub(crate) panel: *const u32,
    /// Null, or `[taps, GROUP_ROWS]` rows of the next group, which vectors ask for as those of this one are read: they lie too
    /// far apart, and are too short, for the hardware to foresee.
    pub(crate) ahead: *const *const u32,
    /// Where the sums will go, if that is soon.
    pub(crate) places: Option<Places>,
}

/// Pieces of two arrays of one shape that an epilogue will touch, one for every row; asked for while the sums are computed.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    /// Starts of the pieces in values, one for every row that counts.
    pub(crate) offsets: *const usize,
    pub(crate) value_bytes: usize,
    /// Bytes of a piece.
    pub(crate) len: usize,
    /// Arrays that are written and read; any of them may be null.
    pub(crate) written: *const u8,
    pub(crate) read: *const u8,
}

impl Places {
    /// Asks for the pieces of these rows.
    ///
    /// # Safety
    /// There are offsets for them.
    #[inline(always)]
    pub(super) unsafe fn prefetch(&self, rows: Range<usize>) {
        for row in rows {
            // SAFETY: the caller's contract.
            let first = unsafe { *self.offsets.add(row) } * self.value_bytes;
            for at in (first..first + self.len).step_by(CACHE_LINE_BYTES) {
                if !self.written.is_null() {
                    prefetch_for_writing(self.written.wrapping_add(at));
                }
                if !self.read.is_null() {
                    prefetch(self.read.wrapping_add(at));
                }
            }
        }
    }
}

/// `sums[l, r] (+)= Σ_u left[u, l] · right[u, r]` for a block of left columns and one panel of right ones.
pub(crate) struct Columns {
    /// `[LEFT_BLOCK, …]` rows `stride` values apart, as wide as the panel.
    pub(crate) sums: *mut f32,
    pub(crate) stride: usize,
    /// Whether `sums` holds partial sums to add to; otherwise it is overwritten.
    pub(crate) accumulate: bool,
    /// Left columns that count, at most [`LEFT_BLOCK`]; up to [`LEFT_BLOCK`] are read and their sums written.
    pub(crate) count: usize,
    /// [`LEFT_BLOCK`] columns of `units` units, in the [`LeftLayout`](super::kernels::LeftLayout) of the kernel.
    pub(crate) left: *const u32,
    /// From unit to unit of the left operand; [`LEFT_BLOCK`] where that is packed as tiles.
    pub(crate) left_stride: usize,
    /// `units` rows of the kernel's width.
    pub(crate) right: *const u32,
    /// From row to row of the right operand; the kernel's width where the left operand is packed as tiles.
    pub(crate) right_stride: usize,
    pub(crate) units: usize,
}

/// [`Rows`] with `R` rows and `N` vectors of outputs in registers at a time.
///
/// # Safety
/// The fields of `rows` are as their comments say, and the machine has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn multiply_rows<V: Vector, const R: usize, const N: usize>(rows: &Rows) {
    const { assert!(GROUP_ROWS.is_multiple_of(R)) };
    for first in (0..rows.count).step_by(R) {
        // SAFETY: `first + R ≤ GROUP_ROWS` because `R` divides it; the caller vouches for the rest.
        unsafe { multiply_row_block::<V, R, N>(rows, first) };
    }
}

#[inline(always)]
unsafe fn multiply_row_block<V: Vector, const R: usize, const N: usize>(rows: &Rows, first: usize) {
    let width = N * V::LANES;
    // SAFETY: row `first + r` and lanes `n·LANES…` lie in `sums`; each `row` is valid for `first_unit + units` units, and
    // the panel for `taps · units · width`.
    unsafe {
        let sums = rows.sums.add(first * width);
        let mut sum = [[V::zero(); N]; R];
        if rows.accumulate {
            for (r, sum) in sum.iter_mut().enumerate() {
                for (n, sum) in sum.iter_mut().enumerate() {
                    *sum = V::load_sum(sums.add(r * width + n * V::LANES));
                }
            }
        }
        if let Some(places) = &rows.places {
            places.prefetch(first..rows.count.min(first + R));
        }
        let mut panel = rows.panel;
        for tap in 0..rows.taps {
            let table = rows.rows.add(tap * GROUP_ROWS + first);
            let row: [*const u32; R] = std::array::from_fn(|r| (*table.add(r)).add(rows.first_unit));
            for line in (0..rows.units).step_by(LINE_UNITS) {
                if !rows.ahead.is_null() {
                    let ahead = rows.ahead.add(tap * GROUP_ROWS + first);
                    (0..R).for_each(|r| prefetch((*ahead.add(r)).wrapping_add(rows.first_unit + line)));
                }
                for u in line..rows.units.min(line + LINE_UNITS) {
                    let right: [V::Units; N] = std::array::from_fn(|n| V::load(panel.add(n * V::LANES)));
                    for (row, sum) in row.iter().zip(&mut sum) {
                        let left = V::splat(row.add(u));
                        for (sum, right) in sum.iter_mut().zip(right) {
                            *sum = V::multiply_add(*sum, left, right);
                        }
                    }
                    panel = panel.add(width);
                }
            }
        }
        for (r, sum) in sum.iter().enumerate() {
            for (n, sum) in sum.iter().enumerate() {
                V::store_sum(*sum, sums.add(r * width + n * V::LANES));
            }
        }
    }
}

/// [`Columns`] with `R` columns and `N` vectors of outputs in registers at a time.
///
/// # Safety
/// The fields of `columns` are as their comments say, and the machine has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn multiply_columns<V: Vector, const R: usize, const N: usize>(columns: &Columns) {
    const { assert!(LEFT_BLOCK.is_multiple_of(R)) };
    for first in (0..columns.count).step_by(R) {
        // SAFETY: column `first + r` lies in the block because `R` divides it; the caller vouches for the rest.
        unsafe {
            let sums = columns.sums.add(first * columns.stride);
            let mut sum = [[V::zero(); N]; R];
            if columns.accumulate {
                for (r, sum) in sum.iter_mut().enumerate() {
                    for (n, sum) in sum.iter_mut().enumerate() {
                        *sum = V::load_sum(sums.add(r * columns.stride + n * V::LANES));
                    }
                }
            }
            for u in 0..columns.units {
                let left = columns.left.add(u * columns.left_stride + first);
                let right = columns.right.add(u * columns.right_stride);
                let right: [V::Units; N] = std::array::from_fn(|n| V::load(right.add(n * V::LANES)));
                for (r, sum) in sum.iter_mut().enumerate() {
                    let left = V::splat(left.add(r));
                    for (sum, right) in sum.iter_mut().zip(right) {
                        *sum = V::multiply_add(*sum, left, right);
                    }
                }
            }
            for (r, sum) in sum.iter().enumerate() {
                for (n, sum) in sum.iter().enumerate() {
                    V::store_sum(*sum, sums.add(r * columns.stride + n * V::LANES));
                }
            }
        }
    }
}
