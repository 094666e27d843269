//! ResNet encoder `f`: post-activation blocks with torchvision's parameter names.
//!
//! The defaults of two choices are torchvision's, so that weights carry over: symmetric padding, and no projection shortcut in the first
//! group of ResNet-18 and -34. [`ResNetConfig`] has the reference's, too: TensorFlow's "SAME", and a projection in every group.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::arch::{BlockKind, PaddingKind, ResNetConfig, Stem};
use super::layers::Conv2d;
use super::norm::{BatchNormMode, EPSILON, Norm};
use crate::ops::{self, Activation, Precision};

/// An encoder without classifier: pictures `[batch, height, width, channels]` → representation `y [batch, size]`.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: Norm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    #[module(skip)]
    stem: Stem,
    #[module(skip)]
    padding: PaddingKind,
}

impl ResNet {
    /// What the names of the last group's parameters begin with.
    pub const LAST_GROUP: &str = "layer4.";

    /// Builds the network for pictures of `input_channels` with zero weights; [`super::initialize`] fills them.
    pub fn new(config: &ResNetConfig, input_channels: usize, device: &Device) -> Self {
        let ResNetConfig { arch, stem, padding, norm, .. } = *config;
        let channels = arch.stem_channels();
        let window = match stem {
            Stem::Imagenet => [7, 2],
            Stem::Cifar => [3, 1],
        };
        let mut inputs = channels;
        let mut group = |index: usize| {
            let inner = channels << index;
            (0..arch.blocks()[index])
                .map(|block| {
                    let stride = if index > 0 && block == 0 { 2 } else { 1 };
                    let block = Block::new(config, block == 0, [inputs, inner], stride, device);
                    inputs = inner * arch.block_kind().expansion();
                    block
                })
                .collect()
        };
        Self {
            conv1: Conv2d::new(input_channels, channels, window, padding, device),
            bn1: Norm::new(norm, channels, device),
            layer1: group(0),
            layer2: group(1),
            layer3: group(2),
            layer4: group(3),
            stem,
            padding,
        }
    }

    /// The representation, in `f32`: global average pool of the last group. Activations are of type `precision`.
    pub fn forward(&mut self, images: Tensor<4>, mut mode: &BatchNormMode, precision: Precision) -> Tensor<2> {
        let x = self.before_last_group(images, &mut mode, precision);
        self.last_group(x, &mut mode)
    }

    /// The feature maps that the last group takes.
    pub fn before_last_group(
        &mut self,
        images: Tensor<4>,
        layers: &mut impl Layers,
        precision: Precision,
    ) -> Activation {
        let images = images.cast(precision.dtype()).into();
        let mut x = layers.pass(&self.conv1, &mut self.bn1, &images, None, true);
        if self.stem == Stem::Imagenet {
            x = ops::max_pool_3x3_stride_2(&x, self.padding.of(3), EPSILON);
        }
        let Self { layer1, layer2, layer3, .. } = self;
        [layer1, layer2, layer3].into_iter().flatten().fold(x, |x, block| block.forward(x, layers))
    }

    /// From there to the representation. Its parameters are those whose names begin with [`Self::LAST_GROUP`].
    pub fn last_group(&mut self, x: Activation, layers: &mut impl Layers) -> Tensor<2> {
        ops::global_average_pool(self.layer4.iter_mut().fold(x, |x, block| block.forward(x, layers)).values)
    }

