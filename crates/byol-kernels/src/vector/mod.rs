//! Vectors of one instruction set: what the inner loops of matrix products are written in.
//!
//! Operands come in *units* of 32 bits along the reduction: one `f32`, or a pair of neighbouring `bf16`. The inner loops
//! (`block.rs`) are written once over [`Vector`] and compiled for each instruction set.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod portable;

pub(crate) use block::{Columns, Rows};

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::bf16;

use crate::isa::Isa;

/// What the inner loops know of an element type; public so that [`crate::Element`] can build on it, but not nameable.
pub trait Operand: Copy {
    /// Values per 32-bit unit.
    const PER_UNIT: usize;

    /// A unit of the given values; the second is ignored where a unit holds one.
    fn unit(first: Self, second: Self) -> u32;

    /// Units of the values of two rows of one length, a multiple of 16.
    ///
    /// # Safety
    /// The lengths are as said, and the caller is compiled for AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    unsafe fn interleave_avx512(first: &[Self], second: &[Self], units: &mut [u32]);

    /// Rounds sixteen values and writes them past the caches; a fence comes before another thread reads them.
    ///
    /// # Safety
    /// `to` is valid for them and aligned to their size together, and the caller is compiled for AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    unsafe fn stream_avx512(values: [f32; 16], to: *mut Self);

    /// The inner loops for `isa`.
    fn kernels(isa: Isa) -> Kernels;
}

impl Operand for f32 {
    const PER_UNIT: usize = 1;

    #[inline(always)]
    fn unit(first: Self, _: Self) -> u32 {
        first.to_bits()
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    #[inline(always)]
    unsafe fn interleave_avx512(first: &[f32], _: &[f32], units: &mut [u32]) {
        for i in (0..units.len()).step_by(16) {
            // SAFETY: `i` is at least 16 from the end of both.
            unsafe { _mm512_storeu_ps(units.as_mut_ptr().add(i).cast(), _mm512_loadu_ps(first.as_ptr().add(i))) }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    #[inline(always)]
    unsafe fn stream_avx512(values: [f32; 16], to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { _mm512_stream_ps(to, _mm512_loadu_ps(values.as_ptr())) }
    }

    fn kernels(isa: Isa) -> Kernels {
        match isa {
            Isa::Portable => portable::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => avx512::F32,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("this machine has no {isa}"),
        }
    }
}

impl Operand for bf16 {
    const PER_UNIT: usize = 2;

    #[inline(always)]
    fn unit(first: Self, second: Self) -> u32 {
        u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    #[inline(always)]
    unsafe fn interleave_avx512(first: &[bf16], second: &[bf16], units: &mut [u32]) {
        for i in (0..units.len()).step_by(16) {
            // SAFETY: `i` is at least 16 from the end of all three.
            unsafe {
                let widened = |row: &[bf16]| _mm512_cvtepu16_epi32(_mm256_loadu_si256(row.as_ptr().add(i).cast()));
                let pairs = _mm512_or_si512(widened(first), _mm512_slli_epi32::<16>(widened(second)));
                _mm512_storeu_si512(units.as_mut_ptr().add(i).cast(), pairs);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "vector instructions")]
    #[inline(always)]
    unsafe fn stream_avx512(values: [f32; 16], to: *mut bf16) {
        let rounded = values.map(<bf16 as crate::Element>::from_f32);
        // SAFETY: the caller's contract.
        unsafe { _mm256_stream_si256(to.cast(), _mm256_loadu_si256(rounded.as_ptr().cast())) }
    }

    fn kernels(isa: Isa) -> Kernels {
        match isa {
            Isa::Portable => portable::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::WIDENED_BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => avx512::BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => amx::BF16,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("this machine has no {isa}"),
        }
    }
}

/// The inner loops of one instruction set and element type. All function pointers need the instruction set they belong to.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// For panels of so many outputs, widest first.
    pub(crate) rows: &'static [RowsKernel],
    /// Units of a panel that all rows of a group are multiplied with before the next; a multiple of every panel's width.
    pub(crate) chunk_len: usize,
    /// For panels of so many right columns, widest first.
    pub(crate) columns: &'static [ColumnsKernel],
    /// How the left operand of all `columns` is packed.
    pub(crate) left: LeftLayout,
}

impl Kernels {
    /// Keeps this thread's registers set up until the value is dropped; a kernel that finds them so starts faster.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn hold_registers(&self) -> Option<crate::amx::Hardware> {
        // SAFETY: only a machine with tile registers gets kernels with this layout.
        #[expect(unsafe_code, reason = "configures tile registers")]
        (self.left == LeftLayout::Tiles).then(|| unsafe { crate::amx::Tiles::configure() })
    }

    /// Nothing to keep here.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn hold_registers(&self) -> Option<()> {
        None
    }
}

/// Multiplies rows that lie anywhere in memory with a packed panel.
#[derive(Clone, Copy)]
pub(crate) struct RowsKernel {
    /// Outputs of a panel.
    pub(crate) width: usize,
    /// See [`Rows`].
    pub(crate) run: unsafe fn(&Rows),
}

/// Multiplies two packed operands along their first axis.
#[derive(Clone, Copy)]
pub(crate) struct ColumnsKernel {
    /// Columns of a panel of the right operand.
    pub(crate) width: usize,
    /// See [`Columns`].
    pub(crate) run: unsafe fn(&Columns),
}

/// Layout of one [`LEFT_BLOCK`] of the left operand of [`Columns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftLayout {
    /// `[units, LEFT_BLOCK]`.
    UnitsFirst,
    /// Tiles `[16 columns, 16 units]` of 1 KiB: `[units / 16, LEFT_BLOCK / 16]` of them; `units` is a multiple of 16.
    #[cfg(target_arch = "x86_64")]
    Tiles,
}

/// 64 KiB of a panel: vectors find it in the second cache early enough, and sums are loaded and stored seldom.
pub(crate) const VECTOR_CHUNK_LEN: usize = 16 * 1024;

/// Rows per group: a multiple of what every kernel takes at a time.
pub(crate) const GROUP_ROWS: usize = 96;

/// Left columns per block of [`Columns`]: a multiple of what every kernel takes at a time.
pub(crate) const LEFT_BLOCK: usize = 32;

/// The panels `(first column, kernel)` that cover `columns`: the widest kernel as often as it fits, then the narrowest
/// that covers the rest.
pub(crate) fn panels<K: Copy>(kernels: &[K], width: impl Fn(&K) -> usize, columns: usize) -> Vec<(usize, K)> {
    let mut panels = Vec::new();
    let mut first = 0;
    while first < columns {
        let rest = columns - first;
        let fitting = kernels.iter().rev().find(|kernel| width(kernel) >= rest);
        let kernel = *fitting.unwrap_or(&kernels[0]);
        panels.push((first, kernel));
        first += width(&kernel);
    }
    panels
}

/// The lanes of one register, and how a product of units is added to them.
///
/// # Safety
/// All functions need the instruction set they are written for and pointers valid for [`Vector::LANES`] (`splat`: one)
/// 32-bit values; alignment is not needed.
#[expect(unsafe_code, reason = "declares what the inner loops are written in")]
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
