//! The demo's data set: small pictures drawn on the spot, so that nothing needs to be downloaded.
//!
//! A class is a shape (disc, triangle) filled with a texture (stripes, checks, halves, rings). Position, size,
//! rotation, colours, contrast, texture phase and angle, lighting and noise are drawn from the same distributions
//! for every class. The shapes of one draw have equal areas and every texture covers one half of them, so mean colour
//! says nothing about the class; shape and texture say everything.

use std::f32::consts::{PI, TAU};

use crate::{Image, Random, Stream};

/// Names of the classes; the label of a picture is an index into this list, `4 · shape + texture`.
pub const CLASSES: [&str; 8] = [
    "striped disc",
    "checked disc",
    "halved disc",
    "ringed disc",
    "striped triangle",
    "checked triangle",
    "halved triangle",
    "ringed triangle",
];

/// Draws `count` pictures of `size_px × size_px` with their labels.
///
/// Picture `i` has label `i mod 8` and is a function of (`seed`, `i`, `size_px`) alone.
///
/// # Panics
/// When `size_px` is zero.
pub fn draw(count: usize, seed: u64, size_px: usize) -> Vec<(Image, u32)> {
    (0..count)
        .map(|index| {
            let label = index % CLASSES.len();
            let random = Random::new(seed, Stream::Drawing, 0, index as u64);
            (picture(random, label, size_px), label as u32)
        })
        .collect()
}

#[derive(Clone, Copy)]
enum Shape {
    Disc,
    Triangle,
}

impl Shape {
    /// Radius of the inscribed circle when the area is 1.
    fn inradius_at_unit_area(self) -> f32 {
        match self {
            Shape::Disc => 1.0 / PI.sqrt(),
            Shape::Triangle => 1.0 / (3.0 * 3f32.sqrt()).sqrt(),
        }
    }

    /// Distance to the outline of the shape with inscribed circle `r` around the origin, negative inside; beyond a
    /// corner a lower bound, which is all that anti-aliasing needs.
    fn distance(self, x: f32, y: f32, r: f32) -> f32 {
        match self {
            Shape::Disc => x.hypot(y) - r,
            Shape::Triangle => (0.5 * (3f32.sqrt() * x.abs() - y)).max(y) - r,
        }
    }
}

#[derive(Clone, Copy)]
enum Texture {
    Stripes,
    Checks,
    Halves,
    Rings,
}

impl Texture {
    /// In `[-1, 1]`, positive on one half of the plane; `u`, `v` in radians, rings around the point `u = v = 0`.
    fn at(self, u: f32, v: f32) -> f32 {
        let wave = match self {
            Texture::Stripes => u.sin(),
            Texture::Checks => 2.0 * (u * 0.75).sin() * (v * 0.75).sin(),
            Texture::Halves => u,
            Texture::Rings => u.hypot(v).sin(),
        };
        (2.5 * wave).clamp(-1.0, 1.0)
    }
}

fn picture(mut random: Random, label: usize, size_px: usize) -> Image {
    let shape = [Shape::Disc, Shape::Triangle][label / 4];
    let texture = [Texture::Stripes, Texture::Checks, Texture::Halves, Texture::Rings][label % 4];

    // Lengths are in units of the picture's side, the origin is its centre.
    let inradius = random.uniform(0.24, 0.40).sqrt() * shape.inradius_at_unit_area();
    let (centre_x, centre_y) = (random.uniform(-0.1, 0.1), random.uniform(-0.1, 0.1));
    let (shape_sin, shape_cos) = random.uniform(0.0, TAU).sin_cos();
    let (texture_sin, texture_cos) = random.uniform(0.0, TAU).sin_cos();
    let wave_number = TAU / random.uniform(0.17, 0.21);
    let (phase_u, phase_v) = (random.uniform(-PI, PI), random.uniform(-PI, PI));

    let background = colour(&mut random);
    let foreground = colour(&mut random);
    let contrast = random.uniform(0.3, 0.36) * if random.chance(0.5) { 1.0 } else { -1.0 };
    let light = random.uniform(-0.1, 0.1);
    let (light_sin, light_cos) = random.uniform(0.0, TAU).sin_cos();
    let noise = random.uniform(0.0, 0.03);

    let mut pixels = Vec::with_capacity(size_px * size_px * 3);
    let pixel = 1.0 / size_px as f32;
    for row in 0..size_px {
        for column in 0..size_px {
            let (x, y) = ((column as f32 + 0.5) * pixel - 0.5, (row as f32 + 0.5) * pixel - 0.5);
            let (dx, dy) = (x - centre_x, y - centre_y);
            let distance = shape.distance(shape_cos * dx + shape_sin * dy, shape_cos * dy - shape_sin * dx, inradius);
            let covered = (0.5 - distance / pixel).clamp(0.0, 1.0);
            let u = wave_number * (texture_cos * dx + texture_sin * dy) + phase_u;
            let v = wave_number * (texture_cos * dy - texture_sin * dx) + phase_v;
            let pattern = contrast * texture.at(u, v);
            let lighting = light * (light_cos * x + light_sin * y);
            for channel in 0..3 {
                let inside = foreground[channel] + pattern;
                let value = background[channel] + covered * (inside - background[channel]);
                let value = value + lighting + noise * random.normal();
                pixels.push((value.clamp(0.0, 1.0) * 255.0).round() as u8);
            }
        }
    }
    Image::rgb8(size_px, size_px, pixels)
}

