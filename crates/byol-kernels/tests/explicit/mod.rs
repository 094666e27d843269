//! Padding that is written out, so that every window lies inside.

use byol_kernels::Padding;

/// Pixels `(before, after)` an axis; those of `Same` as TensorFlow's documentation computes them
/// (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2), by another formula than the crate's.
pub fn around(padding: Padding, size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    match padding {
        Padding::Symmetric(pixels) => (pixels, pixels),
        Padding::Same => {
            let along = match size % stride {
                0 => kernel.saturating_sub(stride),
                rest => kernel.saturating_sub(rest),
            };
            (along / 2, along - along / 2)
        }
    }
}

/// An image with padding around it.
pub struct Padded {
    pub top: usize,
    pub left: usize,
    pub rows: usize,
    pub columns: usize,
    /// Windows that lie inside.
    pub output_height: usize,
    pub output_width: usize,
}

impl Padded {
    pub fn new(padding: Padding, height: usize, width: usize, kernel: usize, stride: usize) -> Self {
        let ((top, bottom), (left, right)) =
            (around(padding, height, kernel, stride), around(padding, width, kernel, stride));
        let (rows, columns) = (top + height + bottom, left + width + right);
        let (output_height, output_width) = ((rows - kernel) / stride + 1, (columns - kernel) / stride + 1);
        Self { top, left, rows, columns, output_height, output_width }
    }

    /// The place in padded images of each value of images without, in their order; `channels` values per pixel.
    pub fn places(&self, batch: usize, height: usize, width: usize, channels: usize) -> Vec<usize> {
        let mut places = Vec::with_capacity(batch * height * width * channels);
        for (n, i) in (0..batch).flat_map(|n| (0..height).map(move |i| (n, i))) {
            let row = ((n * self.rows + i + self.top) * self.columns + self.left) * channels;
            places.extend(row..row + width * channels);
        }
        places
    }
}
