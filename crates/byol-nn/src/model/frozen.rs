//! An encoder whose weights stay as they are while it represents pictures.

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
    /// In the order in which layers are passed; filled by the first batch.
    folded: Vec<Folded>,
}

impl<'a> FrozenResNet<'a> {
    /// Activations will be of type `precision`.
    pub fn new(network: &'a mut ResNet, precision: Precision) -> Self {
        Self { network, precision, folded: Vec::new() }
    }

    /// The representation, as [`ResNet::forward`] in [`BatchNormMode::Running`] gives it, to the last bit.
    pub fn forward(&mut self, images: Tensor<4>) -> Tensor<2> {
        let Self { network, precision, folded } = self;
        let mut layers = FoldedLayers { folded, next: 0 };
        let x = network.before_last_group(images, &mut layers, *precision);
        network.last_group(x, &mut layers)
    }
}

/// A walk through the layers of a network.
struct FoldedLayers<'a> {
    folded: &'a mut Vec<Folded>,
    next: usize,
}

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
        if self.next == self.folded.len() {
            self.folded.push(norm.folded_into(conv));
        }
        let folded = &self.folded[self.next];
        self.next += 1;
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
                for (images, expected) in batches.into_iter().zip(expected) {
                    let y = frozen.forward(images);
                    assert_eq!(y.into_data(), expected.into_data(), "{arch} {precision:?}");
                }
            }
        }
    }
}
