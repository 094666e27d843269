//! The pictures that a report shows, and their representations.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{DataConfig, Dataset, Random, Stream};
use byol_eval::{Features, PartsRequest, extract, open_parts};
use byol_nn::Result;
use byol_nn::encoder::Encoder;

use super::request::ReportRequest;
use super::runs::RunRecord;

/// Some pictures of a data set, chosen by the seed.
pub(super) struct Sample {
    roots: Vec<PathBuf>,
    limits: DataConfig,
    /// Pictures to find neighbours among.
    pub pool: Arc<Dataset>,
    /// Pictures to find neighbours for, of the test part.
    pub queries: Arc<Dataset>,
    /// Where they are from.
    pub description: String,
}

/// Representations of a sample under one encoder.
pub(super) struct EmbeddedSample<'a> {
    pub sample: &'a Sample,
    pub pool: Features,
    pub queries: Features,
}

impl Sample {
    pub fn open(roots: Vec<PathBuf>, limits: DataConfig, request: &ReportRequest) -> Result<Self> {
        let wanted = PartsRequest { data: roots.clone(), test: request.test.clone(), ..PartsRequest::default() };
        let parts = open_parts(&wanted, &limits)?;
        let choose =
            |from: &Dataset, part| Arc::new(from.subset(&chosen(from.len(), request.images, request.seed, part)));
        let (pool, queries) = (choose(&parts.train, 0), choose(&parts.test, 1));
        let description =
            parts.description.replace("trained on", "neighbours from").replace("tested on", "queries from");
        Ok(Self { roots, limits, pool, queries, description })
    }

    /// Whether it was chosen from these.
    pub fn is_of(&self, roots: &[PathBuf], limits: &DataConfig) -> bool {
        self.roots == roots && self.limits == *limits
    }

    pub fn under(&self, run: &RunRecord, device: &Device) -> Result<EmbeddedSample<'_>> {
        let mut encoder = Encoder::open(&run.path.to_string_lossy(), device)?;
        let pool = extract(&mut encoder, &self.pool, 0, device)?;
        let queries = extract(&mut encoder, &self.queries, 0, device)?;
        Ok(EmbeddedSample { sample: self, pool, queries })
    }
}

impl EmbeddedSample<'_> {
    /// The pictures of the map: those of the test part, then some of the pool until there are `most`; their data set,
    /// their place in it, and their representation.
    pub fn for_map(&self, most: usize, seed: u64) -> (Vec<(Arc<Dataset>, usize)>, Features) {
        let mut features =
            Features { values: vec![], size: self.queries.size, images: vec![], labels: vec![], bad: vec![] };
        let mut pictures = Vec::new();
        for (dataset, from) in [(&self.sample.queries, &self.queries), (&self.sample.pool, &self.pool)] {
            for row in chosen(from.len(), most - features.len(), seed, 2) {
                let row = row as usize;
                pictures.push((Arc::clone(dataset), from.images[row] as usize));
                features.values.extend_from_slice(from.row(row));
                features.images.push(from.images[row]);
                features.labels.push(from.labels[row]);
            }
        }
        (pictures, features)
    }
}

/// At most `most` places below `count`, rising: the same for the same `seed` and `part`.
fn chosen(count: usize, most: usize, seed: u64, part: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    Random::new(seed, Stream::Evaluation, u64::MAX - 1, part).shuffle(&mut order);
    order.truncate(most);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_spread_and_the_same_each_time() {
        let places = chosen(1000, 100, 5, 0);
        assert_eq!((places.len(), chosen(1000, 100, 5, 0) == places, chosen(3, 100, 5, 0)), (100, true, vec![0, 1, 2]));
        assert!(places.is_sorted() && places[20] > 50 && places[80] < 950, "not the first or last ones: {places:?}");
    }
}
