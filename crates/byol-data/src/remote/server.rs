//! One request to a store or a web server, asked again while that may help.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientConfigKey, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;
use url::Url;

use super::address::{decoded, scheme, shown};
use crate::DataError;
use crate::fnv::Fnv;

/// The forms of URL, for messages.
const FORMS: &str = "s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY, https://HOST/FILE.tar";

/// A pause before asking again starts at this and doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No bytes for so long are a lost connection. A whole request may take long: of servers without ranges it is a whole file.
const SILENCE: &str = "30s";
const CONNECTING: &str = "10s";
const WHOLE_REQUEST: &str = "6h";

/// Why something could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is nothing (404).
    NotThere,
    /// A range behind the end, as of an empty object (416).
    NoSuchRange,
    /// The server sends the whole file whatever part was asked for.
    NoRanges,
    /// What went wrong, and what to do about it.
    Final { problem: String, remedy: String },
    /// As before, and it may go right at another time.
    Passing(String),
}

/// What tells one state of an object from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub bytes: u64,
    /// A hash of its ETag in the upper half, the second at which it changed in the lower; 0 for what the server does not state. One
    /// number, for a listing of millions has a place for one.
    pub tag: u64,
}

impl Version {
    pub fn of(meta: &ObjectMeta) -> Self {
        let hash = |tag: &String| {
            let mut hash = Fnv::default();
            // Listings of some stores leave the quotes out, and a weak tag is one of the same content.
            hash.add(tag.trim_start_matches("W/").trim_matches('"').as_bytes());
            let hash = hash.finish();
            ((hash >> 32) ^ (hash & u64::from(u32::MAX))).max(1)
        };
        let changed_secs = meta.last_modified.timestamp() as u64 & u64::from(u32::MAX);
        Self { bytes: meta.size, tag: (meta.e_tag.as_ref().map_or(0, hash) << 32) | changed_secs }
    }

    /// By the ETag if both have one, for the time may differ between the machines of a server; else by the time. Some servers
    /// state in listings what they do not state with an object, and the other way round.
    pub fn is_same(self, other: Self) -> bool {
        let parts = |version: Self| [version.tag >> 32, version.tag & u64::from(u32::MAX)];
        let both = parts(self).into_iter().zip(parts(other)).find(|&(one, other)| one != 0 && other != 0);
        self.bytes == other.bytes && both.is_none_or(|(one, other)| one == other)
    }

    /// What names it on disk.
    pub fn state(self) -> u64 {
        if self.tag >> 32 != 0 { self.tag >> 32 } else { self.tag }
    }
}

/// A bucket or a web server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    store: Arc<dyn ObjectStore>,
    pub runtime: &'static Runtime,
    /// Whether what is below a name can be listed.
    pub lists: bool,
    scheme: String,
}

impl Server {
    /// The server of `url`, and where the object is on it.
    pub fn of(url: &str) -> Result<(Self, Path), DataError> {
        let wrong = |problem: String| DataError::Remote {
            url: shown(url),
            problem,
            remedy: format!("expected one of {FORMS}"),
        };
        let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let scheme = match scheme(url).unwrap_or_default().to_ascii_lowercase().as_str() {
            "s3" | "s3a" => "s3",
            "gs" => "gs",
            "az" | "azure" | "adl" | "abfs" | "abfss" => "az",
            "http" | "https" => "http",
            other => return Err(wrong(format!("unknown kind of URL {other}://"))),
        };
        if parsed.password().is_some() {
            return Err(DataError::Remote {
                url: shown(url),
                problem: "it holds a password, which would be written into run folders".into(),
                remedy: credentials(scheme).into(),
            });
        }
        let runtime = runtime()?;
        let lists = scheme != "http";
        // With a query, such as a signature, the whole URL is the address of the one object.
        let alone = !lists && parsed.query().is_some();
        let (mut base, path) = (parsed.clone(), Path::parse(decoded(parsed.path())));
        let path = if alone { Path::default() } else { path.map_err(|error| wrong(error.to_string()))? };
        if !alone {
            base.set_path("");
            base.set_query(None);
        }
        base.set_fragment(None);
        static SERVERS: Mutex<Option<HashMap<String, Arc<dyn ObjectStore>>>> = Mutex::new(None);
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = servers.get_or_insert_default();
        let store = match servers.get(base.as_str()) {
            Some(store) => Arc::clone(store),
            None => {
                let store = build(scheme, base.as_str()).map_err(|error| DataError::Remote {
                    url: shown(url),
                    problem: error.to_string(),
                    remedy: credentials(scheme).into(),
                })?;
                if !alone {
                    servers.insert(base.into(), Arc::clone(&store));
                }
                store
            }
        };
        Ok((Self { store, runtime, lists, scheme: scheme.to_owned() }, path))
    }

