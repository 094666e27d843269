//! What is random about a view, drawn before any pixel is touched.

use super::config::ViewConfig;
use super::crop::CropBox;
use super::semantics::Semantics;
use crate::{Random, Stream};

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

/// A factor and an offset for every channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelJitter {
    /// Largest distance of the factors from 1 and of the offsets from 0.
    pub strength: f32,
    /// What factors and offsets follow from.
    pub seed: u64,
}

impl ChannelJitter {
    /// Factor and offset of a channel, both uniform. However many channels there are, a view has drawn as much.
    pub fn of(&self, channel: usize) -> (f32, f32) {
        let mut random = Random::new(self.seed, Stream::Channels, 0, channel as u64);
        let mut within = |middle: f32| random.uniform(middle - self.strength, middle + self.strength);
        (within(1.0), within(0.0))
    }
}

/// Gaussian noise; its values are a function of the seed, the channel and the place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Standard deviation on values in `[0, 1]`.
    pub std: f32,
    /// What the values follow from.
    pub seed: u64,
}

/// An erased rectangle, as fractions of the view's side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutout {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Width, at most `1 − left`.
    pub width: f32,
    /// Height, at most `1 − top`.
    pub height: f32,
}

impl Cutout {
    /// Smallest area that is erased, unless the largest is less (`RandomErasing`).
    const AREA_MIN: f32 = 0.02;

    /// Bounds of width / height, which is uniform in its logarithm (`RandomErasing`).
    const ASPECTS: [f32; 2] = [0.3, 3.3];

    /// Area and place are uniform; a side longer than the view is cut to it.
    fn draw(area_max: f32, random: &mut Random) -> Self {
        let area = random.uniform(area_max.min(Self::AREA_MIN), area_max);
        let [low, high] = Self::ASPECTS.map(f32::ln);
        let aspect = random.uniform(low, high).exp();
        let (width, height) = ((area * aspect).sqrt().min(1.0), (area / aspect).sqrt().min(1.0));
        Self { left: random.uniform(0.0, 1.0 - width), top: random.uniform(0.0, 1.0 - height), width, height }
    }

    /// First and last but one column, and row, of a view of `size_px`.
    pub fn pixels(&self, size_px: usize) -> [std::ops::Range<usize>; 2] {
        let pixel = |edge: f32| ((edge * size_px as f32).round() as usize).min(size_px);
        [pixel(self.left)..pixel(self.left + self.width), pixel(self.top)..pixel(self.top + self.height)]
    }
}

/// One view, in the order in which it is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewParameters {
    /// The part of the image that is resized to the view.
    pub crop: CropBox,
    /// Mirror left and right.
    pub flip: bool,
    /// Mirror top and bottom.
    pub flip_vertical: bool,
    /// Quarter turns counterclockwise after the flips, 0 to 3.
    pub quarter_turns: u8,
    /// A further turn counterclockwise in degrees, or none.
    pub rotation_degrees: Option<f32>,
    /// The four steps in the order drawn, or no jitter.
    pub jitter: Option<[JitterStep; 4]>,
    /// A factor and an offset for every channel, or none.
    pub channel_jitter: Option<ChannelJitter>,
    /// Turn grey.
    pub grayscale: bool,
    /// Blur with this σ in pixels, or not.
    pub blur_sigma: Option<f32>,
    /// Invert values from this threshold on, or not.
    pub solarise_threshold: Option<f32>,
    /// Add noise, or none.
    pub noise: Option<Noise>,
    /// Erase a rectangle, or nothing.
    pub cutout: Option<Cutout>,
}

impl ViewParameters {
    /// Crop and nothing else.
    pub fn crop_only(crop: CropBox) -> Self {
        Self {
            crop,
            flip: false,
            flip_vertical: false,
            quarter_turns: 0,
            rotation_degrees: None,
            jitter: None,
            channel_jitter: None,
            grayscale: false,
            blur_sigma: None,
            solarise_threshold: None,
            noise: None,
            cutout: None,
        }
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
        let flip_vertical = random.chance(config.flip_vertical_p);
        let turns = random.chance(config.quarter_turn_p);
        let quarter_turns = random.below(4) as u8;
        let degrees = random.uniform(-config.rotate_degrees, config.rotate_degrees);
        let jitters_channels = random.chance(config.channel_jitter_p);
        let channel_jitter = ChannelJitter { strength: config.channel_jitter, seed: random.bits() };
        let noise = Noise { std: random.uniform(0.0, config.noise_std), seed: random.bits() };
        let cuts_out = random.chance(config.cutout_p);
        let cutout = Cutout::draw(config.cutout_area, random);
        Self {
            crop,
            flip,
            flip_vertical,
            quarter_turns: if turns { quarter_turns } else { 0 },
            rotation_degrees: (config.rotate_degrees > 0.0).then_some(degrees),
            channel_jitter: jitters_channels.then_some(channel_jitter),
            noise: (config.noise_std > 0.0).then_some(noise),
            cutout: cuts_out.then_some(cutout),
            jitter: jitters.then_some(steps),
            grayscale,
            blur_sigma: blurs.then_some(sigma),
            solarise_threshold: solarises.then_some(config.solarise_threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views of a seed stay what they were before there were vertical flips, turns, noise and cut-outs.
    #[test]
    fn what_the_paper_does_not_do_is_drawn_after_all_that_it_does() {
        let everything = ViewConfig {
            flip_vertical_p: 1.0,
            quarter_turn_p: 1.0,
            rotate_degrees: 30.0,
            channel_jitter_p: 1.0,
            channel_jitter: 0.1,
            noise_std: 0.1,
            cutout_p: 1.0,
            ..ViewConfig::t_prime()
        };
        for item in 0..100 {
            let random = || Random::new(5, Stream::View(1), 0, item);
            let draw = |config| ViewParameters::draw(config, Semantics::Reference, 400, 300, &mut random());
            let (off, on) = (draw(&ViewConfig::t_prime()), draw(&everything));
            let ViewParameters { crop, flip, jitter, grayscale, blur_sigma, solarise_threshold, .. } = on;
            let paper = ViewParameters { flip, jitter, grayscale, ..ViewParameters::crop_only(crop) };
            assert_eq!(off, ViewParameters { blur_sigma, solarise_threshold, ..paper });
            assert!(on.flip_vertical && on.rotation_degrees.is_some() && on.channel_jitter.is_some());
            assert!(on.noise.is_some() && on.cutout.is_some());
            // Crop 4, flip 1, jitter 5 and an order of 3, grey 1, blur 2, solarising 1.
            let mut random = random();
            (0..14).for_each(|_| _ = random.bits());
            let sigma = (random.chance(0.1), random.uniform(0.1, 2.0));
            assert_eq!(off.blur_sigma, sigma.0.then_some(sigma.1), "the 15th and the 16th draw");
            assert_eq!(off.solarise_threshold.is_some(), random.chance(0.2), "the 17th");
        }
    }

    #[test]
    fn an_erased_rectangle_lies_inside_the_view() {
        let mut random = Random::new(1, Stream::View(0), 0, 0);
        for area_max in [0.001, 0.02, 0.33, 1.0] {
            for size_px in [1, 3, 32, 224] {
                for _ in 0..300 {
                    let cutout = Cutout::draw(area_max, &mut random);
                    let [columns, rows] = cutout.pixels(size_px);
                    assert!(columns.start <= columns.end && columns.end <= size_px, "{cutout:?}");
                    assert!(rows.start <= rows.end && rows.end <= size_px, "{cutout:?}");
                    assert!(cutout.width * cutout.height <= area_max * 1.0001, "{cutout:?}");
                }
            }
        }
    }
}
