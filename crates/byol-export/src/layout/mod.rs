//! Weights as the libraries of PyTorch open them: tensors under their names, and a description.

mod deep_stem;
mod names;
mod stored;
mod timm;
mod transformers;

use byol_nn::encoder::EncoderInfo;
use byol_nn::model::{PaddingKind, Stem};
use byol_nn::weights::{StoredTensor, StoredTensors, Values};
use byol_nn::{Error, Result};

use crate::{Format, Number};
use names::Names;
use timm::Timm;

pub use stored::round_weights;

/// Which library, and how it expresses this encoder.
#[derive(Debug)]
pub enum Layout {
    Torchvision,
    Timm(Timm),
    Transformers,
}

impl Layout {
    /// # Errors
    /// [`Error::Evaluation`] where the library has no such network.
    pub fn of(format: Format, info: &EncoderInfo) -> Result<Self> {
        match format {
            Format::Torchvision => Ok(Self::Torchvision),
            Format::Timm => Ok(Self::Timm(Timm::of(info))),
            Format::Transformers => transformers::check(info).map(|()| Self::Transformers),
            Format::Onnx => Err(Error::Evaluation("ONNX has no names of tensors".to_owned())),
        }
    }

    /// What whoever opens the files must know; the rest they find in `encoder.json`.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Torchvision | Self::Transformers => None,
            Self::Timm(timm) => timm.note(),
        }
    }

    fn names(&self) -> Names {
        match self {
            Self::Torchvision => Names::Torchvision,
            Self::Timm(timm) => timm.names(),
            Self::Transformers => Names::Transformers,
        }
    }

    /// The files, that of the weights first: by their names in a folder, or their endings.
    pub fn files(
        &self,
        info: &EncoderInfo,
        encoder: &StoredTensors,
        heads: Option<&StoredTensors>,
        weights: Number,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let mut tensors = encoder.clone();
        count_batches(&mut tensors, info);
        if let Self::Timm(timm) = self {
            timm.pad(&mut tensors, info);
        }
        let tensors = tensors.into_iter().map(|(name, tensor)| (self.names().of(&name), tensor)).collect();
        let tensors = stored::to_bytes(&tensors, weights);
        let description = serde_json::to_vec_pretty(info).expect("plain fields have a JSON form");
        let heads = heads.map(|heads| stored::to_bytes(heads, weights));
        let json = |value: serde_json::Value| serde_json::to_vec_pretty(&value).expect("plain fields have a JSON form");
        let mut files = match self {
            Self::Torchvision => vec![("safetensors", tensors), ("json", description)],
            Self::Timm(timm) => {
                vec![
                    ("model.safetensors", tensors),
                    ("config.json", json(timm.config(info))),
                    ("encoder.json", description),
                ]
            }
            Self::Transformers => vec![
                ("model.safetensors", tensors),
                ("config.json", json(transformers::config(info))),
                ("encoder.json", description),
            ],
        };
        if let Some(heads) = heads {
            files.push(("heads.safetensors", heads));
        }
        files
    }

    /// The encoder's tensors in a file of this layout, by torchvision's names.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is no such file.
    pub fn read(&self, file: &[u8]) -> Result<StoredTensors> {
        let mut tensors = stored::from_bytes(file)?;
        tensors.retain(|_, tensor| matches!(tensor.values, Values::F32(_)));
        let mut tensors: StoredTensors =
            tensors.into_iter().map(|(name, tensor)| (self.names().torchvision(&name), tensor)).collect();
        if let Self::Timm(timm) = self {
            timm.unpad(&mut tensors);
        }
        Ok(tensors)
    }
}

/// Adds `num_batches_tracked` to every batch norm, which PyTorch's have.
fn count_batches(tensors: &mut StoredTensors, info: &EncoderInfo) {
    let norms: Vec<String> =
        tensors.keys().filter_map(|name| Some(name.strip_suffix("running_mean")?.to_owned())).collect();
    for norm in norms {
        let updates = Values::I64(vec![info.batch_norm_updates as i64]);
        tensors.insert(format!("{norm}num_batches_tracked"), StoredTensor { shape: vec![], values: updates });
    }
}

/// What makes a network another one than torchvision, timm or transformers build, in words; none for a network like theirs of some width.
fn differences(info: &EncoderInfo) -> Vec<&'static str> {
    let is_basic = info.arch.block_kind() == byol_nn::model::BlockKind::Basic;
    let found = [
        (info.stem == Stem::Cifar, "a 3×3 stem of stride 1"),
        (info.padding == PaddingKind::Same, "padding as in TensorFlow"),
        (info.norm == byol_nn::model::NormKind::Group, "group norm with standardised weights"),
        (info.first_group_projection && is_basic, "a projection in the first group"),
    ];
    found.into_iter().filter_map(|(differs, words)| differs.then_some(words)).collect()
}
