//! The draws of both views, under both semantics, against the distributions of the paper (App. B, Table 6).
//!
//! Every bound is one that right draws break once in 10 000 tries or less; the seed is fixed.

use byol_data::views::{JitterStep, Semantics, ViewConfig, ViewParameters};
use byol_data::{Random, Stream};

const DRAWS: usize = 20_000;
/// So large that rounding to whole pixels does not show.
const WIDTH_PX: usize = 40_000;
const HEIGHT_PX: usize = 30_000;
/// Standard deviations that a normal variable exceeds with probability 10⁻⁴.
const Z: f64 = 3.719;

fn draws(view: u8, semantics: Semantics) -> (ViewConfig, Vec<ViewParameters>) {
    let config = if view == 0 { ViewConfig::t() } else { ViewConfig::t_prime() };
    let draw = |item| {
        let mut random = Random::new(5, Stream::View(view), 0, item);
        ViewParameters::draw(&config, semantics, WIDTH_PX, HEIGHT_PX, &mut random)
    };
    let draws = (0..DRAWS as u64).map(draw).collect();
    (config, draws)
}

fn each(check: impl Fn(&str, Semantics, &[ViewParameters], [f32; 3])) {
    for semantics in [Semantics::Reference, Semantics::Torchvision] {
        // Probabilities of grey, blur and solarising, from Table 6.
        for (view, name, p) in [(0, "T", [0.2, 1.0, 0.0]), (1, "T′", [0.2, 0.1, 0.2])] {
            check(&format!("{name} {semantics:?}"), semantics, &draws(view, semantics).1, p);
        }
    }
}

/// Kolmogorov and Smirnov: the largest distance between the shares found and those of `U[0, 1]`.
fn assert_uniform(what: &str, values: impl Iterator<Item = f64>) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    assert!(count > 1000.0, "{what}: {count} values");
    // Rounding to whole pixels and to 24 bits.
    let edge = 1e-3;
    assert!(values[0] > -edge && values[values.len() - 1] < 1.0 + edge, "{what}: {values:?}");
    let distance = |(place, &value): (usize, &f64)| {
        (value - place as f64 / count).abs().max((value - (place as f64 + 1.0) / count).abs())
    };
    let largest = values.iter().enumerate().map(distance).fold(0.0, f64::max);
    // P(√n·D > 2.23) = 10⁻⁴.
    assert!(largest * count.sqrt() < 2.23, "{what}: √n·D = {}", largest * count.sqrt());
}

/// Pearson's chi-square of counts that should be equal; the bound is Wilson and Hilferty's.
fn assert_equal_counts(what: &str, counts: &[usize]) {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - spread + Z * spread.sqrt()).powi(3);
    assert!(chi_square < bound, "{what}: χ² = {chi_square}, at most {bound}: {counts:?}");
}

/// Pairs of values in `[0, 1]` fall equally often on each of 8×8 squares.
fn assert_independent(what: &str, pairs: impl Iterator<Item = (f64, f64)>) {
    let mut counts = [0; 64];
    let eighth = |value: f64| (value * 8.0).clamp(0.0, 7.0) as usize;
    pairs.for_each(|(a, b)| counts[eighth(a) * 8 + eighth(b)] += 1);
    assert_equal_counts(what, &counts);
}

fn assert_share(what: &str, p: f64, holds: impl Iterator<Item = bool>) {
    let got = holds.filter(|&holds| holds).count() as f64 / DRAWS as f64;
    let allowed = (Z + 0.5) * (p * (1.0 - p) / DRAWS as f64).sqrt();
    assert!((got - p).abs() <= allowed + 1e-6, "{what}: {got} for p = {p}");
}

/// What the area `a` and `ln r` of a crop become if those that fit are uniform on the part of
/// `[0.08, 1] × [ln 3/4, ln 4/3]` where `a·r ≤ W/H` and `a/r ≤ H/W`: two independent uniform values.
struct Fitting {
    /// Share of the crops that fit.
    share: f64,
    /// Share of those that fit with an area below each of `STEPS + 1` equally spaced ones.
    cumulative: Vec<f64>,
}

impl Fitting {
    const STEPS: usize = 10_000;
    const AREAS: [f64; 2] = [0.08, 1.0];

    /// The bounds of `ln r` for an area.
    fn aspects(area: f64) -> (f64, f64) {
        let image = (WIDTH_PX as f64 / HEIGHT_PX as f64).ln();
        ((0.75f64).ln().max(area.ln() + image), (4.0f64 / 3.0).ln().min(image - area.ln()))
    }

