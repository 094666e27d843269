//! The coefficients of one block, sequential or progressive.

use super::bits::{Bits, Table};

/// Place of a coefficient in its block, by its place in the file.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// What a scan sends.
pub(super) struct Scan {
    pub first: usize,
    pub last: usize,
    /// The bit sent before, 0 for none, and the one sent now.
    pub before: u8,
    pub low: u8,
    pub end_of_band_run: u32,
}

pub(super) const NO_TABLE: &str = "a scan without its Huffman table";

fn dc_difference(table: &Table, bits: &mut Bits<'_>) -> Result<i32, String> {
    match bits.symbol(table)? {
        size @ 0..=15 => bits.signed(size.into()),
        _ => Err("a difference that is too large".into()),
    }
}

pub(super) fn sequential_block(
    block: &mut [i16; 64],
    prediction: &mut i32,
    dc: &Table,
    ac: &Table,
    bits: &mut Bits<'_>,
) -> Result<(), String> {
    *block = [0; 64];
    *prediction = prediction.wrapping_add(dc_difference(dc, bits)?);
    block[0] = *prediction as i16;
    let mut place = 1;
    while place < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => place += 16,
            (_, 0) => return Ok(()),
            _ => {
                place += run;
                *coefficient(block, place)? = bits.signed(size)? as i16;
                place += 1;
            }
        }
    }
    if place > 64 { Err(TOO_MANY.into()) } else { Ok(()) }
}

const TOO_MANY: &str = "a block with too many coefficients";

fn coefficient(block: &mut [i16; 64], place: usize) -> Result<&mut i16, String> {
    let place = ZIGZAG.get(place).ok_or(TOO_MANY)?;
    Ok(&mut block[usize::from(*place)])
}

pub(super) fn progressive_block(
    block: &mut [i16; 64],
    scan: &mut Scan,
    prediction: &mut i32,
    dc: Option<&Table>,
    ac: Option<&Table>,
    bits: &mut Bits<'_>,
) -> Result<(), String> {
    match (scan.first, scan.before) {
        (0, 0) => {
            *prediction = prediction.wrapping_add(dc_difference(dc.ok_or(NO_TABLE)?, bits)?);
            block[0] = prediction.wrapping_shl(scan.low.into()) as i16;
            Ok(())
        }
        (0, _) => {
            block[0] |= (bits.take(1)? << scan.low) as i16;
            Ok(())
        }
        (_, 0) => first_band(block, scan, ac.ok_or(NO_TABLE)?, bits),
        _ => refined_band(block, scan, ac.ok_or(NO_TABLE)?, bits),
    }
}

fn first_band(block: &mut [i16; 64], scan: &mut Scan, ac: &Table, bits: &mut Bits<'_>) -> Result<(), String> {
    if scan.end_of_band_run > 0 {
        scan.end_of_band_run -= 1;
        return Ok(());
    }
    let mut place = scan.first;
    while place <= scan.last {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => place += 16,
            (_, 0) => {
                scan.end_of_band_run = (1 << run) - 1 + bits.take(run as u32)? as u32;
                return Ok(());
            }
            _ => {
                place += run;
                if place > scan.last {
                    return Err(TOO_MANY.into());
                }
                *coefficient(block, place)? = (bits.signed(size)? << scan.low) as i16;
                place += 1;
            }
        }
    }
    if place > scan.last + 1 { Err(TOO_MANY.into()) } else { Ok(()) }
}

/// One more bit of each coefficient of the band: those that are not zero have theirs, others may begin here.
fn refined_band(block: &mut [i16; 64], scan: &mut Scan, ac: &Table, bits: &mut Bits<'_>) -> Result<(), String> {
    let one = 1i16 << scan.low;
    let mut place = scan.first;
    if scan.end_of_band_run == 0 {
        while place <= scan.last {
            let symbol = bits.symbol(ac)?;
            let (mut run, size) = (usize::from(symbol >> 4), symbol & 15);
            let mut value = 0;
            match size {
                0 if run < 15 => {
                    scan.end_of_band_run = (1 << run) + bits.take(run as u32)? as u32;
                    break;
                }
                0 => {}
                1 => value = if bits.take(1)? == 1 { one } else { -one },
                _ => return Err("a coefficient that is too large".into()),
            }
            // `run` coefficients that stay zero are passed, and those that are not get their bit.
            while place <= scan.last {
                let known = coefficient(block, place)?;
                if *known != 0 {
                    refine(known, one, bits)?;
                } else if run == 0 {
                    *known = value;
                    break;
                } else {
                    run -= 1;
                }
                place += 1;
            }
            if place > scan.last && (value != 0 || run > 0) {
                return Err(TOO_MANY.into());
            }
            place += 1;
        }
    }
    if scan.end_of_band_run > 0 {
        for place in place..=scan.last {
            let known = coefficient(block, place)?;
            if *known != 0 {
                refine(known, one, bits)?;
            }
        }
        scan.end_of_band_run -= 1;
    }
    Ok(())
}

fn refine(known: &mut i16, one: i16, bits: &mut Bits<'_>) -> Result<(), String> {
    if bits.take(1)? == 1 && *known & one == 0 {
        *known = known.wrapping_add(if *known > 0 { one } else { -one });
    }
    Ok(())
}
