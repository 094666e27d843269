//! The channels of a file → the channels asked for.

use crate::image::Samples;

/// Converts interleaved samples: as they are if the numbers agree, else between grey (1), grey + alpha (2), RGB (3) and
/// RGB + alpha (4) as [`crate::decode`] says.
///
/// # Errors
/// One line when there is no such conversion.
pub(crate) fn convert(samples: Samples, from: usize, to: usize) -> Result<Samples, String> {
    if from == to {
        return Ok(samples);
    }
    check(from, to)?;
    Ok(match samples {
        Samples::U8(samples) => Samples::U8(convert_samples(&samples, from, to, u8::MAX)),
        Samples::U16(samples) => Samples::U16(convert_samples(&samples, from, to, u16::MAX)),
    })
}

/// Whether [`convert`] can do it.
pub(crate) fn check(from: usize, to: usize) -> Result<(), String> {
    if from == to || ((1..=4).contains(&from) && matches!(to, 1 | 3 | 4)) {
        return Ok(());
    }
    Err(format!("the picture has {from} channel(s), which do not become the {to} of data.channels"))
}

fn convert_samples<S: Copy + Into<u32> + TryFrom<u32>>(samples: &[S], from: usize, to: usize, opaque: S) -> Vec<S> {
    // ITU-R 601 in 16-bit fixed point, as Pillow's.
    let luma = |rgb: &[S]| {
        let [r, g, b] = [0, 1, 2].map(|place| u64::from(rgb[place].into()));
        S::try_from(((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u32).unwrap_or(opaque)
    };
    let pixels = samples.chunks_exact(from);
    let alpha = |pixel: &[S]| if pixel.len() == 2 { pixel[1] } else { opaque };
    match (from, to) {
        (1 | 2, 1) => pixels.map(|pixel| pixel[0]).collect(),
        (_, 1) => pixels.map(luma).collect(),
        (1 | 2, 3) => pixels.flat_map(|pixel| [pixel[0]; 3]).collect(),
        (_, 3) => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        (1 | 2, _) => pixels.flat_map(|pixel| [pixel[0], pixel[0], pixel[0], alpha(pixel)]).collect(),
        _ => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], opaque]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_channels_converts_or_says_why_not() {
        let u8s = |samples: &[u8]| Samples::U8(samples.to_vec());
        let cases: [(&[u8], usize, usize, &[u8]); 10] = [
            (&[7, 9], 1, 1, &[7, 9]),
            (&[7], 1, 3, &[7, 7, 7]),
            (&[7], 1, 4, &[7, 7, 7, 255]),
            (&[7, 8], 2, 1, &[7]),
            (&[7, 8], 2, 4, &[7, 7, 7, 8]),
            (&[255, 0, 0], 3, 1, &[76]),
            (&[0, 255, 0, 9], 4, 1, &[150]),
            (&[1, 2, 3], 3, 4, &[1, 2, 3, 255]),
            (&[1, 2, 3, 4], 4, 3, &[1, 2, 3]),
            (&[1, 2, 3, 4, 5], 5, 5, &[1, 2, 3, 4, 5]),
        ];
        for (samples, from, to, expected) in cases {
            assert_eq!(convert(u8s(samples), from, to), Ok(u8s(expected)), "{from} to {to}");
        }
        let white = Samples::U16(vec![u16::MAX; 3]);
        assert_eq!(convert(white, 3, 1), Ok(Samples::U16(vec![u16::MAX])));
        for (from, to) in [(5, 3), (3, 2), (3, 7)] {
            assert!(convert(u8s(&vec![0; from]), from, to).unwrap_err().contains("data.channels"));
        }
    }
}
