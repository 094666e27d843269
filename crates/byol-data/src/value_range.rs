//! Which sample values are black and white (`data.value_range`), and samples of types that have no range of their own.

use serde::{Deserialize, Serialize};

use crate::image::Samples;

/// How sample values become intensities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ValueRange {
    /// The values that become 0 and full intensity, linearly; those beyond are clipped.
    Fixed([f64; 2]),
    /// For each picture by itself.
    Measured(Measured),
}

/// How the range of a picture is found in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// From its 0.5th to its 99.5th percentile, over all colours together.
    Percentile,
}

/// The percentiles at which nnU-Net clips intensities (Isensee et al., Nature Methods 18, 2021, supplement).
const PERCENTILES: [f64; 2] = [0.005, 0.995];

/// The type of a sample in a file or an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleType {
    Unsigned,
    Signed,
    Float,
}

/// The numbers in `bytes`, of `width` = 1, 2, 4 or 8 bytes each.
pub(crate) fn numbers(bytes: &[u8], kind: SampleType, width: usize, big_endian: bool) -> Vec<f64> {
    let number = |bytes: &[u8]| {
        let join = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        let bits = if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        match (kind, width) {
            (SampleType::Unsigned, _) => bits as f64,
            (SampleType::Signed, _) => ((bits << (64 - 8 * width)) as i64 >> (64 - 8 * width)) as f64,
            (SampleType::Float, 2) => half(bits as u16),
            (SampleType::Float, 4) => f32::from_bits(bits as u32).into(),
            (SampleType::Float, _) => f64::from_bits(bits),
        }
    };
    bytes.chunks_exact(width).map(number).collect()
}

/// A 16-bit floating-point number (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// 16-bit intensities: `(value − low) / (high − low)` of full intensity, clipped. What is not a number becomes 0. In `channels`
/// interleaved channels the first `colours` are mapped; an alpha keeps its value, of `full`.
pub(crate) fn intensities(range: ValueRange, values: &[f64], channels: usize, colours: usize, full: f64) -> Vec<u16> {
    let [low, high] = match range {
        ValueRange::Fixed(range) => range,
        ValueRange::Measured(Measured::Percentile) => percentiles(values, channels, colours),
    };
    let scale = if high > low { 65_535.0 / (high - low) } else { 0.0 };
    let of_pixel = |pixel: &[f64]| -> Vec<u16> {
        let colour = pixel[..colours].iter().map(|value| ((value - low) * scale).round() as u16);
        colour.chain(pixel[colours..].iter().map(|alpha| (alpha / full * 65_535.0).round() as u16)).collect()
    };
    if channels == colours {
        return values.iter().map(|value| ((value - low) * scale).round() as u16).collect();
    }
    values.chunks_exact(channels).flat_map(of_pixel).collect()
}

/// The range by percentiles; by the smallest and largest value where those are one value.
fn percentiles(values: &[f64], channels: usize, colours: usize) -> [f64; 2] {
    let pixels = values.chunks_exact(channels);
    let mut finite: Vec<f64> =
        pixels.flat_map(|pixel| &pixel[..colours]).copied().filter(|value| value.is_finite()).collect();
    if finite.is_empty() {
        return [0.0, 0.0];
    }
    let last = (finite.len() - 1) as f64;
    let mut at = |share: f64| *finite.select_nth_unstable_by((last * share).round() as usize, f64::total_cmp).1;
    let range = PERCENTILES.map(&mut at);
    if range[0] < range[1] { range } else { [at(0.0), at(1.0)] }
}

/// Applies a range to samples of 8 or 16 bits, by their values in the file.
pub(crate) fn apply(range: ValueRange, samples: &Samples, channels: usize) -> Samples {
    let (values, full): (Vec<f64>, f64) = match samples {
        Samples::U8(samples) => (samples.iter().map(|&sample| sample.into()).collect(), 255.0),
        Samples::U16(samples) => (samples.iter().map(|&sample| sample.into()).collect(), 65_535.0),
    };
    // Grey with alpha, and RGB with alpha; arrays of other numbers have colours only.
    let colours = if matches!(channels, 2 | 4) { channels - 1 } else { channels };
    Samples::U16(intensities(range, &values, channels, colours, full))
}

