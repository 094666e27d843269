//! The element types as the inner loops know them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::bf16;

use super::kernels::Kernels;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
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

    fn kernels(isa: Isa) -> Kernels {
        match isa {
            Isa::Portable => portable::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::F32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => avx512::F32,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonBf16 => neon::F32,
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
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::WIDENED_BF16,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonBf16 => neon::BF16,
            _ => unreachable!("this machine has no {isa}"),
        }
    }
}
