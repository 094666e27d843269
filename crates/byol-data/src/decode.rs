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
//! | floating point | refused: the range is not stated in the file |
//! | several pictures or frames | the first |
//!
//! With 1 channel, colours become their luma `0.299 R + 0.587 G + 0.114 B`, as Pillow's `convert("L")`; with 4, the fourth
//! is the alpha, full where the file has none. Other numbers of channels exist only in NumPy arrays, which are pictures of
//! unsigned samples of 8 or 16 bits, `[height, width]` or `[height, width, channels]`.
//!
//! EXIF orientation is applied, unlike `PIL.Image.open`, so that a portrait stands upright, unless
//! `data.exif_orientation` is off. A file that ends early is an error, not a picture with a grey lower half.

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::panic_message;
use crate::image::Samples;
use crate::limits::check_size;
use crate::source::{array_picture, looks_like_npy};
use crate::{DataConfig, Image, channels};

/// Encoders write about ten, one for each component of plain files. Each costs the time of a whole picture, however few
/// bytes it has: a small file with thousands would take hours.
const MAX_JPEG_SCANS: usize = 100;

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
    let format = format_of(bytes)?;
    let decoded = guarded(|| match format {
        ImageFormat::Jpeg => decode_jpeg(bytes, config, memory),
        _ => decode_other(bytes, format, config),
    })?;
    let Decoded { width_px, height_px, channels, samples, orientation } = decoded;
    let samples = channels::convert(samples, channels, config.channels)?;
    Ok(Image::new(width_px, height_px, config.channels, samples).oriented(orientation))
}

/// What a decoder made of a file.
struct Decoded {
    width_px: usize,
    height_px: usize,
    channels: usize,
    samples: Samples,
    orientation: Orientation,
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
pub const FIDELITY: &str = "JPEG: zune-jpeg 0.5; other formats: image 0.25; bicubic resize, augmentations and \
                            normalisation in f32 from the samples of the file, no rounding to 8 bits in between";

/// Format, channels and depth of a file, for people.
pub(crate) fn kind(bytes: &[u8]) -> String {
    if looks_like_npy(bytes) {
        return "NumPy array".to_owned();
    }
    let described = guarded(|| {
        let format = format_of(bytes)?;
        let (channels, bits) = match format {
            ImageFormat::Jpeg => {
                let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
                decoder.decode_headers().map_err(|error| error.to_string())?;
                (decoder.input_colorspace().map_or(0, |colours| colours.num_components()), 8)
            }
            _ => {
                let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder();
                let colours = decoder.map_err(|error| error.to_string())?.color_type();
                let channels = usize::from(colours.channel_count());
                (channels, usize::from(colours.bits_per_pixel()) / channels)
            }
        };
        let name = format!("{format:?}").to_uppercase();
        Ok(format!("{name}, {channels} channel{}, {bits} bits", if channels == 1 { "" } else { "s" }))
    });
    described.unwrap_or_else(|_| "unreadable".to_owned())
}

/// Whether the first bytes are those of a picture format that [`decode`] reads.
pub(crate) fn looks_like_a_picture(head: &[u8]) -> bool {
    format_of(head).is_ok()
}

/// The format by its first bytes.
pub(crate) fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Bmp | Tiff | Gif)) => Ok(format),
        Ok(format) => Err(format!("{format:?} pictures are not supported")),
        Err(_) if bytes.is_empty() => Err("the file is empty".into()),
        Err(_) => Err("not a picture (content of no known format)".into()),
    }
}

fn decode_jpeg(bytes: &[u8], config: &DataConfig, mut memory: Vec<u8>) -> Result<Decoded, String> {
    // The decoder fills what is missing with grey, so completeness is checked here.
    match count_jpeg_scans(bytes) {
        None => return Err("JPEG file is cut short or damaged (no end marker)".into()),
        Some(scans) if scans > MAX_JPEG_SCANS => {
            return Err(format!("JPEG file has {scans} scans, more than the {MAX_JPEG_SCANS} that any program writes"));
        }
        Some(_) => {}
    }
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MAX_JPEG_SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let broken = |error| format!("damaged JPEG file: {error}");
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or("damaged JPEG file: no size")?;
    let (width_px, height_px) = (usize::from(info.width), usize::from(info.height));
    check_size(width_px as u64, height_px as u64, config.max_image_pixels)?;
    // The first plane of most files is the luma: for one channel, no colours need be computed.
    let only_luma =
        config.channels == 1 && matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma));
    if only_luma {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let channels_in = if only_luma { 1 } else { 3 };
    let length = width_px * height_px * channels_in;
    if decoder.output_buffer_size() != Some(length) {
        return Err(format!("unsupported JPEG file ({:?} colours)", decoder.input_colorspace()));
    }
    memory.resize(length, 0);
    decoder.decode_into(&mut memory).map_err(broken)?;
    let orientation = match decoder.exif() {
        Some(exif) if config.exif_orientation => Orientation::from_exif_chunk(exif),
        _ => None,
    };
    Ok(Decoded {
        width_px,
        height_px,
        channels: channels_in,
        samples: Samples::U8(memory),
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// The number of scans before the end marker; `None` without one. Markers are walked rather than searched for: an
/// embedded thumbnail has an end marker of its own.
fn count_jpeg_scans(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut scans) = (2, 0);
    loop {
        // To the next marker: in a scan, `FF 00` is data and `FF D0`–`FF D7` are restarts within it.
        at += memchr::memchr(0xFF, bytes.get(at..)?)? + 1;
        match bytes.get(at)? {
            0xD9 => return Some(scans),
            0xFF => {}
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            marker => {
                scans += usize::from(*marker == 0xDA);
                let &[high, low] = bytes.get(at + 1..at + 3)? else { return None };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
                if at > bytes.len() {
                    return None;
                }
            }
        }
    }
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
    let orientation =
        if config.exif_orientation { decoder.orientation().map_err(broken)? } else { Orientation::NoTransforms };
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
    Ok(Decoded { width_px, height_px, channels: channels_in, samples, orientation })
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
