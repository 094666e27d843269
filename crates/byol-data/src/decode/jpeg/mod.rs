//! JPEG files.
//!
//! zune-jpeg decodes what nearly all files are, unless `data.jpeg` is `exact`. Kinds that it gets wrong are decoded here, as libjpeg does: scans of single
//! components, unusual sampling factors, very small pictures, markers that disagree about the colours, 12 bits, and files
//! without an end marker. Both are found out by the markers alone.
//!
//! # Layout
//! `outline` the markers · `bits`, `block`, `entropy` coefficients · `transform` → samples · `planes` → pixels · `lossless` pixels
//! within DICOM files · this file: which way.

mod bits;
mod block;
mod entropy;
#[cfg(feature = "dicom")]
mod lossless;
mod outline;
mod planes;
mod transform;

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use self::outline::{Frame, Outline};
use self::planes::{Colours, Plane};
use super::{Decoded, Flaw, exif};
use crate::image::Samples;
use crate::limits::check_size;
use crate::{DataConfig, JpegDecoding};

/// Encoders write about ten, one for each component of plain files. Each costs the time of a whole picture, however few
/// bytes it has: a small file with thousands would take hours.
const MAX_SCANS: usize = 100;

/// The marker of a frame that is coded without loss.
const LOSSLESS: u8 = 0xC3;

/// zune-jpeg interpolates the chroma of pictures that are smaller than this in a way of its own.
const SMALL_PX: usize = 8;

pub(super) fn decode(bytes: &[u8], config: &DataConfig, memory: Vec<u8>) -> Result<Decoded, String> {
    let outline = Outline::of(bytes);
    if outline.scans > MAX_SCANS {
        return Err(format!(
            "JPEG file has {} scans, more than the {MAX_SCANS} that any program writes",
            outline.scans
        ));
    }
    let Some(frame) = &outline.frame else {
        return Err("JPEG file is cut short or damaged (no header of a picture)".into());
    };
    let colours = check(&outline, frame)?;
    check_size(frame.width_px as u64, frame.height_px as u64, config.max_image_pixels)?;
    // For one channel, no colours need be computed.
    let only_luma = config.channels == 1 && colours == Colours::YCbCr;
    let by_the_standard =
        || exact(bytes, frame, if only_luma { Colours::Grey } else { colours }, config.value_range.is_none());
    let by_zune = || fast(bytes, frame, only_luma || (config.channels == 1 && colours == Colours::Grey), memory);
    let (channels, samples) = match config.jpeg {
        _ if !(outline.has_end && is_plain(&outline, frame)) => by_the_standard()?,
        JpegDecoding::Fast => by_zune()?,
        // A damaged file is what it was in training.
        JpegDecoding::Exact => by_the_standard().or_else(|_| by_zune())?,
    };
    let orientation =
        outline.exif.filter(|_| config.exif_orientation).map_or(Orientation::NoTransforms, exif::orientation);
    Ok(Decoded { width_px: frame.width_px, height_px: frame.height_px, channels, samples, orientation, ranged: false })
}

/// What is wrong with a file that [`decode`] reads, which takes as long as decoding.
pub(super) fn flaw(bytes: &[u8]) -> Option<Flaw> {
    let outline = Outline::of(bytes);
    let frame = outline.frame.as_ref()?;
    check(&outline, frame).ok()?;
    match entropy::read(bytes, frame, MAX_SCANS) {
        Err(reason) => Some(Flaw::Damaged(reason)),
        Ok(read) => (!read.has_end).then_some(Flaw::EndMissing),
    }
}

/// Channels and bits of a file.
pub(super) fn form(bytes: &[u8]) -> Option<(usize, usize)> {
    let frame = Outline::of(bytes).frame?;
    Some((frame.components.len(), frame.bits.into()))
}