    /// Multiply-adds of all convolutions for one picture of `size_px`, padding included; the first one's beside them.
    pub fn multiply_adds(&self, size_px: usize) -> (u64, u64) {
        let (stem, mut size) = self.conv1.multiply_adds(size_px);
        if self.stem == Stem::Imagenet {
            size = size.div_ceil(2);
        }
        let mut total = stem;
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            if let Some((conv, _)) = &block.downsample {
                total += conv.multiply_adds(size).0;
            }
            for conv in [Some(&block.conv1), Some(&block.conv2), block.conv3.as_ref()].into_iter().flatten() {
                let (own, output) = conv.multiply_adds(size);
                total += own;
                size = output;
            }
        }
        (stem, total)
    }

    /// Values of the largest feature map of one square picture: that of the stem or of the first group.
    pub fn largest_map(&self, size_px: usize) -> usize {
        let [channels, ..] = self.conv1.weight.dims();
        let stem = self.conv1.multiply_adds(size_px).1;
        let group = if self.stem == Stem::Imagenet { stem.div_ceil(2) } else { stem };
        let last = self.layer1.last().expect("a group has blocks");
        let [outputs, ..] = last.conv3.as_ref().unwrap_or(&last.conv2).weight.dims();
        (stem * stem * channels).max(group * group * outputs)
    }

    /// All blocks in the order of the forward pass.
    pub(super) fn blocks_mut(&mut self) -> impl Iterator<Item = &mut Block> {
        let Self { layer1, layer2, layer3, layer4, .. } = self;
        [layer1, layer2, layer3, layer4].into_iter().flatten()
    }
}

/// How a network passes its convolutions, each with its norm, an optional residual and ReLU if asked: in the order of the forward
/// pass, which is the same every time.
pub trait Layers {
    /// One layer.
    fn pass(
        &mut self,
        conv: &Conv2d,
        norm: &mut Norm,
        x: &Activation,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Activation;
}

/// As the mode of the batch norms says, with the weights as they are now.
impl Layers for &BatchNormMode {
    fn pass(
        &mut self,
        conv: &Conv2d,
        norm: &mut Norm,
        x: &Activation,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Activation {
        norm.after(conv, x, residual, relu, self)
    }
}

/// A residual block; `conv3` and `bn3` exist in bottlenecks only.
///
/// The stride sits on the first convolution of a basic block and on the 3×3 of a bottleneck ("v1.5").
#[derive(Module, Debug)]
pub(super) struct Block {
    conv1: Conv2d,
    bn1: Norm,
    conv2: Conv2d,
    bn2: Norm,
    conv3: Option<Conv2d>,
    bn3: Option<Norm>,
    downsample: Option<(Conv2d, Norm)>,
}

impl Block {
    fn new(config: &ResNetConfig, is_first: bool, [inputs, inner]: [usize; 2], stride: usize, device: &Device) -> Self {
        let ResNetConfig { arch, padding, first_group_projection, norm, .. } = *config;
        let outputs = inner * arch.block_kind().expansion();
        let conv = |inputs, outputs, window| Conv2d::new(inputs, outputs, window, padding, device);
        let norm = |channels| Norm::new(norm, channels, device);
        let projects = stride != 1 || inputs != outputs || (is_first && first_group_projection);
        let (first, second) = match arch.block_kind() {
            BlockKind::Basic => ([3, stride], 1),
            BlockKind::Bottleneck => ([1, 1], stride),
        };
        let bottleneck = arch.block_kind() == BlockKind::Bottleneck;
        Self {
            conv1: conv(inputs, inner, first),
            bn1: norm(inner),
            conv2: conv(inner, inner, [3, second]),
            bn2: norm(inner),
            conv3: bottleneck.then(|| conv(inner, outputs, [1, 1])),
            bn3: bottleneck.then(|| norm(outputs)),
            downsample: projects.then(|| (conv(inputs, outputs, [1, stride]), norm(outputs))),
        }
    }

    fn forward(&mut self, x: Activation, layers: &mut impl Layers) -> Activation {
        let shortcut = match &mut self.downsample {
            Some((conv, norm)) => layers.pass(conv, norm, &x, None, false),
            None => x.clone(),
        };
        let x = layers.pass(&self.conv1, &mut self.bn1, &x, None, true);
        match (&self.conv3, &mut self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let x = layers.pass(&self.conv2, &mut self.bn2, &x, None, true);
                layers.pass(conv3, bn3, &x, Some(&shortcut), true)
            }
            _ => layers.pass(&self.conv2, &mut self.bn2, &x, Some(&shortcut), true),
        }
    }

    /// The batch norm before the addition, in bottlenecks only: the one Haiku initialises with scale 0.
    pub(super) fn bottleneck_norm_mut(&mut self) -> Option<&mut Norm> {
        self.bn3.as_mut()
    }
}
