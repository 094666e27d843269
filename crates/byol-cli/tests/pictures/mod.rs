//! Small pictures for the tests of the binary.

use std::fs;
use std::path::Path;

use image::{ImageFormat, RgbImage};

/// Side of the pictures.
const SIZE_PX: u32 = 16;

/// A striped picture; `class` decides the direction, `index` the rest.
pub fn picture(class: usize, index: usize) -> RgbImage {
    RgbImage::from_fn(SIZE_PX, SIZE_PX, |x, y| {
        let along = [x, y, x + y][class % 3] as usize + index;
        let bright = if (along / 2).is_multiple_of(2) { 200 } else { 40 };
        image::Rgb([bright, (bright as usize + 7 * index) as u8, (31 * index % 256) as u8])
    })
}

/// Writes `count` pictures into `folder`, which is made if needed: `0.png`, `1.png`, ….
pub fn write_class(folder: &Path, class: usize, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for index in 0..count {
        let file = folder.join(format!("{index}.png"));
        picture(class, index).save_with_format(file, ImageFormat::Png).unwrap();
    }
}

/// Cuts the last third off a file.
pub fn truncate(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() * 2 / 3]).unwrap();
}
