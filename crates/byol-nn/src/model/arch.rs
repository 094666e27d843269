//! Which ResNet: depth and width, as text (`resnet50`, `resnet50x2`, `resnet18x0.25`).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use byol_kernels::Padding;
use serde::{Deserialize, Serialize};

/// A post-activation ResNet of one of the paper's depths with its width multiplier (§3.3, C.2).
///
/// Widths are multiples of 1/64, so that every layer has a whole number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arch {
    depth: Depth,
    stem_channels: usize,
}

/// Number of layers, which decides the kind and number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Eighteen,
    ThirtyFour,
    Fifty,
    HundredOne,
    HundredFiftyTwo,
    TwoHundred,
}

const DEPTHS: [(usize, Depth); 6] = [
    (18, Depth::Eighteen),
    (34, Depth::ThirtyFour),
    (50, Depth::Fifty),
    (101, Depth::HundredOne),
    (152, Depth::HundredFiftyTwo),
    (200, Depth::TwoHundred),
];

/// Widths from 1/64 to 16.
const STEM_CHANNELS: RangeInclusive<usize> = 1..=1024;

/// Two 3×3 convolutions, or 1×1, 3×3, 1×1 with four times the channels at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// ResNet-18 and -34.
    Basic,
    /// ResNet-50 and deeper.
    Bottleneck,
}

impl BlockKind {
    /// Channels that leave a block, as a multiple of its inner channels.
    pub fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

impl Arch {
    /// Every depth with so many channels of the stem, from the lowest; none if no width has them.
    pub fn all(stem_channels: usize) -> impl Iterator<Item = Self> {
        let possible = STEM_CHANNELS.contains(&stem_channels);
        DEPTHS.into_iter().filter(move |_| possible).map(move |(_, depth)| Self { depth, stem_channels })
    }

    /// Blocks in each of the four groups (`networks.py` of the reference).
    pub fn blocks(self) -> [usize; 4] {
        match self.depth {
            Depth::Eighteen => [2, 2, 2, 2],
            Depth::ThirtyFour | Depth::Fifty => [3, 4, 6, 3],
            Depth::HundredOne => [3, 4, 23, 3],
            Depth::HundredFiftyTwo => [3, 8, 36, 3],
            Depth::TwoHundred => [3, 24, 36, 3],
        }
    }

    /// The kind of block.
    pub fn block_kind(self) -> BlockKind {
        match self.depth {
            Depth::Eighteen | Depth::ThirtyFour => BlockKind::Basic,
            _ => BlockKind::Bottleneck,
        }
    }

    /// Channels of the stem and of the first group's inner convolutions: 64 · width.
    pub fn stem_channels(self) -> usize {
        self.stem_channels
    }

    /// Size of the representation `y`: 512 · width for basic blocks, 2048 · width for bottlenecks.
    pub fn representation_size(self) -> usize {
        8 * self.stem_channels * self.block_kind().expansion()
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "unknown architecture {text:?}; expected resnet18, 34, 50, 101, 152 or 200, with an optional width \
                 such as x2 or x0.25 (a multiple of 1/64, at most 16)"
            )
        })
    }
}

fn parse(text: &str) -> Option<Arch> {
    let (layers, width) = match text.strip_prefix("resnet")?.split_once('x') {
        Some((layers, width)) => (layers, width.parse::<f64>().ok()?),
        None => (text.strip_prefix("resnet")?, 1.0),
    };
    let layers: usize = layers.parse().ok()?;
    let (_, depth) = DEPTHS.into_iter().find(|(number, _)| *number == layers)?;
    let channels = width * 64.0;
    // A number below 0 or none at all becomes 0, which no width has.
    let whole = channels.fract() == 0.0 && STEM_CHANNELS.contains(&(channels as usize));
    whole.then_some(Arch { depth, stem_channels: channels as usize })
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, _) = DEPTHS.into_iter().find(|(_, depth)| *depth == self.depth).unwrap_or(DEPTHS[0]);
        match self.stem_channels {
            64 => write!(f, "resnet{layers}"),
            channels => write!(f, "resnet{layers}x{}", channels as f64 / 64.0),
        }
    }
}

impl TryFrom<String> for Arch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Arch> for String {
    fn from(arch: Arch) -> Self {
        arch.to_string()
    }
}

/// What comes before the first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7×7 convolution with stride 2, then 3×3 max pooling with stride 2: for pictures of about 100 px and more.
    Imagenet,
    /// 3×3 convolution with stride 1, no pooling: for pictures of about 32 px.
    Cifar,
}

/// Zeros around the input of convolutions, and what pooling does not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingKind {
    /// `⌊kernel/2⌋` on every side: torchvision's.
    #[default]
    Symmetric,
    /// TensorFlow's "SAME": the reference's. For even sizes and stride 2 it has one more at the end than at the start.
    Same,
}

impl PaddingKind {
    /// For windows of this side.
    pub fn of(self, kernel: usize) -> Padding {
        match self {
            Self::Symmetric => Padding::Symmetric(kernel / 2),
            Self::Same => Padding::Same,
        }
    }
}

/// What normalises the activations inside a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Batch norm: the paper's.
    #[default]
    Batch,
    /// Group norm of 16 groups, or as many as divide both 16 and the channels, with standardised weights in convolutions: no statistics of
    /// the batch (the authors' follow-up, Richemond et al. 2020, arXiv 2010.10241).
    Group,
}

/// All that makes a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Depth and width.
    pub arch: Arch,
    /// What comes before the first group.
    pub stem: Stem,
    /// Around convolutions and the stem's pooling.
    pub padding: PaddingKind,
    /// Whether the first block of group 1 has a projection shortcut in ResNet-18 and -34, too: the reference has one, torchvision
    /// none. Deeper ones always have it.
    pub first_group_projection: bool,
    /// After every convolution.
    pub norm: NormKind,
}

impl ResNetConfig {
    /// As torchvision builds it.
    pub fn torchvision(arch: Arch, stem: Stem) -> Self {
        Self { arch, stem, padding: PaddingKind::Symmetric, first_group_projection: false, norm: NormKind::Batch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip_and_give_the_representation_size() {
        for (name, size) in [("resnet18", 512), ("resnet50", 2048), ("resnet50x4", 8192), ("resnet18x0.25", 128)] {
            let arch: Arch = name.parse().unwrap();
            assert_eq!(arch.to_string(), name);
            assert_eq!(arch.representation_size(), size);
        }
        assert_eq!("resnet50x1".parse::<Arch>().unwrap().to_string(), "resnet50");
    }

    #[test]
    fn nonsense_is_refused_with_the_names_that_exist() {
        for name in [
            "",
            "resnet",
            "resnet19",
            "vit_b",
            "resnet50x",
            "resnet50x0",
            "resnet50x0.01",
            "resnet50x-1",
            "resnet50xNaN",
        ] {
            let message = name.parse::<Arch>().unwrap_err();
            assert!(message.contains("resnet18"), "{message}");
        }
    }
}
