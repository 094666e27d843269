//! Bicubic resize, straight from the samples of a crop to planes of `f32`.

use std::ops::Range;

use super::crop::CropBox;
use super::parameters::ViewParameters;
use super::plane::Plane;
use super::semantics::Semantics;
use crate::image::{Image, Samples};

/// The Keys cubic with `a = −1/2`, which TensorFlow's half-pixel bicubic, PIL and torch's antialiased bicubic share.
#[inline(always)]
fn keys(x: f64) -> f64 {
    let x = x.abs();
    let near = (1.5 * x - 2.5) * x * x + 1.0;
    let far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
    if x < 1.0 {
        near
    } else if x < 2.0 {
        far
    } else {
        0.0
    }
}

/// How one axis is resampled: output `i` is the weighted sum of `window` inputs from `starts[i]` on.
#[derive(Debug, Default)]
struct Axis {
    window: usize,
    starts: Vec<usize>,
    /// `window` weights for each output, which sum to 1.
    weights: Vec<f32>,
}

/// What to resize to what: `crop` becomes `resized_px` columns and rows, of which `columns` and `rows` are made.
#[derive(Clone, Debug)]
pub(super) struct ResizePlan {
    pub crop: CropBox,
    /// Width and height the whole crop would have.
    pub resized_px: [usize; 2],
    pub columns: Range<usize>,
    pub rows: Range<usize>,
    pub antialias: bool,
    /// Mirror left and right.
    pub flip: bool,
    /// Mirror top and bottom.
    pub flip_vertical: bool,
}

impl ResizePlan {
    /// All of `crop` as a square.
    pub(super) fn square(crop: CropBox, size_px: usize, antialias: bool) -> Self {
        Self {
            crop,
            resized_px: [size_px; 2],
            columns: 0..size_px,
            rows: 0..size_px,
            antialias,
            flip: false,
            flip_vertical: false,
        }
    }

    /// What a view needs of it: half turns are two flips, and odd quarter turns become a flip before the planes are transposed.
    pub(super) fn of_view(parameters: &ViewParameters, size_px: usize, semantics: Semantics) -> Self {
        let turns = parameters.quarter_turns;
        Self {
            flip: parameters.flip ^ matches!(turns, 1 | 2),
            flip_vertical: parameters.flip_vertical ^ matches!(turns, 2 | 3),
            ..Self::square(parameters.crop, size_px, semantics == Semantics::Torchvision)
        }
    }
}

impl Axis {
    /// Output `i` has its centre at `c = (i + ½)·s` with `s = length/resized`; input `j` weighs `keys((j + ½ − c)/f)`.
    ///
    /// `f = max(s, 1)` with antialias (the kernel is stretched when shrinking, as PIL and torch do) and 1 without (as
    /// TensorFlow does). Taps outside the input are dropped and the others scaled to sum to 1, in all three. In `f64`,
    /// once per row and column: a position within a large picture needs more digits than `f32` has.
    #[inline(always)]
    fn plan(&mut self, length_px: usize, resized_px: usize, outputs: Range<usize>, antialias: bool) {
        let scale = length_px as f64 / resized_px as f64;
        let stretch = if antialias { scale.max(1.0) } else { 1.0 };
        let support = 2.0 * stretch;
        let inverse = 1.0 / stretch;
        self.window = ((2.0 * support).ceil() as usize).min(length_px);
        self.starts.clear();
        self.weights.clear();
        for output in outputs {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let start = first.min(length_px - self.window);
            let weight = |input: usize| keys((input as f64 + 0.5 - centre) * inverse);
            let total = 1.0 / (start..start + self.window).map(weight).sum::<f64>();
            self.starts.push(start);
            self.weights.extend((start..start + self.window).map(|input| (weight(input) * total) as f32));
        }
    }

    fn reverse(&mut self) {
        self.starts.reverse();
        self.weights.reverse();
        self.weights.chunks_exact_mut(self.window).for_each(<[f32]>::reverse);
    }
}

/// A sample of a picture.
trait Sample: Copy {
    /// Full intensity.
    const FULL: f32;
    fn value(self) -> f32;
}

