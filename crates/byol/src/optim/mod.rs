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
            Some(gradient) => self.update(name, role, parameter, gradient, learning_rate as f32),
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
    use burn::backend::DispatchTensorKind;
    use burn::tensor::Device;

    use super::*;
    use crate::byol::{Byol, PassModes};
    use crate::config::Preset;
    use crate::model::{BatchNormMode, NamedTensor, visit_tensors};
    use crate::ops::Precision;

    /// Where the values of a tensor on the CPU lie.
    fn place(tensor: Tensor<1>) -> *const u8 {
        match tensor.into_dispatch().kind {
            DispatchTensorKind::Flex(tensor) => tensor.as_float().bytes().as_ptr(),
            other => panic!("{other:?} is not on the CPU"),
        }
    }

    /// Where everything lies that a training step updates but batch-norm statistics.
    fn places(byol: &Byol, optimizer: &Optimizer) -> BTreeMap<String, *const u8> {
        let mut places = BTreeMap::new();
        let mut add = |network: &str, tensor: NamedTensor| {
            if tensor.role != Role::Buffer {
                places.insert(format!("{network} {}", tensor.name), place(tensor.values));
            }
        };
        visit_tensors(&byol.online, |tensor| add("online", tensor));
        visit_tensors(&byol.target, |tensor| add("target", tensor));
        for (which, moments) in [("first", optimizer.first_moments()), ("second", optimizer.second_moments())] {
            for (name, moment) in moments {
                places.insert(format!("{which} {name}"), place(moment.clone()));
            }
        }
        places
    }

    #[test]
    fn training_steps_update_parameters_moments_and_target_where_they_are() {
        let device = Device::flex();
        let mut model = Preset::Cifar10.config().model;
        model.arch = "resnet18x0.0625".parse().unwrap();
        (model.projector_hidden, model.predictor_hidden, model.projection_size) = (32, 32, 16);
        for kind in [OptimizerKind::Lars, OptimizerKind::Sgd, OptimizerKind::Adam] {
            let mut byol = Byol::new(&model, 3, Precision::F32, 0, &device);
            let mut optimizer = Optimizer::new(OptimizerConfig { kind, ..OptimizerConfig::default() });
            let mode = BatchNormMode::Batch { running_weight: 0.1 };
            let mut steps = Vec::new();
            for _ in 0..2 {
                let views = [0.3, 0.6].map(|value| Tensor::full([4, 16, 16, 3], value, &device));
                let mut gradients = NamedGradients::new();
                byol.add_gradients(views, PassModes { first: mode, second: mode }, 1.0, &mut gradients);
                optimizer.step(&mut byol.online, gradients, 0.1);
                byol.update_target(0.9);
                steps.push(places(&byol, &optimizer));
            }
            assert!(steps[0].len() > 150, "{}", steps[0].len());
            assert_eq!(steps[0], steps[1], "{kind:?}");
        }
    }
}
