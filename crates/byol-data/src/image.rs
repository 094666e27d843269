//! One decoded picture.

/// A decoded picture: 8-bit RGB, rows top to bottom, channels interleaved (`R G B R G B …`).
///
/// Every source format ends up here; see [`crate::decode`] for how grey, alpha, 16-bit and CMYK are converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width_px: usize,
    height_px: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// Wraps interleaved RGB bytes.
    ///
    /// # Panics
    /// When `pixels` is not `width_px · height_px · 3` long or a side is zero: callers check what comes from outside.
    pub fn new(width_px: usize, height_px: usize, pixels: Vec<u8>) -> Self {
        assert!(width_px > 0 && height_px > 0, "an image has at least one pixel");
        assert_eq!(pixels.len(), width_px * height_px * 3, "{width_px}×{height_px} RGB");
        Self { width_px, height_px, pixels }
    }

    /// Width in pixels, at least 1.
    pub fn width_px(&self) -> usize {
        self.width_px
    }

    /// Height in pixels, at least 1.
    pub fn height_px(&self) -> usize {
        self.height_px
    }

    /// The interleaved RGB bytes, `height · width · 3`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}
