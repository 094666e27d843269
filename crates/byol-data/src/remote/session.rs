//! What is behind the URLs of one dataset, found by many requests at once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;

use super::address::{last_component, shown};
use super::disk::Disk;
use super::fetch::{Fetcher, Target};
use super::headers::{self, Headers};
use super::object::{Object, error};
use super::server::{Server, Trouble, Version};
use crate::fnv::Fnv;
use crate::{DataConfig, DataError};

/// Threads that wait for servers while data is opened.
const THREADS: usize = 16;

/// The URLs of one opening; each is asked for once, however often it is opened for its splits.
#[derive(Debug, Default)]
pub(crate) struct Session {
    fetcher: OnceLock<Arc<Fetcher>>,
    found: Mutex<HashMap<String, Found>>,
    /// What was read of archives to list them, packed.
    headers: Mutex<HashMap<u64, Arc<[u8]>>>,
}

/// What is at a URL.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// An object, and its first bytes.
    Object(Arc<Object>, Bytes),
    /// Objects below a name.
    Prefix(Prefix),
}

/// Objects below a name, like files in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    url: String,
    server: Server,
    path: Path,
    fetcher: Arc<Fetcher>,
    group: u64,
    /// Name below the prefix, and the version.
    pub objects: Arc<Vec<(String, Version)>>,
}

impl Prefix {
    /// The URL of the object `name`.
    pub fn url_of(&self, name: &str) -> String {
        let escaped = name.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        format!("{}/{escaped}", self.url.trim_end_matches('/'))
    }

    /// The object `name` as it was listed.
    pub fn object(&self, name: &str, bytes: u64, tag: u64) -> Object {
        let below = Path::parse(name).unwrap_or_else(|_| Path::from(name));
        let path = self.path.parts().chain(below.parts()).collect();
        let target = Target { server: self.server.clone(), path, version: Version { bytes, tag } };
        Object::new(&self.url_of(name), target, &self.fetcher, Some(self.group))
    }
}

impl Session {
    /// What is at `url`: an object, or else what is below it.
    pub fn find(&self, url: &str, config: &DataConfig) -> Result<Found, DataError> {
        if let Some(found) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(found.clone());
        }
        let found = self.ask(url, config)?;
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.entry(url.to_owned()).or_insert(found).clone())
    }

    /// What listing the archive `object` read on an earlier time: in this session, or as noted in the folder `indexes`.
    pub fn headers(&self, object: &Object, indexes: Option<&std::path::Path>) -> Option<Headers> {
        let known = self.headers.lock().unwrap_or_else(PoisonError::into_inner).get(&object.id()).cloned();
        let packed = known.or_else(|| headers::load(indexes?, object.id()).map(Arc::from))?;
        Headers::unpacked(&packed)
    }

    /// Keeps what was read for the next time.
    pub fn keep_headers(&self, object: &Object, headers: &Headers, indexes: Option<&std::path::Path>) {
        let Some(packed) = headers.packed() else { return };
        if let Some(indexes) = indexes {
            headers::save(indexes, object.id(), &packed);
        }
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).insert(object.id(), packed.into());
    }

    /// Runs `work` on each of `items`, many at once; the error is that of the first that has one.
    pub fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), DataError> + Sync) -> Result<(), DataError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let first: Mutex<Option<(usize, DataError)>> = Mutex::new(None);
        let run = || {
            loop {
                let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(item) = items.get(place) else { break };
                if let Err(error) = work(item) {
                    next.store(items.len(), std::sync::atomic::Ordering::Relaxed);
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|(earlier, _)| place < *earlier) {
                        *first = Some((place, error));
                    }
                }
            }
        };
        thread::scope(|scope| {
            let start = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
            let workers: Vec<_> = (1..THREADS.min(items.len())).map_while(start).collect();
            run();
            drop(workers);
        });
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn fetcher(&self, config: &DataConfig) -> &Arc<Fetcher> {
        self.fetcher.get_or_init(|| {
            let users = || Some(dirs::cache_dir()?.join("byol").join("remote"));
            let folder: Option<PathBuf> = config.remote_cache.clone().or_else(users);
            let disk = folder.filter(|_| config.remote_cache_bytes > 0);
            let disk = disk.map(|folder| Disk::new(folder, config.remote_cache_bytes));
            Fetcher::new(disk, Duration::from_secs(config.remote_retry_secs))
        })
    }

    fn ask(&self, url: &str, config: &DataConfig) -> Result<Found, DataError> {
        let (server, path) = Server::of(url)?;
        let fetcher = self.fetcher(config);
        let nothing = |remedy: &str| DataError::Remote {
            url: shown(url),
            problem: "there is nothing of this name (404)".into(),
            remedy: remedy.into(),
        };
        let object = || -> Result<Option<Found>, DataError> {
            if server.lists && (path.as_ref().is_empty() || url.ends_with('/')) {
                return Ok(None);
            }
            let opened = Object::open(url, &server, &path, fetcher)?;
            Ok(opened.map(|(object, head)| Found::Object(Arc::new(object), head)))
        };
        if !server.lists {
            let remedy = "check the spelling; a web server lists no folders, so name every file: \
                          https://HOST/shard-{000..127}.tar";
            return object()?.ok_or_else(|| nothing(remedy));
        }
        let prefix = || list(url, &server, &path, fetcher).map(|found| found.map(Found::Prefix));
        // Some servers over folders fail where an object is asked for and a folder is there.
        let looks_like_a_file = last_component(url).contains('.');
        let first = if looks_like_a_file { object()? } else { prefix()? };
        let found = match first {
            None if looks_like_a_file => prefix()?,
            None => object()?,
            found => found,
        };
        found.ok_or_else(|| nothing("check the spelling, and that the credentials are those of the right account"))
    }

    /// Notes that all pictures of a prefix will be read.
    pub fn opened(&self, bytes: u64) {
        if let Some(fetcher) = self.fetcher.get() {
            fetcher.opened(bytes);
        }
    }
}

/// What is below a name, if anything.
fn list(url: &str, server: &Server, path: &Path, fetcher: &Arc<Fetcher>) -> Result<Option<Prefix>, DataError> {
    let patience = fetcher.patience.min(Duration::from_secs(30));
    let listed = match server.runtime.block_on(server.asked(patience, async || server.list(path).await)) {
        // No such bucket.
        Err(Trouble::NotThere) => Vec::new(),
        listed => listed.map_err(|trouble| error(&shown(url), trouble))?,
    };
    let below = |meta: &object_store::ObjectMeta| {
        let mut rest = meta.location.prefix_match(path)?;
        let first = rest.next()?;
        let name = rest.fold(first.as_ref().to_owned(), |name, part| name + "/" + part.as_ref());
        Some((name, Version::of(meta)))
    };
    let objects: Vec<(String, Version)> = listed.iter().filter_map(below).collect();
    if objects.is_empty() {
        return Ok(None);
    }
    let mut hash = Fnv::default();
    hash.add(shown(url).trim_end_matches('/').as_bytes());
    Ok(Some(Prefix {
        url: shown(url),
        server: server.clone(),
        path: path.clone(),
        fetcher: Arc::clone(fetcher),
        group: hash.finish(),
        objects: Arc::new(objects),
    }))
}
