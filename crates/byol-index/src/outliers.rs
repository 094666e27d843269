//! Pictures that are like no others.

use super::neighbours::{Neighbour, Neighbours};

/// A row and how far it is from its neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Which row.
    pub row: u32,
    /// Mean of 1 − cosine over its k nearest other rows, 0 (they are all equal to it) to 2.
    pub score: f64,
    /// The most similar other row.
    pub nearest: Neighbour,
}

/// Every row with its score, highest first; ties go to the lower row. Rows without neighbours are left out.
///
/// `score(x) = 1/k · Σ_{i ≤ k} (1 − cos(x, x_i))` over the k nearest other rows, the mean k-NN distance of Angiulli & Pizzuti 2002.
pub fn outliers(neighbours: &Neighbours) -> Vec<Outlier> {
    let score = |row: usize| {
        let near = neighbours.of(row);
        let nearest = *near.first()?;
        let distance = |near: &Neighbour| (1.0 - f64::from(near.cosine)).max(0.0);
        let score = near.iter().map(distance).sum::<f64>() / near.len() as f64;
        Some(Outlier { row: row as u32, score, nearest })
    };
    let mut ranked: Vec<Outlier> = (0..neighbours.queries()).filter_map(score).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vectors, Work, of_all};

    #[test]
    fn what_lies_apart_comes_first() {
        let mut values = [1.0, 0.0].repeat(5);
        values.extend([0.0, 1.0]);
        values.extend([1.0, 0.1]);
        let vectors = Vectors::new(values, 2);
        let ranked = outliers(&of_all(&vectors, 3, Work::silent()));
        assert_eq!((ranked[0].row, ranked[1].row, ranked[2].row), (5, 6, 0));
        assert_eq!(ranked[0].nearest.row, 6);
        let expected = (2.0 + (1.0 - 0.1 / 1.01f64.sqrt())) / 3.0;
        assert!((ranked[0].score - expected).abs() < 1e-6, "{} {expected}", ranked[0].score);
        assert!(ranked[2].score.abs() < 1e-6);
    }
}
