//! The coefficients of a JPEG file with Huffman codes, sequential or progressive (ITU-T T.81), read strictly: what other
//! decoders bridge over with a warning is an error here.

use super::bits::{self, Bits, Tables};
use super::block::{NO_TABLE, Scan, ZIGZAG, progressive_block, sequential_block};
use super::outline::{Frame, next_segment};

/// The coefficients of a component.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Blocks in a row, whole units of the interleaved order.
    pub row: usize,
    /// Blocks that are needed for the picture.
    pub across: usize,
    pub down: usize,
    /// Row by row, 64 each, in the order of the picture.
    pub coefficients: Vec<[i16; 64]>,
    /// By the same order; taken when the component's first scan begins.
    pub quantiser: Option<[u16; 64]>,
    /// For each coefficient in the file's order, the lowest bit that was sent; 255 for none.
    lowest_bit: [u8; 64],
}

/// What the scans of a file hold.
#[derive(Debug)]
pub(super) struct Coefficients {
    pub components: Vec<Blocks>,
    /// Whether every bit of every coefficient was sent.
    pub complete: bool,
    /// Whether there was an end marker.
    pub has_end: bool,
}

/// A component in a scan.
#[derive(Clone, Copy)]
struct Member {
    component: usize,
    dc: usize,
    ac: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    frame: &'a Frame,
    progressive: bool,
    components: Vec<Blocks>,
    units_across: usize,
    units_down: usize,
    quantisers: [Option<[u16; 64]>; 4],
    tables: Tables,
    restart_interval: usize,
}

/// Reads all scans; there are at most `max_scans`.
///
/// # Errors
/// What is damaged or not coded in this way.
pub(super) fn read(bytes: &[u8], frame: &Frame, max_scans: usize) -> Result<Coefficients, String> {
    let most = |factor: fn(&super::outline::Component) -> u8| {
        usize::from(frame.components.iter().map(factor).max().unwrap_or(1)).max(1)
    };
    let (most_across, most_down) = (most(|component| component.across), most(|component| component.down));
    let units_across = frame.width_px.div_ceil(8 * most_across);
    let units_down = frame.height_px.div_ceil(8 * most_down);
    let components = frame.components.iter().map(|component| {
        let (across, down) = (usize::from(component.across), usize::from(component.down));
        let row = units_across * across;
        Blocks {
            row,
            across: (frame.width_px * across).div_ceil(most_across).div_ceil(8),
            down: (frame.height_px * down).div_ceil(most_down).div_ceil(8),
            coefficients: vec![[0; 64]; row * units_down * down],
            quantiser: None,
            lowest_bit: [u8::MAX; 64],
        }
    });
    let mut reader = Reader {
        bytes,
        frame,
        progressive: frame.coding == 0xC2,
        components: components.collect(),
        units_across,
        units_down,
        quantisers: [None; 4],
        tables: Default::default(),
        restart_interval: 0,
    };
    let has_end = reader.segments(max_scans)?;
    if reader.components.iter().any(|blocks| blocks.quantiser.is_none()) {
        return Err("a component without data".into());
    }
    let complete = reader.components.iter().all(|blocks| blocks.lowest_bit == [0; 64]);
    Ok(Coefficients { components: reader.components, complete, has_end })
}

