//! What computes: the device, the number of threads, the instruction set.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use byol_kernels::Isa;

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

/// Fixes the number of CPU threads that compute, the calling one among them: what it starts need not be handed to another thread
/// first, which for the short kernels of small networks takes as long as the kernel.
///
/// The calling thread must be the one that computes: while it waits for another thread, that one computes with one thread less,
/// and if there is but one thread, neither ever goes on.
///
/// # Panics
/// When something was computed before.
pub fn set_compute_threads(threads: usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
    pool.expect("the number of threads is set once, before anything is computed");
}

/// Opens a device by name.
///
/// # Errors
/// What is expected instead of a name that this build does not know.
pub fn open_device(name: &str) -> Result<Device, String> {
    match name {
        "cpu" => Ok(Device::flex()),
        _ => Err("cpu, the one device of this build".to_owned()),
    }
}
