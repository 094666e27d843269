//! Optimisers on flat parameters: LARS as in the reference, SGD, Adam and AdamW.

mod schedule;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::{NamedGradients, Role, map_tensors};
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

    /// Second moment by parameter name; empty but for Adam.
    pub fn second_moments(&self) -> &BTreeMap<String, Tensor<1>> {
        &self.second_moments
    }

    /// One step on every parameter of `module` that has a gradient.
    pub fn step<M: Module>(&mut self, module: M, mut gradients: NamedGradients, learning_rate: f64) -> M {
        self.steps += 1;
        map_tensors(module, |name, role, parameter| match gradients.remove(name) {
            Some(gradient) => self.update(name, role, parameter, gradient, learning_rate as f32),
            None => parameter,
        })
    }

    fn update(&mut self, name: &str, role: Role, p: Tensor<1>, g: Tensor<1>, learning_rate: f32) -> Tensor<1> {
        let included = role == Role::Weight || !self.config.exclude_bias_and_norm;
        match self.config.kind {
            OptimizerKind::Lars => self.lars(name, included, p, g, learning_rate),
            OptimizerKind::Sgd => self.sgd(name, included, p, g, learning_rate),
            OptimizerKind::Adam | OptimizerKind::Adamw => self.adam(name, included, p, g, learning_rate),
        }
    }

    /// `u = g + λp`, scaled by `r = η‖p‖/‖u‖` (1 when a norm is 0); `m ← μm + u`; `p ← p − lr·m` (spec §4.1).
    /// Excluded parameters take `u = g`, unscaled. No ε, no clipping, the rate outside the momentum.
    fn lars(&mut self, name: &str, included: bool, p: Tensor<1>, g: Tensor<1>, learning_rate: f32) -> Tensor<1> {
        let u = if included {
            let u = g + p.clone() * self.config.weight_decay as f32;
            let scale = trust_ratio(&p, &u, self.config.trust_coefficient as f32);
            u * scale
        } else {
            g
        };
        let m = self.accumulate(name, u);
        p - m * learning_rate
    }

    /// `u = g + λp`; `m ← μm + u`; `p ← p − lr·m`, or `p − lr·(u + μm)` with Nesterov.
    fn sgd(&mut self, name: &str, included: bool, p: Tensor<1>, g: Tensor<1>, learning_rate: f32) -> Tensor<1> {
        let u = if included { g + p.clone() * self.config.weight_decay as f32 } else { g };
        let m = self.accumulate(name, u.clone());
        let direction = if self.config.nesterov { u + m * self.config.momentum as f32 } else { m };
        p - direction * learning_rate
    }

    /// `m ← μm + u`, returned as well.
    fn accumulate(&mut self, name: &str, u: Tensor<1>) -> Tensor<1> {
        let m = match self.first_moments.remove(name) {
            Some(m) => m * self.config.momentum as f32 + u,
            None => u,
        };
        self.first_moments.insert(name.to_owned(), m.clone());
        m
    }

    /// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr · m̂ / (√v̂ + ε)` with bias-corrected `m̂`, `v̂`
    /// (Kingma & Ba 2015). Weight decay goes into `g` (Adam) or shrinks `p` by `lr·λ` (AdamW).
    fn adam(&mut self, name: &str, included: bool, p: Tensor<1>, g: Tensor<1>, learning_rate: f32) -> Tensor<1> {
        let OptimizerConfig { beta1, beta2, epsilon, weight_decay, kind, .. } = self.config;
        let decay = if included { weight_decay as f32 } else { 0.0 };
        let (p, g) = match kind {
            OptimizerKind::Adamw => (p * (1.0 - learning_rate * decay), g),
            _ => (p.clone(), g + p * decay),
        };
        let blend = |moments: &mut BTreeMap<String, Tensor<1>>, beta: f64, value: Tensor<1>| {
            let fresh = value * (1.0 - beta) as f32;
            let moment = match moments.remove(name) {
                Some(moment) => moment * beta as f32 + fresh,
                None => fresh,
            };
            moments.insert(name.to_owned(), moment.clone());
            moment / (1.0 - beta.powf(self.steps as f64)) as f32
        };
        let m = blend(&mut self.first_moments, beta1, g.clone());
        let v = blend(&mut self.second_moments, beta2, g.square());
        p - m / (v.sqrt() + epsilon as f32) * learning_rate
    }
}

/// `η‖p‖/‖u‖`, or 1 where either norm is 0; one value, kept on the device.
fn trust_ratio(p: &Tensor<1>, u: &Tensor<1>, eta: f32) -> Tensor<1> {
    let norm = |x: &Tensor<1>| x.clone().square().sum().sqrt();
    let (p_norm, u_norm) = (norm(p), norm(u));
    let degenerate = p_norm.clone().equal_scalar(0.0).bool_or(u_norm.clone().equal_scalar(0.0));
    (p_norm * eta / u_norm).mask_fill(degenerate, 1.0)
}
