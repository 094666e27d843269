//! Pictures that are nearly the same.

use rayon::prelude::*;

use super::neighbours::{Neighbours, search};
use super::pairs::{Block, each_block};
use super::vectors::Vectors;
use super::work::Work;

/// Rows whose neighbours say how far apart pictures usually are.
const SAMPLE: usize = 2000;
/// Which of their neighbours counts: one so far off that copies of a picture rarely reach it.
const USUAL_NEIGHBOUR: usize = 10;
/// Copies are nearer than that part of the usual distance.
const PART_OF_USUAL: f64 = 0.1;

/// Groups of rows that are linked by a cosine of at least the threshold, directly or through others of the group.
#[derive(Clone, Debug, PartialEq)]
pub struct Duplicates {
    /// Those of at least two rows, largest first, then by their first row.
    pub groups: Vec<DuplicateGroup>,
    /// The cosine of every row to its most similar other row.
    pub nearest: Vec<f32>,
}

/// Rows of one group, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct DuplicateGroup {
    /// At least two.
    pub rows: Vec<u32>,
}

/// Some quantiles of the cosine of rows to their most similar other row.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// Half of the rows have none more similar than this.
    pub median: f32,
    /// One in ten rows has one more similar.
    pub p90: f32,
    /// One in a hundred.
    pub p99: f32,
    /// The most similar pair.
    pub max: f32,
}

/// The threshold for pictures whose encoder nobody has tuned one for: `1 − 0.1 · m`, where `m` is the median of 1 − cosine to the tenth
/// neighbour over 2000 rows, spread evenly. Encoders differ in how near all pictures lie to each other, so that no fixed cosine fits;
/// copies of a picture lie ten times nearer than what is merely alike.
///
/// # Panics
/// When there are fewer than two rows.
pub fn proposed_threshold(vectors: &Vectors, work: Work) -> f32 {
    let count = SAMPLE.min(vectors.len());
    let sample: Vec<u32> = (0..count).map(|place| (place * vectors.len() / count) as u32).collect();
    let k = USUAL_NEIGHBOUR.min(vectors.len() - 1);
    // One more, since each finds itself.
    let found = search(vectors, &vectors.select(&sample), k + 1, work);
    let mut distances: Vec<f64> =
        (0..count).map(|place| (1.0 - f64::from(found.of(place)[k].cosine)).max(0.0)).collect();
    distances.sort_by(f64::total_cmp);
    let usual = distances[count / 2];
    (1.0 - PART_OF_USUAL * usual) as f32
}

impl Duplicates {
    /// By all pairs.
    ///
    /// # Panics
    /// When there are fewer than two rows.
    pub fn find(vectors: &Vectors, threshold: f32, work: Work) -> Self {
        assert!(vectors.len() > 1, "duplicates need two rows");
        let mut nearest = Neighbours::none(vectors.len(), 1);
        let mut union = Union::new(vectors.len());
        each_block(vectors, work, |block| {
            nearest.take(block);
            linked(block, threshold).iter().for_each(|&(a, b)| union.join(a, b));
        });
        Self::of(&nearest, union)
    }

    /// By the neighbours of every row, as an approximate index finds them.
    pub fn among(neighbours: &Neighbours, threshold: f32) -> Self {
        let rows = neighbours.queries();
        let mut union = Union::new(rows);
        for row in 0..rows {
            let near = neighbours.of(row).iter().take_while(|near| near.cosine >= threshold);
            near.for_each(|near| union.join(row as u32, near.row));
        }
        Self::of(neighbours, union)
    }

