//! The augmentations of BYOL (paper App. B; reference `augmentations.py`, `dataset.py`).
//!
//! ```text
//! ViewConfig ── draw(Random) → ViewParameters ── render(Image) → f32 [size, size, 3]
//! ```
//! Order: crop → resize → flip → jitter → grey → blur → solarise → clip → normalise.
//!
//! # Layout
//! `config` the `[views]` table · `parameters` what is drawn · `crop` the box · `resize` bicubic ·
//! `colour`, `blur` the operations · `evaluation` the preprocessing without randomness.

mod blur;
mod colour;
mod config;
mod crop;
mod evaluation;
mod parameters;
mod resize;
#[cfg(test)]
mod tests;

pub use config::{IMAGENET_MEAN, IMAGENET_STD, InvalidConfig, Semantics, ViewConfig, ViewsConfig};
pub use crop::CropBox;
pub use evaluation::{EvaluationConfig, EvaluationResize};
pub use parameters::{JitterStep, ViewParameters};

use crate::{Image, Random, Stream};

/// Red, green and blue, each `[size, size]`.
type Planes = [Vec<f32>; 3];

/// Memory one thread reuses from picture to picture; nothing is allocated once it has grown to its size.
#[derive(Debug, Default)]
pub struct ViewScratch {
    planes: Planes,
    resizer: resize::Resizer,
    blur: blur::Blur,
}

impl ViewScratch {
    fn set_size(&mut self, size_px: usize) {
        for plane in &mut self.planes {
            plane.resize(size_px * size_px, 0.0);
        }
    }
}

/// Draws and renders the two views of an image.
#[derive(Clone, Debug)]
pub struct Views {
    config: ViewsConfig,
}

impl Views {
    /// Views drawn from `config`.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub fn new(config: ViewsConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The configuration given.
    pub fn config(&self) -> &ViewsConfig {
        &self.config
    }

    /// Values of one rendered view: `size_px · size_px · 3`.
    pub fn values(&self) -> usize {
        self.config.size_px * self.config.size_px * 3
    }

    /// Draws view 0 (`view1`, T) or 1 (`view2`, T′) of image `image_index` in `epoch`; a function of its arguments only.
    ///
    /// # Panics
    /// When `view` is neither 0 nor 1.
    pub fn draw(&self, image: &Image, view: u8, seed: u64, epoch: u64, image_index: u64) -> ViewParameters {
        let config = match view {
            0 => &self.config.view1,
            1 => &self.config.view2,
            _ => panic!("an image has views 0 and 1, not {view}"),
        };
        let mut random = Random::new(seed, Stream::View(view), epoch, image_index);
        ViewParameters::draw(config, self.config.semantics, image.width_px(), image.height_px(), &mut random)
    }

    /// Renders `image` under `parameters` into `out`, `[size_px, size_px, 3]`: clipped to `[0, 1]`, then
    /// `(x − mean) / std` per channel.
    ///
    /// # Panics
    /// When the crop is not inside the image or `out` has another length than [`Views::values`].
    pub fn render(&self, image: &Image, parameters: &ViewParameters, out: &mut [f32], scratch: &mut ViewScratch) {
        let ViewsConfig { size_px, semantics, mean, std, .. } = self.config;
        let crop = parameters.crop;
        assert!(crop.fits(image.width_px(), image.height_px()), "{crop:?} lies outside the image");
        scratch.set_size(size_px);
        let ViewScratch { planes, resizer, blur } = scratch;
        let whole = resize::ResizePlan::square(crop, size_px, semantics == Semantics::Torchvision);
        resizer.resize(image, &resize::ResizePlan { flip: parameters.flip, ..whole }, planes);
        for step in parameters.jitter.iter().flatten() {
            jitter(planes, *step, semantics);
        }
        if parameters.grayscale {
            colour::grayscale(planes);
        }
        if let Some(sigma_px) = parameters.blur_sigma {
            blur.apply(planes, size_px, sigma_px, semantics);
        }
        if let Some(threshold) = parameters.solarise_threshold {
            colour::solarise(planes, threshold);
        }
        interleave(planes, mean, std, out);
    }

    /// Draws and renders both views of an image into `out1` and `out2`, each `[size_px, size_px, 3]`.
    ///
    /// # Panics
    /// When an output has another length than [`Views::values`].
    #[expect(clippy::too_many_arguments, reason = "the coordinates of a draw are what they are")]
    pub fn pair(
        &self,
        image: &Image,
        seed: u64,
        epoch: u64,
        image_index: u64,
        out1: &mut [f32],
        out2: &mut [f32],
        scratch: &mut ViewScratch,
    ) {
        for (view, out) in [(0, out1), (1, out2)] {
            let parameters = self.draw(image, view, seed, epoch, image_index);
            self.render(image, &parameters, out, scratch);
        }
    }
}

fn jitter(planes: &mut Planes, step: JitterStep, semantics: Semantics) {
    match (step, semantics) {
        (JitterStep::Brightness(offset), Semantics::Reference) => colour::add_brightness(planes, offset),
        (JitterStep::Brightness(factor), Semantics::Torchvision) => colour::scale_brightness(planes, factor),
        (JitterStep::Contrast(factor), Semantics::Reference) => colour::contrast_about_channel_means(planes, factor),
        (JitterStep::Contrast(factor), Semantics::Torchvision) => colour::contrast_about_grey_mean(planes, factor),
        (JitterStep::Saturation(factor), Semantics::Reference) => colour::scale_saturation(planes, factor),
        (JitterStep::Saturation(factor), Semantics::Torchvision) => colour::blend_with_grey(planes, factor),
        (JitterStep::Hue(turns), _) => colour::shift_hue(planes, turns),
    }
}

/// `[3][size, size]` → `[size, size, 3]`, clipped to `[0, 1]` and normalised in the same pass.
fn interleave(planes: &Planes, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    let [red, green, blue] = planes;
    assert_eq!(out.len(), 3 * red.len(), "the output holds size · size · 3 values");
    let scale = std.map(|std| 1.0 / std);
    let normalise = |channel: usize, x: f32| (x.clamp(0.0, 1.0) - mean[channel]) * scale[channel];
    for (((out, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue) {
        *out = [normalise(0, r), normalise(1, g), normalise(2, b)];
    }
}
