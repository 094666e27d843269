//! Small pictures in one large one, of which the page shows a part at a time.

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use byol_data::Dataset;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage, imageops};
use rayon::prelude::*;

/// Bytes of all sprites of a page together, before base64.
const MOST_BYTES: usize = 3_000_000;

/// Sides in pixels and qualities of JPEG, tried until the sprite is small enough: largest first.
pub(super) type Forms = [(u32, u8)];

/// Those of the pictures that appear under the pointer on a map.
pub(super) const ON_MAPS: &Forms = &[(48, 82), (48, 60), (32, 60), (20, 50)];

/// Pictures side by side, row by row.
pub(super) struct Sprite {
    /// Side of one of them in pixels.
    pub side_px: u32,
    /// How many stand in a row.
    pub columns: u32,
    /// Rows.
    pub lines: u32,
    /// `data:` address of the whole.
    pub address: String,
}

impl Sprite {
    /// The sprite of `pictures`, one of `sprites` on the page, in the first of `forms` that is small enough, or the last; those that can no
    /// longer be read are grey.
    pub fn of(pictures: &[(Arc<Dataset>, usize)], sprites: usize, forms: &Forms) -> Self {
        let full = forms[0].0;
        let small: Vec<Option<RgbImage>> =
            pictures.par_iter().map(|(dataset, index)| shrunk(dataset, *index, full)).collect();
        let columns = (pictures.len() as f64).sqrt().ceil().max(1.0) as u32;
        let lines = (pictures.len() as u32).div_ceil(columns).max(1);
        let most = MOST_BYTES / sprites.max(1);
        let mut jpeg = Vec::new();
        let mut side_px = 0;
        for &(side, quality) in forms {
            let sheet = arranged(&small, full, side, columns, lines);
            let mut bytes = Cursor::new(Vec::new());
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
            sheet.write_with_encoder(encoder).expect("RGB of 8 bits in memory can be encoded as JPEG");
            (jpeg, side_px) = (bytes.into_inner(), side);
            if jpeg.len() <= most {
                break;
            }
        }
        Self { side_px, columns, lines, address: format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)) }
    }
}

/// The picture in a square of at most `side` pixels; small ones are enlarged pixel by pixel.
fn shrunk(dataset: &Dataset, index: usize, side: u32) -> Option<RgbImage> {
    let image = dataset.load(index).ok()?;
    let (width, height) = (image.width_px() as u32, image.height_px() as u32);
    let pixels = RgbImage::from_raw(width, height, image.to_rgb8().into_owned())?;
    let longer = width.max(height);
    let filter = if longer < side { imageops::FilterType::Nearest } else { imageops::FilterType::Triangle };
    let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longer)).max(1) as u32;
    Some(imageops::resize(&pixels, scaled(width), scaled(height), filter))
}

/// The pictures, made for squares of `full` pixels, in those of `side`.
fn arranged(small: &[Option<RgbImage>], full: u32, side: u32, columns: u32, lines: u32) -> RgbImage {
    let mut sheet = RgbImage::from_pixel(columns * side, lines * side, Rgb([128; 3]));
    for (place, picture) in small.iter().enumerate() {
        let Some(picture) = picture else { continue };
        let scaled = |length: u32| (length * side / full).max(1);
        let (width, height) = (scaled(picture.width()), scaled(picture.height()));
        let fitting = match side == full {
            true => picture.clone(),
            false => imageops::resize(picture, width, height, imageops::FilterType::Triangle),
        };
        let (left, top) = (place as u32 % columns * side, place as u32 / columns * side);
        imageops::replace(&mut sheet, &fitting, (left + (side - width) / 2).into(), (top + (side - height) / 2).into());
    }
    sheet
}

#[cfg(test)]
mod tests {
    use byol_data::Image;

    use super::*;

    #[test]
    fn each_picture_lies_at_its_place() {
        let picture = |value: u8| Image::rgb8(4, 4, vec![value; 48]);
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let dataset = Arc::new(Dataset::from_images([0, 250, 120].map(picture).to_vec(), None, vec![], names));
        let pictures: Vec<_> = (0..3).map(|index| (Arc::clone(&dataset), index)).collect();
        let sprite = Sprite::of(&pictures, 1, ON_MAPS);
        assert_eq!((sprite.columns, sprite.lines, sprite.side_px), (2, 2, 48));
        let jpeg = STANDARD.decode(sprite.address.split_once(',').unwrap().1).unwrap();
        let sheet = image::load_from_memory(&jpeg).unwrap().into_rgb8();
        for (place, value) in [((24, 24), 0), ((72, 24), 250), ((24, 72), 120)] {
            let found = sheet.get_pixel(place.0, place.1).0[0];
            assert!(found.abs_diff(value) < 4, "{place:?}: {found}, expected {value}");
        }
    }

    #[test]
    fn a_page_with_many_maps_shows_smaller_pictures() {
        let picture =
            |seed: usize| Image::rgb8(48, 48, (0..48 * 48 * 3).map(|at| (at * (seed + 7) * 31 % 251) as u8).collect());
        let dataset = Arc::new(Dataset::from_images(
            (0..4).map(picture).collect(),
            None,
            vec![],
            (0..4).map(|n| n.to_string()).collect(),
        ));
        let pictures: Vec<_> = (0..4).map(|index| (Arc::clone(&dataset), index)).collect();
        assert_eq!(Sprite::of(&pictures, usize::MAX, ON_MAPS).side_px, 20);
    }
}
