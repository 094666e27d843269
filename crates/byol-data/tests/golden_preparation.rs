//! The evaluation preprocessing against `tests/golden/preparation.py`, which was written from `docs/preparation.md`.

use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics, ViewScratch};
use byol_data::{Image, Samples};

/// In values normalised by a deviation of 0.2 and more. Both sides differ by the rounding of `f32` only.
const TOLERANCE: f32 = 2e-5;

struct Case {
    width_px: usize,
    height_px: usize,
    channels: usize,
    largest: usize,
    size_px: usize,
    crop_fraction: f32,
    resize: EvaluationResize,
    semantics: Semantics,
}

impl Case {
    fn picture(&self) -> Image {
        let &Self { width_px, height_px, channels, largest, .. } = self;
        let places = (0..height_px)
            .flat_map(|y| (0..width_px).flat_map(move |x| (0..channels).map(move |channel| (x, y, channel))));
        let values = places.map(|(x, y, channel)| {
            (x * 37 + y * 101 + x * y * 13 + channel * 59 + x * x * 7) * (largest / 255) % (largest + 1)
        });
        let samples = match largest {
            255 => Samples::U8(values.map(|value| value as u8).collect()),
            _ => Samples::U16(values.map(|value| value as u16).collect()),
        };
        Image::new(width_px, height_px, channels, samples)
    }

    fn evaluation(&self) -> EvaluationConfig {
        let &Self { channels, size_px, crop_fraction, resize, semantics, .. } = self;
        let by_channel = |first: f64, step: f64| (0..channels).map(|c| (first + step * c as f64) as f32).collect();
        let (mean, std) = (by_channel(0.1, 0.1), by_channel(0.2, 0.05));
        EvaluationConfig { size_px, resize, crop_fraction, semantics, mean, std }
    }
}

fn cases() -> Vec<Case> {
    use EvaluationResize::{CropThenResize as CropFirst, ResizeThenCrop as CropLast};
    use Semantics::{Reference, Torchvision};
    [
        (96, 80, 3, 255, 12, 0.875, CropFirst, Reference),
        (96, 80, 3, 255, 12, 0.875, CropFirst, Torchvision),
        (96, 80, 3, 255, 12, 0.875, CropLast, Reference),
        (96, 80, 3, 255, 12, 0.875, CropLast, Torchvision),
        (41, 33, 3, 255, 9, 0.9, CropFirst, Reference),
        (33, 42, 1, 65_535, 9, 0.9, CropFirst, Torchvision),
        (33, 42, 4, 65_535, 10, 0.7, CropLast, Torchvision),
        (10, 30, 3, 255, 7, 0.9, CropFirst, Reference),
        (10, 30, 3, 255, 7, 0.9, CropLast, Torchvision),
        (5, 5, 3, 255, 16, 1.0, CropFirst, Torchvision),
        (6, 5, 3, 255, 16, 0.51, CropLast, Reference),
        (3, 2, 3, 255, 8, 1.0, CropLast, Torchvision),
        (1, 37, 3, 255, 6, 0.875, CropFirst, Torchvision),
        (53, 1, 3, 255, 6, 0.875, CropLast, Reference),
        (1, 1, 3, 255, 5, 0.01, CropFirst, Torchvision),
        (7, 200, 2, 65_535, 11, 0.6, CropLast, Torchvision),
    ]
    .map(|(width_px, height_px, channels, largest, size_px, crop_fraction, resize, semantics)| Case {
        width_px,
        height_px,
        channels,
        largest,
        size_px,
        crop_fraction,
        resize,
        semantics,
    })
    .into()
}

#[test]
fn pictures_of_all_shapes_are_prepared_as_the_page_states() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/preparation.bin");
    let golden = std::fs::read(path).unwrap();
    let mut expected = golden.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let mut scratch = ViewScratch::default();
    for (place, case) in cases().iter().enumerate() {
        let evaluation = case.evaluation();
        evaluation.validate("evaluation").unwrap();
        let mut out = vec![f32::NAN; case.size_px * case.size_px * case.channels];
        evaluation.render(&case.picture(), &mut out, &mut scratch);
        let expected: Vec<f32> = expected.by_ref().take(out.len()).collect();
        assert_eq!(expected.len(), out.len(), "case {place}: the golden file ends");
        let worst = out.iter().zip(&expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
        assert!(out.iter().all(|value| value.is_finite()) && worst <= TOLERANCE, "case {place}: differs by {worst}");
    }
    assert_eq!(expected.next(), None, "the golden file has more cases");
}
