//! TIFF files, classic and BigTIFF: the first picture.
//!
//! Read here and not by the crate `tiff`, whose readers refuse or misread several kinds that scientific programs write
//! (samples of 12 bits, palettes, zstd, extra samples under a predictor). The compressions are those of crates.
//!
//! # Layout
//! `directory` tags · `compression` strips and tiles → bytes · `samples` → whole samples · `pixels` → colours · this
//! file: the header, and strips and tiles put together.

mod compression;
mod directory;
mod pixels;
mod samples;

use image::metadata::Orientation;

use self::compression::Compression;
#[cfg(feature = "dicom")]
pub(super) use self::compression::pack_bits;
use self::directory::Directory;
use self::samples::Packing;
use super::{Decoded, MAX_BYTES_PER_PIXEL, MAX_SIDE_BYTES, jpeg};
use crate::DataConfig;
use crate::limits::check_size;
use crate::value_range::SampleType;

/// More channels than this only where `data.channels` asks for them.
const MAX_SAMPLES: usize = 8;

/// Pixels of strips and tiles may be this many times those of the picture, or [`MAX_SIDE_BYTES`] / 4 where it is small.
const MAX_PADDING: u64 = 4;

mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const PALETTE: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const INK_SET: u16 = 332;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const SUBSAMPLING: u16 = 530;
    pub const REFERENCE: u16 = 532;
}

/// What the colours are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Photometric {
    Grey { white_is_zero: bool },
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
}

/// A file's header, checked.
struct Picture<'a> {
    directory: Directory<'a>,
    width_px: usize,
    height_px: usize,
    photometric: Photometric,
    compression: Compression,
    /// Samples of a pixel.
    samples: usize,
    separate: bool,
    packing: Packing,
}

pub(super) fn decode(bytes: &[u8], config: &DataConfig) -> Result<Decoded, String> {
    let picture = Picture::read(bytes, config)?;
    let raw = picture.raw()?;
    let orientation = match config.exif_orientation {
        true => Orientation::from_exif(picture.directory.number_or(tag::ORIENTATION, 1)? as u8),
        false => None,
    };
    let (channels, samples, ranged) = picture.pixels(raw, config)?;
    Ok(Decoded {
        width_px: picture.width_px,
        height_px: picture.height_px,
        channels,
        samples,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        ranged,
    })
}

/// Channels and bits, and what kind of numbers the samples are.
pub(super) fn form(bytes: &[u8]) -> Result<(usize, usize, &'static str), String> {
    let picture = Picture::read(bytes, &DataConfig { channels: usize::MAX, ..DataConfig::default() })?;
    let kind = match picture.packing.kind {
        SampleType::Unsigned => "",
        SampleType::Signed => ", signed",
        SampleType::Float => ", floating point",
    };
    let channels = if picture.photometric == Photometric::Palette { 3 } else { picture.samples };
    Ok((channels, picture.packing.bits, kind))
}

