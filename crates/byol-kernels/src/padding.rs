//! How far the windows of a convolution or pooling reach over the edges of their input.

/// What lies around an input before windows pass over it: zeros for a convolution, nothing that takes part for a pooling.
///
/// Along an axis of `size` pixels, with windows of `kernel` pixels every `stride`:
///
/// | | before | after | output |
/// |---|---|---|---|
/// | `Symmetric(p)` | `p` | `p` | `⌊(size + 2p − kernel) / stride⌋ + 1` |
/// | `Same` | `⌊total / 2⌋` | `total − before` | `⌈size / stride⌉` |
///
/// with `total = max((⌈size / stride⌉ − 1)·stride + kernel − size, 0)`. Height and width each have their own, which differ where
/// one is odd and the other even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// So many pixels on each of the four sides, as in PyTorch and torchvision's networks.
    Symmetric(usize),
    /// TensorFlow's "SAME" ([`tf.nn`](https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2)), which JAX and Haiku have
    /// taken over, and with them the reference of the paper. It is no `Symmetric` where `total` is odd: a 7×7 window of
    /// stride 2 on 224 pixels has 2 before and 3 after, one of 3×3 has 0 and 1.
    Same,
}

impl Padding {
    /// Pixels `(before, after)` the input along an axis of `size` pixels. Panics for `Same` when `size` or `stride` is zero.
    pub fn around(self, size: usize, kernel: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Symmetric(pixels) => (pixels, pixels),
            Self::Same => {
                assert!(size > 0 && stride > 0, "windows every {stride} pixels over {size}");
                let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
                (total / 2, total - total / 2)
            }
        }
    }

    /// Windows along an axis of `size` pixels. Panics when `kernel` exceeds the padded input, which `Same` rules out.
    pub fn output_size(self, size: usize, kernel: usize, stride: usize) -> usize {
        let (before, after) = self.around(size, kernel, stride);
        let padded = before + size + after;
        assert!(padded >= kernel, "a window of {kernel} must fit in {size} pixels with padding {self:?}");
        (padded - kernel) / stride + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keeps_the_size_over_the_stride_and_never_pads_by_a_whole_window() {
        for (size, kernel, stride) in
            (1..40).flat_map(|size| (1..9).flat_map(move |kernel| (1..6).map(move |stride| (size, kernel, stride))))
        {
            assert_eq!(
                Padding::Same.output_size(size, kernel, stride),
                size.div_ceil(stride),
                "{size} {kernel} {stride}"
            );
            let (before, after) = Padding::Same.around(size, kernel, stride);
            assert!(before < kernel && after < kernel && (after == before || after == before + 1));
        }
    }

    #[test]
    fn same_is_that_of_the_networks_in_use() {
        let same = |size, kernel, stride| Padding::Same.around(size, kernel, stride);
        assert_eq!(same(224, 7, 2), (2, 3));
        assert_eq!(same(225, 7, 2), (3, 3));
        assert_eq!(same(112, 3, 2), (0, 1));
        assert_eq!(same(7, 3, 2), (1, 1));
        assert_eq!((same(56, 3, 1), same(56, 1, 1), same(56, 1, 2)), ((1, 1), (0, 0), (0, 0)));
        assert_eq!((same(5, 2, 1), same(5, 4, 3), same(2, 3, 5)), ((0, 1), (1, 1), (0, 1)));
    }
}
