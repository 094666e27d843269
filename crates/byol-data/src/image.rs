//! One decoded picture.

use std::borrow::Cow;

use image::metadata::Orientation;

/// The samples of a picture, at the depth they had in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits; 255 is full intensity.
    U8(Vec<u8>),
    /// 16 bits; 65 535 is full intensity.
    U16(Vec<u16>),
}

impl Samples {
    /// Number of samples: `width · height · channels`.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => samples.len(),
        }
    }

    /// Whether there are none; never so in an [`Image`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A decoded picture: rows top to bottom, channels interleaved (`R G B R G B …`).
///
/// Every source format ends up here; see [`crate::decode`] for how grey, alpha and CMYK are converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width_px: usize,
    height_px: usize,
    channels: usize,
    samples: Samples,
}

impl Image {
    /// Wraps interleaved samples.
    ///
    /// # Panics
    /// When `samples` is not `width_px · height_px · channels` long or one of these is zero: callers check what comes
    /// from outside.
    pub fn new(width_px: usize, height_px: usize, channels: usize, samples: Samples) -> Self {
        assert!(width_px > 0 && height_px > 0 && channels > 0, "an image has at least one pixel and one channel");
        assert_eq!(samples.len(), width_px * height_px * channels, "{width_px}×{height_px}, {channels} channel(s)");
        Self { width_px, height_px, channels, samples }
    }

    /// Wraps interleaved 8-bit RGB.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn rgb8(width_px: usize, height_px: usize, samples: Vec<u8>) -> Self {
        Self::new(width_px, height_px, 3, Samples::U8(samples))
    }

    /// Width in pixels, at least 1.
    pub fn width_px(&self) -> usize {
        self.width_px
    }

    /// Height in pixels, at least 1.
    pub fn height_px(&self) -> usize {
        self.height_px
    }

    /// Channels per pixel, at least 1.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The interleaved samples, `height · width · channels`.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Takes the samples out, for their memory.
    pub fn into_samples(self) -> Samples {
        self.samples
    }

    /// The picture as 8-bit RGB, for people: 16 bits are cut to their upper 8; of one or two channels the first becomes
    /// grey; of four or more the first three are shown.
    pub fn to_rgb8(&self) -> Cow<'_, [u8]> {
        match &self.samples {
            Samples::U8(samples) if self.channels == 3 => Cow::Borrowed(samples),
            Samples::U8(samples) => Cow::Owned(rgb_of(samples, self.channels, |sample| sample)),
            Samples::U16(samples) => Cow::Owned(rgb_of(samples, self.channels, |sample| (sample >> 8) as u8)),
        }
    }

    /// The picture as it stands upright, given how the camera was held.
    pub(crate) fn oriented(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let Self { width_px, height_px, channels, samples } = self;
        let size = (width_px, height_px, channels);
        let samples = match samples {
            Samples::U8(samples) => Samples::U8(orient(&samples, size, orientation)),
            Samples::U16(samples) => Samples::U16(orient(&samples, size, orientation)),
        };
        let (width_px, height_px) =
            if swaps_sides(orientation) { (height_px, width_px) } else { (width_px, height_px) };
        Self { width_px, height_px, channels, samples }
    }
}

fn rgb_of<S: Copy>(samples: &[S], channels: usize, to_byte: impl Fn(S) -> u8) -> Vec<u8> {
    let places = if channels < 3 { [0, 0, 0] } else { [0, 1, 2] };
    samples.chunks_exact(channels).flat_map(|pixel| places.map(|place| to_byte(pixel[place]))).collect()
}

fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Turns and mirrors by walking the source from another corner: the place of the first pixel, and the steps to the next
/// pixel and the next row of the result.
fn orient<S: Copy>(
    samples: &[S],
    (width, height, channels): (usize, usize, usize),
    orientation: Orientation,
) -> Vec<S> {
    let (right, down) = (channels as isize, (width * channels) as isize);
    let (last_column, last_row) = ((width as isize - 1) * right, (height as isize - 1) * down);
    let (first, next_pixel, next_row) = match orientation {
        Orientation::NoTransforms => (0, right, down),
        Orientation::FlipHorizontal => (last_column, -right, down),
        Orientation::FlipVertical => (last_row, right, -down),
        Orientation::Rotate180 => (last_row + last_column, -right, -down),
        Orientation::Rotate90 => (last_row, -down, right),
        Orientation::Rotate270 => (last_column, down, -right),
        Orientation::Rotate90FlipH => (0, down, right),
        Orientation::Rotate270FlipH => (last_row + last_column, -down, -right),
    };
    let (columns, rows) = if swaps_sides(orientation) { (height, width) } else { (width, height) };
    let mut out = Vec::with_capacity(samples.len());
    for row in 0..rows as isize {
        for column in 0..columns as isize {
            let start = (first + row * next_row + column * next_pixel) as usize;
            out.extend_from_slice(&samples[start..start + channels]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    #[test]
    fn every_orientation_is_that_of_the_image_crate() {
        use Orientation::*;
        let samples: Vec<u8> = (0..3 * 2 * 3).collect();
        for orientation in
            [NoTransforms, Rotate90, Rotate180, Rotate270, FlipHorizontal, FlipVertical, Rotate90FlipH, Rotate270FlipH]
        {
            let mut expected = DynamicImage::ImageRgb8(RgbImage::from_raw(3, 2, samples.clone()).unwrap());
            expected.apply_orientation(orientation);
            let got = Image::rgb8(3, 2, samples.clone()).oriented(orientation);
            assert_eq!((got.width_px, got.height_px), (expected.width() as usize, expected.height() as usize));
            assert_eq!(got.to_rgb8(), expected.into_rgb8().into_raw(), "{orientation:?}");
        }
    }

    #[test]
    fn other_channels_and_depths_are_shown_as_8_bit_rgb() {
        let grey16 = Image::new(2, 1, 1, Samples::U16(vec![0x1234, 0xFFFF]));
        assert_eq!(*grey16.to_rgb8(), [0x12, 0x12, 0x12, 0xFF, 0xFF, 0xFF]);
        let five = Image::new(1, 1, 5, Samples::U8(vec![1, 2, 3, 4, 5]));
        assert_eq!(*five.to_rgb8(), [1, 2, 3]);
    }
}
