//! A checksum in the header of a safetensors file, over every byte of the file but its own digits.
//!
//! The format has no place for one; its metadata does. A file that was cut short, or in which a bit turned, is told from a good
//! one before a number of it is used. XXH3 of 64 bits: a damaged file passes once in 1.8e19 times.

use std::hash::Hasher;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::error::Error;
    use crate::weights::{StoredTensor, StoredTensors, Values, load, save};

    fn tensors() -> StoredTensors {
        let values = Values::F32((0..20).map(|x| x as f32).collect());
        StoredTensors::from([("weight".to_owned(), StoredTensor { shape: vec![4, 5], values })])
    }

    /// What `load` says of every change of one bit, and how the file is read where it says nothing.
    #[test]
    fn a_file_with_any_bit_turned_is_refused_or_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let metadata = BTreeMap::from([("note".to_owned(), "say \"checksum\":\"xxh3-64:\"".to_owned())]);
        save(&path, &tensors(), metadata.clone()).unwrap();
        assert_eq!(load(&path).unwrap(), (tensors(), metadata.clone()));
        let bytes = fs::read(&path).unwrap();
        let mut refused = 0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            match load(&path) {
                Err(Error::Damaged { .. }) => refused += 1,
                Err(error) => panic!("bit {bit}: {error}"),
                // The name of the checksum itself: then there is none to compare, and nothing else was touched.
                Ok((read, rest)) => {
                    assert_eq!((read, rest.get("note")), (tensors(), metadata.get("note")), "bit {bit}");
                }
            }
        }
        assert!(refused > bytes.len() * 8 - BEFORE.len() * 8 - 64, "{refused} of {}", bytes.len() * 8);
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused_and_one_without_checksum_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &tensors(), BTreeMap::new()).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(matches!(load(&path), Err(Error::Damaged { .. })), "{length} of {} bytes", bytes.len());
        }
        let values = tensors()["weight"].values.clone();
        let Values::F32(values) = values else { unreachable!("they were made as f32") };
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 5], &data).unwrap();
        fs::write(&path, safetensors::serialize([("weight", view)], None).unwrap()).unwrap();
        assert_eq!(load(&path).unwrap(), (tensors(), BTreeMap::new()));
    }
}
