//! The encoder that is handed over: weights in torchvision's names and what must travel with them.

mod foreign;
mod haiku;
mod naming;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use byol_data::views::{EvaluationConfig, Preparation, Semantics};
use byol_data::{DataConfig, ValueRange};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::model::{Arch, FrozenResNet, NormKind, PaddingKind, ResNet, ResNetConfig, Stem, initialize};
use crate::ops::{self, Precision};
use crate::weights::{self, StateDict, StoredTensor, StoredTensors, Values};

/// Key in the header of our own files, which are not opened without their description.
const MADE_HERE: &str = "byol";

/// Key in the header of [`Encoder::to_bytes`], whose value is the description.
const DESCRIPTION: &str = "encoder";

/// An encoder with its preprocessing, ready for evaluation.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `f_θ`.
    pub network: ResNet,
    /// What it is and how pictures are prepared for it.
    pub info: EncoderInfo,
}

/// What [`Encoder::open_under`] found.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The encoder.
    pub encoder: Encoder,
    /// Which network of another program's file was taken, where that file left a choice; one line.
    pub note: Option<String>,
}

/// `encoder.json`: what must travel with the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderInfo {
    /// Architecture, for example `resnet18`.
    pub arch: Arch,
    /// `imagenet` or `cifar`.
    pub stem: Stem,
    /// `symmetric` as in torchvision, or `same` as in TensorFlow.
    #[serde(default)]
    pub padding: PaddingKind,
    /// Whether group 1 of a ResNet-18 or -34 has a projection shortcut, which torchvision's has not.
    #[serde(default)]
    pub first_group_projection: bool,
    /// `batch` as in torchvision, or `group`.
    #[serde(default)]
    pub norm: NormKind,
    /// Preprocessing: input size, crop, interpolation, mean and standard deviation.
    pub preprocessing: EvaluationConfig,
    /// `data.value_range` of the pictures it was trained on, if they were not taken as they are: it must see others alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_range: Option<ValueRange>,
    /// `data.exif_orientation` of the pictures it was trained on: whether they were turned upright.
    #[serde(default = "yes")]
    pub exif_orientation: bool,
    /// How pictures are resized, in words.
    pub interpolation: String,
    /// How pictures are prepared, to the pixel. Files of before it was stated mean the same.
    #[serde(default)]
    pub preparation: Option<Preparation>,
    /// Type of the activations, in training and in [`Encoder::represent`].
    pub precision: Precision,
    /// Size of the representation.
    pub representation_size: usize,
    /// Which output the size and every evaluation speak of.
    pub representation: String,
    /// How it was trained, in one line.
    pub training: String,
    /// Optimiser steps it was trained for.
    pub steps: u64,
    /// Batches seen by each batch norm, two per micro-batch; torchvision's `num_batches_tracked`.
    pub batch_norm_updates: u64,
}

impl Opened {
    /// With the `encoder.json` in the folder of the weights, where it describes this network: exports have one.
    fn described_beside(self, path: &Path, device: &Device) -> Self {
        let info = std::fs::read(path.with_file_name("encoder.json")).ok();
        let info = info.and_then(|json| serde_json::from_slice::<EncoderInfo>(&json).ok()).map(EncoderInfo::stated);
        let own = &self.encoder.info;
        let is_same = |info: &EncoderInfo| {
            (info.arch, info.stem, info.norm, info.channels()) == (own.arch, own.stem, own.norm, own.channels())
                && info.preprocessing.validate("preprocessing").is_ok()
        };
        let Some(info) = info.filter(is_same) else { return self };
        let mut tensors = StoredTensors::new();
        weights::collect(&self.encoder.network, "", &mut tensors);
        // Padding is of the network.
        match weights::fill(ResNet::new(&info.resnet(), info.channels(), device), "", &tensors, path) {
            Err(_) => self,
            Ok(network) => {
                let note = "what these weights do not say is taken from encoder.json beside them".to_owned();
                Self { encoder: Encoder { network, info }, note: Some(note) }
            }
        }
    }
}

impl EncoderInfo {
    /// The same of an encoder that was trained on pictures read in this way.
    pub fn reading(self, data: &DataConfig) -> Self {
        let DataConfig { value_range, exif_orientation, .. } = *data;
        Self { value_range, exif_orientation, ..self }.stated()
    }

    /// The same with the statement of how pictures are prepared that belongs to its other fields.
    fn stated(self) -> Self {
        let preparation = Preparation::of(&self.preprocessing, self.value_range, self.exif_orientation);
        Self { preparation: Some(preparation), ..self }
    }

