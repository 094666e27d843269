//! DICOM files against pydicom, on the files of `tests/data/dicom` (made by `tests/golden/dicom_kinds.py`).

use std::path::{Path, PathBuf};

#[cfg(feature = "dicom")]
use byol_data::{DataConfig, Image, Measured, Samples, ValueRange};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dicom")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

#[cfg(not(feature = "dicom"))]
#[test]
fn without_the_feature_dicom_files_are_refused_with_the_build_that_reads_them() {
    use byol_data::{DataConfig, Dataset, decode, unread_format};
    let reason = decode(&read("rgb.dcm"), &DataConfig::default(), None).unwrap_err();
    assert!(reason.contains("DICOM") && reason.contains("--features dicom"), "{reason}");
    assert_eq!(unread_format("a.dcm", Some(&read("rgb.dcm"))), Some("a DICOM file"));
    let mixed = tempfile::tempdir().unwrap();
    std::fs::copy(folder().join("rgb.dcm"), mixed.path().join("a.dcm")).unwrap();
    std::fs::copy(folder().join("../pictures/rgb.png"), mixed.path().join("b.png")).unwrap();
    let dataset = Dataset::open(mixed.path(), None, &DataConfig::default()).unwrap();
    assert_eq!(dataset.len(), 1);
    assert!(dataset.notes().iter().any(|note| note.contains("1 .dcm")), "{:?}", dataset.notes());
}

#[cfg(feature = "dicom")]
fn with_range(value_range: Option<ValueRange>, channels: usize) -> DataConfig {
    DataConfig { value_range, channels, ..DataConfig::default() }
}

#[cfg(feature = "dicom")]
fn decode(bytes: &[u8], value_range: Option<ValueRange>, channels: usize) -> Result<Image, String> {
    byol_data::decode(bytes, &with_range(value_range, channels), None)
}

#[cfg(feature = "dicom")]
fn values(image: Image) -> Vec<u16> {
    match image.into_samples() {
        Samples::U8(samples) => samples.into_iter().map(u16::from).collect(),
        Samples::U16(samples) => samples,
    }
}

#[cfg(feature = "dicom")]
#[test]
fn dicom_files_of_every_syntax_type_and_colour_give_what_pydicom_reads() {
    #[derive(serde::Deserialize)]
    struct Expected {
        value_range: Option<[f64; 2]>,
        samples: Vec<u16>,
    }
    let expected: std::collections::BTreeMap<String, Expected> =
        serde_json::from_slice(&read("expected.json")).unwrap();
    assert!(expected.len() > 30);
    for (name, expected) in expected {
        let channels = expected.samples.len() / (10 * 6);
        let range = expected.value_range.map(ValueRange::Fixed);
        let image = decode(&read(&name), range, channels).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!((image.width_px(), image.height_px()), (10, 6), "{name}");
        // Rounding; where chroma was computed, on both sides.
        let tolerance = if name.starts_with("jpeg_") && !name.contains("lossless") { 3 } else { 1 };
        let apart = values(image).iter().zip(&expected.samples).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart <= tolerance, "{name}: {apart} apart");
        if range.is_some() && name != "monochrome1_range.dcm" {
            let percentile = decode(&read(&name), Some(ValueRange::Measured(Measured::Percentile)), 1).unwrap();
            let spread = values(percentile);
            assert_eq!((spread.iter().min(), spread.iter().max()), (Some(&0), Some(&65_535)), "{name}");
        }
        if range.is_some() {
            let reason = decode(&read(&name), None, channels).unwrap_err();
            assert!(reason.contains("DICOM") && reason.contains("data.value_range = ["), "{name}: {reason}");
        }
    }
}

#[cfg(feature = "dicom")]
#[test]
fn dicom_files_are_pictures_by_their_mark_and_by_their_ending() {
    let data = byol_data::Dataset::open(&folder(), None, &DataConfig::default()).unwrap();
    assert!(data.len() > 30);
    let place = (0..data.len()).find(|&place| data.name(place) == "signed_12.dcm").unwrap();
    assert_eq!(data.kind(place, &mut byol_data::LoadMemory::default()), "DICOM, 1 channel, 12 bits, signed");
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(folder().join("rgb.dcm"), other.path().join("IM000001")).unwrap();
    let data = byol_data::Dataset::open(&other.path().join("IM000001"), None, &DataConfig::default()).unwrap();
    assert_eq!(data.load(0).unwrap().width_px(), 10);
    assert_eq!(byol_data::unread_format("a.dcm", Some(&read("rgb.dcm"))), None);
}

#[cfg(feature = "dicom")]
#[test]
fn dicom_files_that_are_not_read_are_refused_by_what_they_are() {
    let reason = decode(&read("jpeg_2000.dcm"), None, 1).unwrap_err();
    assert!(reason.contains("JPEG 2000") && reason.contains("convert"), "{reason}");
    for name in
        ["unsigned_12_in_16.dcm", "rle_12.dcm", "jpeg_lossless_12.dcm", "jpeg_ybr.dcm", "deflated.dcm", "icon.dcm"]
    {
        let bytes = read(name);
        assert!(decode(&bytes, None, 3).is_ok(), "{name}");
        for length in [0, 20, 131, 140, 300, 400, bytes.len() / 2, bytes.len() - 40] {
            let reason = decode(&bytes[..length], None, 3).unwrap_err();
            assert!(!reason.contains("the decoder failed"), "{name} of {length} bytes: {reason}");
        }
    }
    // No pixels: the file ends with the element before them.
    let bytes = read("rgb.dcm");
    let pixels = bytes.windows(4).position(|tag| tag == [0xE0, 0x7F, 0x10, 0]).unwrap();
    let reason = decode(&bytes[..pixels], None, 3).unwrap_err();
    assert!(reason.contains("without a picture"), "{reason}");
    let small = DataConfig { max_image_pixels: 59, ..DataConfig::default() };
    assert!(byol_data::decode(&bytes, &small, None).unwrap_err().contains("max_image_pixels"));
    let small = DataConfig { max_file_bytes: 100, ..DataConfig::default() };
    assert!(byol_data::decode(&read("deflated.dcm"), &small, None).unwrap_err().contains("inflates"));
}
