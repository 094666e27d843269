//! Initialisation (spec §1.5).

use burn::module::Module;
use burn::tensor::Tensor;
use byol_data::{Random, Stream};
use serde::{Deserialize, Serialize};

use super::parameters::{Role, map_tensors, visit_tensors};
use super::resnet::ResNet;

/// How wide first weights are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialisation {
    /// σ = 1/√fan_in: Haiku's default, the reference's.
    #[default]
    Lecun,
    /// σ = √2/√fan_in (He et al. 2015), which keeps the variance through ReLUs.
    He,
}

impl Initialisation {
    /// σ · √fan_in.
    fn scale(self) -> f32 {
        match self {
            Self::Lecun => 1.0,
            Self::He => std::f32::consts::SQRT_2,
        }
    }
}

/// Fills weights from a normal distribution cut at ±2σ, σ = 1/√fan_in, without correction for the cut
/// (Haiku's default), so that their actual deviation is 0.8796/√fan_in. Biases, norms and buffers stay as built.
///
/// Each weight's draws depend on `seed`, `network` and its name only.
pub fn initialize<M: Module>(module: M, seed: u64, network: &str) -> M {
    initialize_by(module, seed, network, |_| Initialisation::Lecun)
}

/// As [`initialize`], with σ by the `rule` of each tensor's name.
pub fn initialize_by<M: Module>(module: M, seed: u64, network: &str, rule: impl Fn(&str) -> Initialisation) -> M {
    let mut fan_in = std::collections::BTreeMap::new();
    visit_tensors(&module, |tensor| {
        fan_in.insert(tensor.name.to_owned(), tensor.shape[1..].iter().product::<usize>());
    });
    map_tensors(module, |name, role, tensor| {
        if role != Role::Weight {
            return tensor;
        }
        let sigma = rule(name).scale() / (fan_in[name] as f32).sqrt();
        let mut random = Random::new(seed, Stream::Weights, 0, fnv1a(&format!("{network}.{name}")));
        let values: Vec<f32> =
            (0..tensor.shape().num_elements()).map(|_| sigma * truncated_normal(&mut random)).collect();
        Tensor::from_floats(values.as_slice(), &tensor.device())
    })
}

/// Sets the scale of the last batch norm of each bottleneck to 0, as Haiku's `BlockV1` does. Basic blocks have none.
pub fn zero_init_residual(encoder: &mut ResNet) {
    for block in encoder.blocks_mut() {
        if let Some(norm) = block.bottleneck_norm_mut() {
            norm.weight = norm.weight.clone().map(|scale| scale.zeros_like().set_require_grad(scale.is_require_grad()));
        }
    }
}

fn truncated_normal(random: &mut Random) -> f32 {
    loop {
        let x = random.normal();
        if x.abs() <= 2.0 {
            return x;
        }
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::Linear;
    use crate::model::{Arch, ResNetConfig, Stem};
    use burn::tensor::Device;

    fn weights(seed: u64, network: &str) -> Vec<f32> {
        let layer = initialize(Linear::new(400, 250, true, &Device::flex()), seed, network);
        layer.weight.val().to_data().try_to_vec().unwrap()
    }

    #[test]
    fn weights_have_the_deviation_of_the_truncated_normal() {
        let values = weights(0, "online");
        let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt() * 20.0;
        assert!((deviation - 0.8796).abs() < 0.005, "{deviation}");
        assert!(values.iter().all(|x| x.abs() <= 2.0 / 20.0));
    }

    #[test]
    fn he_spreads_the_same_draws_by_root_two() {
        let layer = || Linear::new(400, 250, true, &Device::flex());
        let he = initialize_by(layer(), 0, "online", |_| Initialisation::He);
        let he: Vec<f32> = he.weight.val().to_data().try_to_vec().unwrap();
        let ratios = he.iter().zip(weights(0, "online")).map(|(he, lecun)| he / lecun);
        assert!(ratios.into_iter().all(|ratio| (ratio - std::f32::consts::SQRT_2).abs() < 1e-5));
    }

    #[test]
    fn weights_depend_on_seed_and_network_only() {
        assert_eq!(weights(0, "online"), weights(0, "online"));
        assert_ne!(weights(0, "online"), weights(1, "online"));
        assert_ne!(weights(0, "online"), weights(0, "target"));
    }

    #[test]
    fn zero_init_touches_the_last_norm_of_bottlenecks_and_nothing_else() {
        for (arch, zeroed) in [("resnet50x0.0625", 16), ("resnet18x0.0625", 0)] {
            let mut encoder =
                ResNet::new(&ResNetConfig::torchvision(arch.parse::<Arch>().unwrap(), Stem::Cifar), 3, &Device::flex());
            zero_init_residual(&mut encoder);
            let mut zeros = Vec::new();
            visit_tensors(&encoder, |tensor| {
                let is_scale = tensor.role == Role::BiasOrNorm && tensor.name.ends_with("weight");
                if is_scale && tensor.values.sum().into_scalar::<f32>() == 0.0 {
                    zeros.push(tensor.name.to_owned());
                }
            });
            assert_eq!(zeros.len(), zeroed);
            assert!(zeros.iter().all(|name| name.ends_with("bn3.weight")));
        }
    }
}
