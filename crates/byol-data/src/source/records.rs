//! Pictures stored as bare pixels in records of equal length, as CIFAR and IDX files do.

use crate::image::{Image, Samples};
use crate::{DataConfig, channels, value_range};

/// How the pixels of a record are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pixels {
    /// One byte per pixel, row by row.
    Grey,
    /// All red bytes, then all green, then all blue.
    RgbPlanes,
}

/// Files of records, held in memory.
#[derive(Debug)]
pub(crate) struct Records {
    pub width_px: usize,
    pub height_px: usize,
    pub pixels: Pixels,
    /// Length of a record, label bytes included.
    pub record_bytes: usize,
    /// Bytes of a record before its pixels.
    pub label_bytes: usize,
    /// File names and their records, without file headers.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Records {
    pub fn len(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len() / self.record_bytes).sum()
    }

    /// `data_batch_1.bin#17`: the file and the place within it, from 0.
    pub fn name(&self, index: usize) -> String {
        let (file, place) = self.find(index);
        format!("{}#{place}", self.files[file].0)
    }

    /// The bytes of record `index`, label included.
    pub fn record(&self, index: usize) -> &[u8] {
        let (file, place) = self.find(index);
        &self.files[file].1[place * self.record_bytes..][..self.record_bytes]
    }

    pub fn load(&self, index: usize, config: &DataConfig) -> Result<Image, String> {
        let bytes = &self.record(index)[self.label_bytes..];
        let (samples, from) = match self.pixels {
            Pixels::Grey => (bytes.to_vec(), 1),
            Pixels::RgbPlanes => {
                let (red, rest) = bytes.split_at(bytes.len() / 3);
                let (green, blue) = rest.split_at(rest.len() / 2);
                (red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect(), 3)
            }
        };
        let mut samples = Samples::U8(samples);
        if let Some(range) = config.value_range {
            samples = value_range::apply(range, &samples, from);
        }
        let samples = channels::convert(samples, from, config.channels)?;
        Ok(Image::new(self.width_px, self.height_px, config.channels, samples))
    }

    fn find(&self, index: usize) -> (usize, usize) {
        let mut place = index;
        for (file, (_, bytes)) in self.files.iter().enumerate() {
            let count = bytes.len() / self.record_bytes;
            if place < count {
                return (file, place);
            }
            place -= count;
        }
        panic!("record {index} of {}", self.len());
    }
}
