//! A picture of nearest neighbours: one row per query, framed blue where the class agrees and orange where it does not.

use std::path::Path;

use byol_data::Dataset;
use byol_eval::{Features, knn::Neighbour};
use byol_nn::{Error, Result};
use image::Rgb;

use crate::canvas::{Canvas, Ink};
use crate::lettering::{LINE_PX, shortened, wrapped};

const CELL_PX: u32 = 112;
const FRAME_PX: u32 = 2;
const GAP_PX: u32 = 12;
/// Between the query and its neighbours.
const QUERY_GAP_PX: u32 = 28;
/// Class, file name, similarity.
const LINES: u32 = 3;
const QUERY: Rgb<u8> = Rgb([90, 94, 99]);
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
    let outer = CELL_PX + 2 * FRAME_PX;
    let (pitch_x, pitch_y) = (outer + GAP_PX, outer + LINES * LINE_PX + GAP_PX + 4);
    let columns = 1 + rows.iter().map(|(_, neighbours)| neighbours.len()).max().unwrap_or(0) as u32;
    let width_px = columns * pitch_x + GAP_PX + QUERY_GAP_PX;
    let head = wrapped(&head(queries), width_px - 2 * GAP_PX);
    let head_px = GAP_PX + head.len() as u32 * LINE_PX + GAP_PX;
    let mut sheet = Canvas::new(width_px, head_px + rows.len() as u32 * pitch_y);
    sheet.words(&head, (GAP_PX, GAP_PX), Ink::Quiet);
    for (line, (query, neighbours)) in rows.iter().enumerate() {
        let top = head_px + line as u32 * pitch_y;
        let label = queries.features.labels[*query];
        put(&mut sheet, queries, *query, (GAP_PX, top), QUERY, "query")?;
        for (place, neighbour) in neighbours.iter().enumerate() {
            let frame = match (label, train.features.labels[neighbour.row]) {
                (Some(a), Some(b)) if a == b => RIGHT,
                (Some(_), Some(_)) => WRONG,
                _ => UNKNOWN,
            };
            let left = GAP_PX + QUERY_GAP_PX + (place as u32 + 1) * pitch_x;
            put(&mut sheet, train, neighbour.row, (left, top), frame, &format!("{:.3}", neighbour.cosine))?;
        }
    }
    Ok(sheet)
}

/// What the sheet shows.
fn head(queries: &Embedded) -> String {
    let frames = match queries.features.labels.iter().any(Option::is_some) {
        true => " Frames: blue the same class, orange another.",
        false => "",
    };
    format!("Left a query, then the most similar pictures, with the cosine of the two representations.{frames}")
}

/// A framed picture with its class, its file name and `number` below it.
fn put(
    sheet: &mut Canvas,
    from: &Embedded,
    row: usize,
    (left, top): (u32, u32),
    frame: Rgb<u8>,
    number: &str,
) -> Result<()> {
    let index = from.features.images[row] as usize;
    let image = from.dataset.load(index).map_err(|bad| Error::path(Path::new(&bad.name), bad.reason))?;
    let outer = CELL_PX + 2 * FRAME_PX;
    sheet.outline((left, top), (outer, outer), FRAME_PX, frame);
    sheet.picture(&image, (left + FRAME_PX, top + FRAME_PX), CELL_PX);
    let name = from.dataset.name(index);
    let class = from.features.labels[row].and_then(|label| from.dataset.classes().get(label as usize));
    let words = [class.map_or("", String::as_str), name.rsplit('/').next().unwrap_or(&name), number];
    let [class, name, number] = words.map(|text| shortened(text, outer));
    let below = top + outer + 3;
    sheet.words(&[class], (left, below), Ink::Strong);
    sheet.words(&[name, number], (left, below + LINE_PX), Ink::Quiet);
    Ok(())
}
