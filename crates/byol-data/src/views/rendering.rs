//! One picture from its samples to the values of a view.

use pulp::{Simd, WithSimd};

use super::blur::Blur;
use super::colour;
use super::noise;
use super::parameters::{Cutout, JitterStep, ViewParameters};
use super::plane::Plane;
use super::resize::{ResizePlan, Resizer};
use super::semantics::Semantics;
use super::stages::{Stage, StageClock};
use super::turn;
use crate::Image;

/// Memory one thread reuses from picture to picture; nothing is allocated once it has grown to its size.
#[derive(Debug, Default)]
pub struct ViewScratch {
    /// One per channel, `[size, size]`.
    planes: Vec<Plane>,
    resizer: Resizer,
    blur: Blur,
    /// A plane before it is rotated.
    unturned: Plane,
    /// Set to be told where the time goes.
    pub clock: Option<StageClock>,
}

impl ViewScratch {
    pub(super) fn set_size(&mut self, size_px: usize, channels: usize) {
        self.planes.resize_with(channels, Plane::default);
        for plane in &mut self.planes {
            plane.resize(size_px * size_px);
        }
    }
}

/// One picture to render, for [`pulp::Arch::dispatch`]: everything it calls is inlined into one function per instruction set.
pub(super) struct Rendering<'a> {
    pub image: &'a Image,
    pub plan: &'a ResizePlan,
    /// What to do after the resize; nothing for evaluation.
    pub parameters: Option<(&'a ViewParameters, Semantics)>,
    pub mean: &'a [f32],
    pub std: &'a [f32],
    pub out: &'a mut [f32],
    pub scratch: &'a mut ViewScratch,
}

impl WithSimd for Rendering<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { image, plan, parameters, mean, std, out, scratch } = self;
        let ViewScratch { planes, resizer, blur, unturned, clock } = scratch;
        let mut done = |stage| clock.iter_mut().for_each(|clock| clock.lap(stage));
        resizer.resize(image, plan, planes);
        done(Stage::CropResizeFlip);
        if let Some((parameters, semantics)) = parameters {
            let size_px = plan.rows.len();
            if parameters.quarter_turns % 2 == 1 {
                turn::transpose(planes, size_px);
            }
            if let Some(degrees) = parameters.rotation_degrees {
                turn::rotate(planes, unturned, size_px, degrees);
            }
            done(Stage::Turn);
            for step in parameters.jitter.iter().flatten() {
                jitter(planes, *step, semantics);
            }
            if let Some(channels) = parameters.channel_jitter {
                colour::jitter_channels(planes, |channel| channels.of(channel));
            }
            done(Stage::Jitter);
            if parameters.grayscale {
                colour::grayscale(planes);
            }
            done(Stage::Grayscale);
            if let Some(sigma_px) = parameters.blur_sigma {
                blur.apply(planes, size_px, sigma_px, semantics);
            }
            done(Stage::Blur);
            if let Some(threshold) = parameters.solarise_threshold {
                colour::solarise(planes, threshold);
            }
            done(Stage::Solarise);
            if let Some(drawn) = parameters.noise {
                noise::add(planes, drawn);
            }
            done(Stage::Noise);
        }
        interleave(planes, mean, std, out);
        if let Some(cutout) = parameters.and_then(|(parameters, _)| parameters.cutout) {
            erase(out, cutout, plan.rows.len());
        }
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

/// Sets a rectangle to 0, which the mean of every channel has become.
fn erase(out: &mut [f32], cutout: Cutout, size_px: usize) {
    let [columns, rows] = cutout.pixels(size_px);
    let channels = out.len() / (size_px * size_px);
    for row in out.chunks_exact_mut(size_px * channels).skip(rows.start).take(rows.len()) {
        row[columns.start * channels..columns.end * channels].fill(0.0);
    }
}
