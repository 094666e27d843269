//! A file that is read by position, on this machine or behind a URL.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::read_at::read_exact_at;
use crate::DataError;
#[cfg(feature = "remote")]
use crate::remote::{Failure, Object, Reader};

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On this machine; opened for each reading, since a data set may have more files than a process may hold open.
    Path(PathBuf),
    /// Behind a URL.
    #[cfg(feature = "remote")]
    Object(Arc<Object>),
}

/// A file for one reading.
#[derive(Debug)]
pub(crate) enum Opened {
    File {
        file: File,
        bytes: u64,
    },
    #[cfg(feature = "remote")]
    Object {
        object: Arc<Object>,
        failure: Failure,
    },
}

impl Place {
    /// The path or URL, for messages.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            #[cfg(feature = "remote")]
            Self::Object(object) => PathBuf::from(&object.shown),
        }
    }

    pub fn open(&self) -> io::Result<Opened> {
        match self {
            Self::Path(path) => {
                let file = File::open(path)?;
                let bytes = file.metadata()?.len();
                Ok(Opened::File { file, bytes })
            }
            #[cfg(feature = "remote")]
            Self::Object(object) => Ok(Opened::Object { object: Arc::clone(object), failure: Failure::default() }),
        }
    }
}

impl Opened {
    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            #[cfg(feature = "remote")]
            Self::Object { object, .. } => object.bytes(),
        }
    }

    /// Reads by position, so that threads do not move each other's place.
    pub fn read_exact_at(&self, out: &mut [u8], position: u64) -> io::Result<()> {
        match self {
            Self::File { file, .. } => read_exact_at(file, out, position),
            #[cfg(feature = "remote")]
            Self::Object { object, failure } => {
                object.read_exact_at(out, position).map_err(|error| failure.leave(error))
            }
        }
    }

    /// The server that was lost while this was read, if that is what went wrong.
    pub fn failure(&self) -> Option<DataError> {
        match self {
            Self::File { .. } => None,
            #[cfg(feature = "remote")]
            Self::Object { failure, .. } => failure.take(),
        }
    }

    /// What the file holds from a position on.
    pub fn reader_from(this: &Arc<Self>, at: u64) -> Box<dyn Read + Send> {
        match &**this {
            Self::File { bytes, .. } => Box::new(FromHere { file: Arc::clone(this), at, end: *bytes }),
            #[cfg(feature = "remote")]
            Self::Object { object, failure } => Box::new(Reader::new(object, failure).from(at)),
        }
    }
}

struct FromHere {
    file: Arc<Opened>,
    at: u64,
    end: u64,
}

impl Read for FromHere {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.end.saturating_sub(self.at)) as usize;
        self.file.read_exact_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
