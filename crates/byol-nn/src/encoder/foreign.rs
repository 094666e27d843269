//! Encoders of other programs: a ResNet found in a state dict, and which of several is meant.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics};

use super::naming::{self, Naming};
use super::{Encoder, EncoderInfo, Opened};
use crate::error::{Error, Result};
use crate::model::{Arch, BlockKind, PaddingKind, ResNet, ResNetConfig, Stem};
use crate::ops::Precision;
use crate::weights::{self, StateDict, StoredTensors};

/// Words in a prefix that name a slowly moving copy of the network beside it: what such a file hands over is the other.
/// `momentum_encoder`, `target_network`, `teacher.backbone`, `state_dict_ema`, `encoder_k`.
const SLOW_WORDS: [&str; 23] = [
    "target",
    "teacher",
    "momentum",
    "ema",
    "modelema",
    "emamodel",
    "k",
    "key",
    "m",
    "t",
    "swa",
    "avg",
    "average",
    "averaged",
    "polyak",
    "shadow",
    "slow",
    "targetnet",
    "teachernet",
    "mean",
    "moving",
    "offline",
    "mom",
];

/// Networks of one file that are looked at; more are no checkpoint of one encoder.
const MAX_NETWORKS: usize = 16;

/// A complete ResNet.
struct Found {
    naming: Naming,
    resnet: ResNetConfig,
    channels: usize,
    /// As torchvision calls them.
    names: Vec<String>,
}

impl Found {
    fn is_slow(&self) -> bool {
        is_slow(&self.naming.prefix)
    }

    /// The tensors under torchvision's names.
    fn read(&self, dict: &StateDict) -> Result<StoredTensors> {
        let theirs: Vec<String> = self.names.iter().map(|name| self.naming.of(name)).collect();
        let mut tensors = dict.read("", theirs.iter().map(String::as_str))?;
        let renamed =
            self.names.iter().zip(&theirs).filter_map(|(ours, theirs)| Some((ours.clone(), tensors.remove(theirs)?)));
        Ok(renamed.collect())
    }
}

/// Opens a ResNet in `dict`, that under `asked` if it is given; see [`Encoder::open`] for what is inferred and assumed.
pub(super) fn open(dict: &StateDict, path: &Path, asked: Option<&str>, device: &Device) -> Result<Opened> {
    let (found, others) = find(dict, path, asked)?;
    // First, for it refuses what repeats values: a small file may ask for a huge network.
    let tensors = found.read(dict)?;
    let network = weights::fill(ResNet::new(&found.resnet, found.channels, device), "", &tensors, path)?;
    let file = path.file_name().unwrap_or(path.as_os_str()).display();
    let under = match found.naming.shown() {
        "" => String::new(),
        prefix => format!(" under `{prefix}`"),
    };
    let note = note(&found, &others).map(|note| format!("{file}: {note}"));
    let training = format!("weights of {file}{under} (not trained by byol)");
    let semantics = if found.naming.is_haiku() { Semantics::Reference } else { Semantics::Torchvision };
    let preprocessing = preprocessing(found.resnet.stem, semantics, found.channels);
    let info = EncoderInfo::new(found.resnet, preprocessing, Precision::F32, training, 0, 0);
    Ok(Opened { encoder: Encoder { network, info }, note })
}

