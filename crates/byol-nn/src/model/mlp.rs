//! Projector `g` and predictor `q`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::arch::NormKind;
use super::layers::Linear;
use super::norm::{BatchNormMode, Norm};
use crate::ops::Precision;

/// Sizes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlpConfig {
    /// Values of an input.
    pub inputs: usize,
    /// Units of each hidden layer.
    pub hidden: usize,
    /// Values of an output.
    pub outputs: usize,
    /// Linear layers, 1 to 3.
    pub layers: usize,
    /// What normalises between them.
    pub norm: NormKind,
}

/// Linear (with bias) → batch norm → ReLU → linear (without bias); no norm and no ReLU at the end (spec §1.3).
///
/// This is the paper's head of two linear layers. With one it is the last layer alone, with three the hidden part comes
/// twice (paper Table 14a).
#[derive(Module, Debug)]
pub struct Mlp {
    linear1: Linear,
    bn: Option<Norm>,
    linear2: Option<Linear>,
    bn2: Option<Norm>,
    linear3: Option<Linear>,
}

impl Mlp {
    /// Builds a head with zero weights; [`super::initialize`] fills them.
    pub fn new(config: MlpConfig, device: &Device) -> Self {
        let MlpConfig { inputs, hidden, outputs, layers, norm } = config;
        let linear = |place: usize| {
            let inputs = if place == 1 { inputs } else { hidden };
            let is_last = place == layers;
            Linear::new(inputs, if is_last { outputs } else { hidden }, !is_last, device)
        };
        let norm = || Norm::new(norm, hidden, device);
        Self {
            linear1: linear(1),
            bn: (layers > 1).then(norm),
            linear2: (layers > 1).then(|| linear(2)),
            bn2: (layers > 2).then(norm),
            linear3: (layers > 2).then(|| linear(3)),
        }
    }

    /// `[batch, inputs]` → `[batch, outputs]`, both `f32`; the operands of the products are rounded to `precision`.
    pub fn forward(&mut self, x: Tensor<2>, mode: &BatchNormMode, precision: Precision) -> Tensor<2> {
        let mut x = self.linear1.forward(x, precision);
        for (norm, linear) in [(&mut self.bn, &self.linear2), (&mut self.bn2, &self.linear3)] {
            if let (Some(norm), Some(linear)) = (norm, linear) {
                x = linear.forward(norm.forward(x, true, mode), precision);
            }
        }
        x
    }
}
