//! DICOM files: the first frame, as the values that were stored.
//!
//! Read here and not by the crates of dicom-rs: dicom-object 0.10 takes memory for the lengths that a file states (4 GB for a
//! file of 700 bytes) and descends as deep as a file nests, which ends the program; its lossless JPEG decoder goes on with zeros
//! where data ends early. No compression but JPEG and run lengths has a decoder here.
//!
//! # Layout
//! `elements` the data set · `frame` pixel data → stored values · `pixels` → samples · this file: the header.

mod elements;
mod frame;
mod pixels;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use image::metadata::Orientation;

use self::elements::{Element, Elements};
use super::Decoded;
use crate::DataConfig;
use crate::limits::check_size;

/// Where the data set begins: behind 128 bytes of anything, and the mark.
const START: usize = 132;

mod tag {
    pub const TRANSFER_SYNTAX: u32 = 0x0002_0010;
    pub const SAMPLES: u32 = 0x0028_0002;
    pub const PHOTOMETRIC: u32 = 0x0028_0004;
    pub const PLANAR: u32 = 0x0028_0006;
    pub const FRAMES: u32 = 0x0028_0008;
    pub const ROWS: u32 = 0x0028_0010;
    pub const COLUMNS: u32 = 0x0028_0011;
    pub const BITS_ALLOCATED: u32 = 0x0028_0100;
    pub const BITS_STORED: u32 = 0x0028_0101;
    pub const HIGH_BIT: u32 = 0x0028_0102;
    pub const REPRESENTATION: u32 = 0x0028_0103;
    pub const INTERCEPT: u32 = 0x0028_1052;
    pub const SLOPE: u32 = 0x0028_1053;
    pub const RED_DESCRIPTOR: u32 = 0x0028_1101;
    pub const RED: u32 = 0x0028_1201;
    pub const MODALITY_TABLE: u32 = 0x0028_3000;
    pub const VALUE_TRANSFORMATION: u32 = 0x0028_9145;
    pub const SHARED_GROUPS: u32 = 0x5200_9229;
    pub const FRAME_GROUPS: u32 = 0x5200_9230;
    pub const FLOAT_PIXELS: u32 = 0x7FE0_0008;
    pub const DOUBLE_PIXELS: u32 = 0x7FE0_0009;
    pub const PIXELS: u32 = 0x7FE0_0010;
}

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Native,
    /// As they are, but each frame in a fragment of its own.
    Fragments,
    RunLengths,
    Jpeg,
}

/// What a transfer syntax says.
struct Syntax {
    explicit: bool,
    big_endian: bool,
    deflated: bool,
    coding: Coding,
}

/// A file's header, checked.
struct Picture<'a> {
    elements: BTreeMap<u32, Element<'a>>,
    pixels: Element<'a>,
    coding: Coding,
    big_endian: bool,
    width_px: usize,
    height_px: usize,
    samples: usize,
    photometric: String,
    is_planar: bool,
    frames: usize,
    bits_allocated: usize,
    bits_stored: usize,
    high_bit: usize,
    is_signed: bool,
    /// Bytes of a floating-point sample, where samples are such.
    float_bytes: Option<usize>,
    slope: f64,
    intercept: f64,
}

/// Whether the mark of DICOM stands where it must.
pub(super) fn looks_like_dicom(head: &[u8]) -> bool {
    head.get(128..START) == Some(b"DICM")
}

pub(super) fn decode(bytes: &[u8], config: &DataConfig) -> Result<Decoded, String> {
    let (data, syntax) = data_set(bytes, config)?;
    let picture = Picture::read(&data, &syntax, config)?;
    let (stored, is_ybr) = picture.first_frame(config)?;
    let (channels, samples, ranged) = picture.samples_of(stored, is_ybr, config.value_range)?;
    let (width_px, height_px) = (picture.width_px, picture.height_px);
    Ok(Decoded { width_px, height_px, channels, samples, orientation: Orientation::NoTransforms, ranged })
}

/// Channels and bits, and what kind of numbers the samples are.
pub(super) fn form(bytes: &[u8], config: &DataConfig) -> Result<(usize, usize, &'static str), String> {
    let (data, syntax) = data_set(bytes, config)?;
    let picture = Picture::read(&data, &syntax, config)?;
    let channels = if picture.photometric == "PALETTE COLOR" { 3 } else { picture.samples };
    Ok(match picture.float_bytes {
        Some(bytes) => (channels, 8 * bytes, ", floating point"),
        None => (channels, picture.bits_stored, if picture.is_signed { ", signed" } else { "" }),
    })
}

