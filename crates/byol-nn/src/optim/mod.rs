//! Optimisers on flat parameters: LARS as in the reference, SGD, Adam and AdamW.

mod schedule;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{NamedGradients, Role, update_tensors};
use crate::ops::{self, Adam, Lars, Sgd};
pub use schedule::{RunLength, Schedule};

/// Which update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Layer-wise adaptive rate scaling, `optimizers.py` of the reference.
    Lars,
    /// Stochastic gradient descent with momentum, PyTorch's semantics.
    Sgd,
    /// Adam with weight decay added to the gradient, PyTorch's semantics.
    Adam,
    /// Adam with decoupled weight decay, PyTorch's semantics.
    Adamw,
}

/// Update rule and its constants; a constant that the chosen rule does not have is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule.
    pub kind: OptimizerKind,
    /// Heavy-ball momentum μ of LARS and SGD, in `[0, 1)`; 0.9 in the paper.
    pub momentum: f64,
    /// Nesterov's variant, SGD only.
    pub nesterov: bool,
    /// λ, 0 or more; 1e-6 to 1.5e-6 in the reference's presets (spec §4.2).
    pub weight_decay: f64,
    /// Whether biases, norm scales and offsets are left out of weight decay and trust scaling.
    pub exclude_bias_and_norm: bool,
    /// η of LARS, 0 or more; 1e-3 in the reference.
    pub trust_coefficient: f64,
    /// β₁ of Adam, in `[0, 1)`.
    pub beta1: f64,
    /// β₂ of Adam, in `[0, 1)`.
    pub beta2: f64,
    /// ε of Adam, 0 or more, added to `√v̂`.
    pub epsilon: f64,
    /// The projector's learning rate as a multiple of the run's, 0 or more (paper Table 22).
    #[serde(default = "one")]
    pub projector_rate_factor: f64,
    /// The predictor's, likewise (paper Tables 21 and 22).
    #[serde(default = "one")]
    pub predictor_rate_factor: f64,
}

/// The factor of all rates before there was a key for it.
fn one() -> f64 {
    1.0
}

impl OptimizerConfig {
    /// The learning rate of a parameter as a multiple of the run's, by the network its name begins with.
    fn rate_factor(&self, name: &str) -> f64 {
        match name.split('.').next() {
            Some("projector") => self.projector_rate_factor,
            Some("predictor") => self.predictor_rate_factor,
            _ => 1.0,
        }
    }
}

impl Default for OptimizerConfig {
    /// The paper's LARS (§3.3).
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Lars,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 1.5e-6,
            exclude_bias_and_norm: true,
            trust_coefficient: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            projector_rate_factor: 1.0,
            predictor_rate_factor: 1.0,
        }
    }
}

/// The optimiser with its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// Momentum (LARS, SGD) or first moment (Adam) by parameter name, flat.
    first_moments: BTreeMap<String, Tensor<1>>,
    /// Second moment (Adam) by parameter name, flat.
    second_moments: BTreeMap<String, Tensor<1>>,
    /// Steps taken, for Adam's bias correction.
    steps: u64,
}

