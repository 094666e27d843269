//! `byol search`.

use std::path::PathBuf;
use std::sync::Arc;

use byol_data::Dataset;
use byol_eval::{Features, extract, fingerprint, waiting};
use byol_index::{APPROXIMATE_FROM, Embeddings, Neighbours, Recall, Table, Vectors, search};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use byol_report::{Frame, Gallery, Strip, Tile};
use serde_json::json;

use super::nearest::{Method, build, say_recall};
use super::outputs::Outputs;
use super::pictures::{Pictures, lines};
use super::{class, digits, facts, first_few, metered, named, open, title};
use crate::Ending;
use crate::device::Compute;
use crate::limits::as_trained;
use crate::network::NetworkChoice;
use crate::screen::{row, say};

/// Above a million rows, an index is built only for more queries than this part of them: building it takes as long as that many exact ones.
const WORTH_AN_INDEX: usize = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// The encoder that made INDEX: run folder, .safetensors or PyTorch file
    encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    /// Embeddings that `byol embed -o FILE` wrote: .parquet, .npy or .csv
    index: PathBuf,
    /// Pictures whose neighbours are sought: a picture, a folder or anything else that DATA may be
    #[arg(long, value_name = "DATA", required = true)]
    query: PathBuf,
    /// Neighbours of each
    #[arg(short, long, value_name = "K", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    k: u16,
    /// Search in the rows of this split only [default: all]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Where the pictures of INDEX are; may be repeated [default: where INDEX says they were]
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    method: Method,
    #[command(flatten)]
    compute: Compute,
}

