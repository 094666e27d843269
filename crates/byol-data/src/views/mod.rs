//! The augmentations of BYOL (paper App. B; reference `augmentations.py`, `dataset.py`).
//!
//! ```text
//! ViewConfig ── draw(Random) → ViewParameters ── render(Image) → f32 [size, size, channels]
//! ```
//! Order: crop → resize → flip → jitter → grey → blur → solarise → clip → normalise.
//!
//! All arithmetic is `f32` without fused multiply-adds and in one order, so a view has the same bits on every machine, whatever
//! vectors it computes with.
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
mod plane;
mod resize;
mod stages;
#[cfg(test)]
mod tests;

pub use config::{IMAGENET_MEAN, IMAGENET_STD, InvalidConfig, Semantics, ViewConfig, ViewsConfig};
pub use crop::CropBox;
pub use evaluation::{EvaluationConfig, EvaluationResize};
pub use parameters::{JitterStep, ViewParameters};
pub use stages::{Stage, StageClock};

use plane::Plane;
use pulp::{Arch, Simd, WithSimd};

use crate::{Image, Random, Stream};

/// Memory one thread reuses from picture to picture; nothing is allocated once it has grown to its size.
#[derive(Debug, Default)]
pub struct ViewScratch {
    /// One per channel, `[size, size]`.
    planes: Vec<Plane>,
    resizer: resize::Resizer,
    blur: blur::Blur,
    /// Set to be told where the time goes.
    pub clock: Option<StageClock>,
}

impl ViewScratch {
    fn set_size(&mut self, size_px: usize, channels: usize) {
        self.planes.resize_with(channels, Plane::default);
        for plane in &mut self.planes {
            plane.resize(size_px * size_px);
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

    /// Values of one rendered view: `size_px · size_px · channels`.
    pub fn values(&self) -> usize {
        self.config.size_px * self.config.size_px * self.config.mean.len()
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

    /// Renders `image` under `parameters` into `out`, `[size_px, size_px, channels]`: clipped to `[0, 1]`, then
    /// `(x − mean) / std` per channel.
    ///
    /// # Panics
    /// When the crop is not inside the image, the image has other channels than the configuration or `out` has another
    /// length than [`Views::values`].
    pub fn render(&self, image: &Image, parameters: &ViewParameters, out: &mut [f32], scratch: &mut ViewScratch) {
        let ViewsConfig { size_px, semantics, ref mean, ref std, .. } = self.config;
        let crop = parameters.crop;
        assert!(crop.fits(image.width_px(), image.height_px()), "{crop:?} lies outside the image");
        scratch.set_size(size_px, image.channels());
        let whole = resize::ResizePlan::square(crop, size_px, semantics == Semantics::Torchvision);
        let plan = resize::ResizePlan { flip: parameters.flip, ..whole };
        Arch::new().dispatch(Rendering {
            image,
            plan: &plan,
            parameters: Some((parameters, semantics)),
            mean,
            std,
            out,
            scratch,
        });
    }

    /// Draws and renders both views of an image into `out1` and `out2`, each `[size_px, size_px, channels]`.
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

/// One picture to render, for [`Arch::dispatch`]: everything it calls is inlined into one function per instruction set.
struct Rendering<'a> {
    image: &'a Image,
    plan: &'a resize::ResizePlan,
    /// What to do after the resize; nothing for evaluation.
    parameters: Option<(&'a ViewParameters, Semantics)>,
    mean: &'a [f32],
    std: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut ViewScratch,
}

impl WithSimd for Rendering<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { image, plan, parameters, mean, std, out, scratch } = self;
        let ViewScratch { planes, resizer, blur, clock } = scratch;
        let mut done = |stage| clock.iter_mut().for_each(|clock| clock.lap(stage));
        resizer.resize(image, plan, planes);
        done(Stage::CropResizeFlip);
        if let Some((parameters, semantics)) = parameters {
            for step in parameters.jitter.iter().flatten() {
                jitter(planes, *step, semantics);
            }
            done(Stage::Jitter);
            if parameters.grayscale {
                colour::grayscale(planes);
            }
            done(Stage::Grayscale);
            if let Some(sigma_px) = parameters.blur_sigma {
                blur.apply(planes, plan.rows.len(), sigma_px, semantics);
            }
            done(Stage::Blur);
            if let Some(threshold) = parameters.solarise_threshold {
                colour::solarise(planes, threshold);
            }
            done(Stage::Solarise);
        }
        interleave(planes, mean, std, out);
        done(Stage::Normalise);
    }
}

#[inline(always)]
fn jitter(planes: &mut [Plane], step: JitterStep, semantics: Semantics) {
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

/// `[channels][size, size]` → `[size, size, channels]`, clipped to `[0, 1]` and normalised in the same pass.
#[inline(always)]
fn interleave(planes: &[Plane], mean: &[f32], std: &[f32], out: &mut [f32]) {
    let channels = planes.len();
    assert!(mean.len() == channels && std.len() == channels, "a picture has the channels of the configuration");
    assert_eq!(out.len(), channels * planes[0].len(), "the output holds size · size · channels values");
    let normalise = |x: f32, mean: f32, scale: f32| (x.clamp(0.0, 1.0) - mean) * scale;
    if let ([red, green, blue], &[m0, m1, m2], &[s0, s1, s2]) = (planes, mean, std) {
        let (s0, s1, s2) = (1.0 / s0, 1.0 / s1, 1.0 / s2);
        for (((out, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(&**red).zip(&**green).zip(&**blue) {
            *out = [normalise(r, m0, s0), normalise(g, m1, s1), normalise(b, m2, s2)];
        }
        return;
    }
    for (channel, plane) in planes.iter().enumerate() {
        let (mean, scale) = (mean[channel], 1.0 / std[channel]);
        for (pixel, &x) in out.chunks_exact_mut(channels).zip(&**plane) {
            pixel[channel] = normalise(x, mean, scale);
        }
    }
}
