//! What the networks will see: pictures beside pairs of their views, with the parameters drawn.

use std::path::{Path, PathBuf};

use byol_data::views::{JitterStep, Semantics, ViewParameters, ViewScratch, Views, ViewsConfig};
use byol_data::{Dataset, Image, Order, Samples};
use byol_nn::files::{check_outside, check_writable};
use byol_nn::{Error, Result};
use image::Rgb;

use crate::canvas::{CHARACTER_PX, Canvas, LINE_PX};

/// Side of a cell: wide enough for the longest line of words.
const CELL_PX: u32 = 168;
const FRAME_PX: u32 = 3;
const GAP_PX: u32 = 8;
const LINES: u32 = 5;
/// One colour per pair, of the frames and of the crops on the original.
const PAIR_COLOURS: [Rgb<u8>; 6] = [
    Rgb([214, 39, 40]),
    Rgb([31, 119, 180]),
    Rgb([44, 160, 44]),
    Rgb([255, 127, 14]),
    Rgb([148, 103, 189]),
    Rgb([23, 190, 207]),
];

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct PreviewOptions {
    /// Pictures, one per row.
    pub images: usize,
    /// Pairs of views of each, at most [`PreviewOptions::MAX_PAIRS`].
    pub pairs: usize,
    /// The run's seed: pictures and views are those of its first epochs.
    pub seed: u64,
}

impl PreviewOptions {
    /// Pairs that still have a colour of their own.
    pub const MAX_PAIRS: usize = PAIR_COLOURS.len();
}

/// Checks that `path` is free, outside of the data and can be written.
///
/// # Errors
/// [`Error::Path`] or [`Error::Io`] that says which of them it is.
pub fn check_free(path: &Path, data: &[PathBuf]) -> Result<()> {
    data.iter().try_for_each(|data| check_outside(path, data))?;
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
        return Err(Error::path(path, "expected a file name that ends in .png"));
    }
    if path.symlink_metadata().is_ok() {
        return Err(Error::path(path, "already exists and is not overwritten; give another -o"));
    }
    check_writable(path)
}

/// Writes a sheet to `path`: the first pictures of a run with this seed, and their views of the first epochs, one pair per
/// epoch, drawn and rendered exactly as in training but shown before the normalisation. Returns how many pictures there are.
///
/// # Errors
/// [`Error::Config`] for impossible views, [`Error::Io`] when the sheet cannot be written, [`Error::Evaluation`] when not one
/// picture can be read.
pub fn write_preview(dataset: &Dataset, config: &ViewsConfig, options: PreviewOptions, path: &Path) -> Result<usize> {
    let rows = readable(dataset, options)?;
    let channels = dataset.config().channels;
    let plain = ViewsConfig { mean: vec![0.0; channels], std: vec![1.0; channels], ..config.clone() };
    let views = Views::new(plain).map_err(Error::from)?;
    let pitch_x = CELL_PX + 2 * FRAME_PX + GAP_PX;
    let pitch_y = CELL_PX + 2 * FRAME_PX + LINES * LINE_PX + GAP_PX;
    let head_px = 2 * LINE_PX + GAP_PX;
    let columns = 1 + 2 * options.pairs as u32;
    let mut canvas = Canvas::new(columns * pitch_x + 2 * GAP_PX, head_px + rows.len() as u32 * pitch_y + GAP_PX);
    let semantics = match config.semantics {
        Semantics::Reference => "reference",
        Semantics::Torchvision => "torchvision",
    };
    let title = format!(
        "views of {} px, {semantics} semantics, seed {}; the frames on the left show where each pair was cut out\n\
         jitter in the order applied: b brightness, c contrast, s saturation, h hue (turns)",
        config.size_px, options.seed
    );
    canvas.words(&title, (GAP_PX, GAP_PX / 2));
    let mut scratch = ViewScratch::default();
    let mut values = vec![0.0; views.values()];
    for (row, (index, image)) in rows.iter().enumerate() {
        let top = head_px + row as u32 * pitch_y;
        let placed = canvas.picture(image, (GAP_PX + FRAME_PX, top + FRAME_PX), CELL_PX);
        let name =
            format!("{}\n{} x {} px", short(&dataset.name(*index as usize)), image.width_px(), image.height_px());
        canvas.words(&name, (GAP_PX, top + CELL_PX + 2 * FRAME_PX + 2));
        for (pair, &colour) in PAIR_COLOURS.iter().enumerate().take(options.pairs) {
            for view in 0..2u8 {
                let parameters = views.draw(image, view, options.seed, pair as u64, u64::from(*index));
                views.render(image, &parameters, &mut values, &mut scratch);
                let crop = parameters.crop;
                let scaled = |length: usize| (length as f32 * placed.scale) as u32;
                let corner = (placed.left + scaled(crop.left_px), placed.top + scaled(crop.top_px));
                canvas.outline(corner, (scaled(crop.width_px), scaled(crop.height_px)), 1, colour);
                let left = 2 * GAP_PX + (1 + 2 * pair as u32 + u32::from(view)) * pitch_x;
                let frame = CELL_PX + 2 * FRAME_PX;
                canvas.outline((left, top), (frame, frame), FRAME_PX, colour);
                canvas.picture(&shown(&values, config.size_px, channels), (left + FRAME_PX, top + FRAME_PX), CELL_PX);
                canvas.words(&describe(&parameters, view), (left, top + frame + 2));
            }
        }
    }
    canvas.write_png(path)?;
    Ok(rows.len())
}

