//! Gaussian blur on planes, separable.

use super::Planes;
use super::config::Semantics;

/// `⌊(size/10)/2⌋`: the reference's kernel has `2·radius + 1` taps, 23 at 224 px and 3 at 32 px.
pub(super) fn radius_px(size_px: usize) -> usize {
    size_px / 20
}

/// Columns summed at a time, so that the sums stay in registers over all taps.
const BLOCK: usize = 16;

/// The reusable part of [`Blur::apply`].
#[derive(Debug, Default)]
pub(super) struct Blur {
    kernel: Vec<f32>,
    row: Vec<f32>,
    rows: Vec<f32>,
}

impl Blur {
    /// Convolves rows, then columns, of square planes with `g(k) ∝ exp(−k²/2σ²)`, `|k| ≤ radius`, which sums to 1.
    ///
    /// Beyond the border the image is zero (reference) or reflected without repeating the edge (torchvision). Below
    /// 20 px the radius is zero and nothing changes.
    pub(super) fn apply(&mut self, planes: &mut Planes, size_px: usize, sigma_px: f32, semantics: Semantics) {
        let radius = self.plan(size_px, sigma_px);
        if radius == 0 {
            return;
        }
        self.row.clear();
        self.row.resize(size_px + 2 * radius, 0.0);
        self.rows.clear();
        self.rows.resize((size_px + 2 * radius) * size_px, 0.0);
        for plane in planes {
            for (y, row) in plane.chunks_exact(size_px).enumerate() {
                self.row[radius..][..size_px].copy_from_slice(row);
                if semantics == Semantics::Torchvision {
                    for k in 1..=radius {
                        self.row[radius - k] = row[k];
                        self.row[radius + size_px - 1 + k] = row[size_px - 1 - k];
                    }
                }
                convolve(&mut self.rows[(radius + y) * size_px..][..size_px], &self.row, 1, &self.kernel);
            }
            if semantics == Semantics::Torchvision {
                for k in 1..=radius {
                    let row_at = |y: usize| y * size_px..(y + 1) * size_px;
                    let last = radius + size_px - 1;
                    self.rows.copy_within(row_at(radius + k), (radius - k) * size_px);
                    self.rows.copy_within(row_at(last - k), (last + k) * size_px);
                }
            }
            for (y, row) in plane.chunks_exact_mut(size_px).enumerate() {
                convolve(row, &self.rows[y * size_px..], size_px, &self.kernel);
            }
        }
    }

    /// Fills the kernel and returns its radius: taps too small to change a sum of `f32` are left out at both ends.
    fn plan(&mut self, size_px: usize, sigma_px: f32) -> usize {
        let full = radius_px(size_px);
        let gauss = |k: usize| (-0.5 * (k as f64 / f64::from(sigma_px)).powi(2)).exp();
        let total = gauss(0) + 2.0 * (1..=full).map(gauss).sum::<f64>();
        let radius = (1..=full).rev().find(|&k| gauss(k) > 1e-8).unwrap_or(0);
        self.kernel.clear();
        self.kernel.extend((0..=2 * radius).map(|tap| (gauss(tap.abs_diff(radius)) / total) as f32));
        radius
    }
}

/// `out[x] = Σ kernel[k] · source[k·stride + x]`; at least [`BLOCK`] columns, as any plane with a radius has.
fn convolve(out: &mut [f32], source: &[f32], stride: usize, kernel: &[f32]) {
    let width = out.len();
    let mut x = 0;
    while x < width {
        // The last block starts early enough to be a whole one.
        x = x.min(width - BLOCK);
        let mut sum = [0.0f32; BLOCK];
        for (k, &weight) in kernel.iter().enumerate() {
            let (values, _) = source[k * stride + x..].split_first_chunk::<BLOCK>().expect("a row holds whole blocks");
            for lane in 0..BLOCK {
                sum[lane] += weight * values[lane];
            }
        }
        out[x..][..BLOCK].copy_from_slice(&sum);
        x += BLOCK;
    }
}
