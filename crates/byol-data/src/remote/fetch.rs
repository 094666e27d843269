//! Many extents on their way at once, each asked for by one request, whoever waits for it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use tokio::sync::Semaphore;

use super::disk::{Disk, Extent};
use super::server::{Attempts, Server, Trouble, Version};

/// Requests at once.
const AT_ONCE: usize = 64;

/// Memory for extents that were fetched and may be asked for again.
const KEPT_BYTES: usize = 256 << 20;

/// An object, as far as fetching goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub server: Server,
    pub path: Path,
    pub version: Version,
}

/// What fetches for all roots of a dataset.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// Where extents are kept, unless `data.remote_cache_bytes` is 0.
    pub disk: Option<Disk>,
    /// How long a server is asked again.
    pub patience: Duration,
    slots: Mutex<Slots>,
    changed: Condvar,
    at_once: Semaphore,
    /// Bytes of all objects that were opened, to see whether they fit on disk together.
    opened_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    of: HashMap<Extent, Slot>,
    /// Those that are done, the oldest first.
    done: VecDeque<Extent>,
    done_bytes: usize,
}

#[derive(Clone, Debug)]
enum Slot {
    Pending,
    Done(Bytes),
    Failed(Trouble),
}

impl Fetcher {
    pub fn new(disk: Option<Disk>, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            disk,
            patience,
            slots: Mutex::default(),
            changed: Condvar::new(),
            at_once: Semaphore::new(AT_ONCE),
            opened_bytes: AtomicU64::new(0),
        })
    }

    /// Notes that an object was opened that pictures will be read from.
    pub fn opened(&self, bytes: u64) {
        self.opened_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all that was opened fits on disk. Then it is fetched in large blocks, each once; otherwise only what is asked
    /// for, since the rest of a block would be fetched again for every other picture in it.
    pub fn fits(&self) -> bool {
        self.disk
            .as_ref()
            .is_some_and(|disk| self.opened_bytes.load(Ordering::Relaxed) <= disk.limit_bytes() / 100 * 99)
    }

    /// Has an extent fetched that will be asked for soon.
    pub fn announce(self: &Arc<Self>, target: &Target, extent: Extent) {
        if self.slots().of.contains_key(&extent) || self.disk.as_ref().is_some_and(|disk| disk.has(extent)) {
            return;
        }
        let mut slots = self.slots();
        if let std::collections::hash_map::Entry::Vacant(free) = slots.of.entry(extent) {
            free.insert(Slot::Pending);
            self.start(target, extent);
        }
    }

    /// Reads `out` from `start` bytes behind the beginning of `extent`, from memory, from disk or from the server.
    pub fn read(self: &Arc<Self>, target: &Target, extent: Extent, start: u64, out: &mut [u8]) -> Result<(), Trouble> {
        let mut slots = self.slots();
        let mut looked = false;
        loop {
            match slots.of.get(&extent).cloned() {
                Some(Slot::Done(bytes)) => {
                    out.copy_from_slice(&bytes[start as usize..start as usize + out.len()]);
                    return Ok(());
                }
                Some(Slot::Failed(trouble)) => return Err(trouble),
                Some(Slot::Pending) => {
                    slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                None if !looked => {
                    drop(slots);
                    if self.disk.as_ref().is_some_and(|disk| disk.read(extent, start, out)) {
                        return Ok(());
                    }
                    looked = true;
                    slots = self.slots();
                }
                None => {
                    slots.of.insert(extent, Slot::Pending);
                    self.start(target, extent);
                }
            }
        }
    }

    fn start(self: &Arc<Self>, target: &Target, extent: Extent) {
        let (fetcher, target) = (Arc::clone(self), target.clone());
        target.server.runtime.spawn(async move {
            // A semaphore that is never closed gives its permits.
            let permit = fetcher.at_once.acquire().await;
            let range = extent.start..extent.start + extent.bytes;
            let got = fetch(&target, range, fetcher.patience).await;
            drop(permit);
            if let (Ok(bytes), Some(disk)) = (&got, &fetcher.disk) {
                disk.keep(extent, bytes);
            }
            fetcher.end(extent, got);
        });
    }

    fn end(&self, extent: Extent, got: Result<Bytes, Trouble>) {
        let mut slots = self.slots();
        let slot = match got {
            Ok(bytes) => {
                slots.done_bytes += bytes.len();
                slots.done.push_back(extent);
                Slot::Done(bytes)
            }
            Err(trouble) => Slot::Failed(trouble),
        };
        slots.of.insert(extent, slot);
        while slots.done_bytes > KEPT_BYTES
            && slots.done.len() > 1
            && let Some(oldest) = slots.done.pop_front()
        {
            if let Some(Slot::Done(bytes)) = slots.of.remove(&oldest) {
                slots.done_bytes -= bytes.len();
            }
        }
        drop(slots);
        self.changed.notify_all();
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stretch of an object as it was when it was opened.
async fn fetch(target: &Target, range: Range<u64>, patience: Duration) -> Result<Bytes, Trouble> {
    let Target { server, path, version } = target;
    let mut attempts = Attempts::new(patience);
    let got = loop {
        match server.get(path, Some(range.clone())).await {
            Err(Trouble::Passing(said)) => attempts.wait(server, said).await?,
            Ok((meta, bytes)) => break same(*version, Version::of(&meta)).map(|()| bytes),
            Err(trouble) => break Err(trouble),
        }
    };
    match got {
        Err(Trouble::NotThere) => Err(Trouble::Final {
            problem: "it is no longer there (404)".into(),
            remedy: "put it back as it was, or open the data anew".into(),
        }),
        Err(Trouble::NoSuchRange) => Err(changed()),
        Err(Trouble::NoRanges) => Err(Trouble::Final {
            problem: "the server sends whole files now and sent parts when the data was opened".into(),
            remedy: "start again, which fetches whole files then".into(),
        }),
        answer => answer,
    }
}

/// An error if an object is no longer what it was when it was opened.
pub(crate) fn same(opened: Version, now: Version) -> Result<(), Trouble> {
    if opened.is_same(now) { Ok(()) } else { Err(changed()) }
}

fn changed() -> Trouble {
    Trouble::Final {
        problem: "it has changed since the data was opened (its ETag, time or size is another)".into(),
        remedy: "put back what was there; a run goes on with other data only by `byol resume RUN --changed-data`"
            .into(),
    }
}
