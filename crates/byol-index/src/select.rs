//! Which pictures to label first.

use std::collections::BTreeSet;

use super::clusters::Clusters;
use super::neighbours::{of_all, search};
use super::products::products;
use super::vectors::Vectors;
use super::work::Work;

/// Neighbours within a cluster that typicality looks at, at most half of the cluster.
const TYPICALITY_NEIGHBOURS: usize = 20;
/// Clusters with fewer rows give none while larger ones do: they are outliers rather than kinds of pictures.
const SMALLEST_CLUSTER: usize = 5;

/// A row that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Which row.
    pub row: u32,
    /// Of k-centre, 1 − cosine to the nearest row chosen or labelled before it (to the mean of all for the very first); of typicality, its
    /// typicality.
    pub score: f64,
    /// Of typicality, its cluster.
    pub cluster: Option<u32>,
}

/// Rows in the order they were chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// At most as many as asked for.
    pub chosen: Vec<Chosen>,
    /// The largest 1 − cosine of any row to the nearest one chosen or labelled: how well they cover all.
    pub radius: f64,
}

/// Greedy k-centre (Gonzalez 1985; Sener & Savarese 2018, <https://arxiv.org/abs/1708.00489>): each next row is the one farthest, by
/// 1 − cosine, from all rows chosen or `labelled` before; without any, the first is the row nearest to the mean. Its radius is at most twice the best
/// possible in angle. Ties go to the lower row.
pub fn k_centre(vectors: &Vectors, labelled: &[u32], count: usize, work: Work) -> Selection {
    let mut cover = Cover::of(vectors, labelled, work);
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let next = match labelled.is_empty() && chosen.is_empty() {
            true => cover.nearest_to_mean(),
            false => cover.farthest(),
        };
        let Some((row, distance)) = next else { break };
        cover.add(row);
        chosen.push(Chosen { row, score: distance.into(), cluster: None });
        (work.advance)(1);
    }
    Selection { chosen, radius: cover.radius() }
}

/// TypiClust (Hacohen, Dekel & Weinshall 2022, <https://arxiv.org/abs/2202.02794>) over given clusters: again and again the cluster with the
/// fewest rows chosen or `labelled` so far, of these the largest, gives its most typical row,
/// `typicality(x) = (1/k · Σ_{i ≤ k} ‖x − x_i‖)⁻¹` over the k nearest rows of the cluster that are still to be had, k the smaller of 20 and half of
/// them. Clusters of fewer than 5 rows come last. Ties go to the lower cluster and row.
pub fn typical(vectors: &Vectors, clusters: &Clusters, labelled: &[u32], count: usize, work: Work) -> Selection {
    let mut left = clusters.rows_by_cluster();
    let sizes = clusters.sizes();
    let mut taken = vec![0usize; left.len()];
    let done: BTreeSet<u32> = labelled.iter().copied().collect();
    left.iter_mut().for_each(|rows| rows.retain(|row| !done.contains(row)));
    labelled.iter().for_each(|&row| taken[clusters.of_row[row as usize] as usize] += 1);
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let key = |&cluster: &usize| {
            (sizes[cluster] < SMALLEST_CLUSTER, taken[cluster], std::cmp::Reverse(sizes[cluster]), cluster)
        };
        let Some(cluster) = (0..left.len()).filter(|&cluster| !left[cluster].is_empty()).min_by_key(key) else { break };
        let (place, score) = most_typical(vectors, &left[cluster], work);
        let row = left[cluster].remove(place);
        taken[cluster] += 1;
        chosen.push(Chosen { row, score, cluster: Some(cluster as u32) });
        (work.advance)(1);
    }
    let centres: Vec<u32> = labelled.iter().copied().chain(chosen.iter().map(|chosen| chosen.row)).collect();
    Selection { chosen, radius: Cover::of(vectors, &centres, work).radius() }
}

/// Place and typicality of the most typical of `rows`.
fn most_typical(vectors: &Vectors, rows: &[u32], work: Work) -> (usize, f64) {
    let k = TYPICALITY_NEIGHBOURS.min(rows.len() / 2);
    if k == 0 {
        return (0, 0.0);
    }
    let found = of_all(&vectors.select(rows), k, Work { advance: &|_| (), ..work });
    let typicality = |row: usize| {
        // ‖a − b‖² = 2 − 2 cos for unit rows.
        let far = |cosine: f32| (2.0 - 2.0 * f64::from(cosine)).max(0.0).sqrt();
        let near = found.of(row);
        let mean = near.iter().map(|near| far(near.cosine)).sum::<f64>() / near.len() as f64;
        1.0 / mean.max(1e-5)
    };
    let first = (0, f64::NEG_INFINITY);
    (0..rows.len())
        .map(|row| (row, typicality(row)))
        .fold(first, |best, next| if next.1 > best.1 { next } else { best })
}

