//! Labels in NumPy arrays: whole numbers, also as floats, truth values, texts, and one number per class of which one is set.

use super::npy::{Header, NpyProblem};
use super::values::{Value, Values};

/// Adds the labels of `count` pictures, from the bytes after the header.
pub(crate) fn push(header: &Header, data: &[u8], count: usize, values: &mut Values) -> Result<(), NpyProblem> {
    let (rows, columns) = match header.shape[..] {
        [rows] | [rows, 1] | [1, rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => {
            let got = format!("shape {:?}", header.shape);
            let expected = "labels of shape [N] or [N, 1], or [N, classes] with one of them set".into();
            return Err(NpyProblem::Malformed { expected, got });
        }
    };
    if rows != count {
        let expected = format!("{count} labels, one per picture");
        return Err(NpyProblem::Malformed { expected, got: format!("{rows} labels") });
    }
    let (big_endian, kind) = match header.dtype.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), kind)) => (order == ">", kind),
        _ => (false, header.dtype.as_str()),
    };
    let (letter, size) = kind.split_at_checked(1).unwrap_or(("", ""));
    let size = size.parse::<usize>().ok().filter(|size| (1..=1 << 16).contains(size));
    let known = match (letter, size) {
        ("u" | "i", Some(1 | 2 | 4 | 8)) | ("f", Some(2 | 4 | 8)) | ("b", Some(1)) | ("S", Some(_)) => size,
        ("U", Some(letters)) => Some(4 * letters),
        _ => None,
    };
    let Some(width) = known else {
        let found = format!("labels of type {}; save whole numbers: labels.astype(numpy.int64)", header.dtype);
        return Err(NpyProblem::Unsupported(found));
    };
    let bytes = rows.checked_mul(columns).and_then(|cells| cells.checked_mul(width));
    let Some(data) = bytes.and_then(|bytes| data.get(..bytes)) else {
        let expected = format!("{rows} labels of {} byte(s) after the header", width.saturating_mul(columns));
        return Err(NpyProblem::Malformed { expected, got: format!("{} bytes", data.len()) });
    };
    let cell = |bytes: &[u8], values: &mut Values| match letter {
        "u" | "i" => values.push(Some(Value::Number(integer(bytes, letter == "i", big_endian)))),
        "f" => values.push_float(float(bytes, big_endian)),
        "b" => values.push_text(if bytes[0] == 0 { "false" } else { "true" }),
        "S" => match std::str::from_utf8(bytes) {
            Ok(text) => values.push_text(text),
            Err(_) => values.push_odd(|row| format!("row {row} holds bytes that are no text")),
        },
        _ => {
            let letters = bytes.chunks_exact(4).map(|letter| integer(letter, false, big_endian) as u32);
            let text: String = letters.map(|letter| char::from_u32(letter).unwrap_or('\u{FFFD}')).collect();
            values.push_text(&text);
        }
    };
    if columns == 1 {
        data.chunks_exact(width).for_each(|bytes| cell(bytes, values));
        return Ok(());
    }
    if header.fortran_order || columns == 0 {
        let found = format!("labels of shape {:?} in Fortran order; save them in C order", header.shape);
        return Err(NpyProblem::Unsupported(found));
    }
    for row in data.chunks_exact(width * columns) {
        let mut cells = Values::default();
        row.chunks_exact(width).for_each(|bytes| cell(bytes, &mut cells));
        let is = |place: usize, number: i128| match cells.get(place) {
            Some(Value::Number(value)) => *value == number,
            Some(Value::Text(text)) => *text == ["false", "true"][number as usize],
            None => false,
        };
        let set: Vec<usize> = (0..columns).filter(|&place| is(place, 1)).collect();
        let clear = (0..columns).filter(|&place| is(place, 0)).count();
        match set[..] {
            [only] if clear + 1 == columns => values.push(Some(Value::Number(only as i128))),
            [] if clear == columns => values.push(None),
            _ => values.push_odd(|row| {
                format!("row {row} holds {columns} numbers, not one 1 among zeros, and every protocol here takes one class per picture")
            }),
        }
    }
    Ok(())
}

