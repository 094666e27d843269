//! Reads FlatBuffers, the form of the messages in Arrow files (<https://flatbuffers.dev/internals/>).
//!
//! A table begins with the distance back to its list of places, which says for each field where in the table it is, or 0 where
//! it is left out. Every place comes from the file, so each is checked; what lies outside of the buffer is `None`.

/// A table in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    places: usize,
    places_bytes: usize,
}

impl<'a> Table<'a> {
    /// The table that the buffer is about.
    pub fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::at(bytes, usize::try_from(u32::from_le_bytes(array(bytes, 0)?)).ok()?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let back = i64::from(i32::from_le_bytes(array(bytes, at)?));
        let places = usize::try_from(i64::try_from(at).ok()?.checked_sub(back)?).ok()?;
        let places_bytes = usize::from(u16::from_le_bytes(array(bytes, places)?));
        Some(Self { bytes, at, places, places_bytes })
    }

    /// Where field `number` is, if it is there.
    fn place(&self, number: usize) -> Option<usize> {
        let entry = 4 + 2 * number;
        if entry + 2 > self.places_bytes {
            return None;
        }
        let within = u16::from_le_bytes(array(self.bytes, self.places + entry)?);
        (within != 0).then(|| self.at + usize::from(within))
    }

    /// The `N` bytes of a number.
    fn number<const N: usize>(&self, field: usize) -> Option<[u8; N]> {
        array(self.bytes, self.place(field)?)
    }

    pub fn byte(&self, field: usize) -> Option<u8> {
        self.number::<1>(field).map(|[byte]| byte)
    }

    pub fn i16(&self, field: usize) -> Option<i16> {
        self.number(field).map(i16::from_le_bytes)
    }

    pub fn i32(&self, field: usize) -> Option<i32> {
        self.number(field).map(i32::from_le_bytes)
    }

    pub fn i64(&self, field: usize) -> Option<i64> {
        self.number(field).map(i64::from_le_bytes)
    }

    /// Where what a field refers to begins.
    fn referred(&self, field: usize) -> Option<usize> {
        follow(self.bytes, self.place(field)?)
    }

    pub fn table(&self, field: usize) -> Option<Self> {
        Self::at(self.bytes, self.referred(field)?)
    }

    pub fn text(&self, field: usize) -> Option<&'a str> {
        let at = self.referred(field)?;
        let length = usize::try_from(u32::from_le_bytes(array(self.bytes, at)?)).ok()?;
        std::str::from_utf8(self.bytes.get(at + 4..)?.get(..length)?).ok()
    }

    /// The elements of a list, of `bytes` bytes each.
    fn elements(&self, field: usize, bytes: usize) -> Option<(usize, std::slice::ChunksExact<'a, u8>)> {
        let at = self.referred(field)?;
        let count = usize::try_from(u32::from_le_bytes(array(self.bytes, at)?)).ok()?;
        let elements = self.bytes.get(at + 4..)?.get(..count.checked_mul(bytes)?)?;
        Some((at + 4, elements.chunks_exact(bytes)))
    }

    /// The tables of a list; `None` if the list is there and damaged, no tables if it is not there.
    pub fn tables(&self, field: usize) -> Option<Vec<Self>> {
        if self.place(field).is_none() {
            return Some(Vec::new());
        }
        let (start, elements) = self.elements(field, 4)?;
        let table = |place: usize| Self::at(self.bytes, follow(self.bytes, start + 4 * place)?);
        (0..elements.len()).map(table).collect()
    }

    /// The pairs of numbers of a list.
    pub fn pairs(&self, field: usize) -> Option<Vec<(i64, i64)>> {
        if self.place(field).is_none() {
            return Some(Vec::new());
        }
        let (_, elements) = self.elements(field, 16)?;
        let half = |bytes, at| array(bytes, at).map(i64::from_le_bytes);
        elements.map(|pair| Some((half(pair, 0)?, half(pair, 8)?))).collect()
    }

    /// The numbers of a list.
    pub fn numbers(&self, field: usize) -> Option<Vec<i64>> {
        if self.place(field).is_none() {
            return Some(Vec::new());
        }
        let (_, elements) = self.elements(field, 8)?;
        elements.map(|number| array(number, 0).map(i64::from_le_bytes)).collect()
    }
}

fn follow(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(usize::try_from(u32::from_le_bytes(array(bytes, at)?)).ok()?)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with the fields 0: 7 (i16), 1: left out, 2: "ab".
    const BYTES: [u8; 32] = [
        16, 0, 0, 0, // the root is at 16
        10, 0, 12, 0, 4, 0, 0, 0, 8, 0, 0, 0, // at 4: ten bytes of places for a table of 12 bytes; 4, none, 8
        12, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, // at 16: places are 12 bytes back; 7; the text is 4 bytes on
        2, 0, 0, 0, // the length of the text, whose two bytes are missing
    ];

    #[test]
    fn fields_are_found_by_their_number() {
        let mut bytes = BYTES.to_vec();
        bytes.extend(b"ab");
        let table = Table::root(&bytes).unwrap();
        assert_eq!((table.i16(0), table.i16(1), table.text(2), table.i64(3)), (Some(7), None, Some("ab"), None));
        assert_eq!(table.tables(1).map(|tables| tables.len()), Some(0));
    }

    #[test]
    fn what_lies_outside_is_none() {
        assert_eq!(Table::root(&BYTES).unwrap().text(2), None);
        for length in 0..BYTES.len() {
            for change in [0, 0x80, 0xFF] {
                let mut bytes = BYTES[..length].to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= change;
                }
                let Some(table) = Table::root(&bytes) else { continue };
                let _ = (table.text(2), table.tables(2).map(|tables| tables.len()), table.pairs(2), table.numbers(2));
                assert!(table.table(2).is_none_or(|table| table.text(0).is_none()));
            }
        }
    }
}
