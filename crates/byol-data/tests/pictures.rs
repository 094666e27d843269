//! Decoding against Pillow, on the files of `tests/data/pictures` (made by `tests/golden/pictures.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use byol_data::decode;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    width_px: usize,
    height_px: usize,
    tolerance: u8,
    rgb: Vec<u8>,
}

const LIMIT_PX: u64 = 1 << 20;

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
        let image = decode(&read(&name), LIMIT_PX).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!((image.width_px(), image.height_px()), (expected.width_px, expected.height_px), "{name}");
        let apart = image.pixels().iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart <= expected.tolerance, "{name}: {apart} of 255 apart, {} allowed", expected.tolerance);
    }
}

#[test]
fn a_file_cut_short_is_an_error_in_every_format() {
    for name in expected().keys() {
        let bytes = read(name);
        // The first frame is all we read, and half of this file holds it.
        let whole = if name == "animated.gif" { bytes.len() / 2 } else { bytes.len() };
        for keep in [1, 2, whole / 4, whole / 2, whole * 3 / 4] {
            assert!(decode(&bytes[..keep], LIMIT_PX).is_err(), "{name} with {keep} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_jpeg_without_its_end_marker_is_an_error_even_if_a_thumbnail_has_one() {
    let whole = read("baseline.jpg");
    // An APP1 segment that holds a whole JPEG file, as cameras write it.
    let length = u16::try_from(whole.len() + 2).unwrap().to_be_bytes();
    let mut with_thumbnail = vec![0xFF, 0xD8, 0xFF, 0xE1, length[0], length[1]];
    with_thumbnail.extend(&whole);
    with_thumbnail.extend(&whole[2..]);
    assert_eq!(decode(&with_thumbnail, LIMIT_PX), decode(&whole, LIMIT_PX));
    let error = decode(&with_thumbnail[..with_thumbnail.len() - 2], LIMIT_PX).unwrap_err();
    assert!(error.contains("cut short"), "{error}");
}

#[test]
fn what_is_no_picture_says_so() {
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"dear diary, this is a text file called holiday.jpg", "not a picture"),
        (b"\0\0\x01\0\x01\0 an icon", "not supported"),
    ] {
        let error = decode(bytes, LIMIT_PX).unwrap_err();
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
        let error = decode(&bytes, 178_956_970).unwrap_err();
        assert!(error.contains("60000×60000") && error.contains("data.max_image_pixels"), "{error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
