//! The left operand of a product of columns, as tiles.
#![expect(unsafe_code, reason = "a transpose in vector registers")]

use std::arch::x86_64::*;

use super::kernels::BLOCK;
use super::tiles::{TILE, TILE_UNITS};

/// Packs columns `first..first + 32` of `pairs`, `[units, columns]`, to `left`: `[units / 16, 2]` tiles
/// `[16 columns, 16 units]`. Where `pairs` ends after 16 of these columns, the second tiles are zeros.
///
/// Panics unless `units`, `columns` and `first` are multiples of 16 and `left` holds `units · 32` units.
pub(crate) fn pack_left(pairs: &[u32], columns: usize, first: usize, left: &mut [u32]) {
    assert!(columns.is_multiple_of(TILE) && first.is_multiple_of(TILE) && first < columns, "whole tiles of columns");
    assert!(pairs.len().is_multiple_of(columns * TILE), "whole tiles of units");
    assert_eq!(left.len(), pairs.len() / columns * BLOCK, "room for the tiles");
    let vectors = is_x86_feature_detected!("avx512f");
    for (rows, tiles) in pairs.chunks_exact(columns * TILE).zip(left.chunks_exact_mut(BLOCK * TILE)) {
        for (half, tile) in tiles.chunks_exact_mut(TILE_UNITS).enumerate() {
            match rows.get(first + half * TILE..).filter(|_| first + half * TILE < columns) {
                None => tile.fill(0),
                // SAFETY: the machine has the instructions.
                Some(rows) if vectors => unsafe { transpose_in_registers(rows, columns, tile) },
                Some(rows) => transpose(rows, columns, tile),
            }
        }
    }
}

/// `tile[c, r] = rows[r, c]` for 16 rows of 16 values, `stride` values apart.
fn transpose(rows: &[u32], stride: usize, tile: &mut [u32]) {
    for (c, column) in tile.chunks_exact_mut(TILE).enumerate() {
        for (r, value) in column.iter_mut().enumerate() {
            *value = rows[r * stride + c];
        }
    }
}

/// [`transpose`] by three rounds of shuffles: pairs of rows, fours of rows, 128-bit lanes.
#[target_feature(enable = "avx512f")]
fn transpose_in_registers(rows: &[u32], stride: usize, tile: &mut [u32]) {
    let rows: [__m512i; TILE] = std::array::from_fn(|r| {
        let row = &rows[r * stride..][..TILE];
        // SAFETY: the slice has the 16 units that are loaded.
        unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
    });
    let pairs: [__m512i; TILE] = std::array::from_fn(|i| {
        let (even, odd) = (rows[i & !1], rows[i | 1]);
        if i & 1 == 0 { _mm512_unpacklo_epi32(even, odd) } else { _mm512_unpackhi_epi32(even, odd) }
    });
    // Lane l of `fours[4·i + j]` is column 4·l + j of rows 4·i to 4·i + 3.
    let fours: [__m512i; TILE] = std::array::from_fn(|i| {
        let (lower, upper) = (pairs[i & !3 | i >> 1 & 1], pairs[i & !3 | 2 | i >> 1 & 1]);
        if i & 1 == 0 { _mm512_unpacklo_epi64(lower, upper) } else { _mm512_unpackhi_epi64(lower, upper) }
    });
    const EVEN_LANES: i32 = 0b10_00_10_00;
    const ODD_LANES: i32 = 0b11_01_11_01;
    for j in 0..4 {
        let [a, b, c, d] = std::array::from_fn(|i| fours[4 * i + j]);
        let (even_ab, odd_ab) = (_mm512_shuffle_i32x4::<EVEN_LANES>(a, b), _mm512_shuffle_i32x4::<ODD_LANES>(a, b));
        let (even_cd, odd_cd) = (_mm512_shuffle_i32x4::<EVEN_LANES>(c, d), _mm512_shuffle_i32x4::<ODD_LANES>(c, d));
        for (column, values) in [
            (j, _mm512_shuffle_i32x4::<EVEN_LANES>(even_ab, even_cd)),
            (4 + j, _mm512_shuffle_i32x4::<EVEN_LANES>(odd_ab, odd_cd)),
            (8 + j, _mm512_shuffle_i32x4::<ODD_LANES>(even_ab, even_cd)),
            (12 + j, _mm512_shuffle_i32x4::<ODD_LANES>(odd_ab, odd_cd)),
        ] {
            let column = &mut tile[column * TILE..][..TILE];
            // SAFETY: the slice has room for the 16 units that are stored.
            unsafe { _mm512_storeu_si512(column.as_mut_ptr().cast(), values) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_transposes_put_every_column_into_its_tile() {
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
            let mut tile = [u32::MAX; TILE_UNITS];
            transpose(&pairs[first..], columns, &mut tile);
            assert_eq!(tile, left[..TILE_UNITS]);
        }
    }
}