/// The first readable pictures in the order of the run.
fn readable(dataset: &Dataset, options: PreviewOptions) -> Result<Vec<(u32, Image)>> {
    let len = u32::try_from(dataset.len()).unwrap_or(u32::MAX);
    let mut order = Order::new(options.seed, len);
    let mut last = None;
    let mut rows = Vec::new();
    for place in 0..u64::from(len).min(options.images as u64 + 1000) {
        let index = order.sample(place).image;
        match dataset.load(index as usize) {
            Ok(image) => rows.push((index, image)),
            Err(bad) => last = Some(bad),
        }
        if rows.len() == options.images {
            break;
        }
    }
    match (rows.is_empty(), last) {
        (true, Some(bad)) => Err(Error::Evaluation(format!(
            "no picture could be read, the last one was {} ({}); byol doctor lists all of them",
            bad.name, bad.reason
        ))),
        _ => Ok(rows),
    }
}

fn shown(values: &[f32], size_px: usize, channels: usize) -> Image {
    let samples = values.iter().map(|value| (value * 255.0).round() as u8).collect();
    Image::new(size_px, size_px, channels, Samples::U8(samples))
}

/// What was drawn, one operation per line, only those that happen.
fn describe(parameters: &ViewParameters, view: u8) -> String {
    let crop = parameters.crop;
    let flip = if parameters.flip { " flip" } else { "" };
    let mut lines =
        vec![format!("{}: {}x{}+{}+{}", view + 1, crop.width_px, crop.height_px, crop.left_px, crop.top_px) + flip];
    if let Some(steps) = &parameters.jitter {
        let steps = steps.map(|step| match step {
            JitterStep::Brightness(x) => format!("b{x:.2}"),
            JitterStep::Contrast(x) => format!("c{x:.2}"),
            JitterStep::Saturation(x) => format!("s{x:.2}"),
            JitterStep::Hue(x) => format!("h{x:.2}"),
        });
        lines.push(steps.join(" "));
    }
    if parameters.grayscale {
        lines.push("grey".to_owned());
    }
    if let Some(sigma) = parameters.blur_sigma {
        lines.push(format!("blur sigma {sigma:.2} px"));
    }
    if let Some(threshold) = parameters.solarise_threshold {
        lines.push(format!("solarised from {threshold}"));
    }
    lines.join("\n")
}

/// The end of a name, as much as fits under a cell.
fn short(name: &str) -> String {
    let fits = (CELL_PX / CHARACTER_PX) as usize;
    let count = name.chars().count();
    if count <= fits {
        name.to_owned()
    } else {
        format!("...{}", name.chars().skip(count - fits + 3).collect::<String>())
    }
}
