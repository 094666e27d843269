//! 256-bit vectors with fused multiply-add.
#![expect(unsafe_code, reason = "vector instructions on raw pointers")]

use std::arch::x86_64::*;

use super::block::{Columns, Rows, Vector, multiply_columns, multiply_rows};
use super::kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel, VECTOR_CHUNK_LEN};

pub(super) const F32: Kernels = Kernels {
    rows: &[RowsKernel { width: 16, run: rows::<Floats, 6, 2> }, RowsKernel { width: 8, run: rows::<Floats, 12, 1> }],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 16, run: columns::<Floats, 4, 2> },
        ColumnsKernel { width: 8, run: columns::<Floats, 8, 1> },
    ],
    left: LeftLayout::UnitsFirst,
};

pub(super) const BF16: Kernels = Kernels {
    rows: &[RowsKernel { width: 16, run: rows::<Pairs, 4, 2> }, RowsKernel { width: 8, run: rows::<Pairs, 8, 1> }],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 16, run: columns::<Pairs, 4, 2> },
        ColumnsKernel { width: 8, run: columns::<Pairs, 8, 1> },
    ],
    left: LeftLayout::UnitsFirst,
};

#[target_feature(enable = "avx2,fma")]
unsafe fn rows<V: Vector, const R: usize, const N: usize>(rows: &Rows) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_rows::<V, R, N>(rows) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn columns<V: Vector, const R: usize, const N: usize>(columns: &Columns) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_columns::<V, R, N>(columns) }
}

/// Units of one `f32`.
struct Floats;

/// Units of two `bf16`, widened to the `f32` of the low and of the high half.
struct Pairs;

// SAFETY of all bodies below: the trait's contract gives the instruction set and pointers valid for the lanes.
impl Vector for Floats {
    const LANES: usize = 8;
    type Sum = __m256;
    type Units = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, sum) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m256 {
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> __m256 {
        unsafe { _mm256_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m256, left: __m256, right: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(left, right, sum) }
    }
}

impl Vector for Pairs {
    const LANES: usize = 8;
    type Sum = __m256;
    type Units = [__m256; 2];

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_sum(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_sum(sum: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, sum) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> [__m256; 2] {
        unsafe { widen(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> [__m256; 2] {
        unsafe { widen(_mm256_set1_epi32(from.read_unaligned() as i32)) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m256, left: [__m256; 2], right: [__m256; 2]) -> __m256 {
        unsafe { _mm256_fmadd_ps(left[1], right[1], _mm256_fmadd_ps(left[0], right[0], sum)) }
    }
}

#[inline(always)]
unsafe fn widen(units: __m256i) -> [__m256; 2] {
    // SAFETY: only called from functions compiled for AVX2.
    unsafe {
        let high = _mm256_and_si256(units, _mm256_set1_epi32(0xffff_0000_u32 as i32));
        [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(units)), _mm256_castsi256_ps(high)]
    }
}