/// The data set behind the file's own header, inflated where it is deflated, and how it is written.
fn data_set<'a>(bytes: &'a [u8], config: &DataConfig) -> Result<(Cow<'a, [u8]>, Syntax), String> {
    let rest = bytes.get(START..).unwrap_or_default();
    // The header is of group 2 alone, and always written in this way.
    let mut header = Elements::new(rest, true, false);
    let (mut uid, mut start) = (None, 0);
    while rest.get(header.at..).is_some_and(|rest| rest.starts_with(&[2, 0])) {
        let Some(element) = header.next() else { break };
        let element = element.map_err(|reason| damaged(&reason))?;
        if element.tag == tag::TRANSFER_SYNTAX {
            uid = element.text();
        }
        start = header.at;
    }
    let mut syntax = Syntax::of(uid.ok_or_else(|| damaged("it does not say how it is written"))?)?;
    let data = &rest[start..];
    if !syntax.deflated {
        // Some programs state types though they say otherwise, or none.
        if let (false, Some(letters)) = (syntax.big_endian, data.get(4..6)) {
            syntax.explicit = letters.iter().all(u8::is_ascii_uppercase);
        }
        return Ok((Cow::Borrowed(data), syntax));
    }
    let mut inflated = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(data).take(config.max_file_bytes.saturating_add(1));
    reader.read_to_end(&mut inflated).map_err(|error| damaged(&error.to_string()))?;
    if inflated.len() as u64 > config.max_file_bytes {
        return Err(format!(
            "a DICOM file that inflates to more than data.max_file_bytes = {} allows",
            config.max_file_bytes
        ));
    }
    Ok((Cow::Owned(inflated), syntax))
}

impl Syntax {
    /// By its UID (PS3.6, annex A).
    fn of(uid: &str) -> Result<Self, String> {
        let native = Self { explicit: true, big_endian: false, deflated: false, coding: Coding::Native };
        let compressed = |name: &str| Err(unread(&format!("pixels compressed with {name}")));
        let Some(kind) = uid.strip_prefix("1.2.840.10008.1.2") else {
            return Err(unread(&format!("the private transfer syntax {uid}")));
        };
        match kind {
            "" => Ok(Self { explicit: false, ..native }),
            ".1" => Ok(native),
            ".2" => Ok(Self { big_endian: true, ..native }),
            ".1.99" => Ok(Self { deflated: true, ..native }),
            ".1.98" => Ok(Self { coding: Coding::Fragments, ..native }),
            ".5" => Ok(Self { coding: Coding::RunLengths, ..native }),
            _ => match kind.strip_prefix(".4.").and_then(|number| number.parse().ok()) {
                Some(50..=70) => Ok(Self { coding: Coding::Jpeg, ..native }),
                Some(80 | 81) => compressed("JPEG-LS"),
                Some(90..=95) => compressed("JPEG 2000"),
                Some(100..=108) => Err(unread("a video")),
                Some(110..=112) => compressed("JPEG XL"),
                Some(201..=205) => compressed("High-Throughput JPEG 2000"),
                _ => Err(unread(&format!("the transfer syntax {uid}"))),
            },
        }
    }
}

