//! An object read in order, block by block, for tar archives and Parquet files.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use super::headers::Headers;
use super::object::{BLOCK, Object};
use crate::DataError;

/// Where a reader leaves what went wrong: the crates in between make their own errors of it, such as one of a file cut short.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<DataError>>>);

impl Failure {
    /// The error that happened, if there was one.
    pub fn take(&self) -> Option<DataError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves an error, and gives what can be returned in its place.
    pub fn leave(&self, error: DataError) -> io::Error {
        let said = io::Error::other(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        said
    }
}

/// The bytes of an object one after the other; from what was noted of it on an earlier reading, as far as that goes.
pub(crate) struct Reader {
    object: Arc<Object>,
    at: u64,
    end: u64,
    /// Where the block begins, and its bytes.
    block: Option<(u64, Vec<u8>)>,
    failure: Failure,
    noted: Option<Arc<Headers>>,
    /// What was read, for the next time.
    pub read: Headers,
    notes: bool,
    /// Whether the first block is one of several in a row.
    in_order: bool,
}

impl Reader {
    pub fn new(object: &Arc<Object>, failure: &Failure) -> Self {
        Self {
            object: Arc::clone(object),
            at: 0,
            end: object.bytes(),
            block: None,
            failure: failure.clone(),
            noted: None,
            read: Headers::default(),
            notes: false,
            in_order: true,
        }
    }

    /// From `at` on.
    pub fn from(mut self, at: u64) -> Self {
        self.at = at;
        // Perhaps for one picture only: what lies behind it is fetched if it is not fetched in vain.
        self.in_order = self.object.fits();
        self
    }

    /// Takes what `noted` has from there, and notes what is read.
    pub fn noting(mut self, noted: Option<Arc<Headers>>) -> Self {
        (self.noted, self.notes) = (noted, true);
        self
    }

    fn read_block(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let holds = |start: u64, bytes: &[u8]| (start..start + bytes.len() as u64).contains(&self.at);
        if !self.block.as_ref().is_some_and(|(start, bytes)| holds(*start, bytes)) {
            let last = self.block.take().map(|(start, _)| start / BLOCK);
            let in_order = last.map_or(self.in_order, |last| last + 1 == self.at / BLOCK);
            let block = self.object.block(self.at, in_order).map_err(|error| self.failure.leave(error))?;
            self.block = Some(block);
        }
        let (start, bytes) = self.block.as_ref().map_or((self.at, &[][..]), |(start, bytes)| (*start, bytes));
        let here = &bytes[(self.at - start) as usize..];
        let count = here.len().min(buffer.len());
        buffer[..count].copy_from_slice(&here[..count]);
        Ok(count)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.end || buffer.is_empty() {
            return Ok(0);
        }
        let noted = self.noted.as_ref().and_then(|noted| noted.from(self.at));
        let count = match noted {
            Some(noted) => {
                let count = noted.len().min(buffer.len());
                buffer[..count].copy_from_slice(&noted[..count]);
                count
            }
            None => {
                let count = self.read_block(buffer)?;
                self.read.is_new |= self.notes;
                count
            }
        };
        if self.notes {
            self.read.add(self.at, &buffer[..count]);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
