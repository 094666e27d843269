//! Whether tile registers (Intel AMX) can be used.

use std::arch::x86_64::{_xgetbv, CpuidResult};

/// Whether the machine has `bf16` tiles and the operating system lets this process use them.
///
/// The first call asks Linux for permission, which holds for all threads of the process. CPUID leaf 0x1D, which
/// describes the tile palettes, is not consulted: some hypervisors mask it although the tiles work. Palette 1, eight
/// tiles of 16 rows of 64 bytes, is the only one there is.
pub(super) fn is_available() -> bool {
    has_tiles() && saves_tiles() && permitted()
}

fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    cpuid(0, 0).eax >= 7 && cpuid(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Whether the operating system saves the tile registers when it switches threads.
fn saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILE_CONFIGURATION: u64 = 1 << 17;
    const TILE_DATA: u64 = 1 << 18;
    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: register 0 of `xgetbv` exists wherever the operating system has enabled `xsave`.
        #[expect(unsafe_code, reason = "the intrinsic is unsafe")]
        unsafe {
            _xgetbv(0)
        }
    }
    if cpuid(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that the machine has `xsave` and the operating system has enabled it.
    #[expect(unsafe_code, reason = "calls a function compiled for a feature found at run time")]
    let enabled = unsafe { enabled_state() };
    enabled & (TILE_CONFIGURATION | TILE_DATA) == TILE_CONFIGURATION | TILE_DATA
}

fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every 64-bit processor has the instruction.
    #[expect(unsafe_code, reason = "the intrinsic was unsafe before Rust 1.94")]
    #[allow(unused_unsafe, reason = "the intrinsic is safe since Rust 1.94")]
    unsafe {
        std::arch::x86_64::__cpuid_count(leaf, subleaf)
    }
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: this call takes two integers, touches no memory of ours and answers 0 or an error.
    #[expect(unsafe_code, reason = "a system call")]
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
