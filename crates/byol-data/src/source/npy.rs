//! The header of a NumPy array file
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>): a mark, a version, a length and a Python
//! dictionary such as `{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }`.
//!
//! Read here because the crates for it read the data as well, from the start on, and not by place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::pixels::Depth;
use crate::DataError;
use crate::value_range::SampleType;

const MARK: &[u8] = b"\x93NUMPY";

/// Longest header we read; NumPy itself refuses more than 10 000 characters.
pub(crate) const MAX_HEADER_BYTES: usize = 1 << 14;

/// A NumPy array's type, size and place in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As in the file, `<u2`.
    pub dtype: String,
    /// Whether it is stored column by column.
    pub fortran_order: bool,
    /// Values along each axis.
    pub shape: Vec<usize>,
    /// Bytes before the data.
    pub start: usize,
}

/// Why an array is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NpyProblem {
    /// It contradicts the format.
    Malformed { expected: String, got: String },
    /// It is right but not what we read: what it is, and what to do.
    Unsupported(String),
}

impl NpyProblem {
    pub fn at(self, path: &Path) -> DataError {
        match self {
            Self::Malformed { expected, got } => DataError::Malformed { path: path.into(), expected, got },
            Self::Unsupported(found) => DataError::Unsupported { path: path.into(), found },
        }
    }

    /// For one bad picture.
    pub fn reason(self) -> String {
        match self {
            Self::Malformed { expected, got } => format!("damaged NumPy file: expected {expected}, got {got}"),
            Self::Unsupported(found) => format!("cannot use {found}"),
        }
    }
}

/// Whether these are the first bytes of an array file.
pub(crate) fn looks_like_npy(head: &[u8]) -> bool {
    head.starts_with(MARK)
}

/// Reads the header at the start of `bytes`, which need not hold more than [`MAX_HEADER_BYTES`].
pub(crate) fn header(bytes: &[u8]) -> Result<Header, NpyProblem> {
    let malformed = |expected: &str, got: String| NpyProblem::Malformed { expected: expected.into(), got };
    let cut = || malformed("the header of a NumPy array", format!("{} bytes", bytes.len()));
    if !looks_like_npy(bytes) {
        return Err(malformed("a NumPy array, starting \\x93NUMPY", "other bytes".into()));
    }
    let (length, before) = match bytes.get(6..12) {
        Some(&[1, _, low, high, ..]) => (usize::from(u16::from_le_bytes([low, high])), 10),
        Some(&[2 | 3, _, a, b, c, d]) => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        Some(&[version, ..]) => return Err(malformed("version 1, 2 or 3 of the format", version.to_string())),
        _ => return Err(cut()),
    };
    let start = before + length;
    if start > MAX_HEADER_BYTES {
        return Err(malformed(&format!("a header of at most {MAX_HEADER_BYTES} bytes"), start.to_string()));
    }
    let text = bytes.get(before..start).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| malformed("a header that is text", "other bytes".into()))?;
    Dictionary { rest: text }.header(start).ok_or_else(|| {
        let expected = "a header {'descr': …, 'fortran_order': …, 'shape': …}";
        malformed(expected, text.trim().chars().take(200).collect())
    })
}

impl Header {
    /// The header of the file at `path`. Nothing is allocated for the size it claims.
    ///
    /// # Errors
    /// [`DataError`] for a file that cannot be read or is no NumPy array.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.into(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        header(&bytes).map_err(|problem| problem.at(path))
    }

    /// The depth of samples of this type.
    pub(crate) fn depth(&self) -> Result<Depth, NpyProblem> {
        let unsupported = || {
            NpyProblem::Unsupported(format!(
                "an array of type {}; save it as whole or floating-point numbers, such as \
                 numpy.save(FILE, array.astype(numpy.uint8)), or numpy.uint16",
                self.dtype
            ))
        };
        let (order, rest) = match self.dtype.split_at_checked(1) {
            Some((order @ ("<" | ">" | "|" | "="), rest)) => (order, rest),
            _ => ("<", self.dtype.as_str()),
        };
        let big_endian = order == ">" || (order == "=" && cfg!(target_endian = "big"));
        let other = |kind, bytes| Depth::Other { kind, bytes, big_endian };
        Ok(match rest {
            "u1" => Depth::U8,
            "u2" => Depth::U16 { big_endian },
            "b1" => other(SampleType::Unsigned, 1),
            "i1" => other(SampleType::Signed, 1),
            "i2" => other(SampleType::Signed, 2),
            "i4" => other(SampleType::Signed, 4),
            "i8" => other(SampleType::Signed, 8),
            "u4" => other(SampleType::Unsigned, 4),
            "u8" => other(SampleType::Unsigned, 8),
            "f2" => other(SampleType::Float, 2),
            "f4" => other(SampleType::Float, 4),
            "f8" => other(SampleType::Float, 8),
            _ => return Err(unsupported()),
        })
    }

    /// Refuses arrays stored column by column.
    pub(crate) fn check_order(&self) -> Result<(), NpyProblem> {
        if self.fortran_order {
            let found =
                "an array in Fortran order; save it in C order: numpy.save(FILE, numpy.ascontiguousarray(array))";
            return Err(NpyProblem::Unsupported(found.into()));
        }
        Ok(())
    }
}

