//! Large folders: what listing them costs, and the index that spares it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use byol_data::{DataConfig, Dataset};
use tempfile::TempDir;

/// `folders` with `files` empty files each, in truth one file of many names, which is made faster. A name has 45 bytes.
/// All folders seem to have changed an hour ago.
fn tree(root: &Path, folders: usize, files: usize) {
    for folder in 0..folders {
        let path = root.join(format!("class_n{folder:08}"));
        fs::create_dir_all(&path).unwrap();
        let name = |file: usize| path.join(format!("picture_{file:016}.jpeg"));
        File::create(name(0)).unwrap();
        (1..files).for_each(|file| fs::hard_link(name(0), name(file)).unwrap());
    }
    settle(root);
}

/// Sets the time of every folder back, as if nothing had happened for an hour.
fn settle(root: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let below = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    for folder in below.chain([root.to_owned()]) {
        File::open(folder).unwrap().set_modified(hour_ago).unwrap();
    }
}

fn open(root: &Path, indexes: &Path) -> Dataset {
    open_with(root, indexes, &DataConfig::default())
}

fn open_with(root: &Path, indexes: &Path, config: &DataConfig) -> Dataset {
    Dataset::open_all_indexed(&[root.to_owned()], None, config, Some(indexes)).unwrap()
}

fn index_of(indexes: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(indexes).ok()?.map(|entry| entry.unwrap().path());
    let first = files.next();
    assert!(files.next().is_none(), "one index and nothing half-written");
    first
}

/// Makes the index say something else, so that its use shows: the first name in it becomes `mark`.
fn mark(index: &Path, first: &[u8], mark: &[u8]) {
    let mut bytes = fs::read(index).unwrap();
    let place = bytes.windows(first.len()).position(|window| window == first).unwrap();
    bytes[place..place + mark.len()].copy_from_slice(mark);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[20..]);
    bytes[16..20].copy_from_slice(&crc.sum().to_le_bytes());
    fs::write(index, bytes).unwrap();
}

const FIRST: &str = "class_n00000000/picture_0000000000000000.jpeg";

