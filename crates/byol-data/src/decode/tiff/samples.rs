//! Rows of packed samples → samples of whole bytes.

use crate::value_range::SampleType;

/// How the samples of a strip or tile are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    pub bits: usize,
    pub kind: SampleType,
    /// Samples of a pixel that are stored together.
    pub together: usize,
    pub predictor: u64,
    pub big_endian: bool,
}

impl Packing {
    /// Bytes of a row of `width` pixels in the file.
    pub fn row_bytes(&self, width: usize) -> Option<usize> {
        Some(width.checked_mul(self.together)?.checked_mul(self.bits)?.div_ceil(8))
    }

    /// Bytes of a sample when unpacked.
    pub fn sample_bytes(&self) -> usize {
        match self.bits {
            ..=8 => 1,
            9..=16 => 2,
            17..=32 => 4,
            _ => 8,
        }
    }

    /// Undoes the predictor of a row and gives its samples in the machine's order of bytes.
    pub fn unpack(&self, row: &mut [u8]) -> Result<Vec<u8>, String> {
        let bytes = self.sample_bytes();
        if !matches!(self.bits, 8 | 16 | 32 | 64) {
            return match self.predictor {
                1 => Ok(self.unpack_bits(row)),
                _ => Err(format!("a predictor on samples of {} bits", self.bits)),
            };
        }
        let mut out = if self.predictor == 3 { self.joined(row) } else { row.to_vec() };
        let foreign = match self.predictor {
            3 => cfg!(target_endian = "little"),
            _ => self.big_endian != cfg!(target_endian = "big"),
        };
        if foreign && bytes > 1 {
            out.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
        }
        if self.predictor == 2 {
            self.accumulate(&mut out);
        }
        Ok(out)
    }

    /// The floating-point predictor: differences of bytes, the highest bytes of all samples first.
    fn joined(&self, row: &mut [u8]) -> Vec<u8> {
        for place in self.together..row.len() {
            row[place] = row[place].wrapping_add(row[place - self.together]);
        }
        let bytes = self.sample_bytes();
        let count = row.len() / bytes;
        (0..count * bytes).map(|place| row[place % bytes * count + place / bytes]).collect()
    }

    /// The horizontal predictor: each sample is the difference from the pixel before.
    fn accumulate(&self, row: &mut [u8]) {
        let (bytes, step) = (self.sample_bytes(), self.together * self.sample_bytes());
        for place in (step..row.len()).step_by(bytes) {
            macro_rules! add {
                ($number:ty) => {{
                    let at = |place: usize| <$number>::from_ne_bytes(std::array::from_fn(|byte| row[place + byte]));
                    let sum = at(place).wrapping_add(at(place - step));
                    row[place..place + bytes].copy_from_slice(&sum.to_ne_bytes());
                }};
            }
            match bytes {
                1 => add!(u8),
                2 => add!(u16),
                4 => add!(u32),
                _ => add!(u64),
            }
        }
    }

    fn unpack_bits(&self, row: &[u8]) -> Vec<u8> {
        let count = row.len() * 8 / self.bits;
        let mut out = Vec::with_capacity(count * self.sample_bytes());
        let (mut held, mut held_bits, mut at) = (0u64, 0, 0);
        for _ in 0..count {
            while held_bits < self.bits {
                held = held << 8 | u64::from(row[at]);
                (held_bits, at) = (held_bits + 8, at + 1);
            }
            held_bits -= self.bits;
            let mut value = held >> held_bits & ((1 << self.bits) - 1);
            if self.kind == SampleType::Signed && value >> (self.bits - 1) == 1 {
                value |= u64::MAX << self.bits;
            }
            match self.sample_bytes() {
                1 => out.push(value as u8),
                2 => out.extend((value as u16).to_ne_bytes()),
                _ => out.extend((value as u32).to_ne_bytes()),
            }
        }
        out
    }
}
