//! The left operand of a product of columns, as tiles.

use super::kernels::BLOCK;
use super::tiles::{TILE, TILE_UNITS};
use crate::isa::Isa;
use crate::transpose::transpose;

/// Packs columns `first..first + 32` of `pairs`, `[units, columns]`, to `left`: `[units / 16, 2]` tiles
/// `[16 columns, 16 units]`. Where `pairs` ends after 16 of these columns, the second tiles are zeros.
///
/// Panics unless `units`, `columns` and `first` are multiples of 16 and `left` holds `units · 32` units.
pub(crate) fn pack_left(pairs: &[u32], columns: usize, first: usize, left: &mut [u32]) {
    assert!(columns.is_multiple_of(TILE) && first.is_multiple_of(TILE) && first < columns, "whole tiles of columns");
    assert!(pairs.len().is_multiple_of(columns * TILE), "whole tiles of units");
    assert_eq!(left.len(), pairs.len() / columns * BLOCK, "room for the tiles");
    let isa = if Isa::Avx512.is_available() { Isa::Avx512 } else { Isa::Portable };
    for (rows, tiles) in pairs.chunks_exact(columns * TILE).zip(left.chunks_exact_mut(BLOCK * TILE)) {
        for (half, tile) in tiles.chunks_exact_mut(TILE_UNITS).enumerate() {
            match rows.get(first + half * TILE..).filter(|_| first + half * TILE < columns) {
                None => tile.fill(0),
                Some(rows) => transpose(isa, rows, columns, tile, TILE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_comes_into_its_tile() {
        for (units, columns, first) in [(16, 16, 0), (16, 32, 0), (48, 48, 0), (32, 48, 32), (32, 96, 32)] {
            let pairs: Vec<u32> = (1..).take(units * columns).collect();
            let mut left = vec![u32::MAX; units * BLOCK];
            pack_left(&pairs, columns, first, &mut left);
            for u in 0..units {
                for c in 0..BLOCK {
                    let packed = left[((u / TILE * 2 + c / TILE) * TILE + c % TILE) * TILE + u % TILE];
                    let expected = if first + c < columns { pairs[u * columns + first + c] } else { 0 };
                    assert_eq!(packed, expected, "unit {u}, column {c} of {units}×{columns} from {first}");
                }
            }
        }
    }
}