impl Sample for u8 {
    const FULL: f32 = 255.0;

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

impl Sample for u16 {
    const FULL: f32 = 65_535.0;

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

/// Rows and channels resampled together: one vector holds four rows of four channels.
const ROWS: usize = 4;
const CHANNELS: usize = 4;

/// Four channels of one pixel.
type Pixel = [f32; CHANNELS];

/// One column of [`ROWS`] rows of pixels; channel `c` of row `r` is value `r · CHANNELS + c`. One vector, one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Column([f32; ROWS * CHANNELS]);

/// The reusable part of [`Resizer::resize`].
#[derive(Debug, Default)]
pub(super) struct Resizer {
    horizontal: Axis,
    vertical: Axis,
    /// Rows blended from rows of the picture.
    rows: [Vec<f32>; ROWS],
    /// The same, four channels of each, before and after the horizontal pass.
    columns: Vec<Column>,
    resized: Vec<Column>,
    /// The rows that result.
    pixels: [Vec<Pixel>; ROWS],
}

impl Resizer {
    /// Resizes into planes of `[rows, columns]` values in `[0, 1]`, one per channel: the cubic overshoots and is
    /// clipped, as the reference does and as 8 bits would.
    #[inline(always)]
    pub(super) fn resize(&mut self, image: &Image, plan: &ResizePlan, planes: &mut [Plane]) {
        match image.samples() {
            Samples::U8(samples) => self.resize_samples(samples, image, plan, planes),
            Samples::U16(samples) => self.resize_samples(samples, image, plan, planes),
        }
    }

