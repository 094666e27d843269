//! What the computer is and what this process has used of it.

/// Memory that new work can have without swapping, in bytes; `None` where the system does not tell (it does on Linux).
pub fn available_memory_bytes() -> Option<u64> {
    field_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Starts [`peak_memory_bytes`] anew from what is resident now, where the system can (Linux).
pub fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The name its maker gives the processor; `None` where the system does not tell (it does on Linux on x86).
pub fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|name| !name.is_empty())
}

/// The value of a line `NAME: N kB`.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Largest amount of memory that was resident in this process at once, in bytes, since its start or the last
/// [`reset_peak_memory`]; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    // Only this one knows of a reset.
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| field_bytes(&text, "VmHWM:"))
    {
        return Some(bytes);
    }
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
