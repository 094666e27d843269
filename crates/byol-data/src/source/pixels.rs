//! Pictures stored as bare pixels one after the other, read in place from a file or held in memory: STL-10 and arrays.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::read_at::read_exact_at;
use crate::image::{Image, Samples};
use crate::limits::check_size;
use crate::value_range::{self, SampleType};
use crate::{DataConfig, LoadMemory, channels};

/// Bytes that can be read at any position from any thread.
#[derive(Debug)]
pub(crate) enum Stored {
    /// `bytes` of a file from `start` on.
    File { file: Arc<File>, start: u64, bytes: u64 },
    /// All of it.
    Memory(Vec<u8>),
}

impl Stored {
    /// All of `file`.
    pub fn whole(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self::File { file: Arc::new(file), start: 0, bytes })
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// `count` bytes at `position`, in `memory` if they are not in memory anyhow.
    ///
    /// # Errors
    /// If there are not so many; then nothing was allocated for them.
    pub fn read<'a>(&'a self, position: u64, count: u64, memory: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if position.checked_add(count).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Both fit: they are within bytes that exist.
        let (place, length) = (position as usize, count as usize);
        match self {
            Self::Memory(bytes) => Ok(&bytes[place..place + length]),
            Self::File { file, start, .. } => {
                memory.resize(length, 0);
                read_exact_at(file, memory, start + position)?;
                Ok(memory)
            }
        }
    }

    /// At most `count` bytes from the start on.
    pub fn start(&self, count: u64) -> io::Result<Vec<u8>> {
        let mut memory = Vec::new();
        let bytes = self.read(0, count.min(self.len()), &mut memory)?;
        Ok(bytes.to_vec())
    }
}

/// Memory for an entry of an archive, of which no more is read than it says.
pub(crate) fn read_all(reader: impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // It grows with what there is: the length comes from the file and may be wrong.
    reader.take(bytes).read_to_end(&mut content)?;
    if content.len() as u64 == bytes { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// How the samples of a picture follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Row by row, all channels of a pixel together.
    Interleaved,
    /// One channel after the other, each row by row.
    Planes,
    /// One channel after the other, each column by column.
    PlanesOfColumns,
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    U8,
    U16 {
        big_endian: bool,
    },
    /// Of no range of its own: `data.value_range` says what is black and white.
    Other {
        kind: SampleType,
        bytes: usize,
        big_endian: bool,
    },
}

impl Depth {
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 { .. } => 2,
            Self::Other { bytes, .. } => bytes,
        }
    }
}

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub width_px: usize,
    pub height_px: usize,
    pub channels: usize,
    pub arrangement: Arrangement,
    pub depth: Depth,
}

impl Form {
    /// Bytes of a picture; `None` if that is beyond any memory, or nothing.
    pub fn bytes(&self) -> Option<usize> {
        let sizes = [self.width_px, self.height_px, self.channels, self.depth.bytes()];
        sizes.into_iter().try_fold(1usize, |product, size| product.checked_mul(size)).filter(|&bytes| bytes > 0)
    }

