//! Kinds of picture files that decoders get wrong, against Pillow, on the files of `tests/data/kinds` (made by
//! `tests/golden/jpeg_kinds.py` and `tiff_kinds.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use byol_data::inspect::inspect;
use byol_data::{DataConfig, Dataset, Flaw, Image, Measured, Samples, ValueRange, flaw};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    width_px: usize,
    height_px: usize,
    tolerance: u8,
    rgb: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kinds")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    byol_data::decode(bytes, &DataConfig::default(), None)
}

#[test]
fn scans_samplings_markers_and_orientations_of_every_kind_give_what_pillow_reads() {
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&read("jpeg.json")).unwrap();
    assert!(expected.len() > 35);
    for (name, expected) in expected {
        let image = decode(&read(&name)).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!((image.width_px(), image.height_px()), (expected.width_px, expected.height_px), "{name}");
        let apart = image.to_rgb8().iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart <= expected.tolerance, "{name}: {apart} of 255 apart, {} allowed", expected.tolerance);
    }
}

#[test]
fn a_missing_end_is_a_flaw_of_a_whole_picture_and_missing_data_is_not_passed_over() {
    for name in ["no_end.jpg", "no_end_progressive.jpg", "no_end.png"] {
        let bytes = read(name);
        assert_eq!(flaw(&bytes), Some(Flaw::EndMissing), "{name}");
        // Of the last bytes, some may be filling of the last block or the checksum of all: but not thirty.
        for short in 30..60 {
            assert!(decode(&bytes[..bytes.len() - short]).is_err(), "{name} without {short} bytes");
        }
    }
    for name in ["two_scans_420.jpg", "each_scan_420_progressive.jpg", "turned_6_long.jpg", "after_the_end.jpg"] {
        assert_eq!(flaw(&read(name)), None, "{name}");
    }
}

#[test]
fn damage_within_a_scan_is_found() {
    for name in ["hole.jpg", "random_hole.jpg"] {
        assert!(matches!(flaw(&read(name)), Some(Flaw::Damaged(_))), "{name}");
    }
    let whole = std::fs::read(folder().join("../pictures/baseline.jpg")).unwrap();
    assert_eq!(flaw(&whole), None);
    // A hole of random bytes, anywhere in the data.
    let start = whole.windows(2).rposition(|marker| marker == [0xFF, 0xDA]).unwrap() + 14;
    let places = start..whole.len() - 10;
    let found = places.clone().filter(|&place| {
        let mut damaged = whole.clone();
        damaged[place..place + 8].copy_from_slice(&[0x5A, 0x13, 0xC7, 0x21, 0x9E, 0x40, 0xB8, 0x76]);
        matches!(flaw(&damaged), Some(Flaw::Damaged(_)))
    });
    let (found, of) = (found.count(), places.len());
    assert!(found * 10 > of * 6, "{found} of {of} holes");
}

#[test]
fn codings_that_are_not_read_are_refused_by_their_names() {
    for (name, word) in [("arithmetic.jpg", "arithmetic coding"), ("lossless.jpg", "lossless coding")] {
        let reason = decode(&read(name)).unwrap_err();
        assert!(reason.contains(word) && reason.contains("convert"), "{name}: {reason}");
    }
}

#[test]
fn twelve_bits_of_a_jpeg_file_are_kept() {
    let image = byol_data::decode(&read("12_bit.jpg"), &DataConfig { channels: 1, ..DataConfig::default() }, None);
    let Samples::U16(samples) = image.unwrap().into_samples() else { panic!("12 bits became 8") };
    let eight = decode(&std::fs::read(folder().join("../pictures/rgb.png")).unwrap()).unwrap();
    for (sample, rgb) in samples.iter().zip(eight.to_rgb8().chunks(3)) {
        let luma = 0.299 * f64::from(rgb[0]) + 0.587 * f64::from(rgb[1]) + 0.114 * f64::from(rgb[2]);
        // The values in the file are 16 times the luma, of 4095.
        assert!((f64::from(*sample) - luma * 16.0 * 65_535.0 / 4095.0).abs() < 1500.0, "{sample} for {luma}");
    }
}

