//! `byol report`.

use std::path::PathBuf;

use byol_nn::Result;
use byol_report::{PreparedReport, ReportRequest};

use crate::Ending;
use crate::device::Compute;
use crate::screen::say;

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folders; the curves of several lie over each other
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// HTML file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Pictures to show, as for pretrain; may be repeated [default: those each run was trained on]
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Pictures to find neighbours for and to place on the map [default: the test part of --data, else a fifth of it held out]
    #[arg(long, value_name = "DATA")]
    test: Vec<PathBuf>,
    /// Pictures of the map, and to find neighbours among
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u16).range(1..=4000))]
    images: u16,
    /// Which pictures are chosen
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Show no pictures: neither neighbours nor the map. Data and encoder are not opened
    #[arg(long)]
    no_map: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let Arguments { runs, out, data, test, images, seed, no_map, compute } = arguments;
    let request = ReportRequest { runs, data, test, images: usize::from(images), seed, pictures: !no_map };
    let report = PreparedReport::new(request, &out)?;
    let bytes = report.write(&out, &compute.open()?)?;
    say!("report of {:.1} MB: {}", bytes as f64 / 1e6, out.display());
    Ok(Ending::Done)
}
