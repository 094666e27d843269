//! Representations kept on disk: used when nothing they depend on has changed, and only then.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol_data::{DataConfig, Dataset};
use byol_eval::{CacheUse, Extracted, Features, extract, extract_cached};
use byol_nn::encoder::Encoder;
use byol_nn::model::PaddingKind;
use byol_nn::ops::{Device, Precision};
use image::{Rgb, RgbImage};

const ENCODER: &str = "random:resnet18x0.03125:cifar:16";

/// Two classes of three pictures each.
fn pictures(folder: &Path) -> PathBuf {
    let root = folder.join("data");
    for index in 0..6u32 {
        let file = root.join(if index < 3 { "a" } else { "b" }).join(format!("{index}.png"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let pixel = |x: u32, y: u32| Rgb([(x * 9 + index) as u8, (y * 7 * index) as u8, (x * y) as u8]);
        RgbImage::from_fn(20, 18, pixel).save(file).unwrap();
    }
    root
}

fn open(root: &Path, config: &DataConfig) -> Arc<Dataset> {
    Arc::new(Dataset::open(root, None, config).unwrap())
}

fn encoder() -> Encoder {
    Encoder::open(ENCODER, &Device::flex()).unwrap()
}

fn cached(encoder: &mut Encoder, dataset: &Arc<Dataset>, folder: &Path) -> Extracted {
    extract_cached(encoder, dataset, Some(folder), 1, &Device::flex()).unwrap()
}

fn assert_equal(one: &Features, other: &Features) {
    let bits = |features: &Features| features.values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(one), bits(other));
    assert_eq!((one.size, &one.images, &one.labels), (other.size, &other.images, &other.labels));
    assert_eq!(one.bad, other.bad);
}

/// The one entry of the cache.
fn entry(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_second_time_no_picture_is_read_and_every_bit_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (pictures(folder.path()), folder.path().join("run/features"));
    let broken = root.join("a/1.png");
    fs::write(&broken, b"no picture").unwrap();
    let config = DataConfig { max_bad_fraction: 0.5, ..DataConfig::default() };
    let first = cached(&mut encoder(), &open(&root, &config), &cache);
    assert!(matches!(first.cache, CacheUse::Written));
    assert_eq!((first.features.len(), first.features.bad.len()), (5, 1));
    assert_eq!(first.features.labels, [Some(0), Some(0), Some(1), Some(1), Some(1)]);
    assert_equal(&first.features, &extract(&mut encoder(), &open(&root, &config), 1, &Device::flex()).unwrap());

    for class in ["a", "b"] {
        for file in fs::read_dir(root.join(class)).unwrap() {
            let path = file.unwrap().path();
            fs::write(&path, vec![0; path.metadata().unwrap().len() as usize]).unwrap();
        }
    }
    let dataset = open(&root, &config);
    let second = cached(&mut encoder(), &dataset, &cache);
    assert!(matches!(second.cache, CacheUse::Hit));
    assert_equal(&first.features, &second.features);
    assert!(extract(&mut encoder(), &dataset, 1, &Device::flex()).is_err());
    let other = safetensors::SafeTensors::deserialize(&fs::read(entry(&cache)).unwrap()).map(|file| file.len());
    assert_eq!(other.unwrap(), 3);
}

#[test]
fn another_encoder_preprocessing_or_data_set_is_another_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (pictures(folder.path()), folder.path().join("features"));
    let config = DataConfig::default();
    let dataset = open(&root, &config);
    let device = Device::flex();
    let written = |mut encoder: Encoder, dataset: &Arc<Dataset>| {
        matches!(cached(&mut encoder, dataset, &cache).cache, CacheUse::Written)
    };
    assert!(written(encoder(), &dataset));
    assert!(!written(encoder(), &dataset));

    assert!(written(Encoder::random_like(&encoder().info, 1, &device), &dataset));
    let mut cropped = encoder();
    cropped.info.preprocessing.crop_fraction = 0.5;
    assert!(written(cropped, &dataset));
    let mut padded = encoder();
    padded.info.padding = PaddingKind::Same;
    assert!(written(padded, &dataset), "the same weights are another network");
    let mut coarse = encoder();
    coarse.info.precision = Precision::Bf16;
    assert!(written(coarse, &dataset));
    // What is only told about an encoder changes nothing.
    let mut renamed = encoder();
    renamed.info.training = "something else".to_owned();
    assert!(!written(renamed, &dataset));

    assert!(written(encoder(), &Arc::new(dataset.subset(&[0, 1, 2, 3, 4]))));
    assert!(written(encoder(), &Arc::new(dataset.subset(&[1, 0, 2, 3, 4, 5]))));
    let as_stored = DataConfig { exif_orientation: false, ..config.clone() };
    assert!(written(encoder(), &open(&root, &as_stored)));
    let limited = DataConfig { max_bad_fraction: 0.9, ..config.clone() };
    assert!(written(encoder(), &open(&root, &limited)));
    fs::rename(root.join("a/0.png"), root.join("b/0.png")).unwrap();
    assert!(written(encoder(), &open(&root, &config)));
}

#[test]
fn a_damaged_entry_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (pictures(folder.path()), folder.path().join("features"));
    let dataset = open(&root, &DataConfig::default());
    let mut encoder = encoder();
    let good = cached(&mut encoder, &dataset, &cache).features;
    let path = entry(&cache);
    let whole = fs::read(&path).unwrap();

    let mut versions: Vec<Vec<u8>> = (0..whole.len()).step_by(37).map(|end| whole[..end].to_vec()).collect();
    versions.extend((0..whole.len()).step_by(29).map(|place| {
        let mut changed = whole.clone();
        changed[place] ^= 4;
        changed
    }));
    versions.push([&whole[..], b"!"].concat());
    versions.push([&u64::MAX.to_le_bytes()[..], &whole[8..]].concat());
    for version in versions {
        fs::write(&path, version).unwrap();
        let again = cached(&mut encoder, &dataset, &cache);
        assert!(matches!(again.cache, CacheUse::Written));
        assert_equal(&good, &again.features);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    // An entry under the name of another.
    let mut other = Encoder::random_like(&encoder.info, 1, &Device::flex());
    let expected = cached(&mut other, &dataset, &folder.path().join("others"));
    fs::rename(&path, entry(&folder.path().join("others"))).unwrap();
    let again = cached(&mut other, &dataset, &folder.path().join("others"));
    assert!(matches!(again.cache, CacheUse::Written));
    assert_equal(&expected.features, &again.features);
}

#[test]
fn without_a_usable_folder_the_features_are_computed_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let root = pictures(folder.path());
    let dataset = open(&root, &DataConfig::default());
    let none = extract_cached(&mut encoder(), &dataset, None, 1, &Device::flex()).unwrap();
    assert!(matches!(none.cache, CacheUse::Off));
    let file = folder.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let blocked = cached(&mut encoder(), &dataset, &file);
    assert!(matches!(&blocked.cache, CacheUse::NotWritten(error) if error.to_string().contains("file")));
    assert_equal(&none.features, &blocked.features);
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}
