//! A picture of nearest neighbours: one row per query, framed blue where the class agrees and orange where it does not.

use std::path::Path;

use byol_data::{Dataset, Image};
use byol_eval::{Features, knn::Neighbour};
use byol_nn::{Error, Result};
use image::Rgb;

use crate::canvas::Canvas;

const CELL_PX: u32 = 72;
const FRAME_PX: u32 = 3;
const GAP_PX: u32 = 6;
const QUERY: Rgb<u8> = Rgb([30, 30, 30]);
// Told apart by people who see no difference between red and green.
const RIGHT: Rgb<u8> = Rgb([0, 114, 178]);
const WRONG: Rgb<u8> = Rgb([213, 94, 0]);
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
    sheet(queries, train, rows)?.write_png(path)
}

/// The sheet of [`write_neighbours`] as a PNG file.
///
/// # Errors
/// [`Error::Path`] when a picture can no longer be read.
pub fn neighbours_png(queries: &Embedded, train: &Embedded, rows: &[(usize, Vec<Neighbour>)]) -> Result<Vec<u8>> {
    Ok(sheet(queries, train, rows)?.to_png())
}

fn sheet(queries: &Embedded, train: &Embedded, rows: &[(usize, Vec<Neighbour>)]) -> Result<Canvas> {
    let columns = 1 + rows.iter().map(|(_, neighbours)| neighbours.len()).max().unwrap_or(0) as u32;
    let pitch = CELL_PX + 2 * FRAME_PX + GAP_PX;
    let mut sheet = Canvas::new(columns * pitch + 2 * GAP_PX, rows.len() as u32 * pitch + GAP_PX);
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
    Ok(sheet)
}

fn picture(from: &Embedded, row: usize) -> Result<Image> {
    let index = from.features.images[row] as usize;
    from.dataset.load(index).map_err(|bad| Error::path(Path::new(&bad.name), bad.reason))
}

fn paste(sheet: &mut Canvas, image: &Image, (left, top): (u32, u32), frame: Rgb<u8>) {
    let outer = CELL_PX + 2 * FRAME_PX;
    sheet.fill((left, top), (outer, outer), frame);
    sheet.picture(image, (left + FRAME_PX, top + FRAME_PX), CELL_PX);
}