    /// The bytes of `range`, cut at the end of the object; of the whole object without a range.
    pub async fn get(&self, path: &Path, range: Option<Range<u64>>) -> Result<(ObjectMeta, Bytes), Trouble> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let got = self.store.get_opts(path, options).await.map_err(|error| self.trouble(&error))?;
        let (meta, expected) = (got.meta.clone(), got.range.end - got.range.start);
        let bytes = got.bytes().await.map_err(|error| Trouble::Passing(words(&error)))?;
        if bytes.len() as u64 != expected {
            return Err(Trouble::Passing(format!("{} bytes came instead of {expected}", bytes.len())));
        }
        Ok((meta, bytes))
    }

    /// The whole object, handed over in pieces; returns what it is.
    pub async fn stream(
        &self,
        path: &Path,
        take: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<ObjectMeta, Trouble> {
        let got = self.store.get_opts(path, GetOptions::default()).await.map_err(|error| self.trouble(&error))?;
        let meta = got.meta.clone();
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|error| Trouble::Passing(words(&error)))? {
            take(&piece).map_err(|error| Trouble::Final {
                problem: format!("its content cannot be kept: {error}"),
                remedy: "make room, or choose another folder with data.remote_cache".into(),
            })?;
        }
        Ok(meta)
    }

    /// Size and version without content.
    pub async fn head(&self, path: &Path) -> Result<ObjectMeta, Trouble> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let got = self.store.get_opts(path, options).await.map_err(|error| self.trouble(&error))?;
        Ok(got.meta)
    }

    /// Everything below `prefix`.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, Trouble> {
        self.store.list(Some(prefix)).try_collect().await.map_err(|error| self.trouble(&error))
    }

    /// What an error of the crate means.
    fn trouble(&self, error: &object_store::Error) -> Trouble {
        use object_store::Error::{NotFound, NotSupported, PermissionDenied, Unauthenticated};
        let said = words(error);
        let refused = |what: &str| Trouble::Final {
            problem: format!("the server refused the request ({what})"),
            remedy: credentials(&self.scheme).into(),
        };
        match error {
            NotFound { .. } => Trouble::NotThere,
            NotSupported { .. } => Trouble::NoRanges,
            PermissionDenied { .. } => refused("403, no permission"),
            Unauthenticated { .. } => refused("401, no or wrong credentials"),
            // Some stores answer a part with the whole under their own wording.
            _ if said.contains("non-partial response") => Trouble::NoRanges,
            _ if said.contains("invalid peer certificate") => Trouble::Final {
                problem: said,
                remedy: "set SSL_CERT_FILE to a file with the certificate of the authority, if it is one of your own"
                    .into(),
            },
            _ => match status(&said) {
                Some(404 | 410) => Trouble::NotThere,
                Some(416) => Trouble::NoSuchRange,
                Some(401 | 403) => refused("401 or 403"),
                Some(code) if (300..500).contains(&code) && ![408, 425, 429].contains(&code) => {
                    Trouble::Final { problem: said, remedy: credentials(&self.scheme).into() }
                }
                _ => Trouble::Passing(said),
            },
        }
    }

    /// Asks until an answer comes that asking again would not change, for `patience` at most.
    pub async fn asked<T>(
        &self,
        patience: Duration,
        mut ask: impl AsyncFnMut() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut attempts = Attempts::new(patience);
        loop {
            match ask().await {
                Err(Trouble::Passing(said)) => attempts.wait(self, said).await?,
                answer => return answer,
            }
        }
    }
}

/// How often something was asked for, and for how long it may be asked again.
pub(crate) struct Attempts {
    patience: Duration,
    start: Instant,
    pause: Duration,
    times: u32,
}

impl Attempts {
    pub fn new(patience: Duration) -> Self {
        Self { patience, start: Instant::now(), pause: FIRST_PAUSE, times: 1 }
    }

    /// Waits before the next time, after the server `said` no.
    ///
    /// # Errors
    /// When it was asked for long enough.
    pub async fn wait(&mut self, server: &Server, said: String) -> Result<(), Trouble> {
        let Self { patience, start, pause, times } = self;
        if start.elapsed() + *pause > *patience {
            return Err(Trouble::Final {
                problem: format!("asked {times} times in {} s, at last: {said}", start.elapsed().as_secs()),
                remedy: format!(
                    "see that the server and the way to it are up, and go on (byol resume); data.remote_retry_secs says how \
                     long it is asked; {}",
                    credentials(&server.scheme)
                ),
            });
        }
        // Many threads and processes would else ask again at the same moment.
        let spread = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos() % 1000);
        tokio::time::sleep(*pause / 2 + *pause * spread / 1000).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        *times += 1;
        Ok(())
    }
}