    /// The description of an encoder of this architecture after `steps` steps and `batch_norm_updates` training batches.
    pub fn new(
        resnet: ResNetConfig,
        preprocessing: EvaluationConfig,
        precision: Precision,
        training: String,
        steps: u64,
        batch_norm_updates: u64,
    ) -> Self {
        let interpolation = match preprocessing.semantics {
            Semantics::Reference => "bicubic, not antialiased",
            Semantics::Torchvision => "bicubic, antialiased",
        };
        let ResNetConfig { arch, stem, padding, first_group_projection, norm } = resnet;
        Self {
            arch,
            stem,
            padding,
            first_group_projection,
            norm,
            preprocessing,
            value_range: None,
            exif_orientation: true,
            interpolation: interpolation.to_owned(),
            preparation: None,
            precision,
            representation_size: arch.representation_size(),
            representation:
                "online encoder after global average pooling, before the projector; batch norm in inference mode"
                    .to_owned(),
            training,
            steps,
            batch_norm_updates,
        }
        .stated()
    }

    /// The network.
    pub fn resnet(&self) -> ResNetConfig {
        let Self { arch, stem, padding, first_group_projection, norm, .. } = *self;
        ResNetConfig { arch, stem, padding, first_group_projection, norm }
    }

    /// Channels of the pictures it takes.
    pub fn channels(&self) -> usize {
        self.preprocessing.mean.len()
    }
}

impl Encoder {
    /// Opens a run folder, a `.safetensors` file with its `.json` beside it, weights of another program, or
    /// `random:ARCH[:STEM[:SIZE]]`.
    ///
    /// Weights of another program are a safetensors file without a `.json`, what `torch.save` wrote of a state dict or
    /// module, in any of its forms, or a pickle of arrays; see [`StateDict`]. In it is one ResNet with torchvision's names,
    /// with places in a `Sequential` in place of them (`backbone.0.weight`, `backbone.4.0.conv1.weight`), or with Haiku's
    /// (`online_params.res_net50/~/initial_conv.w`), under any prefix (`state_dict.module.`…). Of several equal ones the first is taken, and a slowly moving copy (`encoder_k`,
    /// `target_encoder`, `teacher`, `state_dict_ema`) does not count beside its origin; [`Self::open_under`] names it. Depth, width, channels and the kernel of the stem follow from
    /// names and shapes. What a file does not say is assumed:
    ///
    /// - A 7×7 stem has stride 2 and max pooling; pictures are resized to 256 px, cut to 224 px and normalised with
    ///   ImageNet's mean and deviation. That is torchvision's, but for its bilinear filter: ours is bicubic, antialiased.
    /// - A 3×3 stem has stride 1 and no pooling; the largest square of a picture is resized to 32 px, the rest is the same.
    /// - Padding is symmetric; a projection shortcut in group 1 of a ResNet-18 or -34 is seen by its names.
    /// - Under Haiku's names, padding is TensorFlow's "SAME", and pictures are prepared as BYOL's reference evaluates: the
    ///   centre square of 7/8 of the shorter side (with a 3×3 stem all of it), resized without antialias.
    /// - With other than 3 channels, each has mean ½ and deviation ¼.
    ///
    /// What follows the network (`fc`, projectors, queues) and `num_batches_tracked` are left out.
    ///
    /// # Errors
    /// [`Error::Path`] or [`Error::Io`] for missing or malformed files, [`Error::Evaluation`] for a wrong `random:`.
    pub fn open(text: &str, device: &Device) -> Result<Self> {
        Ok(Self::open_under(text, None, device)?.encoder)
    }

    /// As [`Self::open`]; of the networks in a file of another program that under `prefix`: all before its names
    /// (`state_dict.backbone_momentum`), or some of the parts between dots (`backbone_momentum`).
    ///
    /// # Errors
    /// As of [`Self::open`]; [`Error::Flag`] for a prefix that nothing stands under, or with what has none.
    pub fn open_under(text: &str, prefix: Option<&str>, device: &Device) -> Result<Opened> {
        let path = Path::new(text);
        match Self::foreign(text, path)? {
            Some(weights) => Ok(foreign::open(&weights, path, prefix, device)?.described_beside(path, device)),
            None => {
                let encoder = Self::open_ours(text, path, device)?;
                match prefix {
                    None => Ok(Opened { encoder, note: None }),
                    Some(prefix) => {
                        let expected = format!("none with {text}, which is one encoder");
                        Err(Error::Flag { flag: "--prefix", expected, got: prefix.to_owned() })
                    }
                }
            }
        }
    }