impl Optimizer {
    /// An optimiser that has not stepped yet; moments start at zero.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, first_moments: BTreeMap::new(), second_moments: BTreeMap::new(), steps: 0 }
    }

    /// An optimiser in a saved state.
    pub fn restore(
        config: OptimizerConfig,
        first_moments: BTreeMap<String, Tensor<1>>,
        second_moments: BTreeMap<String, Tensor<1>>,
        steps: u64,
    ) -> Self {
        Self { config, first_moments, second_moments, steps }
    }

    /// Momentum or first moment by parameter name.
    pub fn first_moments(&self) -> &BTreeMap<String, Tensor<1>> {
        &self.first_moments
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Second moment by parameter name; empty but for Adam.
    pub fn second_moments(&self) -> &BTreeMap<String, Tensor<1>> {
        &self.second_moments
    }

    /// One step on every parameter of `module` that has a gradient; in place.
    pub fn step<M: Module>(&mut self, module: &mut M, mut gradients: NamedGradients, learning_rate: f64) {
        self.steps += 1;
        update_tensors(module, |name, role, parameter| match gradients.remove(name) {
            Some(gradient) => {
                let learning_rate = learning_rate * self.config.rate_factor(name);
                self.update(name, role, parameter, gradient, learning_rate as f32)
            }
            None => parameter,
        });
    }

    fn update(&mut self, name: &str, role: Role, p: Tensor<1>, g: Tensor<1>, learning_rate: f32) -> Tensor<1> {
        let config = &self.config;
        let included = role == Role::Weight || !config.exclude_bias_and_norm;
        let weight_decay = if included { config.weight_decay as f32 } else { 0.0 };
        let momentum = config.momentum as f32;
        match config.kind {
            OptimizerKind::Lars if included => {
                let trust_coefficient = config.trust_coefficient as f32;
                let options = Lars { learning_rate, momentum, weight_decay, trust_coefficient };
                let m = take_moment(&mut self.first_moments, name, &p);
                let (p, m) = ops::lars(p, g, m, options);
                self.first_moments.insert(name.to_owned(), m);
                p
            }
            // What LARS excludes takes steps of plain gradient descent.
            OptimizerKind::Lars | OptimizerKind::Sgd => {
                let nesterov = config.nesterov && config.kind == OptimizerKind::Sgd;
                let options = Sgd { learning_rate, momentum, weight_decay, nesterov };
                let m = take_moment(&mut self.first_moments, name, &p);
                let (p, m) = ops::sgd(p, g, m, options);
                self.first_moments.insert(name.to_owned(), m);
                p
            }
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                let OptimizerConfig { beta1, beta2, epsilon, kind, .. } = *config;
                let decoupled = kind == OptimizerKind::Adamw;
                let epsilon = epsilon as f32;
                let options = Adam { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled, step: self.steps };
                let m = take_moment(&mut self.first_moments, name, &p);
                let v = take_moment(&mut self.second_moments, name, &p);
                let (p, m, v) = ops::adam(p, g, m, v, options);
                self.first_moments.insert(name.to_owned(), m);
                self.second_moments.insert(name.to_owned(), v);
                p
            }
        }
    }
}

/// The moment of the parameter `p`, zero before the first step. It leaves the map, so that it can be updated in place.
fn take_moment(moments: &mut BTreeMap<String, Tensor<1>>, name: &str, p: &Tensor<1>) -> Tensor<1> {
    moments.remove(name).unwrap_or_else(|| p.zeros_like())
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::Device;

    use super::*;
    use crate::weights::to_vec;

    #[derive(Module, Debug)]
    struct Networks {
        encoder: Param<Tensor<1>>,
        projector: Param<Tensor<1>>,
        predictor: Param<Tensor<1>>,
    }

    #[test]
    fn heads_learn_at_their_own_multiple_of_the_rate() {
        let device = Device::flex();
        for kind in [OptimizerKind::Lars, OptimizerKind::Sgd, OptimizerKind::Adam] {
            let zero = || Param::from_tensor(Tensor::<1>::zeros([1], &device));
            let mut networks = Networks { encoder: zero(), projector: zero(), predictor: zero() };
            let config = OptimizerConfig {
                kind,
                weight_decay: 0.0,
                projector_rate_factor: 0.0,
                predictor_rate_factor: 10.0,
                ..OptimizerConfig::default()
            };
            let gradient = |name: &str| (name.to_owned(), Tensor::<1>::ones([1], &device));
            let gradients = NamedGradients::from(["encoder", "projector", "predictor"].map(gradient));
            Optimizer::new(config).step(&mut networks, gradients, 0.01);
            let Networks { encoder, projector, predictor } = networks;
            let [encoder, projector, predictor] = [encoder, projector, predictor].map(|p| to_vec(p.val())[0]);
            assert!(encoder < 0.0 && (predictor / encoder - 10.0).abs() < 1e-4, "{kind:?}: {predictor} {encoder}");
            assert_eq!(projector, 0.0, "{kind:?}");
        }
    }
}
