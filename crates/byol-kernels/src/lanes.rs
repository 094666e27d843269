//! Channels that are computed side by side.
//!
//! Loops over arrays of a fixed length become vectors. Loops over slices would not, because the compiler cannot rule out
//! that many slices overlap.

use crate::element::Element;

/// Channels of a vector.
pub(crate) const LANES: usize = 16;

/// A vector of `f32`.
pub(crate) type Lanes = [f32; LANES];

/// `W` values from `at` on.
#[inline(always)]
pub(crate) fn load<E: Element, const W: usize>(values: &[E], at: usize) -> [f32; W] {
    let values: &[E; W] = values[at..at + W].try_into().expect("a slice of the array's length");
    let mut lanes = [0.0; W];
    for i in 0..W {
        lanes[i] = values[i].to_f32();
    }
    lanes
}

/// Rounds `W` values and writes them from `at` on.
#[inline(always)]
pub(crate) fn store<E: Element, const W: usize>(lanes: [f32; W], values: &mut [E], at: usize) {
    let values: &mut [E; W] = (&mut values[at..at + W]).try_into().expect("a slice of the array's length");
    for i in 0..W {
        values[i] = E::from_f32(lanes[i]);
    }
}

/// [`load`] without a check, for loops in which checks take longer than the work: the caller makes one for all.
///
/// # Safety
/// `at + W` is at most the length of `values`.
#[inline(always)]
#[expect(unsafe_code, reason = "reads without a check")]
pub(crate) unsafe fn load_unchecked<E: Element, const W: usize>(values: &[E], at: usize) -> [f32; W] {
    debug_assert!(at + W <= values.len());
    // SAFETY: the caller's contract; an array is aligned as its values are.
    let values = unsafe { &*values.as_ptr().add(at).cast::<[E; W]>() };
    let mut lanes = [0.0; W];
    for i in 0..W {
        lanes[i] = values[i].to_f32();
    }
    lanes
}

/// [`store`] without a check, as [`load_unchecked`].
///
/// # Safety
/// `at + W` is at most the length of `values`.
#[inline(always)]
#[expect(unsafe_code, reason = "writes without a check")]
pub(crate) unsafe fn store_unchecked<E: Element, const W: usize>(lanes: [f32; W], values: &mut [E], at: usize) {
    debug_assert!(at + W <= values.len());
    // SAFETY: the caller's contract; an array is aligned as its values are.
    let values = unsafe { &mut *values.as_mut_ptr().add(at).cast::<[E; W]>() };
    for i in 0..W {
        values[i] = E::from_f32(lanes[i]);
    }
}

/// What a prefetch brings, on most machines.
pub(crate) const CACHE_LINE_BYTES: usize = 64;

/// Asks for the cache line at `address`, which need not be valid.
#[inline(always)]
pub(crate) fn prefetch<E>(address: *const E) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every 64-bit processor has the instruction, and it faults at no address.
        #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// [`prefetch`] of a line that will be written.
#[inline(always)]
pub(crate) fn prefetch_for_writing<E>(address: *const E) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as above; processors that lack this hint do nothing.
        #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
