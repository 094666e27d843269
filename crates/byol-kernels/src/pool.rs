//! Max pooling and global average pooling with their gradients.

use rayon::prelude::*;

use crate::element::Element;
use crate::isa::{Isa, vectorized};

/// Sizes of a max pooling with a square window; positions outside of the image do not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Number of images.
    pub batch: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Side of the window in pixels.
    pub kernel: usize,
    /// Step between windows in pixels.
    pub stride: usize,
    /// Pixels that the first window starts outside of the image; less than `kernel`.
    pub padding: usize,
}

impl MaxPool {
    /// `⌊(height + 2·padding − kernel) / stride⌋ + 1`
    pub fn output_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// `⌊(width + 2·padding − kernel) / stride⌋ + 1`
    pub fn output_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Values in the input `[batch, height, width, channels]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Values in the output `[batch, output height, output width, channels]`.
    pub fn output_len(&self) -> usize {
        self.batch * self.output_height() * self.output_width() * self.channels
    }

    fn check(&self, x: usize, y: usize) {
        assert!(self.padding < self.kernel && self.stride > 0 && self.channels > 0, "sizes of {self:?}");
        assert_eq!((x, y), (self.input_len(), self.output_len()), "lengths of input and output of {self:?}");
    }

    /// Calls `visit` with the offset of each pixel of an image that window `(i, j)` sees, row by row.
    #[inline(always)]
    fn for_each_pixel(&self, i: usize, j: usize, mut visit: impl FnMut(usize)) {
        let range = |index: usize, size: usize| {
            let start = index * self.stride;
            start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
        };
        for y in range(i, self.height) {
            for x in range(j, self.width) {
                visit((y * self.width + x) * self.channels);
            }
        }
    }
}

/// The largest value that each window sees; NaN counts as largest.
pub fn max_pool<E: Element>(isa: Isa, pool: &MaxPool, x: &[E], y: &mut [E]) {
    pool.check(x.len(), y.len());
    let row_len = pool.output_width() * pool.channels;
    let image_len = pool.height * pool.width * pool.channels;
    y.par_chunks_mut(row_len).enumerate().for_each(|(row, y)| {
        let (image, i) = (row / pool.output_height(), row % pool.output_height());
        let x = &x[image * image_len..][..image_len];
        vectorized(
            isa,
            #[inline(always)]
            || {
                for (j, y) in y.chunks_exact_mut(pool.channels).enumerate() {
                    y.fill(E::from_f32(f32::NEG_INFINITY));
                    pool.for_each_pixel(i, j, |offset| {
                        for (y, x) in y.iter_mut().zip(&x[offset..][..pool.channels]) {
                            *y = if wins(x.to_f32(), y.to_f32()) { *x } else { *y };
                        }
                    });
                }
            },
        );
    });
}

/// Whether `x` replaces the maximum so far.
#[inline(always)]
fn wins(x: f32, maximum: f32) -> bool {
    x > maximum || x.is_nan()
}

/// Gradient of [`max_pool`]: that of each window goes to its first maximum, row by row.
///
/// `dx` is fully overwritten; where windows overlap gradients are added.
pub fn max_pool_gradient<E: Element>(isa: Isa, pool: &MaxPool, x: &[E], y: &[E], dy: &[E], dx: &mut [E]) {
    pool.check(x.len(), y.len());
    pool.check(dx.len(), dy.len());
    let image_len = pool.height * pool.width * pool.channels;
    let pooled_len = pool.output_height() * pool.output_width() * pool.channels;
    dx.par_chunks_mut(image_len).enumerate().for_each_init(
        || (vec![0.0; image_len], vec![0.0; pool.channels]),
        |(sums, rest), (image, dx)| {
            let x = &x[image * image_len..][..image_len];
            let [y, dy] = [y, dy].map(|values| &values[image * pooled_len..][..pooled_len]);
            vectorized(
                isa,
                #[inline(always)]
                || {
                    sums.fill(0.0);
                    for i in 0..pool.output_height() {
                        for j in 0..pool.output_width() {
                            let window = (i * pool.output_width() + j) * pool.channels;
                            let [y, dy] = [y, dy].map(|values| &values[window..][..pool.channels]);
                            scatter_window(pool, (i, j), x, y, dy, sums, rest);
                        }
                    }
                    for (dx, sum) in dx.iter_mut().zip(&*sums) {
                        *dx = E::from_f32(*sum);
                    }
                },
            );
        },
    );
}

/// Adds the gradient of one window to `sums`; `rest` is what has not found its maximum yet.
#[inline(always)]
fn scatter_window<E: Element>(
    pool: &MaxPool,
    (i, j): (usize, usize),
    x: &[E],
    y: &[E],
    dy: &[E],
    sums: &mut [f32],
    rest: &mut [f32],
) {
    for (rest, dy) in rest.iter_mut().zip(dy) {
        *rest = dy.to_f32();
    }
    pool.for_each_pixel(i, j, |offset| {
        let (x, sums) = (&x[offset..][..pool.channels], &mut sums[offset..][..pool.channels]);
        for (((x, y), sum), rest) in x.iter().zip(y).zip(sums).zip(&mut *rest) {
            let (x, y) = (x.to_f32(), y.to_f32());
            let is_maximum = x == y || (x.is_nan() && y.is_nan());
            let gradient = if is_maximum { *rest } else { 0.0 };
            *sum += gradient;
            *rest -= gradient;
        }
    });
}

/// `y[n, c] = mean over positions of x[n, position, c]`, in `f32`.
pub fn global_average_pool<E: Element>(isa: Isa, positions: usize, channels: usize, x: &[E], y: &mut [f32]) {
    assert!(positions > 0 && channels > 0, "an image has pixels and channels");
    assert_eq!(x.len(), y.len() * positions, "lengths of input and output of the average");
    let share = 1.0 / positions as f32;
    y.par_chunks_mut(channels).zip(x.par_chunks(positions * channels)).for_each(|(y, x)| {
        vectorized(
            isa,
            #[inline(always)]
            || {
                y.fill(0.0);
                for x in x.chunks_exact(channels) {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x.to_f32());
                }
                y.iter_mut().for_each(|y| *y *= share);
            },
        );
    });
}

/// Gradient of [`global_average_pool`]: `dx[n, position, c] = dy[n, c] / positions`.
pub fn global_average_pool_gradient<E: Element>(isa: Isa, positions: usize, channels: usize, dy: &[f32], dx: &mut [E]) {
    assert!(positions > 0 && channels > 0, "an image has pixels and channels");
    assert_eq!(dx.len(), dy.len() * positions, "lengths of input and output of the average");
    let share = 1.0 / positions as f32;
    dx.par_chunks_mut(positions * channels).zip(dy.par_chunks(channels)).for_each(|(dx, dy)| {
        vectorized(
            isa,
            #[inline(always)]
            || {
                for dx in dx.chunks_exact_mut(channels) {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = E::from_f32(dy * share));
                }
            },
        );
    });
}
