//! `--max-bad-fraction`, and the other limits on the data an encoder is used on.

use std::path::Path;

use byol::run::RunFolder;
use byol_data::{DataConfig, JpegDecoding};
use byol_nn::encoder::EncoderInfo;
use byol_nn::{Error, Result};

use crate::data::DataArguments;

/// How much of the data may be broken.
#[derive(clap::Args)]
pub struct Limits {
    /// Largest share of unreadable pictures [default: data.max_bad_fraction of the run, 0.01 without a run]
    #[arg(long, value_name = "SHARE")]
    max_bad_fraction: Option<f64>,
    /// How JPEG files are decoded: exact, to the samples that libjpeg gives to nearly all other programs, or fast, in half the time
    /// and a few of 255 apart
    #[arg(long, value_name = "HOW", value_parser = jpeg_decoding, default_value = "exact")]
    jpeg: JpegDecoding,
}

fn jpeg_decoding(text: &str) -> std::result::Result<JpegDecoding, String> {
    match text {
        "exact" => Ok(JpegDecoding::Exact),
        "fast" => Ok(JpegDecoding::Fast),
        _ => Err("expected exact or fast".to_owned()),
    }
}

/// How data is read for the encoder opened from `path`: as in the run it was trained in, or the defaults with what the encoder says; but JPEG
/// files exactly.
pub fn as_trained(path: &str, encoder: &EncoderInfo) -> Result<DataConfig> {
    let limits = match RunFolder::open(Path::new(path)) {
        Ok(run) => run.config()?.data,
        Err(_) => {
            let EncoderInfo { value_range, exif_orientation, .. } = *encoder;
            DataConfig { channels: encoder.channels(), value_range, exif_orientation, ..DataConfig::default() }
        }
    };
    Ok(DataConfig { jpeg: JpegDecoding::Exact, ..limits })
}

impl Limits {
    /// As [`as_trained`], with the flags over it.
    pub fn of(&self, path: &str, encoder: &EncoderInfo, data: &DataArguments) -> Result<DataConfig> {
        let mut limits = as_trained(path, encoder)?;
        data.read_as_told(&mut limits);
        limits.jpeg = self.jpeg;
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
