//! Blocks of cosines.

use byol_kernels::{ConvShape, Isa, conv2d};

/// `cosines[i, j] = a[i] · b[j]` of rows of `size` values, fully overwritten. Runs on all threads of the pool; the bits are the same for any
/// number of them.
pub(crate) fn products(isa: Isa, size: usize, a: &[f32], b: &[f32], cosines: &mut [f32]) {
    conv2d(isa, &ConvShape::linear(a.len() / size, size, b.len() / size), a, b, cosines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_the_product_of_every_pair() {
        let value = |at: usize| ((at * 37 + 11) % 101) as f32 / 50.0 - 1.0;
        for (rows, columns, size) in [(1, 1, 1), (3, 5, 7), (1, 700, 33), (600, 1, 16), (130, 70, 512)] {
            let a: Vec<f32> = (0..rows * size).map(value).collect();
            let b: Vec<f32> = (0..columns * size).map(|at| value(at + 5)).collect();
            let mut cosines = vec![f32::NAN; rows * columns];
            products(Isa::best(), size, &a, &b, &mut cosines);
            for (at, &found) in cosines.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let of = |values: &[f32], row: usize| values[row * size..(row + 1) * size].to_vec();
                let expected: f64 =
                    of(&a, row).iter().zip(&of(&b, column)).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                assert!(
                    (f64::from(found) - expected).abs() < 1e-6 * (size as f64).max(10.0),
                    "{rows}×{columns}×{size} at {at}: {found}"
                );
            }
        }
    }
}
