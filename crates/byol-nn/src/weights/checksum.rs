//! A checksum in the header of a safetensors file, over every byte of the file but its own digits.
//!
//! The format has no place for one; its metadata does. A file that was cut short, or in which a bit turned, is told from a good
//! one before a number of it is used. XXH3 of 64 bits: a damaged file passes once in 1.8e19 times.

use std::hash::Hasher;

use burn::tensor::Tensor;
use twox_hash::XxHash3_64;

/// Key in the metadata.
pub const KEY: &str = "checksum";

/// The value before the file is known.
pub const BLANK: &str = "xxh3-64:0000000000000000";

/// What stands before the digits. It occurs once: inside of a JSON string the quotes would be escaped.
const BEFORE: &[u8] = br#""checksum":"xxh3-64:"#;
const DIGITS: usize = 16;

/// Puts the checksum of `header` and `data` in place of [`BLANK`] in `header`.
pub fn seal(header: &mut [u8], data: &[u8]) {
    let at = digits_in(header).expect("the header was made with a blank checksum");
    let digits = format!("{:016x}", hash(header, at, data));
    header[at..at + DIGITS].copy_from_slice(digits.as_bytes());
}

/// Compares the checksum of a whole `file`, if it has one.
///
/// # Errors
/// What is wrong, in words.
pub fn verify(file: &[u8]) -> Result<(), &'static str> {
    let Some(length) = file.first_chunk() else { return Ok(()) };
    // A header that says that it is longer than the file is damage that the reader of the format names.
    let end = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| length.checked_add(8));
    let (header, data) = file.split_at(end.unwrap_or(file.len()).min(file.len()));
    let Some(at) = digits_in(header) else { return Ok(()) };
    let expected = format!("{:016x}", hash(header, at, data));
    match header.get(at..at + DIGITS) {
        Some(digits) if digits == expected.as_bytes() => Ok(()),
        _ => Err("its checksum does not match its content"),
    }
}

/// Where the digits of the checksum begin.
fn digits_in(header: &[u8]) -> Option<usize> {
    header.windows(BEFORE.len()).position(|bytes| bytes == BEFORE).map(|at| at + BEFORE.len())
}

/// The hash of the file without its digits, which begin at `at` in the header.
fn hash(header: &[u8], at: usize, data: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::with_seed(0);
    for part in [&header[..at], header.get(at + DIGITS..).unwrap_or_default(), data] {
        hasher.write(part);
    }
    hasher.finish()
}

/// A hash of tensors in an order, to tell whether two processes have the same to the bit.
#[derive(Default)]
pub struct Fingerprint(XxHash3_64);

impl Fingerprint {
    /// Adds a flat tensor.
    pub fn add(&mut self, tensor: Tensor<1>) {
        self.0.write(bytemuck::cast_slice(&super::to_vec(tensor)));
    }

    /// Of all that were added.
    pub fn value(&self) -> u64 {
        self.0.finish()
    }
}
