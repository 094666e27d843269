//! `byol bench`.

use byol::Result;
use byol::bench::{BenchReport, Workload, embed, step};
use byol::model::Arch;
use byol::ops::Precision;

use crate::device::Compute;
use crate::{Ending, show};

#[derive(clap::Subcommand)]
pub enum Bench {
    /// Time training steps: two views through both networks, gradients, optimiser, target update
    Step(Arguments),
    /// Time the encoder alone, as `byol embed` uses it
    Embed(Arguments),
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Architecture of the encoder
    #[arg(long, value_name = "ARCH", default_value = "resnet18")]
    arch: Arch,
    /// Side of the pictures in pixels; up to 64 the network has the CIFAR stem
    #[arg(long, value_name = "PX", default_value = "32", value_parser = clap::value_parser!(u16).range(8..=4096))]
    size: u16,
    /// Pictures per step
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u16).range(2..))]
    batch: u16,
    /// f32 or bf16 [default: bf16 where the machine has AMX, else f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    /// Timed repetitions
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    iterations: u16,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(bench: &Bench) -> Result<Ending> {
    let (Bench::Step(arguments) | Bench::Embed(arguments)) = bench;
    let device = arguments.compute.open()?;
    let workload = Workload {
        arch: arguments.arch,
        size_px: usize::from(arguments.size),
        batch_size: usize::from(arguments.batch),
        precision: arguments.precision.unwrap_or_else(Precision::of_this_machine),
        iterations: usize::from(arguments.iterations),
    };
    let report = match bench {
        Bench::Step(_) => step(&workload, &device),
        Bench::Embed(_) => embed(&workload, &device),
    };
    tell(&report);
    if arguments.json {
        show::json(&serde_json::json!(report));
    }
    Ok(Ending::Done)
}

fn tell(report: &BenchReport) {
    let BenchReport { arch, size_px, batch_size, precision, isa, threads, .. } = report;
    eprintln!("{arch}, {size_px} px, batch {batch_size}, {precision} on {isa}, {threads} threads");
    let memory = report.peak_rss_bytes.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    eprintln!(
        "{:.1} images/s  {:.3} s  {:.0} GFLOP/s  peak memory {memory}",
        report.images_per_second, report.seconds_median, report.gflops_per_second
    );
}
