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

/// How data is read for the encoder opened from `path`: as in the run it was trained in, or the defaults with the encoder's channels.
pub fn limits_of(path: &str, encoder: &EncoderInfo) -> Result<DataConfig> {
    match RunFolder::open(Path::new(path)) {
        Ok(run) => Ok(run.config()?.data),
        Err(_) => {
            let EncoderInfo { value_range, exif_orientation, .. } = *encoder;
            Ok(DataConfig { channels: encoder.channels(), value_range, exif_orientation, ..DataConfig::default() })
        }
    }
}

impl Limits {
    /// As [`limits_of`], with the flags over it.
    pub fn of(&self, path: &str, encoder: &EncoderInfo, data: &DataArguments) -> Result<DataConfig> {
        let mut limits = limits_of(path, encoder)?;
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
