//! Plain arrays, for every machine.
#![expect(unsafe_code, reason = "implements an unsafe trait of raw loads and stores")]

use super::block::{Vector, multiply_columns, multiply_rows};
use super::kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel, VECTOR_CHUNK_LEN};

pub(super) const F32: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 16, run: |rows| unsafe { multiply_rows::<Floats, 2, 2>(rows) } },
        RowsKernel { width: 8, run: |rows| unsafe { multiply_rows::<Floats, 4, 1>(rows) } },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[ColumnsKernel { width: 8, run: |columns| unsafe { multiply_columns::<Floats, 4, 1>(columns) } }],
    left: LeftLayout::UnitsFirst,
};

pub(super) const BF16: Kernels = Kernels {
    rows: &[RowsKernel { width: 8, run: |rows| unsafe { multiply_rows::<Pairs, 4, 1>(rows) } }],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[ColumnsKernel { width: 8, run: |columns| unsafe { multiply_columns::<Pairs, 4, 1>(columns) } }],
    left: LeftLayout::UnitsFirst,
};

/// The kernels of [`BF16`] in panels as wide as those of AVX-512.
#[cfg(all(test, unix, target_arch = "x86_64"))]
pub(crate) const WIDE_PANELS_ON_ARRAYS: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 64, run: |rows| unsafe { multiply_rows::<Pairs, 6, 8>(rows) } },
        RowsKernel { width: 48, run: |rows| unsafe { multiply_rows::<Pairs, 8, 6>(rows) } },
        RowsKernel { width: 32, run: |rows| unsafe { multiply_rows::<Pairs, 12, 4>(rows) } },
        RowsKernel { width: 16, run: |rows| unsafe { multiply_rows::<Pairs, 12, 2>(rows) } },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 48, run: |columns| unsafe { multiply_columns::<Pairs, 8, 6>(columns) } },
        ColumnsKernel { width: 32, run: |columns| unsafe { multiply_columns::<Pairs, 8, 4>(columns) } },
        ColumnsKernel { width: 16, run: |columns| unsafe { multiply_columns::<Pairs, 16, 2>(columns) } },
    ],
    left: LeftLayout::UnitsFirst,
};

const LANES: usize = 8;

/// Units of one `f32`.
struct Floats;

/// Units of two `bf16`.
struct Pairs;

// SAFETY of all bodies below: the trait's contract makes the pointers valid for `LANES` (`splat`: one) values.
impl Vector for Floats {
    const LANES: usize = LANES;
    type Sum = [f32; LANES];
    type Units = [f32; LANES];

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> Self::Sum {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: Self::Sum, to: *mut f32) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(sum) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Units {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> Self::Units {
        [unsafe { from.cast::<f32>().read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: Self::Sum, left: Self::Units, right: Self::Units) -> Self::Sum {
        std::array::from_fn(|lane| sum[lane] + left[lane] * right[lane])
    }
}

impl Vector for Pairs {
    const LANES: usize = LANES;
    type Sum = [f32; LANES];
    type Units = [u32; LANES];

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> Self::Sum {
        unsafe { Floats::load_sum(from) }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: Self::Sum, to: *mut f32) {
        unsafe { Floats::store_sum(sum, to) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Units {
        unsafe { from.cast::<[u32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> Self::Units {
        [unsafe { from.read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: Self::Sum, left: Self::Units, right: Self::Units) -> Self::Sum {
        let low = |unit: u32| f32::from_bits(unit << 16);
        let high = |unit: u32| f32::from_bits(unit & 0xffff_0000);
        std::array::from_fn(|lane| {
            let (left, right) = (left[lane], right[lane]);
            sum[lane] + low(left) * low(right) + high(left) * high(right)
        })
    }
}
