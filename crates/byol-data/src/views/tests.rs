//! Each operation against its formula written out pixel by pixel. The statistics of the draws are in `tests/distributions.rs`.

use pulp::WithSimd;

use super::plane::Plane;
use super::rendering::Rendering;
use super::*;
use crate::{Image, Random, Samples, Stream};

const SIZE: usize = 40;
const CLOSE: f32 = 1e-4;

/// Smooth colours, noise, exact greys and saturated pixels, so that every branch of a formula is met.
fn picture(width: usize, height: usize) -> Image {
    let mut random = Random::new(7, Stream::Drawing, 0, 0);
    let pixels = (0..width * height)
        .flat_map(|i| {
            let (x, y) = (i % width, i / width);
            let noise = random.below(64) as usize;
            match i % 7 {
                0 => [random.below(256) as u8; 3],
                1 => [random.bits() as u8, 0, 255],
                2 => [random.bits() as u8, random.bits() as u8, random.bits() as u8],
                _ => [(x * 190 / width + noise) as u8, (y * 190 / height + noise) as u8, (255 - x * 200 / width) as u8],
            }
        })
        .collect();
    Image::rgb8(width, height, pixels)
}

fn plain(semantics: Semantics) -> Views {
    let config = ViewsConfig { size_px: SIZE, semantics, mean: vec![0.0; 3], std: vec![1.0; 3], ..Default::default() };
    Views::new(config).unwrap()
}

/// All that the paper does not do, too.
fn with_everything(views: &Views) -> Views {
    let every = |view: &ViewConfig| ViewConfig {
        flip_vertical_p: 0.5,
        quarter_turn_p: 0.8,
        rotate_degrees: 180.0,
        channel_jitter_p: 0.8,
        channel_jitter: 0.2,
        noise_std: 0.1,
        cutout_p: 0.5,
        cutout_area: 0.3,
        ..view.clone()
    };
    let config = views.config().clone();
    Views::new(ViewsConfig { view1: every(&config.view1), view2: every(&config.view2), ..config }).unwrap()
}

fn planes_of(image: &Image) -> Vec<Plane> {
    let channel = |c: usize| image.to_rgb8().iter().skip(c).step_by(3).map(|&v| f32::from(v) / 255.0).collect();
    (0..3).map(channel).collect()
}

fn assert_close(got: &[Plane], expected: &[Plane], what: &str) {
    for (got, expected) in got.iter().flat_map(|plane| &**plane).zip(expected.iter().flat_map(|plane| &**plane)) {
        assert!((got - expected).abs() < CLOSE, "{what}: got {got}, expected {expected}");
    }
}

/// Applies `formula` to each pixel in `f64`.
fn by_pixel(planes: &[Plane], formula: impl Fn([f64; 3]) -> [f64; 3]) -> Vec<Plane> {
    let mut out = planes.to_vec();
    for i in 0..planes[0].len() {
        let pixel = formula([0, 1, 2].map(|c| f64::from(planes[c][i])));
        (0..3).for_each(|c| out[c][i] = pixel[c] as f32);
    }
    out
}

fn textbook_rgb_to_hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = high - low;
    let sixths = if chroma == 0.0 {
        0.0
    } else if high == r {
        ((g - b) / chroma).rem_euclid(6.0)
    } else if high == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    [sixths / 6.0, if high == 0.0 { 0.0 } else { chroma / high }, high]
}

