//! What is behind URLs, as the readers of files need it: archives listed by what was noted of them, objects as files of a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{self, Storage};
use super::contents::{Contents, Member};
use super::listing::Listing;
use super::parquet;
use super::place::Place;
use crate::error::Unread;
use crate::limits::check_file_size;
use crate::remote::{Failure, Found, Object, Prefix, Reader, Session};
use crate::{DataConfig, DataError};

/// Pictures that are an object each.
#[derive(Debug)]
pub(crate) struct Objects {
    prefix: Prefix,
    /// In the place of positions, what tells the state of each.
    pub listing: Listing,
}

impl Objects {
    pub fn new(prefix: Prefix, listing: Listing) -> Self {
        Self { prefix, listing }
    }

    fn object(&self, index: usize) -> Object {
        let name = String::from_utf8_lossy(self.listing.name(index));
        self.prefix.object(&name, self.listing.size_bytes(index), self.listing.position(index))
    }

    /// Reads object `index` into `bytes`, unless it has more than `max_bytes`.
    pub fn read(&self, index: usize, max_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), Unread> {
        let size_bytes = self.listing.size_bytes(index);
        check_file_size(size_bytes, max_bytes)?;
        bytes.resize(usize::try_from(size_bytes).map_err(|error| error.to_string())?, 0);
        self.object(index).read_exact_at(bytes, 0).map_err(|error| Unread::Lost(error.into()))
    }

    pub fn announce(&self, index: usize) {
        self.object(index).announce(0, self.listing.size_bytes(index));
    }
}

/// What is below a prefix, like a folder.
pub(crate) fn contents(prefix: &Prefix) -> Contents {
    let mut contents = Contents::default();
    for (name, version) in prefix.objects.iter() {
        contents.add(Member::of(name.as_bytes()), name.as_bytes(), version.bytes, version.tag);
    }
    contents.sort();
    contents
}

/// Lists the plain archive `object`.
pub(crate) fn scan(
    object: &Arc<Object>,
    session: &Session,
    indexes: Option<&Path>,
    config: &DataConfig,
) -> Result<(Contents, Storage), DataError> {
    let failure = Failure::default();
    let noted = session.headers(object, indexes).map(Arc::new);
    let mut reader = Reader::new(object, &failure).noting(noted);
    let scanned = archive::scan(Path::new(&object.shown), &mut reader, object.bytes(), config);
    let contents = scanned.map_err(|error| failure.take().unwrap_or(error))?;
    if reader.read.is_new {
        session.keep_headers(object, &reader.read, indexes);
    }
    Ok((contents, Storage::Object(Arc::clone(object))))
}

/// Asks for `urls` and lists the archives among them, many at once, so that opening them one after the other waits for nothing.
pub(crate) fn list_ahead(
    urls: &[&str],
    session: &Session,
    indexes: Option<&Path>,
    config: &DataConfig,
) -> Result<(), DataError> {
    Session::at_once(urls, |url| session.find(url, config).map(drop))?;
    Session::at_once(urls, |url| match session.find(url, config)? {
        Found::Object(object, head) if archive::looks_like_tar(&head) => {
            scan(&object, session, indexes, config).map(drop)
        }
        _ => Ok(()),
    })
}

/// The Parquet files among `parts` of a prefix, by name.
pub(crate) fn parquet_places(
    prefix: &Prefix,
    contents: &Contents,
    session: &Session,
    config: &DataConfig,
) -> Result<Vec<(String, Place)>, DataError> {
    let names = contents.parts.iter().map(|(name, ..)| name);
    let base = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let names: Vec<&String> = names.filter(|name| parquet::is_part(&base(name))).collect();
    Session::at_once(&names, |name| session.find(&prefix.url_of(name), config).map(drop))?;
    let place = |name: &String| match session.find(&prefix.url_of(name), config)? {
        Found::Object(object, _) => Ok((name.clone(), Place::Object(object))),
        Found::Prefix(_) => Err(DataError::NotFound { path: PathBuf::from(prefix.url_of(name)) }),
    };
    names.into_iter().map(place).collect()
}
