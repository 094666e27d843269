//! Batch norm and group norm as one module with torchvision's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor, activation};

use super::arch::NormKind;
use super::layers::Conv2d;
use crate::dist::Across;
use crate::ops::{self, Activation, ConvNorm, Folded};

/// Which statistics batch norm uses; always said aloud by the caller (spec §1.4).
#[derive(Clone, Debug)]
pub enum BatchNormMode {
    /// Normalise by the statistics of this batch and fold them into the running averages:
    /// `average ← average + weight · (batch − average)`, see [`running_weight`].
    Batch {
        /// Weight of this batch in the running averages.
        running_weight: f64,
        /// Whose pictures the batch is, if others have a part of it.
        across: Option<Across>,
        /// Whether feature maps that can be computed again in the backward pass are kept for it.
        keeps_maps: bool,
    },
    /// Normalise by the running averages, which do not move. For evaluation.
    Running,
}

impl BatchNormMode {
    /// By the statistics of the pictures of this process.
    pub fn batch(running_weight: f64) -> Self {
        Self::Batch { running_weight, across: None, keeps_maps: false }
    }

    /// Weight of the batch in the running averages; 0 where they do not move.
    pub fn running_weight(&self) -> f64 {
        match *self {
            Self::Batch { running_weight, .. } => running_weight,
            Self::Running => 0.0,
        }
    }

    /// The same with another weight of the batch in the running averages.
    pub fn with_running_weight(self, running_weight: f64) -> Self {
        match self {
            Self::Batch { across, keeps_maps, .. } => Self::Batch { running_weight, across, keeps_maps },
            Self::Running => Self::Running,
        }
    }

    /// The same over the pictures of other ranks, too.
    pub fn over(&self, across: Across) -> Self {
        match *self {
            Self::Batch { running_weight, keeps_maps, .. } => {
                Self::Batch { running_weight, across: Some(across), keeps_maps }
            }
            Self::Running => Self::Running,
        }
    }

    /// The same with feature maps kept for the backward pass: more memory, less time, the same bits.
    pub fn keeping_maps(self) -> Self {
        match self {
            Self::Batch { running_weight, across, .. } => Self::Batch { running_weight, across, keeps_maps: true },
            Self::Running => Self::Running,
        }
    }
}

/// Weight of the `pass`-th training pass (from 1) in a debiased running average: `(1 − decay) / (1 − decay^pass)`.
///
/// With it the stored average equals Haiku's zero-initialised average divided by `1 − decay^pass`
/// (`moving_averages.py`), and a first evaluation after few steps is sound.
pub fn running_weight(decay: f64, pass: u64) -> f64 {
    (1.0 - decay) / (1.0 - decay.powf(pass as f64))
}

/// Batch norm over the last axis, or group norm, with learned scale and offset; ε = 1e-5 (`configs/byol.py`).
#[derive(Module, Debug)]
pub struct Norm {
    pub(super) weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    /// Both are there in a batch norm and absent in a group norm, which has no statistics to keep.
    running_mean: Option<Param<Tensor<1>>>,
    running_var: Option<Param<Tensor<1>>>,
}

/// See [`Norm::EPSILON`].
pub(super) const EPSILON: f32 = Norm::EPSILON;

/// Groups of a group norm (Wu & He 2018 have 32, the authors' follow-up is quoted with 16), where the channels allow it.
const GROUPS: usize = 16;

impl Norm {
    /// Added to the variance before the square root.
    pub const EPSILON: f32 = 1e-5;

    /// Groups of a group norm over so many channels.
    pub fn groups(channels: usize) -> usize {
        (1..=GROUPS.min(channels))
            .rev()
            .find(|&groups| GROUPS.is_multiple_of(groups) && channels.is_multiple_of(groups))
            .unwrap_or(1)
    }