fn textbook_hsv_to_rgb([h, s, v]: [f64; 3]) -> [f64; 3] {
    let sector = (h * 6.0).floor();
    let fraction = h * 6.0 - sector;
    let (p, q, t) = (v * (1.0 - s), v * (1.0 - s * fraction), v * (1.0 - s * (1.0 - fraction)));
    match sector as usize % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

fn grey([r, g, b]: [f64; 3]) -> f64 {
    0.2989 * r + 0.5870 * g + 0.1140 * b
}

fn channel_mean(plane: &[f32]) -> f64 {
    plane.iter().map(|&x| f64::from(x)).sum::<f64>() / plane.len() as f64
}

#[test]
fn colour_operations_match_their_formulas() {
    let before = planes_of(&picture(37, 29));
    let means = [0, 1, 2].map(|c| channel_mean(&before[c]));
    let grey_mean = grey(means);
    let clip = |pixel: [f64; 3]| pixel.map(|x| x.clamp(0.0, 1.0));
    let check = |what: &str, op: &dyn Fn(&mut [Plane]), formula: &dyn Fn([f64; 3]) -> [f64; 3]| {
        let mut after = before.clone();
        op(&mut after);
        assert_close(&after, &by_pixel(&before, formula), what);
    };
    for f in [0.0f32, 0.6, 0.93, 1.0, 1.4, 2.0] {
        let (d, f64_) = (f - 1.0, f64::from(f));
        check("brightness offset", &|p| colour::add_brightness(p, d), &|x| clip(x.map(|x| x + f64::from(d))));
        check("brightness factor", &|p| colour::scale_brightness(p, f), &|x| clip(x.map(|x| x * f64_)));
        check("contrast about channels", &|p| colour::contrast_about_channel_means(p, f), &|x| {
            clip([0, 1, 2].map(|c| (x[c] - means[c]) * f64_ + means[c]))
        });
        check("contrast about grey", &|p| colour::contrast_about_grey_mean(p, f), &|x| {
            clip(x.map(|x| f64_ * x + (1.0 - f64_) * grey_mean))
        });
        check("saturation in HSV", &|p| colour::scale_saturation(p, f), &|x| {
            let [h, s, v] = textbook_rgb_to_hsv(x);
            textbook_hsv_to_rgb([h, (s * f64_).clamp(0.0, 1.0), v])
        });
        check("saturation by blending", &|p| colour::blend_with_grey(p, f), &|x| {
            clip(x.map(|c| f64_ * c + (1.0 - f64_) * grey(x)))
        });
    }
    for turns in [-0.5f32, -0.1, -0.03, 0.0, 0.07, 0.1, 0.5] {
        check("hue", &|p| colour::shift_hue(p, turns), &|x| {
            let [h, s, v] = textbook_rgb_to_hsv(x);
            textbook_hsv_to_rgb([(h + f64::from(turns)).rem_euclid(1.0), s, v])
        });
    }
    let channels = [(1.1f32, -0.2f32), (0.7, 0.3), (1.0, 0.05)];
    check("jitter of channels", &|p| colour::jitter_channels(p, |c| channels[c]), &|x| {
        clip([0, 1, 2].map(|c| x[c] * f64::from(channels[c].0) + f64::from(channels[c].1)))
    });
    check("grey", &colour::grayscale, &|x| [grey(x); 3]);
    check("solarise", &|p| colour::solarise(p, 0.5), &|x| x.map(|x| if x < 0.5 { x } else { 1.0 - x }));
}

#[test]
fn solarise_inverts_the_threshold_itself() {
    let mut planes = [[0.25, 0.5], [0.75, 1.0], [0.0, 0.499]].map(Plane::from_iter);
    colour::solarise(&mut planes, 0.5);
    assert_eq!(planes.each_ref().map(|plane| plane.to_vec()), [[0.25, 0.5], [0.25, 0.0], [0.0, 0.499]]);
    colour::solarise(&mut planes, 0.25);
    assert_eq!(*planes[0], [0.75, 0.5]);
}

/// What is drawn for one view of the picture, with nothing but its crop.
fn whole_view(image: &Image) -> ViewParameters {
    ViewParameters::crop_only(CropBox::whole(image.width_px(), image.height_px()))
}

#[test]
fn flips_and_quarter_turns_move_pixels_and_change_none() {
    let (image, views) = (picture(83, 61), plain(Semantics::Reference));
    let mut scratch = ViewScratch::default();
    let mut render = |flip, flip_vertical, quarter_turns| {
        let mut out = vec![f32::NAN; views.values()];
        let parameters = ViewParameters { flip, flip_vertical, quarter_turns, ..whole_view(&image) };
        views.render(&image, &parameters, &mut out, &mut scratch);
        out
    };
    let upright = render(false, false, 0);
    for flip in [false, true] {
        for flip_vertical in [false, true] {
            for turns in 0..4 {
                let got = render(flip, flip_vertical, turns);
                for (i, got) in got.chunks_exact(3).enumerate() {
                    // Back through the turns, each of which took the pixel right of the middle to above it, then the flips.
                    let (mut x, mut y) = (i % SIZE, i / SIZE);
                    for _ in 0..turns {
                        (x, y) = (SIZE - 1 - y, x);
                    }
                    let x = if flip { SIZE - 1 - x } else { x };
                    let y = if flip_vertical { SIZE - 1 - y } else { y };
                    assert_eq!(got, &upright[(y * SIZE + x) * 3..][..3], "{flip} {flip_vertical} {turns} ({x}, {y})");
                }
            }
        }
    }
}

#[test]
fn rotation_matches_the_bilinear_sum_over_a_reflected_plane() {
    for size in [1usize, 2, 7, 40, 41] {
        let before = planes_of(&picture(size, size));
        for degrees in [0.0f32, 10.0, -33.3, 45.0, 90.0, 135.0, -180.0] {
            let mut after = before.clone();
            turn::rotate(&mut after, &mut Plane::default(), size, degrees);
            let (sine, cosine) = f64::from(degrees).to_radians().sin_cos();
            let (middle, side) = ((size as f64 - 1.0) / 2.0, size as i64);
            // All the way: …b a | a b … y z | z y…, as often as it takes.
            let reflect = |i: i64| {
                let i = i.rem_euclid(2 * side);
                if i < side { i } else { 2 * side - 1 - i }
            };
            let expected = [0, 1, 2].map(|c| {
                let at = |y: i64, x: i64| f64::from(before[c][(reflect(y) * side + reflect(x)) as usize]);
                let value = |i: usize| {
                    let (dx, dy) = ((i % size) as f64 - middle, (i / size) as f64 - middle);
                    let (x, y) = (cosine * dx - sine * dy + middle, sine * dx + cosine * dy + middle);
                    let (left, top) = (x.floor(), y.floor());
                    let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
                    let share = |distance: f64, far: i64| if far == 1 { distance } else { 1.0 - distance };
                    let weighted = corners.map(|(down, across)| {
                        share(y - top, down) * share(x - left, across) * at(top as i64 + down, left as i64 + across)
                    });
                    weighted.iter().sum::<f64>() as f32
                };
                (0..size * size).map(value).collect()
            });
            assert_close(&after, &expected, &format!("{size} px by {degrees} degrees"));
        }
    }
}

#[test]
fn noise_is_normal_and_follows_from_seed_channel_and_place_alone() {
    let zeros = |values: usize| Plane::from_iter(std::iter::repeat_n(0.0, values));
    let noise = |values: usize, channels: usize, seed| {
        let mut planes: Vec<Plane> = (0..channels).map(|_| zeros(values)).collect();
        noise::add(&mut planes, Noise { std: 1.0, seed });
        planes
    };
    let drawn = noise(100_000, 3, 7);
    for (channel, plane) in drawn.iter().enumerate() {
        let mut values: Vec<f64> = plane.iter().map(|&x| f64::from(x)).collect();
        let count = values.len() as f64;
        let moment = |power| values.iter().map(|x| x.powi(power)).sum::<f64>() / count;
        let (mean, variance, skew, fourth) = (moment(1), moment(2), moment(3), moment(4));
        // Four standard deviations of each moment of 100 000 normal values.
        assert!(mean.abs() < 0.0127 && (variance - 1.0).abs() < 0.018, "{channel}: {mean}, {variance}");
        assert!(skew.abs() < 0.049 && (fourth - 3.0).abs() < 0.125, "{channel}: {skew}, {fourth}");
        for lag in [1, 2, 224, 50_000] {
            let correlation = values.iter().zip(&values[lag..]).map(|(a, b)| a * b).sum::<f64>() / count;
            assert!(correlation.abs() < 0.0127, "{channel}: values {lag} apart: {correlation}");
        }
        // Kolmogorov and Smirnov at ten quantiles of the normal distribution: 1.95 / √n is exceeded once in a thousand times.
        values.sort_by(f64::total_cmp);
        for (quantile, share) in [(-2.326_35, 0.01), (-1.281_55, 0.1), (-0.674_49, 0.25), (0.0, 0.5), (0.674_49, 0.75)]
            .into_iter()
            .chain([(1.281_55, 0.9), (1.644_85, 0.95), (2.326_35, 0.99), (3.090_23, 0.999), (3.719_02, 0.9999)])
        {
            let below = values.partition_point(|&x| x < quantile) as f64 / count;
            assert!((below - share).abs() < 1.95 / count.sqrt(), "{channel}: {below} below {quantile}");
        }
    }
    assert_eq!(*noise(100_000, 1, 7)[0], *drawn[0], "other channels do not matter");
    assert!(*noise(100_000, 1, 8)[0] != *drawn[0] && *drawn[0] != *drawn[1]);
    for values in [1, 2, 3, 49] {
        assert!(noise(values, 1, 3)[0].iter().all(|&x| x != 0.0), "{values} values");
    }
}

#[test]
fn cut_out_pixels_are_zero_after_the_normalisation_and_no_others_change() {
    let image = picture(60, 50);
    let views = Views::new(ViewsConfig { size_px: SIZE, ..Default::default() }).unwrap();
    let mut scratch = ViewScratch::default();
    let cutout = Cutout { left: 0.25, top: 0.5, width: 0.5, height: 0.3 };
    let mut render = |cutout| {
        let mut out = vec![f32::NAN; views.values()];
        views.render(&image, &ViewParameters { cutout, ..whole_view(&image) }, &mut out, &mut scratch);
        out
    };
    let (whole, cut) = (render(None), render(Some(cutout)));
    for (i, (before, after)) in whole.chunks_exact(3).zip(cut.chunks_exact(3)).enumerate() {
        let inside = (10..30).contains(&(i % SIZE)) && (20..32).contains(&(i / SIZE));
        assert_eq!(after, if inside { &[0.0; 3] } else { before }, "{i}");
    }
}

#[test]
fn every_operation_takes_any_number_of_channels() {
    for channels in [1, 2, 3, 4, 5, 7] {
        let (width, height) = (37, 29);
        let mut random = Random::new(2, Stream::Drawing, 0, channels as u64);
        let samples = (0..width * height * channels).map(|_| random.bits() as u8).collect();
        let image = Image::new(width, height, channels, Samples::U8(samples));
        for semantics in [Semantics::Reference, Semantics::Torchvision] {
            let config = plain(semantics).config().clone();
            let config = ViewsConfig { mean: vec![0.0; channels], std: vec![1.0; channels], ..config };
            let views = with_everything(&Views::new(config).unwrap());
            let (mut one, mut two) = (vec![f32::NAN; views.values()], vec![f32::NAN; views.values()]);
            let mut scratch = ViewScratch::default();
            for index in 0..30 {
                views.pair(&image, 3, 0, index, &mut one, &mut two, &mut scratch);
                assert!(one.iter().chain(&two).all(|x| (0.0..=1.0).contains(x)), "{channels} channels, {semantics:?}");
            }
        }
    }
}

#[test]
fn blur_matches_the_two_dimensional_sum() {
    for (size, radius) in [(19, 0), (20, 1), (40, 2), (50, 2), (64, 3), (83, 4)] {
        assert_eq!(blur::radius_px(size), radius);
        let before = planes_of(&picture(size, size));
        for semantics in [Semantics::Reference, Semantics::Torchvision] {
            for sigma in [0.1f32, 0.4, 1.1, 2.0] {
                let mut after = before.clone();
                blur::Blur::default().apply(&mut after, size, sigma, semantics);
                let expected = [0, 1, 2]
                    .map(|c| blur_by_sum(&before[c], size, radius as i64, sigma, semantics).into_iter().collect());
                assert_close(&after, &expected, &format!("blur {size} px, σ {sigma}, {semantics:?}"));
            }
        }
    }
}

fn blur_by_sum(plane: &[f32], size: usize, radius: i64, sigma: f32, semantics: Semantics) -> Vec<f32> {
    let gauss = |k: i64| (-((k * k) as f64) / (2.0 * f64::from(sigma).powi(2))).exp();
    let total: f64 = (-radius..=radius).map(gauss).sum();
    let side = size as i64;
    let at = |y: i64, x: i64| {
        let reflect = |i: i64| {
            if i < 0 {
                -i
            } else if i >= side {
                2 * (side - 1) - i
            } else {
                i
            }
        };
        let inside = (0..side).contains(&y) && (0..side).contains(&x);
        match semantics {
            Semantics::Reference if !inside => 0.0,
            _ => f64::from(plane[(reflect(y) * side + reflect(x)) as usize]),
        }
    };
    let sum = |y: i64, x: i64| -> f64 {
        (-radius..=radius)
            .flat_map(|dy| (-radius..=radius).map(move |dx| (dy, dx)))
            .map(|(dy, dx)| gauss(dy) * gauss(dx) * at(y + dy, x + dx))
            .sum()
    };
    (0..side * side).map(|i| (sum(i / side, i % side) / (total * total)) as f32).collect()
}

#[test]
fn the_kernel_has_23_taps_at_224_px() {
    for (size, taps) in [(224, 23), (160, 17), (128, 13), (96, 9), (64, 7), (32, 3), (20, 3), (19, 1), (1, 1)] {
        assert_eq!(blur_taps(size), taps);
    }
}

/// One output value of a bicubic resize, over all inputs of the crop.
fn bicubic_by_sum(image: &Image, crop: CropBox, x: usize, y: usize, channel: usize, antialias: bool) -> f32 {
    let keys = |t: f64| match t.abs() {
        t if t < 1.0 => 1.5 * t.powi(3) - 2.5 * t.powi(2) + 1.0,
        t if t < 2.0 => -0.5 * t.powi(3) + 2.5 * t.powi(2) - 4.0 * t + 2.0,
        _ => 0.0,
    };
    let weights = |output: usize, length: usize| -> Vec<f64> {
        let scale = length as f64 / SIZE as f64;
        let stretch = if antialias { scale.max(1.0) } else { 1.0 };
        let raw = (0..length).map(|i| keys((i as f64 + 0.5 - (output as f64 + 0.5) * scale) / stretch));
        let total: f64 = raw.clone().sum();
        raw.map(|w| w / total).collect()
    };
    let (across, down) = (weights(x, crop.width_px), weights(y, crop.height_px));
    let mut sum = 0.0;
    for (row, wy) in down.iter().enumerate() {
        for (column, wx) in across.iter().enumerate() {
            let at = (crop.top_px + row) * image.width_px() + crop.left_px + column;
            sum += wy * wx * f64::from(image.to_rgb8()[at * 3 + channel]) / 255.0;
        }
    }
    sum.clamp(0.0, 1.0) as f32
}

#[test]
fn crop_resize_and_flip_match_the_full_sum() {
    let image = picture(83, 97);
    let mut scratch = ViewScratch::default();
    let crops = [(0, 0, 83, 97), (5, 9, 40, 40), (70, 3, 13, 50), (20, 90, 60, 7), (82, 96, 1, 1), (3, 4, 2, 3)];
    for (left_px, top_px, width_px, height_px) in crops {
        let crop = CropBox { left_px, top_px, width_px, height_px };
        for (semantics, flip) in
            [(Semantics::Reference, false), (Semantics::Torchvision, false), (Semantics::Reference, true)]
        {
            let views = plain(semantics);
            let mut out = vec![f32::NAN; views.values()];
            let parameters = ViewParameters { flip, ..ViewParameters::crop_only(crop) };
            views.render(&image, &parameters, &mut out, &mut scratch);
            for (i, &got) in out.iter().enumerate() {
                let (x, y, channel) = (i / 3 % SIZE, i / 3 / SIZE, i % 3);
                let x = if flip { SIZE - 1 - x } else { x };
                let expected = bicubic_by_sum(&image, crop, x, y, channel, semantics == Semantics::Torchvision);
                assert!((got - expected).abs() < CLOSE, "{crop:?} {semantics:?} ({x}, {y}): {got}, {expected}");
            }
        }
    }
}

#[test]
fn every_view_is_clipped_then_normalised() {
    let image = picture(60, 50);
    for semantics in [Semantics::Reference, Semantics::Torchvision] {
        let normalised = Views::new(ViewsConfig { size_px: SIZE, semantics, ..Default::default() }).unwrap();
        let raw = plain(semantics);
        let mut scratch = ViewScratch::default();
        for index in 0..50 {
            let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| vec![f32::NAN; raw.values()]);
            raw.pair(&image, 1, 2, index, &mut a, &mut b, &mut scratch);
            normalised.pair(&image, 1, 2, index, &mut c, &mut d, &mut scratch);
            for (i, (&x, &y)) in a.iter().zip(&c).chain(b.iter().zip(&d)).enumerate() {
                assert!((0.0..=1.0).contains(&x), "{x}");
                assert!((y - (x - IMAGENET_MEAN[i % 3]) / IMAGENET_STD[i % 3]).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn a_view_has_the_same_bits_on_every_instruction_set() {
    let image = picture(83, 61);
    let mut scratch = ViewScratch::default();
    for (semantics, everything) in [
        (Semantics::Reference, false),
        (Semantics::Torchvision, false),
        (Semantics::Reference, true),
        (Semantics::Torchvision, true),
    ] {
        let views = if everything { with_everything(&plain(semantics)) } else { plain(semantics) };
        for index in 0..40 {
            let parameters = views.draw(&image, (index % 2) as u8, 5, 0, index);
            let mut expected = vec![0.0; views.values()];
            views.render(&image, &parameters, &mut expected, &mut scratch);
            let plan = resize::ResizePlan::of_view(&parameters, SIZE, semantics);
            let mut check = |what: &str, run: &dyn Fn(Rendering)| {
                let mut out = vec![f32::NAN; views.values()];
                let parameters = Some((&parameters, semantics));
                let (image, plan, scratch) = (&image, &plan, &mut scratch);
                run(Rendering { image, plan, parameters, mean: &[0.0; 3], std: &[1.0; 3], out: &mut out, scratch });
                let same = out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{what}, {semantics:?}, {index}");
            };
            check("without vectors", &|rendering| rendering.with_simd(pulp::Scalar::new()));
            #[cfg(target_arch = "x86_64")]
            if let Some(avx2) = pulp::x86::V3::try_new() {
                check("AVX2", &|rendering| pulp::Simd::vectorize(avx2, rendering));
            }
        }
    }
}

#[test]
fn many_channels_of_16_bits_are_each_treated_as_one_alone() {
    let (width, height, channels) = (37, 29, 6);
    let mut random = Random::new(2, Stream::Drawing, 0, 0);
    let samples: Vec<u16> = (0..width * height * channels).map(|_| random.bits() as u16).collect();
    let all = Image::new(width, height, channels, Samples::U16(samples.clone()));
    let views_of = |channels: usize| {
        let config = ViewsConfig {
            mean: vec![0.4; channels],
            std: vec![0.3; channels],
            ..plain(Semantics::Reference).config().clone()
        };
        Views::new(config).unwrap()
    };
    let (many, one) = (views_of(channels), views_of(1));
    let (mut together, mut alone) = (vec![0.0; many.values()], vec![0.0; one.values()]);
    let mut scratch = ViewScratch::default();
    for index in 0..10 {
        let parameters = many.draw(&all, 0, 1, 0, index);
        many.render(&all, &parameters, &mut together, &mut scratch);
        for channel in 0..channels {
            let samples = samples.iter().skip(channel).step_by(channels).copied().collect();
            let image = Image::new(width, height, 1, Samples::U16(samples));
            one.render(&image, &parameters, &mut alone, &mut scratch);
            let same = together.iter().skip(channel).step_by(channels).zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(same, "channel {channel} of view {index}");
        }
    }
}

#[test]
fn a_pair_is_a_function_of_seed_epoch_and_index() {
    let (image, views) = (picture(60, 50), plain(Semantics::Reference));
    let pair = |seed, epoch, index, scratch: &mut ViewScratch| {
        let [mut one, mut two] = [(); 2].map(|()| vec![0.0; views.values()]);
        views.pair(&image, seed, epoch, index, &mut one, &mut two, scratch);
        (one, two)
    };
    let mut used = ViewScratch::default();
    let base = pair(1, 2, 3, &mut used);
    assert_ne!(base.0, base.1);
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
        assert_ne!(pair(other.0, other.1, other.2, &mut used).0, base.0);
    }
    assert_eq!(pair(1, 2, 3, &mut used), base, "what the scratch held before does not matter");
    assert_eq!(pair(1, 2, 3, &mut ViewScratch::default()), base);
}