/// What was taken where the file left a choice, and what was assumed where programs differ.
fn note(found: &Found, others: &[String]) -> Option<String> {
    let taken = quoted(found.naming.shown());
    let what = if found.is_slow() { ", a slowly moving copy" } else { "" };
    let choice = match others {
        [] if found.is_slow() => Some(format!("took the network under {taken}{what}; the file has no other")),
        [] => None,
        [first, ..] => {
            let listed: Vec<String> = others.iter().map(|other| quoted(other)).collect();
            let how = if first.is_empty() { "\"\"" } else { first };
            Some(format!("took the network under {taken}{what}; it also has {} (--prefix {how})", listed.join(", ")))
        }
    };
    let haiku = found.naming.is_haiku().then(|| {
        let blocks = match found.resnet.arch.block_kind() {
            BlockKind::Basic => "; its blocks are taken for those of Haiku 0.0.4 and later, which no file says",
            BlockKind::Bottleneck => "",
        };
        format!(
            "its names are Haiku's, so padding is \"SAME\" and pictures are prepared as BYOL's reference does (bicubic, not \
             antialiased){blocks}"
        )
    });
    let stem = (found.resnet.stem == Stem::Cifar).then(|| {
        "its stem of 3×3 is taken for one of stride 1 and padding 1 without pooling, which no file says".to_owned()
    });
    let notes: Vec<String> = choice.into_iter().chain(haiku).chain(stem).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn quoted(prefix: &str) -> String {
    match prefix {
        "" => "no prefix".to_owned(),
        prefix => format!("`{prefix}`"),
    }
}

fn is_slow(prefix: &str) -> bool {
    let mut words = String::new();
    let mut is_after_small = false;
    for c in prefix.chars() {
        // `targetNetwork`.
        if !c.is_alphanumeric() || (c.is_uppercase() && is_after_small) {
            words.push(' ');
        }
        is_after_small = c.is_lowercase();
        words.extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
    }
    words.split(' ').any(|word| SLOW_WORDS.contains(&word))
}

/// Whether the parts of `asked` stand one after the other in `prefix`.
fn is_under(prefix: &str, asked: &str) -> bool {
    match asked.trim_matches('.') {
        "" => prefix.is_empty(),
        asked => format!(".{prefix}").contains(&format!(".{asked}.")),
    }
}

/// The one ResNet that is meant, and the prefixes of those that are not.
fn find(dict: &StateDict, path: &Path, asked: Option<&str>) -> Result<(Found, Vec<String>)> {
    let wrong = |problem: String| {
        let expected = "expected the state dict of a ResNet-18, -34, -50, -101, -152 or -200 of any width with torchvision's \
                        names, places in a Sequential for them, or Haiku's names (no wide, grouped or other variants)";
        Error::path(path, format!("{problem}; {expected}"))
    };
    let listed = |prefixes: &[String]| {
        let shown: Vec<String> = prefixes.iter().map(|prefix| quoted(prefix)).take(MAX_NETWORKS).collect();
        shown.join(", ")
    };
    let (mut namings, mut problems) = naming::find(dict);
    let all: Vec<String> = namings.iter().map(|naming| naming.shown().to_owned()).collect();
    if let Some(asked) = asked {
        // One that is named in full is meant, whatever holds its name.
        let is_whole = |naming: &Naming| naming.shown() == asked.trim_matches('.');
        match namings.iter().any(is_whole) {
            true => namings.retain(is_whole),
            false => namings.retain(|naming| is_under(&naming.prefix, asked)),
        }
        if namings.is_empty() && !all.is_empty() {
            let expected = format!("a part of one of the prefixes in {}: {}", path.display(), listed(&all));
            return Err(Error::Flag { flag: "--prefix", expected, got: asked.to_owned() });
        }
    }
    if namings.len() > MAX_NETWORKS {
        return Err(wrong(format!(
            "{} networks in this file; choose one with --prefix, as in {}",
            namings.len(),
            quoted(&all[0])
        )));
    }
    let mut complete = Vec::new();
    for naming in namings {
        match inspect(dict, naming) {
            Ok(found) => complete.push(found),
            Err(problem) => problems.push(problem),
        }
    }
    if complete.iter().any(|found| !found.is_slow()) {
        complete.retain(|found| !found.is_slow());
    }
    let mut equal = BTreeSet::new();
    // The same network under several names, as when a wrapper also keeps it as its own.
    while let [first, .., last] = &complete[..]
        && same(dict, first, last)?
    {
        equal.extend(complete.pop().map(|found| found.naming.shown().to_owned()));
    }
    match (complete.pop(), problems.into_iter().next()) {
        (Some(found), _) if complete.is_empty() => {
            let is_other = |prefix: &String| prefix != found.naming.shown() && !equal.contains(prefix);
            let others = all.into_iter().filter(is_other).collect();
            Ok((found, others))
        }
        (Some(found), _) => {
            complete.push(found);
            let several: Vec<String> = complete.iter().map(|found| found.naming.shown().to_owned()).collect();
            let problem =
                format!("several different networks, under {}; choose one of them with --prefix", listed(&several));
            Err(Error::path(path, problem))
        }
        (None, Some(problem)) => Err(wrong(problem)),
        (None, None) => Err(wrong(match dict.names().next() {
            Some(first) => {
                format!(
                    "no tensor `layer1.0.conv1.weight` or the like under any prefix; the first of the file is `{first}`"
                )
            }
            None => "no tensors in this file".to_owned(),
        })),
    }
}

fn same(dict: &StateDict, one: &Found, other: &Found) -> Result<bool> {
    Ok(one.names == other.names && one.read(dict)? == other.read(dict)?)
}

/// Which ResNet is complete there.
///
/// # Errors
/// The first tensor that is missing, has an unexpected shape or has no place.
fn inspect(dict: &StateDict, naming: Naming) -> std::result::Result<Found, String> {
    let shape = |name: &str| dict.shape(&naming.of(name));
    let conv = naming.of("conv1.weight");
    let first = dict.shape(&conv).ok_or_else(|| format!("tensor `{conv}` is missing"))?;
    let (stem_channels, channels, stem) = match first {
        &[outputs, inputs, 7, 7] => (outputs, inputs, Stem::Imagenet),
        &[outputs, inputs, 3, 3] => (outputs, inputs, Stem::Cifar),
        other => return Err(format!("tensor `{conv}` has shape {other:?}, expected [_, _, 7, 7] or [_, _, 3, 3]")),
    };
    let kind = match shape("layer1.0.conv3.weight") {
        Some(_) => BlockKind::Bottleneck,
        None => BlockKind::Basic,
    };
    let arch = closest(dict, &naming, kind, stem_channels)
        .ok_or_else(|| format!("tensor `{conv}` has {stem_channels} outputs, expected 1 to 1024"))?;
    let first_group_projection = kind == BlockKind::Basic && shape("layer1.0.downsample.0.weight").is_some();
    let padding = if naming.is_haiku() { PaddingKind::Same } else { PaddingKind::Symmetric };
    let resnet = ResNetConfig { first_group_projection, padding, ..ResNetConfig::torchvision(arch, stem) };
    let tensors = tensors(&resnet, channels);
    for (name, expected) in &tensors {
        let full = naming.of(name);
        match dict.shape(&full) {
            Some(got) if got == expected => {}
            Some(got) => return Err(format!("tensor `{full}` has shape {got:?}, expected {expected:?} as in {arch}")),
            None => return Err(format!("tensor `{full}` of {arch} is missing")),
        }
    }
    let names: Vec<String> = tensors.into_iter().map(|(name, _)| name).collect();
    // What computes inside of the network must be ours; what comes after it (`fc`, a projector, a queue) is left out.
    let known: BTreeSet<String> = names.iter().map(|name| naming.of(name)).collect();
    match dict.names().filter(|name| naming.is_inside(name)).find(|name| !known.contains(*name)) {
        Some(name) => Err(format!("tensor `{name}` has no place in {arch}")),
        None => Ok(Found { naming, resnet, channels, names }),
    }
}

/// The depth with the blocks that are there, else the lowest that has them all, else the highest, so that what is missing
/// or too much can be named. `None` for an impossible width.
fn closest(dict: &StateDict, naming: &Naming, kind: BlockKind, stem_channels: usize) -> Option<Arch> {
    let blocks: [usize; 4] =
        std::array::from_fn(|group| naming.blocks(dict, group).max().map_or(0, |last| last.saturating_add(1)));
    let has_all = |arch: &Arch| arch.blocks().iter().zip(&blocks).all(|(has, there)| has >= there);
    let of_kind = || Arch::all(stem_channels).filter(|arch| arch.block_kind() == kind);
    of_kind().find(|arch| arch.blocks() == blocks).or_else(|| of_kind().find(has_all)).or_else(|| of_kind().last())
}

/// Names and shapes of all tensors of [`ResNet::new`], without their memory.
fn tensors(resnet: &ResNetConfig, channels: usize) -> Vec<(String, Vec<usize>)> {
    let ResNetConfig { arch, stem, first_group_projection, .. } = *resnet;
    let mut tensors = Vec::new();
    let mut layer = |conv: &str, norm: &str, [inputs, outputs, kernel]: [usize; 3]| {
        tensors.push((format!("{conv}.weight"), vec![outputs, inputs, kernel, kernel]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![outputs]));
        }
    };
    let kernel = match stem {
        Stem::Imagenet => 7,
        Stem::Cifar => 3,
    };
    let mut inputs = arch.stem_channels();
    layer("conv1", "bn1", [channels, inputs, kernel]);
    for (group, blocks) in arch.blocks().into_iter().enumerate() {
        let inner = arch.stem_channels() << group;
        let outputs = inner * arch.block_kind().expansion();
        for block in 0..blocks {
            let at = |part: &str| format!("layer{}.{block}.{part}", group + 1);
            let convolutions: &[[usize; 3]] = match arch.block_kind() {
                BlockKind::Basic => &[[inputs, inner, 3], [inner, outputs, 3]],
                BlockKind::Bottleneck => &[[inputs, inner, 1], [inner, inner, 3], [inner, outputs, 1]],
            };
            for (place, &sizes) in (1..).zip(convolutions) {
                layer(&at(&format!("conv{place}")), &at(&format!("bn{place}")), sizes);
            }
            if (block == 0 && (group > 0 || first_group_projection)) || inputs != outputs {
                layer(&at("downsample.0"), &at("downsample.1"), [inputs, outputs, 1]);
            }
            inputs = outputs;
        }
    }
    tensors
}