    /// The weights in `path` if another program made them.
    fn foreign(text: &str, path: &Path) -> Result<Option<StateDict>> {
        let is_file = !text.starts_with("random:") && !path.is_dir() && path.exists();
        if !is_file || (path.with_extension("json").exists() && !StateDict::is_pytorch(path)?) {
            return Ok(None);
        }
        let weights = StateDict::open(path)?;
        Ok(Some(weights).filter(|weights| weights.metadata(MADE_HERE).is_none()))
    }

    fn open_ours(text: &str, path: &Path, device: &Device) -> Result<Self> {
        if let Some(description) = text.strip_prefix("random:") {
            return Self::parse_random(description, device);
        }
        if path.is_dir() {
            let weights = path.join("encoder.safetensors");
            if !weights.exists() {
                let problem = format!(
                    "no encoder.safetensors in this folder; expected a run folder with at least one checkpoint, a \
                     .safetensors or PyTorch file, or random:ARCH{}",
                    beside(path)
                );
                return Err(Error::path(path, problem));
            }
            return Self::load(&weights, device);
        }
        if !path.exists() {
            let problem = "no such encoder; expected a run folder, a .safetensors or PyTorch file, or random:ARCH \
                           (random:resnet18)";
            return Err(Error::path(path, problem));
        }
        Self::load(path, device)
    }

    /// A network of random weights with the same architecture and preprocessing: the baseline.
    pub fn random_like(info: &EncoderInfo, seed: u64, device: &Device) -> Self {
        let network = initialize(ResNet::new(&info.resnet(), info.channels(), device), seed, "online.encoder");
        let training = format!("none (random weights, seed {seed})");
        let info = EncoderInfo { training, steps: 0, batch_norm_updates: 0, ..info.clone() };
        Self { network, info }
    }

    /// Representations `y [batch, size]` (0 or more, not normalised) of prepared pictures `[batch, height, width, channels]`,
    /// f32, normalised by mean and standard deviation; batch-norm statistics stay frozen.
    pub fn represent(&mut self, images: Tensor<4>) -> Tensor<2> {
        self.frozen().forward(images)
    }

