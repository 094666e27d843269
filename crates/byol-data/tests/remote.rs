//! Data behind URLs, with the feature `remote`: a web server and an S3 server on this machine, and what may go wrong with them.

mod web;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use byol_data::views::{EvaluationConfig, Views, ViewsConfig};
use byol_data::{DataConfig, DataError, Dataset, EvaluationLoader, EvaluationOptions, LoaderOptions, PairLoader};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;
use web::{Fault, Web};

/// A picture that no compression makes small.
fn png(seed: u32, side: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let noise = RgbImage::from_fn(side, side, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        Rgb([state as u8, (state >> 8) as u8, (state >> 16) as u8])
    });
    let mut bytes = Vec::new();
    noise.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

fn tar_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// `shard-0.tar` to `shard-2.tar` below `root`, of 8 pictures in two folders and a label in WebDataset's form each.
fn shards(root: &Path, side: u32) {
    for shard in 0..3u32 {
        let picture = |n: u32| (format!("{}/{n}.png", ["cat", "dog"][n as usize % 2]), png(shard * 100 + n, side));
        let label = |n: u32| (format!("{}/{n}.cls", ["cat", "dog"][n as usize % 2]), format!("{}", n % 3).into_bytes());
        let members: Vec<_> = (0..8).flat_map(|n| [picture(n), label(n)]).collect();
        write(root, &format!("shard-{shard}.tar"), &tar_of(&members));
    }
}

/// What a test opens data with: folders of its own.
struct Place {
    /// What the servers serve.
    data: TempDir,
    cache: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { data: TempDir::new().unwrap(), cache: TempDir::new().unwrap() }
    }

    fn config(&self) -> DataConfig {
        DataConfig {
            remote_cache: Some(self.cache.path().join("remote")),
            remote_retry_secs: 20,
            ..DataConfig::default()
        }
    }

    fn open_with(&self, roots: &[String], split: Option<&str>, config: &DataConfig) -> Result<Dataset, DataError> {
        let roots: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
        Dataset::open_all_indexed(&roots, split, config, Some(&self.cache.path().join("indexes")))
    }

    fn open(&self, url: &str) -> Dataset {
        self.open_with(&[url.to_owned()], None, &self.config()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn fails(&self, url: &str) -> String {
        let quick = DataConfig { remote_retry_secs: 1, ..self.config() };
        self.open_with(&[url.to_owned()], None, &quick).expect_err(url).to_string()
    }
}

fn local(path: &Path) -> Dataset {
    Dataset::open_all_indexed(&[path.to_owned()], None, &DataConfig::default(), None).unwrap()
}

fn are_alike(remote: &Dataset, local: &Dataset) {
    assert_eq!(remote.len(), local.len());
    for index in 0..local.len() {
        assert_eq!((remote.name(index), remote.label(index)), (local.name(index), local.label(index)));
    }
    assert_eq!((remote.classes(), remote.split()), (local.classes(), local.split()));
    assert_eq!(remote.splits_present(), local.splits_present());
    assert_eq!(remote.fingerprint(), local.fingerprint());
    same_pixels(remote, local);
}

fn same_pixels(remote: &Dataset, local: &Dataset) {
    for index in 0..local.len() {
        assert_eq!(remote.load(index).unwrap(), local.load(index).unwrap(), "{}", local.name(index));
    }
}

/// All batches of an epoch in random order: places of the pictures.
fn epoch(dataset: &Dataset) -> Result<Vec<u32>, DataError> {
    let views = Views::new(ViewsConfig { size_px: 20, ..ViewsConfig::default() }).unwrap();
    let options = LoaderOptions {
        seed: 3,
        batch_size: 8,
        first_sample: 0,
        total_samples: dataset.len() as u64,
        rank: 0,
        ranks: 1,
        threads: 3,
        prefetch_batches: 1,
        max_bad_fraction: 0.5,
    };
    let loader = PairLoader::start(Arc::new(dataset.clone()), views, options);
    let mut images = Vec::new();
    for batch in loader {
        let batch = batch?;
        assert_eq!(batch.bad, []);
        images.extend(batch.images);
    }
    Ok(images)
}

#[test]
fn shards_of_a_web_server_are_what_they_are_in_a_folder_and_fetched_once() {
    let place = Place::new();
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    let url = format!("{}/shard-{{0..2}}.tar", web.address);
    let remote = place.open(&url);
    let total: u64 =
        (0..3).map(|n| fs::metadata(place.data.path().join(format!("shard-{n}.tar"))).unwrap().len()).sum();
    let local = local(&place.data.path().join("shard-{0..2}.tar"));
    assert_eq!(local.classes().len(), 3);
    are_alike(&remote, &local);
    assert_eq!(epoch(&remote).unwrap(), epoch(&local).unwrap(), "the order is a function of the seed");
    let seen = web.seen();
    let sent: usize = seen.iter().map(|seen| seen.sent_bytes).sum();
    assert!(seen.iter().all(|seen| seen.path.starts_with("/shard-")));
    assert!(seen.len() <= 6 && (sent as u64) < total + 3 * 1024, "{} requests, {sent} of {total} bytes", seen.len());
    // Another process later: it asks whether the shards are the same, and the rest is here.
    are_alike(&place.open(&url), &local);
    let seen = web.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.sent_bytes == 512), "{seen:?}");
}

