//! `byol outliers`.

use byol_index::{Embeddings, Neighbours, Outlier, Table, outliers};
use byol_nn::Result;
use byol_report::{Frame, Gallery, Strip};
use serde_json::json;

use super::nearest::Method;
use super::pictures::{Pictures, lines};
use super::{IndexArguments, class, digits, facts, first_few, named, title};
use crate::Ending;
use crate::screen::{row, say};

/// Neighbours that stand beside a picture on the page.
const BESIDE: usize = 5;
/// Pictures in the JSON object; the table has all.
const IN_JSON: usize = 100;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArguments,
    /// Neighbours whose distance counts
    #[arg(short, long, value_name = "K", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    k: u16,
    #[command(flatten)]
    method: Method,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let opened = arguments.index.open(2)?;
    let embeddings = &opened.embeddings;
    let pictures = opened.pictures_of_page()?;
    let found = arguments.method.of_all(&embeddings.vectors, usize::from(arguments.k));
    let (ranked, k) = (outliers(&found.neighbours), found.neighbours.k());
    let at = |share: f64| digits(ranked[((ranked.len() - 1) as f64 * (1.0 - share)).round() as usize].score);
    let spread = format!("median {}, 90 % below {}, 99 % below {}, highest {}", at(0.5), at(0.9), at(0.99), at(1.0));
    row("score", &format!("mean of 1 − cosine to the {k} nearest: {spread}"));
    let line = |outlier: &Outlier| format!("{} {}", digits(outlier.score), named(embeddings, outlier.row));
    first_few("farthest", ranked.len(), ranked.iter().map(line));
    say!("an outlier may be a broken picture, a rare one, or one that does not belong there: look before you drop it");
    let page = |pictures: &Pictures| {
        let about = format!(
            "Pictures by the mean of 1 − cosine to their {k} nearest, highest first, each with its nearest ones. Broken pictures, rare ones \
             and those that do not belong there come first."
        );
        let facts = facts(embeddings, &[("score", spread)]);
        let strips = ranked.iter().map(|outlier| strip(embeddings, pictures, &found.neighbours, outlier));
        Gallery::new("Outliers", &title(embeddings), facts, about).with_strips(strips)
    };
    let in_json = |outlier: &Outlier| json!({"name": embeddings.names[outlier.row as usize], "score": outlier.score});
    let first: Vec<_> = ranked.iter().take(IN_JSON).map(in_json).collect();
    let json = json!({"embeddings": embeddings.len(), "k": k, "recall": found.recall, "first": first});
    opened.outputs.write(&table(embeddings, &ranked), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

fn table(embeddings: &Embeddings, ranked: &[Outlier]) -> Table {
    let mut table = Table::of(&["rank", "name", "label", "score", "nearest", "nearest_cosine"]);
    let line = |(rank, outlier): (usize, &Outlier)| {
        let Outlier { row, score, nearest } = outlier;
        vec![
            (rank + 1).to_string(),
            embeddings.names[*row as usize].clone(),
            class(embeddings, *row),
            format!("{score:.6}"),
            embeddings.names[nearest.row as usize].clone(),
            format!("{:.6}", nearest.cosine),
        ]
    };
    table.rows = ranked.iter().enumerate().map(line).collect();
    table
}

fn strip(embeddings: &Embeddings, pictures: &Pictures, neighbours: &Neighbours, outlier: &Outlier) -> Strip {
    let score = format!("score {}", digits(outlier.score));
    let own = pictures.tile(embeddings, outlier.row, Frame::Asked, lines(embeddings, outlier.row, [score]));
    let near = neighbours.of(outlier.row as usize).iter().take(BESIDE).map(|near| {
        let cosine = format!("cosine {}", digits(near.cosine));
        pictures.tile(embeddings, near.row, Frame::Plain, lines(embeddings, near.row, [cosine]))
    });
    Strip {
        title: embeddings.names[outlier.row as usize].clone(),
        about: String::new(),
        tiles: std::iter::once(own).chain(near).collect(),
    }
}
