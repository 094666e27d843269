//! Every augmentation on a real photograph against `tests/golden/augmentations.py`, which holds the same parameters.

use byol_data::Image;
use byol_data::views::{
    ChannelJitter, CropBox, Cutout, EvaluationConfig, EvaluationResize, IMAGENET_MEAN, IMAGENET_STD, JitterStep, Noise,
    Semantics, ViewParameters, ViewScratch, Views, ViewsConfig,
};
use safetensors::SafeTensors;

const SIZE: usize = 40;
/// On values in `[0, 1]`: a fortieth of an 8-bit step. Both sides differ only by the rounding of `f32`.
const TOLERANCE: f32 = 1e-4;
const ENLARGED: CropBox = CropBox { left_px: 30, top_px: 21, width_px: 33, height_px: 25 };
const SHRUNK: CropBox = CropBox { left_px: 2, top_px: 3, width_px: 91, height_px: 76 };

fn data(name: &str) -> std::path::PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

fn photograph() -> Image {
    let picture = image::open(data("astronaut_96x80.png")).unwrap().into_rgb8();
    Image::rgb8(picture.width() as usize, picture.height() as usize, picture.into_raw())
}

struct Golden(Vec<u8>);

impl Golden {
    fn read() -> Self {
        Self(std::fs::read(data("augmentations.safetensors")).unwrap())
    }

    fn assert_equal(&self, name: &str, got: &[f32], tolerance: f32) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [SIZE, SIZE, 3], "{name}");
        assert!(got.len() == SIZE * SIZE * 3 && got.iter().all(|x| x.is_finite()), "{name}: every value is written");
        let expected = tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
        let worst = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{name}: differs by {worst}, at most {tolerance} expected");
    }
}

/// The four steps with all but one leaving the picture as it is.
fn only(step: JitterStep, neutral_brightness: f32) -> Option<[JitterStep; 4]> {
    let mut steps = [
        JitterStep::Brightness(neutral_brightness),
        JitterStep::Contrast(1.0),
        JitterStep::Saturation(1.0),
        JitterStep::Hue(0.0),
    ];
    for neutral in &mut steps {
        if std::mem::discriminant(neutral) == std::mem::discriminant(&step) {
            *neutral = step;
        }
    }
    Some(steps)
}

fn check_operations(semantics: Semantics, prefix: &str, brightness: f32, neutral_brightness: f32) {
    let (golden, image, mut scratch) = (Golden::read(), photograph(), ViewScratch::default());
    let raw = ViewsConfig { size_px: SIZE, semantics, mean: vec![0.0; 3], std: vec![1.0; 3], ..Default::default() };
    let normalised = ViewsConfig { mean: IMAGENET_MEAN.to_vec(), std: IMAGENET_STD.to_vec(), ..raw.clone() };
    let shrunk = ViewParameters::crop_only(SHRUNK);
    let jittered =
        |step| ViewParameters { jitter: only(step, neutral_brightness), ..ViewParameters::crop_only(SHRUNK) };
    let cases = [
        ("enlarged", ViewParameters::crop_only(ENLARGED)),
        ("shrunk", shrunk.clone()),
        ("flip", ViewParameters { flip: true, ..shrunk.clone() }),
        ("brightness", jittered(JitterStep::Brightness(brightness))),
        ("contrast", jittered(JitterStep::Contrast(1.35))),
        ("saturation", jittered(JitterStep::Saturation(1.2))),
        ("hue", jittered(JitterStep::Hue(-0.08))),
        ("grayscale", ViewParameters { grayscale: true, ..shrunk.clone() }),
        ("blur", ViewParameters { blur_sigma: Some(1.3), ..shrunk.clone() }),
    ];
    let raw = Views::new(raw).unwrap();
    let mut out = vec![f32::NAN; raw.values()];
    for (name, parameters) in cases {
        raw.render(&image, &parameters, &mut out, &mut scratch);
        golden.assert_equal(&format!("{prefix}.{name}"), &out, TOLERANCE);
    }
    raw.render(&image, &ViewParameters { solarise_threshold: Some(0.5), ..shrunk }, &mut out, &mut scratch);
    golden.assert_equal(&format!("{prefix}.solarise"), &out, TOLERANCE);

    let chain = ViewParameters {
        flip: true,
        jitter: Some([
            JitterStep::Brightness(brightness),
            JitterStep::Saturation(0.85),
            JitterStep::Hue(0.09),
            JitterStep::Contrast(0.7),
        ]),
        blur_sigma: Some(0.9),
        solarise_threshold: Some(0.5),
        ..ViewParameters::crop_only(ENLARGED)
    };
    Views::new(normalised).unwrap().render(&image, &chain, &mut out, &mut scratch);
    // Normalised values are 1/std ≈ 4.5 times as far apart.
    golden.assert_equal(&format!("{prefix}.chain"), &out, 5.0 * TOLERANCE);
}

