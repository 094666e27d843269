//! Encoders of other programs: a ResNet whose tensors have torchvision's names, found in a state dict.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics};

use super::{Encoder, EncoderInfo};
use crate::error::{Error, Result};
use crate::model::{Arch, BlockKind, ResNet, ResNetConfig, Stem};
use crate::ops::Precision;
use crate::weights::{self, StateDict};

/// A tensor that every ResNet has, and nothing else; what stands before it is the prefix.
const LANDMARK: &str = "layer1.0.conv1.weight";

/// Parts of a prefix that name a slowly moving copy of the network beside it: what such a file hands over is the other.
const SLOW_COPIES: [&str; 5] =
    ["encoder_k", "target_encoder", "target_network", "momentum_encoder", "momentum_backbone"];

/// Networks of one file that are looked at; more are no checkpoint of one encoder.
const MAX_NETWORKS: usize = 16;

/// A complete ResNet under one prefix.
struct Found<'a> {
    prefix: &'a str,
    resnet: ResNetConfig,
    channels: usize,
    names: Vec<String>,
}

/// Opens the ResNet in `dict`; see [`Encoder::open`] for what is inferred and assumed.
pub(super) fn open(dict: &StateDict, path: &Path, device: &Device) -> Result<Encoder> {
    let Found { prefix, resnet, channels, names } = find(dict, path)?;
    let tensors = dict.read(prefix, names.iter().map(String::as_str))?;
    let network = weights::fill(ResNet::new(&resnet, channels, device), "", &tensors, path)?;
    let file = path.file_name().unwrap_or(path.as_os_str()).display();
    let under = match prefix.strip_suffix('.') {
        Some(prefix) => format!(" under `{prefix}`"),
        None => String::new(),
    };
    let training = format!("weights of {file}{under} (not trained by byol)");
    let info = EncoderInfo::new(resnet, preprocessing(resnet.stem, channels), Precision::F32, training, 0, 0);
    Ok(Encoder { network, info })
}

/// The one ResNet of the file.
fn find<'a>(dict: &'a StateDict, path: &Path) -> Result<Found<'a>> {
    let wrong = |problem: String| {
        let expected = "expected the state dict of a ResNet-18, -34, -50, -101, -152 or -200 of any width with torchvision's \
                        names (no wide, grouped or other variants)";
        Error::path(path, format!("{problem}; {expected}"))
    };
    let mut prefixes: Vec<&str> = dict.names().filter_map(|name| name.strip_suffix(LANDMARK)).collect();
    prefixes.retain(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    prefixes.sort_by_key(|prefix| prefix.len());
    if prefixes.len() > MAX_NETWORKS {
        return Err(wrong(format!("{} networks in this file; save one of them alone", prefixes.len())));
    }
    let (mut complete, mut problems) = (Vec::new(), Vec::new());
    for prefix in &prefixes {
        match inspect(dict, prefix) {
            Ok(found) => complete.push(found),
            Err(problem) => problems.push(problem),
        }
    }
    if complete.len() > 1 {
        complete.retain(|found| !found.prefix.split('.').any(|part| SLOW_COPIES.contains(&part)));
    }
    // The same network under several names, as when a wrapper also keeps it as its own.
    while let [first, .., last] = &complete[..]
        && same(dict, first, last)?
    {
        complete.pop();
    }
    match (complete.pop(), problems.into_iter().next()) {
        (Some(found), _) if complete.is_empty() => Ok(found),
        (Some(_), _) => {
            let several: Vec<String> = prefixes.iter().map(|prefix| format!("`{prefix}`")).take(6).collect();
            Err(wrong(format!("several different networks, under {}; save one of them alone", several.join(", "))))
        }
        (None, Some(problem)) => Err(wrong(problem)),
        (None, None) => Err(wrong(match dict.names().next() {
            Some(first) => {
                format!("tensor `{LANDMARK}` is missing under every prefix; the first of the file is `{first}`")
            }
            None => "no tensors in this file".to_owned(),
        })),
    }
}

