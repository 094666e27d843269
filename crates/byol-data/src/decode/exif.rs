//! The orientation in EXIF data.

use image::metadata::Orientation;

const TAG_ORIENTATION: u16 = 0x0112;

/// The orientation in a block of EXIF data (a TIFF directory), whatever whole-number type it is stored as but BYTE, which
/// Pillow does not obey either; none if the block has none or is damaged.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    find(exif).and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

fn find(exif: &[u8]) -> Option<u8> {
    // Some programs repeat the mark of the segment.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little_endian = match exif.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let start = u32_at(4)? as usize;
    let count = usize::from(u16_at(start)?);
    let entry = (0..count).map(|place| start + 2 + 12 * place).find(|&entry| u16_at(entry) == Some(TAG_ORIENTATION))?;
    let value = match (u16_at(entry + 2)?, u32_at(entry + 4)?) {
        // SHORT and SSHORT, LONG and SLONG.
        (3 | 8, 1) => u16_at(entry + 8)?.into(),
        (4 | 9, 1) => u32_at(entry + 8)?,
        _ => return None,
    };
    value.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orientation_of_any_whole_type_and_byte_order_is_found() {
        for (kind, value, expected) in [(3, 6, Some(6)), (4, 8, Some(8)), (1, 3, None), (9, 5, Some(5)), (2, 6, None)] {
            for little_endian in [true, false] {
                let two = |value: u16| if little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
                let four = |value: u32| if little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
                let mut exif = if little_endian { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
                exif.extend(four(8));
                exif.extend([two(1), two(TAG_ORIENTATION), two(kind)].concat());
                exif.extend(four(1));
                match kind {
                    1 => exif.extend([value as u8, 0, 0, 0]),
                    3 => exif.extend([two(value as u16), two(0)].concat()),
                    _ => exif.extend(four(value)),
                }
                assert_eq!(find(&exif), expected, "type {kind}");
                assert_eq!(find(&[b"Exif\0\0", &exif[..]].concat()), expected);
                for cut in 0..18 {
                    assert_eq!(find(&exif[..cut]), None);
                }
            }
        }
    }
}
