//! The elements of a DICOM data set (PS3.5, chapter 7), passed over without a look at what is in them.
//!
//! Nothing here takes memory by a length that a file states, or descends as deep as a file nests.

const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;

/// An element of a data set or an item of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// Group and number, 16 bits each.
    pub tag: u32,
    /// The two letters of its type; spaces where the file states none.
    pub vr: [u8; 2],
    /// Of a length that the file leaves open: up to its end mark.
    pub value: &'a [u8],
    /// Whether its length was left open, as that of compressed pixels is.
    pub is_open: bool,
    /// Whether elements within it state their types.
    explicit: bool,
    big_endian: bool,
}

impl<'a> Element<'a> {
    /// The elements of the first item of a sequence.
    pub fn first_item(&self) -> Option<Elements<'a>> {
        let mut items = Elements::new(self.value, self.explicit, self.big_endian);
        let item = items.next()?.ok()?;
        (item.tag == ITEM).then(|| Elements::new(item.value, self.explicit, self.big_endian))
    }

    /// The fragments of compressed pixels, the table of offsets first.
    pub fn fragments(&self) -> Result<Vec<&'a [u8]>, String> {
        Elements::new(self.value, false, false).map(|item| Ok(item?.value)).collect()
    }

    /// A 16-bit number.
    pub fn number(&self) -> Option<u16> {
        let &pair = self.value.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    }

    /// All 16-bit numbers.
    pub fn numbers(&self) -> Vec<u16> {
        let of = if self.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
        self.value.as_chunks::<2>().0.iter().map(|&pair| of(pair)).collect()
    }

    /// The first of its texts, without the filling.
    pub fn text(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.value).ok()?.split('\\').next()?;
        Some(text.trim_matches([' ', '\0']))
    }
}

/// The elements of a data set one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
    pub at: usize,
    explicit: bool,
    big_endian: bool,
}

struct Header {
    tag: u32,
    vr: [u8; 2],
    /// `None` where it is left open.
    length: Option<usize>,
    /// Where the value begins.
    start: usize,
}

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8], explicit: bool, big_endian: bool) -> Self {
        Self { bytes, at: 0, explicit, big_endian }
    }

    fn header(&self, at: usize, explicit: bool) -> Result<Header, String> {
        let bytes = &self.bytes[at.min(self.bytes.len())..];
        let cut = || "the file ends within an element".to_owned();
        let pair = |at: usize| {
            let &pair = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            Ok::<_, String>(if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        };
        let wide = |at: usize| {
            let &four = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            Ok::<_, String>(if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
        };
        let (group, number) = (pair(0)?, pair(2)?);
        let tag = u32::from(group) << 16 | u32::from(number);
        let (vr, length, size) = if group == 0xFFFE || !explicit {
            (*b"  ", wide(4)?, 8)
        } else {
            let &vr = bytes.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            match &vr {
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
                | b"UV" => (vr, wide(8)?, 12),
                _ => (vr, pair(6)?.into(), 8),
            }
        };
        Ok(Header { tag, vr, length: (length != u32::MAX).then_some(length as usize), start: at + size })
    }

    /// Where what is open from `at` on ends, and what follows its end mark.
    fn end_of_open(&self, mut at: usize, explicit: bool) -> Result<(usize, usize), String> {
        let mut depth = 1usize;
        // Within an element of unknown type, no element states its type (PS3.5, 6.2.2).
        let mut unknown_from = None;
        loop {
            let header = self.header(at, explicit && unknown_from.is_none())?;
            at = header.start;
            match (header.tag, header.length) {
                (ITEM_END | SEQUENCE_END, _) => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok((at - 8, at));
                    }
                    unknown_from = unknown_from.filter(|&from| from < depth);
                }
                (_, None) => {
                    if &header.vr == b"UN" {
                        unknown_from.get_or_insert(depth);
                    }
                    depth += 1;
                }
                (_, Some(length)) => at = self.end(&header, length)?,
            }
        }
    }

    fn end(&self, header: &Header, length: usize) -> Result<usize, String> {
        let end = header.start.checked_add(length).filter(|&end| end <= self.bytes.len());
        end.ok_or_else(|| {
            format!("the file ends within element ({:04X},{:04X})", header.tag >> 16, header.tag & 0xFFFF)
        })
    }

    fn element(&mut self) -> Result<Element<'a>, String> {
        let header = self.header(self.at, self.explicit)?;
        let explicit = self.explicit && &header.vr != b"UN";
        let (end, next) = match header.length {
            Some(length) => self.end(&header, length).map(|end| (end, end))?,
            None => self.end_of_open(header.start, explicit)?,
        };
        self.at = next;
        Ok(Element {
            tag: header.tag,
            vr: header.vr,
            value: &self.bytes[header.start..end],
            is_open: header.length.is_none(),
            explicit,
            big_endian: self.big_endian,
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let element = self.element();
        if element.is_err() {
            self.at = self.bytes.len();
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nests_without_end_or_states_a_great_length_costs_neither_stack_nor_memory() {
        let deep = [&b"\x08\0\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF"[..]; 100_000].concat();
        let mut elements = Elements::new(&deep, true, false);
        assert!(elements.next().unwrap().is_err());
        assert!(elements.next().is_none());
        let long = b"\xE0\x7F\x10\0OB\0\0\0\0\0\xF0\x01\x02";
        let reason = Elements::new(long, true, false).next().unwrap().unwrap_err();
        assert!(reason.contains("(7FE0,0010)"), "{reason}");
    }

    #[test]
    fn open_sequences_of_unknown_type_state_no_types_within() {
        let unknown = b"\x09\0\x01\0UN\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF\
            \x08\0\x05\0\x02\0\0\0hi\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
        let after = b"\x10\0\x10\0PN\x02\0ab";
        for outer in [false, true] {
            let (open, close) = (
                &b"\x08\0\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF"[..],
                &b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0"[..],
            );
            let bytes = match outer {
                true => [open, unknown, after, close, after].concat(),
                false => [&unknown[..], after].concat(),
            };
            let found: Vec<_> = Elements::new(&bytes, true, false).map(|element| element.unwrap()).collect();
            assert_eq!((found.len(), found[1].text()), (2, Some("ab")));
            let inner = found[0].first_item().unwrap().next().unwrap().unwrap();
            assert_eq!(inner.tag, if outer { 0x0009_0001 } else { 0x0008_0005 });
        }
    }
}
