//! Colour operations on planes of `f32` in `[0, 1]`, in place. Each keeps the values in `[0, 1]`.
//!
//! Brightness, contrast about each channel's mean and solarising are defined for any number of channels. What speaks of
//! hue, saturation or grey is defined for red, green and blue, and leaves pictures of other channels as they are.
//!
//! The loops hold no branches, only selects, so that the compiler vectorises them; all is inlined into
//! [`super::Views::render`], which is compiled for several instruction sets.

use super::plane::Plane;

/// Luma weights of the reference, the paper and torchvision.
pub(super) const LUMA: [f32; 3] = [0.2989, 0.5870, 0.1140];

/// Below this difference of the channels a pixel counts as grey: it has no hue.
const GREY: f32 = 1e-12;

#[inline(always)]
fn clip(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn luma(r: f32, g: f32, b: f32) -> f32 {
    LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
}

#[inline(always)]
fn each_value(planes: &mut [Plane], op: impl Fn(f32) -> f32) {
    for plane in planes {
        plane.iter_mut().for_each(|x| *x = op(*x));
    }
}

#[inline(always)]
fn each_pixel(planes: &mut [Plane], op: impl Fn(f32, f32, f32) -> [f32; 3]) {
    let [red, green, blue] = planes else { return };
    for ((r, g), b) in red.iter_mut().zip(&mut **green).zip(&mut **blue) {
        [*r, *g, *b] = op(*r, *g, *b);
    }
}

/// Lanes of a sum: without them the additions would wait for one another, and lose digits.
const LANES: usize = 16;

#[inline(always)]
fn mean(plane: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let blocks = plane.chunks_exact(LANES);
    let rest: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
    }
    (sums.iter().sum::<f32>() + rest) / plane.len() as f32
}

/// Brightness of the reference: `clip(x + offset)`.
#[inline(always)]
pub(super) fn add_brightness(planes: &mut [Plane], offset: f32) {
    each_value(planes, |x| clip(x + offset));
}

/// Brightness of torchvision: `clip(factor · x)`.
#[inline(always)]
pub(super) fn scale_brightness(planes: &mut [Plane], factor: f32) {
    each_value(planes, |x| clip(factor * x));
}

/// Contrast of the reference: `clip(m + factor · (x − m))` with `m` the mean of the channel.
#[inline(always)]
pub(super) fn contrast_about_channel_means(planes: &mut [Plane], factor: f32) {
    for plane in planes {
        let mean = mean(plane);
        plane.iter_mut().for_each(|x| *x = clip(mean + factor * (*x - mean)));
    }
}

/// Contrast of torchvision: `clip(m + factor · (x − m))` with `m` the mean of the grey image (of one channel: its own).
#[inline(always)]
pub(super) fn contrast_about_grey_mean(planes: &mut [Plane], factor: f32) {
    let mean = match planes {
        [red, green, blue] => luma(mean(red), mean(green), mean(blue)),
        [grey] => mean(grey),
        _ => return,
    };
    each_value(planes, |x| clip(mean + factor * (x - mean)));
}

/// A factor and an offset for each channel: `clip(factor · x + offset)`.
#[inline(always)]
pub(super) fn jitter_channels(planes: &mut [Plane], of: impl Fn(usize) -> (f32, f32)) {
    for (channel, plane) in planes.iter_mut().enumerate() {
        let (factor, offset) = of(channel);
        plane.iter_mut().for_each(|x| *x = clip(factor * *x + offset));
    }
}

/// Saturation of the reference: in HSV, `S ← clip(factor · S)`.
///
/// With `V = max`, `C = V − min` and `S = C/V`, a channel of hue `H` is `V − C·t(H)`. `H` and `V` stay, so
/// `x ← V − (V − x)·S′/S` with `S′/S = min(factor, 1/S)`: no conversion is needed.
#[inline(always)]
pub(super) fn scale_saturation(planes: &mut [Plane], factor: f32) {
    each_pixel(planes, |r, g, b| {
        let value = max(max(r, g), b);
        let chroma = value - min(min(r, g), b);
        let inverse = value / if chroma > GREY { chroma } else { 1.0 };
        let ratio = if chroma > GREY { min(factor, inverse) } else { factor };
        [r, g, b].map(|x| value - (value - x) * ratio)
    });
}

/// Saturation of torchvision: `clip(y + factor · (x − y))` with `y` the grey of the pixel.
#[inline(always)]
pub(super) fn blend_with_grey(planes: &mut [Plane], factor: f32) {
    each_pixel(planes, |r, g, b| {
        let grey = luma(r, g, b);
        [r, g, b].map(|x| clip(grey + factor * (x - grey)))
    });
}

/// Hue, both semantics: in HSV, `H ← (H + turns) mod 1`, with `turns` in `[−½, ½]`.
///
/// With `V = max` and `C = V − min`, the channels of hue `h` in sixths of a turn are `V − C + C·clip(|h − 3| − 1)` for red,
/// `V − C + C·clip(2 − |h − 2|)` for green and `V − C + C·clip(2 − |h − 4|)` for blue.
#[inline(always)]
pub(super) fn shift_hue(planes: &mut [Plane], turns: f32) {
    let shift = 6.0 * turns;
    each_pixel(planes, |r, g, b| {
        let value = max(max(r, g), b);
        let low = min(min(r, g), b);
        let chroma = value - low;
        let scale = 1.0 / if chroma > GREY { chroma } else { 1.0 };
        let from_green = 2.0 + (b - r) * scale;
        let from_blue = 4.0 + (r - g) * scale;
        let hue = if value == g { from_green } else { from_blue };
        let hue = if value == r { (g - b) * scale } else { hue };
        let hue = hue + shift;
        let hue = if hue < 0.0 { hue + 6.0 } else { hue };
        let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
        [(hue - 3.0).abs() - 1.0, 2.0 - (hue - 2.0).abs(), 2.0 - (hue - 4.0).abs()].map(|t| low + chroma * clip(t))
    });
}

/// Grey: every channel becomes `0.2989 R + 0.5870 G + 0.1140 B`.
#[inline(always)]
pub(super) fn grayscale(planes: &mut [Plane]) {
    each_pixel(planes, |r, g, b| [luma(r, g, b); 3]);
}

/// Solarise: `x` below `threshold`, `1 − x` from it on.
#[inline(always)]
pub(super) fn solarise(planes: &mut [Plane], threshold: f32) {
    each_value(planes, |x| if x < threshold { x } else { 1.0 - x });
}
