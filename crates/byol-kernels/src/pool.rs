//! Max pooling and global average pooling with their gradients.

use std::ops::Range;

use rayon::prelude::*;

use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::padding::Padding;

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
    /// How far windows reach over the edges; if `Symmetric`, by less than `kernel`.
    pub padding: Padding,
}

impl MaxPool {
    /// Rows of the output, see [`Padding`]. Panics when the window exceeds the padded input.
    pub fn output_height(&self) -> usize {
        self.padding.output_size(self.height, self.kernel, self.stride)
    }

    /// Columns of the output, see [`Padding`]. Panics when the window exceeds the padded input.
    pub fn output_width(&self) -> usize {
        self.padding.output_size(self.width, self.kernel, self.stride)
    }

    /// Values in the input `[batch, height, width, channels]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Values in the output `[batch, output height, output width, channels]`.
    pub fn output_len(&self) -> usize {
        self.batch * self.output_height() * self.output_width() * self.channels
    }

    /// What the kernels ask for at every window, worked out once.
    fn windows(&self) -> Windows {
        assert!(self.stride > 0 && self.channels > 0, "sizes of {self:?}");
        let axis = |size| {
            let (before, _) = self.padding.around(size, self.kernel, self.stride);
            assert!(before < self.kernel, "every window must see a pixel: {self:?}");
            let count = self.padding.output_size(size, self.kernel, self.stride);
            Axis { size, kernel: self.kernel, stride: self.stride, before, count }
        };
        Windows { rows: axis(self.height), columns: axis(self.width), channels: self.channels }
    }

    fn check(&self, x: usize, y: usize) {
        assert_eq!((x, y), (self.input_len(), self.output_len()), "lengths of input and output of {self:?}");
    }
}

/// The windows of a pooling along one axis of an image.
struct Axis {
    /// Pixels of the image.
    size: usize,
    kernel: usize,
    stride: usize,
    /// Pixels that the first window starts outside of the image.
    before: usize,
    /// Windows.
    count: usize,
}

impl Axis {
    /// The pixels of the image that a window sees.
    #[inline(always)]
    fn pixels(&self, window: usize) -> Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.before)..(start + self.kernel - self.before).min(self.size)
    }
}

/// The windows of a pooling over one image.
struct Windows {
    rows: Axis,
    columns: Axis,
    channels: usize,
}

impl Windows {
    /// Values in an image.
    fn image_len(&self) -> usize {
        self.rows.size * self.columns.size * self.channels
    }

    /// Values in a row of outputs.
    fn output_row_len(&self) -> usize {
        self.columns.count * self.channels
    }

    /// Calls `visit` with the offset of each pixel of an image that window `(i, j)` sees, row by row.
    #[inline(always)]
    fn for_each_pixel(&self, i: usize, j: usize, mut visit: impl FnMut(usize)) {
        for y in self.rows.pixels(i) {
            for x in self.columns.pixels(j) {
                visit((y * self.columns.size + x) * self.channels);
            }
        }
    }
}

/// The largest value that each window sees; NaN counts as largest.
pub fn max_pool<E: Element>(isa: Isa, pool: &MaxPool, x: &[E], y: &mut [E]) {
    let windows = pool.windows();
    pool.check(x.len(), y.len());
    y.par_chunks_mut(windows.output_row_len()).enumerate().for_each(|(row, y)| {
        let (image, i) = (row / windows.rows.count, row % windows.rows.count);
        let x = &x[image * windows.image_len()..][..windows.image_len()];
        vectorized(
            isa,
            #[inline(always)]
            || {
                for (j, y) in y.chunks_exact_mut(pool.channels).enumerate() {
                    y.fill(E::from_f32(f32::NEG_INFINITY));
                    windows.for_each_pixel(i, j, |offset| {
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
    let windows = pool.windows();
    pool.check(x.len(), y.len());
    pool.check(dx.len(), dy.len());
    let image_len = windows.image_len();
    let pooled_len = windows.rows.count * windows.output_row_len();
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
                    for i in 0..windows.rows.count {
                        for j in 0..windows.columns.count {
                            let window = (i * windows.columns.count + j) * windows.channels;
                            let [y, dy] = [y, dy].map(|values| &values[window..][..windows.channels]);
                            scatter_window(&windows, (i, j), x, y, dy, sums, rest);
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
    windows: &Windows,
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
    windows.for_each_pixel(i, j, |offset| {
        let (x, sums) = (&x[offset..][..windows.channels], &mut sums[offset..][..windows.channels]);
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