    fn new() -> Self {
        let [low, high] = Self::AREAS;
        let step = (high - low) / Self::STEPS as f64;
        let width = |place: usize| {
            let (least, most) = Self::aspects(low + (place as f64 + 0.5) * step);
            (most - least).max(0.0)
        };
        let mut cumulative = vec![0.0];
        for place in 0..Self::STEPS {
            cumulative.push(cumulative[place] + width(place) * step);
        }
        let total = cumulative[Self::STEPS];
        let share = total / ((high - low) * (16.0f64 / 9.0).ln());
        Self { share, cumulative: cumulative.iter().map(|part| part / total).collect() }
    }

    fn fits(draw: &ViewParameters) -> bool {
        draw.crop.width_px < WIDTH_PX && draw.crop.height_px < HEIGHT_PX
    }

    fn uniform(&self, draw: &ViewParameters) -> (f64, f64) {
        let (width, height) = (draw.crop.width_px as f64, draw.crop.height_px as f64);
        let area = width * height / (WIDTH_PX as f64 * HEIGHT_PX as f64);
        let [low, high] = Self::AREAS;
        let at = ((area - low) / (high - low) * Self::STEPS as f64).clamp(0.0, Self::STEPS as f64);
        let place = (at as usize).min(Self::STEPS - 1);
        let (below, above) = (self.cumulative[place], self.cumulative[place + 1]);
        let (least, most) = Self::aspects(area);
        (below + (above - below) * (at - place as f64), ((width / height).ln() - least) / (most - least))
    }
}

#[test]
fn crops_have_uniform_areas_and_log_aspects_among_those_that_fit_and_lie_anywhere() {
    let fitting = Fitting::new();
    // What does not fit is where the two semantics differ, and only there.
    assert!((0.5..0.9).contains(&fitting.share), "{}", fitting.share);
    each(|what, semantics, draws, _| {
        let fit: Vec<&ViewParameters> = draws.iter().filter(|draw| Fitting::fits(draw)).collect();
        if semantics == Semantics::Reference {
            assert_share(&format!("{what}: crops that fit"), fitting.share, draws.iter().map(Fitting::fits));
        } else {
            // Ten tries in vain, about 10⁻⁵ of all, end with the whole picture.
            assert!(fit.len() + 5 > DRAWS, "{what}: {} of {DRAWS} fit", fit.len());
        }
        let uniform = || fit.iter().map(|draw| fitting.uniform(draw));
        // The area, exactly where the aspect is not bound by the image: a mistake cannot hide in the transformation.
        let (low, high) = (0.08, 0.5);
        let area = |draw: &ViewParameters| {
            draw.crop.width_px as f64 * draw.crop.height_px as f64 / (WIDTH_PX * HEIGHT_PX) as f64
        };
        let small = fit.iter().map(|draw| area(draw)).filter(|&area| area <= high);
        assert_uniform(&format!("{what}: small areas"), small.map(|area| (area - low) / (high - low)));
        assert_uniform(&format!("{what}: area"), uniform().map(|(area, _)| area));
        assert_uniform(&format!("{what}: log aspect"), uniform().map(|(_, aspect)| aspect));
        assert_independent(&format!("{what}: area and aspect"), uniform());
        let place = |start: usize, side: usize, whole: usize| (start as f64 + 0.5) / (whole - side + 1) as f64;
        let left = |draw: &ViewParameters| place(draw.crop.left_px, draw.crop.width_px, WIDTH_PX);
        let top = |draw: &ViewParameters| place(draw.crop.top_px, draw.crop.height_px, HEIGHT_PX);
        assert_uniform(&format!("{what}: left"), fit.iter().map(|draw| left(draw)));
        assert_uniform(&format!("{what}: top"), fit.iter().map(|draw| top(draw)));
        assert_independent(&format!("{what}: left and top"), fit.iter().map(|draw| (left(draw), top(draw))));
        assert_independent(
            &format!("{what}: area and left"),
            fit.iter().map(|draw| (fitting.uniform(draw).0, left(draw))),
        );
    });
}