#[test]
fn the_index_is_used_until_a_folder_changes() {
    let (data, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (root, indexes) = (data.path(), cache.path().join("byol"));
    tree(root, 10, 1000);
    let listed = open(root, &indexes);
    let index = index_of(&indexes).expect("an index");
    let cached = open(root, &indexes);
    assert_eq!((cached.len(), cached.fingerprint()), (10_000, listed.fingerprint()));
    assert_eq!((cached.classes(), cached.label(9999)), (listed.classes(), Some(9)));

    mark(&index, FIRST.as_bytes(), b"Class");
    assert_eq!(open(root, &indexes).name(0), FIRST.replace("class", "Class"));
    let off = DataConfig { index_cache: false, ..DataConfig::default() };
    assert_eq!(open_with(root, &indexes, &off).name(0), FIRST);
    // Rewritten in place: not noticed.
    fs::write(root.join(FIRST), b"grown").unwrap();
    assert_eq!(open(root, &indexes).name(0), FIRST.replace("class", "Class"));
    // Added, deeper than the root: noticed, and the folder has just changed, so the old index stays without effect.
    fs::write(root.join("class_n00000007/added.jpg"), b"").unwrap();
    assert_eq!((open(root, &indexes).len(), open(root, &indexes).name(0)), (10_001, FIRST.to_owned()));
    settle(root);
    fs::remove_file(root.join("class_n00000007/added.jpg")).unwrap();
    settle(root);
    fs::create_dir(root.join("class_n00000003/empty")).unwrap();
    fs::remove_dir_all(root.join("class_n00000009")).unwrap();
    assert_eq!(open(root, &indexes).len(), 9_000);
}

#[test]
fn an_index_that_is_damaged_cut_short_or_of_another_folder_is_ignored_and_rewritten() {
    let (data, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (root, indexes) = (data.path().join("a"), cache.path());
    tree(&root, 10, 1000);
    let expected = open(&root, indexes).fingerprint();
    let index = index_of(indexes).unwrap();
    let good = fs::read(&index).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    let mut other_version = good.clone();
    other_version[14] += 1;
    for (what, bytes) in [
        ("damaged", &damaged[..]),
        ("cut short", &good[..good.len() - 1]),
        ("only a head", &good[..20]),
        ("empty", &[]),
        ("of another version", &other_version),
        ("foreign", b"no index at all, but text that is long enough"),
    ] {
        fs::write(&index, bytes).unwrap();
        assert_eq!(open(&root, indexes).fingerprint(), expected, "{what}");
        assert_eq!(fs::read(&index).unwrap().len(), good.len(), "{what}");
    }
    // The right form with the wrong root.
    mark(&index, root.as_os_str().as_encoded_bytes(), b"@");
    assert_eq!(open(&root, indexes).fingerprint(), expected);
    assert_eq!(index_of(indexes), Some(index.clone()));
    // A folder where the index should be, and a file where its folder should be.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    assert_eq!(open(&root, indexes).fingerprint(), expected);
    assert_eq!(index_of(indexes), Some(index));
    assert_eq!(open(&root, &root.join(FIRST)).fingerprint(), expected);
}

#[test]
fn small_folders_and_those_that_just_changed_have_no_index() {
    let (data, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = data.path();
    tree(root, 10, 999);
    open(root, cache.path());
    assert_eq!(index_of(cache.path()), None);
    for file in 0..10 {
        File::create(root.join(format!("{file}.jpg"))).unwrap();
    }
    open(root, cache.path());
    assert_eq!(index_of(cache.path()), None, "the root changed within two seconds");
    settle(root);
    assert_eq!(open(root, cache.path()).len(), 10_000);
    assert!(index_of(cache.path()).is_some());
}

#[cfg(unix)]
#[test]
fn a_link_set_anew_and_a_linked_folder_that_changes_are_noticed() {
    use std::os::unix::fs::symlink;
    let (data, far, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = data.path();
    tree(root, 10, 1000);
    tree(far.path(), 1, 5);
    tree(&far.path().join("other"), 1, 6);
    symlink(far.path().join("class_n00000000"), root.join("link")).unwrap();
    symlink(root, root.join("class_n00000001/loop")).unwrap();
    settle(root);
    assert_eq!(open(root, cache.path()).len(), 10_005);
    assert!(index_of(cache.path()).is_some());
    File::create(far.path().join("class_n00000000/added.jpg")).unwrap();
    assert_eq!(open(root, cache.path()).len(), 10_006);
    fs::remove_file(root.join("link")).unwrap();
    symlink(far.path().join("other/class_n00000000"), root.join("link")).unwrap();
    assert_eq!(open(root, cache.path()).len(), 10_006);
    assert_eq!(open(root, cache.path()).name(10_005), "link/picture_0000000000000005.jpeg");
}

#[test]
fn the_index_of_names_takes_little_memory() {
    let data = TempDir::new().unwrap();
    tree(data.path(), 2, 1000);
    let dataset = Dataset::open(data.path(), None, &DataConfig::default()).unwrap();
    let bytes = dataset.index_bytes() / dataset.len();
    assert!((45 + 28..=100).contains(&bytes), "{bytes} bytes per file of 45 bytes of name");
}

/// `cargo test --release -p byol-data --test scale -- --ignored --nocapture`
#[test]
#[ignore = "makes a million files; prints what listing them costs"]
fn a_million_files() {
    let (data, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let start = Instant::now();
    tree(data.path(), 1000, 1000);
    println!("made in {:.1?}", start.elapsed());
    let config = DataConfig { index_cache: false, ..DataConfig::default() };
    let timed = |what: &str, limit_secs: u64, open: &dyn Fn() -> Dataset| {
        let start = Instant::now();
        let dataset = open();
        let (time, bytes) = (start.elapsed(), dataset.index_bytes() / dataset.len());
        println!("{what}: {} files in {time:.2?}, {bytes} bytes each", dataset.len());
        assert!(dataset.len() == 1_000_000 && bytes <= 150 && time < Duration::from_secs(limit_secs));
        dataset
    };
    timed("listed", 15, &|| open_with(data.path(), cache.path(), &config));
    timed("listed again", 15, &|| open_with(data.path(), cache.path(), &config));
    let listed = timed("listed, index written", 15, &|| open(data.path(), cache.path()));
    let cached = timed("from the index", 2, &|| open(data.path(), cache.path()));
    println!("index: {} bytes", fs::metadata(index_of(cache.path()).unwrap()).unwrap().len());
    let start = Instant::now();
    assert_eq!(listed.fingerprint(), cached.fingerprint());
    println!("two fingerprints in {:.2?}", start.elapsed());
}
