//! The bytes of a pickle as they come: numbers, lines, and content that is read or passed over.

use std::io::{BufRead, ErrorKind, Read, Seek};

const CUT_SHORT: &str = "the pickle is cut short";

/// What a pickle is read from.
pub(super) struct Source<'a, R>(pub &'a mut R);

impl<R: BufRead + Seek> Source<'_, R> {
    pub fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map_err(|error| ended(&error))?;
        Ok(bytes)
    }

    /// As many bytes as are said to follow; memory is taken as they arrive.
    pub fn content(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        Read::take(&mut *self.0, length).read_to_end(&mut content).map_err(|error| ended(&error))?;
        match content.len() as u64 == length {
            true => Ok(content),
            false => Err(CUT_SHORT.to_owned()),
        }
    }

    pub fn position(&mut self) -> Result<u64, String> {
        self.0.stream_position().map_err(|error| ended(&error))
    }

    /// Passes over content, which may be all of the weights, without reading it. If the file ends before, the next opcode is missing.
    pub fn skip(&mut self, length: u64) -> Result<(), String> {
        let length = i64::try_from(length).map_err(|_| CUT_SHORT)?;
        self.0.seek_relative(length).map_err(|error| ended(&error))
    }

    pub fn line(&mut self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.line_bytes()?).into_owned())
    }

    pub fn line_bytes(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).map_err(|error| ended(&error))?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            _ => Err(CUT_SHORT.to_owned()),
        }
    }
}

fn ended(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => CUT_SHORT.to_owned(),
        _ => error.to_string(),
    }
}
