//! Pictures, frames and words on one RGB sheet, written as PNG.

use std::io::{Cursor, Write};
use std::path::Path;

use byol_data::Image;
use byol_nn::Result;
use byol_nn::files::write_atomically;
use image::{ImageFormat, Rgb, RgbImage, imageops};

use crate::lettering::{self, LINE_PX};

/// Behind everything: light, and of no colour that pictures could be mistaken for.
const GROUND: Rgb<u8> = Rgb([244, 244, 243]);

/// How words stand out.
#[derive(Clone, Copy, Debug)]
pub enum Ink {
    /// What is read first.
    Strong,
    /// What is looked up.
    Quiet,
}

impl Ink {
    fn colour(self) -> [u8; 3] {
        match self {
            Self::Strong => [28, 30, 33],
            Self::Quiet => [98, 103, 109],
        }
    }
}

/// A sheet of light grey to draw on.
pub struct Canvas(RgbImage);

impl Canvas {
    /// A sheet of the given size in pixels.
    pub fn new(width_px: u32, height_px: u32) -> Self {
        Self(RgbImage::from_pixel(width_px, height_px, GROUND))
    }

    /// Puts `image` into the middle of a square cell at `left`, `top`, as large as its longer side allows. Small pictures
    /// are enlarged pixel by pixel, so that one sees what is there.
    pub fn picture(&mut self, image: &Image, (left, top): (u32, u32), cell_px: u32) -> Placed {
        let (width, height) = (image.width_px() as u32, image.height_px() as u32);
        let pixels = RgbImage::from_raw(width, height, image.to_rgb8().into_owned())
            .expect("an RGB picture holds width · height · 3 bytes");
        let longer = width.max(height);
        let scale = |side: u32| (side * cell_px / longer).max(1);
        let filter = if longer < cell_px { imageops::FilterType::Nearest } else { imageops::FilterType::Triangle };
        let cell = imageops::resize(&pixels, scale(width), scale(height), filter);
        let (left, top) = (left + (cell_px - cell.width()) / 2, top + (cell_px - cell.height()) / 2);
        imageops::replace(&mut self.0, &cell, left.into(), top.into());
        Placed { left, top, scale: cell_px as f32 / longer as f32 }
    }

    /// A filled rectangle; what lies outside of the sheet is cut off.
    pub fn fill(&mut self, (left, top): (u32, u32), (width, height): (u32, u32), colour: Rgb<u8>) {
        for y in top..(top + height).min(self.0.height()) {
            for x in left..(left + width).min(self.0.width()) {
                self.0.put_pixel(x, y, colour);
            }
        }
    }

    /// The outline of a rectangle, `thickness` pixels wide, inside of it.
    pub fn outline(&mut self, at: (u32, u32), (width, height): (u32, u32), thickness: u32, colour: Rgb<u8>) {
        let thickness = thickness.min(width).min(height);
        self.fill(at, (width, thickness), colour);
        self.fill((at.0, at.1 + height - thickness), (width, thickness), colour);
        self.fill(at, (thickness, height), colour);
        self.fill((at.0 + width - thickness, at.1), (thickness, height), colour);
    }

    /// Lines of words from `left`, `top` on, [`LINE_PX`] apart; what lies outside of the sheet is cut off.
    pub fn words(&mut self, lines: &[String], (left, top): (u32, u32), ink: Ink) {
        for (line, text) in lines.iter().enumerate() {
            lettering::draw(text, (left, top + line as u32 * LINE_PX), |x, y, darkness| {
                if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                    for (ground, ink) in pixel.0.iter_mut().zip(ink.colour()) {
                        *ground = (f32::from(*ground) + (f32::from(ink) - f32::from(*ground)) * darkness).round() as u8;
                    }
                }
            });
        }
    }

    /// Writes the sheet as PNG.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        let png = self.to_png();
        write_atomically(path, |writer| writer.write_all(&png))
    }

    /// The sheet as a PNG file in memory.
    pub fn to_png(&self) -> Vec<u8> {
        let mut png = Cursor::new(Vec::new());
        self.0.write_to(&mut png, ImageFormat::Png).expect("RGB of 8 bits in memory can be encoded as PNG");
        png.into_inner()
    }
}

/// Where a picture came to lie.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Its left edge.
    pub left: u32,
    /// Its upper edge.
    pub top: u32,
    /// Pixels of the sheet per pixel of the picture.
    pub scale: f32,
}
