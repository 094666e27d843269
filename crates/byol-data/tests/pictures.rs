//! Decoding against Pillow, on the files of `tests/data/pictures` (made by `tests/golden/pictures.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use byol_data::{DataConfig, Flaw, Image, JpegDecoding, Samples};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    width_px: usize,
    height_px: usize,
    tolerance: u8,
    rgb: Vec<u8>,
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    byol_data::decode(bytes, &DataConfig { max_image_pixels: 1 << 20, ..DataConfig::default() }, None)
}

fn with_channels(channels: usize) -> DataConfig {
    DataConfig { channels, ..DataConfig::default() }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&read("expected.json")).unwrap()
}

#[test]
fn every_format_gives_the_colours_that_pillow_reads() {
    for (name, expected) in expected() {
        let image = decode(&read(&name)).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!((image.width_px(), image.height_px()), (expected.width_px, expected.height_px), "{name}");
        let apart = image.to_rgb8().iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart <= expected.tolerance, "{name}: {apart} of 255 apart, {} allowed", expected.tolerance);
    }
}

/// Pillow decodes with libjpeg-turbo.
#[test]
fn exact_decoding_gives_the_samples_of_libjpeg_bit_for_bit() {
    let config = DataConfig { jpeg: JpegDecoding::Exact, ..DataConfig::default() };
    let mut differ = 0;
    for (name, expected) in expected().into_iter().filter(|(name, _)| name.ends_with(".jpg")) {
        let image = byol_data::decode(&read(&name), &config, None).unwrap();
        assert_eq!(*image.to_rgb8(), expected.rgb, "{name}");
        differ += usize::from(decode(&read(&name)).unwrap() != image);
    }
    assert!(differ > 0, "fast decoding is as exact, and `jpeg` without use");
}

#[test]
fn a_damaged_jpeg_file_that_training_reads_is_read_alike_where_decoding_is_exact() {
    let whole = read("baseline.jpg");
    let config = DataConfig { jpeg: JpegDecoding::Exact, ..DataConfig::default() };
    let start = whole.windows(2).position(|marker| marker == [0xFF, 0xDA]).unwrap() + 14;
    let mut damaged_ones = 0;
    for at in start..whole.len() - 2 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let (fast, exact) = (decode(&bytes), byol_data::decode(&bytes, &config, None));
        assert_eq!(fast.is_ok(), exact.is_ok(), "byte {at}: {fast:?} {exact:?}");
        if fast.is_ok() && matches!(byol_data::flaw(&bytes), Some(Flaw::Damaged(_))) {
            assert_eq!(fast, exact, "byte {at}");
            damaged_ones += 1;
        }
    }
    assert!(damaged_ones > 0);
}

#[test]
fn sixteen_bits_are_kept_at_full_depth() {
    let grey = byol_data::decode(&read("grey_16_bit.png"), &with_channels(1), None).unwrap();
    let Samples::U16(samples) = grey.samples() else { panic!("16 bits became {:?}", grey.samples()) };
    // The file was made of 8-bit values times 257.
    let expected: Vec<u16> = expected()["grey_16_bit.png"].rgb.chunks(3).map(|rgb| u16::from(rgb[0]) * 257).collect();
    assert_eq!(*samples, expected);
}

#[test]
fn one_and_four_channels_are_read_from_every_format() {
    for (name, expected) in expected() {
        let luma = byol_data::decode(&read(&name), &with_channels(1), None).unwrap();
        let tolerance = f64::from(expected.tolerance) + 1.0;
        for (grey, rgb) in luma.to_rgb8().chunks(3).zip(expected.rgb.chunks(3)) {
            let wanted = 0.299 * f64::from(rgb[0]) + 0.587 * f64::from(rgb[1]) + 0.114 * f64::from(rgb[2]);
            assert!((f64::from(grey[0]) - wanted).abs() <= tolerance, "{name}: {} of {wanted}", grey[0]);
        }
        let four = byol_data::decode(&read(&name), &with_channels(4), None).unwrap();
        assert_eq!((four.channels(), four.samples().len()), (4, expected.rgb.len() / 3 * 4), "{name}");
        let refused = byol_data::decode(&read(&name), &with_channels(5), None).unwrap_err();
        assert!(refused.contains("data.channels"), "{name}: {refused}");
    }
}

