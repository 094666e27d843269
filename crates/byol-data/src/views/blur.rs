//! Gaussian blur on planes, separable.

use super::plane::Plane;
use super::semantics::Semantics;

/// `⌊(size/10)/2⌋`, as the reference's `random_blur` has it (`augmentations.py`).
pub(super) fn radius_px(size_px: usize) -> usize {
    size_px / 20
}

/// Taps of the blur's kernel along each axis of a view of `size_px`: `2·⌊size_px / 20⌋ + 1`, 23 at 224 px and 3 at 32 px
/// (reference, `augmentations.py`). Below 20 px there is one, and a blur of any σ changes nothing; [`ViewsConfig::validate`]
/// then refuses a `blur_p` above 0.
///
/// [`ViewsConfig::validate`]: super::ViewsConfig::validate
pub fn blur_taps(size_px: usize) -> usize {
    2 * radius_px(size_px) + 1
}

/// Rows that are summed in one go: few enough to stay in the nearest cache.
const ROWS: usize = 4;

/// The reusable part of [`Blur::apply`].
#[derive(Debug, Default)]
pub(super) struct Blur {
    /// Weights of distance 0, 1, … radius.
    kernel: Vec<f32>,
    /// Some rows with their borders.
    padded: Plane,
    /// All rows, blurred along themselves, with as many above and below as the kernel reaches.
    rows: Plane,
    /// Some rows, finished.
    finished: Plane,
}

impl Blur {
    /// Convolves rows, then columns, of square planes with `g(k) ∝ exp(−k²/2σ²)`, `|k| ≤ radius`, which sums to 1.
    ///
    /// Beyond the border the image is zero (reference) or reflected without repeating the edge (torchvision). Below
    /// 20 px the radius is zero and nothing changes.
    ///
    /// Rows lie `pitch` values apart, borders between them, so that several are summed as if they were one: what comes out at the
    /// borders is not used.
    #[inline(always)]
    pub(super) fn apply(&mut self, planes: &mut [Plane], size_px: usize, sigma_px: f32, semantics: Semantics) {
        let radius = self.plan(size_px, sigma_px);
        if radius == 0 {
            return;
        }
        let Self { kernel, padded, rows, finished } = self;
        let pitch = (size_px + 2 * radius).next_multiple_of(16);
        padded.resize(ROWS * pitch);
        rows.resize((size_px + 2 * radius) * pitch);
        finished.resize(ROWS * pitch);
        for plane in planes {
            for (place, block) in plane.chunks(ROWS * size_px).enumerate() {
                let count = block.len() / size_px;
                for (row, padded) in block.chunks_exact(size_px).zip(padded.chunks_exact_mut(pitch)) {
                    pad(row, radius, semantics, padded);
                }
                let out = &mut rows[(radius + place * ROWS) * pitch..][..count * pitch - 2 * radius];
                convolve(out, padded, 1, kernel);
            }
            pad_rows(rows, pitch, radius, semantics);
            for (place, block) in plane.chunks_mut(ROWS * size_px).enumerate() {
                let finished = &mut finished[..block.len() / size_px * pitch];
                convolve(finished, &rows[place * ROWS * pitch..], pitch, kernel);
                for (row, finished) in block.chunks_exact_mut(size_px).zip(finished.chunks_exact(pitch)) {
                    row.copy_from_slice(&finished[..size_px]);
                }
            }
        }
    }

    /// Fills the kernel and returns its radius. Taps below 10⁻⁵ of the middle one are left out: all of them together
    /// move no value by a hundredth of an 8-bit step.
    fn plan(&mut self, size_px: usize, sigma_px: f32) -> usize {
        let full = radius_px(size_px);
        let gauss = |k: usize| (-0.5 * (k as f64 / f64::from(sigma_px)).powi(2)).exp();
        let total = gauss(0) + 2.0 * (1..=full).map(gauss).sum::<f64>();
        let radius = (1..=full).rev().find(|&k| gauss(k) > 1e-5).unwrap_or(0);
        self.kernel.clear();
        self.kernel.extend((0..=radius).map(|k| (gauss(k) / total) as f32));
        radius
    }
}

/// `row` between borders of `radius` values.
#[inline(always)]
fn pad(row: &[f32], radius: usize, semantics: Semantics, padded: &mut [f32]) {
    let last = radius + row.len() - 1;
    padded[radius..=last].copy_from_slice(row);
    for k in 1..=radius {
        (padded[radius - k], padded[last + k]) = match semantics {
            Semantics::Reference => (0.0, 0.0),
            Semantics::Torchvision => (row[k], row[row.len() - 1 - k]),
        };
    }
}

/// The same for the rows as a whole.
#[inline(always)]
fn pad_rows(rows: &mut [f32], pitch: usize, radius: usize, semantics: Semantics) {
    let last = rows.len() / pitch - 1 - radius;
    match semantics {
        Semantics::Reference => {
            rows[..radius * pitch].fill(0.0);
            rows[(last + 1) * pitch..].fill(0.0);
        }
        Semantics::Torchvision => {
            for k in 1..=radius {
                let row = |y: usize| y * pitch..(y + 1) * pitch;
                rows.copy_within(row(radius + k), (radius - k) * pitch);
                rows.copy_within(row(last - k), (last + k) * pitch);
            }
        }
    }
}

/// `out[x] = kernel[0]·s[r] + Σ kernel[k]·(s[r − k] + s[r + k])` with `s[j] = source[j·stride + x]` and the radius `r`.
#[inline(always)]
fn convolve(out: &mut [f32], source: &[f32], stride: usize, kernel: &[f32]) {
    let (width, radius) = (out.len(), kernel.len() - 1);
    let middle = radius * stride;
    let at = |start: usize| &source[start..start + width];
    let pair = |k: usize| (kernel[k], at(middle - k * stride), at(middle + k * stride));
    // Two distances at a time: the sums are loaded and stored half as often.
    let (centre, (w, a, b)) = (at(middle), pair(1));
    if radius % 2 == 1 {
        for x in 0..width {
            out[x] = kernel[0] * centre[x] + w * (a[x] + b[x]);
        }
    } else {
        let (w2, a2, b2) = pair(2);
        for x in 0..width {
            out[x] = (kernel[0] * centre[x] + w * (a[x] + b[x])) + w2 * (a2[x] + b2[x]);
        }
    }
    for k in (2 - radius % 2 + 1..radius).step_by(2) {
        let ((w0, a0, b0), (w1, a1, b1)) = (pair(k), pair(k + 1));
        for x in 0..width {
            out[x] += w0 * (a0[x] + b0[x]) + w1 * (a1[x] + b1[x]);
        }
    }
}
