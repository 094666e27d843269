//! Spherical k-means (<https://doi.org/10.1023/A:1007612920971>): rows go to the centre with the largest cosine, and a centre is the mean of
//! its rows, scaled to unit length.

use byol_data::{Random, Stream};
use rayon::prelude::*;

use super::products::products;
use super::vectors::Vectors;
use super::work::Work;

/// Cosines of a block of rows with all centres: they stay in the last cache.
const COSINES_AT_ONCE: usize = 1 << 20;

/// How clusters are sought.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ClusterOptions {
    /// Clusters, 1 to the number of rows.
    pub clusters: usize,
    /// Starts, of which the best counts.
    pub restarts: usize,
    /// Rounds of one start, at most.
    pub max_rounds: usize,
    /// A start ends when a round lowers the inertia by less than this part of it.
    pub tolerance: f64,
    /// What the first centres are drawn by.
    pub seed: u64,
}

impl Default for ClusterOptions {
    /// 10 clusters, 3 starts of at most 100 rounds, tolerance 1e-5.
    fn default() -> Self {
        Self { clusters: 10, restarts: 3, max_rounds: 100, tolerance: 1e-5, seed: 0 }
    }
}

/// Where every row went.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// One unit row per cluster.
    pub centres: Vectors,
    /// The cluster of every row.
    pub of_row: Vec<u32>,
    /// The cosine of every row to the centre of its cluster.
    pub cosines: Vec<f32>,
    /// `Σ (1 − cosine)` over all rows.
    pub inertia: f64,
    /// Rounds that were taken.
    pub rounds: usize,
}

/// The best of several starts from centres drawn by k-means++ (<https://dl.acm.org/doi/10.5555/1283383.1283494>; the next is a row drawn in
/// proportion to 1 − cosine to the nearest before it). Clusters are numbered by size, largest first. Progress is told per row, start and round.
///
/// # Panics
/// When there are more clusters than rows, or none.
pub fn k_means(vectors: &Vectors, options: &ClusterOptions, work: Work) -> Clusters {
    let ClusterOptions { clusters, restarts, max_rounds, tolerance, seed } = *options;
    assert!((1..=vectors.len()).contains(&clusters), "{clusters} clusters of {} rows", vectors.len());
    let start = |restart: usize| {
        let centres = first_centres(vectors, clusters, Random::new(seed, Stream::Clusters, restart as u64, 0), work);
        lloyd(vectors, centres, max_rounds, tolerance, work)
    };
    // Of equal ones the first: comparing with `<` keeps it.
    let better = |best: Clusters, next: Clusters| if next.inertia < best.inertia { next } else { best };
    (1..restarts.max(1)).fold(start(0), |best, restart| better(best, start(restart))).by_size()
}

/// Rounds from given centres until nothing moves, the inertia falls by less than `tolerance` of itself, or `max_rounds`. A cluster that loses
/// all its rows takes the row that is farthest from its centre.
pub fn lloyd(vectors: &Vectors, centres: Vectors, max_rounds: usize, tolerance: f64, work: Work) -> Clusters {
    let mut found = assign(vectors, centres, work);
    for round in 1..=max_rounds {
        let centres = means(vectors, &found);
        let next = assign(vectors, centres, work);
        (work.advance)(vectors.len() as u64);
        let settled = next.of_row == found.of_row || found.inertia - next.inertia <= tolerance * found.inertia;
        found = Clusters { rounds: round, ..next };
        if settled {
            break;
        }
    }
    found
}