/// Refuses what is no Huffman-coded JPEG file of known colours, by name. How its colours are to be understood is decided
/// as libjpeg does (`jdapimin.c`): JFIF wins over Adobe's marker, that over the names of the components.
fn check(outline: &Outline<'_>, frame: &Frame) -> Result<Colours, String> {
    let coding = match frame.coding {
        0xC0..=0xC2 => None,
        LOSSLESS => Some("lossless coding"),
        0xC5..=0xC7 => Some("hierarchical coding"),
        0xC9 | 0xCA => Some("arithmetic coding"),
        0xCB => Some("lossless arithmetic coding"),
        _ => Some("hierarchical arithmetic coding"),
    };
    if let Some(coding) = coding {
        return Err(format!("a JPEG file with {coding}, which is not read; convert it to a plain JPEG or PNG file"));
    }
    if !matches!(frame.bits, 8 | 12) {
        return Err(format!("a JPEG file of {} bits, which is not read; convert it to a PNG file", frame.bits));
    }
    let factors = frame.components.iter().flat_map(|component| [component.across, component.down]);
    if factors.clone().any(|factor| !(1..=4).contains(&factor)) {
        return Err("damaged JPEG file: sampling factors that are not 1 to 4".into());
    }
    let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
    match (ids.as_slice(), outline.adobe_transform) {
        ([_], _) => Ok(Colours::Grey),
        ([..], _) if ids.len() == 3 && outline.jfif => Ok(Colours::YCbCr),
        ([_, _, _], Some(0)) => Ok(Colours::Rgb),
        ([b'R', b'G', b'B'], None) => Ok(Colours::Rgb),
        ([_, _, _], _) => Ok(Colours::YCbCr),
        ([_, _, _, _], None | Some(0)) => Ok(Colours::Cmyk),
        ([_, _, _, _], Some(_)) => Ok(Colours::Ycck),
        _ => Err(format!("a JPEG file of {} components, which is not read; convert it to a PNG file", ids.len())),
    }
}

/// Whether zune-jpeg decodes such files right. It takes Adobe's marker before JFIF and names before both.
fn is_plain(outline: &Outline<'_>, frame: &Frame) -> bool {
    let components = &frame.components;
    let named_rgb = components.iter().map(|component| component.id).eq(*b"RGB");
    let colours_are_clear = match (components.len(), outline.adobe_transform) {
        (3, Some(0)) => !outline.jfif,
        (3, Some(_)) => !named_rgb,
        (3, None) => !(named_rgb && outline.jfif),
        (4, Some(1)) => false,
        _ => true,
    };
    let plain_sampling = match components.as_slice() {
        [] => false,
        [only] => only.across.is_power_of_two() && only.down.is_power_of_two(),
        [first, others @ ..] => {
            let (last, between) = match others {
                // Black is as large as the first.
                [between @ .., last] if components.len() == 4 => (*last, between),
                _ => (*first, others),
            };
            let sizes = |component: &outline::Component| (component.across, component.down);
            matches!(sizes(first), (1..=2, 1..=2))
                && between.iter().all(|component| sizes(component) == (1, 1))
                && sizes(&last) == sizes(first)
        }
    };
    let in_one_scan = frame.coding == 0xC2 || usize::from(outline.first_scan_components) == components.len();
    frame.bits == 8
        && colours_are_clear
        && plain_sampling
        && in_one_scan
        && (components.len() == 1 || frame.width_px.min(frame.height_px) >= SMALL_PX)
}

