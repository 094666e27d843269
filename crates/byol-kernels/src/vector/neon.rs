//! 128-bit vectors of 64-bit ARM, with and without products of `bf16` pairs.
#![expect(unsafe_code, reason = "vector instructions on raw pointers")]

use std::arch::aarch64::*;

use super::block::{Columns, Rows, Vector, multiply_columns, multiply_rows};
use super::kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel, VECTOR_CHUNK_LEN};

// Of 32 registers, sums take 24 and a row of the panel 4; of widened pairs 16 and 8.

pub(super) const F32: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 16, run: |x| unsafe { multiply_rows::<Floats, 6, 4>(x) } },
        RowsKernel { width: 8, run: |x| unsafe { multiply_rows::<Floats, 12, 2>(x) } },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 16, run: |x| unsafe { multiply_columns::<Floats, 4, 4>(x) } },
        ColumnsKernel { width: 8, run: |x| unsafe { multiply_columns::<Floats, 8, 2>(x) } },
    ],
    left: LeftLayout::UnitsFirst,
};

pub(super) const WIDENED_BF16: Kernels = Kernels {
    rows: &[
        RowsKernel { width: 16, run: |x| unsafe { multiply_rows::<WidenedPairs, 4, 4>(x) } },
        RowsKernel { width: 8, run: |x| unsafe { multiply_rows::<WidenedPairs, 8, 2>(x) } },
    ],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 16, run: |x| unsafe { multiply_columns::<WidenedPairs, 4, 4>(x) } },
        ColumnsKernel { width: 8, run: |x| unsafe { multiply_columns::<WidenedPairs, 8, 2>(x) } },
    ],
    left: LeftLayout::UnitsFirst,
};

pub(super) const BF16: Kernels = Kernels {
    rows: &[RowsKernel { width: 16, run: pair_rows::<6, 4> }, RowsKernel { width: 8, run: pair_rows::<12, 2> }],
    chunk_len: VECTOR_CHUNK_LEN,
    columns: &[
        ColumnsKernel { width: 16, run: pair_columns::<4, 4> },
        ColumnsKernel { width: 8, run: pair_columns::<8, 2> },
    ],
    left: LeftLayout::UnitsFirst,
};

#[target_feature(enable = "bf16")]
unsafe fn pair_rows<const R: usize, const N: usize>(rows: &Rows) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_rows::<Pairs, R, N>(rows) }
}

#[target_feature(enable = "bf16")]
unsafe fn pair_columns<const R: usize, const N: usize>(columns: &Columns) {
    // SAFETY: the caller's contract is the same.
    unsafe { multiply_columns::<Pairs, R, N>(columns) }
}

/// Units of one `f32`.
struct Floats;

/// Units of two `bf16`, widened to the `f32` of the low and of the high half.
struct WidenedPairs;

/// Units of two `bf16`, multiplied by `bfdot`, which flushes denormals to zero and rounds a sum of two products to odd.
struct Pairs;

/// What all three share: sums are four `f32`.
macro_rules! four_sums {
    () => {
        const LANES: usize = 4;
        type Sum = float32x4_t;

        #[inline(always)]
        unsafe fn zero() -> float32x4_t {
            unsafe { vdupq_n_f32(0.0) }
        }

        #[inline(always)]
        unsafe fn load_sum(from: *const f32) -> float32x4_t {
            unsafe { vld1q_f32(from) }
        }

        #[inline(always)]
        unsafe fn store_sum(sum: float32x4_t, to: *mut f32) {
            unsafe { vst1q_f32(to, sum) }
        }
    };
}

// SAFETY of all bodies below: every machine of this kind has 128-bit vectors; the trait's contract gives pointers valid for the
// lanes, and for `Pairs` the instruction.
impl Vector for Floats {
    four_sums!();
    type Units = float32x4_t;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> float32x4_t {
        unsafe { vld1q_f32(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> float32x4_t {
        unsafe { vdupq_n_f32(from.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: float32x4_t, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(sum, left, right) }
    }
}

impl Vector for WidenedPairs {
    four_sums!();
    type Units = [float32x4_t; 2];

    #[inline(always)]
    unsafe fn load(from: *const u32) -> [float32x4_t; 2] {
        unsafe { widen(vld1q_u32(from)) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> [float32x4_t; 2] {
        unsafe { widen(vdupq_n_u32(from.read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: float32x4_t, left: [float32x4_t; 2], right: [float32x4_t; 2]) -> float32x4_t {
        unsafe { vfmaq_f32(vfmaq_f32(sum, left[0], right[0]), left[1], right[1]) }
    }
}

impl Vector for Pairs {
    four_sums!();
    type Units = uint32x4_t;

    #[inline(always)]
    unsafe fn load(from: *const u32) -> uint32x4_t {
        unsafe { vld1q_u32(from) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const u32) -> uint32x4_t {
        unsafe { vdupq_n_u32(from.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: float32x4_t, left: uint32x4_t, right: uint32x4_t) -> float32x4_t {
        unsafe { bfdot(sum, left, right) }
    }
}

/// `sum + left·right` of the pairs of `bf16` in each lane. Stable Rust has no intrinsic for it.
///
/// # Safety
/// The machine has the instruction, and the caller is compiled for it.
#[inline(always)]
pub(crate) unsafe fn bfdot(mut sum: float32x4_t, left: uint32x4_t, right: uint32x4_t) -> float32x4_t {
    // SAFETY: it touches its registers alone.
    unsafe {
        std::arch::asm!(
            "bfdot {sum:v}.4s, {left:v}.8h, {right:v}.8h",
            sum = inout(vreg) sum, left = in(vreg) left, right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[inline(always)]
unsafe fn widen(units: uint32x4_t) -> [float32x4_t; 2] {
    // SAFETY: every machine of this kind has 128-bit vectors.
    unsafe {
        let high = vandq_u32(units, vdupq_n_u32(0xffff_0000));
        [vreinterpretq_f32_u32(vshlq_n_u32::<16>(units)), vreinterpretq_f32_u32(high)]
    }
}
