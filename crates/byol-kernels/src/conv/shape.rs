//! Sizes of a convolution and the windows that its three products look through.

use super::window::{Axis, Window};

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
    /// Zeros added on each of the four sides in pixels.
    pub padding: usize,
}

impl ConvShape {
    /// The shape of a linear layer: one pixel, a 1×1 kernel.
    pub fn linear(batch: usize, inputs: usize, outputs: usize) -> Self {
        Self { batch, height: 1, width: 1, inputs, outputs, kernel: 1, stride: 1, padding: 0 }
    }

    /// `⌊(height + 2·padding − kernel) / stride⌋ + 1`. Panics when the kernel exceeds the padded input.
    pub fn output_height(&self) -> usize {
        self.output_size(self.height)
    }

    /// `⌊(width + 2·padding − kernel) / stride⌋ + 1`. Panics when the kernel exceeds the padded input.
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
        let padded = size + 2 * self.padding;
        assert!(padded >= self.kernel, "the kernel must fit in the padded input: {self:?}");
        (padded - self.kernel) / self.stride + 1
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Whether every position sees itself only, so that the positions of all images can be one long row.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
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
            source_first: -(self.padding as isize),
            source_step: self.stride,
            source_len,
            taps: self.kernel,
        };
        Window { y: axis(self.height), x: axis(self.width), channels: self.inputs }
    }

    /// What the input positions of one phase see of the output: those `i` with `i + padding ≡ phase (mod stride)` along
    /// both axes, which meet the kernel taps `phase, phase + stride, …` only.
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
        let first = (phase as isize - self.padding as isize).rem_euclid(self.stride as isize) as usize;
        let taps = self.kernel.saturating_sub(phase).div_ceil(self.stride);
        Axis {
            first,
            stride: self.stride,
            count: size.saturating_sub(first).div_ceil(self.stride),
            source_first: ((first + self.padding - phase) / self.stride) as isize + 1 - taps as isize,
            source_step: 1,
            source_len: self.output_size(size),
            taps,
        }
    }
}