#[test]
fn every_place_of_a_crop_in_a_small_picture_is_equally_likely() {
    // A quarter of 8×8 pixels, square: 4×4 at one of 25 places.
    let config = ViewConfig {
        crop_area_min: 0.25,
        crop_area_max: 0.25,
        crop_aspect_min: 1.0,
        crop_aspect_max: 1.0,
        ..ViewConfig::t()
    };
    for semantics in [Semantics::Reference, Semantics::Torchvision] {
        let mut counts = [0; 25];
        let mut random = Random::new(5, Stream::View(0), 0, 0);
        for _ in 0..DRAWS {
            let crop = ViewParameters::draw(&config, semantics, 8, 8, &mut random).crop;
            assert_eq!((crop.width_px, crop.height_px), (4, 4));
            counts[crop.top_px * 5 + crop.left_px] += 1;
        }
        assert_equal_counts("places", &counts);
    }
}

#[test]
fn operations_happen_with_the_probabilities_of_the_paper_and_without_regard_to_each_other() {
    each(|what, _, draws, [grey, blur, solarise]| {
        type Holds = fn(&ViewParameters) -> bool;
        let operations: [(&str, f32, Holds); 5] = [
            ("flip", 0.5, |draw| draw.flip),
            ("jitter", 0.8, |draw| draw.jitter.is_some()),
            ("grey", grey, |draw| draw.grayscale),
            ("blur", blur, |draw| draw.blur_sigma.is_some()),
            ("solarise", solarise, |draw| draw.solarise_threshold.is_some()),
        ];
        for (place, (name, p, holds)) in operations.iter().enumerate() {
            let p = f64::from(*p);
            assert_share(&format!("{what}: {name}"), p, draws.iter().map(holds));
            for (other, q, holds_too) in &operations[..place] {
                let both = draws.iter().map(|draw| holds(draw) && holds_too(draw));
                assert_share(&format!("{what}: {name} and {other}"), p * f64::from(*q), both);
            }
        }
        assert!(draws.iter().filter_map(|draw| draw.solarise_threshold).all(|threshold| threshold == 0.5));
    });
}

#[test]
fn jitter_factors_and_sigma_are_uniform_and_every_order_is_equally_likely() {
    each(|what, semantics, draws, _| {
        let brightness_low = if semantics == Semantics::Reference { -0.4 } else { 0.6 };
        // In the order of the names: what each was drawn as, spread over [0, 1], and at which place it stood.
        let steps: Vec<[(usize, f64); 4]> = draws
            .iter()
            .filter_map(|draw| draw.jitter)
            .map(|jitter| {
                let mut found = [None; 4];
                for (place, step) in jitter.into_iter().enumerate() {
                    let (kind, value, low, high) = match step {
                        JitterStep::Brightness(value) => (0, value, brightness_low, brightness_low + 0.8),
                        JitterStep::Contrast(value) => (1, value, 0.6, 1.4),
                        JitterStep::Saturation(value) => (2, value, 0.8, 1.2),
                        JitterStep::Hue(value) => (3, value, -0.1, 0.1),
                    };
                    found[kind] = Some((place, (f64::from(value) - low) / (high - low)));
                }
                found.map(|step| step.expect("each step once"))
            })
            .collect();
        for (kind, name) in ["brightness", "contrast", "saturation", "hue"].into_iter().enumerate() {
            assert_uniform(&format!("{what}: {name}"), steps.iter().map(|steps| steps[kind].1));
            let next = (kind + 1) % 4;
            let pairs = steps.iter().map(|steps| (steps[kind].1, steps[next].1));
            assert_independent(&format!("{what}: {name} and the next"), pairs);
        }
        let mut orders = std::collections::BTreeMap::<_, usize>::new();
        for steps in &steps {
            *orders.entry(steps.map(|(place, _)| place)).or_default() += 1;
        }
        let counts: Vec<usize> = orders.into_values().collect();
        assert_eq!(counts.len(), 24, "{what}: every order occurs");
        assert_equal_counts(&format!("{what}: orders"), &counts);
        let sigmas = draws.iter().filter_map(|draw| draw.blur_sigma);
        assert_uniform(&format!("{what}: σ"), sigmas.map(|sigma| (f64::from(sigma) - 0.1) / 1.9));
    });
}

#[test]
fn the_two_views_of_a_picture_are_drawn_without_regard_to_each_other() {
    let [one, two] = [0, 1].map(|view| draws(view, Semantics::Torchvision).1);
    let fitting = Fitting::new();
    let pair = |(one, two): (&ViewParameters, &ViewParameters)| (fitting.uniform(one).0, fitting.uniform(two).0);
    assert_independent("areas", one.iter().zip(&two).map(pair));
    assert_share("both flipped", 0.25, one.iter().zip(&two).map(|(one, two)| one.flip && two.flip));
}

