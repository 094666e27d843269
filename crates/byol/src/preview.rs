//! What the networks will see: pictures beside pairs of their views, with the parameters drawn.

use std::path::{Path, PathBuf};

use byol_data::views::{JitterStep, Semantics, ViewParameters, ViewScratch, Views, ViewsConfig};
use byol_data::{Dataset, Image, Order, Samples};
use byol_nn::files::{check_outside, check_writable};
use byol_nn::{Error, Result};
use image::Rgb;

use crate::canvas::{Canvas, Ink};
use crate::lettering::{LINE_PX, wrapped};

/// Side of a picture.
const CELL_PX: u32 = 176;
const FRAME_PX: u32 = 2;
const GAP_PX: u32 = 12;
/// Side of a picture with its frame, which words below it may take.
const OUTER_PX: u32 = CELL_PX + 2 * FRAME_PX;
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
    let channels = dataset.config().channels;
    let plain = ViewsConfig { mean: vec![0.0; channels], std: vec![1.0; channels], ..config.clone() };
    let views = Views::new(plain).map_err(Error::from)?;
    let rows: Vec<Row> =
        readable(dataset, options)?.into_iter().map(|picture| Row::draw(dataset, picture, &views, options)).collect();
    let (pitch_x, columns) = (OUTER_PX + GAP_PX, 1 + 2 * options.pairs as u32);
    let width_px = columns * pitch_x + 2 * GAP_PX;
    let head = wrapped(&head(config, options.seed), width_px - 2 * GAP_PX);
    let head_px = 2 * GAP_PX + head.len() as u32 * LINE_PX;
    let mut canvas = Canvas::new(width_px, head_px + rows.iter().map(Row::height_px).sum::<u32>());
    canvas.words(&head, (GAP_PX, GAP_PX), Ink::Quiet);
    let mut scratch = ViewScratch::default();
    let mut values = vec![0.0; views.values()];
    let mut top = head_px;
    for row in &rows {
        let below = top + OUTER_PX + 3;
        let placed = canvas.picture(&row.image, (GAP_PX + FRAME_PX, top + FRAME_PX), CELL_PX);
        canvas.words(&row.class, (GAP_PX, below), Ink::Strong);
        canvas.words(&row.name, (GAP_PX, below + row.class.len() as u32 * LINE_PX), Ink::Quiet);
        for (place, (parameters, words)) in row.views.iter().enumerate() {
            let colour = PAIR_COLOURS[place / 2];
            views.render(&row.image, parameters, &mut values, &mut scratch);
            let crop = parameters.crop;
            let scaled = |length: usize| (length as f32 * placed.scale) as u32;
            let corner = (placed.left + scaled(crop.left_px), placed.top + scaled(crop.top_px));
            canvas.outline(corner, (scaled(crop.width_px), scaled(crop.height_px)), 1, colour);
            let left = 2 * GAP_PX + (1 + place as u32) * pitch_x;
            canvas.outline((left, top), (OUTER_PX, OUTER_PX), FRAME_PX, colour);
            canvas.picture(&shown(&values, config.size_px, channels), (left + FRAME_PX, top + FRAME_PX), CELL_PX);
            canvas.words(words, (left, below), Ink::Quiet);
        }
        top += row.height_px();
    }
    canvas.write_png(path)?;
    Ok(rows.len())
}

/// What the sheet shows.
fn head(config: &ViewsConfig, seed: u64) -> String {
    let semantics = match config.semantics {
        Semantics::Reference => "reference",
        Semantics::Torchvision => "torchvision",
    };
    format!(
        "Views of {} px, {semantics} semantics, seed {seed}. Left the picture, with frames where each pair was cut out; below \
         a view what was drawn for it, in the order applied.",
        config.size_px
    )
}

/// A picture with its views, and the words below them.
struct Row {
    image: Image,
    class: Vec<String>,
    name: Vec<String>,
    /// First and second view of each pair, as drawn.
    views: Vec<(ViewParameters, Vec<String>)>,
}

impl Row {
    fn draw(dataset: &Dataset, (index, image): (u32, Image), views: &Views, options: PreviewOptions) -> Self {
        let class = dataset.label(index as usize).and_then(|label| dataset.classes().get(label as usize));
        let name = format!("{}\n{} × {} px", dataset.name(index as usize), image.width_px(), image.height_px());
        let pairs = (0..options.pairs as u64).flat_map(|pair| [(pair, 0), (pair, 1)]);
        let drawn = pairs.map(|(pair, view)| {
            let parameters = views.draw(&image, view, options.seed, pair, u64::from(index));
            let words = wrapped(&describe(&parameters), OUTER_PX);
            (parameters, words)
        });
        Self {
            views: drawn.collect(),
            class: class.map_or_else(Vec::new, |class| wrapped(class, OUTER_PX)),
            name: wrapped(&name, OUTER_PX),
            image,
        }
    }

    fn height_px(&self) -> u32 {
        let below = self.views.iter().map(|(_, words)| words.len()).chain([self.class.len() + self.name.len()]);
        OUTER_PX + 3 + below.max().unwrap_or(0) as u32 * LINE_PX + GAP_PX
    }
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

/// What was drawn, only operations that happen.
fn describe(parameters: &ViewParameters) -> String {
    let crop = parameters.crop;
    let mut first = format!("{} × {} px from {}, {}", crop.width_px, crop.height_px, crop.left_px, crop.top_px);
    if parameters.flip {
        first += ", flipped";
    }
    if parameters.flip_vertical {
        first += ", upside down";
    }
    if parameters.quarter_turns > 0 {
        first += &format!(", turned {} degrees", 90 * u32::from(parameters.quarter_turns));
    }
    if let Some(degrees) = parameters.rotation_degrees {
        first += &format!(", rotated {degrees:.1} degrees").replace('-', "−");
    }
    let mut lines = vec![first];
    if let Some(steps) = &parameters.jitter {
        // A number stays on the line of its name.
        let named = |name: &str, x: f32| format!("{name}\u{a0}{:.2}", x).replace("-0.00", "0.00").replace('-', "−");
        let steps = steps.map(|step| match step {
            JitterStep::Brightness(x) => named("brightness", x),
            JitterStep::Contrast(x) => named("contrast", x),
            JitterStep::Saturation(x) => named("saturation", x),
            JitterStep::Hue(x) => named("hue", x) + "\u{a0}turns",
        });
        lines.push(steps.join(", "));
    }
    if parameters.channel_jitter.is_some() {
        lines.push("channels jittered".to_owned());
    }
    if parameters.grayscale {
        lines.push("grey".to_owned());
    }
    if let Some(sigma) = parameters.blur_sigma {
        lines.push(format!("blurred, σ {sigma:.2} px"));
    }
    if let Some(threshold) = parameters.solarise_threshold {
        lines.push(format!("solarised from {threshold}"));
    }
    if let Some(noise) = parameters.noise {
        lines.push(format!("noise, σ {:.3}", noise.std));
    }
    if let Some(cutout) = parameters.cutout {
        lines.push(format!("{:.2} of it cut out", cutout.width * cutout.height));
    }
    lines.join("\n")
}
