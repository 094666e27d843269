//! The first frame of the pixel data → the numbers that are stored, pixel by pixel.

use super::elements::Element;
use super::{Coding, Picture, damaged};
use crate::DataConfig;
use crate::decode::jpeg;
use crate::decode::tiff::pack_bits;
use crate::value_range::{self, SampleType};

const CUT: &str = "its pixels end early";

/// What a frame holds, interleaved.
pub(super) enum Stored {
    /// The bits of each sample, unsigned.
    Bits(Vec<u32>),
    Numbers(Vec<f64>),
}

impl Picture<'_> {
    /// The first frame, and whether its colours are luma and chroma.
    pub fn first_frame(&self, config: &DataConfig) -> Result<(Stored, bool), String> {
        let is_ybr = self.photometric.starts_with("YBR");
        let data = self.pixels;
        if let Some(width) = self.float_bytes {
            let length = self.count().checked_mul(width).ok_or(CUT)?;
            let bytes = data.value.get(..length).ok_or_else(|| damaged(CUT))?;
            return Ok((
                Stored::Numbers(value_range::numbers(bytes, SampleType::Float, width, self.big_endian)),
                is_ybr,
            ));
        }
        let (bits, is_ybr) = match self.coding {
            Coding::Native => (self.native(data.value, data.vr)?, is_ybr),
            Coding::Fragments => (self.native(self.fragment(data, true)?.as_slice(), *b"OB")?, is_ybr),
            Coding::RunLengths => (self.run_lengths(&self.fragment(data, true)?)?, is_ybr),
            Coding::Jpeg => return self.jpeg(&self.fragment(data, false)?, is_ybr, config),
        };
        Ok((Stored::Bits(self.bits_stored_of(bits)), is_ybr))
    }

    fn count(&self) -> usize {
        self.width_px * self.height_px * self.samples
    }

    /// The compressed first frame. A frame of JPEG data may lie in several fragments and ends by itself.
    fn fragment(&self, data: Element<'_>, one_each: bool) -> Result<Vec<u8>, String> {
        if !data.is_open {
            return Err(damaged("pixels that should be compressed and are not"));
        }
        let fragments = data.fragments().map_err(|reason| damaged(&reason))?;
        let [_offsets, first, more @ ..] = fragments.as_slice() else {
            return Err(damaged("no pixels"));
        };
        let is_whole = self.frames > 1 && (one_each || more.len() + 1 == self.frames);
        Ok(if is_whole { first.to_vec() } else { fragments[1..].concat() })
    }

    fn native(&self, bytes: &[u8], vr: [u8; 2]) -> Result<Vec<u32>, String> {
        let count = self.count();
        let cut = || damaged(CUT);
        // Two luma samples share their chroma; files that only say so have all of it.
        let whole = count.saturating_mul(self.frames);
        if self.photometric == "YBR_FULL_422" && self.bits_allocated == 8 && bytes.len() < whole {
            let halves = bytes.get(..count / 3 * 2).filter(|_| self.width_px.is_multiple_of(2)).ok_or_else(cut)?;
            let pixels = halves.as_chunks::<4>().0.iter();
            return Ok(pixels.flat_map(|&[a, b, cb, cr]| [a, cb, cr, b, cb, cr]).map(u32::from).collect());
        }
        // Bytes within words of the other order stand the other way round.
        let swapped = usize::from(self.big_endian && &vr == b"OW");
        let length = match self.bits_allocated {
            1 => count.div_ceil(8),
            8 => count.next_multiple_of(1 + swapped),
            bits => count.checked_mul(bits / 8).ok_or_else(cut)?,
        };
        let bytes = bytes.get(..length).ok_or_else(cut)?;
        let bits: Vec<u32> = match (self.bits_allocated, self.big_endian) {
            (1, _) => (0..count).map(|place| u32::from(bytes[place / 8] >> (place % 8) & 1)).collect(),
            (8, _) => (0..count).map(|place| bytes[place ^ swapped].into()).collect(),
            (16, false) => bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair).into()).collect(),
            (16, true) => bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair).into()).collect(),
            (_, false) => bytes.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)).collect(),
            (_, true) => bytes.as_chunks().0.iter().map(|&four| u32::from_be_bytes(four)).collect(),
        };
        Ok(if self.is_planar { interleaved(&bits, self.samples) } else { bits })
    }

    /// RLE (PS3.5, annex G): of each sample its bytes apart, the highest first.
    fn run_lengths(&self, fragment: &[u8]) -> Result<Vec<u32>, String> {
        let number = |place: usize| -> Option<usize> {
            let &four = fragment.get(4 * place..)?.first_chunk()?;
            Some(u32::from_le_bytes(four) as usize)
        };
        let bytes = self.bits_allocated.div_ceil(8);
        let segments = self.samples * bytes;
        if !self.bits_allocated.is_multiple_of(8) || segments > 15 || number(0) != Some(segments) {
            return Err(damaged(&format!("{} run-length segments instead of {segments}", number(0).unwrap_or(0))));
        }
        let pixels = self.width_px * self.height_px;
        let mut bits = vec![0u32; self.count()];
        for segment in 0..segments {
            let start = number(segment + 1).unwrap_or(0);
            let end = if segment + 1 < segments { number(segment + 2).unwrap_or(0) } else { fragment.len() };
            let packed = fragment.get(start..end).ok_or_else(|| damaged(CUT))?;
            let unpacked = pack_bits(packed, pixels).map_err(|_| damaged(CUT))?;
            let places = bits.iter_mut().skip(segment / bytes).step_by(self.samples);
            places.zip(unpacked).for_each(|(bits, byte)| *bits = *bits << 8 | u32::from(byte));
        }
        Ok(bits)
    }

    fn jpeg(&self, bytes: &[u8], is_ybr: bool, config: &DataConfig) -> Result<(Stored, bool), String> {
        // Programs forget to name the colours right; the file's own marks are what its encoder did.
        let is_lossless = jpeg::is_lossless(bytes);
        let converts = !is_lossless && self.samples == 3 && jpeg::says_ycbcr(bytes).unwrap_or(is_ybr);
        let part = jpeg::part(None, bytes, converts, config.max_image_pixels)
            .map_err(|reason| format!("in a DICOM file, {reason}"))?;
        if (part.width_px, part.height_px, part.channels) != (self.width_px, self.height_px, self.samples) {
            return Err(damaged(&format!(
                "compressed pixels of {}×{} and {} channels instead of {}×{} and {}",
                part.width_px, part.height_px, part.channels, self.width_px, self.height_px, self.samples
            )));
        }
        let samples = part.samples.into_iter().map(u32::from);
        let bits = if self.is_signed || is_lossless {
            self.bits_stored_of(samples.collect())
        } else {
            // What is lost may carry a value beyond the largest.
            samples.map(|value| value.min((1 << self.bits_stored.min(16)) - 1)).collect()
        };
        Ok((Stored::Bits(bits), is_ybr && is_lossless))
    }

    /// The bits that count; others may hold overlays.
    fn bits_stored_of(&self, mut bits: Vec<u32>) -> Vec<u32> {
        let shift = self.high_bit + 1 - self.bits_stored;
        let mask = u32::MAX >> (32 - self.bits_stored);
        bits.iter_mut().for_each(|bits| *bits = *bits >> shift & mask);
        bits
    }
}

fn interleaved(planes: &[u32], samples: usize) -> Vec<u32> {
    let pixels = planes.len() / samples;
    (0..pixels).flat_map(|pixel| (0..samples).map(move |sample| planes[sample * pixels + pixel])).collect()
}
