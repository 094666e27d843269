//! `DATA`, spelt alike in all commands.

use std::path::PathBuf;

/// The pictures that a command takes.
#[derive(clap::Args, Clone)]
pub struct DataArguments {
    /// Pictures: folders, tar archives (plain, gz, xz, zst), WebDataset shards ("part-{000..127}.tar"), Parquet, CIFAR, STL or
    /// IDX file sets, .npy or .npz arrays, a text or CSV file of paths; several are read as one
    #[arg(value_name = "DATA", required_unless_present = "data_flag")]
    data: Vec<PathBuf>,
    /// DATA, as `byol report` spells it
    #[arg(long = "data", value_name = "DATA", hide = true)]
    data_flag: Vec<PathBuf>,
}

impl DataArguments {
    /// All roots, in the order given, those of the flag last.
    pub fn roots(&self) -> Vec<PathBuf> {
        self.data.iter().chain(&self.data_flag).cloned().collect()
    }
}
