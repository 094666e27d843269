//! A picture of nearest neighbours: one row per query, framed green where the class agrees and red where it does not.

use std::io::Cursor;
use std::io::Write;
use std::path::Path;

use byol_data::{Dataset, Image};
use image::{ImageFormat, Rgb, RgbImage, imageops};

use crate::error::{Error, Result};
use crate::eval::{Features, knn::Neighbour};
use crate::files::write_atomically;

const CELL_PX: u32 = 72;
const FRAME_PX: u32 = 3;
const GAP_PX: u32 = 6;
const QUERY: Rgb<u8> = Rgb([30, 30, 30]);
const RIGHT: Rgb<u8> = Rgb([46, 160, 67]);
const WRONG: Rgb<u8> = Rgb([218, 54, 51]);
const UNKNOWN: Rgb<u8> = Rgb([160, 160, 160]);

/// Pictures with their representations.
pub struct Embedded<'a> {
    /// The pictures.
    pub dataset: &'a Dataset,
    /// Their representations.
    pub features: &'a Features,
}

/// Writes the sheet: the query on the left, then its neighbours, nearest first.
///
/// `rows` are (row of `queries`, its neighbours among `train`).
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, [`Error::Path`] when a picture can no longer be read.
pub fn write_neighbours(
    queries: &Embedded,
    train: &Embedded,
    rows: &[(usize, Vec<Neighbour>)],
    path: &Path,
) -> Result<()> {
    let columns = 1 + rows.iter().map(|(_, neighbours)| neighbours.len()).max().unwrap_or(0) as u32;
    let pitch = CELL_PX + 2 * FRAME_PX + GAP_PX;
    let mut sheet =
        RgbImage::from_pixel(columns * pitch + 2 * GAP_PX, rows.len() as u32 * pitch + GAP_PX, Rgb([255; 3]));
    for (line, (query, neighbours)) in rows.iter().enumerate() {
        let top = GAP_PX + line as u32 * pitch;
        paste(&mut sheet, &picture(queries, *query)?, (GAP_PX, top), QUERY);
        let label = queries.features.labels[*query];
        for (place, neighbour) in neighbours.iter().enumerate() {
            let frame = match (label, train.features.labels[neighbour.row]) {
                (Some(a), Some(b)) if a == b => RIGHT,
                (Some(_), Some(_)) => WRONG,
                _ => UNKNOWN,
            };
            let left = 2 * GAP_PX + (place as u32 + 1) * pitch;
            paste(&mut sheet, &picture(train, neighbour.row)?, (left, top), frame);
        }
    }
    let mut png = Cursor::new(Vec::new());
    sheet.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::path(path, error.to_string()))?;
    write_atomically(path, |writer| writer.write_all(png.get_ref()))
}

fn picture(from: &Embedded, row: usize) -> Result<Image> {
    let index = from.features.images[row] as usize;
    from.dataset.load(index).map_err(|bad| Error::path(Path::new(&bad.name), bad.reason))
}

fn paste(sheet: &mut RgbImage, image: &Image, (left, top): (u32, u32), frame: Rgb<u8>) {
    let (width, height) = (image.width_px() as u32, image.height_px() as u32);
    let pixels = RgbImage::from_raw(width, height, image.to_rgb8().into_owned())
        .expect("an image holds width · height · 3 bytes");
    let longer = width.max(height);
    let scale = |side: u32| (side * CELL_PX / longer).max(1);
    let filter = if longer < CELL_PX { imageops::FilterType::Nearest } else { imageops::FilterType::Triangle };
    let cell = imageops::resize(&pixels, scale(width), scale(height), filter);
    let outer = CELL_PX + 2 * FRAME_PX;
    let framed = RgbImage::from_pixel(outer, outer, frame);
    imageops::replace(sheet, &framed, left.into(), top.into());
    let centred = |side: u32| i64::from((outer - side) / 2);
    imageops::replace(sheet, &cell, i64::from(left) + centred(cell.width()), i64::from(top) + centred(cell.height()));
}