    /// Scale 1, offset 0, running mean 0, running variance 1.
    pub fn new(kind: NormKind, channels: usize, device: &Device) -> Self {
        let buffer = |value: f32| {
            let values = || Tensor::full([channels], value, &device.clone().inner());
            (kind == NormKind::Batch).then(|| Param::from_tensor(values()).set_require_grad(false))
        };
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            running_mean: buffer(0.0),
            running_var: buffer(1.0),
        }
    }

    pub(super) fn is_group_norm(&self) -> bool {
        self.running_mean.is_none()
    }

    /// Normalises `x [batch, channels]` and applies ReLU if asked; see [`ops::batch_norm`] and [`ops::group_norm`].
    pub fn forward(&mut self, x: Tensor<2>, relu: bool, mode: &BatchNormMode) -> Tensor<2> {
        match mode {
            _ if self.is_group_norm() => {
                let y = self.by_groups(x.unsqueeze_dim(1)).squeeze_dim(1);
                if relu { activation::relu(y) } else { y }
            }
            BatchNormMode::Batch { running_weight, across, .. } => {
                let (gamma, beta) = (self.weight.val(), self.bias.val());
                let normalised = ops::batch_norm(x, gamma, beta, relu, EPSILON, across.clone());
                self.average(normalised.mean, normalised.variance, *running_weight);
                normalised.output
            }
            BatchNormMode::Running => {
                let (scale, shift) = self.folded();
                let y = x * scale.unsqueeze() + shift.unsqueeze();
                if relu { activation::relu(y) } else { y }
            }
        }
    }

    /// Convolution, this norm, an optional residual, ReLU if asked; see [`ops::conv_norm`]. With running statistics the norm
    /// is folded into the convolution: `w′ = w · γ/√(var + ε)`, bias `β − mean · γ/√(var + ε)`; no gradient flows then. A group norm
    /// comes after a convolution with standardised weights, in one mode as in the other.
    pub fn after(
        &mut self,
        conv: &Conv2d,
        x: &Activation,
        residual: Option<&Activation>,
        relu: bool,
        mode: &BatchNormMode,
    ) -> Activation {
        let options = ConvNorm { conv: conv.options, relu, epsilon: EPSILON };
        match mode {
            _ if self.is_group_norm() => {
                self.groups_after(conv, x, residual.map(|residual| residual.values.clone()), relu).into()
            }
            BatchNormMode::Batch { running_weight, across, keeps_maps } => {
                let (gamma, beta) = (self.weight.val(), self.bias.val());
                let normalised = ops::conv_norm(x, conv.weight.val(), gamma, beta, residual, options, across.clone());
                self.average(normalised.mean, normalised.variance, *running_weight);
                match keeps_maps {
                    true => normalised.output.kept(),
                    false => normalised.output,
                }
            }
            BatchNormMode::Running => ops::conv_affine(x, &self.folded_into(conv), residual, options),
        }
    }

    /// The convolution with this batch norm by running statistics.
    pub(super) fn folded_into(&self, conv: &Conv2d) -> Folded {
        let (scale, bias) = self.folded();
        let [outputs] = scale.dims();
        Folded::new(conv.weight.val() * scale.reshape([outputs, 1, 1, 1]), bias)
    }

    fn groups_after(&self, conv: &Conv2d, x: &Activation, residual: Option<Tensor<4>>, relu: bool) -> Tensor<4> {
        let dtype = FloatDType::from(x.values.dtype());
        let [outputs, inputs, kernel, _] = conv.weight.dims();
        let weight = conv.weight.val().reshape([outputs, inputs * kernel * kernel]);
        let weight = ops::standardise_weight(weight).reshape([outputs, inputs, kernel, kernel]);
        let z = ops::conv2d(x.values.clone(), weight, conv.options);
        let [batch, height, width, channels] = z.dims();
        let z = z.cast(FloatDType::F32).reshape([batch, height * width, channels]);
        let y = self.by_groups(z).reshape([batch, height, width, channels]).cast(dtype);
        let y = match residual {
            Some(residual) => y + residual,
            None => y,
        };
        if relu { activation::relu(y) } else { y }
    }

    fn by_groups(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, channels] = x.dims();
        ops::group_norm(x, self.weight.val(), self.bias.val(), Self::groups(channels), EPSILON)
    }

    /// `γ/√(var + ε)` and `β − mean · γ/√(var + ε)` of the running statistics.
    fn folded(&self) -> (Tensor<1>, Tensor<1>) {
        let running = |average: &Option<Param<Tensor<1>>>| average.as_ref().expect("a batch norm has averages").val();
        let scale = self.weight.val() / running(&self.running_var).add_scalar(EPSILON).sqrt();
        let shift = self.bias.val() - running(&self.running_mean) * scale.clone();
        (scale, shift)
    }

    fn average(&mut self, mean: Tensor<1>, variance: Tensor<1>, running_weight: f64) {
        let averages = [&mut self.running_mean, &mut self.running_var].map(|average| {
            let average = average.take().expect("a batch norm has averages");
            (average.id, average.into_value())
        });
        let [(mean_id, running_mean), (variance_id, running_var)] = averages;
        // The move of the target towards the online network is the same formula.
        let moved = ops::target_ema(vec![mean, variance], vec![running_mean, running_var], 1.0 - running_weight);
        let mut moved =
            moved.into_iter().zip([mean_id, variance_id]).map(|(average, id)| Param::initialized(id, average));
        (self.running_mean, self.running_var) = (moved.next(), moved.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ResNet, ResNetConfig, Stem, initialize, visit_tensors};
    use crate::ops::Precision;

    #[test]
    fn the_running_average_is_haikus_debiased_one() {
        let (decay, batches) = (0.9, [3.0, -1.0, 4.0, 10.0]);
        let (mut hidden, mut stored) = (0.0, 0.0);
        for (pass, batch) in (1..).zip(batches) {
            hidden = decay * hidden + (1.0 - decay) * batch;
            stored += running_weight(decay, pass) * (batch - stored);
            assert!((stored - hidden / (1.0 - decay.powf(pass as f64))).abs() < 1e-12);
        }
    }

    #[test]
    fn batch_mode_normalises_and_running_mode_leaves_the_averages_alone() {
        let device = Device::flex();
        let mut norm = Norm::new(NormKind::Batch, 1, &device);
        let x = Tensor::<2>::from_floats([[1.0], [3.0]], &device);
        let y = norm.forward(x.clone(), false, &BatchNormMode::batch(running_weight(0.9, 1)));
        let values: Vec<f32> = y.to_data().try_to_vec().unwrap();
        assert!((values[0] + 1.0).abs() < 1e-4 && (values[1] - 1.0).abs() < 1e-4, "{values:?}");
        norm.forward(x * 100.0, true, &BatchNormMode::Running);
        assert_eq!(norm.running_mean.as_ref().unwrap().val().into_scalar::<f32>(), 2.0);
        assert_eq!(norm.running_var.as_ref().unwrap().val().into_scalar::<f32>(), 1.0);
    }

    /// Two groups of two channels by hand: mean and variance over both positions of a picture, whatever the other pictures are.
    #[test]
    fn group_norm_takes_the_statistics_of_a_picture_alone() {
        let device = Device::flex();
        let picture = [1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 30.0, 30.0];
        let other: Vec<f32> = picture.iter().map(|x| x * -9.0).collect();
        let values = [&picture[..], &other].concat();
        let x = Tensor::<3>::from_data(burn::tensor::TensorData::new(values, [2, 2, 4]), &device);
        let y = ops::group_norm(x, Tensor::ones([4], &device), Tensor::zeros([4], &device), 2, 0.0);
        let y: Vec<f32> = y.to_data().try_to_vec().unwrap();
        let (first, second) = (5f32.sqrt(), 10.0);
        let expected = [-3.0 / first, -1.0 / first, -10.0 / second, -10.0 / second, 1.0 / first, 3.0 / first, 1.0, 1.0];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-5, "{y} {expected}");
        }
    }

    #[test]
    fn standardised_weights_have_mean_0_and_deviation_1_for_every_output() {
        let device = Device::flex();
        let weight = ops::standardise_weight(Tensor::<2>::from_floats([[1.0, 2.0, 6.0], [-4.0, 0.0, 1.0]], &device));
        let (variance, mean) = weight.var_mean_bias(1);
        let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
        assert!(largest(mean) < 1e-6 && largest(variance - 1.0) < 1e-5);
    }

    #[test]
    fn a_network_of_group_norms_keeps_no_statistics_and_sees_each_picture_alone() {
        let device = Device::flex();
        let config = ResNetConfig {
            norm: NormKind::Group,
            ..ResNetConfig::torchvision("resnet18x0.0625".parse().unwrap(), Stem::Cifar)
        };
        let mut network = initialize(ResNet::new(&config, 3, &device), 0, "test");
        let mut names = Vec::new();
        visit_tensors(&network, |tensor| names.push(tensor.name.to_owned()));
        assert!(names.iter().all(|name| !name.contains("running")) && names.contains(&"layer4.1.bn2.bias".to_owned()));
        let mut random = byol_data::Random::new(1, byol_data::Stream::Drawing, 0, 0);
        let pixels: Vec<f32> = (0..2 * 8 * 8 * 3).map(|_| random.normal()).collect();
        let both = Tensor::<4>::from_data(burn::tensor::TensorData::new(pixels, [2, 8, 8, 3]), &device);
        let first = both.clone().narrow(0, 0, 1);
        let mode = BatchNormMode::batch(0.1);
        let of_both = network.forward(both, &mode, Precision::F32).narrow(0, 0, 1);
        let alone = network.forward(first, &BatchNormMode::Running, Precision::F32);
        assert!((of_both - alone).abs().max().into_scalar::<f32>() < 1e-5);
    }
}
