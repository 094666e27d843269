//! How libraries name the parts of a ResNet.

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `conv1.weight`, `layer1.0.bn2.bias`, `layer2.0.downsample.1.running_var`: torchvision's, timm's ResNet's and our own.
    Torchvision,
    /// `stem.conv.weight`, `stages.0.blocks.0.norm2.bias`, `stages.1.blocks.0.downsample.norm.running_var`: timm's `resnetv2`.
    TimmV2,
    /// `embedder.embedder.convolution.weight`, `encoder.stages.0.layers.0.layer.1.normalization.bias`, `….shortcut.normalization.running_var`.
    Transformers,
}

impl Names {
    /// The name of the tensor that torchvision calls `name`.
    pub fn of(self, name: &str) -> String {
        let (module, tensor) = name.rsplit_once('.').unwrap_or(("", name));
        let parts: Vec<&str> = module.split('.').collect();
        let module = match (self, &parts[..]) {
            (Self::Torchvision, _) => return name.to_owned(),
            (Self::TimmV2, ["conv1"]) => "stem.conv".to_owned(),
            (Self::TimmV2, ["bn1"]) => "stem.norm".to_owned(),
            (Self::Transformers, ["conv1"]) => "embedder.embedder.convolution".to_owned(),
            (Self::Transformers, ["bn1"]) => "embedder.embedder.normalization".to_owned(),
            (_, [group, block, rest @ ..]) => {
                let stage = number(group) - 1;
                let part = self.inside(rest);
                match self {
                    Self::TimmV2 => format!("stages.{stage}.blocks.{block}.{part}"),
                    _ => format!("encoder.stages.{stage}.layers.{block}.{part}"),
                }
            }
            (_, other) => unreachable!("a ResNet has no {other:?}"),
        };
        format!("{module}.{tensor}")
    }

    /// The part of a block.
    fn inside(self, parts: &[&str]) -> String {
        match (self, parts) {
            (Self::TimmV2, ["downsample", "0"]) => "downsample.conv".to_owned(),
            (Self::TimmV2, ["downsample", _]) => "downsample.norm".to_owned(),
            (Self::TimmV2, [part]) => part.replace("bn", "norm"),
            (_, ["downsample", "0"]) => "shortcut.convolution".to_owned(),
            (_, ["downsample", _]) => "shortcut.normalization".to_owned(),
            (_, [part]) => {
                let kind = if part.starts_with("conv") { "convolution" } else { "normalization" };
                format!("layer.{}.{kind}", number(part) - 1)
            }
            (_, other) => unreachable!("a block has no {other:?}"),
        }
    }

    /// The other way round.
    pub fn torchvision(self, name: &str) -> String {
        let (module, tensor) = name.rsplit_once('.').unwrap_or(("", name));
        let parts: Vec<&str> = module.split('.').collect();
        let kind = |word: &str| if word.starts_with("conv") { "conv" } else { "bn" };
        let module = match (self, &parts[..]) {
            (Self::Torchvision, _) => return name.to_owned(),
            (Self::TimmV2, ["stem", part]) | (Self::Transformers, ["embedder", "embedder", part]) => {
                format!("{}1", kind(part))
            }
            (Self::TimmV2, ["stages", stage, "blocks", block, rest @ ..])
            | (Self::Transformers, ["encoder", "stages", stage, "layers", block, rest @ ..]) => {
                let part = match rest {
                    ["downsample" | "shortcut", part] => format!("downsample.{}", u8::from(kind(part) == "bn")),
                    ["layer", place, part] => format!("{}{}", kind(part), number(place) + 1),
                    [part] => part.replace("norm", "bn"),
                    _ => return name.to_owned(),
                };
                format!("layer{}.{block}.{part}", number(stage) + 1)
            }
            _ => return name.to_owned(),
        };
        format!("{module}.{tensor}")
    }
}

/// The number at the end of a name, `layer3` or `2`.
fn number(part: &str) -> usize {
    part.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_libraries_are_theirs_and_lead_back() {
        let cases = [
            ("conv1.weight", "stem.conv.weight", "embedder.embedder.convolution.weight"),
            ("bn1.running_var", "stem.norm.running_var", "embedder.embedder.normalization.running_var"),
            (
                "layer1.0.conv2.weight",
                "stages.0.blocks.0.conv2.weight",
                "encoder.stages.0.layers.0.layer.1.convolution.weight",
            ),
            (
                "layer4.11.bn3.num_batches_tracked",
                "stages.3.blocks.11.norm3.num_batches_tracked",
                "encoder.stages.3.layers.11.layer.2.normalization.num_batches_tracked",
            ),
            (
                "layer2.0.downsample.0.weight",
                "stages.1.blocks.0.downsample.conv.weight",
                "encoder.stages.1.layers.0.shortcut.convolution.weight",
            ),
            (
                "layer3.0.downsample.1.bias",
                "stages.2.blocks.0.downsample.norm.bias",
                "encoder.stages.2.layers.0.shortcut.normalization.bias",
            ),
        ];
        for (torchvision, timm, transformers) in cases {
            assert_eq!(Names::TimmV2.of(torchvision), timm);
            assert_eq!(Names::Transformers.of(torchvision), transformers);
            assert_eq!(Names::TimmV2.torchvision(timm), torchvision);
            assert_eq!(Names::Transformers.torchvision(transformers), torchvision);
            assert_eq!(Names::Torchvision.of(torchvision), torchvision);
        }
    }
}
