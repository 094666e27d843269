//! `byol bench`.

use std::sync::Arc;
use std::time::Duration;

use byol::bench::{BenchReport, Heads, Workload, embed, step};
use byol_data::views::{Views, ViewsConfig, blur_taps};
use byol_data::{DataConfig, DataError, Dataset, throughput};
use byol_eval::waiting;
use byol_nn::dist::{Alone, Ranks, agree};
use byol_nn::model::Arch;
use byol_nn::ops::{Device, KernelTime, Precision, is_processor};
use byol_nn::{Error, Result};

use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::ranks::by_the_first;
use crate::screen::{paragraph, row, say, state};
use crate::{Ending, show};

#[derive(clap::Subcommand)]
pub enum Bench {
    /// Time training steps: two views through both networks, gradients, optimiser, target update
    Step(StepArguments),
    /// Time the encoder alone, as `byol embed` uses it
    Embed(Arguments),
    /// Time reading, decoding and two views per picture, as in training
    #[command(override_usage = "byol bench input [OPTIONS] <DATA>...")]
    Input(InputArguments),
    /// Measure the limits of this machine: multiply-adds from registers, memory copy
    Peak(PeakArguments),
}

#[derive(clap::Args)]
pub struct InputArguments {
    #[command(flatten)]
    data: DataArguments,
    /// Side of a view in pixels; the views are the paper's
    #[arg(long, value_name = "PX", default_value = "224", value_parser = clap::value_parser!(u16).range(1..=4096))]
    size: u16,
    /// Threads that load [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Seconds to measure each of decoding, views and stages
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct PeakArguments {
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

#[derive(clap::Args)]
pub struct StepArguments {
    #[command(flatten)]
    arguments: Arguments,
    /// Units of the hidden layers of projector and predictor, and size of a projection
    #[arg(long, value_name = "HIDDEN/SIZE", default_value_t = Heads::PAPER)]
    heads: Heads,
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
    /// f32, bf16 or f16 (graphics cards) [default: bf16 where the machine has AMX or a card that has it, else f16 where a card has that, else f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    /// Timed repetitions
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    iterations: u16,
    /// Time every kernel of one more repetition on a graphics card, and tell which share of the time the card computes
    #[arg(long)]
    kernels: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(bench: Bench, ranks: &Ranks) -> Result<Ending> {
    match bench {
        Bench::Step(StepArguments { arguments, heads }) => {
            time(&arguments, ranks, |workload, device| step(workload, heads, device, ranks))
        }
        Bench::Embed(arguments) => by_the_first(ranks, || {
            time(&arguments, &(Arc::new(Alone) as Ranks), |workload, device| Ok(embed(workload, device)))
        }),
        Bench::Peak(arguments) => by_the_first(ranks, || peak(&arguments)),
        Bench::Input(arguments) => by_the_first(ranks, || input(&arguments)),
    }
}

fn time(
    arguments: &Arguments,
    ranks: &Ranks,
    bench: impl FnOnce(&Workload, &Device) -> Result<BenchReport>,
) -> Result<Ending> {
    let device = agree(&**ranks, arguments.compute.open_on(&**ranks))?;
    let workload = Workload {
        arch: arguments.arch,
        size_px: usize::from(arguments.size),
        batch_size: usize::from(arguments.batch),
        precision: arguments.precision.unwrap_or_else(Precision::of_this_machine),
        iterations: usize::from(arguments.iterations),
        like_batch_size: usize::from(arguments.batch),
        kernels: arguments.kernels,
    };
    if arguments.kernels && is_processor(&device) {
        let (expected, got) = ("a graphics card, whose kernels are timed".to_owned(), "cpu".to_owned());
        return Err(Error::Flag { flag: "--device", expected, got });
    }
    agree(&**ranks, workload.validate())?;
    let report = waiting("timing", || bench(&workload, &device))?;
    tell(&report);
    if arguments.json {
        show::json(&serde_json::json!(report));
    }
    Ok(Ending::Done)
}

fn input(arguments: &InputArguments) -> Result<Ending> {
    let mut limits = DataConfig::default();
    arguments.data.read_as_told(&mut limits);
    let dataset = waiting("opening the data", || Dataset::open_all(&arguments.data.roots(), None, &limits))?;
    let dataset = Arc::new(dataset);
    let size_px = usize::from(arguments.size);
    let mut config = ViewsConfig { size_px, ..ViewsConfig::default() };
    if blur_taps(size_px) == 1 {
        say!("views of {size_px} px are too small to be blurred; the other operations are the paper's");
        (config.view1.blur_p, config.view2.blur_p) = (0.0, 0.0);
    }
    let views = Views::new(config).map_err(DataError::from)?;
    let duration = Duration::from_secs(arguments.seconds.into());
    let report = waiting("timing", || {
        throughput::measure(&dataset, &views, arguments.threads.map_or(0, usize::from), duration)
    })?;
    row("data", &dataset.description());
    tell_notes([&*dataset]);
    row("views", &format!("two of {size_px} px, {} thread(s)", report.threads));
    row("speed", &format!("{:.0} images/s", report.images_per_second));
    row("decoding", &format!("{:.0} images/s, reading and decoding alone", report.decode_images_per_second));
    state!("by stage, per picture:");
    for (stage, ms) in &report.stage_ms {
        state!("  {:<18}{ms:.4} ms", stage.name());
    }
    if arguments.json {
        let stages: serde_json::Map<_, _> =
            report.stage_ms.iter().map(|(stage, ms)| (stage.name().to_owned(), (*ms).into())).collect();
        show::json(&serde_json::json!({
            "images_per_second": report.images_per_second,
            "decode_images_per_second": report.decode_images_per_second,
            "threads": report.threads,
            "size_px": size_px,
            "images": dataset.len(),
            "stages": stages,
        }));
    }
    Ok(Ending::Done)
}

fn peak(arguments: &PeakArguments) -> Result<Ending> {
    arguments.compute.open()?;
    let (isa, threads) = (byol_nn::ops::isa(), arguments.compute.thread_count());
    let (f32_gflops, bf16_gflops, copy_gbytes) = waiting("timing", || {
        (
            byol_kernels::peak_f32_flops(isa, threads) / 1e9,
            byol_kernels::peak_bf16_flops(isa, threads).map(|flops| flops / 1e9),
            byol_kernels::copy_bytes_per_second(threads) / 1e9,
        )
    });
    state!("{isa}, {threads} threads");
    state!("f32 multiply-add   {f32_gflops:.0} GFLOP/s");
    match bf16_gflops {
        Some(gflops) => state!("bf16 multiply-add  {gflops:.0} GFLOP/s"),
        None => state!("bf16 multiply-add  none; widened to f32"),
    }
    state!("memory copy        {copy_gbytes:.1} GB/s, read and written");
    if arguments.json {
        show::json(&serde_json::json!({
            "isa": isa.name(),
            "threads": threads,
            "f32_gflops_per_second": f32_gflops,
            "bf16_gflops_per_second": bf16_gflops,
            "copy_gbytes_per_second": copy_gbytes,
        }));
    }
    Ok(Ending::Done)
}

fn tell(report: &BenchReport) {
    let BenchReport { arch, size_px, batch_size, precision, isa, threads, .. } = report;
    let heads = report.heads.map_or(String::new(), |heads| format!(", heads {heads}"));
    let ranks = if report.ranks > 1 { format!("{} ranks of ", report.ranks) } else { String::new() };
    paragraph(&format!(
        "{arch}, {size_px} px, batch {batch_size}{heads}, {precision} on {isa}, {ranks}{threads} threads"
    ));
    let memory = report.peak_rss_bytes.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    row("speed", &format!("{:.1} images/s", report.images_per_second));
    row("repetition", &format!("{:.3} s (median)", report.seconds_median));
    row("arithmetic", &format!("{:.0} GFLOP/s", report.gflops_per_second));
    row("memory", &format!("{memory} at most"));
    if let Some(kernels) = &report.kernels {
        tell_kernels(kernels, report.seconds_median);
    }
}

/// The kernels that take a hundredth of the time or more, and the others in one line.
fn tell_kernels(kernels: &[KernelTime], seconds_median: f64) {
    let busy: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
    let launches: usize = kernels.iter().map(|kernel| kernel.launches).sum();
    row("busy", &format!("{:.1} % of a repetition, in {launches} launches", 100.0 * busy / seconds_median));
    state!("by kernel, of one more repetition:");
    let line = |name: &str, launches: usize, seconds: f64| {
        state!("  {name:<28}{launches:>6} ×{:>10.3} ms{:>7.1} %", 1e3 * seconds, 100.0 * seconds / busy);
    };
    let (large, small): (Vec<_>, Vec<_>) = kernels.iter().partition(|kernel| kernel.seconds >= busy / 100.0);
    for kernel in large {
        line(&kernel.name, kernel.launches, kernel.seconds);
    }
    if !small.is_empty() {
        let sum = |seconds: fn(&KernelTime) -> f64| small.iter().map(|&kernel| seconds(kernel)).sum::<f64>();
        let launches = small.iter().map(|kernel| kernel.launches).sum();
        line(&format!("{} others", small.len()), launches, sum(|kernel| kernel.seconds));
    }
    let untimed = launches - kernels.iter().map(|kernel| kernel.timed_launches).sum::<usize>();
    if untimed > 0 {
        state!("  {untimed} launches were not timed");
    }
    if kernels.iter().any(|kernel| kernel.by_host_clock) {
        state!("  not all by the card's clock: launching and waiting are in these times");
    }
}
