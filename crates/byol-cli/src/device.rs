//! `--device`, `--threads` and `--isa`.

use byol_kernels::Isa;
use byol_nn::ops::Device;
use byol_nn::{Error, Result};

/// Where and with how many threads to compute.
#[derive(clap::Args, Clone)]
pub struct Compute {
    /// Device to compute on; this build has `cpu`
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// CPU threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Instruction set of the CPU kernels: portable, avx2, avx512, avx512bf16 or amx [default: the fastest there is]
    #[arg(long, value_name = "ISA")]
    pub isa: Option<Isa>,
}

impl Compute {
    /// Threads that compute.
    pub fn thread_count(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, usize::from)
    }

    /// Opens the device and sets the number of threads.
    pub fn open(&self) -> Result<Device> {
        byol_nn::ops::set_compute_threads(self.thread_count());
        if let Some(isa) = self.isa {
            byol_nn::ops::choose_isa(isa).map_err(|expected| Error::Flag {
                flag: "--isa",
                expected,
                got: isa.to_string(),
            })?;
        }
        byol_nn::ops::open_device(&self.device).map_err(|expected| Error::Flag {
            flag: "--device",
            expected,
            got: self.device.clone(),
        })
    }
}