/// What was asked, and what was found.
struct Found<'a> {
    embeddings: &'a Embeddings,
    queries: Arc<Dataset>,
    features: Features,
    neighbours: Neighbours,
    recall: Option<Recall>,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    arguments.outputs.check_free(std::slice::from_ref(&arguments.query))?;
    let device = arguments.compute.open()?;
    let opened = open(&arguments.index, arguments.split.as_deref(), &arguments.data, &arguments.outputs, 1)?;
    let embeddings = &opened.embeddings;
    let mut encoder = arguments.network.open(&arguments.encoder, &device)?;
    check_encoder(embeddings, &encoder, &arguments.encoder)?;
    let pictures = opened.pictures_of_page()?;
    let limits = as_trained(&arguments.encoder, &encoder.info)?;
    let queries = [arguments.query.clone()];
    let queries = Arc::new(waiting("opening the queries", || Dataset::open_all(&queries, Some("all"), &limits))?);
    let features = extract(&mut encoder, &queries, 0, &device)?;
    features.bad.iter().for_each(|bad| say!("left out {}: {}", bad.name, bad.reason));
    if features.is_empty() {
        return Err(Error::path(&arguments.query, "not one picture in it can be read; byol doctor says why"));
    }
    let asked = Vectors::new(features.values.clone(), features.size);
    let (neighbours, recall) = find(&arguments.method, &embeddings.vectors, &asked, usize::from(arguments.k));
    let found = Found { embeddings, queries, features, neighbours, recall };
    let count = found.features.len();
    row("searched", &format!("the {} nearest of {count} pictures among {}", found.neighbours.k(), embeddings.len()));
    first_few("nearest", count, (0..count).map(|query| found.line(query)));
    let page = |pictures: &Pictures| {
        let searched = ("searched", format!("{count} pictures, in {}", arguments.query.display()));
        let about = "Each picture on the left with its most similar ones by the cosine of the representation. Frames: blue the same class, orange \
                     another, none where a class is not known.";
        let page = Gallery::new("Search", &title(embeddings), facts(embeddings, &[searched]), about.to_owned());
        let strips: Vec<usize> = (0..count).collect();
        page.with_strips(strips.iter().map(|&query| found.strip(pictures, query)))
    };
    let json = found.json();
    opened.outputs.write(&found.table(), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

/// Refuses another encoder than the one that made the embeddings: cosines between two would mean nothing.
fn check_encoder(embeddings: &Embeddings, encoder: &Encoder, named: &str) -> Result<()> {
    let (size, got) = (embeddings.vectors.size(), encoder.info.representation_size);
    if size != got {
        let problem =
            format!("its embeddings have {size} values, those of {named} {got}: another encoder made it; {REMEDY}");
        return Err(Error::path(&embeddings.path, problem));
    }
    let short = |print: &str| print.get(..8).unwrap_or(print).to_owned();
    match &embeddings.origin.encoder_fingerprint {
        None => {
            say!("note: {} does not say which encoder made it; it must have been {named}", embeddings.path.display())
        }
        Some(expected) => {
            let print = fingerprint(encoder);
            if *expected != print {
                let maker = embeddings.origin.encoder.as_deref().unwrap_or("an encoder");
                let problem = format!(
                    "made by {maker} (fingerprint {}), got {named} (fingerprint {}): cosines between the two mean nothing; {REMEDY}",
                    short(expected),
                    short(&print)
                );
                return Err(Error::path(&embeddings.path, problem));
            }
        }
    }
    Ok(())
}

const REMEDY: &str =
    "give the encoder that made it, or embed the pictures again with `byol embed ENCODER DATA -o x.parquet`";

fn find(method: &Method, rows: &Vectors, queries: &Vectors, k: usize) -> (Neighbours, Option<Recall>) {
    let count = queries.len() as u64;
    let pays = rows.len() >= APPROXIMATE_FROM && queries.len() > rows.len() / WORTH_AN_INDEX;
    if method.exact || !(method.approximate || pays) {
        return (metered("neighbours", count, |work| search(rows, queries, k, work)), None);
    }
    let index = build(rows);
    let found = metered("neighbours", count, |work| index.search(queries, k, work));
    let recall = metered("recall", 0, |work| index.recall(queries, &found, false, work));
    say_recall(recall);
    (found, Some(recall))
}

impl Found<'_> {
    fn query_name(&self, query: usize) -> String {
        self.queries.name(self.features.images[query] as usize)
    }

    fn query_class(&self, query: usize) -> Option<&str> {
        self.features.labels[query].map(|label| self.queries.classes()[label as usize].as_str())
    }

    fn line(&self, query: usize) -> String {
        const NAMED: usize = 3;
        let near = self.neighbours.of(query).iter().take(NAMED);
        let near: Vec<String> =
            near.map(|near| format!("{} {}", named(self.embeddings, near.row), digits(near.cosine))).collect();
        format!("{}: {}", self.query_name(query), near.join(", "))
    }

    fn table(&self) -> Table {
        let mut table = Table::of(&["query", "rank", "name", "label", "cosine"]);
        for query in 0..self.features.len() {
            for (rank, near) in self.neighbours.of(query).iter().enumerate() {
                table.rows.push(vec![
                    self.query_name(query),
                    (rank + 1).to_string(),
                    self.embeddings.names[near.row as usize].clone(),
                    class(self.embeddings, near.row),
                    format!("{:.6}", near.cosine),
                ]);
            }
        }
        table
    }

    fn json(&self) -> serde_json::Value {
        let near = |query: usize| -> Vec<serde_json::Value> {
            let near = self.neighbours.of(query).iter();
            near.map(|near| json!({"name": self.embeddings.names[near.row as usize], "cosine": near.cosine})).collect()
        };
        let of_query = |query: usize| json!({"query": self.query_name(query), "neighbours": near(query)});
        let queries: Vec<_> = (0..self.features.len()).map(of_query).collect();
        json!({
            "embeddings": self.embeddings.len(), "k": self.neighbours.k(), "recall": self.recall, "bad_images": self.features.bad, "queries": queries,
        })
    }

    fn strip(&self, pictures: &Pictures, query: usize) -> Strip {
        let own_class = self.query_class(query);
        let own = Tile {
            picture: Some((Arc::clone(&self.queries), self.features.images[query] as usize)),
            name: self.query_name(query),
            lines: own_class.map(str::to_owned).into_iter().collect(),
            frame: Frame::Asked,
        };
        let near = self.neighbours.of(query).iter().map(|near| {
            let frame = match (own_class, self.embeddings.labels.of(near.row as usize)) {
                (Some(own), Some(theirs)) if own == theirs => Frame::Blue,
                (Some(_), Some(_)) => Frame::Orange,
                _ => Frame::Plain,
            };
            let cosine = format!("cosine {}", digits(near.cosine));
            pictures.tile(self.embeddings, near.row, frame, lines(self.embeddings, near.row, [cosine]))
        });
        Strip { title: self.query_name(query), about: String::new(), tiles: std::iter::once(own).chain(near).collect() }
    }
}
