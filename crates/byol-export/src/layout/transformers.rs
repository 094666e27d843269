//! transformers: `ResNetModel` has any width, and torchvision's stem, padding and norm alone.

use byol_nn::encoder::EncoderInfo;
use byol_nn::model::BlockKind;
use byol_nn::{Error, Result};
use serde_json::{Value, json};

use super::differences;

/// # Errors
/// [`Error::Evaluation`] where `ResNetModel` cannot be this encoder.
pub fn check(info: &EncoderInfo) -> Result<()> {
    let differences = differences(info);
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Error::Evaluation(format!(
            "--format transformers: its ResNetModel has a 7×7 stem, symmetric padding and batch norm, and this encoder has {}; export it with \
             --format onnx, timm or torchvision",
            differences.join(" and ")
        ))),
    }
}

/// `config.json`.
pub fn config(info: &EncoderInfo) -> Value {
    let (stem, kind) = (info.arch.stem_channels(), info.arch.block_kind());
    let layer_type = match kind {
        BlockKind::Basic => "basic",
        BlockKind::Bottleneck => "bottleneck",
    };
    let hidden_sizes = [1, 2, 4, 8].map(|times| times * stem * kind.expansion());
    json!({
        "architectures": ["ResNetModel"],
        "model_type": "resnet",
        "num_channels": info.channels(),
        "embedding_size": stem,
        "hidden_sizes": hidden_sizes,
        "depths": info.arch.blocks(),
        "layer_type": layer_type,
        "hidden_act": "relu",
        "downsample_in_first_stage": false,
        "downsample_in_bottleneck": false,
        "torch_dtype": "float32",
    })
}
