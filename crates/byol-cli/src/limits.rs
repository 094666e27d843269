//! `--max-bad-fraction`, and the other limits on the data an encoder is used on.

use std::path::Path;

use byol::run::RunFolder;
use byol_data::DataConfig;
use byol_nn::encoder::EncoderInfo;
use byol_nn::{Error, Result};

use crate::data::DataArguments;

/// How much of the data may be broken.
#[derive(clap::Args)]
pub struct Limits {
    /// Largest share of unreadable pictures [default: data.max_bad_fraction of the run, 0.01 without a run]
    #[arg(long, value_name = "SHARE")]
    max_bad_fraction: Option<f64>,
}

impl Limits {
    /// How data is read for the encoder opened from `path`: as in the run it was trained in, or the defaults with the
    /// encoder's channels, with the flags over both.
    pub fn of(&self, path: &str, encoder: &EncoderInfo, data: &DataArguments) -> Result<DataConfig> {
        let mut limits = match RunFolder::open(Path::new(path)) {
            Ok(run) => run.config()?.data,
            Err(_) => {
                DataConfig { channels: encoder.channels(), value_range: encoder.value_range, ..DataConfig::default() }
            }
        };
        data.read_as_told(&mut limits);
        if let Some(max_bad_fraction) = self.max_bad_fraction {
            limits.max_bad_fraction = max_bad_fraction;
        }
        limits.validate().map_err(|error| Error::Flag {
            flag: "--max-bad-fraction",
            expected: error.expected,
            got: error.got,
        })?;
        Ok(limits)
    }
}
