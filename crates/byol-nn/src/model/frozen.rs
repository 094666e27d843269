//! An encoder whose weights stay as they are while it represents pictures.

use std::slice;

use burn::tensor::Tensor;

use super::layers::Conv2d;
use super::norm::{BatchNormMode, Norm};
use super::resnet::{Layers, ResNet};
use crate::ops::{self, Activation, ConvNorm, Folded, Precision};

/// A [`ResNet`] by running statistics, for many batches: each batch norm is folded into the weights of its convolution, and these are
/// packed for the processor, once and not per batch. As long as it lives nobody can change the network.
#[derive(Debug)]
pub struct FrozenResNet<'a> {
    network: &'a mut ResNet,
    precision: Precision,
    /// The layers before the last group, in the order in which they are passed; filled by the first batch.
    folded: Vec<Folded>,
    /// Those of the last group.
    folded_last: Vec<Folded>,
    /// Of the largest map of pictures that pass the first groups together.
    part_bytes: usize,
}

/// A map of so much, its input and its output have room in the last cache of a processor.
const PART_BYTES: usize = 16 << 20;

impl<'a> FrozenResNet<'a> {
    /// Activations will be of type `precision`.
    pub fn new(network: &'a mut ResNet, precision: Precision) -> Self {
        Self { network, precision, folded: Vec::new(), folded_last: Vec::new(), part_bytes: PART_BYTES }
    }

    /// The representation, as [`ResNet::forward`] in [`BatchNormMode::Running`] gives it, within rounding: on the processor a batch
    /// passes all groups but the last in parts, whose large maps stay in the caches and take less memory, and of which two at a time
    /// leave no core without work.
    pub fn forward(&mut self, images: Tensor<4>) -> Tensor<2> {
        let parts = images.clone().split(self.part_of(&images), 0);
        let mut parts = parts.as_slice();
        let mut maps = Vec::new();
        if let (Some(first), true) = (parts.first(), self.folded.is_empty()) {
            let mut layers = Folding(&mut self.folded);
            maps.push(self.network.before_last_group(first.clone(), &mut layers, self.precision).values);
            parts = &parts[1..];
        }
        for pair in parts.chunks(2) {
            match pair {
                [first, second] => {
                    let (first, second) =
                        rayon::join(|| self.before_last_group(first), || self.before_last_group(second));
                    maps.extend([first, second]);
                }
                _ => maps.extend(pair.iter().map(|part| self.before_last_group(part))),
            }
        }
        let x = if maps.len() == 1 { maps.remove(0) } else { Tensor::cat(maps, 0) }.into();
        match self.folded_last.is_empty() {
            true => self.network.last_group(x, &mut Folding(&mut self.folded_last)),
            false => self.network.last_group(x, &mut FoldedLayers(self.folded_last.iter())),
        }
    }

    fn before_last_group(&self, images: &Tensor<4>) -> Tensor<4> {
        let mut layers = FoldedLayers(self.folded.iter());
        // Tensors are shared; what a pass may change are running averages, which are folded already.
        self.network.clone().before_last_group(images.clone(), &mut layers, self.precision).values
    }

    /// How many pictures of a batch pass together, at least one; parts are of about one size.
    fn part_of(&self, images: &Tensor<4>) -> usize {
        let [batch, height, width, _] = images.dims();
        if !ops::is_processor(&images.device()) {
            return batch.max(1);
        }
        let map_bytes = self.network.largest_map(height.max(width)) * self.precision.bytes();
        let parts = batch.div_ceil((self.part_bytes / map_bytes).max(1));
        batch.div_ceil(parts.max(1)).max(1)
    }
}

/// A walk through the layers of a network whose weights are folded on the way.
struct Folding<'a>(&'a mut Vec<Folded>);

impl Layers for Folding<'_> {
    fn pass(
        &mut self,
        conv: &Conv2d,
        norm: &mut Norm,
        x: &Activation,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Activation {
        if !norm.is_group_norm() {
            self.0.push(norm.folded_into(conv));
        }
        FoldedLayers(self.0[self.0.len().saturating_sub(1)..].iter()).pass(conv, norm, x, residual, relu)
    }
}

/// A walk through layers whose weights are folded.
struct FoldedLayers<'a>(slice::Iter<'a, Folded>);

impl Layers for FoldedLayers<'_> {
    fn pass(
        &mut self,
        conv: &Conv2d,
        norm: &mut Norm,
        x: &Activation,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Activation {
        if norm.is_group_norm() {
            return norm.after(conv, x, residual, relu, &BatchNormMode::Running);
        }
        let folded = self.0.next().expect("a layer is folded when it is first passed");
        let options = ConvNorm { conv: conv.options, relu, epsilon: Norm::EPSILON };
        ops::conv_affine(x, folded, residual, options)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use byol_data::{Random, Stream};

    use super::*;
    use crate::model::{NormKind, ResNetConfig, Stem, initialize};

    #[test]
    fn batches_of_any_size_and_precision_are_represented_as_by_the_network_itself() {
        let device = Device::flex();
        let mut random = Random::new(1, Stream::Drawing, 0, 0);
        for (arch, stem, norm) in [
            ("resnet18x0.25", Stem::Cifar, NormKind::Batch),
            ("resnet50x0.25", Stem::Imagenet, NormKind::Batch),
            ("resnet18x0.0625", Stem::Cifar, NormKind::Group),
        ] {
            let config = ResNetConfig { norm, ..ResNetConfig::torchvision(arch.parse().unwrap(), stem) };
            let mut network = initialize(ResNet::new(&config, 3, &device), 0, "test");
            for precision in [Precision::F32, Precision::Bf16] {
                let batches = [16, 3, 16].map(|batch| {
                    let pixels: Vec<f32> = (0..batch * 24 * 24 * 3).map(|_| random.normal()).collect();
                    Tensor::<4>::from_data(TensorData::new(pixels, [batch, 24, 24, 3]), &device)
                });
                let expected = batches.clone().map(|x| network.forward(x, &BatchNormMode::Running, precision));
                let mut frozen = FrozenResNet::new(&mut network, precision);
                for (images, expected) in batches.iter().zip(&expected) {
                    let y = frozen.forward(images.clone());
                    assert_eq!(y.into_data(), expected.clone().into_data(), "{arch} {precision:?}");
                }
                let map_bytes = frozen.network.largest_map(24) * precision.bytes();
                for (pictures, is_fresh) in [(8, false), (5, false), (1, false), (3, true)] {
                    if is_fresh {
                        frozen = FrozenResNet::new(frozen.network, precision);
                    }
                    frozen.part_bytes = map_bytes * pictures;
                    for (images, expected) in batches.iter().zip(&expected) {
                        let difference = (frozen.forward(images.clone()) - expected.clone()).abs().max();
                        let relative = (difference / expected.clone().abs().max()).into_scalar::<f32>();
                        let bound = if precision == Precision::F32 { 1e-5 } else { 2e-2 };
                        assert!(relative < bound, "{arch} {precision:?}: {relative} by parts of {pictures}");
                    }
                }
            }
        }
    }
}
