//! Tiles in memory, with the arithmetic of the instructions.
#![expect(unsafe_code, reason = "implements an unsafe trait on raw pointers")]

use super::tiles::{TILE, TILE_UNITS, Tiles};

/// Tile registers that every machine has. As on the real ones, using a tile before it is written is a bug: its contents
/// are NaN.
pub(crate) struct Emulated {
    tiles: Box<[[u32; TILE_UNITS]; 8]>,
}

// SAFETY of all bodies below: the trait's contract gives valid pointers.
impl Tiles for Emulated {
    unsafe fn configure() -> Self {
        Self { tiles: Box::new([[u32::MAX; TILE_UNITS]; 8]) }
    }

    unsafe fn zero<const N: usize>(&mut self) {
        self.tiles[N].fill(0);
    }

    unsafe fn load<const N: usize>(&mut self, from: *const u32, stride: isize) {
        for (row, units) in self.tiles[N].chunks_exact_mut(TILE).enumerate() {
            let from = from.wrapping_byte_offset(row as isize * stride).cast::<[u32; TILE]>();
            units.copy_from_slice(&unsafe { from.read_unaligned() });
        }
    }

    unsafe fn store<const N: usize>(&self, to: *mut f32, stride: isize) {
        for (row, units) in self.tiles[N].chunks_exact(TILE).enumerate() {
            let to = to.wrapping_byte_offset(row as isize * stride).cast::<[u32; TILE]>();
            unsafe { to.write_unaligned(std::array::from_fn(|n| units[n])) }
        }
    }

    unsafe fn multiply_add<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        const { assert!(SUM != LEFT && SUM != RIGHT && LEFT != RIGHT) };
        for m in 0..TILE {
            for n in 0..TILE {
                // The first and the second values of the pairs are summed apart.
                let mut sums = [0.0; 2];
                for k in 0..TILE {
                    let left = halves(self.tiles[LEFT][m * TILE + k]);
                    let right = halves(self.tiles[RIGHT][k * TILE + n]);
                    for half in 0..2 {
                        sums[half] = flushed(left[half].mul_add(right[half], sums[half]));
                    }
                }
                let sum = &mut self.tiles[SUM][m * TILE + n];
                *sum = flushed(flushed(f32::from_bits(*sum)) + flushed(sums[0] + sums[1])).to_bits();
            }
        }
    }

    unsafe fn copy_row(from: *const u32, count: usize, to: *mut u32) {
        for u in 0..TILE {
            unsafe { to.add(u).write_unaligned(if u < count { from.add(u).read_unaligned() } else { 0 }) }
        }
    }

    unsafe fn stride(rows: *const *const u32) -> Option<isize> {
        let rows = unsafe { &*rows.cast::<[*const u32; TILE]>() };
        let stride = |r: usize| rows[r + 1].addr().wrapping_sub(rows[r].addr()) as isize;
        (1..TILE - 1).all(|r| stride(r) == stride(0)).then(|| stride(0))
    }
}

/// The two `bf16` of a unit.
fn halves(unit: u32) -> [f32; 2] {
    [flushed(f32::from_bits(unit << 16)), flushed(f32::from_bits(unit & 0xffff_0000))]
}

/// Denormals become zero of the same sign.
fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { value }
}
