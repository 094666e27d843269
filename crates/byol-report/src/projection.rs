//! From representations to two dimensions: principal components and t-SNE.

use bhtsne::tSNE;
use burn::tensor::Device;
use byol_data::{Random, Stream};
use byol_eval::{Features, knn};

/// A place on the map for each picture.
pub(super) type Places = Vec<[f32; 2]>;

/// Principal components of the unit-length representations.
pub(super) struct Principal {
    /// Coordinates along the first two components, mean 0.
    pub places: Places,
    /// Share of the variance along each of the two.
    pub shares: [f64; 2],
}

/// What fixes a t-SNE besides the representations.
pub(super) const TSNE_EPOCHS: usize = 1000;

/// Fewer pictures have too few neighbours for t-SNE.
pub(super) const LEAST_FOR_TSNE: usize = 10;

/// `T` of neighbourhoods: 30, or less where there are fewer than 91 pictures.
pub(super) fn perplexity(pictures: usize) -> f32 {
    (pictures.saturating_sub(1) as f32 / 3.0).clamp(1.0, 30.0).floor()
}

/// The first two principal components by power iteration: `v ← XᵀXv / |XᵀXv|` on the centred rows `X`, then the same
/// without what lies along the first. Two directions of a few hundred rows need no decomposition of a matrix; where the
/// second and third variance are nearly equal, any direction between them is as good. Signs are fixed by the largest
/// coordinate. `None` when all rows are the same.
pub(super) fn principal(features: &Features, seed: u64) -> Option<Principal> {
    let size = features.size;
    let mut rows = features.l2_normalized();
    let count = features.len().max(1) as f64;
    for column in 0..size {
        let mean = rows.iter().skip(column).step_by(size).map(|&x| f64::from(x)).sum::<f64>() / count;
        rows.iter_mut().skip(column).step_by(size).for_each(|x| *x -= mean as f32);
    }
    let total: f64 = rows.iter().map(|&x| f64::from(x).powi(2)).sum();
    if total <= 1e-9 * count {
        return None;
    }
    let first = direction(&rows, size, &[], seed);
    let second = direction(&rows, size, &first, seed);
    let along = [coordinates(&rows, &first), coordinates(&rows, &second)].map(with_fixed_sign);
    let shares = along.each_ref().map(|values| values.iter().map(|x| x * x).sum::<f64>() / total);
    let places = along[0].iter().zip(&along[1]).map(|(&x, &y)| [x as f32, y as f32]).collect();
    Some(Principal { places, shares })
}

/// The unit direction of the largest variance among those orthogonal to `without` (none, or one direction).
fn direction(rows: &[f32], size: usize, without: &[f64], seed: u64) -> Vec<f64> {
    const MOST_ITERATIONS: usize = 500;
    let mut random = Random::new(seed, Stream::Evaluation, u64::MAX - 2, without.len() as u64);
    let mut vector: Vec<f64> = (0..size).map(|_| f64::from(random.normal())).collect();
    unit_without(&mut vector, without);
    for _ in 0..MOST_ITERATIONS {
        let mut next = vec![0.0; size];
        for (row, along) in rows.chunks_exact(size).zip(coordinates(rows, &vector)) {
            next.iter_mut().zip(row).for_each(|(sum, &x)| *sum += along * f64::from(x));
        }
        unit_without(&mut next, without);
        let cosine = dot(&next, &vector);
        vector = next;
        if cosine > 1.0 - 1e-10 {
            break;
        }
    }
    vector
}

fn unit_without(vector: &mut [f64], without: &[f64]) {
    let along = dot(vector, without);
    vector.iter_mut().zip(without).for_each(|(x, direction)| *x -= along * direction);
    let norm = dot(vector, vector).sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|x| *x /= norm);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn coordinates(rows: &[f32], vector: &[f64]) -> Vec<f64> {
    rows.chunks_exact(vector.len()).map(|row| row.iter().zip(vector).map(|(&x, v)| f64::from(x) * v).sum()).collect()
}

fn with_fixed_sign(mut values: Vec<f64>) -> Vec<f64> {
    let largest = values.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
    if largest < 0.0 {
        values.iter_mut().for_each(|value| *value = -*value);
    }
    values
}

