//! 512-bit vectors, with and without products of `bf16` pairs.
#![expect(unsafe_code, reason = "vector instructions on raw pointers")]

use std::arch::x86_64::*;

use super::block::{Columns, Rows, Vector, multiply_columns, multiply_rows};
use super::kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel, VECTOR_CHUNK_LEN};

pub(super) const F32: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 64, run: rows::<Floats, 6, 4> },
        RowsKernel { width: 48, run: rows::<Floats, 8, 3> },
        RowsKernel { width: 32, run: rows::<Floats, 12, 2> },
        RowsKernel { width: 16, run: rows::<Floats, 12, 1> },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 48, run: columns::<Floats, 8, 3> },
        ColumnsKernel { width: 32, run: columns::<Floats, 8, 2> },
        ColumnsKernel { width: 16, run: columns::<Floats, 16, 1> },
    ],
    left: LeftLayout::UnitsFirst,
};

pub(super) const WIDENED_BF16: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 64, run: rows::<WidenedPairs, 4, 4> },
        RowsKernel { width: 32, run: rows::<WidenedPairs, 8, 2> },
        RowsKernel { width: 16, run: rows::<WidenedPairs, 12, 1> },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 32, run: columns::<WidenedPairs, 8, 2> },
        ColumnsKernel { width: 16, run: columns::<WidenedPairs, 16, 1> },
    ],
    left: LeftLayout::UnitsFirst,
};

pub(super) const BF16: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 64, run: pair_rows::<Pairs, 6, 4> },
        RowsKernel { width: 48, run: pair_rows::<Pairs, 8, 3> },
        RowsKernel { width: 32, run: pair_rows::<Pairs, 12, 2> },
        RowsKernel { width: 16, run: pair_rows::<Pairs, 12, 1> },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 48, run: pair_columns::<Pairs, 8, 3> },
        ColumnsKernel { width: 32, run: pair_columns::<Pairs, 8, 2> },
        ColumnsKernel { width: 16, run: pair_columns::<Pairs, 16, 1> },
    ],
    left: LeftLayout::UnitsFirst,
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rows<V: Vector, const R: usize, const N: usize>(rows: &Rows) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_rows::<V, R, N>(rows) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn columns<V: Vector, const R: usize, const N: usize>(columns: &Columns) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_columns::<V, R, N>(columns) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pair_rows<V: Vector, const R: usize, const N: usize>(rows: &Rows) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_rows::<V, R, N>(rows) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pair_columns<V: Vector, const R: usize, const N: usize>(columns: &Columns) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_columns::<V, R, N>(columns) }
}

/// Units of one `f32`.
struct Floats;

/// Units of two `bf16`, widened to the `f32` of the low and of the high half.
struct WidenedPairs;

/// Units of two `bf16`, multiplied by `vdpbf16ps`, which flushes denormals to zero.
struct Pairs;

/// What all three share: sums are sixteen `f32`.
macro_rules! sixteen_sums {
    () => {
        const LANES: usize = 16;
        type Sum = __m512;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn load_sum(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store_sum(sum: __m512, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, sum) }
        }
    };
}

// SAFETY of all bodies below: the trait's contract gives the instruction set and pointers valid for the lanes.
impl Vector for Floats {
    sixteen_sums!();
    type Units = __m512;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512 {
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> __m512 {
        unsafe { _mm512_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512, right: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }
}

impl Vector for WidenedPairs {
    sixteen_sums!();
    type Units = [__m512; 2];

    #[inline(always)]
    unsafe fn load(from: *const u32) -> [__m512; 2] {
        unsafe { widen(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> [__m512; 2] {
        unsafe { widen(_mm512_set1_epi32(from.read_unaligned() as i32)) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: [__m512; 2], right: [__m512; 2]) -> __m512 {
        unsafe { _mm512_fmadd_ps(left[1], right[1], _mm512_fmadd_ps(left[0], right[0], sum)) }
    }
}

impl Vector for Pairs {
    sixteen_sums!();
    type Units = __m512i;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(from.read_unaligned() as i32) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
        // The same 512 bits, read as pairs of bf16.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(left),
                std::mem::transmute::<__m512i, __m512bh>(right),
            )
        }
    }
}

#[inline(always)]
unsafe fn widen(units: __m512i) -> [__m512; 2] {
    // SAFETY: only called from functions compiled for AVX-512.
    unsafe {
        let high = _mm512_and_si512(units, _mm512_set1_epi32(0xffff_0000_u32 as i32));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(units)), _mm512_castsi512_ps(high)]
    }
}
