//! timm: which of its networks an encoder is, and `config.json`.
//!
//! | encoder | timm's network |
//! |---|---|
//! | width 1 | `resnet18` to `resnet200`, the names as they are |
//! | basic blocks, narrower | `resnet18` or `34` with `channels`; its stem has 64 channels whatever these are, so that ours is filled up with zeros, and the first block gets a projection that cuts them off again: the same numbers |
//! | basic blocks, wider, from 36 channels per channel of the pictures | `resnet18` or `34` with a [deep stem](super::deep_stem) of the same numbers |
//! | bottlenecks of another width | `resnetv2_50` with `layers`, `channels`, `stem_chs`, `preact = false` |
//! | all else | none: `byol_resnet`, which `import byol.timm` of our Python package makes known |

use byol_nn::encoder::EncoderInfo;
use byol_nn::model::{BlockKind, Norm};
use byol_nn::weights::{StoredTensor, StoredTensors, Values};
use serde_json::{Value, json};

use super::deep_stem::{join, split, units};
use super::differences;
use super::names::Names;

/// Channels of the stem of timm's `resnet18`, whatever the blocks have.
const STEM_CHANNELS: usize = 64;

/// Widths of timm's `resnetv2` are whole multiples of so many channels.
const V2_CHANNELS: usize = 8;

/// Which of timm's networks it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timm {
    /// Its ResNet as it is.
    Plain,
    /// Its ResNet with narrower blocks behind a stem filled up with zeros; the channels of ours.
    FilledUp { stem_channels: usize },
    /// Its ResNet with wider blocks behind its deep stem; the channels of the pictures.
    DeepStem { channels: usize },
    /// Its `resnetv2` without pre-activation.
    V2,
    /// None of its own.
    Registered,
}

impl Timm {
    pub fn of(info: &EncoderInfo) -> Self {
        let width = info.arch.stem_channels();
        let differences = differences(info);
        let only_projects = differences.iter().all(|words| words.contains("projection"));
        match info.arch.block_kind() {
            _ if width == STEM_CHANNELS && differences.is_empty() => Self::Plain,
            BlockKind::Basic if width < STEM_CHANNELS && only_projects => Self::FilledUp { stem_channels: width },
            BlockKind::Basic
                if differences.is_empty() && width.is_multiple_of(2) && width / 2 >= units(info.channels()) =>
            {
                Self::DeepStem { channels: info.channels() }
            }
            BlockKind::Bottleneck if differences.is_empty() && width.is_multiple_of(V2_CHANNELS) => Self::V2,
            _ => Self::Registered,
        }
    }

    pub fn names(self) -> Names {
        if self == Self::V2 { Names::TimmV2 } else { Names::Torchvision }
    }

    pub fn note(self) -> Option<String> {
        let note =
            "timm has no such network: after `pip install ./python`, `import byol.timm` makes it known as byol_resnet";
        (self == Self::Registered).then(|| note.to_owned())
    }

    /// `config.json`. A classifier of 0 classes, in both places, makes timm load strictly.
    pub fn config(self, info: &EncoderInfo) -> Value {
        let (arch, preprocessing) = (info.arch, &info.preprocessing);
        let (stem, expansion) = (arch.stem_channels(), arch.block_kind().expansion());
        let channels = [1, 2, 4, 8].map(|times| times * stem * expansion);
        let depth = arch.to_string();
        let depth = depth.split('x').next().unwrap_or_default();
        let (architecture, mut arguments, first, classifier) = match self {
            Self::Plain => (depth, json!({}), "conv1", "fc"),
            Self::FilledUp { .. } => (depth, json!({"channels": channels}), "conv1", "fc"),
            Self::DeepStem { .. } => {
                (depth, json!({"channels": channels, "stem_type": "deep", "stem_width": stem / 2}), "conv1.0", "fc")
            }
            Self::V2 => {
                let arguments =
                    json!({"layers": arch.blocks(), "channels": channels, "stem_chs": stem, "preact": false});
                ("resnetv2_50", arguments, "stem.conv", "head.fc")
            }
            Self::Registered => {
                let arguments = json!({
                    "arch": arch, "stem": info.stem, "padding": info.padding,
                    "first_group_projection": info.first_group_projection, "norm": info.norm,
                });
                ("byol_resnet", arguments, "conv1", "fc")
            }
        };
        arguments["num_classes"] = json!(0);
        if info.channels() != 3 {
            arguments["in_chans"] = json!(info.channels());
        }
        let side = preprocessing.size_px;
        json!({
            "architecture": architecture,
            "num_classes": 0,
            "num_features": info.representation_size,
            "global_pool": "avg",
            "model_args": arguments,
            "pretrained_cfg": {
                "input_size": [info.channels(), side, side],
                "fixed_input_size": false,
                "interpolation": "bicubic",
                "crop_pct": preprocessing.crop_fraction,
                "crop_mode": "center",
                "mean": preprocessing.mean,
                "std": preprocessing.std,
                "num_classes": 0,
                "first_conv": first,
                "classifier": classifier,
            },
        })
    }

