//! Transposing blocks of 16 × 16 units.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::isa::Isa;

/// Rows and columns of a block.
pub(crate) const SIDE: usize = 16;

/// `columns[c · column_stride + r] = rows[r · row_stride + c]` for 16 rows and 16 columns.
pub(crate) fn transpose(isa: Isa, rows: &[u32], row_stride: usize, columns: &mut [u32], column_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        assert!(isa.is_available(), "this machine has no {isa}");
        // SAFETY: the machine has the instructions, as just asserted.
        #[expect(unsafe_code, reason = "calls a function compiled for features found at run time")]
        return unsafe { transpose_avx512(rows, row_stride, columns, column_stride) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx2 {
        assert!(isa.is_available(), "this machine has no {isa}");
        for (r, c) in [(0, 0), (0, HALF), (HALF, 0), (HALF, HALF)] {
            let (rows, columns) = (&rows[r * row_stride + c..], &mut columns[c * column_stride + r..]);
            // SAFETY: the machine has the instructions, as just asserted.
            #[expect(unsafe_code, reason = "calls a function compiled for features found at run time")]
            unsafe {
                transpose_quarter_avx2(rows, row_stride, columns, column_stride);
            }
        }
        return;
    }
    let _ = isa;
    for c in 0..SIDE {
        for (r, value) in columns[c * column_stride..][..SIDE].iter_mut().enumerate() {
            *value = rows[r * row_stride + c];
        }
    }
}

/// [`transpose`] by three rounds of shuffles: pairs of rows, fours of rows, 128-bit lanes.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads and stores of vectors")]
#[target_feature(enable = "avx512f")]
fn transpose_avx512(rows: &[u32], stride: usize, columns: &mut [u32], column_stride: usize) {
    let rows: [__m512i; SIDE] = std::array::from_fn(|r| {
        let row = &rows[r * stride..][..SIDE];
        // SAFETY: the slice has the 16 units that are loaded.
        unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
    });
    let pairs: [__m512i; SIDE] = std::array::from_fn(|i| {
        let (even, odd) = (rows[i & !1], rows[i | 1]);
        if i & 1 == 0 { _mm512_unpacklo_epi32(even, odd) } else { _mm512_unpackhi_epi32(even, odd) }
    });
    // Lane l of `fours[4·i + j]` is column 4·l + j of rows 4·i to 4·i + 3.
    let fours: [__m512i; SIDE] = std::array::from_fn(|i| {
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
            let column = &mut columns[column * column_stride..][..SIDE];
            // SAFETY: the slice has room for the 16 units that are stored.
            unsafe { _mm512_storeu_si512(column.as_mut_ptr().cast(), values) }
        }
    }
}

/// Rows and columns of a quarter of a block.
#[cfg(target_arch = "x86_64")]
const HALF: usize = SIDE / 2;

/// [`transpose`] of 8 rows and 8 columns by three rounds of shuffles: pairs of rows, fours of rows, 128-bit lanes.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads and stores of vectors")]
#[target_feature(enable = "avx2")]
fn transpose_quarter_avx2(rows: &[u32], stride: usize, columns: &mut [u32], column_stride: usize) {
    let rows: [__m256i; HALF] = std::array::from_fn(|r| {
        let row = &rows[r * stride..][..HALF];
        // SAFETY: the slice has the 8 units that are loaded.
        unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
    });
    let pairs: [__m256i; HALF] = std::array::from_fn(|i| {
        let (even, odd) = (rows[i & !1], rows[i | 1]);
        if i & 1 == 0 { _mm256_unpacklo_epi32(even, odd) } else { _mm256_unpackhi_epi32(even, odd) }
    });
    // Lane l of `fours[4·i + j]` is column 4·l + j of rows 4·i to 4·i + 3.
    let fours: [__m256i; HALF] = std::array::from_fn(|i| {
        let (lower, upper) = (pairs[i & !3 | i >> 1 & 1], pairs[i & !3 | 2 | i >> 1 & 1]);
        if i & 1 == 0 { _mm256_unpacklo_epi64(lower, upper) } else { _mm256_unpackhi_epi64(lower, upper) }
    });
    for j in 0..4 {
        let (upper, lower) = (fours[j], fours[4 + j]);
        for (column, values) in [
            (j, _mm256_permute2x128_si256::<0x20>(upper, lower)),
            (4 + j, _mm256_permute2x128_si256::<0x31>(upper, lower)),
        ] {
            let column = &mut columns[column * column_stride..][..HALF];
            // SAFETY: the slice has room for the 8 units that are stored.
            unsafe { _mm256_storeu_si256(column.as_mut_ptr().cast(), values) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_into_its_column() {
        for isa in Isa::available() {
            for (row_stride, column_stride) in [(16, 16), (33, 16), (16, 64), (40, 17)] {
                let rows: Vec<u32> = (1..).take(SIDE * row_stride).collect();
                let mut columns = vec![0; SIDE * column_stride];
                transpose(isa, &rows, row_stride, &mut columns, column_stride);
                for (r, c) in (0..SIDE).flat_map(|r| (0..SIDE).map(move |c| (r, c))) {
                    assert_eq!(columns[c * column_stride + r], rows[r * row_stride + c], "{isa} {r} {c}");
                }
            }
        }
    }
}
