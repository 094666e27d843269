//! What the markers of a JPEG file say, without a look at its data.

/// A frame's component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub id: u8,
    /// Sampling factors, across and down; a file that is right has 1 to 4.
    pub across: u8,
    pub down: u8,
    /// Which table its coefficients are multiplied by.
    pub quantiser: u8,
}

/// The header of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The second byte of its marker, which says how it is coded: `C0` to `CF`.
    pub coding: u8,
    pub bits: u8,
    pub width_px: usize,
    pub height_px: usize,
    pub components: Vec<Component>,
}

/// All segments, walked rather than searched for: an embedded thumbnail has markers of its own.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// The first frame.
    pub frame: Option<Frame>,
    /// Components of the first scan.
    pub first_scan_components: u8,
    pub scans: usize,
    /// Whether there is the marker of JFIF.
    pub jfif: bool,
    /// What the marker of Adobe says about colours: 0 none, 1 YCbCr, 2 YCCK.
    pub adobe_transform: Option<u8>,
    /// The content of the first EXIF segment.
    pub exif: Option<&'a [u8]>,
    /// Whether there is an end marker.
    pub has_end: bool,
}

impl<'a> Outline<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut outline = Self::default();
        let mut at = 2;
        while let Some((marker, content, next)) = next_segment(bytes, at) {
            match (marker, content) {
                (0xD9, _) => {
                    outline.has_end = true;
                    break;
                }
                (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, _) if outline.frame.is_none() => {
                    outline.frame = frame(marker, content);
                }
                (0xDA, [count, ..]) => {
                    if outline.scans == 0 {
                        outline.first_scan_components = *count;
                    }
                    outline.scans += 1;
                }
                // The lengths from which on libjpeg takes these for what they are.
                (0xE0, [b'J', b'F', b'I', b'F', 0, ..]) if content.len() >= 12 => outline.jfif = true,
                (0xEE, [b'A', b'd', b'o', b'b', b'e', .., _]) if content.len() >= 12 => {
                    outline.adobe_transform = Some(content[11]);
                }
                (0xE1, [b'E', b'x', b'i', b'f', 0, _, exif @ ..]) if outline.exif.is_none() => {
                    outline.exif = Some(exif);
                }
                _ => {}
            }
            at = next;
        }
        outline
    }
}

/// The marker after `at`, what its segment holds, and where to look for the next. `None` at the end of the file.
pub(super) fn next_segment(bytes: &[u8], mut at: usize) -> Option<(u8, &[u8], usize)> {
    loop {
        // In a scan, `FF 00` is data and `FF D0` to `FF D7` are restarts within it.
        at += memchr::memchr(0xFF, bytes.get(at..)?)? + 1;
        match *bytes.get(at)? {
            0xFF => {}
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            0xD9 => return Some((0xD9, &[], at + 1)),
            marker => {
                let &[high, low] = bytes.get(at + 1..at + 3)? else { return None };
                let end = at + 1 + usize::from(u16::from_be_bytes([high, low]));
                return Some((marker, bytes.get(at + 3..end)?, end));
            }
        }
    }
}

fn frame(coding: u8, content: &[u8]) -> Option<Frame> {
    let &[bits, height_high, height_low, width_high, width_low, count, ref components @ ..] = content else {
        return None;
    };
    let components: Vec<_> = components
        .as_chunks::<3>()
        .0
        .iter()
        .take(count.into())
        .map(|&[id, factors, quantiser]| Component { id, across: factors >> 4, down: factors & 15, quantiser })
        .collect();
    (components.len() == usize::from(count)).then(|| Frame {
        coding,
        bits,
        width_px: u16::from_be_bytes([width_high, width_low]).into(),
        height_px: u16::from_be_bytes([height_high, height_low]).into(),
        components,
    })
}
