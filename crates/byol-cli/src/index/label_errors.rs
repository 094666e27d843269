//! `byol label-errors`.

use std::borrow::Cow;

use byol_index::{Embeddings, LabelErrorOptions, LabelErrors, Neighbours, Suspect, Table, suspects};
use byol_nn::{Error, Result};
use byol_report::{Frame, Gallery, Strip};
use serde_json::json;

use super::nearest::Method;
use super::pictures::{Pictures, lines};
use super::{IndexArguments, digits, facts, first_few, title};
use crate::Ending;
use crate::screen::{row, say};

/// Neighbours that stand beside a picture on the page.
const BESIDE: usize = 7;
/// Agreement below which most suspects are the encoder's doing.
const LITTLE_AGREEMENT: f64 = 0.8;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArguments,
    /// Neighbours that vote
    #[arg(short, long, value_name = "K", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    k: u16,
    /// T of a vote's weight, exp(cosine / T)
    #[arg(long, value_name = "T", default_value = "0.07")]
    temperature: f64,
    #[command(flatten)]
    method: Method,
}

/// What was found among the rows that have a label.
struct Found<'a> {
    embeddings: &'a Embeddings,
    /// The rows that have a label; suspects and neighbours count these.
    labelled: Vec<u32>,
    neighbours: Neighbours,
    errors: LabelErrors,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let options = LabelErrorOptions { k: usize::from(arguments.k), temperature: arguments.temperature };
    if !(options.temperature > 0.0 && options.temperature.is_finite()) {
        let got = options.temperature.to_string();
        return Err(Error::Flag { flag: "--temperature", expected: "a number above 0".into(), got });
    }
    let opened = arguments.index.open(2)?;
    let embeddings = &opened.embeddings;
    let labelled = embeddings.labelled_rows();
    let labels: Vec<u32> = labelled.iter().filter_map(|&row| embeddings.labels.rows[row as usize]).collect();
    if labelled.len() < 2 || labels.iter().all(|label| *label == labels[0]) {
        let problem =
            "expected labels of at least two classes, got fewer; embed labelled pictures, such as a folder per class";
        return Err(Error::path(&embeddings.path, problem));
    }
    if labelled.len() < embeddings.len() {
        say!("note: {} rows without a label neither vote nor are judged", embeddings.len() - labelled.len());
    }
    let pictures = opened.pictures_of_page()?;
    let vectors = match labelled.len() == embeddings.len() {
        true => Cow::Borrowed(&embeddings.vectors),
        false => Cow::Owned(embeddings.vectors.select(&labelled)),
    };
    let nearest = arguments.method.of_all(&vectors, options.k);
    let errors = suspects(&nearest.neighbours, &labels, options.temperature);
    let found = Found { embeddings, labelled, neighbours: nearest.neighbours, errors };
    let count = found.errors.suspects.len();
    let agreeing = found.errors.agreeing;
    row(
        "agreeing",
        &format!("neighbours vote for the label of {:.1} % of {} pictures", 100.0 * agreeing, labels.len()),
    );
    row("suspects", &count.to_string());
    first_few("first", count, found.errors.suspects.iter().map(|suspect| found.line(suspect)));
    if agreeing < LITTLE_AGREEMENT {
        say!(
            "the encoder does not tell these classes apart well enough for most suspects to be wrong labels: trust the first ones, which \
             lead by most, or an encoder with a higher k-NN accuracy"
        );
    }
    let page = |pictures: &Pictures| {
        let about = format!(
            "Pictures whose {} nearest neighbours mostly have another label, those with the clearest lead first. Frames: blue the label that \
             the picture has, orange the suggested one.",
            found.neighbours.k()
        );
        let agreement = format!("{:.1} % of the labels agree with the neighbours' vote", 100.0 * agreeing);
        let facts = facts(embeddings, &[("agreeing", agreement), ("suspects", count.to_string())]);
        let strips = found.errors.suspects.iter().map(|suspect| found.strip(pictures, suspect));
        Gallery::new("Labels that neighbours contradict", &title(embeddings), facts, about).with_strips(strips)
    };
    let in_json = |suspect: &Suspect| json!({"name": found.name(suspect.row), "label": found.class(suspect.label), "suggested": found.class(suspect.suggested), "score": suspect.score()});
    let listed: Vec<_> = found.errors.suspects.iter().map(in_json).collect();
    let json = json!({
        "labelled": labels.len(), "options": options, "agreeing": agreeing, "recall": nearest.recall, "suspects": listed,
    });
    opened.outputs.write(&found.table(), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

impl Found<'_> {
    fn row(&self, labelled: u32) -> u32 {
        self.labelled[labelled as usize]
    }

    fn name(&self, labelled: u32) -> &str {
        &self.embeddings.names[self.row(labelled) as usize]
    }

    fn class(&self, label: u32) -> &str {
        &self.embeddings.labels.texts[label as usize]
    }

    fn line(&self, suspect: &Suspect) -> String {
        let (own, suggested) = (self.class(suspect.label), self.class(suspect.suggested));
        format!("{} {}: {own}, or {suggested}?", digits(suspect.score()), self.name(suspect.row))
    }

    fn table(&self) -> Table {
        let mut table = Table::of(&["rank", "name", "label", "suggested", "score", "label_share", "suggested_share"]);
        let line = |(rank, suspect): (usize, &Suspect)| {
            vec![
                (rank + 1).to_string(),
                self.name(suspect.row).to_owned(),
                self.class(suspect.label).to_owned(),
                self.class(suspect.suggested).to_owned(),
                format!("{:.6}", suspect.score()),
                format!("{:.6}", suspect.own_share),
                format!("{:.6}", suspect.suggested_share),
            ]
        };
        table.rows = self.errors.suspects.iter().enumerate().map(line).collect();
        table
    }

    fn strip(&self, pictures: &Pictures, suspect: &Suspect) -> Strip {
        let tile = |labelled: u32, frame: Frame, line: String| {
            let row = self.row(labelled);
            pictures.tile(self.embeddings, row, frame, lines(self.embeddings, row, [line]))
        };
        let own = tile(suspect.row, Frame::Asked, format!("score {}", digits(suspect.score())));
        let near = self.neighbours.of(suspect.row as usize).iter().take(BESIDE).map(|near| {
            let label = self.embeddings.labels.rows[self.row(near.row) as usize];
            let frame = match label {
                label if label == Some(suspect.label) => Frame::Blue,
                label if label == Some(suspect.suggested) => Frame::Orange,
                _ => Frame::Plain,
            };
            tile(near.row, frame, format!("cosine {}", digits(near.cosine)))
        });
        let (label, suggested) = (self.class(suspect.label), self.class(suspect.suggested));
        let shares = format!(
            "labelled {label} ({:.0} % of the votes), suggested {suggested} ({:.0} %)",
            100.0 * suspect.own_share,
            100.0 * suspect.suggested_share
        );
        Strip {
            title: self.name(suspect.row).to_owned(),
            about: shares,
            tiles: std::iter::once(own).chain(near).collect(),
        }
    }
}
