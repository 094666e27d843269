//! Which instructions the kernels use, chosen at run time.

#[cfg(target_arch = "x86_64")]
mod tile_registers;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// An instruction set that the kernels have their own inner loops for, from the slowest to the fastest.
///
/// Every one computes `f32` and `bf16` products; they differ in speed and, within rounding, in the last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Whatever the compiler makes of plain loops; every machine has it.
    Portable,
    /// 128-bit vectors of 64-bit ARM with fused multiply-add; `bf16` operands are widened to `f32`.
    Neon,
    /// The same with products of pairs of `bf16` (`bfdot`).
    NeonBf16,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors; `bf16` operands are widened to `f32`.
    Avx512,
    /// 512-bit vectors with products of pairs of `bf16` (`vdpbf16ps`).
    Avx512Bf16,
    /// Tile registers with products of `bf16` tiles (`tdpbf16ps`); `f32` as with AVX-512.
    Amx,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: [Self; 7] =
        [Self::Portable, Self::Neon, Self::NeonBf16, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The fastest that this machine has.
    pub fn best() -> Self {
        *Self::ALL.iter().rev().find(|isa| isa.is_available()).unwrap_or(&Self::Portable)
    }

    /// Those that this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this machine and its operating system let this process use it.
    ///
    /// The first call asks the operating system for permission to use tile registers.
    pub fn is_available(self) -> bool {
        static AVAILABLE: OnceLock<[bool; 7]> = OnceLock::new();
        AVAILABLE.get_or_init(|| Self::ALL.map(Self::detect))[self as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn detect(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2,
            Self::Avx512 => avx512,
            Self::Avx512Bf16 => avx512 && is_x86_feature_detected!("avx512bf16"),
            Self::Amx => avx512 && tile_registers::is_available(),
            Self::Neon | Self::NeonBf16 => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detect(self) -> bool {
        match self {
            Self::Portable | Self::Neon => true,
            Self::NeonBf16 => std::arch::is_aarch64_feature_detected!("bf16"),
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 | Self::Amx => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn detect(self) -> bool {
        self == Self::Portable
    }

    /// The name users write: `portable`, `neon`, `neonbf16`, `avx2`, `avx512`, `avx512bf16`, `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonBf16 => "neonbf16",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|isa| isa.name() == text).ok_or_else(|| {
            format!("unknown instruction set {text:?}; expected {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// Runs `work`, which must be an `#[inline(always)]` closure, compiled for the vectors of `isa`.
///
/// Panics when the machine lacks `isa`: choosing one is the caller's responsibility, see [`Isa::is_available`].
#[inline]
pub(crate) fn vectorized<R>(isa: Isa, work: impl FnOnce() -> R) -> R {
    assert!(isa.is_available(), "this machine has no {isa}");
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Portable => work(),
        // SAFETY: the assertion above saw that the machine has the features these functions are compiled for.
        #[expect(unsafe_code, reason = "calls a function compiled for features found at run time")]
        Isa::Avx2 => unsafe { with_avx2(work) },
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "calls a function compiled for features found at run time")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => unsafe { with_avx512(work) },
        Isa::Neon | Isa::NeonBf16 => unreachable!("instructions of another processor"),
    }
    // Those of 64-bit ARM are there for all code.
    #[cfg(not(target_arch = "x86_64"))]
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip_and_nonsense_is_refused() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!("sse9".parse::<Isa>().unwrap_err().contains("avx512bf16"));
    }

    #[test]
    fn portable_is_everywhere_and_the_best_is_available() {
        assert!(Isa::Portable.is_available());
        assert!(Isa::best().is_available());
        assert_eq!(Isa::available().last(), Some(&Isa::best()));
    }
}