/// A sentence's end that says which range to set, from values found in the data.
pub(crate) fn advice(values: impl IntoIterator<Item = f64>) -> String {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return "say which values are black and white, data.value_range = [LOW, HIGH]".into();
    }
    let [from, to] = proposal(low, high).map(text);
    let [low, high] = [low, high].map(text);
    format!(
        "its values here go from {low} to {high}; say which are black and white, such as data.value_range = [{from}, {to}], \
         or data.value_range = \"percentile\" for each picture by itself"
    )
}

/// A number as people write it, of a few digits where it is no whole one.
fn text(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e12).contains(&size) => format!("{value:.3e}"),
        _ if value.fract() == 0.0 => value.to_string(),
        _ => format!("{value:.3}"),
    }
}

/// A round range that holds the values from `low` to `high`.
pub fn proposal(low: f64, high: f64) -> [f64; 2] {
    let depths = [1.0, 255.0, 1023.0, 4095.0, 16_383.0, 65_535.0];
    if low >= 0.0
        && let Some(depth) = depths.into_iter().find(|&depth| high <= depth)
    {
        return [0.0, depth];
    }
    if low >= -1.0 && high <= 1.0 {
        return [-1.0, 1.0];
    }
    let (low, high) = (low.floor(), high.ceil());
    if low < high { [low, high] } else { [low, low + 1.0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_type_are_read_in_both_orders() {
        use SampleType::{Float, Signed, Unsigned};
        for (kind, little, value) in [
            (Unsigned, vec![200], 200.0),
            (Signed, vec![200], -56.0),
            (Signed, vec![0x18, 0xFC], -1000.0),
            (Unsigned, vec![0x18, 0xFC], 64_536.0),
            (Signed, (-70_000i32).to_le_bytes().to_vec(), -70_000.0),
            (Unsigned, 4_000_000_000u32.to_le_bytes().to_vec(), 4e9),
            (Float, 0.15625f32.to_le_bytes().to_vec(), 0.15625),
            (Float, (-2.5f64).to_le_bytes().to_vec(), -2.5),
            (Float, vec![0x00, 0x3C], 1.0),
            (Float, vec![0x00, 0xC0], -2.0),
            (Float, vec![0x01, 0x00], 2f64.powi(-24)),
        ] {
            assert_eq!(numbers(&little, kind, little.len(), false), [value]);
            let big: Vec<u8> = little.iter().rev().copied().collect();
            assert_eq!(numbers(&big, kind, big.len(), true), [value]);
        }
    }

    #[test]
    fn a_range_is_linear_and_clips() {
        let range = ValueRange::Fixed([-1000.0, 1000.0]);
        let values = [-2000.0, -1000.0, 0.0, 500.0, 1000.0, 1e9, f64::NAN, f64::NEG_INFINITY];
        assert_eq!(intensities(range, &values, 1, 1, 1.0), [0, 0, 32_768, 49_151, 65_535, 65_535, 0, 0]);
        let alpha = apply(ValueRange::Fixed([0.0, 51.0]), &Samples::U8(vec![51, 255, 102, 51]), 2);
        assert_eq!(alpha, Samples::U16(vec![65_535, 65_535, 65_535, 13_107]));
    }

    #[test]
    fn percentiles_leave_the_extremes_out() {
        let mut values: Vec<f64> = (0..=1000).map(f64::from).collect();
        values[1000] = 1e6;
        let mapped = intensities(ValueRange::Measured(Measured::Percentile), &values, 1, 1, 1.0);
        assert_eq!((mapped[5], mapped[995], mapped[500], mapped[1000]), (0, 65_535, 32_768, 65_535));
        let constant = intensities(ValueRange::Measured(Measured::Percentile), &[7.0; 9], 1, 1, 1.0);
        assert_eq!(constant, [0; 9]);
    }

    #[test]
    fn proposals_are_round_and_hold_the_values() {
        for (low, high, expected) in [
            (0.2, 0.9, [0.0, 1.0]),
            (-0.9, 0.9, [-1.0, 1.0]),
            (3.0, 200.0, [0.0, 255.0]),
            (0.0, 4000.0, [0.0, 4095.0]),
            (-1024.0, 3071.0, [-1024.0, 3071.0]),
            (1e6, 1e6, [1e6, 1e6 + 1.0]),
        ] {
            assert_eq!(proposal(low, high), expected, "{low} to {high}");
        }
    }
}
