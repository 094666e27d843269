//! Rows of unit length.

/// Vectors `[rows, size]`, row-major, each scaled to unit length, so that the product of two is their cosine.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    values: Vec<f32>,
    size: usize,
}

impl Vectors {
    /// Scales every row of `values` `[rows, size]` to unit length, in place. A row of zeros stays one: its cosine to everything is 0.
    ///
    /// # Panics
    /// When `size` is 0 or `values` is no whole number of rows.
    pub fn new(mut values: Vec<f32>, size: usize) -> Self {
        assert!(size > 0 && values.len().is_multiple_of(size), "{} values are no rows of {size}", values.len());
        for row in values.chunks_exact_mut(size) {
            // In double precision: the squares of large values must not overflow.
            let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
        Self { values, size }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.size
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values of a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The `index`-th row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.size..(index + 1) * self.size]
    }

    /// Rows side by side.
    pub(crate) fn rows(&self, range: std::ops::Range<usize>) -> &[f32] {
        &self.values[range.start * self.size..range.end * self.size]
    }

    /// The given rows, in that order.
    pub fn select(&self, rows: &[u32]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.size);
        rows.iter().for_each(|&row| values.extend_from_slice(self.row(row as usize)));
        Self { values, size: self.size }
    }

    /// The cosine of row `index` and a row of others.
    pub fn cosine(&self, index: usize, others: &Self, other: usize) -> f32 {
        let product = |(&a, &b): (&f32, &f32)| f64::from(a) * f64::from(b);
        self.row(index).iter().zip(others.row(other)).map(product).sum::<f64>() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_unit_length_and_zeros_stay() {
        let vectors = Vectors::new(vec![3.0, 4.0, 0.0, 0.0, 0.0, -2e30], 2);
        assert_eq!(vectors.values(), [0.6, 0.8, 0.0, 0.0, 0.0, -1.0]);
        assert_eq!((vectors.len(), vectors.cosine(0, &vectors, 2), vectors.cosine(0, &vectors, 1)), (3, -0.8, 0.0));
        assert_eq!(vectors.select(&[2, 1]).row(1), [0.0, 0.0]);
    }
}