impl Reader<'_> {
    fn segments(&mut self, max_scans: usize) -> Result<bool, String> {
        let (mut at, mut scans) = (2, 0);
        while let Some((marker, content, next)) = next_segment(self.bytes, at) {
            at = next;
            match marker {
                0xD9 => return Ok(true),
                0xDB => self.quantisers(content)?,
                0xC4 => bits::add_tables(&mut self.tables, content)?,
                0xDD => match *content {
                    [high, low] => self.restart_interval = u16::from_be_bytes([high, low]).into(),
                    _ => return Err("a restart interval of the wrong length".into()),
                },
                0xDA => {
                    scans += 1;
                    if scans > max_scans {
                        return Err(format!("more than {max_scans} scans"));
                    }
                    at = self.scan(content, next)?;
                }
                _ => {}
            }
        }
        Ok(false)
    }

    fn quantisers(&mut self, mut content: &[u8]) -> Result<(), String> {
        while let [head, rest @ ..] = content {
            let wide = head >> 4 != 0;
            let length = if wide { 128 } else { 64 };
            let (Some(values), Some(place)) = (rest.get(..length), self.quantisers.get_mut(usize::from(head & 15)))
            else {
                return Err("a quantisation table of the wrong length".into());
            };
            let mut table = [0; 64];
            for (at, &place) in ZIGZAG.iter().enumerate() {
                table[usize::from(place)] = match wide {
                    true => u16::from_be_bytes([values[2 * at], values[2 * at + 1]]),
                    false => values[at].into(),
                };
            }
            *place = Some(table);
            content = &rest[length..];
        }
        Ok(())
    }

    /// Reads the scan whose data begins at `start`; gives where it ends.
    fn scan(&mut self, header: &[u8], start: usize) -> Result<usize, String> {
        let wrong = || "a scan with a wrong header".to_owned();
        let (&count, rest) = header.split_first().ok_or_else(wrong)?;
        let count = usize::from(count);
        let (members, &[first, last, bits]) =
            (rest.get(..2 * count).ok_or_else(wrong)?, rest.get(2 * count..2 * count + 3).ok_or_else(wrong)?)
        else {
            return Err(wrong());
        };
        let members = members.as_chunks::<2>().0.iter().map(|&[id, tables]| {
            let component = self.frame.components.iter().position(|component| component.id == id)?;
            Some(Member { component, dc: usize::from(tables >> 4), ac: usize::from(tables & 15) })
        });
        let members: Vec<Member> = members.collect::<Option<_>>().filter(|_| count > 0).ok_or_else(wrong)?;
        if (1..members.len()).any(|place| members[..place].iter().any(|m| m.component == members[place].component)) {
            return Err(wrong());
        }
        let (first, last) = (usize::from(first), usize::from(last));
        let mut scan = Scan { first, last, before: bits >> 4, low: bits & 15, end_of_band_run: 0 };
        if !self.progressive {
            scan = Scan { first: 0, last: 63, before: 0, low: 0, end_of_band_run: 0 };
        }
        let band_is_right = match scan.first {
            0 => !self.progressive || scan.last == 0,
            first => first <= scan.last && scan.last < 64 && count == 1,
        };
        if !band_is_right || scan.low > 13 || (scan.before != 0 && scan.before != scan.low + 1) {
            return Err(wrong());
        }
        for member in &members {
            let blocks = &mut self.components[member.component];
            if blocks.quantiser.is_none() {
                let place = self.frame.components[member.component].quantiser;
                let table = self.quantisers.get(usize::from(place)).copied().flatten();
                blocks.quantiser = Some(table.ok_or("a component without a quantisation table")?);
            }
            blocks.lowest_bit[scan.first..=scan.last].fill(scan.low);
        }
        let mut bits = Bits::new(self.bytes, start);
        self.units(&members, &mut scan, &mut bits)?;
        bits.finish()?;
        Ok(bits.at)
    }

    fn units(&mut self, members: &[Member], scan: &mut Scan, bits: &mut Bits<'_>) -> Result<(), String> {
        let Self { components, tables: [dc_tables, ac_tables], frame, .. } = self;
        let mut predictions = vec![0i32; members.len()];
        let alone = members.len() == 1;
        let (columns, rows) = match members {
            [only] => (components[only.component].across, components[only.component].down),
            _ => (self.units_across, self.units_down),
        };
        let (mut units_left, mut restarts) = (self.restart_interval, 0u8);
        for row in 0..rows {
            for column in 0..columns {
                if self.restart_interval > 0 && units_left == 0 {
                    bits.restart(restarts % 8)?;
                    restarts = restarts.wrapping_add(1);
                    units_left = self.restart_interval;
                    predictions.fill(0);
                    scan.end_of_band_run = 0;
                }
                units_left = units_left.wrapping_sub(1);
                for (member, prediction) in members.iter().zip(&mut predictions) {
                    let factors = &frame.components[member.component];
                    let (across, down) =
                        if alone { (1, 1) } else { (usize::from(factors.across), usize::from(factors.down)) };
                    let blocks = &mut components[member.component];
                    let dc = dc_tables.get(member.dc).and_then(Option::as_ref);
                    let ac = ac_tables.get(member.ac).and_then(Option::as_ref);
                    for y in row * down..(row + 1) * down {
                        for x in column * across..(column + 1) * across {
                            let block = &mut blocks.coefficients[y * blocks.row + x];
                            if self.progressive {
                                progressive_block(block, scan, prediction, dc, ac, bits)?;
                            } else {
                                let (dc, ac) = (dc.ok_or(NO_TABLE)?, ac.ok_or(NO_TABLE)?);
                                sequential_block(block, prediction, dc, ac, bits)?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
