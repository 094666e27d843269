//! Bytes of a picture file → [`Image`].
//!
//! The content decides the decoder, never the name. What becomes of other kinds of pixels:
//!
//! | in the file | in the [`Image`] |
//! |---|---|
//! | grey | R = G = B |
//! | alpha | dropped, as Pillow's `convert("RGB")` does: the colour under a transparent pixel shows |
//! | palette | its colours |
//! | 16 bits per channel | rounded to 8: `(v + 128) / 257` (Pillow cuts, `v >> 8`: at most 1 apart) |
//! | CMYK, YCCK | `R = C·K / 255` on Adobe's inverted values, without a colour profile, as Pillow |
//! | floating point | refused: the range is not stated in the file |
//! | several pictures or frames | the first |
//!
//! EXIF orientation is applied, unlike `PIL.Image.open`, so that a portrait stands upright. A file that ends early is
//! an error, not a picture with a grey lower half.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::Image;

/// Decodes the bytes of one picture file.
///
/// # Errors
/// One line that says why it is no usable picture: not a picture, damaged, cut short, more than `max_image_pixels`.
pub fn decode(bytes: &[u8], max_image_pixels: u64) -> Result<Image, String> {
    let format = format_of(bytes)?;
    if format == ImageFormat::Jpeg {
        decode_jpeg(bytes, max_image_pixels)
    } else {
        decode_other(bytes, format, max_image_pixels)
    }
}

/// Whether the first bytes are those of a picture format that [`decode`] reads.
pub(crate) fn looks_like_a_picture(head: &[u8]) -> bool {
    format_of(head).is_ok()
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Bmp | Tiff | Gif)) => Ok(format),
        Ok(format) => Err(format!("{format:?} pictures are not supported")),
        Err(_) if bytes.is_empty() => Err("the file is empty".into()),
        Err(_) => Err("not a picture (content of no known format)".into()),
    }
}

fn decode_jpeg(bytes: &[u8], max_image_pixels: u64) -> Result<Image, String> {
    // The decoder fills what is missing with grey, so completeness is checked here.
    if !jpeg_is_complete(bytes) {
        return Err("JPEG file is cut short or damaged (no end marker)".into());
    }
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let broken = |error| format!("damaged JPEG file: {error}");
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or("damaged JPEG file: no size")?;
    let (width_px, height_px) = (usize::from(info.width), usize::from(info.height));
    check_size(width_px as u64, height_px as u64, max_image_pixels)?;
    let pixels = decoder.decode().map_err(broken)?;
    if pixels.len() != width_px * height_px * 3 {
        return Err(format!("unsupported JPEG file ({:?} colours)", decoder.input_colorspace()));
    }
    match decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)) {
        None | Some(Orientation::NoTransforms) => Ok(Image::new(width_px, height_px, pixels)),
        Some(orientation) => {
            let picture = RgbImage::from_raw(info.width.into(), info.height.into(), pixels);
            let mut picture = DynamicImage::ImageRgb8(picture.ok_or("damaged JPEG file: wrong size")?);
            picture.apply_orientation(orientation);
            Ok(from_rgb(picture.into_rgb8()))
        }
    }
}

/// Whether the end marker follows the last scan. Markers are walked rather than searched for: an embedded
/// thumbnail has an end marker of its own.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // To the next marker: in a scan, `FF 00` is data and `FF D0`–`FF D7` are restarts within it.
        let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) else {
            return false;
        };
        at += skip + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xD9) => return true,
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(_) => {
                let &[high, low] = bytes.get(at + 1..at + 3).unwrap_or_default() else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
                if at > bytes.len() {
                    return false;
                }
            }
        }
    }
}

fn decode_other(bytes: &[u8], format: ImageFormat, max_image_pixels: u64) -> Result<Image, String> {
    let broken = |error| format!("damaged {format:?} file: {error}");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // At most 16 bytes per pixel while decoding; side data such as colour profiles cannot claim more either.
    limits.max_alloc = Some(max_image_pixels.saturating_mul(16));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width_px, height_px) = decoder.dimensions();
    check_size(width_px.into(), height_px.into(), max_image_pixels)?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err("floating-point pixels are not supported; convert the picture to 8 or 16 bits".into());
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(from_rgb(picture.into_rgb8()))
}

fn check_size(width_px: u64, height_px: u64, max_image_pixels: u64) -> Result<(), String> {
    if width_px == 0 || height_px == 0 {
        return Err(format!("the picture is {width_px}×{height_px} pixels"));
    }
    if width_px * height_px > max_image_pixels {
        return Err(format!(
            "the picture is {width_px}×{height_px} pixels, more than data.max_image_pixels = {max_image_pixels} allows"
        ));
    }
    Ok(())
}

fn from_rgb(picture: RgbImage) -> Image {
    let (width_px, height_px) = picture.dimensions();
    Image::new(width_px as usize, height_px as usize, picture.into_raw())
}
