//! Huffman codes and the bits of a scan.

#[derive(Clone)]
pub(super) struct Table {
    /// Length and value of the code that the next eight bits begin with; length 0 for longer ones.
    short: [(u8, u8); 256],
    /// For each length: what to take from a code to find its value, and the first code that is too great.
    offset: [i32; 17],
    limit: [i32; 17],
    values: Vec<u8>,
}

impl Table {
    pub fn new(counts: &[u8], values: &[u8]) -> Result<Self, String> {
        let mut table = Self { short: [(0, 0); 256], offset: [0; 17], limit: [0; 17], values: values.to_vec() };
        let (mut code, mut at) = (0i32, 0);
        for length in 1..=16 {
            table.offset[length] = at - code;
            for _ in 0..counts[length - 1] {
                if code >= 1 << length {
                    return Err("a Huffman table with too many codes".into());
                }
                if length <= 8 {
                    let first = (code << (8 - length)) as usize;
                    table.short[first..first + (1 << (8 - length))].fill((length as u8, values[at as usize]));
                }
                (code, at) = (code + 1, at + 1);
            }
            table.limit[length] = code;
            code <<= 1;
        }
        Ok(table)
    }
}

/// Those for DC coefficients, or differences without loss, and those for AC coefficients.
pub(super) type Tables = [[Option<Table>; 4]; 2];

/// Takes in the tables of a segment.
pub(super) fn add_tables(tables: &mut Tables, mut content: &[u8]) -> Result<(), String> {
    while let [head, rest @ ..] = content {
        let wrong = || "a Huffman table of the wrong length".to_owned();
        let counts = rest.get(..16).ok_or_else(wrong)?;
        let length: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let values = rest.get(16..16 + length).ok_or_else(wrong)?;
        let place = tables.get_mut(usize::from(head >> 4)).and_then(|kind| kind.get_mut(usize::from(head & 15)));
        *place.ok_or_else(wrong)? = Some(Table::new(counts, values)?);
        content = &rest[16 + length..];
    }
    Ok(())
}

/// Bits of a scan up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Where the next byte is read.
    pub at: usize,
    held: u64,
    count: u32,
}

const ENDS_EARLY: &str = "the data of a scan ends before its last block";

impl<'a> Bits<'a> {
    /// From `at` on.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes[self.at..] {
                [0xFF, 0x00, ..] => {
                    self.at += 2;
                    0xFF
                }
                [0xFF, ..] | [] => return,
                [byte, ..] => {
                    self.at += 1;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    pub fn take(&mut self, count: u32) -> Result<i32, String> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err(ENDS_EARLY.into());
            }
        }
        let bits = (self.held >> (64 - count)) as i32;
        self.held <<= count;
        self.count -= count;
        Ok(bits)
    }

    /// A number of `size` bits whose sign is its first bit.
    pub fn signed(&mut self, size: u32) -> Result<i32, String> {
        let bits = self.take(size)?;
        Ok(if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits })
    }

    pub fn symbol(&mut self, table: &Table) -> Result<u8, String> {
        if self.count < 16 {
            self.fill();
        }
        let (length, value) = table.short[(self.held >> 56) as usize];
        if length > 0 {
            self.take(length.into())?;
            return Ok(value);
        }
        for length in 9..=16 {
            let code = (self.held >> (64 - length)) as i32;
            if code < table.limit[length] {
                self.take(length as u32)?;
                let value = table.values.get((code + table.offset[length]) as usize);
                return value.copied().ok_or_else(|| "a code that its table lacks".into());
            }
        }
        Err(if self.count < 16 { ENDS_EARLY } else { "a code that its table lacks" }.into())
    }

    /// Leaves the data before a marker, where nothing but filling may be left.
    pub fn finish(&mut self) -> Result<(), String> {
        self.take(self.count % 8)?;
        let mut left = 0;
        loop {
            self.fill();
            if self.count == 0 {
                break;
            }
            let byte = self.take(8)?;
            left += usize::from(!matches!(byte, 0x00 | 0xFF));
        }
        if left > 0 { Err(format!("{left} bytes are left over after the last block of a scan")) } else { Ok(()) }
    }

    /// The restart marker that must stand here.
    pub fn restart(&mut self, number: u8) -> Result<(), String> {
        self.finish()?;
        while let [0xFF, 0xFF, ..] = self.bytes[self.at..] {
            self.at += 1;
        }
        match self.bytes[self.at..] {
            [0xFF, marker, ..] if marker == 0xD0 + number => {
                self.at += 2;
                Ok(())
            }
            _ => Err("a restart marker is missing".into()),
        }
    }
}
