//! Buffers that a kernel is about to fill.

use half::bf16;

/// A type of which any bits are a value; public so that [`arbitrary`] can be, but not nameable.
///
/// # Safety
/// As it says.
#[expect(unsafe_code, reason = "who implements it vouches for it")]
pub unsafe trait AnyBits: Copy + Default {}

// SAFETY: numbers without invalid bits.
#[expect(unsafe_code, reason = "as above")]
unsafe impl AnyBits for f32 {}

// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl AnyBits for bf16 {}

// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl AnyBits for u32 {}

/// A vector of `len` values of arbitrary content, for a kernel that writes every one of them: no time is spent on zeros.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub fn arbitrary<T: AnyBits>(len: usize) -> Vec<T> {
    let mut values = Vec::<T>::with_capacity(len);
    // SAFETY: the capacity is at least `len` and any bits are a value. The assembly, which is empty, gets
    // the address of the memory and may, for all the compiler knows, have written every byte of it: the content is
    // initialised, if with what was there before.
    #[expect(unsafe_code, reason = "takes memory as it is")]
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) values.as_mut_ptr(), options(nostack, preserves_flags));
        values.set_len(len);
    }
    values
}

/// A vector of `len` values of arbitrary content (here zeros), for a kernel that writes every one of them.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub fn arbitrary<T: AnyBits>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_has_its_length_and_can_be_written() {
        let mut values = arbitrary::<f32>(1000);
        values.fill(3.0);
        assert_eq!(values, vec![3.0; 1000]);
        assert!(arbitrary::<crate::bf16>(0).is_empty());
    }
}
