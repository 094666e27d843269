//! `byol embed`.

use std::path::PathBuf;
use std::sync::Arc;

use byol::export::{check_free, write_embeddings};
use byol_data::Dataset;
use byol_eval::extract;
use byol_nn::Result;
use byol_nn::encoder::Encoder;

use crate::device::Compute;
use crate::limits::Limits;
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder, .safetensors or PyTorch file, or random:ARCH[:STEM[:SIZE]]
    encoder: String,
    /// Pictures, as for pretrain
    #[arg(required = true)]
    data: Vec<PathBuf>,
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

pub fn run(arguments: &Arguments) -> Result<Ending> {
    check_free(&arguments.out, &arguments.data)?;
    let device = arguments.compute.open()?;
    let mut encoder = Encoder::open(&arguments.encoder, &device)?;
    let limits = arguments.limits.of(&arguments.encoder, &encoder.info)?;
    let dataset = Arc::new(Dataset::open_all(&arguments.data, arguments.split.as_deref(), &limits)?);
    let features = extract(&mut encoder, &dataset, 0, &device)?;
    let files = write_embeddings(&features, &dataset, &arguments.out)?;
    for bad in &features.bad {
        eprintln!("left out {}: {}", bad.name, bad.reason);
    }
    for file in &files {
        eprintln!("wrote {} pictures × {} values: {}", features.len(), features.size, file.display());
    }
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
