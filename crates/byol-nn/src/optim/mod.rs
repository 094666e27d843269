//! Optimisers on flat parameters: LARS as in the reference, SGD, Adam and AdamW.

mod schedule;

use std::collections::{BTreeMap, HashSet};

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{NamedGradients, Role, update_tensors};
use crate::ops::{self, Adam, Lars, Momentum, Sgd};
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
        let names: HashSet<String> = gradients.keys().cloned().collect();
        update_tensors(
            module,
            |name, _| names.contains(name),
            |named, parameters| {
                let gradients = named.iter().map(|(name, _)| gradients.remove(name).expect("a gradient")).collect();
                self.update(named, parameters, gradients, learning_rate)
            },
        );
    }

    fn update(
        &mut self,
        named: &[(String, Role)],
        p: Vec<Tensor<1>>,
        g: Vec<Tensor<1>>,
        learning_rate: f64,
    ) -> Vec<Tensor<1>> {
        let rate = |name: &str| (learning_rate * self.config.rate_factor(name)) as f32;
        let first = take_moments(&mut self.first_moments, named, &p);
        match self.config.kind {
            OptimizerKind::Lars | OptimizerKind::Sgd => {
                let steps = named.iter().map(|(name, role)| self.momentum(*role, rate(name))).collect();
                let (p, first) = ops::momentum(p, g, first, steps);
                self.first_moments.extend(names(named).zip(first));
                p
            }
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                let second = take_moments(&mut self.second_moments, named, &p);
                let steps = named.iter().map(|(name, role)| self.adam(*role, rate(name))).collect();
                let (p, first, second) = ops::adam(p, g, first, second, steps);
                self.first_moments.extend(names(named).zip(first));
                self.second_moments.extend(names(named).zip(second));
                p
            }
        }
    }

    fn momentum(&self, role: Role, learning_rate: f32) -> Momentum {
        let config = &self.config;
        let (momentum, weight_decay) = (config.momentum as f32, self.weight_decay(role));
        match config.kind {
            OptimizerKind::Lars if self.includes(role) => {
                let trust_coefficient = config.trust_coefficient as f32;
                Momentum::Lars(Lars { learning_rate, momentum, weight_decay, trust_coefficient })
            }
            // What LARS excludes takes steps of plain gradient descent.
            kind => {
                let nesterov = config.nesterov && kind == OptimizerKind::Sgd;
                Momentum::Sgd(Sgd { learning_rate, momentum, weight_decay, nesterov })
            }
        }
    }

    fn adam(&self, role: Role, learning_rate: f32) -> Adam {
        let OptimizerConfig { beta1, beta2, epsilon, kind, .. } = self.config;
        let (epsilon, weight_decay, decoupled) =
            (epsilon as f32, self.weight_decay(role), kind == OptimizerKind::Adamw);
        Adam { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled, step: self.steps }
    }

    /// Whether weight decay and trust scaling are for such a parameter.
    fn includes(&self, role: Role) -> bool {
        role == Role::Weight || !self.config.exclude_bias_and_norm
    }

    fn weight_decay(&self, role: Role) -> f32 {
        if self.includes(role) { self.config.weight_decay as f32 } else { 0.0 }
    }
}

fn names(named: &[(String, Role)]) -> impl Iterator<Item = String> {
    named.iter().map(|(name, _)| name.clone())
}

/// The moments of the parameters `p`, zero before the first step. They leave the map, so that they can be updated in place.
fn take_moments(
    moments: &mut BTreeMap<String, Tensor<1>>,
    named: &[(String, Role)],
    p: &[Tensor<1>],
) -> Vec<Tensor<1>> {
    let taken = |((name, _), p): (&(String, Role), &Tensor<1>)| moments.remove(name).unwrap_or_else(|| p.zeros_like());
    named.iter().zip(p).map(taken).collect()
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
