//! How a picture is prepared for evaluation: the same pixels every time (spec §3.2, paper App. C.1).

use pulp::Arch;
use serde::{Deserialize, Serialize};

use super::config::{IMAGENET_MEAN, IMAGENET_STD, InvalidConfig, check, check_frame};
use super::crop::CropBox;
use super::rendering::{Rendering, ViewScratch};
use super::resize::ResizePlan;
use super::semantics::Semantics;
use crate::Image;

/// Whether the centre is cut out before or after the resize. Both show the same part of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationResize {
    /// The reference's code: the centre square of side `⌊crop_fraction · min(height, width)⌋`, resized to the size.
    CropThenResize,
    /// The paper's text: the shorter side resized to `round(size / crop_fraction)`, then the centre square cut out.
    ResizeThenCrop,
}

/// The evaluation preprocessing. The default is the reference's at 224 px.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Side of the result in pixels, 1 to 8192.
    pub size_px: usize,
    /// Which of crop and resize comes first.
    pub resize: EvaluationResize,
    /// Side of the centre square as a fraction of the shorter side, in `(0, 1]`. Paper: 0.875 = 224/256.
    pub crop_fraction: f32,
    /// Decides about the bicubic filter: no antialias (reference) or antialias (torchvision).
    pub semantics: Semantics,
    /// One number per channel, subtracted after the values are in `[0, 1]`.
    pub mean: Vec<f32>,
    /// One positive number per channel, which divides it.
    pub std: Vec<f32>,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            size_px: 224,
            resize: EvaluationResize::CropThenResize,
            crop_fraction: 0.875,
            semantics: Semantics::Reference,
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
        }
    }
}

impl EvaluationConfig {
    /// Checks every key; `table` is the dotted name of the table it sits in, such as `evaluation`.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub fn validate(&self, table: &str) -> Result<(), InvalidConfig> {
        check_frame(table, self.size_px, &self.mean, &self.std)?;
        let fraction = self.crop_fraction;
        check(table, "crop_fraction", fraction > 0.0 && fraction <= 1.0, fraction, || {
            "a number above 0 and at most 1".into()
        })
    }

    /// Renders `image` into `out`, `[size_px, size_px, channels]`, normalised.
    ///
    /// An odd margin puts the crop half a pixel lower and further right when cropping first (as TensorFlow's
    /// preprocessing does, `(margin + 1) / 2`) and rounds half to even when cropping last (as torchvision does).
    ///
    /// # Panics
    /// When `out` has another length, the image has other channels than the configuration or that is not valid.
    pub fn render(&self, image: &Image, out: &mut [f32], scratch: &mut ViewScratch) {
        let antialias = self.semantics == Semantics::Torchvision;
        let plan = match self.resize {
            EvaluationResize::CropThenResize => {
                ResizePlan::square(self.centre_square(image.width_px(), image.height_px()), self.size_px, antialias)
            }
            EvaluationResize::ResizeThenCrop => self.resized_centre(image.width_px(), image.height_px(), antialias),
        };
        scratch.set_size(self.size_px, image.channels());
        let Self { mean, std, .. } = self;
        Arch::new().dispatch(Rendering { image, plan: &plan, parameters: None, mean, std, out, scratch });
    }

    fn centre_square(&self, width_px: usize, height_px: usize) -> CropBox {
        let shorter = width_px.min(height_px);
        let side = ((f64::from(self.crop_fraction) * shorter as f64).floor() as usize).clamp(1, shorter);
        CropBox {
            left_px: (width_px - side).div_ceil(2),
            top_px: (height_px - side).div_ceil(2),
            width_px: side,
            height_px: side,
        }
    }

    fn resized_centre(&self, width_px: usize, height_px: usize, antialias: bool) -> ResizePlan {
        let size = self.size_px;
        let shorter = ((size as f64 / f64::from(self.crop_fraction)).round_ties_even() as usize).max(size);
        // The longer side is cut to a whole number, as torchvision's `Resize` does.
        let resized_px = [width_px, height_px].map(|side| side * shorter / width_px.min(height_px));
        let [columns, rows] = resized_px.map(|side| {
            let start = ((side - size) as f64 / 2.0).round_ties_even() as usize;
            start..start + size
        });
        let crop = CropBox::whole(width_px, height_px);
        ResizePlan { resized_px, columns, rows, ..ResizePlan::square(crop, size, antialias) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_square_has_the_stated_side_and_place() {
        let config = EvaluationConfig::default();
        assert_eq!(config.centre_square(400, 450), CropBox { left_px: 25, top_px: 50, width_px: 350, height_px: 350 });
        let odd = config.centre_square(35, 33);
        assert_eq!(odd, CropBox { left_px: 4, top_px: 3, width_px: 28, height_px: 28 });
        let whole = EvaluationConfig { crop_fraction: 1.0, ..config };
        assert_eq!(whole.centre_square(32, 32), CropBox::whole(32, 32));
        assert_eq!(whole.centre_square(1, 9), CropBox { left_px: 0, top_px: 4, width_px: 1, height_px: 1 });
    }

    #[test]
    fn the_shorter_side_becomes_256_for_224() {
        let plan = EvaluationConfig::default().resized_centre(400, 450, false);
        assert_eq!(plan.resized_px, [256, 288]);
        assert_eq!((plan.columns, plan.rows), (16..240, 32..256));
    }

    #[test]
    fn both_orders_show_the_same_part_of_a_smooth_image() {
        let (width, height) = (80, 64);
        let pixels = (0..width * height)
            .flat_map(|i| [(i % width * 3) as u8, (i / width * 3) as u8, ((i % width + i / width) * 3 / 2) as u8])
            .collect();
        let image = Image::rgb8(width, height, pixels);
        let mut scratch = ViewScratch::default();
        let mut render = |resize| {
            let config =
                EvaluationConfig { size_px: 28, resize, mean: vec![0.0; 3], std: vec![1.0; 3], ..Default::default() };
            let mut out = vec![0.0; 28 * 28 * 3];
            config.render(&image, &mut out, &mut scratch);
            out
        };
        let (first, last) = (render(EvaluationResize::CropThenResize), render(EvaluationResize::ResizeThenCrop));
        for (a, b) in first.iter().zip(&last) {
            assert!((a - b).abs() < 2.0 / 255.0, "{a} {b}");
        }
    }

    #[test]
    fn a_wrong_fraction_is_reported_under_its_dotted_key() {
        for crop_fraction in [0.0, 1.1, f32::NAN] {
            let config = EvaluationConfig { crop_fraction, ..Default::default() };
            assert_eq!(config.validate("evaluation").unwrap_err().key, "evaluation.crop_fraction");
        }
        EvaluationConfig::default().validate("evaluation").unwrap();
    }
}