/// What the paper does not do.
fn check_further_operations(semantics: Semantics, prefix: &str, neutral_brightness: f32) {
    let (golden, image, mut scratch) = (Golden::read(), photograph(), ViewScratch::default());
    let raw = ViewsConfig { size_px: SIZE, semantics, mean: vec![0.0; 3], std: vec![1.0; 3], ..Default::default() };
    let normalised = ViewsConfig { mean: IMAGENET_MEAN.to_vec(), std: IMAGENET_STD.to_vec(), ..raw.clone() };
    let raw = Views::new(raw).unwrap();
    let crop = || ViewParameters::crop_only(SHRUNK);
    let jitter = ChannelJitter { strength: 0.25, seed: 77 };
    let cases = [
        ("quarter_turn", ViewParameters { quarter_turns: 1, ..crop() }),
        ("rotation", ViewParameters { rotation_degrees: Some(-160.0), ..crop() }),
        ("channel_jitter", ViewParameters { channel_jitter: Some(jitter), ..crop() }),
        ("noise", ViewParameters { noise: Some(Noise { std: 0.1, seed: 78 }), ..crop() }),
    ];
    let mut out = vec![f32::NAN; raw.values()];
    if semantics == Semantics::Reference {
        for (name, parameters) in cases {
            raw.render(&image, &parameters, &mut out, &mut scratch);
            golden.assert_equal(&format!("{prefix}.{name}"), &out, TOLERANCE);
        }
    }
    let chain = ViewParameters {
        flip: true,
        flip_vertical: true,
        quarter_turns: 3,
        rotation_degrees: Some(8.0),
        jitter: only(JitterStep::Contrast(0.8), neutral_brightness),
        channel_jitter: Some(ChannelJitter { strength: 0.1, seed: 5 }),
        blur_sigma: Some(0.9),
        noise: Some(Noise { std: 0.05, seed: 6 }),
        cutout: Some(Cutout { left: 0.5, top: 0.5, width: 0.4, height: 0.3 }),
        ..crop()
    };
    Views::new(normalised).unwrap().render(&image, &chain, &mut out, &mut scratch);
    golden.assert_equal(&format!("{prefix}.further_chain"), &out, 5.0 * TOLERANCE);
}

#[test]
fn what_the_paper_does_not_do_matches_torch_and_torchvision() {
    check_further_operations(Semantics::Reference, "reference", 0.0);
    check_further_operations(Semantics::Torchvision, "torchvision", 1.0);
}

#[test]
fn reference_semantics_match_the_formulas_in_torch() {
    check_operations(Semantics::Reference, "reference", 0.3, 0.0);
}

#[test]
fn torchvision_semantics_match_torchvision() {
    check_operations(Semantics::Torchvision, "torchvision", 1.3, 1.0);
}

#[test]
fn evaluation_preprocessing_matches() {
    let (golden, image, mut scratch) = (Golden::read(), photograph(), ViewScratch::default());
    let mut out = vec![f32::NAN; SIZE * SIZE * 3];
    for (name, semantics, resize) in [
        ("reference.evaluation", Semantics::Reference, EvaluationResize::CropThenResize),
        ("torchvision.evaluation", Semantics::Torchvision, EvaluationResize::CropThenResize),
        ("torchvision.evaluation_text", Semantics::Torchvision, EvaluationResize::ResizeThenCrop),
    ] {
        let config = EvaluationConfig {
            size_px: SIZE,
            resize,
            semantics,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            ..EvaluationConfig::default()
        };
        config.validate("evaluation").unwrap();
        config.render(&image, &mut out, &mut scratch);
        golden.assert_equal(name, &out, TOLERANCE);
    }
}
