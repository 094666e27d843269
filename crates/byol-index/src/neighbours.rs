//! The most similar rows, exactly: every product is taken.

use std::ops::Range;

use rayon::prelude::*;

use super::pairs::{Block, each_block};
use super::products::products;
use super::vectors::Vectors;
use super::work::Work;

/// Queries of a block of products, and rows that they meet at once: the cosines stay in the last cache while they are ranked.
const QUERIES_AT_ONCE: usize = 512;
const ROWS_AT_ONCE: usize = 2048;
/// Cosines that are looked at together: if none is among the best so far, nothing is done.
const LANES: usize = 32;
/// Columns of a block that one task ranks.
const COLUMNS_AT_ONCE: usize = 64;

/// A row and its cosine to the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Which row.
    pub row: u32,
    /// Cosine, −1 to 1 within rounding.
    pub cosine: f32,
}

impl Neighbour {
    /// Stands where nothing was found yet.
    pub(crate) const NONE: Self = Self { row: u32::MAX, cosine: f32::NEG_INFINITY };

    /// Whether it comes before `other`: it is more similar, or as similar and of a lower row.
    fn is_before(&self, other: &Self) -> bool {
        self.cosine > other.cosine || (self.cosine == other.cosine && self.row < other.row)
    }
}

/// The `k` nearest of every query, most similar first; ties go to the lower row.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    k: usize,
    found: Vec<Neighbour>,
}

impl Neighbours {
    /// Nothing found yet for `queries`.
    pub(crate) fn none(queries: usize, k: usize) -> Self {
        Self { k, found: vec![Neighbour::NONE; queries * k] }
    }

    /// Neighbours of each query.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Those of one query; an approximate index may have found fewer than k.
    pub fn of(&self, query: usize) -> &[Neighbour] {
        let list = &self.found[query * self.k..(query + 1) * self.k];
        &list[..list.partition_point(|near| *near != Neighbour::NONE)]
    }

    /// Of how many queries.
    pub fn queries(&self) -> usize {
        self.found.len() / self.k
    }

    /// The lists, to write to.
    pub(crate) fn lists(&mut self) -> rayon::slice::ChunksExactMut<'_, Neighbour> {
        self.found.par_chunks_exact_mut(self.k)
    }

    /// Takes in what the rows of a block are to its columns, and the columns to its rows.
    pub(crate) fn take(&mut self, block: &Block) {
        let Block { rows, columns, cosines } = block;
        let k = self.k;
        let own = &mut self.found[rows.start * k..rows.end * k];
        let lists = own.par_chunks_exact_mut(k).zip(cosines.par_chunks_exact(columns.len()));
        let itself = |row: usize| block.is_diagonal().then_some(columns.start + row);
        lists.enumerate().for_each(|(row, (best, cosines))| rank(best, cosines, columns.start, itself(row)));
        if block.is_diagonal() {
            return;
        }
        let theirs = &mut self.found[columns.start * k..columns.end * k];
        theirs.par_chunks_mut(COLUMNS_AT_ONCE * k).enumerate().for_each(|(part, lists)| {
            let first = part * COLUMNS_AT_ONCE;
            rank_columns(lists, k, block, first..first + lists.len() / k);
        });
    }
}

/// Puts `new` in its place among the `best`, if it has one.
fn insert(best: &mut [Neighbour], new: Neighbour) {
    if best.last().is_some_and(|last| new.is_before(last)) {
        let place = best.partition_point(|other| other.is_before(&new));
        best[place..].rotate_right(1);
        best[place] = new;
    }
}

/// Takes into `best` what is nearest of rows from `first` on, but for the row `itself`.
fn rank(best: &mut [Neighbour], cosines: &[f32], first: usize, itself: Option<usize>) {
    let k = best.len();
    for (part, cosines) in cosines.chunks(LANES).enumerate() {
        let worst = best[k - 1].cosine;
        if !cosines.iter().fold(false, |any, &cosine| any | (cosine >= worst)) {
            continue;
        }
        for (lane, &cosine) in cosines.iter().enumerate() {
            let row = first + part * LANES + lane;
            if Some(row) != itself {
                insert(best, Neighbour { row: row as u32, cosine });
            }
        }
    }
}

/// Takes into the `lists` of some columns of a block what is nearest of its rows.
fn rank_columns(lists: &mut [Neighbour], k: usize, block: &Block, columns: Range<usize>) {
    let mut worst: Vec<f32> = lists.chunks_exact(k).map(|best| best[k - 1].cosine).collect();
    for (row, cosines) in block.rows.clone().zip(block.cosines.chunks_exact(block.columns.len())) {
        let cosines = &cosines[columns.clone()];
        if !cosines.iter().zip(&worst).fold(false, |any, (cosine, worst)| any | (cosine >= worst)) {
            continue;
        }
        for (column, &cosine) in cosines.iter().enumerate() {
            if cosine >= worst[column] {
                let best = &mut lists[column * k..(column + 1) * k];
                insert(best, Neighbour { row: row as u32, cosine });
                worst[column] = best[k - 1].cosine;
            }
        }
    }
}

