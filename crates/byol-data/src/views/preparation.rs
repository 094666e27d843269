//! What [`EvaluationConfig::render`] and the reading before it do where their keys leave a choice, for programs that prepare
//! pictures themselves. `docs/preparation.md` states the whole algorithm.

use serde::{Deserialize, Serialize};

use super::evaluation::{EvaluationConfig, EvaluationResize};
use super::semantics::Semantics;
use crate::value_range::ValueRange;

/// Changes with every change of what comes out.
const ALGORITHM: u32 = 1;

/// How a file becomes the input of a network, as `encoder.json` states it under `preparation`. All of it follows from the
/// configuration; who reads a statement that differs from [`Self::of`] does not know how to prepare pictures for that encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Number of the algorithm in `docs/preparation.md`.
    pub algorithm: u32,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What the channels are.
    pub channels: Channels,
    /// Of the side of the square that is cut out, or of the shorter side that is resized to.
    pub side_rounding: Rounding,
    /// Of the place where the square begins, half of what is left over on an axis.
    pub start_rounding: Rounding,
    /// How an axis is resampled.
    pub filter: Filter,
    /// The values from which the mean is subtracted, after clipping.
    pub range: [f32; 2],
}

/// A step of the preparation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bytes → samples of the depth in the file.
    Decode,
    /// Samples → 16-bit intensities by `value_range`.
    ValueRange,
    /// The channels of the file → those of the network.
    Channels,
    /// The picture is turned and mirrored as its EXIF orientation says.
    Orientation,
    /// The centre square is cut out.
    Crop,
    /// Bicubic, rows before columns.
    Resize,
    /// To the range.
    Clip,
    /// `(x − mean) / std`.
    Normalise,
}

/// What the channels of a prepared picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Grey, or the luma of colours.
    Luma,
    /// Red, green, blue.
    Rgb,
    /// The same and alpha, full where there is none.
    RgbAlpha,
    /// Those of an array, as many as the network has.
    AsStored,
}

/// To a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// The largest that is not larger.
    Down,
    /// The smallest that is not smaller.
    Up,
    /// The nearest, of two the even one.
    HalfEven,
}

/// The filter of the resize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Its shape.
    pub kernel: Kernel,
    /// Its parameter: −1/2, as in TensorFlow, Pillow and torch's antialiased bicubic (OpenCV and torch without antialias have −3/4).
    pub a: f32,
    /// Whether it is stretched when a picture shrinks.
    pub antialias: bool,
    /// What becomes of taps beyond the edge.
    pub outside: Outside,
}

/// The shape of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// The cubic convolution of Keys (1981), of four pixels where it is not stretched.
    Cubic,
}

/// Taps of a filter beyond the edge of what is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// They are left out, and the weights of the others scaled to sum to 1.
    Dropped,
}

impl Preparation {
    /// The statement for pictures that are read with `value_range` and turned by their EXIF orientation or not.
    pub fn of(evaluation: &EvaluationConfig, value_range: Option<ValueRange>, exif_orientation: bool) -> Self {
        let (side_rounding, start_rounding, framing) = match evaluation.resize {
            EvaluationResize::CropThenResize => (Rounding::Down, Rounding::Up, [Step::Crop, Step::Resize]),
            EvaluationResize::ResizeThenCrop => (Rounding::HalfEven, Rounding::HalfEven, [Step::Resize, Step::Crop]),
        };
        let steps = [Step::Decode]
            .into_iter()
            .chain(value_range.map(|_| Step::ValueRange))
            .chain([Step::Channels])
            .chain(exif_orientation.then_some(Step::Orientation))
            .chain(framing)
            .chain([Step::Clip, Step::Normalise]);
        let channels = match evaluation.mean.len() {
            1 => Channels::Luma,
            3 => Channels::Rgb,
            4 => Channels::RgbAlpha,
            _ => Channels::AsStored,
        };
        let antialias = evaluation.semantics == Semantics::Torchvision;
        Self {
            algorithm: ALGORITHM,
            steps: steps.collect(),
            channels,
            side_rounding,
            start_rounding,
            filter: Filter { kernel: Kernel::Cubic, a: -0.5, antialias, outside: Outside::Dropped },
            range: [0.0, 1.0],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_statement_says_in_json_what_the_configuration_leaves_open() {
        let reference = Preparation::of(&EvaluationConfig::default(), None, true);
        let expected = json!({
            "algorithm": 1,
            "steps": ["decode", "channels", "orientation", "crop", "resize", "clip", "normalise"],
            "channels": "rgb",
            "side_rounding": "down",
            "start_rounding": "up",
            "filter": {"kernel": "cubic", "a": -0.5, "antialias": false, "outside": "dropped"},
            "range": [0.0, 1.0],
        });
        assert_eq!(serde_json::to_value(&reference).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Preparation>(expected).unwrap(), reference);
        let torchvision = EvaluationConfig {
            resize: EvaluationResize::ResizeThenCrop,
            semantics: Semantics::Torchvision,
            mean: vec![0.5],
            std: vec![0.25],
            ..EvaluationConfig::default()
        };
        let stated = Preparation::of(&torchvision, Some(ValueRange::Fixed([0.0, 4095.0])), false);
        assert_eq!(
            serde_json::to_value(&stated).unwrap(),
            json!({
                "algorithm": 1,
                "steps": ["decode", "value_range", "channels", "resize", "crop", "clip", "normalise"],
                "channels": "luma",
                "side_rounding": "half_even",
                "start_rounding": "half_even",
                "filter": {"kernel": "cubic", "a": -0.5, "antialias": true, "outside": "dropped"},
                "range": [0.0, 1.0],
            })
        );
    }
}
