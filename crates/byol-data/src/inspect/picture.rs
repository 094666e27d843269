//! What is taken down of one picture.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use crate::error::Unread;
use crate::views::{EvaluationConfig, EvaluationResize, Semantics, ViewScratch};
use crate::{Dataset, Flaw, Image, LoadMemory, Samples};

use super::range::Used;

/// Side of the thumbnail that pictures are compared by.
pub(super) const THUMBNAIL_PX: usize = 9;

/// A thumbnail, `[9, 9, channels]`, 8 bits.
pub(super) type Thumbnail = Vec<u8>;

#[derive(Serialize, Deserialize)]
pub(super) struct Picture {
    pub kind: String,
    pub width_px: u32,
    pub height_px: u32,
    /// Mean and mean square of each channel, in `[0, 1]`.
    pub moments: Vec<(f64, f64)>,
    /// Every pixel has the same colour.
    pub blank: bool,
    /// It has no colours.
    pub grey: bool,
    /// Hash of size and samples.
    pub content: u64,
    /// Difference hash: bit `8·y + x` says whether the thumbnail, its channels averaged, grows brighter from column `x` to
    /// `x + 1` of row `y`.
    pub hash: u64,
    pub thumbnail: Thumbnail,
    pub flaw: Option<Flaw>,
    pub used: Used,
}

#[derive(Default)]
pub(super) struct Scratch {
    views: ViewScratch,
    values: Vec<f32>,
    counts: Vec<u32>,
}

impl Picture {
    pub(super) fn look(
        dataset: &Dataset,
        place: u32,
        memory: &mut LoadMemory,
        scratch: &mut Scratch,
    ) -> Result<Self, Unread> {
        let index = place as usize;
        let kind = dataset.kind(index, memory);
        let flaw = dataset.flaw(index, memory);
        let image = dataset.try_load(index, memory)?;
        let thumbnail = thumbnail(&image, scratch);
        let moments = match image.samples() {
            Samples::U8(samples) => moments(samples, image.channels(), 255.0),
            Samples::U16(samples) => moments(samples, image.channels(), 65_535.0),
        };
        let picture = Self {
            kind,
            width_px: image.width_px() as u32,
            height_px: image.height_px() as u32,
            blank: is_blank(&image),
            grey: is_grey(&image),
            content: content_hash(&image),
            hash: difference_hash(&thumbnail, image.channels()),
            moments,
            thumbnail,
            flaw,
            used: Used::of(image.samples(), &mut scratch.counts),
        };
        memory.recycle(image);
        Ok(picture)
    }
}

/// Sums of blocks of pixels in whole numbers, which are exact.
fn moments<S: Copy + Into<u64>>(samples: &[S], channels: usize, full: f64) -> Vec<(f64, f64)> {
    let count = (samples.len() / channels) as f64;
    (0..channels)
        .map(|channel| {
            let (sum, squares) =
                samples[channel..].iter().step_by(channels).fold((0u64, 0u64), |(sum, squares), &sample| {
                    let sample: u64 = sample.into();
                    (sum + sample, squares + sample * sample)
                });
            (sum as f64 / count / full, squares as f64 / count / full / full)
        })
        .collect()
}

fn is_blank(image: &Image) -> bool {
    fn same<S: PartialEq>(samples: &[S], channels: usize) -> bool {
        samples.chunks_exact(channels).all(|pixel| pixel == &samples[..channels])
    }
    match image.samples() {
        Samples::U8(samples) => same(samples, image.channels()),
        Samples::U16(samples) => same(samples, image.channels()),
    }
}

/// Mean distance of the largest from the smallest channel, as a share of full intensity, up to which a picture counts as grey: what
/// JPEG makes of a grey picture stored in colours.
const GREY: f64 = 0.01;

/// One channel, or red, green and blue that are the same but for rounding.
fn is_grey(image: &Image) -> bool {
    fn spread<S: Copy + Into<u64>>(samples: &[S], channels: usize, full: f64) -> f64 {
        let mut sum = 0;
        for pixel in samples.chunks_exact(channels) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(Into::<u64>::into);
            sum += r.max(g).max(b) - r.min(g).min(b);
        }
        sum as f64 / (samples.len() / channels) as f64 / full
    }
    match (image.channels(), image.samples()) {
        (1, _) => true,
        (channels @ (3 | 4), Samples::U8(samples)) => spread(samples, channels, 255.0) < GREY,
        (channels @ (3 | 4), Samples::U16(samples)) => spread(samples, channels, 65_535.0) < GREY,
        _ => false,
    }
}

/// Equal for equal pictures, whatever file they came from.
fn content_hash(image: &Image) -> u64 {
    let mut hasher = twox_hash::XxHash3_64::with_seed(0);
    hasher.write_usize(image.width_px());
    match image.samples() {
        Samples::U8(samples) => hasher.write(samples),
        Samples::U16(samples) => samples.iter().for_each(|sample| hasher.write_u16(*sample)),
    }
    hasher.finish()
}

/// The whole picture squeezed to 9 × 9, antialiased.
fn thumbnail(image: &Image, scratch: &mut Scratch) -> Thumbnail {
    let channels = image.channels();
    let config = EvaluationConfig {
        size_px: THUMBNAIL_PX,
        resize: EvaluationResize::CropThenResize,
        crop_fraction: 1.0,
        semantics: Semantics::Torchvision,
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
    };
    scratch.values.resize(THUMBNAIL_PX * THUMBNAIL_PX * channels, 0.0);
    config.render(image, &mut scratch.values, &mut scratch.views);
    scratch.values.iter().map(|value| (value * 255.0).round() as u8).collect()
}

fn difference_hash(thumbnail: &Thumbnail, channels: usize) -> u64 {
    let grey: Vec<u8> = thumbnail
        .chunks_exact(channels)
        .map(|pixel| (pixel.iter().map(|&value| f32::from(value)).sum::<f32>() / channels as f32).round() as u8)
        .collect();
    let mut hash = 0;
    for y in 0..8 {
        for x in 0..8 {
            let here = y * THUMBNAIL_PX + x;
            hash |= u64::from(grey[here + 1] > grey[here]) << (8 * y + x);
        }
    }
    hash
}
