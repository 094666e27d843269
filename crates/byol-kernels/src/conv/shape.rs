//! Sizes of a convolution and the windows that its three products look through.

use super::window::{Axis, Window};
use crate::padding::Padding;

/// Sizes of a convolution with a square kernel, zero padding and no bias, groups or dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel in pixels.
    pub kernel: usize,
    /// Step between neighbouring windows in input pixels, along both axes.
    pub stride: usize,
    /// Zeros around each image.
    pub padding: Padding,
}

impl ConvShape {
    /// The shape of a linear layer: one pixel, a 1×1 kernel.
    pub fn linear(batch: usize, inputs: usize, outputs: usize) -> Self {
        Self { batch, height: 1, width: 1, inputs, outputs, kernel: 1, stride: 1, padding: Padding::Symmetric(0) }
    }

    /// Rows of the output, see [`Padding`]. Panics when the kernel exceeds the padded input.
    pub fn output_height(&self) -> usize {
        self.output_size(self.height)
    }

    /// Columns of the output, see [`Padding`]. Panics when the kernel exceeds the padded input.
    pub fn output_width(&self) -> usize {
        self.output_size(self.width)
    }

    /// Values in the input `[batch, height, width, inputs]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.inputs
    }

    /// Values in the weight `[outputs, inputs, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Values in the output `[batch, output height, output width, outputs]`.
    pub fn output_len(&self) -> usize {
        self.batch * self.output_height() * self.output_width() * self.outputs
    }

    /// Multiply-adds of the forward pass, padding included: what a dense matrix product of the patches takes.
    pub fn multiply_adds(&self) -> u64 {
        self.output_len() as u64 * (self.inputs * self.taps()) as u64
    }

    fn output_size(&self, size: usize) -> usize {
        self.padding.output_size(size, self.kernel, self.stride)
    }

    /// Zeros before the first pixel along an axis of `size` pixels.
    fn before(&self, size: usize) -> usize {
        self.padding.around(size, self.kernel, self.stride).0
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Whether every position sees itself only, so that the positions of all images can be one long row.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && matches!(self.padding, Padding::Symmetric(0) | Padding::Same)
    }

    pub(super) fn check(&self, x: usize, weight: usize, y: usize) {
        let sizes = [self.batch, self.height, self.width, self.inputs, self.outputs, self.kernel, self.stride];
        assert!(sizes.iter().all(|&size| size > 0), "all sizes of a convolution must be positive: {self:?}");
        assert_eq!(x, self.input_len(), "length of the input of {self:?}");
        assert_eq!(weight, self.weight_len(), "length of the weight of {self:?}");
        assert_eq!(y, self.output_len(), "length of the output of {self:?}");
    }

    /// What every output position sees of the input.
    pub(super) fn input_window(&self) -> Window {
        if self.is_pointwise() {
            let axis = |count| Axis {
                first: 0,
                stride: 1,
                count,
                source_first: 0,
                source_step: 1,
                source_len: count,
                taps: 1,
            };
            return Window { y: axis(1), x: axis(self.batch * self.height * self.width), channels: self.inputs };
        }
        let axis = |source_len| Axis {
            first: 0,
            stride: 1,
            count: self.output_size(source_len),
            source_first: -(self.before(source_len) as isize),
            source_step: self.stride,
            source_len,
            taps: self.kernel,
        };
        Window { y: axis(self.height), x: axis(self.width), channels: self.inputs }
    }

    /// What the input positions of one phase see of the output: those `i` with `i + before ≡ phase (mod stride)` along
    /// both axes, each with its own padding `before` the first pixel. They meet the kernel taps `phase, phase + stride, …`
    /// only.
    pub(super) fn output_window(&self, phase_y: usize, phase_x: usize) -> Window {
        if self.is_pointwise() {
            return Window { channels: self.outputs, ..self.input_window() };
        }
        Window {
            y: self.output_axis(self.height, phase_y),
            x: self.output_axis(self.width, phase_x),
            channels: self.outputs,
        }
    }

    fn output_axis(&self, size: usize, phase: usize) -> Axis {
        let before = self.before(size);
        let first = (phase as isize - before as isize).rem_euclid(self.stride as isize) as usize;
        let taps = self.kernel.saturating_sub(phase).div_ceil(self.stride);
        Axis {
            first,
            stride: self.stride,
            count: size.saturating_sub(first).div_ceil(self.stride),
            source_first: ((first + before - phase) / self.stride) as isize + 1 - taps as isize,
            source_step: 1,
            source_len: self.output_size(size),
            taps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_pixels_are_one_long_row_with_either_padding_that_adds_nothing() {
        let shape = |kernel, stride, padding| ConvShape { kernel, stride, padding, ..ConvShape::linear(3, 4, 5) };
        assert!(shape(1, 1, Padding::Symmetric(0)).is_pointwise() && shape(1, 1, Padding::Same).is_pointwise());
        let others = [(1, 1, Padding::Symmetric(1)), (1, 2, Padding::Same), (2, 1, Padding::Same)];
        assert!(others.into_iter().all(|(kernel, stride, padding)| !shape(kernel, stride, padding).is_pointwise()));
    }
}