fn fast(bytes: &[u8], frame: &Frame, only_luma: bool, mut memory: Vec<u8>) -> Result<(usize, Samples), String> {
    let colours = if only_luma { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let broken = |error| format!("damaged JPEG file: {error}");
    decoder.decode_headers().map_err(broken)?;
    let channels = if only_luma { 1 } else { 3 };
    let length = frame.width_px * frame.height_px * channels;
    if decoder.output_buffer_size() != Some(length) {
        return Err(format!("unsupported JPEG file ({:?} colours)", decoder.input_colorspace()));
    }
    memory.resize(length, 0);
    decoder.decode_into(&mut memory).map_err(broken)?;
    Ok((channels, Samples::U8(memory)))
}

/// Decodes as libjpeg does, but strictly.
fn exact(bytes: &[u8], frame: &Frame, colours: Colours, scaled: bool) -> Result<(usize, Samples), String> {
    let wanted = if colours == Colours::Grey { 1 } else { frame.components.len() };
    let samples = planes::pixels(&planes_of(bytes, frame, wanted)?, colours, frame.bits);
    let samples = match frame.bits {
        8 => Samples::U8(samples.into_iter().map(|sample| sample as u8).collect()),
        // 12 bits: the full range becomes the full range.
        _ if scaled => Samples::U16(samples.into_iter().map(|sample| sample << 4 | sample >> 8).collect()),
        _ => Samples::U16(samples),
    };
    Ok((if colours == Colours::Grey { 1 } else { 3 }, samples))
}

/// The first `wanted` components at the size of the picture.
fn planes_of(bytes: &[u8], frame: &Frame, wanted: usize) -> Result<Vec<Plane>, String> {
    let read = entropy::read(bytes, frame, MAX_SCANS).map_err(|reason| format!("damaged JPEG file: {reason}"))?;
    if !read.has_end && !read.complete {
        return Err("JPEG file is cut short (no end marker, and not all of its scans)".into());
    }
    let most =
        |factor: fn(&outline::Component) -> u8| usize::from(frame.components.iter().map(factor).max().unwrap_or(1));
    let most = [most(|component| component.across), most(|component| component.down)];
    let size = [frame.width_px, frame.height_px];
    let mut planes = Vec::new();
    for (component, blocks) in frame.components.iter().zip(&read.components).take(wanted) {
        let own: [usize; 2] = [component.across.into(), component.down.into()];
        let ratio = [0, 1].map(|side: usize| most[side] / own[side]);
        if (0..2).any(|side| ratio[side] * own[side] != most[side]) {
            return Err(
                "a JPEG file whose sampling factors do not divide each other, which is not read; convert it".into()
            );
        }
        let part = [0, 1].map(|side: usize| (size[side] * own[side]).div_ceil(most[side]));
        planes.push(Plane::of(blocks, part, frame.bits).enlarged(ratio, size));
    }
    Ok(planes)
}

/// A strip or tile of a TIFF file, or a frame of a DICOM file.
pub(super) struct Part {
    pub width_px: usize,
    pub height_px: usize,
    pub channels: usize,
    pub bits: u8,
    /// Interleaved.
    pub samples: Vec<u16>,
}

/// Decodes a strip, tile or frame of at most `max_px` pixels, whose tables may stand elsewhere; what the colours are says the
/// file around it, which must name YCbCr for them to be converted.
pub(super) fn part(tables: Option<&[u8]>, bytes: &[u8], is_ycbcr: bool, max_px: u64) -> Result<Part, String> {
    let joined;
    let bytes = match tables {
        // Both begin and end with markers of their own.
        Some([tables @ .., 0xFF, 0xD9]) => {
            joined = [tables, bytes.get(2..).unwrap_or_default()].concat();
            &joined
        }
        _ => bytes,
    };
    let outline = Outline::of(bytes);
    let frame = outline.frame.as_ref().ok_or("damaged JPEG data: no header of a picture")?;
    check_size(frame.width_px as u64, frame.height_px as u64, max_px)?;
    #[cfg(feature = "dicom")]
    if frame.coding == LOSSLESS {
        let samples = lossless::read(bytes, frame).map_err(|reason| format!("damaged JPEG data: {reason}"))?;
        let (width_px, height_px, channels) = (frame.width_px, frame.height_px, frame.components.len());
        return Ok(Part { width_px, height_px, channels, bits: frame.bits, samples });
    }
    check(&outline, frame)?;
    let planes = planes_of(bytes, frame, frame.components.len())?;
    let samples = match (is_ycbcr, planes.len()) {
        (true, 3) => planes::pixels(&planes, Colours::YCbCr, frame.bits),
        _ => planes::interleaved(&planes),
    };
    let (width_px, height_px, channels) = (frame.width_px, frame.height_px, planes.len());
    Ok(Part { width_px, height_px, channels, bits: frame.bits, samples })
}

/// Whether it is coded without loss, which only [`part`] reads.
#[cfg(feature = "dicom")]
pub(super) fn is_lossless(bytes: &[u8]) -> bool {
    Outline::of(bytes).frame.is_some_and(|frame| frame.coding == LOSSLESS)
}

/// Whether its own marks say that its three components are YCbCr.
#[cfg(feature = "dicom")]
pub(super) fn says_ycbcr(bytes: &[u8]) -> Option<bool> {
    let outline = Outline::of(bytes);
    let named_rgb =
        outline.frame.is_some_and(|frame| frame.components.iter().map(|component| component.id).eq(*b"RGB"));
    match (outline.jfif, outline.adobe_transform) {
        (true, _) => Some(true),
        (false, Some(transform)) => Some(transform != 0),
        (false, None) => named_rgb.then_some(false),
    }
}