    fn of(neighbours: &Neighbours, mut union: Union) -> Self {
        let rows = union.parents.len();
        let nearest = (0..rows).map(|row| neighbours.of(row).first().map_or(-1.0, |near| near.cosine)).collect();
        let mut by_root: Vec<(u32, u32)> = (0..rows as u32).map(|row| (union.root(row), row)).collect();
        by_root.sort_unstable();
        let mut groups: Vec<DuplicateGroup> = by_root
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|group| group.len() > 1)
            .map(|group| DuplicateGroup { rows: group.iter().map(|&(_, row)| row).collect() })
            .collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.rows.len()), group.rows[0]));
        Self { groups, nearest }
    }

    /// How near rows lie to their most similar one.
    pub fn spread(&self) -> Spread {
        let mut sorted = self.nearest.clone();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
        Spread { median: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

/// The pairs of a block whose cosine reaches the threshold.
fn linked(block: &Block, threshold: f32) -> Vec<(u32, u32)> {
    let of_row = |(row, cosines): (usize, &[f32])| {
        let first = if block.is_diagonal() { row + 1 } else { 0 };
        let row = (block.rows.start + row) as u32;
        let near = cosines.iter().enumerate().skip(first).filter(|&(_, &cosine)| cosine >= threshold);
        near.map(|(column, _)| (row, (block.columns.start + column) as u32)).collect::<Vec<_>>()
    };
    block.cosines.par_chunks_exact(block.columns.len()).enumerate().flat_map_iter(of_row).collect()
}

/// Disjoint sets of rows; the root of a set is its lowest row, so that the order of joining changes nothing.
struct Union {
    parents: Vec<u32>,
}

impl Union {
    fn new(rows: usize) -> Self {
        Self { parents: (0..rows as u32).collect() }
    }

    fn root(&mut self, row: u32) -> u32 {
        let mut at = row;
        while self.parents[at as usize] != at {
            // Halves the way for the next one who asks.
            let above = self.parents[self.parents[at as usize] as usize];
            self.parents[at as usize] = above;
            at = above;
        }
        at
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::tests::drawn;
    use crate::of_all;

    /// Rows at these angles in degrees.
    fn angles(degrees: &[f32]) -> Vectors {
        Vectors::new(degrees.iter().flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()]).collect(), 2)
    }

    #[test]
    fn rows_are_linked_through_others_and_those_apart_are_in_no_group() {
        let vectors = angles(&[0.0, 90.0, 2.0, 45.0, 4.0, 91.0]);
        let threshold = 3f32.to_radians().cos();
        let found = Duplicates::find(&vectors, threshold, Work::silent());
        let rows: Vec<&[u32]> = found.groups.iter().map(|group| &group.rows[..]).collect();
        assert_eq!(rows, [&[0, 2, 4][..], &[1, 5]]);
        assert!((found.nearest[3] - 41f32.to_radians().cos()).abs() < 1e-6);
        assert_eq!(Duplicates::among(&of_all(&vectors, 2, Work::silent()), threshold), found);
        assert_eq!(Duplicates::find(&vectors, 1.1, Work::silent()).groups, []);
    }

    #[test]
    fn groups_reach_over_blocks_and_the_spread_is_that_of_the_nearest() {
        let mut rows: Vec<u32> = (0..1500).collect();
        rows.extend([3, 1200, 3]);
        let vectors = drawn(1500, 32).select(&rows);
        let found = Duplicates::find(&vectors, 0.99999, Work::silent());
        let rows: Vec<&[u32]> = found.groups.iter().map(|group| &group.rows[..]).collect();
        assert_eq!(rows, [&[3, 1500, 1502][..], &[1200, 1501]]);
        let spread = found.spread();
        assert!(spread.max > 0.9999 && spread.median < 0.9 && spread.p90 < spread.max, "{spread:?}");
    }

    #[test]
    fn the_proposed_threshold_parts_copies_from_what_is_alike() {
        let mut rows: Vec<u32> = (0..400).collect();
        rows.extend(0..40);
        let vectors = drawn(400, 32).select(&rows);
        let threshold = proposed_threshold(&vectors, Work::silent());
        let found = Duplicates::find(&vectors, threshold, Work::silent());
        assert_eq!(found.groups.len(), 40, "threshold {threshold}");
        assert!(found.groups.iter().enumerate().all(|(at, group)| group.rows == [at as u32, at as u32 + 400]));
    }
}
