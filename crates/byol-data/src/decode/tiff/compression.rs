//! Compressed strips and tiles → their bytes.

use std::io::Read;

use weezl::{BitOrder, LzwStatus};

const CUT: &str = "a strip or tile ends early";

/// Schemes that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Fax4,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
    Lzma,
    Zstd,
}

impl Compression {
    /// # Errors
    /// What it is called, if it is not read.
    pub fn of(number: u64) -> Result<Self, String> {
        Ok(match number {
            1 => Self::None,
            4 => Self::Fax4,
            5 => Self::Lzw,
            7 => Self::Jpeg,
            8 | 32_946 => Self::Deflate,
            32_773 => Self::PackBits,
            34_925 => Self::Lzma,
            50_000 => Self::Zstd,
            _ => {
                let name = match number {
                    2 => "CCITT run lengths",
                    3 => "CCITT group 3 fax",
                    6 => "the old form of JPEG",
                    32_766 => "NeXT",
                    32_771 => "CCITT run lengths by words",
                    32_809 => "ThunderScan",
                    34_661 => "JBIG",
                    34_676 | 34_677 => "SGI log",
                    33_003 | 33_004 | 33_005 | 34_712 => "JPEG 2000",
                    34_887 => "LERC",
                    50_001 => "WebP",
                    50_002 | 52_546 => "JPEG XL",
                    34_892 | 33_007 => "lossy JPEG of a raw picture",
                    _ => return Err(format!("scheme {number}")),
                };
                return Err(name.into());
            }
        })
    }

    /// The `length` bytes that `data` holds, rows of `width_px` pixels; not for JPEG.
    pub fn unpack(self, data: &[u8], length: usize, width_px: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::None | Self::Jpeg => Ok(data.get(..length).ok_or(CUT)?.to_vec()),
            Self::Fax4 => fax4(data, length, width_px),
            Self::Lzw => lzw(data, length),
            Self::Deflate => read(flate2::read::ZlibDecoder::new(data), length),
            Self::PackBits => pack_bits(data, length),
            Self::Lzma => read(lzma_rust2::XzReader::new(data, true), length),
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(data);
                read(decoder.map_err(|error| error.to_string())?, length)
            }
        }
    }
}

fn read(reader: impl Read, length: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    // It grows with what there is: the length may be wrong.
    reader.take(length as u64).read_to_end(&mut out).map_err(|error| error.to_string())?;
    if out.len() == length { Ok(out) } else { Err(CUT.into()) }
}

/// LZW as in TIFF 6.0. What follows the last byte that is needed does not matter: some programs write one code too many
/// there, of a width that others do not expect.
fn lzw(data: &[u8], length: usize) -> Result<Vec<u8>, String> {
    if data.starts_with(&[0]) && data.get(1).is_some_and(|byte| byte & 1 == 1) {
        return Err("the bit order of LZW before 1988, which is not read; convert the file".into());
    }
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut out = vec![0; length];
    let (mut at, mut done) = (0, 0);
    while done < length {
        let step = decoder.decode_bytes(&data[at..], &mut out[done..]);
        (at, done) = (at + step.consumed_in, done + step.consumed_out);
        match step.status {
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            _ if done == length => {}
            Err(error) => return Err(error.to_string()),
            Ok(_) => return Err(CUT.into()),
        }
    }
    Ok(out)
}

pub(in crate::decode) fn pack_bits(mut data: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    while out.len() < length {
        let (&head, rest) = data.split_first().ok_or(CUT)?;
        data = rest;
        match head as i8 {
            -128 => {}
            count @ 0.. => {
                let count = count as usize + 1;
                out.extend_from_slice(data.get(..count).ok_or(CUT)?);
                data = &data[count..];
            }
            count => {
                let (&byte, rest) = data.split_first().ok_or(CUT)?;
                out.resize(out.len() + 1 + usize::from(count.unsigned_abs()), byte);
                data = rest;
            }
        }
    }
    out.truncate(length);
    Ok(out)
}

/// One bit per pixel, 1 for black.
fn fax4(data: &[u8], length: usize, width_px: usize) -> Result<Vec<u8>, String> {
    let width = u16::try_from(width_px).map_err(|_| "fax rows of more than 65535 pixels".to_owned())?;
    let row_bytes = width_px.div_ceil(8);
    let rows = u16::try_from(length / row_bytes.max(1)).map_err(|_| "more than 65535 fax rows".to_owned())?;
    let mut out = Vec::new();
    let _ = fax::decoder::decode_g4(data.iter().copied(), width, Some(rows), |transitions| {
        let start = out.len();
        out.resize(start + row_bytes, 0u8);
        for (place, colour) in fax::decoder::pels(transitions, width).enumerate() {
            if colour == fax::Color::Black {
                out[start + place / 8] |= 0x80 >> (place % 8);
            }
        }
    });
    if out.len() >= length {
        out.truncate(length);
        Ok(out)
    } else {
        Err(CUT.into())
    }
}