#[test]
fn what_the_paper_does_not_do_is_drawn_as_its_keys_say() {
    let config = ViewConfig {
        flip_vertical_p: 0.3,
        quarter_turn_p: 0.6,
        rotate_degrees: 25.0,
        channel_jitter_p: 0.7,
        channel_jitter: 0.2,
        noise_std: 0.08,
        cutout_p: 0.4,
        cutout_area: 0.25,
        ..ViewConfig::t()
    };
    let draw = |item| {
        let mut random = Random::new(5, Stream::View(0), 0, item);
        ViewParameters::draw(&config, Semantics::Reference, WIDTH_PX, HEIGHT_PX, &mut random)
    };
    let draws: Vec<ViewParameters> = (0..DRAWS as u64).map(draw).collect();
    type Holds = fn(&ViewParameters) -> bool;
    let operations: [(&str, f64, Holds); 6] = [
        ("flip", 0.5, |draw| draw.flip),
        ("vertical flip", 0.3, |draw| draw.flip_vertical),
        // A turn by 0 degrees is one of four.
        ("quarter turn", 0.6 * 0.75, |draw| draw.quarter_turns > 0),
        ("jitter of channels", 0.7, |draw| draw.channel_jitter.is_some()),
        ("cut-out", 0.4, |draw| draw.cutout.is_some()),
        ("noise above half", 0.5, |draw| draw.noise.is_some_and(|noise| noise.std > 0.04)),
    ];
    for (place, (name, p, holds)) in operations.iter().enumerate() {
        assert_share(name, *p, draws.iter().map(holds));
        for (other, q, holds_too) in &operations[..place] {
            let both = draws.iter().map(|draw| holds(draw) && holds_too(draw));
            assert_share(&format!("{name} and {other}"), p * q, both);
        }
    }
    let mut turns = [0; 4];
    draws.iter().for_each(|draw| turns[usize::from(draw.quarter_turns)] += 1);
    assert_equal_counts("quarter turns", &turns[1..]);
    let degrees = draws.iter().filter_map(|draw| draw.rotation_degrees);
    assert_uniform("degrees", degrees.map(|degrees| (f64::from(degrees) + 25.0) / 50.0));
    let noise = || draws.iter().filter_map(|draw| draw.noise);
    assert_uniform("σ of the noise", noise().map(|noise| f64::from(noise.std) / 0.08));
    let seeds: std::collections::HashSet<u64> = noise().map(|noise| noise.seed).collect();
    assert_eq!(seeds.len(), DRAWS, "every view has noise of its own");
    let jitters = || draws.iter().filter_map(|draw| draw.channel_jitter);
    for channel in [0, 2, 11] {
        let of = || jitters().map(|jitter| jitter.of(channel)).map(|(f, o)| (f64::from(f), f64::from(o)));
        let spread = |(factor, offset): (f64, f64)| ((factor - 0.8) / 0.4, (offset + 0.2) / 0.4);
        assert_uniform(&format!("factors of channel {channel}"), of().map(|pair| spread(pair).0));
        assert_uniform(&format!("offsets of channel {channel}"), of().map(|pair| spread(pair).1));
        assert_independent(&format!("factor and offset of channel {channel}"), of().map(spread));
        let next = jitters().map(|jitter| (jitter.of(channel).0, jitter.of(channel + 1).0));
        let pairs = next.map(|(a, b)| ((f64::from(a) - 0.8) / 0.4, (f64::from(b) - 0.8) / 0.4));
        assert_independent(&format!("channel {channel} and the next"), pairs);
    }
    // With at most a quarter of the area no side is cut to the view: √(0.25 · 3.3) is below 1.
    let cutouts = || draws.iter().filter_map(|draw| draw.cutout);
    let [width, height] =
        [0, 1].map(|side| move |cut: byol_data::views::Cutout| f64::from([cut.width, cut.height][side]));
    assert_uniform("erased area", cutouts().map(|cut| (width(cut) * height(cut) - 0.02) / 0.23));
    let aspect = |cut| ((width(cut) / height(cut)).ln() - 0.3f64.ln()) / (3.3f64.ln() - 0.3f64.ln());
    assert_uniform("log aspect of what is erased", cutouts().map(aspect));
    assert_uniform("left edge", cutouts().map(|cut| f64::from(cut.left) / (1.0 - width(cut))));
    assert_uniform("upper edge", cutouts().map(|cut| f64::from(cut.top) / (1.0 - height(cut))));
}