/// Any hue, low saturation, medium brightness.
fn colour(random: &mut Random) -> [f32; 3] {
    let hue = random.uniform(0.0, TAU);
    let (grey, saturation) = (random.uniform(0.45, 0.55), random.uniform(0.0, 0.14));
    [0.0, 1.0, 2.0].map(|channel| grey + saturation * (hue + channel * TAU / 3.0).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_rgb(image: &Image) -> [f64; 3] {
        let pixels = image.to_rgb8();
        let area = (pixels.len() / 3) as f64;
        [0, 1, 2].map(|c| pixels.iter().skip(c).step_by(3).map(|&p| f64::from(p)).sum::<f64>() / area)
    }

    fn squared_distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    #[test]
    fn a_picture_depends_on_seed_and_index_alone() {
        assert_eq!(draw(20, 7, 32)[..10], draw(10, 7, 32));
        assert_ne!(draw(1, 7, 32), draw(1, 8, 32));
    }

    #[test]
    fn labels_cycle_through_the_classes_and_sizes_are_as_asked() {
        for (index, (image, label)) in draw(17, 0, 24).into_iter().enumerate() {
            assert_eq!((image.width_px(), image.height_px(), label as usize), (24, 24, index % CLASSES.len()));
        }
    }

    #[test]
    fn mean_colour_does_not_tell_the_class() {
        let count = 4000;
        let split = |seed| -> Vec<([f64; 3], usize)> {
            draw(count, seed, 32).iter().map(|(image, label)| (mean_rgb(image), *label as usize)).collect()
        };
        let mut means = [[0.0; 3]; CLASSES.len()];
        for (rgb, label) in split(1) {
            for channel in 0..3 {
                means[label][channel] += rgb[channel] * CLASSES.len() as f64 / count as f64;
            }
        }
        let hits = split(2)
            .iter()
            .filter(|(rgb, label)| {
                let nearest = (0..CLASSES.len())
                    .min_by(|&a, &b| squared_distance(rgb, &means[a]).total_cmp(&squared_distance(rgb, &means[b])));
                nearest == Some(*label)
            })
            .count();
        let accuracy = hits as f64 / count as f64;
        assert!(accuracy < 1.0 / CLASSES.len() as f64 + 0.04, "nearest class mean reaches {accuracy}");
    }

    #[test]
    fn shapes_of_one_draw_have_equal_areas() {
        let side = 400;
        for shape in [Shape::Disc, Shape::Triangle] {
            let inradius = shape.inradius_at_unit_area();
            let at = |i: usize| (i as f32 + 0.5) / side as f32 * 3.0 - 1.5;
            let inside =
                (0..side * side).filter(|i| shape.distance(at(i % side), at(i / side), inradius) < 0.0).count();
            let area = inside as f32 * (3.0 / side as f32).powi(2);
            assert!((area - 1.0).abs() < 0.02, "area {area}");
        }
    }

    #[test]
    fn textures_cover_one_half() {
        for texture in [Texture::Stripes, Texture::Checks, Texture::Halves, Texture::Rings] {
            let at = |i: usize| (i as f32 + 0.5) / 300.0 * TAU * 8.0 - TAU * 4.0;
            let mean = (0..90_000).map(|i| texture.at(at(i % 300), at(i / 300))).sum::<f32>() / 90_000.0;
            assert!(mean.abs() < 0.02, "mean {mean}");
        }
    }
}