/// For each row of `queries` its `k` most similar rows of `base`; fewer if there are fewer rows.
///
/// # Panics
/// When the two are of different sizes, `k` is 0 or `base` is empty.
pub fn search(base: &Vectors, queries: &Vectors, k: usize, work: Work) -> Neighbours {
    assert!(base.size() == queries.size() && k > 0 && !base.is_empty(), "a search needs rows of one size and a k");
    let k = k.min(base.len());
    let mut found = Neighbours::none(queries.len(), k);
    let mut cosines = vec![0.0; QUERIES_AT_ONCE.min(queries.len()) * ROWS_AT_ONCE.min(base.len())];
    for first in (0..queries.len()).step_by(QUERIES_AT_ONCE) {
        let asked = first..(first + QUERIES_AT_ONCE).min(queries.len());
        let lists = &mut found.found[asked.start * k..asked.end * k];
        for start in (0..base.len()).step_by(ROWS_AT_ONCE) {
            let rows = start..(start + ROWS_AT_ONCE).min(base.len());
            let cosines = &mut cosines[..asked.len() * rows.len()];
            products(work.isa, base.size(), queries.rows(asked.clone()), base.rows(rows.clone()), cosines);
            let lists = lists.par_chunks_exact_mut(k).zip(cosines.par_chunks_exact(rows.len()));
            lists.for_each(|(best, cosines)| rank(best, cosines, start, None));
        }
        (work.advance)(asked.len() as u64);
    }
    found
}

/// For each row of `vectors` its `k` most similar other rows; fewer if there are fewer rows.
///
/// # Panics
/// When `k` is 0 or there are fewer than two rows.
pub fn of_all(vectors: &Vectors, k: usize, work: Work) -> Neighbours {
    assert!(k > 0 && vectors.len() > 1, "neighbours need two rows and a k");
    let mut found = Neighbours::none(vectors.len(), k.min(vectors.len() - 1));
    each_block(vectors, work, |block| found.take(block));
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use byol_data::{Random, Stream};

    use super::*;

    /// Rows around a few centres, the same each time.
    pub(crate) fn drawn(rows: usize, size: usize) -> Vectors {
        let mut random = Random::new(5, Stream::Clusters, 1, 1);
        let centres: Vec<f32> = (0..7 * size).map(|_| random.normal()).collect();
        let value = |at: usize, random: &mut Random| centres[at / size % 7 * size + at % size] + random.normal();
        Vectors::new((0..rows * size).map(|at| value(at, &mut random)).collect(), size)
    }

    fn plainly(base: &Vectors, queries: &Vectors, query: usize, k: usize, itself: Option<usize>) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..base.len() as u32).filter(|&row| Some(row as usize) != itself).collect();
        let cosine = |row: &u32| queries.cosine(query, base, *row as usize);
        rows.sort_by(|a, b| cosine(b).total_cmp(&cosine(a)).then(a.cmp(b)));
        rows.truncate(k);
        rows
    }

    #[test]
    fn a_search_finds_what_sorting_all_cosines_finds() {
        let (base, queries) = (drawn(2500, 24), drawn(600, 24));
        let found = search(&base, &queries, 5, Work::silent());
        for query in [0, 17, 511, 512, 599] {
            let rows: Vec<u32> = found.of(query).iter().map(|neighbour| neighbour.row).collect();
            assert_eq!(rows, plainly(&base, &queries, query, 5, None), "query {query}");
        }
        assert_eq!(search(&base.select(&[4, 2]), &queries, 5, Work::silent()).k(), 2);
    }

    #[test]
    fn all_rows_find_their_neighbours_but_not_themselves() {
        let vectors = drawn(2100, 16);
        let found = of_all(&vectors, 6, Work::silent());
        for row in [0, 1, 1023, 1024, 2047, 2048, 2099] {
            let rows: Vec<u32> = found.of(row).iter().map(|neighbour| neighbour.row).collect();
            assert_eq!(rows, plainly(&vectors, &vectors, row, 6, Some(row)), "row {row}");
        }
    }

    #[test]
    fn equal_rows_are_found_in_their_order_for_any_number_of_threads() {
        let vectors = Vectors::new([1.0, 2.0].repeat(1500), 2);
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| of_all(&vectors, 3, Work::silent()))
        };
        let found = of(1);
        let rows = |row: usize| found.of(row).iter().map(|neighbour| neighbour.row).collect::<Vec<_>>();
        assert_eq!((rows(0), rows(1), rows(1400)), (vec![1, 2, 3], vec![0, 2, 3], vec![0, 1, 2]));
        assert_eq!(found, of(3));
    }
}