fn same(dict: &StateDict, one: &Found, other: &Found) -> Result<bool> {
    if one.names != other.names {
        return Ok(false);
    }
    for name in &one.names {
        let name = || std::iter::once(name.as_str());
        if dict.read(one.prefix, name())? != dict.read(other.prefix, name())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which ResNet is complete under `prefix`.
///
/// # Errors
/// The first tensor that is missing, has an unexpected shape or has no place.
fn inspect<'a>(dict: &StateDict, prefix: &'a str) -> std::result::Result<Found<'a>, String> {
    let shape = |name: &str| dict.shape(&format!("{prefix}{name}"));
    let first = shape("conv1.weight").ok_or_else(|| format!("tensor `{prefix}conv1.weight` is missing"))?;
    let (stem_channels, channels, stem) = match first {
        &[outputs, inputs, 7, 7] => (outputs, inputs, Stem::Imagenet),
        &[outputs, inputs, 3, 3] => (outputs, inputs, Stem::Cifar),
        other => {
            return Err(format!(
                "tensor `{prefix}conv1.weight` has shape {other:?}, expected [_, _, 7, 7] or [_, _, 3, 3]"
            ));
        }
    };
    let kind = match shape("layer1.0.conv3.weight") {
        Some(_) => BlockKind::Bottleneck,
        None => BlockKind::Basic,
    };
    let arch = closest(dict, prefix, kind, stem_channels)
        .ok_or_else(|| format!("tensor `{prefix}conv1.weight` has {stem_channels} outputs, expected 1 to 1024"))?;
    let first_group_projection = kind == BlockKind::Basic && shape("layer1.0.downsample.0.weight").is_some();
    let resnet = ResNetConfig { first_group_projection, ..ResNetConfig::torchvision(arch, stem) };
    let tensors = tensors(&resnet, channels);
    for (name, expected) in &tensors {
        match shape(name) {
            Some(got) if got == expected => {}
            Some(got) => {
                return Err(format!("tensor `{prefix}{name}` has shape {got:?}, expected {expected:?} as in {arch}"));
            }
            None => return Err(format!("tensor `{prefix}{name}` of {arch} is missing")),
        }
    }
    let names: Vec<String> = tensors.into_iter().map(|(name, _)| name).collect();
    // What computes inside of the network must be ours; what comes after it (`fc`, a projector, a queue) is left out.
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let inside = |name: &&str| {
        let part = name.split('.').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
        ["conv", "bn", "layer"].contains(&part)
    };
    let unknown = |name: &&str| !known.contains(name) && !name.ends_with(".num_batches_tracked");
    match dict.names().filter_map(|name| name.strip_prefix(prefix)).filter(inside).find(unknown) {
        Some(name) => Err(format!("tensor `{prefix}{name}` has no place in {arch}")),
        None => Ok(Found { prefix, resnet, channels, names }),
    }
}

/// The depth with the blocks that are there, else the lowest that has them all, else the highest, so that what is missing
/// or too much can be named. `None` for an impossible width.
fn closest(dict: &StateDict, prefix: &str, kind: BlockKind, stem_channels: usize) -> Option<Arch> {
    let mut blocks = [0usize; 4];
    for name in dict.names().filter_map(|name| name.strip_prefix(prefix)?.strip_prefix("layer")) {
        let mut parts = name.split('.');
        let mut number = || parts.next()?.parse::<usize>().ok();
        if let (Some(group @ 1..=4), Some(block)) = (number(), number()) {
            blocks[group - 1] = blocks[group - 1].max(block.saturating_add(1));
        }
    }
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
fn preprocessing(stem: Stem, channels: usize) -> EvaluationConfig {
    let default = EvaluationConfig::default();
    let (size_px, resize, crop_fraction) = match stem {
        Stem::Imagenet => (224, EvaluationResize::ResizeThenCrop, 0.875),
        Stem::Cifar => (32, EvaluationResize::CropThenResize, 1.0),
    };
    let (mean, std) = match channels == default.mean.len() {
        true => (default.mean, default.std),
        false => (vec![0.5; channels], vec![0.25; channels]),
    };
    EvaluationConfig { size_px, resize, crop_fraction, semantics: Semantics::Torchvision, mean, std }
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
