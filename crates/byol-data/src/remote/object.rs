//! An object behind a URL, read by position.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;

use super::address::shown;
use super::disk::Extent;
use super::fetch::{Fetcher, Target, same};
use super::server::{Server, Trouble, Version};
use crate::DataError;
use crate::fnv::Fnv;

/// What is fetched by one request where everything fits on disk, and of what is read in order.
pub(crate) const BLOCK: u64 = 1 << 20;

/// Enough to tell what a file is.
const HEAD: u64 = 512;

/// Blocks that are fetched ahead of one who reads in order.
const AHEAD: u64 = 8;

/// An object as it was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// For messages.
    pub shown: String,
    target: Target,
    fetcher: Arc<Fetcher>,
    group: u64,
    id: u64,
    /// The server sends no parts: the whole object is on disk.
    whole: bool,
}

impl Object {
    pub fn new(url: &str, target: Target, fetcher: &Arc<Fetcher>, group: Option<u64>) -> Self {
        let mut hash = Fnv::default();
        hash.add(shown(url).as_bytes());
        hash.add(&target.version.bytes.to_le_bytes());
        hash.add(&target.version.state().to_le_bytes());
        let id = hash.finish();
        let group = group.unwrap_or(id);
        Self { shown: shown(url), target, fetcher: Arc::clone(fetcher), group, id, whole: false }
    }

    /// Asks for the first bytes, which tell what the object is; `None` if there is none.
    pub fn open(
        url: &str,
        server: &Server,
        path: &Path,
        fetcher: &Arc<Fetcher>,
    ) -> Result<Option<(Self, Bytes)>, DataError> {
        let failed = |trouble| error(&shown(url), trouble);
        // Whether a server is there at all shows soon; who opens data waits in front of the screen.
        let patience = fetcher.patience.min(std::time::Duration::from_secs(30));
        let first = server.runtime.block_on(server.asked(patience, async || server.get(path, Some(0..HEAD)).await));
        let (meta, head, whole) = match first {
            Ok((meta, head)) => (meta, head, false),
            Err(Trouble::NotThere) => return Ok(None),
            Err(trouble @ (Trouble::NoRanges | Trouble::NoSuchRange)) => {
                let meta = server.runtime.block_on(server.asked(patience, async || server.head(path).await));
                let meta = meta.map_err(failed)?;
                // An empty object has no range.
                (meta.clone(), Bytes::new(), trouble == Trouble::NoRanges && meta.size > 0)
            }
            Err(trouble) => return Err(failed(trouble)),
        };
        let target = Target { server: server.clone(), path: path.clone(), version: Version::of(&meta) };
        let mut object = Self::new(url, target, fetcher, None);
        object.whole = whole;
        fetcher.opened(object.bytes());
        if !whole {
            return Ok(Some((object, head)));
        }
        object.fetch_whole()?;
        let mut head = vec![0; object.bytes().min(HEAD) as usize];
        object.read_exact_at(&mut head, 0)?;
        Ok(Some((object, head.into())))
    }

    /// Length.
    pub fn bytes(&self) -> u64 {
        self.target.version.bytes
    }

    /// What tells it from other objects, and from itself in another state.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether everything fits on disk; see [`Fetcher::fits`].
    pub fn fits(&self) -> bool {
        self.fetcher.fits()
    }

    /// Reads `out` from `position` on.
    pub fn read_exact_at(&self, out: &mut [u8], position: u64) -> Result<(), DataError> {
        let end = position + out.len() as u64;
        if end > self.bytes() {
            let problem = format!("it has {} bytes, and byte {end} is asked for", self.bytes());
            return Err(DataError::Remote {
                url: self.shown.clone(),
                problem,
                remedy: "it is damaged or cut short; upload it again".into(),
            });
        }
        let (mut at, mut rest) = (position, out);
        while !rest.is_empty() {
            let extent = self.extent(at, end);
            let here = ((extent.start + extent.bytes).min(end) - at) as usize;
            let (now, later) = rest.split_at_mut(here);
            self.read_of(extent, at - extent.start, now)?;
            (at, rest) = (at + here as u64, later);
        }
        Ok(())
    }

