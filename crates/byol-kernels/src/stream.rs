//! Writing past the caches.
//!
//! What is too large to be found in a cache later need not be there: its lines are not read before they are written, and the
//! caches keep the operands.

use crate::element::Element;
use crate::isa::Isa;
use crate::lanes::{CACHE_LINE_BYTES, LANES, Lanes, store};

/// Whether whole vectors are written past the caches by this thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams(bool);

impl Streams {
    /// For rows of `channels` values, written in code compiled for `isa`.
    pub(crate) fn into<E: Element>(isa: Isa, channels: usize, destination: &[E]) -> Self {
        const MIN_BYTES: usize = 32 * 1024 * 1024;
        let is_aligned = destination.as_ptr().addr().is_multiple_of(CACHE_LINE_BYTES) && channels.is_multiple_of(LANES);
        // The panels of the shorter vectors are as wide as `LANES`: only of `f32` do they fill a line at once.
        let fills_lines = isa >= Isa::Avx512 || isa == Isa::Avx2 && LANES * E::BYTES == CACHE_LINE_BYTES;
        Self(fills_lines && is_aligned && size_of_val(destination) >= MIN_BYTES)
    }

    /// Whether they are.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// Rounds a vector and writes it from `at` on; that is a multiple of the vector from the start of the destination.
    #[inline(always)]
    pub(crate) fn write<E: Element>(self, values: Lanes, row: &mut [E], at: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.0 {
            let to = row[at..][..LANES].as_mut_ptr();
            // SAFETY: the slice has as many values, at a multiple of the vector from an aligned start, and only code compiled
            // for AVX2 or AVX-512 streams.
            #[expect(unsafe_code, reason = "a store that ordinary ones do not wait for")]
            return unsafe { stream(values.map(E::from_f32), to) };
        }
        store(values, row, at);
    }

    /// Makes what this thread has written visible to whoever it tells of it: the end of every task.
    pub(crate) fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self.0 {
            // SAFETY: every 64-bit processor has the instruction.
            #[expect(unsafe_code, reason = "the intrinsic asks for a feature that is always there")]
            unsafe {
                std::arch::x86_64::_mm_sfence();
            }
        }
    }
}

/// Writes sixteen values past the caches; a fence comes before another thread reads them.
///
/// # Safety
/// `to` is valid for them and aligned to their size together, and the caller is compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
#[inline(always)]
unsafe fn stream<E: Element>(values: [E; LANES], to: *mut E) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm256_stream_si256};
    const VECTOR_BYTES: usize = 32;
    for at in (0..LANES * E::BYTES).step_by(VECTOR_BYTES) {
        // SAFETY: the caller's contract; the array and the destination have the bytes of every vector.
        unsafe {
            let vector = _mm256_loadu_si256(values.as_ptr().byte_add(at).cast());
            _mm256_stream_si256(to.byte_add(at).cast(), vector);
        }
    }
}
