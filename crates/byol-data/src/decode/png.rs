//! PNG files that lack their end: cut off after the last pixel, by a failed copy or a program that never closed them.

const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// The file with its last chunk made whole and an end, if it lacks one. Whether all pixels are there shows while decoding.
pub(super) fn with_end(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = 8usize;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..at.checked_add(8)?) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let end = at.checked_add(12)?.checked_add(length)?;
        if kind == b"IEND" {
            return None;
        }
        if end > bytes.len() {
            // The chunk in which the file ends.
            let content = &bytes[at + 4..bytes.len().min(at + 8 + length)];
            let mut checksum = flate2::Crc::new();
            checksum.update(content);
            let length = (content.len() as u32 - 4).to_be_bytes();
            return Some([&bytes[..at], &length, content, &checksum.sum().to_be_bytes(), END].concat());
        }
        at = end;
    }
    Some([bytes.get(..at)?, END].concat())
}
