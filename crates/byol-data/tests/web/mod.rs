//! A web server over a folder, with faults: ranges, ETags, TLS, and enough of S3 to list a bucket.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Answers with this status instead.
    Status(u16),
    /// Closes the connection behind so many bytes of content.
    Cut(usize),
    /// Sends the whole file whatever part was asked for.
    WholeFile,
    /// Waits first.
    Slow(Duration),
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub sent_bytes: usize,
}

type Rule = dyn Fn(&str, usize) -> Fault + Send + Sync;

/// Dropping it leaves its threads to the end of the test.
pub struct Web {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    seen: Mutex<Vec<Seen>>,
    /// The fault for a path, and how often the path was asked for before.
    rule: Mutex<Box<Rule>>,
    asked: Mutex<HashMap<String, usize>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Web {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, None)
    }

    pub fn start_tls(folder: &Path) -> Self {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
        let certificate = CertificateDer::from_pem_file(data.join("certificate.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(data.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self::start_with(folder, Some(Arc::new(config)))
    }

    fn start_with(folder: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            folder: folder.into(),
            seen: Mutex::default(),
            rule: Mutex::new(Box::new(|_, _| Fault::None)),
            asked: Mutex::default(),
            tls,
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || drop(server.talk(stream)));
            }
        });
        Self { address, shared }
    }

    /// From now on; the counts of requests begin anew.
    pub fn fault(&self, rule: impl Fn(&str, usize) -> Fault + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
        self.shared.asked.lock().unwrap().clear();
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Shared {
    fn talk(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.answer_all(&stream, &stream, &stream),
            Some(config) => {
                let connection = rustls::ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                let both = std::cell::RefCell::new(rustls::StreamOwned::new(connection, stream.try_clone()?));
                self.answer_all(Tls(&both), Tls(&both), &stream)
            }
        }
    }

    fn answer_all(&self, read: impl Read, mut write: impl Write, stream: &TcpStream) -> io::Result<()> {
        let mut read = BufReader::new(read);
        loop {
            let mut first = String::new();
            if read.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut range = None;
            loop {
                let mut line = String::new();
                read.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    let (from, to) = value.trim().split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap()));
                }
            }
            let mut words = first.split(' ');
            let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let before = {
                let mut asked = self.asked.lock().unwrap();
                let count = asked.entry(path.to_owned()).or_default();
                *count += 1;
                *count - 1
            };
            let fault = (self.rule.lock().unwrap())(path, before);
            if let Fault::Slow(wait) = fault {
                thread::sleep(wait);
            }
            let (status, headers, body) = match fault {
                Fault::Status(status) => (status, String::new(), b"no".to_vec()),
                _ if query.contains("list-type=2") => (200, String::new(), self.listed(path, query)),
                _ => self.file(path, range.filter(|_| fault != Fault::WholeFile)),
            };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
            write.write_all(head.as_bytes())?;
            let end = if let Fault::Cut(bytes) = fault { bytes.min(body.len()) } else { body.len() };
            let sent = if method == "HEAD" { &[][..] } else { &body[..end] };
            self.seen.lock().unwrap().push(Seen { path: path.to_owned(), sent_bytes: sent.len() });
            write.write_all(sent)?;
            write.flush()?;
            if let Fault::Cut(_) = fault {
                return stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn file(&self, path: &str, range: Option<(usize, usize)>) -> (u16, String, Vec<u8>) {
        let path = self.folder.join(path.trim_start_matches('/').replace("%20", " "));
        let Ok((mut file, tag, len)) = opened(&path) else { return (404, String::new(), b"nothing".to_vec()) };
        let headers = format!("ETag: {tag}\r\n{LAST_MODIFIED}");
        let (status, range, from, to) = match range {
            Some((from, _)) if from >= len => return (416, headers, Vec::new()),
            Some((from, to)) => {
                let to = to.min(len - 1);
                (206, format!("Content-Range: bytes {from}-{to}/{len}\r\n"), from, to + 1)
            }
            None => (200, String::new(), 0, len),
        };
        let mut bytes = vec![0; to - from];
        file.seek(SeekFrom::Start(from as u64)).and_then(|_| file.read_exact(&mut bytes)).unwrap();
        (status, headers + &range, bytes)
    }

    /// S3's list of a bucket, three keys at a time.
    fn listed(&self, bucket: &str, query: &str) -> Vec<u8> {
        let value = |name: &str| {
            let of = |pair: &str| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            query.split('&').find_map(of).unwrap_or_default().replace("%2F", "/")
        };
        let root = self.folder.join(bucket.trim_matches('/'));
        let mut keys = Vec::new();
        walk(&root, &root, &mut keys);
        keys.retain(|key| key.starts_with(&value("prefix")) && *key > value("continuation-token"));
        keys.sort();
        let more = keys.len() > 3;
        keys.truncate(3);
        let mut xml = "<?xml version=\"1.0\"?><ListBucketResult>".to_owned();
        for key in &keys {
            let (_, tag, len) = opened(&root.join(key)).unwrap();
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                tag.replace('"', "&quot;"),
                len
            );
        }
        if let (true, Some(last)) = (more, keys.last()) {
            xml += &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>");
        }
        (xml + "</ListBucketResult>").into_bytes()
    }
}

const LAST_MODIFIED: &str = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";

/// A file, its ETag and its length.
fn opened(path: &Path) -> io::Result<(File, String, usize)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok((file, format!("\"{:x}-{:x}\"", changed.as_nanos(), metadata.len()), metadata.len() as usize))
}

fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => walk(root, &path, keys),
            path => keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
        }
    }
}

struct Tls<'a>(&'a std::cell::RefCell<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>);

impl Read for Tls<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for Tls<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}