    /// The picture made of `bytes`, which are as many as [`Self::bytes`] says.
    pub fn picture(&self, bytes: &[u8], config: &DataConfig) -> Result<Image, String> {
        let mut samples = match self.depth {
            Depth::U8 => Samples::U8(self.interleaved(bytes)),
            Depth::U16 { big_endian } => {
                let value = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                let samples: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|&pair| value(pair)).collect();
                Samples::U16(self.interleaved(&samples))
            }
            Depth::Other { kind, bytes: width, big_endian } => {
                let values = value_range::numbers(bytes, kind, width, big_endian);
                let Some(range) = config.value_range else {
                    return Err(format!("samples without a range of their own; {}", value_range::advice(values)));
                };
                let values = self.interleaved(&values);
                Samples::U16(value_range::intensities(range, &values, self.channels, self.channels, 1.0))
            }
        };
        if let Some(range) = config.value_range
            && !matches!(self.depth, Depth::Other { .. })
        {
            samples = value_range::apply(range, &samples, self.channels);
        }
        let samples = channels::convert(samples, self.channels, config.channels)?;
        Ok(Image::new(self.width_px, self.height_px, config.channels, samples))
    }

    /// Whether such pictures are within the limits and have channels that become those asked for.
    pub fn check(&self, config: &DataConfig) -> Result<(), String> {
        check_size(self.width_px as u64, self.height_px as u64, config.max_image_pixels)?;
        channels::check(self.channels, config.channels)
    }

    fn interleaved<S: Copy>(&self, samples: &[S]) -> Vec<S> {
        let (width, height, channels) = (self.width_px, self.height_px, self.channels);
        let (right, down) = match self.arrangement {
            Arrangement::Interleaved => return samples.to_vec(),
            Arrangement::Planes => (1, width),
            Arrangement::PlanesOfColumns => (height, 1),
        };
        let mut out = Vec::with_capacity(samples.len());
        for row in 0..height {
            for column in 0..width {
                let place = row * down + column * right;
                out.extend((0..channels).map(|channel| samples[channel * width * height + place]));
            }
        }
        out
    }
}

/// Pictures of one form.
#[derive(Debug)]
pub(crate) struct Pixels {
    /// What it is, for people.
    pub kind: &'static str,
    /// The file, for the names of its pictures.
    pub name: String,
    pub stored: Stored,
    /// Bytes before the first picture.
    pub start: u64,
    pub form: Form,
}

impl Pixels {
    /// Bytes of a picture.
    pub fn picture_bytes(&self) -> u64 {
        self.form.bytes().unwrap_or(0) as u64
    }

    /// Pictures there is room for in the file.
    pub fn len(&self) -> usize {
        (self.stored.len().saturating_sub(self.start) / self.picture_bytes().max(1)) as usize
    }

    /// Memory for what is kept of the file.
    pub fn memory_bytes(&self) -> u64 {
        match &self.stored {
            Stored::Memory(bytes) => bytes.len() as u64,
            Stored::File { .. } => 0,
        }
    }

    /// Reads picture `index`.
    pub fn load(&self, index: usize, config: &DataConfig, memory: &mut LoadMemory) -> Result<Image, String> {
        self.form.check(config)?;
        let bytes = self.picture_bytes();
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        let bytes = self.stored.read(self.start + index as u64 * bytes, bytes, &mut memory.file).map_err(unreadable)?;
        self.form.picture(bytes, config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrangement_gives_the_same_picture() {
        // Two rows of three pixels of two channels: channel, row and column are the digits.
        let interleaved = [0, 100, 1, 101, 2, 102, 10, 110, 11, 111, 12, 112];
        let planes = [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112];
        let columns = [0, 10, 1, 11, 2, 12, 100, 110, 101, 111, 102, 112];
        let config = DataConfig { channels: 2, ..DataConfig::default() };
        for (arrangement, samples) in [
            (Arrangement::Interleaved, interleaved),
            (Arrangement::Planes, planes),
            (Arrangement::PlanesOfColumns, columns),
        ] {
            let form = Form { width_px: 3, height_px: 2, channels: 2, arrangement, depth: Depth::U8 };
            let image = form.picture(&samples, &config).unwrap();
            assert_eq!(image.samples(), &Samples::U8(interleaved.to_vec()), "{arrangement:?}");
        }
    }

    #[test]
    fn sizes_that_overflow_have_no_bytes() {
        let form = Form {
            width_px: usize::MAX,
            height_px: 2,
            channels: 1,
            arrangement: Arrangement::Interleaved,
            depth: Depth::U8,
        };
        assert_eq!(form.bytes(), None);
        assert_eq!(Form { width_px: 0, ..form }.bytes(), None);
    }
}
