//! Represents pictures with an encoder and finds which of them are most alike:
//! `cargo run --release -p byol --example embed_pictures -- runs/mine PHOTOS`.

use std::path::PathBuf;
use std::sync::Arc;

use byol_data::{DataConfig, Dataset};
use byol_eval::{extract, knn};
use byol_nn::encoder::Encoder;
use byol_nn::ops::open_device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(encoder), Some(data)) = (arguments.next(), arguments.next()) else {
        return Err("expected an encoder (a run folder, a weights file or random:resnet18) and pictures".into());
    };
    let device = open_device("cpu")?;
    let mut encoder = Encoder::open(&encoder, &device)?;
    let limits = DataConfig { channels: encoder.info.channels(), ..DataConfig::default() };
    let pictures = Arc::new(Dataset::open_all(&[PathBuf::from(data)], None, &limits)?);

    // One row of values per readable picture, with the encoder's own preprocessing.
    let features = extract(&mut encoder, &pictures, 0, &device)?;
    println!("{} pictures × {} values, {} left out", features.len(), features.size, features.bad.len());

    // The nearest neighbour of a picture is itself; the second one is the most similar other.
    let nearest = knn::neighbours(&features, &features, 2, &device);
    let name = |row: usize| pictures.name(features.images[row] as usize);
    for (row, neighbours) in nearest.iter().enumerate().take(10) {
        if let Some(other) = neighbours.iter().find(|other| other.row != row) {
            println!("{}  is most like  {}  (cosine {:.3})", name(row), name(other.row), other.cosine);
        }
    }
    Ok(())
}
