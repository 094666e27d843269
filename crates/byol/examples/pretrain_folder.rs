//! Pretrains a small encoder on a folder of pictures: `cargo run --release -p byol --example pretrain_folder -- PHOTOS runs/mine`.

use std::path::PathBuf;

use byol::Preset;
use byol::pretrain::PretrainRequest;
use byol::recipe::RecipeRequest;
use byol::train::{Requests, train};
use byol_nn::ops::open_device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(data), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("expected a folder of pictures and a run folder to create".into());
    };

    // A preset, and settings over it as `byol pretrain --set` takes them.
    let settings = ["views.size_px=32", "schedule.epochs=5"];
    let recipe = RecipeRequest {
        data: vec![data],
        preset: Some(Preset::Small),
        settings: settings.map(str::to_owned).to_vec(),
        ..RecipeRequest::default()
    };
    let request = PretrainRequest { recipe, out: Some(out), device: "cpu".to_owned() };

    // Everything is checked before anything is written; from `create` on the run folder exists.
    let device = open_device("cpu")?;
    let run = request.create(request.open(&device)?, &device)?;
    println!("{}", run.dataset.description());
    // Setting it to true from another thread ends the run after its step, with everything saved.
    let requests = Requests::new();
    let report = train(&run.folder, &run.config, run.dataset.clone(), &device, &requests)?;

    println!("{} steps in {:.0} s; the encoder is in {}", report.step, report.seconds, run.folder.path().display());
    Ok(())
}