#[derive(Deserialize)]
struct ExpectedSamples {
    value_range: Option<[f64; 2]>,
    samples: Vec<u16>,
}

fn with_range(value_range: Option<ValueRange>, channels: usize) -> DataConfig {
    DataConfig { value_range, channels, ..DataConfig::default() }
}

fn values(image: Image) -> Vec<u16> {
    match image.into_samples() {
        Samples::U8(samples) => samples.into_iter().map(u16::from).collect(),
        Samples::U16(samples) => samples,
    }
}

#[test]
fn tiff_files_of_every_type_compression_and_layout_give_their_samples() {
    let expected: BTreeMap<String, ExpectedSamples> = serde_json::from_slice(&read("tiff.json")).unwrap();
    assert!(expected.len() > 20);
    for (name, expected) in expected {
        let channels = expected.samples.len() / (16 * 12);
        let config = with_range(expected.value_range.map(ValueRange::Fixed), channels);
        let image = byol_data::decode(&read(&name), &config, None).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let apart = values(image).iter().zip(&expected.samples).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // Rounding, and half a step more where both sides round.
        assert!(apart <= 1, "{name}: {apart} apart");
        if expected.value_range.is_some() {
            let reason = byol_data::decode(&read(&name), &with_range(None, channels), None).unwrap_err();
            assert!(reason.contains("data.value_range = ["), "{name}: {reason}");
            let percentile = with_range(Some(ValueRange::Measured(Measured::Percentile)), channels);
            let spread = values(byol_data::decode(&read(&name), &percentile, None).unwrap());
            assert_eq!((spread.iter().min(), spread.iter().max()), (Some(&0), Some(&65_535)), "{name}");
        }
    }
    // A tile that ends at the limit of the table of LZW codes.
    assert_eq!(decode(&read("lzw_tile_end.tif")).map(|image| (image.width_px(), image.height_px())), Ok((3, 64)));
}

#[test]
fn tiff_files_that_are_not_read_are_refused_by_their_names() {
    for (name, words) in [("fax_3.tif", "group 3 fax"), ("complex.tif", "complex numbers")] {
        let reason = decode(&read(name)).unwrap_err();
        assert!(reason.contains(words) && reason.contains("convert"), "{name}: {reason}");
    }
}

#[test]
fn a_range_of_values_applies_to_8_and_16_bits_too() {
    let png = read("12_bit_in_16.png");
    let config = |range| with_range(range, 1);
    let plain = values(byol_data::decode(&png, &config(None), None).unwrap());
    let ranged = byol_data::decode(&png, &config(Some(ValueRange::Fixed([0.0, 4095.0]))), None).unwrap();
    assert!(plain.iter().all(|&value| value < 4096));
    let expected: Vec<u16> = plain.iter().map(|&value| (f64::from(value) / 4095.0 * 65_535.0).round() as u16).collect();
    assert_eq!(values(ranged), expected);
}

#[test]
fn an_inspection_counts_flaws_and_proposes_a_range() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["no_end.jpg", "random_hole.jpg", "two_scans_420.jpg"] {
        std::fs::write(folder.path().join(name), read(name)).unwrap();
    }
    let open = |path: &Path| Dataset::open(path, None, &DataConfig::default()).unwrap();
    let look = |dataset: &Dataset| {
        let places: Vec<u32> = (0..dataset.len() as u32).collect();
        inspect(dataset, &places, 1, &|_| {}).unwrap()
    };
    let found = look(&open(folder.path()));
    assert_eq!(found.incomplete, [0]);
    assert_eq!(found.value_range_proposal(), None);
    // Damage may make a picture bad or be counted.
    let bad = found.bad.iter().filter(|bad| bad.name == "random_hole.jpg").count();
    assert_eq!(bad + found.damaged.iter().filter(|(place, _)| *place == 1).count(), 1);
    assert_eq!(found.damaged.len() + bad, 1);

    let dark = tempfile::tempdir().unwrap();
    std::fs::write(dark.path().join("a.png"), read("12_bit_in_16.png")).unwrap();
    assert_eq!(look(&open(dark.path())).value_range_proposal(), Some([0.0, 4095.0]));
}
