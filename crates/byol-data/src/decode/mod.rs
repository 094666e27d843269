//! Bytes of a picture file → [`Image`].
//!
//! The content decides the decoder, never the name. What becomes of other kinds of pixels, with `data.channels` = 3:
//!
//! | in the file | in the [`Image`] |
//! |---|---|
//! | grey | R = G = B |
//! | alpha | dropped, as Pillow's `convert("RGB")` does: the colour under a transparent pixel shows |
//! | palette | its colours |
//! | 16 bits per channel | 16 bits |
//! | CMYK, YCCK | `R = C·K / 255` on Adobe's inverted values, without a colour profile, as Pillow |
//! | signed, 32 bits, floating point | 16 bits by `data.value_range`; refused without, since no file states the range |
//! | 12 bits in JPEG, 1 to 14 in TIFF | full range becomes full range |
//! | several pictures or frames | the first |
//! | DICOM (feature `dicom`): unsigned stored values | the bits stored, full range becomes full range; no VOI window |
//! | DICOM: signed, or rescaled by slope and intercept | 16 bits by `data.value_range`, in the rescaled unit (HU); refused without |
//! | DICOM: MONOCHROME1 | inverted, after the range |
//!
//! With 1 channel, colours become their luma `0.299 R + 0.587 G + 0.114 B`, as Pillow's `convert("L")`; with 4, the fourth
//! is the alpha, full where the file has none. Other numbers of channels exist only in NumPy arrays, which are pictures of
//! samples of any number type, `[height, width]` or `[height, width, channels]`.
//!
//! EXIF orientation is applied, unlike `PIL.Image.open`, so that a portrait stands upright, unless
//! `data.exif_orientation` is off. A file that ends early is an error, not a picture with a grey lower half;
//! one that lacks its end mark alone is read, and [`flaw`] tells.

#[cfg(feature = "dicom")]
mod dicom;
mod exif;
mod formats;
mod jpeg;
mod png;
mod tiff;

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

pub(crate) use self::formats::format_of;
pub use self::formats::unread_format;
use crate::error::panic_message;
use crate::image::Samples;
use crate::limits::check_size;
use crate::source::{array_picture, looks_like_npy};
use crate::{DataConfig, Image, channels, value_range};

/// Memory for what a file holds beside its pixels, and for one row of a PNG file. Colour profiles have megabytes at most.
const MAX_SIDE_BYTES: u64 = 64 << 20;

/// Largest memory for a pixel while decoding, with copies.
const MAX_BYTES_PER_PIXEL: u64 = 16;

/// Decodes the bytes of one picture file. `spare` is memory to decode into if it fits, so that a thread need not ask
/// for new memory for every picture.
///
/// # Errors
/// One line that says why it is no usable picture: not a picture, damaged, cut short, more pixels than
/// `data.max_image_pixels`, or without the `data.channels` asked for.
pub fn decode(bytes: &[u8], config: &DataConfig, spare: Option<Samples>) -> Result<Image, String> {
    let memory = match spare {
        Some(Samples::U8(memory)) => memory,
        _ => Vec::new(),
    };
    if looks_like_npy(bytes) {
        return array_picture(bytes, config);
    }
    let decoded = guarded(|| {
        #[cfg(feature = "dicom")]
        if dicom::looks_like_dicom(bytes) {
            return dicom::decode(bytes, config);
        }
        match format_of(bytes)? {
            ImageFormat::Jpeg => jpeg::decode(bytes, config, memory),
            format @ ImageFormat::Png => match png::with_end(bytes) {
                Some(whole) => decode_other(&whole, format, config)
                    .map_err(|reason| format!("cut short: unexpected end of file ({reason})")),
                None => decode_other(bytes, format, config),
            },
            ImageFormat::Tiff => tiff::decode(bytes, config),
            format => decode_other(bytes, format, config),
        }
    })?;
    let Decoded { width_px, height_px, channels, mut samples, orientation, ranged } = decoded;
    if let Some(range) = config.value_range.filter(|_| !ranged) {
        samples = value_range::apply(range, &samples, channels);
    }
    let samples = channels::convert(samples, channels, config.channels)?;
    Ok(Image::new(width_px, height_px, config.channels, samples).oriented(orientation))
}

/// What is wrong with a picture that can be used all the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Flaw {
    /// All data is there, but not the mark at the end of the file.
    EndMissing,
    /// The data contradicts itself, in the words given: some of the picture is not what it was.
    Damaged(String),
}

/// Looks for flaws that decoding passes over, which takes about as long as decoding; `None` for files without, and for those
/// that [`decode`] refuses.
pub fn flaw(bytes: &[u8]) -> Option<Flaw> {
    let found = guarded(|| match format_of(bytes)? {
        ImageFormat::Jpeg => Ok(jpeg::flaw(bytes)),
        ImageFormat::Png => Ok(png::with_end(bytes).map(|_| Flaw::EndMissing)),
        _ => Ok(None),
    });
    found.ok().flatten()
}

