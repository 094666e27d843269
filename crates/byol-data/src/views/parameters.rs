//! What is random about a view, drawn before any pixel is touched.

use super::config::ViewConfig;
use super::crop::CropBox;
use super::semantics::Semantics;
use crate::Random;

/// One step of the colour jitter with what was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JitterStep {
    /// Offset to add (reference) or factor to multiply with (torchvision).
    Brightness(f32),
    /// Factor of the distance from the mean.
    Contrast(f32),
    /// Factor of the saturation.
    Saturation(f32),
    /// Shift of the hue in turns.
    Hue(f32),
}

/// One view, in the order in which it is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewParameters {
    /// The part of the image that is resized to the view.
    pub crop: CropBox,
    /// Mirror left and right.
    pub flip: bool,
    /// The four steps in the order drawn, or no jitter.
    pub jitter: Option<[JitterStep; 4]>,
    /// Turn grey.
    pub grayscale: bool,
    /// Blur with this σ in pixels, or not.
    pub blur_sigma: Option<f32>,
    /// Invert values from this threshold on, or not.
    pub solarise_threshold: Option<f32>,
}

impl ViewParameters {
    /// Crop and nothing else.
    pub fn crop_only(crop: CropBox) -> Self {
        Self { crop, flip: false, jitter: None, grayscale: false, blur_sigma: None, solarise_threshold: None }
    }

    /// Draws from `config` for an image of the given size (paper App. B).
    ///
    /// Factors, order and σ are drawn even when their operation is off, so that changing one probability leaves the
    /// draws of the other operations as they were.
    pub fn draw(
        config: &ViewConfig,
        semantics: Semantics,
        width_px: usize,
        height_px: usize,
        random: &mut Random,
    ) -> Self {
        let crop = CropBox::draw(config, semantics, width_px, height_px, random);
        let flip = random.chance(config.flip_p);
        let jitters = random.chance(config.jitter_p);
        let neutral_brightness = match semantics {
            Semantics::Reference => 0.0,
            Semantics::Torchvision => 1.0,
        };
        let mut around = |neutral: f32, distance: f32| random.uniform(neutral - distance, neutral + distance);
        let mut steps = [
            JitterStep::Brightness(around(neutral_brightness, config.brightness)),
            JitterStep::Contrast(around(1.0, config.contrast)),
            JitterStep::Saturation(around(1.0, config.saturation)),
            JitterStep::Hue(around(0.0, config.hue)),
        ];
        random.shuffle(&mut steps);
        let grayscale = random.chance(config.grayscale_p);
        let blurs = random.chance(config.blur_p);
        let sigma = random.uniform(config.blur_sigma_min, config.blur_sigma_max);
        let solarises = random.chance(config.solarise_p);
        Self {
            crop,
            flip,
            jitter: jitters.then_some(steps),
            grayscale,
            blur_sigma: blurs.then_some(sigma),
            solarise_threshold: solarises.then_some(config.solarise_threshold),
        }
    }
}
