//! JPEG without loss (ITU-T T.81, annex H) with Huffman codes, as DICOM files hold it, read strictly.

use super::MAX_SCANS;
use super::bits::{self, Bits, Tables};
use super::outline::{Frame, next_segment};

/// A component in a scan: its place in the frame and its Huffman table.
type Member = (usize, usize);

/// The samples of all components, interleaved.
///
/// # Errors
/// What is damaged or not coded in this way.
pub(super) fn read(bytes: &[u8], frame: &Frame) -> Result<Vec<u16>, String> {
    let count = frame.components.len();
    if !(2..=16).contains(&frame.bits) || !(1..=4).contains(&count) {
        return Err(format!("{count} components of {} bits", frame.bits));
    }
    if frame.components.iter().any(|component| (component.across, component.down) != (1, 1)) && count > 1 {
        return Err("components of several sizes".into());
    }
    let mut samples = vec![0; frame.width_px * frame.height_px * count];
    let mut is_read = vec![false; count];
    let (mut tables, mut interval) = (Tables::default(), 0);
    let (mut at, mut scans) = (2, 0);
    while let Some((marker, content, next)) = next_segment(bytes, at) {
        at = next;
        match (marker, content) {
            (0xD9, _) => break,
            (0xC4, _) => bits::add_tables(&mut tables, content)?,
            (0xDD, &[high, low]) => interval = usize::from(u16::from_be_bytes([high, low])),
            (0xDA, _) => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(format!("more than {MAX_SCANS} scans"));
                }
                let (members, predictor, shift) = header(content, frame).ok_or("a scan with a wrong header")?;
                let mut bits = Bits::new(bytes, next);
                scan(&mut samples, frame, &members, (predictor, shift), &tables[0], interval, &mut bits)?;
                bits.finish()?;
                at = bits.at;
                members.iter().for_each(|&(component, _)| is_read[component] = true);
            }
            _ => {}
        }
    }
    if is_read.contains(&false) { Err("a component without data".into()) } else { Ok(samples) }
}

/// The components of a scan, its predictor, and the lowest bits that were left out.
fn header(content: &[u8], frame: &Frame) -> Option<(Vec<Member>, u8, u8)> {
    let (&count, rest) = content.split_first()?;
    let (members, rest) = rest.split_at_checked(2 * usize::from(count))?;
    let &[predictor @ 1..=7, 0, shift] = rest else { return None };
    let members = members.as_chunks::<2>().0.iter().map(|&[id, table]| {
        let component = frame.components.iter().position(|component| component.id == id)?;
        Some((component, usize::from(table >> 4)))
    });
    let members: Vec<Member> = members.collect::<Option<_>>()?;
    (count > 0 && shift < frame.bits).then_some((members, predictor, shift))
}

fn scan(
    samples: &mut [u16],
    frame: &Frame,
    members: &[Member],
    (predictor, shift): (u8, u8),
    tables: &[Option<bits::Table>],
    interval: usize,
    bits: &mut Bits<'_>,
) -> Result<(), String> {
    let (width, count) = (frame.width_px, frame.components.len());
    let row_length = width * count;
    let start = 1u16 << (frame.bits - shift - 1);
    let (mut left, mut restarts, mut first_row) = (interval, 0u8, 0);
    for row in 0..frame.height_px {
        for column in 0..width {
            if interval > 0 && left == 0 {
                bits.restart(restarts % 8)?;
                restarts = restarts.wrapping_add(1);
                left = interval;
                // Predictions begin anew, which is defined for whole rows only.
                if column > 0 {
                    return Err("a restart within a row".into());
                }
                first_row = row;
            }
            left = left.wrapping_sub(1);
            for &(component, table) in members {
                let place = row * row_length + column * count + component;
                let at = |back: usize| i32::from(samples[place - back] >> shift);
                let prediction = match (column, row - first_row) {
                    (0, 0) => start.into(),
                    (_, 0) => at(count),
                    (0, _) => at(row_length),
                    _ => {
                        let (a, b, c) = (at(count), at(row_length), at(row_length + count));
                        match predictor {
                            1 => a,
                            2 => b,
                            3 => c,
                            4 => a + b - c,
                            5 => a + ((b - c) >> 1),
                            6 => b + ((a - c) >> 1),
                            _ => (a + b) >> 1,
                        }
                    }
                };
                let table = tables.get(table).and_then(Option::as_ref).ok_or("a component without a Huffman table")?;
                let difference = match bits.symbol(table)? {
                    size @ 0..=15 => bits.signed(size.into())?,
                    16 => 32_768,
                    size => return Err(format!("a difference of {size} bits")),
                };
                samples[place] = ((prediction + difference) as u16) << shift;
            }
        }
    }
    Ok(())
}
