//! `byol clusters`.

use std::collections::BTreeMap;

use byol_index::{Agreement, ClusterOptions, Clusters, Embeddings, Table, k_means};
use byol_nn::{Error, Result};
use byol_report::{Frame, Gallery, Strip};
use serde_json::json;

use super::pictures::{Pictures, lines};
use super::{IndexArguments, class, digits, facts, first_few, metered, title};
use crate::Ending;
use crate::screen::{row, say};

/// Pictures of a cluster on the page that are nearest to its centre, and that are farthest.
const SHOWN_NEAR: usize = 12;
const SHOWN_FAR: usize = 4;
/// Clusters without labels, at most.
const MOST_BY_DEFAULT: usize = 100;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArguments,
    /// Clusters [default: as many as classes; without labels √(n/2) of n pictures, at most 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clusters: Option<u32>,
    /// Starts, of which the best counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    restarts: u16,
    /// What first centres are drawn by
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let opened = arguments.index.open(2)?;
    let embeddings = &opened.embeddings;
    let pictures = opened.pictures_of_page()?;
    let clusters = count(arguments, embeddings)?;
    let options = ClusterOptions {
        clusters,
        restarts: usize::from(arguments.restarts),
        seed: arguments.seed,
        ..ClusterOptions::default()
    };
    let rows = (embeddings.len() * options.restarts * options.max_rounds) as u64;
    let found = metered("clusters", rows, |work| k_means(&embeddings.vectors, &options, work));
    let agreement = Agreement::of(&found.of_row, &embeddings.labels.rows);
    let sizes = found.sizes();
    let mean = 1.0 - found.inertia / embeddings.len() as f64;
    let (largest, smallest) = (sizes[0], sizes[sizes.len() - 1]);
    let about_sizes =
        format!("{clusters} clusters of {smallest} to {largest} pictures, median {}", sizes[sizes.len() / 2]);
    row("clusters", &format!("{about_sizes}; {} rounds of the best of {} starts", found.rounds, options.restarts));
    row("tightness", &format!("mean cosine of a picture to its centre {}", digits(mean)));
    let agreed = agreement.map(|Agreement { purity, nmi, labelled }| {
        format!("purity {:.1} %, NMI {nmi:.3}, of {labelled} labelled pictures", 100.0 * purity)
    });
    agreed.iter().for_each(|agreed| row("labels", agreed));
    let shares: Vec<String> = found.rows_by_cluster().iter().map(|rows| classes(embeddings, rows)).collect();
    let line = |(place, (size, shares)): (usize, (&usize, &String))| format!("{}: {size} pictures{shares}", place + 1);
    first_few("largest", clusters, sizes.iter().zip(&shares).enumerate().map(line));
    let page = |pictures: &Pictures| {
        let about = format!(
            "Spherical k-means. Of each cluster up to {SHOWN_NEAR} pictures nearest to its centre, then, framed, the {SHOWN_FAR} farthest from it; \
             the largest cluster first."
        );
        let mut told = vec![("clusters", about_sizes.clone()), ("mean cosine", digits(mean))];
        told.extend(agreed.iter().map(|agreed| ("labels", agreed.clone())));
        let by_cluster = found.rows_by_cluster();
        let strips: Vec<Strip> = by_cluster
            .iter()
            .zip(&shares)
            .enumerate()
            .map(|(place, (rows, shares))| strip(embeddings, pictures, &found, place, rows, shares))
            .collect();
        Gallery::new("Clusters", &title(embeddings), facts(embeddings, &told), about).with_strips(strips.into_iter())
    };
    let json = json!({
        "embeddings": embeddings.len(), "options": options, "inertia": found.inertia, "rounds": found.rounds, "sizes": sizes, "agreement": agreement,
    });
    opened.outputs.write(&table(embeddings, &found), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

/// How many clusters, and says why where nobody said.
fn count(arguments: &Arguments, embeddings: &Embeddings) -> Result<usize> {
    let rows = embeddings.len();
    if let Some(clusters) = arguments.clusters {
        if clusters as usize > rows {
            let expected = format!("at most one cluster per embedding, of which there are {rows}");
            return Err(Error::Flag { flag: "--clusters", expected, got: clusters.to_string() });
        }
        return Ok(clusters as usize);
    }
    let (clusters, reason) = match embeddings.labels.texts.len() {
        0 | 1 => (((rows as f64 / 2.0).sqrt().round() as usize).clamp(1, MOST_BY_DEFAULT), "√(n/2), at most 100"),
        classes => (classes.min(rows), "as many as classes"),
    };
    say!("{clusters} clusters: {reason} (--clusters)");
    Ok(clusters)
}

/// `, cat 80 %, dog 12 %`: the most frequent classes of labelled rows.
fn classes(embeddings: &Embeddings, rows: &[u32]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let labels: Vec<&str> = rows.iter().filter_map(|&row| embeddings.labels.of(row as usize)).collect();
    labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let share =
        |&(class, count): &(&str, usize)| format!(", {class} {:.0} %", 100.0 * count as f64 / labels.len() as f64);
    counts.iter().take(3).map(share).collect()
}

fn table(embeddings: &Embeddings, found: &Clusters) -> Table {
    let mut table = Table::of(&["name", "label", "cluster", "cosine_to_centre"]);
    let line = |row: usize| {
        let cluster = (found.of_row[row] + 1).to_string();
        vec![
            embeddings.names[row].clone(),
            class(embeddings, row as u32),
            cluster,
            format!("{:.6}", found.cosines[row]),
        ]
    };
    table.rows = (0..embeddings.len()).map(line).collect();
    table
}

fn strip(
    embeddings: &Embeddings,
    pictures: &Pictures,
    found: &Clusters,
    place: usize,
    rows: &[u32],
    shares: &str,
) -> Strip {
    let mut rows = rows.to_vec();
    rows.sort_by(|&a, &b| found.cosines[b as usize].total_cmp(&found.cosines[a as usize]).then(a.cmp(&b)));
    let (near, rest) = rows.split_at(rows.len().min(SHOWN_NEAR));
    let far = &rest[rest.len().saturating_sub(SHOWN_FAR)..];
    let tile = |frame: Frame| {
        move |&row: &u32| {
            let cosine = format!("cosine {}", digits(found.cosines[row as usize]));
            pictures.tile(embeddings, row, frame, lines(embeddings, row, [cosine]))
        }
    };
    Strip {
        title: format!("Cluster {}: {} pictures{shares}", place + 1, rows.len()),
        about: String::new(),
        tiles: near.iter().map(tile(Frame::Plain)).chain(far.iter().map(tile(Frame::Asked))).collect(),
    }
}
