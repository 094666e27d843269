//! Commands on embeddings that `byol embed` wrote: what they take, read and write alike.

pub mod clusters;
pub mod duplicates;
pub mod label_errors;
mod nearest;
pub mod outliers;
mod outputs;
mod pictures;
pub mod search;
pub mod select;

use std::path::PathBuf;

use byol_eval::{Meter, waiting};
use byol_index::{Embeddings, IndexError, Work};
use byol_kernels::Isa;
use byol_nn::{Error, Result};

use crate::device::Compute;
use crate::screen::{row, say};
use outputs::Outputs;
use pictures::Pictures;

/// Things of a kind that people are shown on the screen; tables have all.
const SHOWN: usize = 5;

/// What a command on embeddings takes.
#[derive(clap::Args)]
pub struct IndexArguments {
    /// Embeddings that `byol embed -o FILE` wrote: .parquet, .npy or .csv
    index: PathBuf,
    /// Use the rows of this split only [default: all]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Where the pictures are; may be repeated [default: where INDEX says they were]
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    /// CPU threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Instruction set of the CPU kernels: portable, neon, neonbf16, avx2, avx512, avx512bf16 or amx [default: the fastest there is]
    #[arg(long, value_name = "ISA")]
    isa: Option<Isa>,
}

/// Embeddings that were read, and how what is found is written.
struct Opened<'a> {
    embeddings: Embeddings,
    data: &'a [PathBuf],
    outputs: &'a Outputs,
}

impl IndexArguments {
    /// Checks where results will be written, sets the threads, and reads the embeddings. Several are needed: `at_least`.
    fn open(&self, at_least: usize) -> Result<Opened<'_>> {
        Compute { device: "cpu".to_owned(), threads: self.threads, isa: self.isa }.open()?;
        open(&self.index, self.split.as_deref(), &self.data, &self.outputs, at_least)
    }
}

fn open<'a>(
    index: &std::path::Path,
    split: Option<&str>,
    data: &'a [PathBuf],
    outputs: &'a Outputs,
    at_least: usize,
) -> Result<Opened<'a>> {
    outputs.check_free(data)?;
    let mut embeddings = waiting("reading the embeddings", || Embeddings::read(index)).map_err(told)?;
    outputs.check_free(&embeddings.origin.roots)?;
    if let Some(split) = split {
        embeddings = embeddings.of_split(split).map_err(told)?;
    }
    say!("{}", description(&embeddings));
    if !embeddings.has_names {
        say!("note: {} has no names, so that rows are called by their number, from 0", index.display());
    }
    if embeddings.zero_rows > 0 {
        say!("note: {} rows hold nothing but zeros; their cosine to everything counts as 0", embeddings.zero_rows);
    }
    if embeddings.len() < at_least {
        let problem = format!("expected at least {at_least} embeddings, got {}", embeddings.len());
        return Err(Error::path(index, problem));
    }
    Ok(Opened { embeddings, data, outputs })
}

impl Opened<'_> {
    /// The pictures, where they are; what keeps them away stops the command only if a page was asked for.
    fn pictures(&self) -> Result<Option<Pictures>> {
        match Pictures::find(&self.embeddings, self.data) {
            Ok(pictures) => Ok(Some(pictures)),
            Err(error) if self.outputs.wants_page() || !self.data.is_empty() => Err(error),
            Err(error) => {
                say!("note: without the pictures: {error}");
                Ok(None)
            }
        }
    }

    /// As [`Self::pictures`], for commands that need them for a page only.
    fn pictures_of_page(&self) -> Result<Option<Pictures>> {
        if self.outputs.wants_page() || !self.data.is_empty() { self.pictures() } else { Ok(None) }
    }
}

/// `photos.parquet: 50000 embeddings of 512 values, 10 classes, of runs/photos`.
fn description(embeddings: &Embeddings) -> String {
    let classes = match embeddings.labels.texts.len() {
        0 => "no labels".to_owned(),
        count => {
            let labelled = embeddings.labelled_rows().len();
            let part =
                if labelled < embeddings.len() { format!(", {labelled} of them labelled") } else { String::new() };
            format!("{count} classes{part}")
        }
    };
    let encoder = embeddings.origin.encoder.as_ref().map(|encoder| format!(", made by {encoder}")).unwrap_or_default();
    let (count, size) = (embeddings.len(), embeddings.vectors.size());
    format!("{}: {count} embeddings of {size} values, {classes}{encoder}", embeddings.path.display())
}

/// In the words of this program's errors.
fn told(error: IndexError) -> Error {
    match error {
        IndexError::Data(error) => Error::Data(error),
        other => Error::Evaluation(other.to_string()),
    }
}

/// Does `work` on `rows` rows, with a meter.
fn metered<T>(what: &str, rows: u64, work: impl FnOnce(Work) -> T) -> T {
    let meter = Meter::start(what, rows);
    work(Work { isa: byol_nn::ops::isa(), advance: &|rows| meter.advance(rows) })
}

/// A cosine, a share or a distance.
fn digits(value: impl Into<f64>) -> String {
    format!("{:.4}", value.into())
}

/// The first few of `count` things in a row called `name`; nothing where there are none.
fn first_few(name: &str, count: usize, mut lines: impl Iterator<Item = String>) {
    if count == 0 {
        return;
    }
    let mut text: Vec<String> = lines.by_ref().take(SHOWN).collect();
    if count > SHOWN {
        text.push(format!("and {} more", count - SHOWN));
    }
    row(name, &text.join("\n"));
}

/// The name of a row, and its class if it is known.
fn named(embeddings: &Embeddings, row: u32) -> String {
    let name = &embeddings.names[row as usize];
    match embeddings.labels.of(row as usize) {
        Some(class) => format!("{name} ({class})"),
        None => name.clone(),
    }
}

/// The class of a row for a table; empty where it is not known.
fn class(embeddings: &Embeddings, row: u32) -> String {
    embeddings.labels.of(row as usize).unwrap_or_default().to_owned()
}

/// The file's name, as the title of a page.
fn title(embeddings: &Embeddings) -> String {
    embeddings.path.file_name().unwrap_or(embeddings.path.as_os_str()).to_string_lossy().into_owned()
}

/// What a page says of the embeddings, above what was found.
fn facts(embeddings: &Embeddings, found: &[(&str, String)]) -> Vec<(String, String)> {
    let size = embeddings.vectors.size();
    let mut facts = vec![("embeddings".to_owned(), format!("{} of {size} values", embeddings.len()))];
    facts.extend(embeddings.origin.encoder.iter().map(|encoder| ("encoder".to_owned(), encoder.clone())));
    facts.extend(found.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())));
    facts
}
