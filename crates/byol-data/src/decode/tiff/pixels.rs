//! Samples of a TIFF file → pixels.

use super::compression::Compression;
use super::{Photometric, Picture, bands, tag, unread};
use crate::DataConfig;
use crate::image::Samples;
use crate::value_range::{self, SampleType};

impl Picture<'_> {
    /// Channels, samples and whether `data.value_range` is in them.
    pub fn pixels(&self, raw: Vec<u8>, config: &DataConfig) -> Result<(usize, Samples, bool), String> {
        let packing = &self.packing;
        let colours = self.photometric.colours();
        let extra = self.directory.numbers(tag::EXTRA_SAMPLES).unwrap_or_default();
        let all =
            self.samples == config.channels && matches!(self.photometric, Photometric::Grey { .. } | Photometric::Rgb);
        let has_alpha = !all && self.samples > colours && matches!(extra.first(), Some(1 | 2));
        let kept = if all { self.samples } else { colours + usize::from(has_alpha) };
        // One sample of no known meaning beside the colours is passed over, as Pillow does; more are bands of a kind.
        if !all && self.samples > colours + 1 {
            return Err(bands(self.samples));
        }
        let white_is_zero = matches!(self.photometric, Photometric::Grey { white_is_zero: true });
        let converted = matches!(self.photometric, Photometric::Palette | Photometric::Cmyk | Photometric::YCbCr);
        let wide = packing.kind != SampleType::Unsigned || packing.bits > 16;
        if converted && (wide || !matches!(packing.bits, 1..=8 | 16)) {
            return Err(unread(&format!("{:?} colours of {} bits", self.photometric, packing.bits)));
        }
        if !converted && (wide || config.value_range.is_some()) {
            let values = value_range::numbers(&raw, packing.kind, packing.sample_bytes(), cfg!(target_endian = "big"));
            let values = values.chunks_exact(self.samples).flat_map(|pixel| &pixel[..kept]).copied();
            let Some(range) = config.value_range else {
                let kind = match packing.kind {
                    SampleType::Unsigned => "unsigned",
                    SampleType::Signed => "signed",
                    SampleType::Float => "floating-point",
                };
                return Err(format!("a TIFF file of {} {kind} bits; {}", packing.bits, value_range::advice(values)));
            };
            let full = if wide { 1.0 } else { ((1u64 << packing.bits) - 1) as f64 };
            let values: Vec<f64> = values.collect();
            let shown = if has_alpha { kept - 1 } else { kept };
            let mut samples = value_range::intensities(range, &values, kept, shown, full);
            if white_is_zero {
                samples
                    .chunks_exact_mut(kept)
                    .for_each(|pixel| pixel[..shown].iter_mut().for_each(|value| *value = !*value));
            }
            return Ok((kept, Samples::U16(samples), true));
        }
        let depth = packing.bits;
        let as_it_is = self.samples == kept && !converted && !white_is_zero && extra.first() != Some(&1);
        if depth == 8 && as_it_is {
            return Ok((kept, Samples::U8(raw), false));
        }
        if packing.sample_bytes() == 1 {
            let full = (1u32 << depth) - 1;
            let scale = |value: u8| ((u32::from(value) * 255 + full / 2) / full) as u8;
            if self.photometric == Photometric::Palette {
                return Ok((3, Samples::U8(self.through_palette(&raw)?), false));
            }
            let values = raw.iter().map(|&value| if depth == 8 { value } else { scale(value) });
            let samples = self.coloured(values, kept, u8::MAX, extra.first() == Some(&1));
            return Ok((if converted { 3 } else { kept }, Samples::U8(samples), false));
        }
        if self.photometric == Photometric::Palette {
            return Err(unread(&format!("a palette of {depth} bits")));
        }
        let full = (1u32 << depth) - 1;
        let values = raw.as_chunks::<2>().0.iter().map(|&pair| {
            ((u64::from(u16::from_ne_bytes(pair)) * 65_535 + u64::from(full / 2)) / u64::from(full)) as u16
        });
        let samples = self.coloured(values, kept, u16::MAX, extra.first() == Some(&1));
        Ok((if converted { 3 } else { kept }, Samples::U16(samples), false))
    }

    /// Grey or RGB, with alpha where it is kept, from samples of full range.
    fn coloured<S: Copy + Into<u64> + TryFrom<u64>>(
        &self,
        values: impl Iterator<Item = S>,
        kept: usize,
        full: S,
        premultiplied: bool,
    ) -> Vec<S> {
        let largest: u64 = full.into();
        let cut = |value: u64| S::try_from(value.min(largest)).unwrap_or(full);
        let values: Vec<S> = values.collect();
        if self.samples == kept && self.photometric == Photometric::Rgb && !(premultiplied && kept == 4) {
            return values;
        }
        let has_alpha = kept > self.photometric.colours() && kept <= self.photometric.colours() + 1;
        let pixel = |pixel: &[S]| -> Vec<S> {
            match self.photometric {
                Photometric::Grey { white_is_zero } => {
                    let flipped = |(place, &value): (usize, &S)| {
                        if white_is_zero && !(has_alpha && place == 1) { cut(largest - value.into()) } else { value }
                    };
                    pixel[..kept].iter().enumerate().map(flipped).collect()
                }
                Photometric::Cmyk => {
                    let black = largest - pixel[3].into();
                    let ink = |ink: &S| cut(((largest - (*ink).into()) * black + largest / 2) / largest);
                    pixel[..3].iter().map(ink).collect()
                }
                Photometric::YCbCr if self.compression != Compression::Jpeg => {
                    let [y, cb, cr] = [0, 1, 2].map(|place| {
                        let value: u64 = pixel[place].into();
                        value as f64
                    });
                    let (cb, cr) = (cb - 128.0, cr - 128.0);
                    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
                        .map(|value| cut(value.round().max(0.0) as u64))
                        .to_vec()
                }
                _ if premultiplied && kept == 4 => {
                    let alpha: u64 = pixel[3].into();
                    // Under no alpha at all there is no colour.
                    let colour = |colour: &S| cut(((*colour).into() * largest).checked_div(alpha).unwrap_or(0));
                    pixel[..3].iter().map(colour).chain([pixel[3]]).collect()
                }
                _ => pixel[..kept].to_vec(),
            }
        };
        values.chunks_exact(self.samples).flat_map(pixel).collect()
    }

    fn through_palette(&self, raw: &[u8]) -> Result<Vec<u8>, String> {
        let palette = self.directory.numbers(tag::PALETTE).map_err(|reason| format!("damaged TIFF file: {reason}"))?;
        let count = 1usize << self.packing.bits;
        if palette.len() != 3 * count {
            return Err(format!("damaged TIFF file: a palette of {} values instead of {}", palette.len(), 3 * count));
        }
        // Values are of 16 bits, but some programs write 8.
        let shift = if palette.iter().any(|&value| value > 255) { 8 } else { 0 };
        let pixels = raw.chunks_exact(self.samples);
        Ok(pixels
            .flat_map(|pixel| [0, 1, 2].map(|colour| (palette[colour * count + usize::from(pixel[0])] >> shift) as u8))
            .collect())
    }
}