#[test]
fn what_does_not_fit_the_cache_is_read_picture_by_picture_and_the_limit_holds() {
    let place = Place::new();
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    let pictures = local(&place.data.path().join("shard-{0..2}.tar"));
    let config = DataConfig { remote_cache_bytes: 1_300_000, ..place.config() };
    let urls = [format!("{}/shard-{{0..2}}.tar", web.address)];
    let remote = place.open_with(&urls, None, &config).unwrap();
    web.seen();
    are_alike(&remote, &pictures);
    let kept: u64 =
        files(&place.cache.path().join("remote")).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(kept <= 1_300_000 && kept > 600_000, "{kept}");
    let seen = web.seen();
    let largest = seen.iter().map(|seen| seen.sent_bytes).max().unwrap();
    assert!(seen.len() <= 24 && largest < 130_000, "{} requests, at most {largest} bytes", seen.len());
    // What was kept is not fetched again, and nothing is kept at all without a cache.
    let again = place.open_with(&urls, None, &config).unwrap();
    web.seen();
    same_pixels(&again, &pictures);
    let fewer = web.seen().len();
    assert!(fewer < 24 && fewer > 0, "{fewer}");
    let without = DataConfig { remote_cache_bytes: 0, ..place.config() };
    are_alike(&place.open_with(&urls, None, &without).unwrap(), &pictures);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn broken_answers_are_asked_for_again() {
    let place = Place::new();
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    let local = local(&place.data.path().join("shard-1.tar"));
    type Rule = fn(usize) -> Fault;
    let faults: [(&str, Rule); 5] = [
        ("503", |asked| if asked % 3 < 2 { Fault::Status(503) } else { Fault::None }),
        ("429", |asked| if asked % 2 == 0 { Fault::Status(429) } else { Fault::None }),
        ("closed at once", |asked| if asked % 2 == 0 { Fault::Cut(0) } else { Fault::None }),
        ("cut off", |asked| if asked % 2 == 0 { Fault::Cut(5000) } else { Fault::None }),
        ("slow", |_| Fault::Slow(Duration::from_millis(50))),
    ];
    for (what, fault) in faults {
        web.fault(move |_, asked| fault(asked));
        let config = DataConfig { remote_cache_bytes: 0, ..place.config() };
        let urls = [format!("{}/shard-1.tar", web.address)];
        let remote = place.open_with(&urls, None, &config).unwrap_or_else(|error| panic!("{what}: {error}"));
        are_alike(&remote, &local);
    }
}

#[test]
fn a_lost_server_ends_a_run_and_is_no_bad_picture() {
    let place = Place::new();
    shards(place.data.path(), 200);
    for name in ["a.png", "b.png"] {
        write(place.data.path(), name, &png(7, 20));
    }
    let web = Web::start(place.data.path());
    let config = DataConfig { remote_cache_bytes: 0, remote_retry_secs: 1, ..place.config() };
    let open = || place.open_with(&[format!("{}/shard-0.tar", web.address)], None, &config).unwrap();
    for (fault, words) in [
        (Fault::Status(503), "asked "),
        (Fault::Cut(1000), "asked "),
        (Fault::Status(404), "no longer there"),
        (Fault::Status(403), "403"),
        (Fault::WholeFile, "sent parts when the data was opened"),
    ] {
        web.fault(|_, _| Fault::None);
        let remote = open();
        web.fault(move |_, _| fault);
        let start = Instant::now();
        let error = epoch(&remote).expect_err(words);
        assert!(matches!(error, DataError::Remote { .. }), "{error}");
        assert!(error.to_string().contains("shard-0.tar") && error.to_string().contains(words), "{error}");
        assert!(start.elapsed() < Duration::from_secs(15));
        let preprocessing = EvaluationConfig { size_px: 8, ..EvaluationConfig::default() };
        let mut batches =
            EvaluationLoader::start(Arc::new(remote.clone()), preprocessing, EvaluationOptions::of(&remote, 4, 2));
        assert!(matches!(batches.next(), Some(Err(DataError::Remote { .. }))));
        let places: Vec<u32> = (0..8).collect();
        let inspected = byol_data::inspect::inspect(&remote, &places, 2, &|_| {});
        assert!(matches!(inspected, Err(DataError::Remote { .. })));
    }
}

#[test]
fn an_object_that_changes_is_noticed_and_never_mixed() {
    let place = Place::new();
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    let url = format!("{}/shard-0.tar", web.address);
    let config = DataConfig { remote_cache_bytes: 0, ..place.config() };
    let before = place.open_with(std::slice::from_ref(&url), None, &config).unwrap();
    let old = before.fingerprint();
    // The same names and lengths, other pixels.
    let path = place.data.path().join("shard-0.tar");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = epoch(&before).unwrap_err().to_string();
    assert!(error.contains("has changed since the data was opened") && error.contains("shard-0.tar"), "{error}");
    // Opened anew it is what it is now, whatever was kept of before.
    let now = place.open(&url);
    assert_eq!(now.fingerprint(), old, "names, sizes and labels are the same");
    let local = local(&path);
    for index in 0..8 {
        assert_eq!(now.load(index).ok(), local.load(index).ok());
    }
}

#[test]
fn a_server_without_ranges_gives_each_file_once_or_is_refused() {
    let place = Place::new();
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    web.fault(|_, _| Fault::WholeFile);
    let url = format!("{}/shard-2.tar", web.address);
    let local = local(&place.data.path().join("shard-2.tar"));
    are_alike(&place.open(&url), &local);
    let bytes: usize = web.seen().iter().map(|seen| seen.sent_bytes).sum();
    are_alike(&place.open(&url), &local);
    let again: usize = web.seen().iter().map(|seen| seen.sent_bytes).sum();
    let length = fs::metadata(place.data.path().join("shard-2.tar")).unwrap().len() as usize;
    assert!(bytes <= 2 * length && again <= length, "{bytes} and {again} of {length}");
    for cache_bytes in [0, 100_000] {
        let config = DataConfig {
            remote_cache_bytes: cache_bytes,
            remote_cache: Some(place.cache.path().join("other")),
            ..place.config()
        };
        let error = place.open_with(std::slice::from_ref(&url), None, &config).unwrap_err().to_string();
        assert!(error.contains("ignores Range") && error.contains("data.remote_cache_bytes"), "{error}");
    }
}

#[test]
fn wrong_urls_are_told_apart() {
    let place = Place::new();
    write(place.data.path(), "notes.txt", b"nothing here");
    write(place.data.path(), "empty.tar", b"");
    let web = Web::start(place.data.path());
    let address = &web.address;
    web.fault(|path, _| match path {
        "/private.tar" => Fault::Status(403),
        "/login.tar" => Fault::Status(401),
        "/teapot.tar" => Fault::Status(418),
        _ => Fault::None,
    });
    for (url, words) in [
        (format!("{address}/no.tar?Signature=secret"), "nothing of this name (404)"),
        (format!("{address}/folder/"), "a web server lists no folders"),
        (format!("{address}/private.tar"), "403"),
        (format!("{address}/login.tar"), "401"),
        (format!("{address}/teapot.tar"), "418"),
        (format!("{address}/notes.txt"), "got a text file"),
        (format!("{address}/empty.tar"), "got an empty file"),
        ("http://127.0.0.1:1/a.tar".to_owned(), "asked "),
        ("ftp://host/a.tar".to_owned(), "unknown kind of URL ftp://"),
        ("https://me:password@host/a.tar".to_owned(), "it holds a password"),
    ] {
        let message = place.fails(&url);
        assert!(message.contains(words), "{url}: {message}");
        assert!(!message.contains("secret") && !message.contains("me:password"), "{message}");
    }
}

#[test]
fn packed_archives_and_parquet_files_are_read_from_a_web_server() {
    let place = Place::new();
    shards(place.data.path(), 60);
    let tar = fs::read(place.data.path().join("shard-0.tar")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).unwrap();
    write(place.data.path(), "packed.tar.gz", &gz.finish().unwrap());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
    for name in ["snappy.parquet", "pages.parquet", "pages_without_index.parquet", "zstd.parquet"] {
        fs::copy(sources.join(name), place.data.path().join(name)).unwrap();
    }
    let web = Web::start(place.data.path());
    are_alike(&place.open(&format!("{}/packed.tar.gz", web.address)), &local(&place.data.path().join("packed.tar.gz")));
    for name in ["snappy.parquet", "pages.parquet", "pages_without_index.parquet", "zstd.parquet"] {
        let local = local(&place.data.path().join(name));
        let url = format!("{}/{name}", web.address);
        for max_archive_memory_bytes in [DataConfig::default().max_archive_memory_bytes, 1] {
            let config = DataConfig { max_archive_memory_bytes, ..place.config() };
            let remote = place.open_with(std::slice::from_ref(&url), None, &config).unwrap();
            assert_eq!(remote.fingerprint(), local.fingerprint());
            (0..local.len()).for_each(|index| assert_eq!(remote.load(index).ok(), local.load(index).ok()));
        }
        // Not read into memory, a lost server is one.
        let config =
            DataConfig { max_archive_memory_bytes: 1, remote_cache_bytes: 0, remote_retry_secs: 1, ..place.config() };
        let remote = place.open_with(&[url], None, &config).unwrap();
        web.fault(|_, _| Fault::Status(500));
        let error = epoch(&remote);
        // The whole file is one block that may be in memory still.
        assert!(!matches!(error, Err(DataError::TooManyBad { .. })), "{error:?}");
        web.fault(|_, _| Fault::None);
    }
}

/// Runs the test `name` in a process of its own, with these variables; the process itself gets `true`.
fn child(name: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--include-ignored"]).env("BYOL_TEST_CHILD", "1");
    command.envs(variables.iter().copied()).spawn().unwrap()
}

fn is_child() -> bool {
    env::var_os("BYOL_TEST_CHILD").is_some()
}

/// Of the parent process.
fn variable(name: &str) -> String {
    env::var(name).unwrap()
}

#[test]
fn https_is_checked_against_the_certificates_of_the_system() {
    let place = Place::new();
    if is_child() {
        let url = variable("TEST_URL");
        if variable("TEST_TRUSTED") == "yes" {
            are_alike(&place.open(&url), &local(Path::new(&variable("TEST_DATA"))));
        } else {
            let message = place.fails(&url);
            assert!(message.contains("UnknownIssuer") && message.contains("SSL_CERT_FILE"), "{message}");
        }
        return;
    }
    shards(place.data.path(), 60);
    let web = Web::start_tls(place.data.path());
    let url = format!("{}/shard-0.tar", web.address);
    let path = place.data.path().join("shard-0.tar");
    let certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls/authority.pem");
    let variables = [("TEST_URL", url.as_str()), ("TEST_DATA", path.to_str().unwrap())];
    let trusted =
        [&variables[..], &[("TEST_TRUSTED", "yes"), ("SSL_CERT_FILE", certificate.to_str().unwrap())]].concat();
    let strange = [&variables[..], &[("TEST_TRUSTED", "no")]].concat();
    let name = "https_is_checked_against_the_certificates_of_the_system";
    for variables in [&trusted, &strange] {
        assert!(child(name, variables).wait().unwrap().success());
    }
}

#[test]
fn processes_share_the_cache() {
    let place = Place::new();
    if is_child() {
        let config = DataConfig { remote_cache: Some(variable("TEST_CACHE").into()), ..place.config() };
        let remote = place.open_with(&[variable("TEST_URL")], None, &config).unwrap();
        let local = local(Path::new(&variable("TEST_DATA")));
        assert_eq!(epoch(&remote).unwrap(), epoch(&local).unwrap());
        are_alike(&remote, &local);
        return;
    }
    shards(place.data.path(), 200);
    let web = Web::start(place.data.path());
    let url = format!("{}/shard-{{0..2}}.tar", web.address);
    let data = place.data.path().join("shard-{0..2}.tar");
    let cache = place.cache.path().join("shared");
    let variables =
        [("TEST_URL", url.as_str()), ("TEST_DATA", data.to_str().unwrap()), ("TEST_CACHE", cache.to_str().unwrap())];
    let mut children: Vec<Child> = (0..3).map(|_| child("processes_share_the_cache", &variables)).collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    web.seen();
    assert!(child("processes_share_the_cache", &variables).wait().unwrap().success());
    assert_eq!(web.seen().len(), 3, "what the shards are");
    assert!(!files(&cache).iter().any(|file| file.to_string_lossy().ends_with(".partial")));
}

/// A bucket with everything, below `root`.
fn fill_bucket(root: &Path) {
    for n in 0..5 {
        write(root, &format!("data/pictures/train/{}/{n}.png", ["cat", "dog"][n as usize % 2]), &png(n, 30));
        write(root, &format!("data/pictures/test/{}/{n}.png", ["cat", "dog"][n as usize % 2]), &png(n + 50, 30));
    }
    write(root, "data/pictures/train/cat/a b.png", &png(9, 30));
    shards(&root.join("data/shards"), 60);
    for (name, seed) in [("in1k-train-000.tar", 1), ("in1k-train-001.tar", 2), ("in1k-val-000.tar", 3)] {
        let members: Vec<_> = (0..3).map(|n| (format!("x{}/{n}.png", n % 2), png(seed * 10 + n, 20))).collect();
        write(root, &format!("data/splits/{name}"), &tar_of(&members));
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
    for name in ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"] {
        fs::create_dir_all(root.join("data/table")).unwrap();
        fs::copy(sources.join("snappy.parquet"), root.join("data/table").join(name)).unwrap();
    }
}

/// Compares everything in the bucket `data` with the folder it is made of.
fn check_bucket(place: &Place) {
    let root = PathBuf::from(variable("TEST_DATA"));
    for name in ["pictures", "shards", "splits", "splits/in1k-val-000.tar", "shards/"] {
        are_alike(&place.open(&format!("s3://data/{name}")), &local(&root.join("data").join(name)));
    }
    let (table, local_table) = (place.open("s3://data/table"), local(&root.join("data/table")));
    assert_eq!(table.fingerprint(), local_table.fingerprint());
    (0..table.len()).for_each(|index| assert_eq!(table.load(index).ok(), local_table.load(index).ok()));
    let test = |roots: &[String]| place.open_with(roots, Some("test"), &place.config()).unwrap();
    are_alike(
        &test(&["s3://data/pictures".into()]),
        &Dataset::open_all_indexed(&[root.join("data/pictures")], Some("test"), &DataConfig::default(), None).unwrap(),
    );
    // Roots of both kinds.
    let roots = ["s3://data/pictures/train/".into(), root.join("data/shards/shard-0.tar").display().to_string()];
    let mixed = place.open_with(&roots, None, &place.config()).unwrap();
    assert_eq!(mixed.len(), 6 + 8);
    assert_eq!(epoch(&mixed).unwrap().len(), 14);
    let all = place.open_with(&["s3://data/splits".into()], Some("all"), &place.config()).unwrap();
    assert_eq!(all.len(), 9);
    for (url, words) in [("s3://data/nothing", "nothing of this name"), ("s3://none/x", "nothing of this name")] {
        let message = place.fails(url);
        assert!(message.contains(words) && message.contains(url), "{message}");
    }
    let pictures: BTreeSet<String> = (0..6).map(|index| place.open("s3://data/pictures").name(index)).collect();
    assert!(pictures.contains("train/cat/a b.png"), "{pictures:?}");
}

#[test]
fn a_bucket_is_what_its_folder_is() {
    let place = Place::new();
    if is_child() {
        return check_bucket(&place);
    }
    fill_bucket(place.data.path());
    let web = Web::start(place.data.path());
    let variables = [
        ("TEST_DATA", place.data.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL", &web.address),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    assert!(child("a_bucket_is_what_its_folder_is", &variables).wait().unwrap().success());
    // A picture that changes after it was listed, and refused credentials.
    web.fault(|_, _| Fault::Status(403));
    assert!(child("refused_credentials_are_named", &variables).wait().unwrap().success());
}

#[test]
fn refused_credentials_are_named() {
    if is_child() {
        let message = Place::new().fails("s3://data/pictures");
        assert!(message.contains("403") && message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    }
}

/// With an S3 server of another maker: `s3s-fs` on the path, or as `S3_SERVER` says (`make test-remote`).
#[test]
#[ignore = "needs s3s-fs"]
fn a_bucket_of_a_real_server_is_what_its_folder_is() {
    let place = Place::new();
    if is_child() {
        return check_bucket(&place);
    }
    fill_bucket(place.data.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server = env::var_os("S3_SERVER").unwrap_or("s3s-fs".into());
    let mut server = Command::new(server)
        .args(["--host", "127.0.0.1", "--port", &port, "--access-key", "key", "--secret-key", "secret"])
        .arg(place.data.path())
        .env("RUST_LOG", "error")
        .spawn()
        .unwrap();
    let mut up = false;
    for _ in 0..100 {
        up = up || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
        thread::sleep(Duration::from_millis(if up { 0 } else { 50 }));
    }
    let address = format!("http://127.0.0.1:{port}");
    let variables = [
        ("TEST_DATA", place.data.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL", &address),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let name = "a_bucket_of_a_real_server_is_what_its_folder_is";
    let right = child(name, &variables).wait();
    let mut wrong = variables;
    wrong[3].1 = "other";
    let refused = child("refused_credentials_are_named", &wrong).wait();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(up && right.unwrap().success() && refused.unwrap().success());
}
