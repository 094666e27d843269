//! The `[data]` table of a run's configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::value_range::ValueRange;
use crate::views::InvalidConfig;

/// Limits for reading `DATA`: what counts as too big and how much may be broken. Defaults fit ImageNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Channels of the pictures the model sees: 3, 1 (colours become their luma) or 4 (with alpha) from picture files, any
    /// number from arrays, which must have as many. Default 3.
    pub channels: usize,
    /// Whether pictures are turned upright as their EXIF data says. Default true.
    pub exif_orientation: bool,
    /// How JPEG files are decoded. Default `fast`; where an encoder is used, the commands take `exact` unless told otherwise.
    pub jpeg: JpegDecoding,
    /// Largest share of unreadable pictures, in `[0, 1]`, before a run ends. Default 0.01.
    pub max_bad_fraction: f64,
    /// Pictures with more pixels than this are refused before anything is allocated for them. Default 178 956 970,
    /// the figure at which Pillow refuses to open a picture.
    pub max_image_pixels: u64,
    /// Larger picture files are refused unread, in bytes. Default 256 MiB.
    pub max_file_bytes: u64,
    /// Largest memory for what is kept from a compressed archive, a CIFAR or IDX file or a compressed array, in bytes;
    /// over all roots together. Parquet files beyond it are read picture by picture. Default 4 GiB.
    pub max_archive_memory_bytes: u64,
    /// Whether the listing of a folder with at least 10 000 pictures is kept in the user's cache folder
    /// (`~/.cache/byol/index-…`) and used again while no folder in it has changed. A file rewritten in place is not
    /// noticed as changed, though always read as it is. Default true.
    pub index_cache: bool,
    /// Folder in which parts of what lies behind URLs are kept. Default: `remote` in the user's cache folder (`~/.cache/byol`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_cache: Option<PathBuf>,
    /// Most bytes in that folder, which any number of processes may share; 0 keeps nothing. Where all data behind URLs fits,
    /// each byte is fetched once. Default 20 GiB.
    pub remote_cache_bytes: u64,
    /// How long a server that does not answer, or answers that it is busy or broken, is asked again before a run ends, in
    /// seconds. Default 300.
    pub remote_retry_secs: u64,
    /// What the names of splits stand for where they are no words people usually have for them: `fold_1 = "train"`. A name
    /// is that of a folder, of a column's value or a word in the name of a file, in any case. Default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub split_map: BTreeMap<String, String>,
    /// The column of a list, table, Parquet or Arrow file that holds labels, the array of an `.npz`, or the ending of members of a
    /// WebDataset archive. Default: by the names people give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// The column, array or ending that holds the pictures. Default: by the names people give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_key: Option<String>,
    /// Which sample values are black and white: `[low, high]`, or `"percentile"` for those of each picture. Pictures then have
    /// 16 bits. Needed for signed, 32-bit and floating-point samples, whose range no file states. Default: the full
    /// range of 8 or 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_range: Option<ValueRange>,
    /// The column that holds the split. Default: by the names people give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
}

/// The standard leaves the last bits of a JPEG file's samples open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JpegDecoding {
    /// By zune-jpeg, in half the time; single samples differ by a few of 255 from those of `exact`.
    #[default]
    Fast,
    /// The samples that libjpeg and libjpeg-turbo give, and with them Pillow, OpenCV, torchvision and TensorFlow, bit for bit.
    Exact,
}

/// More channels than any camera has; beyond it a length was taken for a number of channels.
const MAX_CHANNELS: usize = 1024;

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            channels: 3,
            exif_orientation: true,
            jpeg: JpegDecoding::Fast,
            max_bad_fraction: 0.01,
            max_image_pixels: 178_956_970,
            max_file_bytes: 256 << 20,
            max_archive_memory_bytes: 4 << 30,
            index_cache: true,
            remote_cache: None,
            remote_cache_bytes: 20 << 30,
            remote_retry_secs: 300,
            split_map: BTreeMap::new(),
            label_column: None,
            image_key: None,
            value_range: None,
            split_column: None,
        }
    }
}

impl DataConfig {
    /// Checks every key.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if !(0.0..=1.0).contains(&self.max_bad_fraction) {
            return Err(invalid("data.max_bad_fraction", "a number from 0 to 1", self.max_bad_fraction));
        }
        if !(1..=MAX_CHANNELS).contains(&self.channels) {
            let expected = format!("a whole number from 1 to {MAX_CHANNELS}");
            return Err(invalid("data.channels", &expected, self.channels));
        }
        if let Some(ValueRange::Fixed([low, high])) = self.value_range
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            let expected = "[LOW, HIGH], two numbers of which the first is less";
            return Err(invalid("data.value_range", expected, format!("[{low}, {high}]")));
        }
        let sizes = [
            ("data.max_image_pixels", self.max_image_pixels),
            ("data.max_file_bytes", self.max_file_bytes),
            ("data.max_archive_memory_bytes", self.max_archive_memory_bytes),
        ];
        match sizes.into_iter().find(|&(_, value)| value == 0) {
            Some((key, value)) => Err(invalid(key, "a whole number of at least 1", value)),
            None => Ok(()),
        }
    }
}

fn invalid(key: &str, expected: &str, got: impl ToString) -> InvalidConfig {
    InvalidConfig { key: key.into(), expected: expected.into(), got: got.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_wrong_values_name_their_key() {
        let good = DataConfig::default();
        assert!(good.validate().is_ok());
        let cases = [
            (DataConfig { channels: 0, ..good.clone() }, "data.channels"),
            (DataConfig { max_bad_fraction: 1.5, ..good.clone() }, "data.max_bad_fraction"),
            (DataConfig { max_bad_fraction: f64::NAN, ..good.clone() }, "data.max_bad_fraction"),
            (DataConfig { value_range: Some(ValueRange::Fixed([3.0, 3.0])), ..good.clone() }, "data.value_range"),
            (DataConfig { max_image_pixels: 0, ..good.clone() }, "data.max_image_pixels"),
            (DataConfig { max_file_bytes: 0, ..good.clone() }, "data.max_file_bytes"),
            (DataConfig { max_archive_memory_bytes: 0, ..good }, "data.max_archive_memory_bytes"),
        ];
        for (config, key) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.starts_with(key) && message.contains("expected"), "{message}");
        }
    }
}