    /// Makes the stem one that timm has.
    pub fn pad(self, tensors: &mut StoredTensors, info: &EncoderInfo) {
        match self {
            Self::Plain | Self::V2 | Self::Registered => {}
            Self::FilledUp { stem_channels } => fill_up(tensors, info, stem_channels),
            Self::DeepStem { .. } => split(tensors, info.arch.stem_channels() / 2),
        }
    }

    /// Undoes [`Self::pad`] for tensors that the encoder has.
    pub fn unpad(self, tensors: &mut StoredTensors) {
        match self {
            Self::Plain | Self::V2 | Self::Registered => {}
            Self::FilledUp { stem_channels: width } => {
                for name in ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"] {
                    resize(tensors, name, 0, width, 0.0);
                }
                for name in ["layer1.0.conv1.weight", "layer1.0.downsample.0.weight"] {
                    resize(tensors, name, 1, width, 0.0);
                }
            }
            Self::DeepStem { channels } => join(tensors, channels),
        }
    }
}

/// Zeros up to the channels of timm's stem, and a projection in the first block that cuts them off.
fn fill_up(tensors: &mut StoredTensors, info: &EncoderInfo, width: usize) {
    resize(tensors, "conv1.weight", 0, STEM_CHANNELS, 0.0);
    for (part, filled) in [("weight", 0.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
        resize(tensors, &format!("bn1.{part}"), 0, STEM_CHANNELS, filled);
    }
    let shortcut = |part: &str| format!("layer1.0.downsample.{part}");
    if !tensors.contains_key(&shortcut("0.weight")) {
        let mut insert = |part: &str, shape: Vec<usize>, values: Vec<f32>| {
            tensors.insert(shortcut(part), StoredTensor { shape, values: Values::F32(values) });
        };
        let identity = (0..width * width).map(|at| f32::from(u8::from(at % width == at / width))).collect();
        insert("0.weight", vec![width, width, 1, 1], identity);
        insert("1.weight", vec![width], vec![1.0; width]);
        insert("1.bias", vec![width], vec![0.0; width]);
        insert("1.running_mean", vec![width], vec![0.0; width]);
        // With ε it is 1.
        insert("1.running_var", vec![width], vec![1.0 - Norm::EPSILON; width]);
        let updates = Values::I64(vec![info.batch_norm_updates as i64]);
        tensors.insert(shortcut("1.num_batches_tracked"), StoredTensor { shape: vec![], values: updates });
    }
    resize(tensors, "layer1.0.conv1.weight", 1, STEM_CHANNELS, 0.0);
    resize(tensors, &shortcut("0.weight"), 1, STEM_CHANNELS, 0.0);
}

/// Gives an axis of the tensor `name` another length: what it has too much is cut off, what it lacks is `filled`.
fn resize(tensors: &mut StoredTensors, name: &str, axis: usize, length: usize, filled: f32) {
    let Some(StoredTensor { shape, values: Values::F32(values) }) = tensors.get_mut(name) else { return };
    let inner: usize = shape[axis + 1..].iter().product();
    let row = |row: &[f32]| {
        let mut row = row.to_vec();
        row.resize(length * inner, filled);
        row
    };
    *values = values.chunks_exact(shape[axis] * inner).flat_map(row).collect();
    shape[axis] = length;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_filled_up_and_cut_off_again() {
        let before = StoredTensor { shape: vec![2, 1, 2], values: Values::F32(vec![1.0, 2.0, 3.0, 4.0]) };
        let mut tensors = StoredTensors::from([("x".to_owned(), before.clone())]);
        resize(&mut tensors, "x", 1, 2, 9.0);
        let expected = vec![1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0, 9.0];
        assert_eq!(tensors["x"], StoredTensor { shape: vec![2, 2, 2], values: Values::F32(expected) });
        resize(&mut tensors, "x", 1, 1, 0.0);
        assert_eq!(tensors["x"], before);
    }
}