impl<'a> Picture<'a> {
    fn read(bytes: &'a [u8], config: &DataConfig) -> Result<Self, String> {
        let damaged = |reason: String| format!("damaged TIFF file: {reason}");
        let directory = Directory::read(bytes).map_err(damaged)?;
        let number = |tag, otherwise| directory.number_or(tag, otherwise).map_err(damaged);
        let (width, height) = (number(tag::WIDTH, 0)?, number(tag::HEIGHT, 0)?);
        if width.max(height) > u32::MAX.into() {
            return Err(damaged("a side of more than 2³² pixels".into()));
        }
        check_size(width, height, config.max_image_pixels)?;
        let samples = number(tag::SAMPLES, 1)? as usize;
        let bits = directory.numbers(tag::BITS).map_err(damaged)?;
        let formats = directory.numbers(tag::SAMPLE_FORMAT).map_err(damaged)?;
        let (bits, format) = (equal(&bits, 1, "bits")?, equal(&formats, 1, "types")?);
        let kind = match format {
            1 | 4 => SampleType::Unsigned,
            2 => SampleType::Signed,
            3 => SampleType::Float,
            _ => return Err(unread("complex numbers")),
        };
        if !(matches!(bits, 1..=32 | 64) && (kind != SampleType::Float || matches!(bits, 16 | 32 | 64))) {
            return Err(unread(&format!("samples of {bits} bits")));
        }
        let compression = number(tag::COMPRESSION, 1)?;
        let compression =
            Compression::of(compression).map_err(|name| unread(&format!("pixels compressed with {name}")))?;
        let photometric = match number(tag::PHOTOMETRIC, 1)? {
            0 => Photometric::Grey { white_is_zero: true },
            // 4 is a mask, and 32803 a raw mosaic, which is none.
            1 | 4 => Photometric::Grey { white_is_zero: false },
            2 => Photometric::Rgb,
            3 => Photometric::Palette,
            5 if number(tag::INK_SET, 1)? == 1 => Photometric::Cmyk,
            5 => return Err(unread("inks other than CMYK")),
            6 => Photometric::YCbCr,
            8..=10 => return Err(unread("Lab colours")),
            32_803 => return Err(unread("the mosaic of a camera's sensor")),
            32_844 | 32_845 => return Err(unread("logarithmic luminance (LogL, LogLuv)")),
            34_892 => return Err(unread("raw linear colours of a camera")),
            other => return Err(unread(&format!("colours of kind {other}"))),
        };
        let colours = photometric.colours();
        if samples < colours || (samples > MAX_SAMPLES.max(colours) && samples != config.channels) {
            return Err(bands(samples));
        }
        let separate = match number(tag::PLANAR, 1)? {
            1 => false,
            2 => samples > 1,
            other => return Err(damaged(format!("planar configuration {other}"))),
        };
        let predictor = number(tag::PREDICTOR, 1)?;
        if !matches!((predictor, kind), (1 | 2, _) | (3, SampleType::Float)) {
            return Err(damaged(format!("predictor {predictor} on such samples")));
        }
        // Only these two have one; elsewhere the tag says nothing.
        let has_predictor =
            matches!(compression, Compression::Lzw | Compression::Deflate | Compression::Zstd | Compression::Lzma);
        let packing = Packing {
            bits: bits as usize,
            kind,
            together: if separate { 1 } else { samples },
            predictor: if has_predictor { predictor } else { 1 },
            big_endian: directory.big_endian,
        };
        let raw_ycbcr = photometric == Photometric::YCbCr && compression != Compression::Jpeg;
        if raw_ycbcr {
            let reference = directory.fractions(tag::REFERENCE);
            if bits != 8 || separate || (!reference.is_empty() && reference != [0.0, 255.0, 128.0, 255.0, 128.0, 255.0])
            {
                return Err(unread("YCbCr colours of other than 8 bits and the full range"));
            }
            let subsampling = directory.numbers(tag::SUBSAMPLING).map_err(damaged)?;
            if subsampling != [1, 1] {
                return Err(unread("YCbCr colours of fewer chroma samples without JPEG"));
            }
        }
        Ok(Self {
            width_px: width as usize,
            height_px: height as usize,
            directory,
            photometric,
            compression,
            samples,
            separate,
            packing,
        })
    }

    /// All samples, of whole bytes in the machine's order, interleaved.
    fn raw(&self) -> Result<Vec<u8>, String> {
        let damaged = |reason: String| format!("damaged TIFF file: {reason}");
        let list = |tag| self.directory.numbers(tag).map_err(damaged);
        let number = |tag, otherwise| self.directory.number_or(tag, otherwise).map_err(damaged);
        let tiled = !list(tag::TILE_OFFSETS)?.is_empty();
        let (offsets, lengths) = match tiled {
            true => (list(tag::TILE_OFFSETS)?, list(tag::TILE_BYTES)?),
            false => (list(tag::STRIP_OFFSETS)?, list(tag::STRIP_BYTES)?),
        };
        let (width, height) = (self.width_px as u64, self.height_px as u64);
        let (part_width, part_height) = match tiled {
            true => (number(tag::TILE_WIDTH, 0)?, number(tag::TILE_HEIGHT, 0)?),
            false => (width, number(tag::ROWS_PER_STRIP, height)?.min(height)),
        };
        if part_width == 0 || part_height == 0 || part_width.max(part_height) > u32::MAX.into() {
            return Err(damaged("strips or tiles without pixels".into()));
        }
        let (across, down) = (width.div_ceil(part_width), height.div_ceil(part_height));
        let padded = (across * part_width).checked_mul(down * part_height);
        let allowed = (MAX_PADDING * width * height).max(MAX_SIDE_BYTES / 4);
        if tiled && padded.is_none_or(|padded| padded > allowed) {
            return Err(damaged(format!("tiles of {part_width}×{part_height} pixels for {width}×{height}")));
        }
        let planes = if self.separate { self.samples as u64 } else { 1 };
        let count = across * down * planes;
        if (offsets.len() as u64) < count || (lengths.len() as u64) < count {
            return Err(damaged(format!("{} strips or tiles instead of {count}", offsets.len().min(lengths.len()))));
        }
        let sample = self.packing.sample_bytes();
        let pixels = self.width_px * self.height_px;
        let total = (pixels as u64).saturating_mul((self.samples * sample) as u64);
        let limit = (pixels as u64).saturating_mul(MAX_BYTES_PER_PIXEL.max(self.samples as u64 * 8));
        if total > limit {
            return Err(damaged("more bytes than its pixels have".into()));
        }
        let mut raw = vec![0; total as usize];
        for place in 0..count {
            let (plane, column, row) = (place / (across * down), place % across, place / across % down);
            let (x, y) = ((column * part_width) as usize, (row * part_height) as usize);
            let rows = if tiled { part_height as usize } else { (self.height_px - y).min(part_height as usize) };
            let data = self.directory.slice(offsets[place as usize], lengths[place as usize]);
            let data = data.ok_or_else(|| damaged("a strip or tile lies beyond its end".into()))?;
            let part = self.part(data, part_width as usize, rows).map_err(damaged)?;
            let together = self.packing.together;
            let columns = (self.width_px - x).min(part_width as usize);
            for (line, source) in part.iter().enumerate().take(self.height_px - y) {
                let start = (y + line) * self.width_px + x;
                if self.separate {
                    for (column, value) in source.chunks_exact(sample).take(columns).enumerate() {
                        let at = ((start + column) * self.samples + plane as usize) * sample;
                        raw[at..at + sample].copy_from_slice(value);
                    }
                } else {
                    let at = start * self.samples * sample;
                    let length = columns * together * sample;
                    raw[at..at + length].copy_from_slice(&source[..length]);
                }
            }
        }
        Ok(raw)
    }

