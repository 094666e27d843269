//! The eight tile registers of a thread.
#![expect(unsafe_code, reason = "tile instructions have no safe or stable intrinsics")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::marker::PhantomData;

/// Rows of a tile, and 32-bit units in each of them.
pub(crate) const TILE: usize = 16;

/// Units of a whole tile.
pub(crate) const TILE_UNITS: usize = TILE * TILE;

/// Eight tiles of [`TILE`] rows of [`TILE`] units, numbered from 0; the vector instructions that come with them.
///
/// # Safety
/// All functions need the instruction set they are written for. Alignment is not needed. Strides are in bytes.
pub(crate) trait Tiles {
    /// Gives this thread its tiles until the value is dropped. Their contents are undefined.
    unsafe fn configure() -> Self;

    /// Fills tile `N` with zeros.
    unsafe fn zero<const N: usize>(&mut self);

    /// Loads tile `N` from rows of [`TILE`] valid units.
    unsafe fn load<const N: usize>(&mut self, from: *const u32, stride: isize);

    /// Stores tile `N` to rows of [`TILE`] valid values.
    unsafe fn store<const N: usize>(&self, to: *mut f32, stride: isize);

    /// `sum[m, n] += Σ_k left[m, k] · right[k, n]`, where the product of two units is the sum of two `bf16` products.
    ///
    /// The three tiles are different ones.
    unsafe fn multiply_add<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self);

    /// Copies `count ≤ TILE` units, of which no other is read, and fills up with zeros to [`TILE`].
    unsafe fn copy_row(from: *const u32, count: usize, to: *mut u32);

    /// Bytes from each of [`TILE`] rows to the next, if the same for all.
    unsafe fn stride(rows: *const *const u32) -> Option<isize>;
}

/// The tile registers of this machine, which has AVX-512 as well.
///
/// A thread may hold several: the first configures, the last to be dropped releases, so that a caller who keeps one over
/// many products pays for the slow configuration once. They share the same eight registers.
pub(crate) struct Hardware {
    /// The registers belong to the thread.
    not_send: PhantomData<*mut u32>,
}

thread_local! {
    /// How many [`Hardware`] values this thread has.
    static HOLDERS: Cell<usize> = const { Cell::new(0) };
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

const _: () = assert!(size_of::<Configuration>() == 64);

/// `asm!` that may change any tile; the compiler, which knows nothing of tiles, keeps such blocks in order.
macro_rules! tile_asm {
    ($($argument:tt)*) => {
        asm!(
            $($argument)*,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        )
    };
}

// SAFETY of all bodies below: the trait's contract gives the instruction set and valid pointers; no instruction touches
// the stack or the flags.
impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn configure() -> Self {
        HOLDERS.with(|holders| {
            if holders.get() == 0 {
                unsafe {
                    tile_asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(readonly, nostack, preserves_flags));
                }
            }
            holders.set(holders.get() + 1);
        });
        Self { not_send: PhantomData }
    }

    #[inline(always)]
    unsafe fn zero<const N: usize>(&mut self) {
        unsafe {
            tile_asm!("tilezero tmm{tile}", tile = const N, options(nomem, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn load<const N: usize>(&mut self, from: *const u32, stride: isize) {
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{from} + {stride}*1]",
                tile = const N,
                from = in(reg) from,
                stride = in(reg) stride,
                options(readonly, nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(&self, to: *mut f32, stride: isize) {
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm{tile}",
                tile = const N,
                to = in(reg) to,
                stride = in(reg) stride,
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    unsafe fn multiply_add<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        const { assert!(SUM != LEFT && SUM != RIGHT && LEFT != RIGHT) };
        unsafe {
            tile_asm!(
                "tdpbf16ps tmm{sum}, tmm{left}, tmm{right}",
                sum = const SUM,
                left = const LEFT,
                right = const RIGHT,
                options(nomem, nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    unsafe fn copy_row(from: *const u32, count: usize, to: *mut u32) {
        let mask = ((1_u32 << count) - 1) as u16;
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_maskz_loadu_epi32(mask, from.cast())) }
    }

    #[inline(always)]
    unsafe fn stride(rows: *const *const u32) -> Option<isize> {
        // Fifteen differences in two vectors of eight, which overlap by one.
        unsafe {
            let differences = |r| {
                _mm512_sub_epi64(_mm512_loadu_si512(rows.add(r + 1).cast()), _mm512_loadu_si512(rows.add(r).cast()))
            };
            let stride = (*rows.add(1)).addr().wrapping_sub((*rows).addr()) as isize;
            let expected = _mm512_set1_epi64(stride as i64);
            let deviating =
                _mm512_cmpneq_epi64_mask(differences(0), expected) | _mm512_cmpneq_epi64_mask(differences(7), expected);
            (deviating == 0).then_some(stride)
        }
    }
}

impl Drop for Hardware {
    #[inline(always)]
    fn drop(&mut self) {
        HOLDERS.with(|holders| {
            holders.set(holders.get() - 1);
            if holders.get() == 0 {
                // SAFETY: a value exists only where `configure` could use the tile registers.
                unsafe {
                    tile_asm!("tilerelease", options(nomem, nostack, preserves_flags));
                }
            }
        });
    }
}