    #[inline(always)]
    fn resize_samples<S: Sample>(&mut self, samples: &[S], image: &Image, plan: &ResizePlan, planes: &mut [Plane]) {
        let Self { horizontal, vertical, rows, columns, resized, pixels } = self;
        let (crop, channels, width) = (plan.crop, image.channels(), plan.columns.len());
        horizontal.plan(crop.width_px, plan.resized_px[0], plan.columns.clone(), plan.antialias);
        vertical.plan(crop.height_px, plan.resized_px[1], plan.rows.clone(), plan.antialias);
        if plan.flip {
            horizontal.reverse();
        }
        if plan.flip_vertical {
            vertical.reverse();
        }
        let values = crop.width_px * channels;
        let image_row = |y: usize| {
            let start = ((crop.top_px + y) * image.width_px() + crop.left_px) * channels;
            &samples[start..start + values]
        };
        rows.iter_mut().for_each(|row| row.resize(values, 0.0));
        columns.resize(crop.width_px, Column::default());
        resized.resize(width, Column::default());
        pixels.iter_mut().for_each(|row| row.resize(width, [0.0; CHANNELS]));
        let height = plan.rows.len();
        for top in (0..height).step_by(ROWS) {
            let block = top..height.min(top + ROWS);
            for (y, row) in block.clone().zip(&mut *rows) {
                let weights = &vertical.weights[y * vertical.window..][..vertical.window];
                blend_rows(row, weights, |tap| image_row(vertical.starts[y] + tap));
            }
            for (group, planes) in planes.chunks_mut(CHANNELS).enumerate() {
                spread(rows, channels, group * CHANNELS, columns);
                horizontal.apply(columns, resized);
                collect(resized, pixels);
                for (y, row) in block.clone().zip(&*pixels) {
                    separate(row, y, planes);
                }
            }
        }
    }
}

/// `row = Σ weights[tap] · source(tap) / FULL`.
#[inline(always)]
fn blend_rows<'a, S: Sample + 'a>(row: &mut [f32], weights: &[f32], source: impl Fn(usize) -> &'a [S]) {
    let length = row.len();
    let scaled = |tap: usize| weights[tap] * (1.0 / S::FULL);
    // Four rows at a time: the sum is loaded and stored a quarter as often.
    let four = |tap: usize| {
        let sources = [source(tap), source(tap + 1), source(tap + 2), source(tap + 3)].map(|s| &s[..length]);
        ([scaled(tap), scaled(tap + 1), scaled(tap + 2), scaled(tap + 3)], sources)
    };
    let mut tap = 0;
    if weights.len() >= 4 {
        let (w, [a, b, c, d]) = four(0);
        for i in 0..length {
            row[i] = (w[0] * a[i].value() + w[1] * b[i].value()) + (w[2] * c[i].value() + w[3] * d[i].value());
        }
        tap = 4;
    } else {
        row.fill(0.0);
    }
    while tap + 4 <= weights.len() {
        let (w, [a, b, c, d]) = four(tap);
        for i in 0..length {
            row[i] += (w[0] * a[i].value() + w[1] * b[i].value()) + (w[2] * c[i].value() + w[3] * d[i].value());
        }
        tap += 4;
    }
    for tap in tap..weights.len() {
        let weight = scaled(tap);
        for (sum, value) in row.iter_mut().zip(source(tap)) {
            *sum += weight * value.value();
        }
    }
}

/// Puts up to four channels, from `first` on, of four rows of pixels into columns.
#[inline(always)]
fn spread(rows: &[Vec<f32>; ROWS], channels: usize, first: usize, columns: &mut [Column]) {
    let [a, b, c, d] = rows;
    match channels {
        1 => spread_pixels([a, b, c, d].map(|row| row.as_chunks::<1>().0.iter()), columns),
        3 => spread_pixels([a, b, c, d].map(|row| row.as_chunks::<3>().0.iter()), columns),
        _ => {
            let last = channels.min(first + CHANNELS);
            let pixels = [a, b, c, d].map(|row| row.chunks_exact(channels).map(|pixel| &pixel[first..last]));
            spread_pixels(pixels, columns);
        }
    }
}

#[inline(always)]
fn spread_pixels<P: AsRef<[f32]>>(rows: [impl Iterator<Item = P>; ROWS], columns: &mut [Column]) {
    let [a, b, c, d] = rows;
    for ((((column, a), b), c), d) in columns.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        // Copies of whole pixels, here and below: value by value, the compiler would scatter and gather them.
        for (lanes, pixel) in column.0.as_chunks_mut::<CHANNELS>().0.iter_mut().zip([a, b, c, d]) {
            let pixel = pixel.as_ref();
            lanes[..pixel.len()].copy_from_slice(pixel);
        }
    }
}

/// Takes the rows out of the columns.
#[inline(always)]
fn collect(columns: &[Column], rows: &mut [Vec<Pixel>; ROWS]) {
    let [a, b, c, d] = rows;
    for ((((column, a), b), c), d) in columns.iter().zip(a).zip(b).zip(c).zip(d) {
        for (pixel, lanes) in [a, b, c, d].into_iter().zip(column.0.as_chunks::<CHANNELS>().0) {
            pixel.copy_from_slice(lanes);
        }
    }
}

/// Puts the channels of a row of pixels into row `y` of their planes.
#[inline(always)]
fn separate(row: &[Pixel], y: usize, planes: &mut [Plane]) {
    let place = y * row.len()..(y + 1) * row.len();
    if let [red, green, blue] = planes {
        let (red, green, blue) = (&mut red[place.clone()], &mut green[place.clone()], &mut blue[place]);
        for (((pixel, red), green), blue) in row.iter().zip(red).zip(green).zip(blue) {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        }
        return;
    }
    for (channel, plane) in planes.iter_mut().enumerate() {
        for (pixel, out) in row.iter().zip(&mut plane[place.clone()]) {
            *out = pixel[channel];
        }
    }
}

impl Axis {
    /// Resamples columns, clipped to `[0, 1]`.
    #[inline(always)]
    fn apply(&self, columns: &[Column], out: &mut [Column]) {
        match self.window {
            // Without antialias, every window of a crop that is not tiny.
            4 => self.apply_window(columns, self.weights.as_chunks::<4>().0, out),
            _ => self.apply_window(columns, self.weights.chunks_exact(self.window), out),
        }
    }

    #[inline(always)]
    fn apply_window<W: AsRef<[f32]>>(
        &self,
        columns: &[Column],
        weights: impl IntoIterator<Item = W>,
        out: &mut [Column],
    ) {
        for ((out, &start), weights) in out.iter_mut().zip(&self.starts).zip(weights) {
            let weights = weights.as_ref();
            let mut sum = [0.0f32; ROWS * CHANNELS];
            for (column, &weight) in columns[start..start + weights.len()].iter().zip(weights) {
                for (sum, value) in sum.iter_mut().zip(&column.0) {
                    *sum += weight * value;
                }
            }
            *out = Column(sum.map(|x| x.clamp(0.0, 1.0)));
        }
    }
}