    /// The rows of a strip or tile, in samples of whole bytes.
    fn part(&self, data: &[u8], width: usize, rows: usize) -> Result<Vec<Vec<u8>>, String> {
        if self.compression == Compression::Jpeg {
            return self.jpeg_part(data, width, rows);
        }
        let reversed: Vec<u8>;
        let data = match self.directory.number_or(tag::FILL_ORDER, 1)? {
            2 => {
                reversed = data.iter().map(|byte| byte.reverse_bits()).collect();
                &reversed
            }
            _ => data,
        };
        let row_bytes = self.packing.row_bytes(width).ok_or("rows that are too long")?;
        let length = row_bytes.checked_mul(rows).ok_or("strips that are too long")?;
        let mut bytes = self.compression.unpack(data, length, width)?;
        bytes.chunks_exact_mut(row_bytes).map(|row| self.packing.unpack(row)).collect()
    }

    fn jpeg_part(&self, data: &[u8], width: usize, rows: usize) -> Result<Vec<Vec<u8>>, String> {
        let is_ycbcr = self.photometric == Photometric::YCbCr;
        let tables = self.directory.content(tag::JPEG_TABLES);
        // Encoders round the height of the last strip up.
        let part = jpeg::part(tables, data, is_ycbcr, (width as u64 + 64) * (rows as u64 + 64))?;
        let fits = part.width_px >= width && part.height_px >= rows && part.channels == self.packing.together;
        if !fits || usize::from(part.bits) != self.packing.bits {
            return Err(format!(
                "a strip or tile of {}×{} pixels, {} channels and {} bits instead of {width}×{rows}, {} and {}",
                part.width_px, part.height_px, part.channels, part.bits, self.packing.together, self.packing.bits
            ));
        }
        let rows = part.samples.chunks_exact(part.width_px * part.channels).take(rows).map(|row| match part.bits {
            8 => row.iter().map(|&sample| sample as u8).collect(),
            _ => row.iter().flat_map(|sample| sample.to_ne_bytes()).collect(),
        });
        Ok(rows.collect())
    }
}

impl Photometric {
    /// Samples that make a colour.
    fn colours(self) -> usize {
        match self {
            Self::Grey { .. } | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The value that all samples share.
fn equal(values: &[u64], otherwise: u64, what: &str) -> Result<u64, String> {
    let first = values.first().copied().unwrap_or(otherwise);
    if values.iter().any(|&value| value != first) {
        return Err(unread(&format!("samples of several {what}")));
    }
    Ok(first)
}

fn unread(what: &str) -> String {
    format!("a TIFF file with {what}, which is not read; convert it to a plain TIFF or PNG file")
}

fn bands(samples: usize) -> String {
    format!("a TIFF file of {samples} channels; set data.channels = {samples} to use them all, or convert it to RGB")
}
