//! What the machine can do at best, so that every other figure can be given as a share of it.
#![expect(unsafe_code, reason = "loops of vector and tile instructions")]

use std::hint::black_box;
use std::time::Instant;

use crate::isa::Isa;

/// Independent sums per loop, enough to hide the latency of every instruction used here.
const SUMS: usize = 16;

/// `f32` operations per second of `threads` threads, two per multiply-add, from registers only; the best of five
/// measurements.
///
/// Panics when the machine lacks `isa`.
pub fn peak_f32_flops(isa: Isa, threads: usize) -> f64 {
    assert!(isa.is_available(), "this machine has no {isa}");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has the instruction set.
        Isa::Avx2 => best(threads, 2.0 * 8.0, |rounds| unsafe { x86::multiply_add_256(rounds) }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has the instruction set.
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => {
            best(threads, 2.0 * 16.0, |rounds| unsafe { x86::multiply_add_512(rounds) })
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the machine has the instruction set.
        Isa::Neon | Isa::NeonBf16 => best(threads, 2.0 * 4.0, |rounds| unsafe { arm::multiply_add(rounds) }),
        _ => best(threads, 2.0 * 8.0, multiply_add_plain),
    }
}

/// `bf16` operations per second of `threads` threads, as [`peak_f32_flops`]; `None` where `isa` has no products of `bf16`.
///
/// Panics when the machine lacks `isa`.
pub fn peak_bf16_flops(isa: Isa, threads: usize) -> Option<f64> {
    assert!(isa.is_available(), "this machine has no {isa}");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has the instruction set.
        Isa::Avx512Bf16 => Some(best(threads, 2.0 * 32.0, |rounds| unsafe { x86::multiply_add_pairs(rounds) })),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has the instruction set. A round is four products of 16 × 16 × 32.
        Isa::Amx => {
            Some(best(threads, 2.0 * 4.0 * 8192.0 / SUMS as f64, |rounds| unsafe { x86::multiply_add_tiles(rounds) }))
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the machine has the instruction.
        Isa::NeonBf16 => Some(best(threads, 2.0 * 8.0, |rounds| unsafe { arm::multiply_add_pairs(rounds) })),
        _ => None,
    }
}

/// Bytes per second that `threads` threads copy between arrays too large for any cache, read and written bytes counted.
pub fn copy_bytes_per_second(threads: usize) -> f64 {
    const LEN: usize = 128 * 1024 * 1024;
    let secs = in_threads(threads, || {
        let source = vec![1_u8; LEN];
        let mut destination = vec![2_u8; LEN];
        let mut fastest = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            destination.copy_from_slice(black_box(&source));
            black_box(&mut destination);
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
        fastest
    });
    (2 * LEN * threads) as f64 / secs
}

/// Operations per second of all threads; a round of `run` is [`SUMS`] instructions of `operations` each.
fn best(threads: usize, operations: f64, run: impl Fn(u64) + Sync) -> f64 {
    const ROUNDS: u64 = 1 << 20;
    let secs = in_threads(threads, || {
        let mut fastest = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            run(black_box(ROUNDS));
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
        fastest
    });
    ROUNDS as f64 * SUMS as f64 * operations * threads as f64 / secs
}

/// The time of the slowest thread.
fn in_threads(threads: usize, run: impl Fn() -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(&run)).collect();
        handles.into_iter().map(|handle| handle.join().expect("a measuring thread does not panic")).fold(0.0, f64::max)
    })
}

fn multiply_add_plain(rounds: u64) {
    let mut sums = [[1.0_f32; 8]; SUMS];
    let (factor, term) = (black_box(0.999), black_box(1e-9));
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = *sum * factor + term;
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::hint::black_box;

    use super::SUMS;
    use crate::vector::bfdot;

    #[target_feature(enable = "neon")]
    pub(super) fn multiply_add(rounds: u64) {
        let mut sums = [vdupq_n_f32(1.0); SUMS];
        let (factor, term) = (vdupq_n_f32(black_box(0.999)), vdupq_n_f32(black_box(1e-9)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = vfmaq_f32(*sum, factor, term);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "neon,bf16")]
    pub(super) fn multiply_add_pairs(rounds: u64) {
        let mut sums = [vdupq_n_f32(1.0); SUMS];
        // 1 and about 1e-9 as pairs of bf16.
        let (left, right) = (vdupq_n_u32(black_box(0x3f80_3f80)), vdupq_n_u32(black_box(0x3080_3080)));
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: this function is compiled for the instruction.
                *sum = unsafe { bfdot(*sum, left, right) };
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::SUMS;
    use crate::amx::{Hardware, Tiles};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn multiply_add_256(rounds: u64) {
        // Fewer sums at a time: there are sixteen registers.
        let mut sums = [_mm256_set1_ps(1.0); SUMS / 2];
        let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-9)));
        for _ in 0..2 * rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_add_512(rounds: u64) {
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        let (factor, term) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-9)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn multiply_add_pairs(rounds: u64) {
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        // SAFETY: both are 512 bits of plain data. 1 and about 1e-9 as pairs of bf16.
        let [left, right] = [0x3f80_3f80, 0x3080_3080]
            .map(|pair| unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(black_box(pair))) });
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, left, right);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The machine has tile registers.
    pub(super) unsafe fn multiply_add_tiles(rounds: u64) {
        // SAFETY: the caller's contract; the tiles used are loaded or zeroed before.
        unsafe {
            let mut tiles = Hardware::configure();
            let zeros = [0_u32; 256];
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
            tiles.load::<4>(zeros.as_ptr(), 64);
            tiles.load::<5>(zeros.as_ptr(), 64);
            tiles.load::<6>(zeros.as_ptr(), 64);
            tiles.load::<7>(zeros.as_ptr(), 64);
            for _ in 0..rounds {
                tiles.multiply_add::<0, 4, 6>();
                tiles.multiply_add::<1, 4, 7>();
                tiles.multiply_add::<2, 5, 6>();
                tiles.multiply_add::<3, 5, 7>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peak_is_a_plausible_speed() {
        for isa in Isa::available() {
            let f32_flops = peak_f32_flops(isa, 1);
            assert!((1e8..1e13).contains(&f32_flops), "{isa} {f32_flops}");
            let bf16_flops = peak_bf16_flops(isa, 1);
            assert_eq!(bf16_flops.is_some(), isa >= Isa::Avx512Bf16 || isa == Isa::NeonBf16);
            assert!(bf16_flops.is_none_or(|flops| (1e8..1e14).contains(&flops)), "{isa} {bf16_flops:?}");
        }
        assert!((1e8..1e13).contains(&copy_bytes_per_second(1)));
    }
}