    /// The block that `position` is in; those behind it are fetched meanwhile, if `in_order`.
    pub fn block(&self, position: u64, in_order: bool) -> Result<(u64, Vec<u8>), DataError> {
        let first = position / BLOCK;
        if in_order && !self.whole {
            let last = self.bytes().saturating_sub(1) / BLOCK;
            (first + 1..=(first + AHEAD).min(last))
                .for_each(|ahead| self.fetcher.announce(&self.target, self.aligned(ahead * BLOCK)));
        }
        let aligned = self.aligned(position);
        let mut bytes = vec![0; aligned.bytes as usize];
        if self.whole {
            self.read_exact_at(&mut bytes, aligned.start)?;
        } else {
            self.read_of(aligned, 0, &mut bytes)?;
        }
        Ok((aligned.start, bytes))
    }

    /// Has what will be read soon fetched.
    pub fn announce(&self, position: u64, bytes: u64) {
        let (mut at, end) = (position, position.saturating_add(bytes).min(self.bytes()));
        while !self.whole && at < end {
            let extent = self.extent(at, end);
            self.fetcher.announce(&self.target, extent);
            at = extent.start + extent.bytes;
        }
    }

    fn read_of(&self, extent: Extent, start: u64, out: &mut [u8]) -> Result<(), DataError> {
        if self.whole {
            let disk = self.fetcher.disk.as_ref();
            let read = |out: &mut [u8]| disk.is_some_and(|disk| disk.read(extent, start, out));
            if read(out) {
                return Ok(());
            }
            // Another program may have taken it away.
            self.fetch_whole()?;
            return if read(out) { Ok(()) } else { Err(self.no_room()) };
        }
        let read = self.fetcher.read(&self.target, extent, start, out);
        read.map_err(|trouble| error(&self.shown, trouble))
    }

    /// What is fetched for a byte at `at` of a read that ends at `end`.
    fn extent(&self, at: u64, end: u64) -> Extent {
        let Self { group, id: object, .. } = *self;
        if self.whole {
            return Extent { group, object, start: 0, bytes: self.bytes() };
        }
        if self.group == self.id {
            // Where not everything fits, what listing has read is there all the same, as far as it did.
            let block = self.aligned(at);
            if self.fetcher.fits() || self.fetcher.disk.as_ref().is_some_and(|disk| disk.has(block)) {
                return block;
            }
        }
        Extent { group, object, start: at, bytes: end - at }
    }

    fn aligned(&self, at: u64) -> Extent {
        let start = at / BLOCK * BLOCK;
        Extent { group: self.group, object: self.id, start, bytes: BLOCK.min(self.bytes() - start) }
    }

    /// Fetches the whole object to disk, unless it is there.
    fn fetch_whole(&self) -> Result<(), DataError> {
        let Target { server, path, version } = &self.target;
        let extent = self.extent(0, self.bytes());
        let Some(disk) = &self.fetcher.disk else { return Err(self.no_room()) };
        if disk.has(extent) {
            return Ok(());
        }
        let ask = async || {
            let full = |error: std::io::Error| Trouble::Final {
                problem: format!("its content cannot be kept: {error}"),
                remedy: "make room, or choose another folder with data.remote_cache".into(),
            };
            let Some(mut writer) = disk.writer(extent).map_err(full)? else {
                return Err(Trouble::Final { problem: String::new(), remedy: String::new() });
            };
            let meta = server.stream(path, &mut |bytes| writer.add(bytes)).await?;
            same(*version, Version::of(&meta))?;
            disk.finish(writer).map_err(|error| Trouble::Passing(error.to_string()))
        };
        let got = server.runtime.block_on(server.asked(self.fetcher.patience, ask));
        got.map_err(|trouble| match trouble {
            Trouble::Final { problem, .. } if problem.is_empty() => self.no_room(),
            trouble => error(&self.shown, trouble),
        })
    }

    fn no_room(&self) -> DataError {
        DataError::Remote {
            url: self.shown.clone(),
            problem: format!(
                "the server sends no parts of files (it ignores Range), and all {} bytes of this one do not fit into the cache",
                self.bytes()
            ),
            remedy: "raise data.remote_cache_bytes, use a server that knows Range, or copy the data to this machine"
                .into(),
        }
    }
}

/// What could not be fetched, as an error.
pub(crate) fn error(shown: &str, trouble: Trouble) -> DataError {
    let (problem, remedy) = match trouble {
        Trouble::Final { problem, remedy } => (problem, remedy),
        Trouble::NotThere => ("there is nothing (404)".to_owned(), "check the spelling of the URL".to_owned()),
        Trouble::NoRanges | Trouble::NoSuchRange => {
            ("the server sends no parts of files".to_owned(), "use a server that knows Range".to_owned())
        }
        Trouble::Passing(said) => (said, "try again".to_owned()),
    };
    DataError::Remote { url: shown.into(), problem, remedy }
}