fn integer(bytes: &[u8], signed: bool, big_endian: bool) -> i128 {
    let join = |value: i128, &byte: &u8| value << 8 | i128::from(byte);
    let value = if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
    let range = 1i128 << (8 * bytes.len());
    if signed && value >= range / 2 { value - range } else { value }
}

/// A number of 16, 32 or 64 bits (IEEE 754).
fn float(bytes: &[u8], big_endian: bool) -> f64 {
    let bits = integer(bytes, false, big_endian) as u64;
    match bytes.len() {
        8 => f64::from_bits(bits),
        4 => f64::from(f32::from_bits(bits as u32)),
        _ => {
            let (sign, exponent, fraction) = (bits >> 15, (bits >> 10 & 31) as i32, (bits & 1023) as f64 / 1024.0);
            let size = match exponent {
                0 => fraction * 2f64.powi(-14),
                31 => return f64::NAN,
                _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
            };
            if sign == 1 { -size } else { size }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dtype: &str, shape: &[usize], data: &[u8]) -> Result<Vec<Option<String>>, NpyProblem> {
        let header = Header { dtype: dtype.into(), fortran_order: false, shape: shape.to_vec(), start: 0 };
        let mut values = Values::default();
        push(&header, data, shape[0], &mut values)?;
        Ok((0..values.len()).map(|row| values.text(row)).collect())
    }

    fn texts(texts: &[&str]) -> Result<Vec<Option<String>>, NpyProblem> {
        Ok(texts.iter().map(|&text| Some(text.to_owned())).collect())
    }

    #[test]
    fn labels_of_every_type_are_read() {
        assert_eq!(of("|u1", &[2], &[1, 255]), texts(&["1", "255"]));
        assert_eq!(of("|i1", &[1], &[255]), texts(&["-1"]));
        assert_eq!(of("<i4", &[1, 1], &[2, 1, 0, 0]), texts(&["258"]));
        assert_eq!(of(">i2", &[2], &[1, 2, 0xFF, 0xFE]), texts(&["258", "-2"]));
        assert_eq!(of("<u8", &[1], &[255; 8]), texts(&["18446744073709551615"]));
        assert_eq!(of("<f4", &[2], &[0, 0, 0x80, 0x3F, 0, 0, 0, 0x40]), texts(&["1", "2"]));
        assert_eq!(of(">f8", &[1], &[0x40, 0x08, 0, 0, 0, 0, 0, 0]), texts(&["3"]));
        assert_eq!(of("<f2", &[3], &[0, 0x3C, 0, 0x40, 0, 0]), texts(&["1", "2", "0"]));
        assert_eq!(of("|b1", &[2], &[1, 0]), texts(&["true", "false"]));
        assert_eq!(of("|S3", &[2], b"catab\0"), texts(&["cat", "ab"]));
        assert_eq!(of("<U2", &[1], &[b'o', 0, 0, 0, 0, 0, 0, 0]), texts(&["o"]));
    }

    #[test]
    fn one_set_among_many_is_a_class() {
        assert_eq!(of("|u1", &[2, 3], &[0, 0, 1, 1, 0, 0]), texts(&["2", "0"]));
        assert_eq!(of("|u1", &[2, 2], &[0, 0, 0, 1]), Ok(vec![None, Some("1".into())]));
        assert_eq!(
            of("|u1", &[1, 3], &[1, 1, 0]),
            Err(NpyProblem::Malformed { expected: "1 labels, one per picture".into(), got: "3 labels".into() })
        );
        assert_eq!(of("|u1", &[2, 3], &[1, 1, 0, 1, 0, 0]), Ok(vec![None, Some("0".into())]));
    }

    #[test]
    fn what_is_cut_short_or_of_another_type_is_refused() {
        assert!(matches!(of("|O", &[1], &[0; 8]), Err(NpyProblem::Unsupported(_))));
        assert!(matches!(of("<i8", &[2], &[0; 15]), Err(NpyProblem::Malformed { .. })));
        assert!(matches!(of("<i8", &[usize::MAX], &[0; 15]), Err(NpyProblem::Malformed { .. })));
        assert!(matches!(of("<U99999", &[2], &[0; 15]), Err(NpyProblem::Unsupported(_))));
        assert!(matches!(of("<i8", &[2, usize::MAX], &[0; 15]), Err(NpyProblem::Malformed { .. })));
    }
}
