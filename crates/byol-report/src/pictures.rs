//! The pictures that a report shows, under the encoder of each run: nearest neighbours and a map.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use byol::sheet::{Embedded, neighbours_png};
use byol_data::DataConfig;
use byol_eval::knn::{self, Neighbour};
use byol_eval::waiting;
use byol_nn::Result;

use super::html::{escape, note};
use super::map::Map;
use super::request::ReportRequest;
use super::runs::RunRecord;
use super::sample::{EmbeddedSample, Sample};
use super::sprite::{ON_MAPS, Sprite};

/// Queries of the sheet of neighbours.
const QUERIES: usize = 8;
/// Neighbours of each.
const NEIGHBOURS: usize = 8;

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
    let known = samples.iter().position(|sample| sample.is_of(&roots, &limits));
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
    let mut html = neighbours(&embedded, device)?;
    let map = waiting("laying out the map", || Map::of(&embedded, request, device));
    html += &match map {
        Some(map) => {
            let sprite = Sprite::of(&map.pictures, runs, ON_MAPS);
            map.html(place, &sprite)
        }
        None => note("No map: all pictures have the same representation, as after a collapse."),
    };
    Ok(html)
}

fn neighbours(embedded: &EmbeddedSample<'_>, device: &Device) -> Result<String> {
    let Sample { pool, queries, description, .. } = embedded.sample;
    let nearest = knn::neighbours(&embedded.pool, &embedded.queries, NEIGHBOURS, device);
    let rows: Vec<(usize, Vec<Neighbour>)> =
        various(&embedded.queries.labels).into_iter().map(|query| (query, nearest[query].clone())).collect();
    let sheet = neighbours_png(
        &Embedded { dataset: queries, features: &embedded.queries },
        &Embedded { dataset: pool, features: &embedded.pool },
        &rows,
    )?;
    let frames = match embedded.queries.labels.iter().any(Option::is_some) {
        true => "Frames: blue the same class, orange another.",
        false => "The data has no labels.",
    };
    let about = format!(
        "{frames} Cosine of the representation, among {} pictures chosen by the seed; {description}.",
        embedded.pool.len()
    );
    Ok(format!(
        "<figure class=\"sheet\"><figcaption><b>Nearest neighbours</b> <span>query on the left, then the most similar pictures, nearest \
         first</span></figcaption>\n<img alt=\"queries and their nearest neighbours\" src=\"data:image/png;base64,{}\">\n{}</figure>\n",
        STANDARD.encode(sheet),
        note(&about)
    ))
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
    fn queries_are_of_many_classes() {
        let labels = [0, 0, 0, 1, 1, 2].map(Some);
        assert_eq!(various(&labels), [0, 3, 5, 1, 4, 2]);
        assert_eq!(various(&[None; 20]).len(), QUERIES);
    }
}