/// What a decoder made of a file.
struct Decoded {
    width_px: usize,
    height_px: usize,
    channels: usize,
    samples: Samples,
    orientation: Orientation,
    /// Whether `data.value_range` has been applied.
    ranged: bool,
}

/// Turns a panic within a decoder library into a reason: a damaged file must not end a run of days.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What a panic leaves behind is dropped with the closure.
    panic::catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|panic| Err(format!("the decoder failed: {}", panic_message(&*panic))))
        .map_err(|reason| one_line(&reason))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What resizes and augments, and how exactly, for the record of a run.
pub const FIDELITY: &str = "JPEG: zune-jpeg 0.5, or as libjpeg; other formats: image 0.25; bicubic resize, augmentations and \
                            normalisation in f32 from the samples of the file, no rounding to 8 bits in between";

/// Format, channels and depth of a file, for people.
pub(crate) fn kind(bytes: &[u8]) -> String {
    if looks_like_npy(bytes) {
        return "NumPy array".to_owned();
    }
    let described = guarded(|| {
        let text = |name: &str, (channels, bits, numbers): (usize, usize, &str)| {
            format!("{name}, {channels} channel{}, {bits} bits{numbers}", if channels == 1 { "" } else { "s" })
        };
        #[cfg(feature = "dicom")]
        if dicom::looks_like_dicom(bytes) {
            return Ok(text("DICOM", dicom::form(bytes, &DataConfig::default())?));
        }
        let format = format_of(bytes)?;
        let form = match format {
            ImageFormat::Tiff => tiff::form(bytes)?,
            ImageFormat::Jpeg => jpeg::form(bytes).map(|(channels, bits)| (channels, bits, "")).ok_or("no header")?,
            _ => {
                let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder();
                let colours = decoder.map_err(|error| error.to_string())?.color_type();
                let channels = usize::from(colours.channel_count());
                (channels, usize::from(colours.bits_per_pixel()) / channels, "")
            }
        };
        Ok(text(&format!("{format:?}").to_uppercase(), form))
    });
    described.unwrap_or_else(|_| "unreadable".to_owned())
}

/// Whether the first bytes are those of a picture format that [`decode`] reads.
pub(crate) fn looks_like_a_picture(head: &[u8]) -> bool {
    #[cfg(feature = "dicom")]
    if dicom::looks_like_dicom(head) {
        return true;
    }
    format_of(head).is_ok()
}

fn decode_other(bytes: &[u8], format: ImageFormat, config: &DataConfig) -> Result<Decoded, String> {
    let broken = |error| format!("damaged {format:?} file: {error}");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_SIDE_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width_px, height_px) = decoder.dimensions();
    check_size(width_px.into(), height_px.into(), config.max_image_pixels)?;
    let pixels = u64::from(width_px) * u64::from(height_px);
    limits.max_alloc = Some(pixels.saturating_mul(MAX_BYTES_PER_PIXEL).saturating_add(MAX_SIDE_BYTES));
    decoder.set_limits(limits).map_err(broken)?;
    let orientation = match config.exif_orientation.then(|| decoder.exif_metadata()) {
        Some(exif) => exif.map_err(broken)?.map_or(Orientation::NoTransforms, |exif| exif::orientation(&exif)),
        None => Orientation::NoTransforms,
    };
    let colours = decoder.color_type();
    let (depth_bytes, channels_in) = match colours {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => (1, colours.channel_count()),
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => (2, colours.channel_count()),
        _ => return Err("floating-point pixels are not supported; convert the picture to 8 or 16 bits".into()),
    };
    let channels_in = usize::from(channels_in);
    let length = width_px as usize * height_px as usize * channels_in * depth_bytes;
    if decoder.total_bytes() != length as u64 {
        return Err(format!(
            "damaged {format:?} file: expected {length} bytes of pixels, got {}",
            decoder.total_bytes()
        ));
    }
    let mut raw = vec![0; length];
    decoder.read_image(&mut raw).map_err(broken)?;
    let samples = match depth_bytes {
        1 => Samples::U8(raw),
        _ => Samples::U16(raw.as_chunks::<2>().0.iter().map(|&pair| u16::from_ne_bytes(pair)).collect()),
    };
    let (width_px, height_px) = (width_px as usize, height_px as usize);
    Ok(Decoded { width_px, height_px, channels: channels_in, samples, orientation, ranged: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_decoder_is_one_line_that_says_so() {
        let reason = guarded(|| -> Result<(), String> { panic!("index {}\n  out of bounds", 7) }).unwrap_err();
        assert_eq!(reason, "the decoder failed: index 7 out of bounds");
        assert_eq!(guarded(|| Ok::<_, String>(7)), Ok(7));
    }
}