fn first_centres(vectors: &Vectors, clusters: usize, mut random: Random, work: Work) -> Vectors {
    let mut chosen = vec![random.below(vectors.len() as u64) as u32];
    let mut far = vec![f32::INFINITY; vectors.len()];
    let mut cosines = vec![0.0; vectors.len()];
    while chosen.len() < clusters {
        let last = chosen[chosen.len() - 1] as usize;
        products(work.isa, vectors.size(), vectors.row(last), vectors.values(), &mut cosines);
        far.iter_mut().zip(&cosines).for_each(|(far, cosine)| *far = far.min((1.0 - cosine).max(0.0)));
        // Rounding leaves a little even between a row and itself.
        chosen.iter().for_each(|&row| far[row as usize] = 0.0);
        let total: f64 = far.iter().map(|&far| f64::from(far)).sum();
        let mut left = (random.bits() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let drawn = far.iter().position(|&far| {
            left -= f64::from(far);
            far > 0.0 && left < 0.0
        });
        // Where all rows are equal to a centre, or rounding leaves something over: the first that is none yet.
        let first_free = || (0..vectors.len()).find(|&row| !chosen.contains(&(row as u32)));
        let next = drawn.or_else(first_free).expect("there are no more clusters than rows");
        chosen.push(next as u32);
    }
    vectors.select(&chosen)
}

/// Every row to its nearest centre; ties go to the lower one.
fn assign(vectors: &Vectors, centres: Vectors, work: Work) -> Clusters {
    let (count, clusters) = (vectors.len(), centres.len());
    let rows_at_once = (COSINES_AT_ONCE / clusters).clamp(16, 4096);
    let mut buffer = vec![0.0; rows_at_once.min(count) * clusters];
    let mut nearest: Vec<(u32, f32)> = Vec::with_capacity(count);
    for first in (0..count).step_by(rows_at_once) {
        let rows = first..(first + rows_at_once).min(count);
        let cosines = &mut buffer[..rows.len() * clusters];
        products(work.isa, vectors.size(), vectors.rows(rows), centres.values(), cosines);
        nearest.par_extend(cosines.par_chunks_exact(clusters).map(largest));
    }
    let (mut of_row, mut cosines): (Vec<u32>, Vec<f32>) = nearest.into_iter().unzip();
    fill_empty(&mut of_row, &mut cosines, clusters);
    let inertia = cosines.iter().map(|&cosine| (1.0 - f64::from(cosine)).max(0.0)).sum();
    Clusters { centres, of_row, cosines, inertia, rounds: 0 }
}

fn largest(cosines: &[f32]) -> (u32, f32) {
    let first = (0, f32::NEG_INFINITY);
    (0u32..).zip(cosines).fold(first, |best, (at, &cosine)| if cosine > best.1 { (at, cosine) } else { best })
}

/// Gives every cluster without rows the row farthest from its centre, of a cluster that keeps another.
fn fill_empty(of_row: &mut [u32], cosines: &mut [f32], clusters: usize) {
    let mut sizes = sizes(of_row, clusters);
    let empty: Vec<usize> = (0..clusters).filter(|&cluster| sizes[cluster] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut farthest: Vec<usize> = (0..of_row.len()).collect();
    farthest.sort_by(|&a, &b| cosines[a].total_cmp(&cosines[b]).then(a.cmp(&b)));
    let mut farthest = farthest.into_iter();
    for cluster in empty {
        let row = farthest.find(|&row| sizes[of_row[row] as usize] > 1).expect("there are no more clusters than rows");
        sizes[of_row[row] as usize] -= 1;
        sizes[cluster] = 1;
        (of_row[row], cosines[row]) = (cluster as u32, 1.0);
    }
}

fn sizes(of_row: &[u32], clusters: usize) -> Vec<usize> {
    let mut sizes = vec![0; clusters];
    of_row.iter().for_each(|&cluster| sizes[cluster as usize] += 1);
    sizes
}

/// The mean of the rows of each cluster, scaled to unit length; sums are taken in the order of rows. Where they cancel out, the centre stays.
fn means(vectors: &Vectors, found: &Clusters) -> Vectors {
    let mut centres = found.centres.values().to_vec();
    let rows = found.rows_by_cluster();
    centres.par_chunks_exact_mut(vectors.size()).zip(rows).for_each(|(centre, rows)| {
        let mut sum = vec![0.0f64; vectors.size()];
        for row in rows {
            sum.iter_mut().zip(vectors.row(row as usize)).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 0.0 {
            centre.iter_mut().zip(sum).for_each(|(centre, sum)| *centre = (sum / norm) as f32);
        }
    });
    Vectors::new(centres, vectors.size())
}

impl Clusters {
    /// Rows of each cluster.
    pub fn sizes(&self) -> Vec<usize> {
        sizes(&self.of_row, self.centres.len())
    }

    /// The rows of each cluster, ascending.
    pub fn rows_by_cluster(&self) -> Vec<Vec<u32>> {
        let mut rows: Vec<Vec<u32>> = self.sizes().into_iter().map(Vec::with_capacity).collect();
        (0u32..).zip(&self.of_row).for_each(|(row, &cluster)| rows[cluster as usize].push(row));
        rows
    }

    /// The same with clusters numbered by size, largest first; of equal ones that of the lowest row first.
    fn by_size(self) -> Self {
        let rows = self.rows_by_cluster();
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        let key = |cluster: &u32| {
            let rows = &rows[*cluster as usize];
            (std::cmp::Reverse(rows.len()), rows.first().copied())
        };
        order.sort_by_key(key);
        let mut place = vec![0u32; order.len()];
        (0u32..).zip(&order).for_each(|(new, &old)| place[old as usize] = new);
        let of_row = self.of_row.iter().map(|&cluster| place[cluster as usize]).collect();
        Self { centres: self.centres.select(&order), of_row, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::tests::drawn;

    #[test]
    fn equal_rows_and_as_many_clusters_as_rows_leave_no_cluster_empty() {
        for (vectors, clusters) in [(Vectors::new([1.0, 1.0].repeat(9), 2), 4), (drawn(12, 8), 12)] {
            let options = ClusterOptions { clusters, ..ClusterOptions::default() };
            let found = k_means(&vectors, &options, Work::silent());
            assert!(found.sizes().iter().all(|&size| size > 0), "{:?}", found.sizes());
            assert!(found.inertia < 1e-5 && found.sizes().is_sorted_by(|a, b| a >= b), "{}", found.inertia);
        }
    }

    #[test]
    fn rounds_never_raise_the_inertia_and_more_starts_never_make_it_worse() {
        let vectors = drawn(900, 12);
        let of = |restarts, max_rounds| {
            let options = ClusterOptions { clusters: 20, restarts, max_rounds, tolerance: 0.0, seed: 3 };
            k_means(&vectors, &options, Work::silent())
        };
        let inertias: Vec<f64> = (0..8).map(|rounds| of(1, rounds).inertia).collect();
        assert!(inertias.is_sorted_by(|a, b| a >= b) && inertias[7] < inertias[0], "{inertias:?}");
        assert!(of(4, 100).inertia <= of(1, 100).inertia);
        assert_eq!(of(2, 100), of(2, 100));
    }

    #[test]
    fn every_row_is_in_the_cluster_of_its_nearest_centre() {
        let vectors = drawn(700, 64);
        let found = k_means(&vectors, &ClusterOptions { clusters: 7, ..ClusterOptions::default() }, Work::silent());
        for row in 0..vectors.len() {
            let own = found.of_row[row] as usize;
            let cosine = |centre: usize| vectors.cosine(row, &found.centres, centre);
            assert!((0..7).all(|centre| cosine(centre) <= cosine(own) + 1e-5), "row {row}");
            // Rows are drawn around seven centres in turn.
            assert_eq!(found.of_row[row], found.of_row[row % 7], "row {row}");
        }
    }
}
