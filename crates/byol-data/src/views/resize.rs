//! Bicubic resize, straight from the 8-bit pixels of a crop to planes of `f32`.

use std::ops::Range;

use super::Planes;
use super::crop::CropBox;
use crate::Image;

/// The Keys cubic with `a = −1/2`, which TensorFlow's half-pixel bicubic, PIL and torch's antialiased bicubic share.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
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
}

impl ResizePlan {
    /// All of `crop` as a square.
    pub(super) fn square(crop: CropBox, size_px: usize, antialias: bool) -> Self {
        Self { crop, resized_px: [size_px; 2], columns: 0..size_px, rows: 0..size_px, antialias, flip: false }
    }
}

impl Axis {
    /// Output `i` has its centre at `c = (i + ½)·s` with `s = length/resized`; input `j` weighs `keys((j + ½ − c)/f)`.
    ///
    /// `f = max(s, 1)` with antialias (the kernel is stretched when shrinking, as PIL and torch do) and 1 without (as
    /// TensorFlow does). Taps outside the input are dropped and the others scaled to sum to 1, in all three.
    fn plan(&mut self, length_px: usize, resized_px: usize, outputs: Range<usize>, antialias: bool) {
        let scale = length_px as f64 / resized_px as f64;
        let stretch = if antialias { scale.max(1.0) } else { 1.0 };
        let support = 2.0 * stretch;
        self.window = ((2.0 * support).ceil() as usize).min(length_px);
        self.starts.clear();
        self.weights.clear();
        for output in outputs {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let start = first.min(length_px - self.window);
            let weight = |input: usize| keys((input as f64 + 0.5 - centre) / stretch);
            let total: f64 = (start..start + self.window).map(weight).sum();
            self.starts.push(start);
            self.weights.extend((start..start + self.window).map(|input| (weight(input) / total) as f32));
        }
    }

    fn reverse(&mut self) {
        self.starts.reverse();
        self.weights.reverse();
        self.weights.chunks_exact_mut(self.window).for_each(<[f32]>::reverse);
    }
}

/// The reusable part of [`Resizer::resize`].
#[derive(Debug, Default)]
pub(super) struct Resizer {
    horizontal: Axis,
    vertical: Axis,
    row: Vec<f32>,
}

impl Resizer {
    /// Resizes into planes of `[rows, columns]` values in `[0, 1]`: the cubic overshoots and is clipped, as the
    /// reference does and as 8 bits would.
    pub(super) fn resize(&mut self, image: &Image, plan: &ResizePlan, planes: &mut Planes) {
        let crop = plan.crop;
        let width = plan.columns.len();
        self.horizontal.plan(crop.width_px, plan.resized_px[0], plan.columns.clone(), plan.antialias);
        self.vertical.plan(crop.height_px, plan.resized_px[1], plan.rows.clone(), plan.antialias);
        if plan.flip {
            self.horizontal.reverse();
        }
        let values = crop.width_px * 3;
        // One value more than the row has, because pixels are read four values at a time.
        self.row.clear();
        self.row.resize(values + 1, 0.0);
        let image_row = |y: usize| {
            let start = ((crop.top_px + y) * image.width_px() + crop.left_px) * 3;
            &image.pixels()[start..start + values]
        };
        for (y, &top) in self.vertical.starts.iter().enumerate() {
            let weights = &self.vertical.weights[y * self.vertical.window..][..self.vertical.window];
            blend_rows(&mut self.row[..values], weights, |tap| image_row(top + tap));
            let [red, green, blue] = planes.each_mut().map(|plane| &mut plane[y * width..][..width]);
            self.horizontal.apply(&self.row, red, green, blue);
        }
    }
}

/// `row = Σ weights[tap] · source(tap) / 255`.
fn blend_rows<'a>(row: &mut [f32], weights: &[f32], source: impl Fn(usize) -> &'a [u8]) {
    row.fill(0.0);
    let length = row.len();
    let scaled = |tap: usize| weights[tap] * (1.0 / 255.0);
    let mut tap = 0;
    // Four rows at a time: the sum is loaded and stored a quarter as often.
    while tap + 4 <= weights.len() {
        let w = [scaled(tap), scaled(tap + 1), scaled(tap + 2), scaled(tap + 3)];
        let [a, b, c, d] = [source(tap), source(tap + 1), source(tap + 2), source(tap + 3)].map(|s| &s[..length]);
        for i in 0..length {
            row[i] +=
                (w[0] * f32::from(a[i]) + w[1] * f32::from(b[i])) + (w[2] * f32::from(c[i]) + w[3] * f32::from(d[i]));
        }
        tap += 4;
    }
    for tap in tap..weights.len() {
        let weight = scaled(tap);
        for (sum, &value) in row.iter_mut().zip(source(tap)) {
            *sum += weight * f32::from(value);
        }
    }
}

impl Axis {
    /// Resamples an interleaved row (with one spare value at its end) into a row of each plane, clipped to `[0, 1]`.
    fn apply(&self, row: &[f32], red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
        let outputs = self.starts.iter().zip(self.weights.chunks_exact(self.window));
        for ((((&start, weights), red), green), blue) in outputs.zip(red).zip(green).zip(blue) {
            let pixels = &row[start * 3..][..self.window * 3 + 1];
            let mut sum = [0.0f32; 4];
            // R G B and the next pixel's R, whose sum is not used: four lanes make one vector.
            for (values, &weight) in pixels.windows(4).step_by(3).zip(weights) {
                let values = [values[0], values[1], values[2], values[3]];
                for lane in 0..4 {
                    sum[lane] += weight * values[lane];
                }
            }
            let sum = sum.map(|x| x.clamp(0.0, 1.0));
            (*red, *green, *blue) = (sum[0], sum[1], sum[2]);
        }
    }
}
