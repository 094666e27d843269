//! ResNet encoder `f`: post-activation blocks, torchvision's parameter names and padding.
//!
//! Two deliberate differences from the reference: symmetric padding (the reference pads as TensorFlow's "SAME"), and no
//! projection shortcut in the first group of ResNet-18 and -34. Both are torchvision's choice, so that weights carry over.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::arch::{Arch, BlockKind, Stem};
use super::layers::{BatchNorm, BatchNormMode, Conv2d, EPSILON};
use crate::ops::{self, Activation, Precision};

/// An encoder without classifier: pictures `[batch, height, width, channels]` → representation `y [batch, size]`.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    #[module(skip)]
    stem: Stem,
}

impl ResNet {
    /// Builds the network for pictures of `input_channels` with zero weights; [`super::initialize`] fills them.
    pub fn new(arch: Arch, stem: Stem, input_channels: usize, device: &Device) -> Self {
        let channels = arch.stem_channels();
        let (kernel, stride) = match stem {
            Stem::Imagenet => (7, 2),
            Stem::Cifar => (3, 1),
        };
        let mut inputs = channels;
        let mut group = |index: usize| {
            let inner = channels << index;
            (0..arch.blocks()[index])
                .map(|block| {
                    let stride = if index > 0 && block == 0 { 2 } else { 1 };
                    let block = Block::new(arch.block_kind(), inputs, inner, stride, device);
                    inputs = inner * arch.block_kind().expansion();
                    block
                })
                .collect()
        };
        Self {
            conv1: Conv2d::new(input_channels, channels, kernel, stride, device),
            bn1: BatchNorm::new(channels, device),
            layer1: group(0),
            layer2: group(1),
            layer3: group(2),
            layer4: group(3),
            stem,
        }
    }

    /// The representation, in `f32`: global average pool of the last group. Activations are of type `precision`.
    pub fn forward(&mut self, images: Tensor<4>, mode: BatchNormMode, precision: Precision) -> Tensor<2> {
        let images = images.cast(precision.dtype()).into();
        let mut x = self.bn1.after(&self.conv1, &images, None, true, mode);
        if self.stem == Stem::Imagenet {
            x = ops::max_pool_3x3_stride_2(&x, EPSILON).into();
        }
        for block in self.blocks_mut() {
            x = block.forward(x, mode);
        }
        ops::global_average_pool(x.values)
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

    /// All blocks in the order of the forward pass.
    pub(super) fn blocks_mut(&mut self) -> impl Iterator<Item = &mut Block> {
        let Self { layer1, layer2, layer3, layer4, .. } = self;
        [layer1, layer2, layer3, layer4].into_iter().flatten()
    }
}

/// A residual block; `conv3` and `bn3` exist in bottlenecks only.
///
/// The stride sits on the first convolution of a basic block and on the 3×3 of a bottleneck ("v1.5").
#[derive(Module, Debug)]
pub(super) struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm>,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Block {
    fn new(kind: BlockKind, inputs: usize, inner: usize, stride: usize, device: &Device) -> Self {
        let outputs = inner * kind.expansion();
        let downsample = (stride != 1 || inputs != outputs)
            .then(|| (Conv2d::new(inputs, outputs, 1, stride, device), BatchNorm::new(outputs, device)));
        let (first, second) = match kind {
            BlockKind::Basic => ((3, stride), 1),
            BlockKind::Bottleneck => ((1, 1), stride),
        };
        let bottleneck = kind == BlockKind::Bottleneck;
        Self {
            conv1: Conv2d::new(inputs, inner, first.0, first.1, device),
            bn1: BatchNorm::new(inner, device),
            conv2: Conv2d::new(inner, inner, 3, second, device),
            bn2: BatchNorm::new(inner, device),
            conv3: bottleneck.then(|| Conv2d::new(inner, outputs, 1, 1, device)),
            bn3: bottleneck.then(|| BatchNorm::new(outputs, device)),
            downsample,
        }
    }

    fn forward(&mut self, x: Activation, mode: BatchNormMode) -> Activation {
        let shortcut = match &mut self.downsample {
            Some((conv, norm)) => norm.after(conv, &x, None, false, mode).values,
            None => x.values.clone(),
        };
        let x = self.bn1.after(&self.conv1, &x, None, true, mode);
        match (&self.conv3, &mut self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let x = self.bn2.after(&self.conv2, &x, None, true, mode);
                bn3.after(conv3, &x, Some(shortcut), true, mode)
            }
            _ => self.bn2.after(&self.conv2, &x, Some(shortcut), true, mode),
        }
    }

    /// The batch norm before the addition, in bottlenecks only: the one Haiku initialises with scale 0.
    pub(super) fn bottleneck_norm_mut(&mut self) -> Option<&mut BatchNorm> {
        self.bn3.as_mut()
    }
}