/// The rest of a header that is still to be read. Its methods give `None` where the text is another.
struct Dictionary<'a> {
    rest: &'a str,
}

impl<'a> Dictionary<'a> {
    fn header(mut self, start: usize) -> Option<Header> {
        let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
        self.eat("{")?;
        while self.eat("}").is_none() {
            let key = self.string()?;
            self.eat(":")?;
            let is_new = match key {
                "descr" => dtype.replace(self.dtype()?).is_none(),
                "fortran_order" => fortran_order.replace(self.bool()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => false,
            };
            if !is_new || (self.eat(",").is_none() && !self.rest.trim_start().starts_with('}')) {
                return None;
            }
        }
        let done = self.rest.trim().is_empty();
        Some(Header { dtype: dtype?, fortran_order: fortran_order?, shape: shape?, start }).filter(|_| done)
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (content, rest) = text[1..].split_once(quote)?;
        self.rest = rest;
        Some(content)
    }

    /// A type; of a structured one, which is a list, its text.
    fn dtype(&mut self) -> Option<String> {
        let text = self.rest.trim_start();
        if !text.starts_with('[') {
            return self.string().map(str::to_owned);
        }
        let end = text.rfind(']')? + 1;
        self.rest = &text[end..];
        Some(text[..end].to_owned())
    }

    fn bool(&mut self) -> Option<bool> {
        self.eat("False").map(|()| false).or_else(|| self.eat("True").map(|()| true))
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        let mut sizes = Vec::new();
        self.eat("(")?;
        while self.eat(")").is_none() {
            let text = self.rest.trim_start();
            let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            sizes.push(text[..digits].parse().ok()?);
            self.rest = &text[digits..];
            // Python 2 wrote long numbers as `3L`.
            let _ = self.eat("L");
            if self.eat(",").is_none() && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn headers_are_read_as_numpy_writes_them_and_in_other_spacing() {
        for (text, dtype, fortran_order, shape) in [
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }     \n", "<u2", false, vec![3, 4]),
            ("{\"shape\":(7,),\"fortran_order\":True,\"descr\":\"|u1\"}", "|u1", true, vec![7]),
            ("{'descr': '>i8', 'fortran_order': False, 'shape': (), }", ">i8", false, vec![]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }", "<f4", false, vec![3, 4]),
        ] {
            let expected = Header { dtype: dtype.into(), fortran_order, shape, start: 10 + text.len() };
            assert_eq!(header(&file(text)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        for text in [
            "",
            "{}",
            "{'descr': '<u2', 'fortran_order': False}",
            "{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<u2', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<u2', 'fortran_order': False, 'shape': (3 4)}",
            "{'descr': '<u2', 'fortran_order': 0, 'shape': (3,)}",
            "{'descr': '<u2', 'fortran_order': False, 'shape': (3,)} more",
            "{'descr': '<u2', 'other': False, 'shape': (3,)}",
        ] {
            assert!(matches!(header(&file(text)), Err(NpyProblem::Malformed { .. })), "{text}");
        }
        for bytes in [&b"\x93NUMPY"[..], b"\x93NUMPY\x01\x00\xFF\xFF{", b"\x93NUMPY\x09\x00\x01\x00{}", b"other"] {
            assert!(header(bytes).is_err(), "{bytes:?}");
        }
        let endless = b"\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF{}";
        assert!(matches!(header(endless), Err(NpyProblem::Malformed { .. })));
    }
}
