//! `--device` and `--threads`.

use byol::ops::Device;
use byol::{Error, Result};

/// Where and with how many threads to compute.
#[derive(clap::Args, Clone)]
pub struct Compute {
    /// Device to compute on; this build has `cpu`
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// CPU threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Compute {
    /// Opens the device and sets the number of threads.
    pub fn open(&self) -> Result<Device> {
        if let Some(threads) = self.threads {
            byol::ops::set_compute_threads(usize::from(threads));
        }
        byol::ops::open_device(&self.device).map_err(|expected| Error::Flag {
            flag: "--device",
            expected,
            got: self.device.clone(),
        })
    }
}
