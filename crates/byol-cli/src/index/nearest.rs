//! `--exact` and `--approximate`: how the neighbours of all rows are found.

use byol_index::{APPROXIMATE_FROM, Approximate, Neighbours, Recall, Vectors, of_all};

use super::metered;
use crate::screen::{row, say};

/// How neighbours are found.
#[derive(clap::Args)]
pub struct Method {
    /// Take every product, also of a million rows and more
    #[arg(long, conflicts_with = "approximate")]
    pub exact: bool,
    /// Find neighbours by an approximate index (HNSW), also of fewer than a million rows; how many it finds is measured and said
    #[arg(long)]
    pub approximate: bool,
}

/// Neighbours of every row, and what an approximate index found of them.
pub struct Found {
    pub neighbours: Neighbours,
    pub recall: Option<Recall>,
}

impl Method {
    /// Whether all rows of so many are asked approximately.
    pub fn is_approximate(&self, rows: usize) -> bool {
        self.approximate || (!self.exact && rows >= APPROXIMATE_FROM)
    }

    /// The `k` nearest of every row.
    pub fn of_all(&self, vectors: &Vectors, k: usize) -> Found {
        let rows = vectors.len() as u64;
        if !self.is_approximate(vectors.len()) {
            return Found { neighbours: metered("neighbours", rows, |work| of_all(vectors, k, work)), recall: None };
        }
        let index = build(vectors);
        let neighbours = metered("neighbours", rows, |work| index.of_all(k, work));
        let recall = metered("recall", 0, |work| index.recall(vectors, &neighbours, true, work));
        say_recall(recall);
        Found { neighbours, recall: Some(recall) }
    }
}

/// The approximate index.
pub fn build(vectors: &Vectors) -> Approximate<'_> {
    say!("building an approximate index (HNSW) of {} rows; --exact takes every product instead", vectors.len());
    metered("approximate index", vectors.len() as u64, |work| Approximate::build(vectors, work))
}

/// Says how far the approximate index is to be trusted.
pub fn say_recall(recall: Recall) {
    let Recall { share, queries, k } = recall;
    row("recall", &format!("{:.1} % of the true {k} nearest of {queries} pictures were found", 100.0 * share));
}
