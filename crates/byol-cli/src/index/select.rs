//! `byol select`.

use byol_index::{Chosen, ClusterOptions, Embeddings, Selection, Table, k_centre, k_means, typical};
use byol_nn::{Error, Result};
use byol_report::{Frame, Gallery};
use serde_json::json;

use super::pictures::Pictures;
use super::{IndexArguments, digits, facts, first_few, metered, title};
use crate::Ending;
use crate::screen::{row, say};

/// Clusters of typicality, at most, as in its paper.
const MOST_CLUSTERS: usize = 500;

/// How pictures are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    /// The most typical picture of as many clusters as pictures are wanted: for few labels
    Typicality,
    /// Always the picture farthest from those chosen: covers everything, also what is odd
    KCentre,
}

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArguments,
    /// Pictures to choose
    #[arg(short = 'n', long = "number", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
    /// How they are chosen
    #[arg(long, value_enum, default_value = "typicality")]
    method: Method,
    /// What first centres of clusters are drawn by
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let opened = arguments.index.open(2)?;
    let embeddings = &opened.embeddings;
    let labelled = labelled(embeddings);
    let number = arguments.number as usize;
    let open = embeddings.len() - labelled.len();
    if number > open {
        let expected = format!("at most the {open} pictures there are to choose from");
        return Err(Error::Flag { flag: "-n", expected, got: number.to_string() });
    }
    let pictures = opened.pictures_of_page()?;
    let selection = choose(arguments, embeddings, &labelled);
    let random = "how far the farthest picture is from the nearest one chosen or labelled";
    row("chosen", &format!("{number} of {open} pictures"));
    row("radius", &format!("1 − cosine {}: {random}", digits(selection.radius)));
    let name = |chosen: &Chosen| embeddings.names[chosen.row as usize].clone();
    first_few("first", number, selection.chosen.iter().map(name));
    say!("label them in this order: any first part of the list is itself a choice");
    let page = |pictures: &Pictures| {
        let (how, about) = match arguments.method {
            Method::Typicality => (
                "typicality",
                "In the order they were chosen: the most typical picture of each cluster, largest cluster first.",
            ),
            Method::KCentre => (
                "k-centre",
                "In the order they were chosen: each is the picture farthest from all before it. Distance is 1 − cosine.",
            ),
        };
        let told = [
            ("chosen", format!("{number} of {open}, by {how}")),
            ("radius", format!("1 − cosine {}", digits(selection.radius))),
        ];
        let tile = |chosen: &Chosen| {
            let lines = vec![line(arguments.method, chosen)];
            pictures.tile(embeddings, chosen.row, Frame::Plain, lines)
        };
        let page = Gallery::new("Pictures to label", &title(embeddings), facts(embeddings, &told), about.to_owned());
        page.with_tiles(selection.chosen.iter().map(tile))
    };
    let names: Vec<String> = selection.chosen.iter().map(name).collect();
    let json = json!({"embeddings": embeddings.len(), "labelled": labelled.len(), "radius": selection.radius, "chosen": names});
    opened.outputs.write(&table(embeddings, &selection), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

/// Rows that need no label: those that have one where others have none. Where all have one, nobody would choose; then labels are left aside.
fn labelled(embeddings: &Embeddings) -> Vec<u32> {
    let labelled = embeddings.labelled_rows();
    match labelled.len() {
        0 => {}
        count if count == embeddings.len() => {
            say!("note: all pictures have a label; they are chosen from as if none had")
        }
        count => say!("{count} pictures have a label already: they count as chosen"),
    }
    if labelled.len() < embeddings.len() { labelled } else { Vec::new() }
}

fn choose(arguments: &Arguments, embeddings: &Embeddings, labelled: &[u32]) -> Selection {
    let (vectors, number) = (&embeddings.vectors, arguments.number as usize);
    if arguments.method == Method::KCentre {
        return metered("choosing", number as u64, |work| k_centre(vectors, labelled, number, work));
    }
    let clusters = (number + labelled.len()).min(MOST_CLUSTERS).min(vectors.len());
    let options = ClusterOptions { clusters, restarts: 1, seed: arguments.seed, ..ClusterOptions::default() };
    let rows = (vectors.len() * options.max_rounds) as u64;
    let found = metered("clusters", rows, |work| k_means(vectors, &options, work));
    metered("choosing", number as u64, |work| typical(vectors, &found, labelled, number, work))
}

fn line(method: Method, chosen: &Chosen) -> String {
    match method {
        Method::Typicality => format!("typicality {:.2}", chosen.score),
        Method::KCentre => format!("distance {}", digits(chosen.score)),
    }
}

fn table(embeddings: &Embeddings, selection: &Selection) -> Table {
    let mut table = Table::of(&["rank", "name", "score", "cluster"]);
    let line = |(rank, chosen): (usize, &Chosen)| {
        let cluster = chosen.cluster.map(|cluster| (cluster + 1).to_string()).unwrap_or_default();
        vec![
            (rank + 1).to_string(),
            embeddings.names[chosen.row as usize].clone(),
            format!("{:.6}", chosen.score),
            cluster,
        ]
    };
    table.rows = selection.chosen.iter().enumerate().map(line).collect();
    table
}