impl<'a> Picture<'a> {
    fn read(data: &'a [u8], syntax: &Syntax, config: &DataConfig) -> Result<Self, String> {
        let mut elements = BTreeMap::new();
        for element in Elements::new(data, syntax.explicit, syntax.big_endian) {
            let element = element.map_err(|reason| damaged(&reason))?;
            elements.insert(element.tag, element);
            if matches!(element.tag, tag::FLOAT_PIXELS | tag::DOUBLE_PIXELS | tag::PIXELS) {
                break;
            }
        }
        let pixels = [(tag::PIXELS, None), (tag::FLOAT_PIXELS, Some(4)), (tag::DOUBLE_PIXELS, Some(8))];
        let pixels = pixels.into_iter().find_map(|(tag, bytes)| Some((*elements.get(&tag)?, bytes)));
        let Some((pixels, float_bytes)) = pixels else {
            return Err("a DICOM file without a picture (a report, a plan, a directory or the like)".into());
        };
        let number = |tag: u32| elements.get(&tag).and_then(Element::number).map(usize::from);
        let text = |tag: u32| elements.get(&tag).and_then(Element::text);
        let (Some(height_px), Some(width_px)) = (number(tag::ROWS), number(tag::COLUMNS)) else {
            return Err(damaged("no rows or columns"));
        };
        check_size(width_px as u64, height_px as u64, config.max_image_pixels)?;
        let samples = number(tag::SAMPLES).unwrap_or(1);
        let photometric = text(tag::PHOTOMETRIC).unwrap_or("MONOCHROME2").to_owned();
        let expected = match photometric.as_str() {
            "MONOCHROME1" | "MONOCHROME2" | "PALETTE COLOR" => 1,
            "RGB" | "YBR_FULL" | "YBR_FULL_422" => 3,
            other => return Err(unread(&format!("colours of kind {other}"))),
        };
        if samples != expected {
            return Err(damaged(&format!("{samples} samples in a pixel of {photometric}")));
        }
        if elements.contains_key(&tag::MODALITY_TABLE) {
            return Err(unread("a table from stored values to those that are meant (Modality LUT)"));
        }
        let bits_allocated = number(tag::BITS_ALLOCATED).unwrap_or(8);
        let bits_stored = number(tag::BITS_STORED).unwrap_or(bits_allocated);
        let high_bit = number(tag::HIGH_BIT).unwrap_or(bits_stored.max(1) - 1);
        if float_bytes.is_none() && !matches!(bits_allocated, 1 | 8 | 16 | 32) {
            return Err(unread(&format!("samples of {bits_allocated} bits")));
        }
        let fits = (1..=bits_allocated).contains(&bits_stored) && (bits_stored - 1..bits_allocated).contains(&high_bit);
        if float_bytes.is_none() && !fits {
            return Err(damaged(&format!(
                "{bits_stored} bits with the highest at {high_bit} in {bits_allocated} bits"
            )));
        }
        let frames = text(tag::FRAMES).and_then(|text| text.parse().ok()).unwrap_or(1);
        let (slope, intercept) = rescale(&elements)?;
        Ok(Self {
            pixels,
            coding: syntax.coding,
            big_endian: syntax.big_endian,
            width_px,
            height_px,
            samples,
            photometric,
            is_planar: samples > 1 && number(tag::PLANAR) == Some(1),
            frames,
            bits_allocated,
            bits_stored,
            high_bit,
            is_signed: number(tag::REPRESENTATION) == Some(1),
            float_bytes,
            slope,
            intercept,
            elements,
        })
    }
}

/// Slope and intercept from stored values to those that are meant: of the file, or of its first frame.
fn rescale(elements: &BTreeMap<u32, Element<'_>>) -> Result<(f64, f64), String> {
    let of_groups = |groups: u32, tag: u32| {
        let frame = elements.get(&groups)?.first_item()?;
        let transformation = find(frame, tag::VALUE_TRANSFORMATION)?.first_item()?;
        find(transformation, tag)?.text()
    };
    let number = |tag: u32, otherwise: f64| {
        let text = elements.get(&tag).map(|element| element.text().unwrap_or("?"));
        let text = text.or_else(|| of_groups(tag::FRAME_GROUPS, tag)).or_else(|| of_groups(tag::SHARED_GROUPS, tag));
        match text.filter(|text| !text.is_empty()) {
            None => Ok(otherwise),
            Some(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(damaged(&format!("a rescale slope or intercept of {text}"))),
            },
        }
    };
    match (number(tag::SLOPE, 1.0)?, number(tag::INTERCEPT, 0.0)?) {
        (0.0, _) => Err(damaged("a rescale slope of 0")),
        found => Ok(found),
    }
}

fn find<'a>(elements: Elements<'a>, tag: u32) -> Option<Element<'a>> {
    elements.map_while(Result::ok).find(|element| element.tag == tag)
}

fn damaged(reason: &str) -> String {
    format!("damaged DICOM file: {reason}")
}

fn unread(what: &str) -> String {
    format!(
        "a DICOM file with {what}, which is not read; convert it to an uncompressed one (gdcmconv --raw), or to a TIFF or PNG file"
    )
}
