//! Large folders: what listing them costs.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use byol_data::{DataConfig, Dataset};
use tempfile::TempDir;

/// `folders` with `files` empty files each, in truth one file of many names, which is made faster. A name has 45 bytes.
fn tree(root: &Path, folders: usize, files: usize) {
    for folder in 0..folders {
        let path = root.join(format!("class_n{folder:08}"));
        fs::create_dir_all(&path).unwrap();
        let name = |file: usize| path.join(format!("picture_{file:016}.jpeg"));
        File::create(name(0)).unwrap();
        (1..files).for_each(|file| fs::hard_link(name(0), name(file)).unwrap());
    }
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
    let data = TempDir::new().unwrap();
    tree(data.path(), 1000, 1000);
    for _ in 0..2 {
        let start = Instant::now();
        let dataset = Dataset::open(data.path(), None, &DataConfig::default()).unwrap();
        let (time, bytes) = (start.elapsed(), dataset.index_bytes() / dataset.len());
        println!("{} files in {time:.2?}, {bytes} bytes each", dataset.len());
        assert!(dataset.len() == 1_000_000 && bytes <= 150 && time < Duration::from_secs(15));
    }
}
