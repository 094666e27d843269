//! Stored values → samples.

use super::frame::Stored;
use super::{Picture, damaged, tag, unread};
use crate::image::Samples;
use crate::value_range::{self, ValueRange};

impl Picture<'_> {
    /// Channels, samples, and whether `data.value_range` is in them.
    pub fn samples_of(
        &self,
        stored: Stored,
        is_ybr: bool,
        range: Option<ValueRange>,
    ) -> Result<(usize, Samples, bool), String> {
        let bits = match stored {
            Stored::Bits(bits) => bits,
            Stored::Numbers(numbers) => return self.grey(numbers, "floating-point values", range),
        };
        if self.photometric == "PALETTE COLOR" {
            return Ok((3, self.through_palette(&bits)?, false));
        }
        if self.samples == 1 {
            let rescaled = (self.slope, self.intercept) != (1.0, 0.0);
            if range.is_none() && !self.is_signed && !rescaled && self.bits_stored <= 16 {
                return Ok((1, self.full_range(&bits, self.photometric == "MONOCHROME1"), false));
            }
            let what = match (self.is_signed, rescaled) {
                (true, _) => format!("{} signed bits", self.bits_stored),
                (_, true) => format!("values rescaled by slope {} and intercept {}", self.slope, self.intercept),
                _ => format!("{} bits", self.bits_stored),
            };
            let values = bits.into_iter().map(|bits| self.number(bits) * self.slope + self.intercept);
            return self.grey(values.collect(), &what, range);
        }
        if self.is_signed || self.bits_stored > 16 || (is_ybr && self.bits_stored != 8) {
            return Err(unread(&format!("{} colours of {} bits", self.photometric, self.bits_stored)));
        }
        if is_ybr {
            let rgb = bits.chunks_exact(3).flat_map(|pixel| rgb_of([pixel[0], pixel[1], pixel[2]]));
            return Ok((3, Samples::U8(rgb.collect()), false));
        }
        match range.filter(|_| self.bits_stored != 8) {
            Some(range) => {
                let values: Vec<f64> = bits.into_iter().map(f64::from).collect();
                Ok((3, Samples::U16(value_range::intensities(range, &values, 3, 3, 1.0)), true))
            }
            None => Ok((3, self.full_range(&bits, false), false)),
        }
    }

    /// The number that `bits` stand for.
    fn number(&self, bits: u32) -> f64 {
        let beside = 32 - self.bits_stored;
        if self.is_signed { f64::from((bits << beside) as i32 >> beside) } else { bits.into() }
    }

    fn grey(&self, values: Vec<f64>, what: &str, range: Option<ValueRange>) -> Result<(usize, Samples, bool), String> {
        let Some(range) = range else {
            return Err(format!("a DICOM file of {what}; {}", value_range::advice(values)));
        };
        let mut samples = value_range::intensities(range, &values, 1, 1, 1.0);
        if self.photometric == "MONOCHROME1" {
            samples.iter_mut().for_each(|sample| *sample = !*sample);
        }
        Ok((1, Samples::U16(samples), true))
    }

    /// The largest value of the stored bits becomes full intensity.
    fn full_range(&self, bits: &[u32], inverted: bool) -> Samples {
        let full = (1u64 << self.bits_stored) - 1;
        let of = |largest: u64| {
            move |&bits: &u32| {
                let bits = if inverted { full - u64::from(bits) } else { bits.into() };
                (bits * largest + full / 2) / full
            }
        };
        match self.bits_stored {
            ..=8 => Samples::U8(bits.iter().map(of(255)).map(|value| value as u8).collect()),
            _ => Samples::U16(bits.iter().map(of(65_535)).map(|value| value as u16).collect()),
        }
    }

    /// PS3.3, C.7.6.3.1.5: values below the first that is mapped get the first colour, those beyond the last the last one.
    fn through_palette(&self, bits: &[u32]) -> Result<Samples, String> {
        let mut tables = Vec::new();
        for colour in 0..3 {
            let descriptor = self.elements.get(&(tag::RED_DESCRIPTOR + colour)).map(|element| element.numbers());
            let (Some([entries, first, depth]), Some(data)) = (
                descriptor.as_deref().and_then(|numbers| numbers.first_chunk()),
                self.elements.get(&(tag::RED + colour)),
            ) else {
                return Err(unread("a palette that is not in the file as a plain table"));
            };
            let entries = if *entries == 0 { 65_536 } else { usize::from(*entries) };
            let first = if self.is_signed { f64::from(*first as i16) } else { f64::from(*first) };
            // Tables of bytes, two in a word; or of words, even where only their lower half is used.
            let mut table = data.numbers();
            if table.len() < entries && *depth <= 8 {
                table = table.into_iter().flat_map(|pair| [pair & 255, pair >> 8]).collect();
            }
            if table.len() < entries {
                return Err(damaged(&format!("a palette of {} values instead of {entries}", table.len())));
            }
            table.truncate(entries);
            tables.push((first, table));
        }
        let is_wide = tables.iter().any(|(_, table)| table.iter().any(|&value| value > 255));
        let colours = bits.iter().flat_map(|&bits| {
            let value = self.number(bits);
            tables.iter().map(move |(first, table)| table[((value - first).max(0.0) as usize).min(table.len() - 1)])
        });
        Ok(match is_wide {
            true => Samples::U16(colours.collect()),
            false => Samples::U8(colours.map(|colour| colour as u8).collect()),
        })
    }
}

/// PS3.3, C.7.6.3.1.2.
fn rgb_of(ybr: [u32; 3]) -> [u8; 3] {
    let [y, cb, cr] = ybr.map(f64::from);
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|value| value.round() as u8)
}
