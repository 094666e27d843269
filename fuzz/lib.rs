//! What the fuzz targets have in common: limits so small that a slow input is a finding, and what must hold of a picture.

use std::path::Path;

use byol_data::{DataConfig, Dataset, Image, Measured, ValueRange};

/// Limits of every target.
pub fn limits(channels: usize) -> DataConfig {
    DataConfig {
        channels,
        max_image_pixels: 1 << 16,
        max_file_bytes: 1 << 20,
        max_archive_memory_bytes: 1 << 22,
        ..DataConfig::default()
    }
}

/// Panics of libraries that are known and that `decode` and the reader of Parquet files turn into a reason. Any other is a finding.
const KNOWN: [&str; 2] = [
    // A palette whose length is no multiple of three: image-rs/image-png#694, mended after 0.18.1.
    "png-0.18.1/src/decoder/transform/palette.rs",
    // A page of plain values that ends within the length of one.
    "parquet-60.1.0/src/util/bit_util.rs",
];

/// Lets the known panics pass, at which a run would stop before it finds others.
pub fn let_known_panics_pass() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        if !KNOWN.iter().any(|known| file.ends_with(known)) {
            abort(panic);
        }
    }));
}

/// [`decode`] with a range of values.
pub fn decode_in(input: &[u8], value_range: Option<ValueRange>) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let config = DataConfig { value_range, ..limits([1, 3, 4][usize::from(choice) % 3]) };
    check(byol_data::decode(rest, &config, None), &config);
}

/// Decodes to 1, 3 or 4 channels, as the first byte says, from what follows it after `head`.
pub fn decode(input: &[u8], head: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let config = limits([1, 3, 4][usize::from(choice) % 3]);
    check(byol_data::decode(&[head, rest].concat(), &config, None), &config);
}

/// A range of values, or none, as `choice` says.
pub fn range(choice: u8) -> Option<ValueRange> {
    [None, Some(ValueRange::Fixed([-3.0, 1000.0])), Some(ValueRange::Measured(Measured::Percentile))]
        [usize::from(choice) % 3]
}

/// [`open_and_load_with`] the limits alone.
pub fn open_and_load(path: &Path, channels: usize) {
    open_and_load_with(path, &limits(channels));
}

/// Opens what lies at `path` and loads the first thousand pictures.
pub fn open_and_load_with(path: &Path, config: &DataConfig) {
    match Dataset::open(path, None, config) {
        Ok(dataset) => (0..dataset.len().min(1000)).for_each(|index| {
            let (_, _) = (dataset.name(index), dataset.label(index));
            check(dataset.load(index).map_err(|bad| bad.reason), config);
        }),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The checksum of PNG and zip (ISO 3309), bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

fn check(decoded: Result<Image, String>, config: &DataConfig) {
    match decoded {
        Ok(image) => {
            let pixels = image.width_px() * image.height_px();
            assert_eq!(image.channels(), config.channels);
            assert_eq!(image.samples().len(), pixels * config.channels);
        }
        Err(reason) => assert!(!reason.contains('\n'), "{reason}"),
    }
}
