//! `byol embed`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use byol::embeddings::{About, Element, EmbeddingFile, Splits};
use byol_data::{Dataset, check_bad};
use byol_eval::{Journal, Stop, extract_in_order, waiting};
use byol_nn::dist::{Communicator, agree, from_first};
use byol_nn::encoder::Encoder;
use byol_nn::ops::Device;
use byol_nn::{Error, Result};

use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::interrupt::{self, command_line};
use crate::limits::Limits;
use crate::network::NetworkChoice;
use crate::screen::{paragraph, say, state};
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder, .safetensors or PyTorch file, or random:ARCH[:STEM[:SIZE]]
    encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    #[command(flatten)]
    data: DataArguments,
    /// File to write: .parquet (DuckDB, Polars, pandas, …), .npy (with a .names.csv beside it) or .csv. Until it is whole, what is done is
    /// in FILE.part, and the same command goes on from there
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Write numbers of 16 bits (float16), which have three digits and take half the room; .parquet and .npy only
    #[arg(long)]
    half: bool,
    /// Part of the data to use [default: train if there is one, else everything]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Print one JSON object with what was written on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    compute: Compute,
}

/// Several ranks share the pictures; the first writes.
pub fn run(arguments: &Arguments, ranks: &dyn Communicator) -> Result<Ending> {
    let file = EmbeddingFile::new(&arguments.out, if arguments.half { Element::F16 } else { Element::F32 });
    let file = agree(ranks, file)?;
    let is_free = if ranks.is_first() { file.check_free(&arguments.data.roots()) } else { Ok(()) };
    agree(ranks, is_free)?;
    let device = arguments.compute.open_with(ranks)?;
    let stop = Stop::on(&agree(ranks, interrupt::install())?.stop);
    let (mut encoder, dataset) = agree(ranks, open(arguments, &device))?;
    say!("{}", dataset.description());
    tell_notes([&*dataset]);
    tell_repeated_names(&dataset);
    let mut journal = None;
    let done = from_first(ranks, || {
        let opened = open_journal(&file, &encoder, &dataset)?;
        Ok(journal.insert(opened).done().to_le_bytes().to_vec())
    })?;
    let done =
        usize::from_le_bytes(done.try_into().map_err(|_| Error::Ranks("rank 0 did not say how far it is".to_owned()))?);
    let passed = extract_in_order(&mut encoder, &dataset, done, stop, &device, ranks, |places, features| {
        let Some(journal) = &mut journal else { return Ok(()) };
        journal.add(&places, features)?;
        Ok(check_bad(journal.bad(), dataset.len(), dataset.config().max_bad_fraction)?)
    });
    let ended = match (journal, passed) {
        (Some(journal), passed) => finish(arguments, &file, &encoder, &dataset, journal, stop, passed)?,
        (None, Err(Error::Interrupted)) => Ending::Interrupted,
        (None, passed) => passed.map(|()| Ending::Done)?,
    };
    // The others leave the cores to the first, which writes the file.
    ranks.wait_patiently()?;
    Ok(ended)
}

/// Pictures of several roots may have one name, by which nobody can tell them apart afterwards.
fn tell_repeated_names(dataset: &Dataset) {
    if dataset.roots().len() < 2 {
        return;
    }
    let mut seen = HashSet::new();
    let repeated: Vec<String> =
        (0..dataset.len()).map(|index| dataset.name(index)).filter(|name| !seen.insert(name.clone())).collect();
    if let Some(first) = repeated.first() {
        say!(
            "note: {} pictures have the name of another, for example {first}; what is found among them cannot say which is meant: give folders \
             whose last part differs, or the folder above them",
            repeated.len()
        );
    }
}

/// What an earlier process has done of the same, or a new beginning.
fn open_journal(file: &EmbeddingFile, encoder: &Encoder, dataset: &Dataset) -> Result<Journal> {
    let journal = Journal::open(&file.journal(), encoder, dataset)?;
    if let Err(error) = file.check_room(&journal, dataset.len()) {
        forget_if_empty(journal)?;
        return Err(error);
    }
    if journal.done() > 0 {
        let (done, all) = (journal.done(), dataset.len());
        say!("going on in {}, where {done} of {all} pictures are done", journal.folder().display());
    }
    Ok(journal)
}

/// Keeps what is done if not all is, else writes the file.
fn finish(
    arguments: &Arguments,
    file: &EmbeddingFile,
    encoder: &Encoder,
    dataset: &Dataset,
    mut journal: Journal,
    stop: Stop,
    passed: Result<()>,
) -> Result<Ending> {
    let kept = journal.flush();
    let written = passed.and(kept).and_then(|()| {
        let about = About::new(&arguments.encoder, encoder, dataset, journal.bad().len())?;
        let splits = Splits::of(dataset, arguments.split.as_deref())?;
        file.write(&journal, dataset, &splits, &about, stop)
    });
    let files = match written {
        Ok(files) => files,
        Err(error) => return keep(arguments, journal, dataset, error),
    };
    for bad in journal.bad() {
        say!("left out {}: {}", bad.name, bad.reason);
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let (images, size) = (journal.rows(), journal.size());
    say!("wrote {images} pictures × {size} values, names and labels: {}", names.join(", "));
    let bad = journal.bad().to_vec();
    journal.remove()?;
    if arguments.json {
        show::json(&serde_json::json!({
            "files": files,
            "images": images,
            "size": size,
            "bad_images": bad,
            "training": encoder.info.training,
            "finished": true,
        }));
    }
    Ok(Ending::Done)
}

/// Says what is there after `error`, and how to go on.
fn keep(arguments: &Arguments, journal: Journal, dataset: &Dataset, error: Error) -> Result<Ending> {
    let (kept, all, folder) = (journal.kept(), dataset.len(), journal.folder().display().to_string());
    forget_if_empty(journal)?;
    let is_interrupted = matches!(error, Error::Interrupted);
    if kept > 0 {
        state!();
        paragraph(&format!("{kept} of {all} pictures are done and kept in {folder}. To go on from there:"));
        state!("  {}", command_line());
    } else if is_interrupted {
        paragraph("stopped before the first pictures were done; nothing is kept");
    }
    if !is_interrupted {
        return Err(error);
    }
    if arguments.json {
        show::json(&serde_json::json!({"finished": false, "images": kept}));
    }
    Ok(Ending::Interrupted)
}

/// A journal of nothing is only in the way.
fn forget_if_empty(journal: Journal) -> Result<()> {
    if journal.kept() == 0 { journal.remove() } else { Ok(()) }
}

fn open(arguments: &Arguments, device: &Device) -> Result<(Encoder, Arc<Dataset>)> {
    let encoder = arguments.network.open(&arguments.encoder, device)?;
    let limits = arguments.limits.of(&arguments.encoder, &encoder.info, &arguments.data)?;
    let (roots, split) = (arguments.data.roots(), arguments.split.as_deref());
    let dataset = waiting("opening the data", || Dataset::open_all(&roots, split, &limits))?;
    Ok((encoder, Arc::new(dataset)))
}