/// What such weights are usually evaluated with; a file does not say.
fn preprocessing(stem: Stem, semantics: Semantics, channels: usize) -> EvaluationConfig {
    let default = EvaluationConfig::default();
    let (size_px, resize, crop_fraction) = match (stem, semantics) {
        (Stem::Imagenet, Semantics::Torchvision) => (224, EvaluationResize::ResizeThenCrop, 0.875),
        (Stem::Imagenet, Semantics::Reference) => (224, EvaluationResize::CropThenResize, 0.875),
        (Stem::Cifar, _) => (32, EvaluationResize::CropThenResize, 1.0),
    };
    let (mean, std) = match channels == default.mean.len() {
        true => (default.mean, default.std),
        false => (vec![0.5; channels], vec![0.25; channels]),
    };
    EvaluationConfig { size_px, resize, crop_fraction, semantics, mean, std }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::visit_tensors;

    #[test]
    fn the_expected_tensors_are_those_of_the_network() {
        let device = Device::flex();
        let of_torchvision = |(arch, stem)| ResNetConfig::torchvision(arch, stem);
        let mut networks: Vec<_> =
            Arch::all(1).zip([Stem::Imagenet, Stem::Cifar].into_iter().cycle()).map(of_torchvision).collect();
        networks.extend(networks.clone().into_iter().map(|n| ResNetConfig { first_group_projection: true, ..n }));
        for resnet in networks {
            let mut actual = Vec::new();
            visit_tensors(&ResNet::new(&resnet, 5, &device), |tensor| {
                actual.push((tensor.name.to_owned(), tensor.shape));
            });
            let mut expected = tensors(&resnet, 5);
            actual.sort();
            expected.sort();
            assert_eq!(actual, expected, "{resnet:?}");
        }
    }
}
