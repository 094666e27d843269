//! The first directory of a TIFF file, classic (TIFF 6.0) or BigTIFF.

/// Values of a directory by tag.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    pub big_endian: bool,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where the values begin.
    at: u64,
}

const ENDS: &str = "its directory lies beyond its end";

impl<'a> Directory<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let big_endian = bytes.starts_with(b"MM");
        let mut directory = Self { bytes, big_endian, entries: Vec::new() };
        let big = directory.number(2, 2).ok_or(ENDS)? == 43;
        let (start, count_bytes, entry_bytes, value_bytes) = if big { (8, 8, 20, 8) } else { (4, 2, 12, 4) };
        let start = directory.number(start, value_bytes).ok_or(ENDS)?;
        let count = directory.number(start, count_bytes).ok_or(ENDS)?;
        let mut at = start + count_bytes;
        // More than fit into the file would end the loop by themselves.
        for _ in 0..count {
            let entry = |offset: u64, bytes: u64| directory.number(at.checked_add(offset)?, bytes);
            let (Some(tag), Some(kind), Some(count)) = (entry(0, 2), entry(2, 2), entry(4, value_bytes)) else {
                return Err(ENDS.into());
            };
            let inline = at + 4 + value_bytes;
            let kind = kind as u16;
            let here = size(kind).checked_mul(count).is_some_and(|size| size <= value_bytes);
            let values_at = if here { inline } else { directory.number(inline, value_bytes).ok_or(ENDS)? };
            directory.entries.push(Entry { tag: tag as u16, kind, count, at: values_at });
            at += entry_bytes;
        }
        Ok(directory)
    }

    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(width as usize)?)?;
        let join = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        Some(if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
    }

    /// Whole numbers of a tag; empty without it.
    pub fn numbers(&self, tag: u16) -> Result<Vec<u64>, String> {
        let Some(entry) = self.entries.iter().find(|entry| entry.tag == tag) else { return Ok(Vec::new()) };
        if !matches!(entry.kind, 1 | 3 | 4 | 7 | 13 | 16 | 18) {
            return Err(format!("tag {tag} is no list of whole numbers"));
        }
        let width = size(entry.kind);
        let end = width.checked_mul(entry.count).and_then(|bytes| entry.at.checked_add(bytes));
        if end.is_none_or(|end| end > self.bytes.len() as u64) {
            return Err(format!("tag {tag} lies beyond its end"));
        }
        let number = |place| self.number(entry.at + place * width, width);
        (0..entry.count).map(number).collect::<Option<_>>().ok_or_else(|| ENDS.into())
    }

    /// The first number of a tag.
    pub fn number_or(&self, tag: u16, otherwise: u64) -> Result<u64, String> {
        Ok(self.numbers(tag)?.first().copied().unwrap_or(otherwise))
    }

    /// Fractions of a tag.
    pub fn fractions(&self, tag: u16) -> Vec<f64> {
        let Some(entry) = self.entries.iter().find(|entry| entry.tag == tag && entry.kind == 5) else {
            return Vec::new();
        };
        let part = |place: u64| self.number(entry.at.checked_add(4 * place)?, 4);
        let fraction = |place: u64| Some(part(2 * place)? as f64 / part(2 * place + 1)? as f64);
        (0..entry.count.min(6)).map_while(fraction).collect()
    }

    /// The bytes at a place.
    pub fn slice(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
        self.bytes.get(at..at.checked_add(length)?)
    }

    /// The bytes of a tag.
    pub fn content(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        self.slice(entry.at, entry.count.checked_mul(size(entry.kind))?)
    }
}

/// Bytes of a value of a type; 1 for unknown ones.
fn size(kind: u16) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => 1,
    }
}
