//! What the computer is and what this process has used of it.

/// Largest amount of memory that was resident in this process at once, in bytes; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    #[cfg(unix)]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `getrusage` fills the structure it is given; all zeros are a valid one before.
        #[expect(unsafe_code, reason = "calls the C library")]
        let usage =
            unsafe { (libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) == 0).then(|| usage.assume_init()) };
        // macOS counts bytes, the others KiB.
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        usage.map(|usage| usage.ru_maxrss as u64 * unit)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(unix)]
    fn the_peak_covers_what_was_touched() {
        let before = super::peak_memory_bytes().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(super::peak_memory_bytes().unwrap() >= (64 << 20).max(before), "{}", touched.len());
    }
}
