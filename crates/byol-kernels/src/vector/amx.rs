//! Tile registers for products of `bf16`.
#![expect(unsafe_code, reason = "hands raw pointers on to the tile kernels")]

use super::block::{Columns, GROUP_ROWS, LEFT_BLOCK, Rows};
use super::kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel};
#[cfg(all(test, unix))]
use crate::amx::Emulated;
use crate::amx::{BLOCK, ColumnBlock, Hardware, RowBlock, Tiles, multiply_columns, multiply_rows};

pub(super) const BF16: Kernels = Kernels {
    rows: &[RowsKernel { width: BLOCK, run: rows }],
    // 16 KiB: tiles of the panel are loaded from the first cache.
    chunk_len: 4 * 1024,
    columns: &[ColumnsKernel { width: BLOCK, run: columns }],
    left: LeftLayout::Tiles,
};

const _: () = assert!(GROUP_ROWS.is_multiple_of(BLOCK) && LEFT_BLOCK == BLOCK);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rows(rows: &Rows) {
    // SAFETY: the caller's contract is the same, and this function is compiled for the vectors that come with the tiles.
    unsafe { multiply_all_rows::<Hardware>(rows) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn columns(columns: &Columns) {
    // SAFETY: as above.
    unsafe { multiply_all_columns::<Hardware>(columns) }
}

/// The kernels of [`BF16`] for every machine, on tiles in memory.
#[cfg(all(test, unix))]
pub(crate) const TILES_ON_ARRAYS: Kernels = Kernels {
    // SAFETY of both: the caller's contract is the same, and emulated tiles need no instruction set.
    rows: &[RowsKernel { width: BLOCK, run: |rows| unsafe { multiply_all_rows::<Emulated>(rows) } }],
    columns: &[ColumnsKernel { width: BLOCK, run: |columns| unsafe { multiply_all_columns::<Emulated>(columns) } }],
    ..BF16
};

/// # Safety
/// The fields of `rows` are as their comments say, the machine has the tiles of `T` and the caller is compiled for the vector
/// instructions that come with them.
#[inline(always)]
unsafe fn multiply_all_rows<T: Tiles>(rows: &Rows) {
    // SAFETY: by the caller's contract every block of 32 rows below `count`, which is at most `GROUP_ROWS`, lies in `sums` and
    // in the table.
    unsafe {
        let mut tiles = T::configure();
        for first in (0..rows.count).step_by(BLOCK) {
            if let Some(places) = &rows.places {
                places.prefetch(first..rows.count.min(first + BLOCK));
            }
            let block = RowBlock {
                sums: rows.sums.add(first * BLOCK),
                accumulate: rows.accumulate,
                rows: rows.rows.add(first),
                tap_stride: GROUP_ROWS,
                taps: rows.taps,
                first_unit: rows.first_unit,
                units: rows.units,
                panel: rows.panel,
            };
            multiply_rows(&mut tiles, &block);
        }
    }
}

/// # Safety
/// As for [`multiply_all_rows`]; the left operand is packed as tiles.
#[inline(always)]
unsafe fn multiply_all_columns<T: Tiles>(columns: &Columns) {
    let Columns { sums, stride, accumulate, left, left_stride, right, right_stride, units, .. } = *columns;
    debug_assert_eq!((left_stride, right_stride), (LEFT_BLOCK, BLOCK));
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_columns(&mut T::configure(), &ColumnBlock { sums, stride, accumulate, left, right, units }) };
}
