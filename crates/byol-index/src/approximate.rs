//! An approximate index for more rows than all products can be taken of: HNSW (<https://arxiv.org/abs/1603.09320>), by the crate
//! `hnsw_rs`, and how much of the truth it finds.

use hnsw_rs::hnsw::Hnsw;
use hnsw_rs::prelude::Distance;
use pulp::Arch;
use rayon::prelude::*;

use super::neighbours::{Neighbour, Neighbours, search};
use super::vectors::Vectors;
use super::work::Work;

/// Rows from which on the approximate index is the default where every row asks for its neighbours.
pub const APPROXIMATE_FROM: usize = 1_000_000;

/// Links of a row in each layer, M of the paper; twice as many in the lowest.
const LINKS: usize = 16;
/// Layers at most.
const LAYERS: usize = 16;
/// Candidates while it is built.
const BUILDING: usize = 100;
/// Candidates of a search, at least; twice k if that is more.
const SEARCHING: usize = 128;
/// Rows that are inserted between two reports of progress.
const ROWS_AT_ONCE: usize = 4096;
/// Queries that are asked again exactly.
const SAMPLE: usize = 200;

/// 1 − cosine, for unit rows.
struct Distant {
    arch: Arch,
}

impl Distance<f32> for Distant {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - self.arch.dispatch(|| dot(a, b))).max(0.0)
    }
}

/// Sums side by side, in a fixed order: as many as keep four of the widest vectors busy.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut sums = [0.0f32; LANES];
    let (a_parts, b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}

/// The index. It holds a copy of the rows.
pub struct Approximate<'a> {
    rows: &'a Vectors,
    index: Hnsw<'a, f32, Distant>,
}

/// How much of the truth an approximate search found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Recall {
    /// Share of the true k nearest among those found, 0 to 1; as similar ones count.
    pub share: f64,
    /// Queries that were asked exactly, too.
    pub queries: usize,
    /// Neighbours of each.
    pub k: usize,
}

impl<'a> Approximate<'a> {
    /// Builds the index of all `rows`. Threads race for the order of insertion, so that two builds differ a little.
    pub fn build(rows: &'a Vectors, work: Work) -> Self {
        let index = Hnsw::new(LINKS, rows.len(), LAYERS, BUILDING, Distant { arch: Arch::new() });
        for first in (0..rows.len()).step_by(ROWS_AT_ONCE) {
            let range = first..(first + ROWS_AT_ONCE).min(rows.len());
            range.clone().into_par_iter().for_each(|row| index.insert_slice((rows.row(row), row)));
            (work.advance)(range.len() as u64);
        }
        Self { rows, index }
    }

    /// For each row of `queries` about `k` of its most similar rows; what it misses is filled up by nothing, so that lists may be shorter.
    pub fn search(&self, queries: &Vectors, k: usize, work: Work) -> Neighbours {
        let mut found = Neighbours::none(queries.len(), k.min(self.rows.len()));
        found.lists().enumerate().for_each(|(query, list)| {
            self.fill(queries.row(query), None, list);
            (work.advance)(1);
        });
        found
    }

    /// For each row of the index about `k` of its most similar other rows.
    pub fn of_all(&self, k: usize, work: Work) -> Neighbours {
        let mut found = Neighbours::none(self.rows.len(), k.min(self.rows.len() - 1));
        found.lists().enumerate().for_each(|(row, list)| {
            self.fill(self.rows.row(row), Some(row), list);
            (work.advance)(1);
        });
        found
    }

    fn fill(&self, query: &[f32], itself: Option<usize>, list: &mut [Neighbour]) {
        let wanted = list.len() + usize::from(itself.is_some());
        let near = self.index.search(query, wanted, SEARCHING.max(2 * wanted));
        let mut near: Vec<Neighbour> = near
            .iter()
            .filter(|near| Some(near.d_id) != itself)
            .map(|near| Neighbour { row: near.d_id as u32, cosine: 1.0 - near.distance })
            .collect();
        near.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.row.cmp(&b.row)));
        list.iter_mut().zip(near).for_each(|(place, near)| *place = near);
    }

    /// Asks some of the queries again, exactly; they are spread evenly. `itself` says that query i is row i of the index, which does not
    /// count.
    pub fn recall(&self, queries: &Vectors, found: &Neighbours, itself: bool, work: Work) -> Recall {
        let count = SAMPLE.min(queries.len());
        let sample: Vec<u32> = (0..count).map(|place| (place * queries.len() / count) as u32).collect();
        let k = found.k();
        let exact = search(self.rows, &queries.select(&sample), k + usize::from(itself), work);
        // The last bits of a cosine depend on how it is summed.
        const ROUNDING: f32 = 1e-5;
        let hits = |(place, &query): (usize, &u32)| {
            let others = exact.of(place).iter().filter(|near| !(itself && near.row == query));
            let Some(worst) = others.take(k).last() else { return 0 };
            found.of(query as usize).iter().filter(|near| near.cosine >= worst.cosine - ROUNDING).count()
        };
        let hits: usize = sample.iter().enumerate().map(hits).sum();
        Recall { share: hits as f64 / (count * k).max(1) as f64, queries: count, k }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::tests::drawn;
    use crate::of_all;

    #[test]
    fn nearly_all_neighbours_are_found_and_the_recall_says_how_many() {
        let rows = drawn(3000, 20);
        let index = Approximate::build(&rows, Work::silent());
        let found = index.of_all(10, Work::silent());
        let recall = index.recall(&rows, &found, true, Work::silent());
        let exact = of_all(&rows, 10, Work::silent());
        let hits = |row: usize| {
            found.of(row).iter().filter(|near| exact.of(row).iter().any(|true_near| true_near.row == near.row)).count()
        };
        let counted = (0..rows.len()).map(hits).sum::<usize>() as f64 / 30_000.0;
        assert!(counted > 0.97 && recall.share > 0.97, "{counted} {recall:?}");
        assert!(
            (counted - recall.share).abs() < 0.02 && (recall.queries, recall.k) == (200, 10),
            "{counted} {recall:?}"
        );
        assert!((0..rows.len()).all(|row| found.of(row).iter().all(|near| near.row as usize != row)));
        let queries = drawn(50, 20);
        let asked = index.search(&queries, 3, Work::silent());
        assert_eq!(asked.of(0)[0].row, 0, "drawn alike, the first row is the first query");
    }
}
