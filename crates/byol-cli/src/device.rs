//! `--device`, `--threads` and `--isa`; the cards that there are.

use byol_kernels::Isa;
use byol_nn::dist::{Alone, Communicator, agree, compute_alike, threads_of};
use byol_nn::ops::{Card, Device, cards, catching_failure, engine, listen_to_drivers};
use byol_nn::{Error, Result};

use crate::screen::{say, state};
use crate::{Ending, screen, show};

/// Where and with how many threads to compute.
#[derive(clap::Args, Clone)]
pub struct Compute {
    /// Device to compute on: cpu, gpu (the first card there is), or a card that `byol devices` lists, like cuda:0
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// CPU threads that compute [default: one per core, shared by the ranks of a machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Instruction set of the CPU kernels: portable, neon, neonbf16, avx2, avx512, avx512bf16 or amx [default: the fastest there is]
    #[arg(long, value_name = "ISA")]
    pub isa: Option<Isa>,
}

impl Compute {
    /// Threads that compute.
    pub fn thread_count(&self) -> usize {
        self.threads_of(&Alone)
    }

    /// Threads of each of these ranks: those of a machine share its cores.
    pub fn threads_of(&self, ranks: &dyn Communicator) -> usize {
        self.threads.map_or_else(|| threads_of(ranks), usize::from)
    }

    /// Opens the device and sets the number of threads.
    pub fn open(&self) -> Result<Device> {
        self.open_on(&Alone)
    }

    /// The same for a process that computes with others.
    pub fn open_on(&self, ranks: &dyn Communicator) -> Result<Device> {
        let (threads, cores) = (self.threads_of(ranks), threads_of(&Alone));
        if threads * ranks.local_ranks() > 2 * cores {
            say!(
                "note: {} threads on {cores} cores wait for each other; without --threads there is one per core",
                threads * ranks.local_ranks()
            );
        }
        byol_nn::ops::set_compute_threads(threads, !ranks.is_alone()).map_err(|expected| Error::Flag {
            flag: "--threads",
            expected,
            got: threads.to_string(),
        })?;
        if let Some(isa) = self.isa {
            byol_nn::ops::choose_isa(isa).map_err(|expected| Error::Flag {
                flag: "--isa",
                expected,
                got: isa.to_string(),
            })?;
        }
        let refused = |expected: String| Error::Flag { flag: "--device", expected, got: self.device.clone() };
        if !ranks.is_alone() && self.device != "cpu" {
            return Err(refused(
                "cpu: several ranks compute on processors only so far, one rank on any card".to_owned(),
            ));
        }
        catching_failure(
            || byol_nn::ops::open_device(&self.device).map_err(refused),
            |words| refused(format!("a card that can be opened, whose driver does not say: {words}")),
        )
    }

    /// As [`Self::open_on`], on all ranks alike: they compute with the same instructions.
    pub fn open_with(&self, ranks: &dyn Communicator) -> Result<Device> {
        let device = agree(ranks, self.open_on(ranks))?;
        compute_alike(ranks)?;
        Ok(device)
    }
}

/// What is listed, and how.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Print the list as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Lists the processor and every graphics card that this build reaches.
pub fn list(arguments: &ListArguments) -> Result<Ending> {
    let cards = cards();
    if arguments.json {
        let card = |card: &Card| {
            serde_json::json!({
                "device": card.name, "model": card.model, "memory_bytes": card.memory_bytes,
                "bf16": card.bf16, "f16": card.f16, "matrix_units": card.matrix_units,
            })
        };
        let cards: Vec<_> = cards.iter().map(card).collect();
        show::json(&serde_json::json!({"cpu": Isa::best().name(), "cards": cards}));
        return Ok(Ending::Done);
    }
    let line = |name: &str, model: &str, memory: &str, can: [&str; 3]| {
        state!("{name:<8}  {model:<40}  {memory:>9}  {:<4}  {:<3}  {}", can[0], can[1], can[2]);
    };
    let can = |can: bool| if can { "yes" } else { "no" };
    line("device", "model", "memory", ["bf16", "f16", "matrix units"]);
    line("cpu", Isa::best().name(), "", ["yes", "no", can(Isa::Amx.is_available())]);
    for Card { name, model, memory_bytes, bf16, f16, matrix_units } in &cards {
        let memory =
            memory_bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / 2f64.powi(30)));
        line(name, model, &memory, [can(*bf16), can(*f16), can(*matrix_units)]);
    }
    let missing: Vec<&str> =
        [("cuda", cfg!(feature = "cuda")), ("rocm", cfg!(feature = "rocm")), ("wgpu", cfg!(feature = "wgpu"))]
            .into_iter()
            .filter_map(|(feature, is_built)| (!is_built).then_some(feature))
            .collect();
    if !missing.is_empty() {
        screen::paragraph(&format!(
            "This build has no {}: `cargo build --release --features …` adds them.",
            missing.join(", ")
        ));
    }
    Ok(Ending::Done)
}

/// Runs `command`; a graphics card that gives up is an error like others, no bug of ours.
pub fn failing_as_error<T>(command: impl FnOnce() -> Result<T>) -> Result<T> {
    listen_to_drivers();
    catching_failure(command, |words| Error::Device {
        device: engine(),
        problem: words.to_owned(),
        remedy: "smaller pictures or batches need less memory; `byol devices` shows whether the card is still there"
            .to_owned(),
    })
}
