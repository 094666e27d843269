//! All pairs of rows, each product taken once.

use std::ops::Range;

use super::products::products;
use super::vectors::Vectors;
use super::work::Work;

/// Rows and columns of a block: its cosines stay in the last cache while they are looked through.
const SIDE: usize = 1024;

/// The cosines of some rows with some others; `rows` end before `columns` begin, or the two are the same.
pub(crate) struct Block<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// `[rows, columns]`.
    pub cosines: &'a [f32],
}

impl Block<'_> {
    /// Whether its rows are its columns: every pair is in it twice, and every row beside itself.
    pub fn is_diagonal(&self) -> bool {
        self.rows == self.columns
    }
}

/// Hands over blocks until every pair of rows was in one.
pub(crate) fn each_block(vectors: &Vectors, work: Work, mut visit: impl FnMut(&Block)) {
    let count = vectors.len();
    let parts = count.div_ceil(SIDE);
    let range = |part: usize| part * SIDE..((part + 1) * SIDE).min(count);
    let mut cosines = vec![0.0; SIDE.min(count).pow(2)];
    for place in 0..parts {
        // The first part meets all, the last only itself: taken from both ends, progress is even.
        let part = if place.is_multiple_of(2) { place / 2 } else { parts - 1 - place / 2 };
        let rows = range(part);
        for columns in (part..parts).map(range) {
            let cosines = &mut cosines[..rows.len() * columns.len()];
            products(work.isa, vectors.size(), vectors.rows(rows.clone()), vectors.rows(columns.clone()), cosines);
            visit(&Block { rows: rows.clone(), columns, cosines });
        }
        (work.advance)(rows.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_in_one_block() {
        let count = 2 * SIDE + 3;
        let vectors = Vectors::new((0..count).map(|row| row as f32 - 7.5).collect(), 1);
        let (mut pairs, mut blocks) = (0, 0);
        each_block(&vectors, Work::silent(), |block| {
            assert!(block.is_diagonal() || block.rows.end <= block.columns.start);
            assert_eq!(block.cosines.len(), block.rows.len() * block.columns.len());
            let (rows, columns) = (block.rows.len(), block.columns.len());
            pairs += if block.is_diagonal() { rows * (rows - 1) / 2 } else { rows * columns };
            blocks += 1;
        });
        assert_eq!((pairs, blocks), (count * (count - 1) / 2, 6));
    }
}
