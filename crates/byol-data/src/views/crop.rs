//! Which part of the image a view shows.

use super::config::ViewConfig;
use super::semantics::Semantics;
use crate::Random;

/// A rectangle of whole pixels inside an image, at least 1×1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First column.
    pub left_px: usize,
    /// First row.
    pub top_px: usize,
    /// Columns.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
}

/// How often torchvision's `RandomResizedCrop` draws before it gives up.
const TRIES: usize = 10;

impl CropBox {
    /// The whole of an image.
    pub fn whole(width_px: usize, height_px: usize) -> Self {
        Self { left_px: 0, top_px: 0, width_px, height_px }
    }

    /// True when the box has an area and lies inside an image of that size.
    pub fn fits(&self, width_px: usize, height_px: usize) -> bool {
        let inside = |start: usize, length: usize, side: usize| length > 0 && length <= side && start <= side - length;
        inside(self.left_px, self.width_px, width_px) && inside(self.top_px, self.height_px, height_px)
    }

    /// Draws a box of area `a ~ U[area_min, area_max] · W · H` and aspect ratio `ln r ~ U[ln aspect_min, ln aspect_max]`:
    /// `width = round(√(a·r))`, `height = round(√(a/r))`, at a uniformly drawn place (paper App. B).
    ///
    /// - Reference (`dataset.py`): one draw; a side longer than the image is cut to the image.
    /// - torchvision (`RandomResizedCrop`): draws again when a side is too long; after ten tries the largest centred
    ///   box whose aspect ratio is within the bounds.
    ///
    /// A side that rounds to nothing becomes one pixel (reference) or counts as a failed try (torchvision).
    pub(super) fn draw(
        config: &ViewConfig,
        semantics: Semantics,
        width_px: usize,
        height_px: usize,
        random: &mut Random,
    ) -> Self {
        match semantics {
            Semantics::Reference => {
                let (width, height) = draw_sides(config, width_px, height_px, random);
                place(width.clamp(1, width_px), height.clamp(1, height_px), width_px, height_px, random)
            }
            Semantics::Torchvision => {
                for _ in 0..TRIES {
                    let (width, height) = draw_sides(config, width_px, height_px, random);
                    if (1..=width_px).contains(&width) && (1..=height_px).contains(&height) {
                        return place(width, height, width_px, height_px, random);
                    }
                }
                largest_centred(config, width_px, height_px)
            }
        }
    }
}

fn draw_sides(config: &ViewConfig, width_px: usize, height_px: usize, random: &mut Random) -> (usize, usize) {
    let image_area = width_px as f64 * height_px as f64;
    let area = image_area * f64::from(random.uniform(config.crop_area_min, config.crop_area_max));
    let aspect = f64::from(random.uniform(config.crop_aspect_min.ln(), config.crop_aspect_max.ln())).exp();
    let side = |length: f64| length.sqrt().round_ties_even() as usize;
    (side(area * aspect), side(area / aspect))
}

fn place(width: usize, height: usize, width_px: usize, height_px: usize, random: &mut Random) -> CropBox {
    let top_px = random.below((height_px - height) as u64 + 1) as usize;
    let left_px = random.below((width_px - width) as u64 + 1) as usize;
    CropBox { left_px, top_px, width_px: width, height_px: height }
}

fn largest_centred(config: &ViewConfig, width_px: usize, height_px: usize) -> CropBox {
    let (wide, high) = (width_px as f64, height_px as f64);
    let (aspect_min, aspect_max) = (f64::from(config.crop_aspect_min), f64::from(config.crop_aspect_max));
    let side = |length: f64, limit: usize| (length.round_ties_even() as usize).clamp(1, limit);
    let (width, height) = if wide / high < aspect_min {
        (width_px, side(wide / aspect_min, height_px))
    } else if wide / high > aspect_max {
        (side(high * aspect_max, width_px), height_px)
    } else {
        (width_px, height_px)
    };
    CropBox { left_px: (width_px - width) / 2, top_px: (height_px - height) / 2, width_px: width, height_px: height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    #[test]
    fn every_box_lies_inside_the_image() {
        let config = ViewConfig::t();
        for (item, (width, height)) in
            [(1, 1), (1, 300), (300, 1), (2, 3), (32, 32), (500, 20), (400, 450)].into_iter().enumerate()
        {
            let mut random = Random::new(3, Stream::View(0), 0, item as u64);
            for semantics in [Semantics::Reference, Semantics::Torchvision] {
                for _ in 0..500 {
                    let crop = CropBox::draw(&config, semantics, width, height, &mut random);
                    assert!(crop.fits(width, height), "{crop:?} in {width}×{height}");
                }
            }
        }
    }

    #[test]
    fn a_long_strip_is_clamped_by_the_reference_and_centred_by_torchvision() {
        // 1 000×10 with at least half the area: no aspect ratio within [3/4, 4/3] fits.
        let config = ViewConfig { crop_area_min: 0.5, ..ViewConfig::t() };
        let mut random = Random::new(0, Stream::View(0), 0, 0);
        let clamped = CropBox::draw(&config, Semantics::Reference, 1000, 10, &mut random);
        assert_eq!(clamped.height_px, 10);
        assert!((61..=116).contains(&clamped.width_px), "{clamped:?}");
        let centred = CropBox::draw(&config, Semantics::Torchvision, 1000, 10, &mut random);
        assert_eq!(centred, CropBox { left_px: 493, top_px: 0, width_px: 13, height_px: 10 });
        let upright = CropBox::draw(&config, Semantics::Torchvision, 10, 1000, &mut random);
        assert_eq!(upright, CropBox { left_px: 0, top_px: 493, width_px: 10, height_px: 13 });
    }

    #[test]
    fn a_box_outside_the_image_does_not_fit() {
        let whole = CropBox::whole(4, 3);
        assert!(whole.fits(4, 3));
        for outside in [
            CropBox { left_px: 1, ..whole },
            CropBox { top_px: usize::MAX, ..whole },
            CropBox { width_px: 0, ..whole },
            CropBox { height_px: 4, ..whole },
        ] {
            assert!(!outside.fits(4, 3), "{outside:?}");
        }
    }
}
