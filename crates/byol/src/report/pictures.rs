//! The pictures that a report shows, under the encoder of each run: nearest neighbours and a map.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use byol_data::{DataConfig, Dataset, Random, Stream};

use super::ReportRequest;
use super::html::{escape, note};
use super::map::Map;
use super::runs::RunRecord;
use super::sprite::Sprite;
use crate::encoder::Encoder;
use crate::error::Result;
use crate::eval::knn::{self, Neighbour};
use crate::eval::{Features, extract, open_parts};
use crate::sheet::{Embedded, neighbours_sheet};

/// Queries of the sheet of neighbours.
const QUERIES: usize = 8;
/// Neighbours of each.
const NEIGHBOURS: usize = 8;

/// Some pictures of a data set, chosen by the seed.
pub(super) struct Sample {
    roots: Vec<PathBuf>,
    limits: DataConfig,
    /// Pictures to find neighbours among.
    pool: Arc<Dataset>,
    /// Pictures to find neighbours for, of the test part.
    queries: Arc<Dataset>,
    /// Where they are from.
    description: String,
}

/// Representations of a sample under one encoder.
pub(super) struct EmbeddedSample<'a> {
    pub sample: &'a Sample,
    pub pool: Features,
    pub queries: Features,
}

/// The section: per run its neighbours and its map.
///
/// # Errors
/// What is wrong with the data that `request` names; for a run's own data the section says it.
pub(super) fn section(runs: &[RunRecord], request: &ReportRequest, device: &Device) -> Result<String> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut html = String::new();
    for (place, run) in runs.iter().enumerate() {
        if runs.len() > 1 {
            html += &format!("<h3>{}</h3>\n", escape(&run.name));
        }
        if !run.path.join("encoder.safetensors").exists() {
            html += &note("No encoder yet: the run has no checkpoint, so there are no neighbours and no map.");
            continue;
        }
        match pictures_of(place, run, runs.len(), request, &mut samples, device) {
            Ok(pictures) => html += &pictures,
            Err(error) if request.data.is_empty() => {
                html += &note(&format!("No pictures: {error}. Another place of the data is given with --data."));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(html)
}

fn pictures_of(
    place: usize,
    run: &RunRecord,
    runs: usize,
    request: &ReportRequest,
    samples: &mut Vec<Sample>,
    device: &Device,
) -> Result<String> {
    let roots = match (&request.data[..], &run.info) {
        ([], Some(info)) => info.data.clone(),
        (data, _) => data.to_vec(),
    };
    if roots.is_empty() {
        return Ok(note("The pictures of this run were drawn in memory and are gone; --data shows others."));
    }
    // What cannot be read is left out of a picture of the data; its limits are for training.
    let limits = run.config.as_ref().map(|config| config.data.clone()).unwrap_or_default();
    let limits = DataConfig { max_bad_fraction: 1.0, ..limits };
    let known = samples.iter().position(|sample| sample.roots == roots && sample.limits == limits);
    let at = match known {
        Some(at) => at,
        None => {
            samples.push(Sample::open(roots, limits, request)?);
            samples.len() - 1
        }
    };
    let embedded = samples[at].under(run, device)?;
    if embedded.pool.is_empty() || embedded.queries.is_empty() {
        return Ok(note("No pictures: not one of those chosen can be read; byol doctor says why."));
    }
    let mut html = embedded.neighbours(device)?;
    let map = Map::of(&embedded, request, device);
    html += &match map {
        Some(map) => {
            let sprite = Sprite::of(&map.pictures, runs);
            map.html(place, &sprite)
        }
        None => note("No map: all pictures have the same representation, as after a collapse."),
    };
    Ok(html)
}

impl Sample {
    fn open(roots: Vec<PathBuf>, limits: DataConfig, request: &ReportRequest) -> Result<Self> {
        let parts = open_parts(&roots, &request.test, &limits)?;
        let choose =
            |from: &Dataset, part| Arc::new(from.subset(&chosen(from.len(), request.images, request.seed, part)));
        let (pool, queries) = (choose(&parts.train, 0), choose(&parts.test, 1));
        let description =
            parts.description.replace("trained on", "neighbours from").replace("tested on", "queries from");
        Ok(Self { roots, limits, pool, queries, description })
    }

    fn under(&self, run: &RunRecord, device: &Device) -> Result<EmbeddedSample<'_>> {
        let mut encoder = Encoder::open(&run.path.to_string_lossy(), device)?;
        let pool = extract(&mut encoder, &self.pool, 0, device)?;
        let queries = extract(&mut encoder, &self.queries, 0, device)?;
        Ok(EmbeddedSample { sample: self, pool, queries })
    }
}

impl EmbeddedSample<'_> {
    fn neighbours(&self, device: &Device) -> Result<String> {
        let Sample { pool, queries, description, .. } = self.sample;
        let nearest = knn::neighbours(&self.pool, &self.queries, NEIGHBOURS, device);
        let rows: Vec<(usize, Vec<Neighbour>)> =
            various(&self.queries.labels).into_iter().map(|query| (query, nearest[query].clone())).collect();
        let sheet = neighbours_sheet(
            &Embedded { dataset: queries, features: &self.queries },
            &Embedded { dataset: pool, features: &self.pool },
            &rows,
        )?;
        let frames = match self.queries.labels.iter().any(Option::is_some) {
            true => "Frames: blue the same class, orange another.",
            false => "The data has no labels.",
        };
        let about = format!(
            "{frames} Cosine of the representation, among {} pictures chosen by the seed; {description}.",
            self.pool.len()
        );
        Ok(format!(
            "<figure class=\"sheet\"><figcaption><b>Nearest neighbours</b> <span>query on the left, then the most similar pictures, nearest \
             first</span></figcaption>\n<img alt=\"queries and their nearest neighbours\" src=\"data:image/png;base64,{}\">\n{}</figure>\n",
            STANDARD.encode(sheet.to_png()),
            note(&about)
        ))
    }

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

/// Rows of as many classes as possible: the first picture of each class, then the second, until there are enough.
fn various(labels: &[Option<u32>]) -> Vec<usize> {
    let mut seen = std::collections::HashMap::new();
    let mut rows: Vec<(usize, Option<u32>, usize)> = labels
        .iter()
        .enumerate()
        .map(|(row, &label)| {
            let times = seen.entry(label).or_insert(0usize);
            *times += 1;
            (*times, label, row)
        })
        .collect();
    rows.sort_unstable();
    rows.truncate(QUERIES);
    rows.into_iter().map(|(_, _, row)| row).collect()
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

    #[test]
    fn queries_are_of_many_classes() {
        let labels = [0, 0, 0, 1, 1, 2].map(Some);
        assert_eq!(various(&labels), [0, 3, 5, 1, 4, 2]);
        assert_eq!(various(&[None; 20]).len(), QUERIES);
    }
}
