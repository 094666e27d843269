//! What computes: the device, the number of threads, the instruction set.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use byol_kernels::Isa;
use serde::Serialize;

use super::precision::Precision;

/// Index into [`Isa::ALL`], or its length while nothing is chosen.
static CHOSEN: AtomicUsize = AtomicUsize::new(Isa::ALL.len());

/// The instruction set that the CPU kernels use: the chosen one, else the fastest that this machine has.
pub fn isa() -> Isa {
    Isa::ALL.get(CHOSEN.load(Ordering::Relaxed)).copied().unwrap_or_else(Isa::best)
}

/// Makes the CPU kernels of this process use `wanted` from now on.
///
/// # Errors
/// What is expected instead, when this machine lacks it.
pub fn choose_isa(wanted: Isa) -> Result<(), String> {
    if !wanted.is_available() {
        let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
        return Err(format!("one that this machine has: {}", names.join(", ")));
    }
    CHOSEN.store(wanted as usize, Ordering::Relaxed);
    Ok(())
}

/// Fixes the number of CPU threads that compute, the calling one among them unless it `waits_for_others`: what it starts need not be
/// handed to another thread first, which for the short kernels of small networks takes as long as the kernel.
///
/// The calling thread must be the one that computes: while it waits for another thread, that one computes with one thread less,
/// and if there is but one thread, neither ever goes on.
///
/// # Errors
/// What was expected instead, where the system does not start so many.
///
/// # Panics
/// When something was computed before.
pub fn set_compute_threads(threads: usize, waits_for_others: bool) -> Result<(), String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = if waits_for_others { pool } else { pool.use_current_thread() };
    pool.build_global().map_err(|error| {
        match std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(source) => format!("as many threads as the system starts ({source}); see `ulimit -u`, or give 1"),
            None => panic!("the number of threads is set once, before anything is computed: {error}"),
        }
    })
}

/// How many CPU threads compute.
pub fn compute_threads() -> usize {
    rayon::current_num_threads()
}

/// The graphics card that this process computes on; empty on the processor.
static CARD: OnceLock<Card> = OnceLock::new();

/// A graphics card.
#[derive(Clone, Debug)]
pub struct Card {
    /// What `--device` calls it: `cuda:0`.
    pub name: String,
    /// What its driver calls it.
    pub model: String,
    /// Its memory in bytes, where the driver tells.
    pub memory_bytes: Option<u64>,
    /// Whether activations can be `bf16`.
    pub bf16: bool,
    /// Whether activations can be `f16`.
    pub f16: bool,
    /// Whether it multiplies matrices of `bf16` by units of their own.
    pub matrix_units: bool,
}

/// Every graphics card that this build reaches; none without the feature of a driver. Opens all of them.
pub fn cards() -> Vec<Card> {
    #[cfg(feature = "gpu")]
    return byol_cube::cards().into_iter().map(Card::from).collect();
    #[cfg(not(feature = "gpu"))]
    Vec::new()
}

#[cfg(feature = "gpu")]
impl From<byol_cube::Card> for Card {
    fn from(byol_cube::Card { name, model, memory_bytes, bf16, f16, matrix_units }: byol_cube::Card) -> Self {
        Self { name, model, memory_bytes, bf16, f16, matrix_units }
    }
}

/// One kind of kernel of a graphics card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// Its name in the source, without types.
    pub name: String,
    /// How often it was launched.
    pub launches: usize,
    /// How many of these were timed.
    pub timed_launches: usize,
    /// The time of those together, in seconds.
    pub seconds: f64,
    /// Whether some of it is the host's: launch, waiting and compilation are in it then.
    pub by_host_clock: bool,
}

/// Runs `work` and times every kernel that it launches on a graphics card, the one that takes longest first; none on the processor.
pub fn kernel_times(work: impl FnOnce()) -> Vec<KernelTime> {
    #[cfg(feature = "gpu")]
    return byol_cube::kernel_times(work)
        .into_iter()
        .map(|byol_cube::KernelTime { name, launches, timed_launches, seconds, by_host_clock }| KernelTime {
            name,
            launches,
            timed_launches,
            seconds,
            by_host_clock,
        })
        .collect();
    #[cfg(not(feature = "gpu"))]
    {
        work();
        Vec::new()
    }
}

/// What computes, in words for a person: the instruction set, or the graphics card.
pub fn engine() -> String {
    CARD.get().map_or_else(|| isa().to_string(), |card| format!("{}, {}", card.name, card.model))
}

/// The type of activations where nobody chose one: see [`Precision::of_this_machine`].
pub(super) fn default_precision() -> Precision {
    match CARD.get() {
        None if Isa::Amx.is_available() => Precision::Bf16,
        Some(card) if card.bf16 => Precision::Bf16,
        Some(card) if card.f16 => Precision::F16,
        None | Some(_) => Precision::F32,
    }
}

/// Whether the opened device computes with activations of this type; all do with `f32`.
pub fn has_precision(precision: Precision) -> bool {
    match (precision, CARD.get()) {
        (Precision::F32, _) | (Precision::Bf16, None) => true,
        (Precision::F16, None) => false,
        (Precision::Bf16, Some(card)) => card.bf16,
        (Precision::F16, Some(card)) => card.f16,
    }
}

/// `wanted`, or `f32` where the opened device lacks it: what a finished encoder computes in.
pub fn possible_precision(wanted: Precision) -> Precision {
    if has_precision(wanted) { wanted } else { Precision::F32 }
}

/// The types that the opened device has, for messages: `f32 or bf16`.
pub fn precisions() -> String {
    let names: Vec<String> =
        Precision::ALL.into_iter().filter(|&precision| has_precision(precision)).map(|p| p.to_string()).collect();
    names.join(" or ")
}

/// Whether tensors of this device are computed by the processor, at once; a graphics card works on behind the calls.
pub fn is_processor(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(_) => false,
    }
}

/// Opens the device of this process by name: `cpu`, `gpu` or a graphics card like `cuda:0`.
///
/// # Errors
/// What is expected instead of a name that this build or this machine does not have.
pub fn open_device(name: &str) -> Result<Device, String> {
    if name == "cpu" { Ok(Device::flex()) } else { open_card(name) }
}

#[cfg(feature = "gpu")]
fn open_card(name: &str) -> Result<Device, String> {
    let (device, card) = byol_cube::open(name)?;
    // A process opens one device; a test may open it again.
    let _ = CARD.set(card.into());
    Ok(Device::new(device))
}

#[cfg(not(feature = "gpu"))]
fn open_card(_: &str) -> Result<Device, String> {
    Err("cpu, the one device of this build; one made with `--features cuda` (NVIDIA), `rocm` (AMD) or `wgpu` (any card with \
         Vulkan, DX12 or Metal) has those, too"
        .to_owned())
}