/// How far every row is from the nearest centre.
struct Cover<'a> {
    vectors: &'a Vectors,
    work: Work<'a>,
    /// 1 − cosine; negative for the centres themselves.
    distances: Vec<f32>,
    cosines: Vec<f32>,
}

impl<'a> Cover<'a> {
    fn of(vectors: &'a Vectors, centres: &[u32], work: Work<'a>) -> Self {
        let count = vectors.len();
        let mut distances = vec![f32::INFINITY; count];
        if !centres.is_empty() {
            let found = search(&vectors.select(centres), vectors, 1, Work { advance: &|_| (), ..work });
            distances = (0..count).map(|row| (1.0 - found.of(row)[0].cosine).max(0.0)).collect();
            centres.iter().for_each(|&row| distances[row as usize] = -1.0);
        }
        Self { vectors, work, distances, cosines: vec![0.0; count] }
    }

    fn add(&mut self, row: u32) {
        self.look_from(self.vectors.row(row as usize));
        let pairs = self.distances.iter_mut().zip(&self.cosines);
        pairs.for_each(|(distance, cosine)| *distance = distance.min((1.0 - cosine).max(0.0)));
        self.distances[row as usize] = -1.0;
    }

    fn look_from(&mut self, direction: &[f32]) {
        products(self.work.isa, self.vectors.size(), direction, self.vectors.values(), &mut self.cosines);
    }

    fn nearest_to_mean(&mut self) -> Option<(u32, f32)> {
        let size = self.vectors.size();
        let mut mean = vec![0.0f64; size];
        for row in self.vectors.values().chunks_exact(size) {
            mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        let mean = Vectors::new(mean.into_iter().map(|sum| sum as f32).collect(), size);
        self.look_from(mean.row(0));
        let distances = self.cosines.iter().map(|cosine| (1.0 - cosine).max(0.0));
        (0u32..).zip(distances).reduce(|best, next| if next.1 < best.1 { next } else { best })
    }

    /// The row farthest from all centres; `None` if all rows are centres.
    fn farthest(&self) -> Option<(u32, f32)> {
        let open = (0u32..).zip(self.distances.iter().copied()).filter(|&(_, distance)| distance >= 0.0);
        open.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    fn radius(&self) -> f64 {
        self.farthest().map_or(0.0, |(_, distance)| distance.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::tests::drawn;
    use crate::{ClusterOptions, k_means};

    #[test]
    fn no_row_is_chosen_twice_nor_one_that_is_labelled_and_all_are_chosen_in_the_end() {
        let vectors = drawn(60, 8);
        let labelled = [3, 17, 30];
        let clusters = k_means(&vectors, &ClusterOptions { clusters: 9, ..ClusterOptions::default() }, Work::silent());
        for selection in [
            k_centre(&vectors, &labelled, 1000, Work::silent()),
            typical(&vectors, &clusters, &labelled, 1000, Work::silent()),
        ] {
            let rows: BTreeSet<u32> = selection.chosen.iter().map(|chosen| chosen.row).collect();
            assert_eq!((selection.chosen.len(), rows.len(), selection.radius), (57, 57, 0.0));
            assert!(labelled.iter().all(|row| !rows.contains(row)));
        }
    }

    #[test]
    fn every_cluster_gives_one_before_any_gives_two_and_what_is_labelled_counts() {
        let vectors = drawn(140, 12);
        let clusters = k_means(&vectors, &ClusterOptions { clusters: 7, ..ClusterOptions::default() }, Work::silent());
        let of = |labelled: &[u32], count| -> Vec<u32> {
            let chosen = typical(&vectors, &clusters, labelled, count, Work::silent()).chosen;
            chosen.iter().map(|chosen| chosen.cluster.unwrap()).collect()
        };
        assert_eq!(of(&[], 7).iter().copied().collect::<BTreeSet<_>>().len(), 7);
        let first = clusters.of_row[0];
        assert!(!of(&[0], 6).contains(&first), "cluster {first} has a label already");
    }

    #[test]
    fn more_centres_cover_better() {
        let vectors = drawn(300, 8);
        let radii: Vec<f64> =
            [1, 5, 20, 80].map(|count| k_centre(&vectors, &[], count, Work::silent()).radius).to_vec();
        assert!(radii.is_sorted_by(|a, b| a > b), "{radii:?}");
    }
}