/// t-SNE (van der Maaten & Hinton 2008) of unit-length representations, Barnes–Hut with θ 0.5. It starts from the principal
/// components, scaled to a deviation of 10⁻⁴ (Kobak & Berens 2019), and its neighbours are exact: nothing is drawn at random,
/// and one thread adds in one order, so that the same representations give the same map. `None` for too few pictures, or
/// when no finite map was found.
pub(super) fn tsne(features: &Features, start: &Principal, device: &Device) -> Option<Places> {
    let count = features.len();
    if count < LEAST_FOR_TSNE {
        return None;
    }
    let perplexity = perplexity(count);
    let near = (3.0 * perplexity) as usize;
    let neighbours: Vec<Vec<bhtsne::Neighbor<f32>>> = knn::neighbours(features, features, near + 1, device)
        .into_iter()
        .enumerate()
        .map(|(own, found)| {
            // Of unit vectors, |a − b|² = 2 − 2 cos.
            let distance = |cosine: f32| (2.0 - 2.0 * cosine).max(0.0).sqrt();
            let others = found.into_iter().filter(|neighbour| neighbour.row != own).take(near);
            others.map(|other| bhtsne::Neighbor { index: other.row, distance: distance(other.cosine) }).collect()
        })
        .collect();
    let deviation = (start.places.iter().map(|place| place[0].powi(2)).sum::<f32>() / count as f32).sqrt();
    let initial: Vec<f32> = start.places.iter().flatten().map(|x| x / deviation * 1e-4).collect();
    let rows: Vec<&[f32]> = (0..count).map(|row| features.row(row)).collect();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?;
    let values = one_thread.install(|| {
        let mut map: tSNE<f32, &[f32]> = tSNE::new(&rows);
        map.epochs(TSNE_EPOCHS).perplexity(perplexity).initial_embedding(initial);
        map.barnes_hut_with_neighbors(0.5, &neighbours).embedding()
    });
    let places: Places = values.as_chunks().0.to_vec();
    places.iter().flatten().all(|value| value.is_finite()).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds around unit vectors, with the class of each row.
    fn clouds(per_class: usize, size: usize) -> Features {
        let mut random = Random::new(7, Stream::Drawing, 0, 0);
        let mut values = Vec::new();
        let mut labels = Vec::new();
        for row in 0..3 * per_class {
            let class = row % 3;
            values.extend((0..size).map(|column| if column == class { 5.0 } else { 0.0 } + 0.5 * random.normal()));
            labels.push(Some(class as u32));
        }
        Features { values, size, images: (0..3 * per_class as u32).collect(), labels, bad: Vec::new() }
    }

    /// Share of pictures whose nearest other picture on the map has their class.
    fn purity(places: &Places, labels: &[Option<u32>]) -> f64 {
        let nearest = |own: usize| {
            let distance =
                |other: &usize| (0..2).map(|axis| (places[own][axis] - places[*other][axis]).powi(2)).sum::<f32>();
            (0..places.len()).filter(|other| *other != own).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
        };
        let right = (0..places.len()).filter(|&own| labels[own] == labels[nearest(own)]).count();
        right as f64 / places.len() as f64
    }

    #[test]
    fn principal_components_are_those_of_a_known_cloud() {
        // Unit vectors at the angles ±a around the first axis, with a little along the third: the variances are known.
        let values: Vec<f32> = (0..40)
            .flat_map(|row| {
                let angle = if row % 2 == 0 { 0.5f32 } else { -0.5 };
                let third = if row % 4 < 2 { 0.1f32 } else { -0.1 };
                let rest = (1.0 - third * third).sqrt();
                [angle.cos() * rest, angle.sin() * rest, third]
            })
            .collect();
        let features = Features { values, size: 3, images: (0..40).collect(), labels: vec![None; 40], bad: vec![] };
        let found = principal(&features, 0).unwrap();
        let variances = [0.5f64.sin().powi(2) * 0.99, 0.01];
        for axis in 0..2 {
            let share = variances[axis] / (variances[0] + variances[1]);
            assert!((found.shares[axis] - share).abs() < 1e-4, "{:?}", found.shares);
        }
        assert!((found.places[0][0].abs() - 0.5f32.sin() * 0.99f32.sqrt()).abs() < 1e-4);
    }

    #[test]
    fn classes_stay_together_and_the_map_is_the_same_each_time() {
        let features = clouds(20, 16);
        let device = byol_nn::ops::open_device("cpu").unwrap();
        let map = || {
            let start = principal(&features, 3).unwrap();
            let places = tsne(&features, &start, &device).unwrap();
            (start.places, places)
        };
        let (linear, curved) = map();
        assert!(purity(&linear, &features.labels) > 0.9 && purity(&curved, &features.labels) > 0.95);
        assert_eq!(map(), (linear, curved));
    }

    #[test]
    fn a_collapsed_encoder_has_no_map_and_few_pictures_no_tsne() {
        let same = Features {
            values: [1.0, 2.0].repeat(12),
            size: 2,
            images: (0..12).collect(),
            labels: vec![None; 12],
            bad: vec![],
        };
        assert!(principal(&same, 0).is_none());
        let few = clouds(2, 8);
        let start = principal(&few, 0).unwrap();
        assert!(tsne(&few, &start, &byol_nn::ops::open_device("cpu").unwrap()).is_none());
        assert_eq!([0, 10, 91, 1000].map(perplexity), [1.0, 3.0, 30.0, 30.0]);
    }
}