#[test]
fn the_orientation_can_be_left_as_it_is_in_the_file() {
    let config = DataConfig { exif_orientation: false, ..DataConfig::default() };
    let lying = byol_data::decode(&read("rotated.jpg"), &config, None).unwrap();
    let upright = decode(&read("rotated.jpg")).unwrap();
    assert_eq!((lying.width_px(), lying.height_px()), (upright.height_px(), upright.width_px()));
}

#[test]
fn memory_of_another_picture_changes_nothing() {
    for (spare, name) in [(1, "baseline.jpg"), (10_000, "baseline.jpg"), (700, "rgb.png")] {
        let again = byol_data::decode(&read(name), &DataConfig::default(), Some(Samples::U8(vec![9; spare])));
        assert_eq!(again, decode(&read(name)), "{name}");
    }
}

#[test]
fn a_file_cut_short_is_an_error_in_every_format() {
    for name in expected().keys() {
        let bytes = read(name);
        // The first frame is all we read, and half of this file holds it.
        let whole = if name == "animated.gif" { bytes.len() / 2 } else { bytes.len() };
        for keep in [1, 2, whole / 4, whole / 2, whole * 3 / 4] {
            // Of one pixel, all may be there.
            let cut = decode(&bytes[..keep]);
            assert!(cut.is_err() || cut == decode(&bytes), "{name} with {keep} of {} bytes", bytes.len());
            assert!(cut.is_err() || name == "one_pixel.png", "{name} with {keep} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_jpeg_without_all_of_its_data_is_an_error_even_if_a_thumbnail_is_whole() {
    let whole = read("baseline.jpg");
    // An APP1 segment that holds a whole JPEG file, as cameras write it.
    let length = u16::try_from(whole.len() + 2).unwrap().to_be_bytes();
    let mut with_thumbnail = vec![0xFF, 0xD8, 0xFF, 0xE1, length[0], length[1]];
    with_thumbnail.extend(&whole);
    with_thumbnail.extend(&whole[2..]);
    assert_eq!(decode(&with_thumbnail), decode(&whole));
    // Without the end marker alone, all data is there; then it is missing.
    let (without_end, whole) = (decode(&with_thumbnail[..with_thumbnail.len() - 2]).unwrap(), decode(&whole).unwrap());
    let apart = without_end.to_rgb8().iter().zip(&*whole.to_rgb8()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 3, "{apart}");
    let error = decode(&with_thumbnail[..with_thumbnail.len() - 20]).unwrap_err();
    assert!(error.contains("ends before its last block"), "{error}");
}

#[test]
fn what_is_no_picture_says_so() {
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"dear diary, this is a text file called holiday.jpg", "not a picture"),
        (b"\0\0\x01\0\x01\0 an icon", "an icon, which is not read; convert"),
    ] {
        let error = decode(bytes).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_header_that_claims_too_many_pixels_is_refused_before_anything_is_allocated() {
    let mut png = read("rgb.png");
    // Width and height of the IHDR chunk, then its checksum.
    png[16..24].copy_from_slice(&[60_000u32.to_be_bytes(), 60_000u32.to_be_bytes()].concat());
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut jpeg = read("baseline.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[60_000u16.to_be_bytes(), 60_000u16.to_be_bytes()].concat());
    for bytes in [png, jpeg] {
        let error = byol_data::decode(&bytes, &DataConfig::default(), None).unwrap_err();
        assert!(error.contains("60000×60000") && error.contains("data.max_image_pixels"), "{error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
