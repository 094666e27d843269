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
        const MIN_BYTES: usize = 8 * 1024 * 1024;
        let is_aligned = destination.as_ptr().addr().is_multiple_of(CACHE_LINE_BYTES) && channels.is_multiple_of(LANES);
        Self(isa >= Isa::Avx512 && is_aligned && size_of_val(destination) >= MIN_BYTES)
    }

    /// Rounds a vector and writes it from `at` on; that is a multiple of the vector from the start of the destination.
    #[inline(always)]
    pub(crate) fn write<E: Element>(self, values: Lanes, row: &mut [E], at: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.0 {
            let to = row[at..][..LANES].as_mut_ptr();
            // SAFETY: the slice has as many values, at a multiple of the vector from an aligned start, and only code compiled
            // for AVX-512 streams.
            #[expect(unsafe_code, reason = "a store that ordinary ones do not wait for")]
            return unsafe { E::stream_avx512(values, to) };
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
