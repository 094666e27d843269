//! `byol embed`.

use std::path::PathBuf;
use std::sync::Arc;

use byol::export::{check_free, write_embeddings};
use byol_data::Dataset;
use byol_eval::{extract_on_ranks, waiting};
use byol_nn::Result;
use byol_nn::dist::{Communicator, agree};
use byol_nn::encoder::Encoder;
use byol_nn::ops::Device;

use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::limits::Limits;
use crate::network::NetworkChoice;
use crate::screen::say;
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder, .safetensors or PyTorch file, or random:ARCH[:STEM[:SIZE]]
    encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    #[command(flatten)]
    data: DataArguments,
    /// File to write: .npy (with a .names.csv beside it) or .csv
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
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

/// Several ranks share the pictures; the first writes the file.
pub fn run(arguments: &Arguments, ranks: &dyn Communicator) -> Result<Ending> {
    let roots = arguments.data.roots();
    let is_free = if ranks.is_first() { check_free(&arguments.out, &roots) } else { Ok(()) };
    agree(ranks, is_free)?;
    let device = arguments.compute.open_with(ranks)?;
    let (mut encoder, dataset) = agree(ranks, open(arguments, &device))?;
    say!("{}", dataset.description());
    tell_notes([&*dataset]);
    let features = extract_on_ranks(&mut encoder, &dataset, 0, &device, ranks)?;
    if !ranks.is_first() {
        return Ok(Ending::Done);
    }
    let files = write_embeddings(&features, &dataset, &arguments.out)?;
    for bad in &features.bad {
        say!("left out {}: {}", bad.name, bad.reason);
    }
    let written: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    say!("wrote {} pictures × {} values, names and labels: {}", features.len(), features.size, written.join(", "));
    if arguments.json {
        show::json(&serde_json::json!({
            "files": files,
            "images": features.len(),
            "size": features.size,
            "bad_images": features.bad,
            "training": encoder.info.training,
        }));
    }
    Ok(Ending::Done)
}

fn open(arguments: &Arguments, device: &Device) -> Result<(Encoder, Arc<Dataset>)> {
    let encoder = arguments.network.open(&arguments.encoder, device)?;
    let limits = arguments.limits.of(&arguments.encoder, &encoder.info, &arguments.data)?;
    let (roots, split) = (arguments.data.roots(), arguments.split.as_deref());
    let dataset = waiting("opening the data", || Dataset::open_all(&roots, split, &limits))?;
    Ok((encoder, Arc::new(dataset)))
}