    /// [`Encoder::represent`] for many batches, which prepares the weights once.
    pub fn frozen(&mut self) -> FrozenResNet<'_> {
        FrozenResNet::new(&mut self.network, ops::possible_precision(self.info.precision))
    }

    /// Writes `encoder.safetensors` and `encoder.json` into `folder`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut tensors = StoredTensors::new();
        weights::collect(&self.network, "", &mut tensors);
        let norms: Vec<String> =
            tensors.keys().filter_map(|name| Some(name.strip_suffix("running_mean")?.to_owned())).collect();
        for norm in norms {
            let updates = Values::I64(vec![self.info.batch_norm_updates as i64]);
            tensors.insert(format!("{norm}num_batches_tracked"), StoredTensor { shape: vec![], values: updates });
        }
        let metadata = [("format", "pt"), (MADE_HERE, "architecture and preprocessing are in encoder.json")];
        let metadata = BTreeMap::from(metadata.map(|(key, value)| (key.to_owned(), value.to_owned())));
        weights::save(&folder.join("encoder.safetensors"), &tensors, metadata)?;
        let json = serde_json::to_string_pretty(&self.info).expect("plain fields have a JSON form");
        write_atomically(&folder.join("encoder.json"), |writer| writeln!(writer, "{json}"))
    }

    /// Description and weights in one, for another process of this program: [`Self::from_bytes`] gives the same encoder.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = StoredTensors::new();
        weights::collect(&self.network, "", &mut tensors);
        let description = serde_json::to_string(&self.info).expect("plain fields have a JSON form");
        weights::to_bytes(&tensors, BTreeMap::from([(DESCRIPTION.to_owned(), description)]))
    }

    /// The encoder that [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it did not, or what arrived is not what was sent.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let path = Path::new("an encoder of another process");
        let (tensors, metadata) = weights::from_bytes(bytes, path)?;
        let description = metadata.get(DESCRIPTION).map(String::as_str).unwrap_or_default();
        let info: EncoderInfo = serde_json::from_str(description)
            .map_err(|error| Error::Damaged { path: path.to_owned(), problem: error.to_string() })?;
        let network = weights::fill(ResNet::new(&info.resnet(), info.channels(), device), "", &tensors, path)?;
        Ok(Self { network, info })
    }

    fn load(weights_path: &Path, device: &Device) -> Result<Self> {
        let json_path = weights_path.with_extension("json");
        if !json_path.exists() {
            let problem = format!(
                "missing; the architecture and the preprocessing of {} are in it, so keep the two files together",
                weights_path.display()
            );
            return Err(Error::path(&json_path, problem));
        }
        let json = std::fs::read(&json_path).map_err(Error::io("read", &json_path))?;
        let weights = std::fs::read(weights_path).map_err(Error::io("read", weights_path))?;
        Self::from_files(&json, &weights, weights_path, device)
    }

    /// The encoder in the contents of `encoder.json` and `encoder.safetensors`; `weights_path` is what errors name, with its ending for the
    /// former.
    ///
    /// # Errors
    /// [`Error::Path`] and [`Error::Damaged`] for contents that [`Self::save`] does not write.
    pub fn from_files(json: &[u8], weights: &[u8], weights_path: &Path, device: &Device) -> Result<Self> {
        let json_path = weights_path.with_extension("json");
        let damaged = |problem: &dyn Display| {
            Error::path(&json_path, format!("not an encoder description: {problem}; restore it from a copy"))
        };
        let info: EncoderInfo = serde_json::from_slice(json).map_err(|error| damaged(&error))?;
        info.preprocessing
            .validate("preprocessing")
            .map_err(|error| damaged(&format!("{}: expected {}, got {}", error.key, error.expected, error.got)))?;
        let (size, got) = (info.arch.representation_size(), info.representation_size);
        if got != size {
            return Err(damaged(&format!("representation_size: expected {size} of {}, got {got}", info.arch)));
        }
        let stated = info.preparation.clone();
        let info = info.stated();
        if stated.is_some() && stated != info.preparation {
            let as_json = |preparation| serde_json::to_string(preparation).expect("plain fields have a JSON form");
            let problem = format!(
                "preparation: expected {}, which is how this version prepares pictures, got {}; use the version that made it",
                as_json(&info.preparation),
                as_json(&stated)
            );
            return Err(Error::path(&json_path, problem));
        }
        let (tensors, _) = weights::from_bytes(weights, weights_path)?;
        let network = weights::fill(ResNet::new(&info.resnet(), info.channels(), device), "", &tensors, weights_path)?;
        Ok(Self { network, info })
    }

    fn parse_random(description: &str, device: &Device) -> Result<Self> {
        let wrong = |problem: String| {
            Error::Evaluation(format!(
                "random:{description}: {problem}; expected random:ARCH[:STEM[:SIZE]], for example random:resnet18:cifar:32"
            ))
        };
        let mut parts = description.split(':');
        let arch: Arch = parts.next().unwrap_or_default().parse().map_err(wrong)?;
        let stem = match parts.next() {
            None | Some("imagenet") => Stem::Imagenet,
            Some("cifar") => Stem::Cifar,
            Some(other) => return Err(wrong(format!("unknown stem {other:?}"))),
        };
        let mut preprocessing = EvaluationConfig::default();
        if let Some(size) = parts.next() {
            preprocessing.size_px = size.parse().map_err(|_| wrong(format!("{size:?} is no size in pixels")))?;
            preprocessing
                .validate("")
                .map_err(|error| wrong(format!("the size must be {}, got {}", error.expected, error.got)))?;
        }
        if parts.next().is_some() {
            return Err(wrong("too many parts".to_owned()));
        }
        let info =
            EncoderInfo::new(ResNetConfig::torchvision(arch, stem), preprocessing, Precision::F32, String::new(), 0, 0);
        Ok(Self::random_like(&info, 0, device))
    }
}

/// For serde.
fn yes() -> bool {
    true
}

/// Files in a folder that may be the weights that were meant, as the end of a sentence.
fn beside(folder: &Path) -> String {
    const ENDINGS: [&str; 7] = ["safetensors", "pth", "pt", "ckpt", "bin", "tar", "pkl"];
    let names =
        |entries: std::fs::ReadDir| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = std::fs::read_dir(folder).into_iter().flat_map(names).collect();
    if found.iter().any(|name| name == "saved_model.pb") {
        return "; this is a model of TensorFlow, which is not read".to_owned();
    }
    found.retain(|name| name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending)));
    found.sort();
    match &found[..] {
        [] => String::new(),
        [first, ..] => format!("; give the file itself, for example {}", folder.join(first).display()),
    }
}