/// What to set where a server refuses; what `docs/remote.md` says at length.
pub(crate) fn credentials(scheme: &str) -> &'static str {
    match scheme {
        "s3" => {
            "for S3, set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) and AWS_REGION, for other servers \
             AWS_ENDPOINT_URL; for a public bucket AWS_SKIP_SIGNATURE=true"
        }
        "gs" => {
            "for Google Cloud Storage, set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials, or GOOGLE_SKIP_SIGNATURE=true for \
             a public bucket"
        }
        "az" => {
            "for Azure, set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY, or \
             AZURE_SKIP_SIGNATURE=true for a public container"
        }
        _ => "check the URL in a browser; a server that asks for a password needs a signed URL",
    }
}

/// The status that the crate's message ends with.
fn status(said: &str) -> Option<u16> {
    let (_, after) = said.split_once("status code: ")?;
    after.get(..3)?.parse().ok()
}

/// An error and what caused it, one line, without addresses' queries.
fn words(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text += &format!(": {said}");
        }
        cause = inner.source();
    }
    let word = |word: &str| if word.contains("://") { shown(word) } else { word.to_owned() };
    let text = text.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Two threads wait for all sockets.
fn runtime() -> Result<&'static Runtime, DataError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        // Another part of the program may have chosen one; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("remote").enable_all().build().map_err(|error| error.to_string())
    };
    RUNTIME
        .get_or_init(start)
        .as_ref()
        .map_err(|error| DataError::WorkerFailed { message: format!("the system starts no more threads ({error})") })
}

fn build(scheme: &str, base: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    // Asking again is done here, for bodies that break off as well.
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let limits = [
        (ClientConfigKey::ReadTimeout, SILENCE),
        (ClientConfigKey::ConnectTimeout, CONNECTING),
        (ClientConfigKey::Timeout, WHOLE_REQUEST),
    ];
    match scheme {
        "s3" => {
            let mut builder = AmazonS3Builder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
            if endpoint.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
            Ok(Arc::new(builder.build()?))
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            Ok(Arc::new(builder.build()?))
        }
        "az" => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            Ok(Arc::new(builder.build()?))
        }
        _ => {
            let options = ClientOptions::new().with_allow_http(true);
            let options = limits.into_iter().fold(options, |options, (key, value)| options.with_config(key, value));
            Ok(Arc::new(HttpBuilder::new().with_url(base).with_client_options(options).with_retry(once).build()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_url_are_told_and_passwords_refused() {
        for (url, part) in [
            ("ftp://host/a.tar", "ftp://"),
            ("https://me:pw@host/a.tar", "password"),
            ("https://", "expected one of s3://"),
        ] {
            let message = Server::of(url).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains("pw@"), "{message}");
        }
        let (server, path) = Server::of("https://host/a%20b/c.tar").unwrap();
        assert_eq!((path.as_ref(), server.lists), ("a b/c.tar", false));
    }

    #[test]
    fn a_version_is_the_tag_and_without_one_the_time() {
        let meta = |e_tag: Option<&str>, secs| ObjectMeta {
            location: Path::default(),
            last_modified: std::time::UNIX_EPOCH.checked_add(Duration::from_secs(secs)).unwrap().into(),
            size: 3,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        };
        let of = |tag, secs| Version::of(&meta(tag, secs));
        for (one, other, same) in [
            (of(Some("\"a\""), 1), of(Some("a"), 2), true),
            (of(Some("W/\"a\""), 1), of(Some("\"a\""), 2), true),
            (of(Some("a"), 1), of(Some("b"), 1), false),
            (of(None, 1), of(None, 2), false),
            (of(None, 1), of(Some("a"), 1), true),
            (of(None, 1), of(Some("a"), 2), false),
            (of(None, 0), of(Some("a"), 2), true),
        ] {
            assert_eq!(one.is_same(other), same, "{one:?} {other:?}");
        }
        assert_eq!(of(None, 0).tag, 0);
        assert_eq!(of(Some("a"), 1).state(), of(Some("a"), 2).state());
        assert!(!of(None, 1).is_same(Version { bytes: 4, ..of(None, 1) }));
    }
}
