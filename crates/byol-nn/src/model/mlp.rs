//! Projector `g` and predictor `q`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::layers::{BatchNorm, BatchNormMode, Linear};
use crate::ops::Precision;

/// Linear (with bias) → batch norm → ReLU → linear (without bias); no norm and no ReLU at the end (spec §1.3).
///
/// This is the paper's head of two linear layers. With one it is the last layer alone, with three the hidden part comes
/// twice (paper Table 14a).
#[derive(Module, Debug)]
pub struct Mlp {
    linear1: Linear,
    bn: Option<BatchNorm>,
    linear2: Option<Linear>,
    bn2: Option<BatchNorm>,
    linear3: Option<Linear>,
}

impl Mlp {
    /// Builds a head of 1 to 3 linear `layers` with zero weights; [`super::initialize`] fills them.
    pub fn new(inputs: usize, hidden: usize, outputs: usize, layers: usize, device: &Device) -> Self {
        let linear = |place: usize| {
            let inputs = if place == 1 { inputs } else { hidden };
            let is_last = place == layers;
            Linear::new(inputs, if is_last { outputs } else { hidden }, !is_last, device)
        };
        let norm = || BatchNorm::new(hidden, device);
        Self {
            linear1: linear(1),
            bn: (layers > 1).then(norm),
            linear2: (layers > 1).then(|| linear(2)),
            bn2: (layers > 2).then(norm),
            linear3: (layers > 2).then(|| linear(3)),
        }
    }

    /// `[batch, inputs]` → `[batch, outputs]`, both `f32`; the operands of the products are rounded to `precision`.
    pub fn forward(&mut self, x: Tensor<2>, mode: BatchNormMode, precision: Precision) -> Tensor<2> {
        let mut x = self.linear1.forward(x, precision);
        for (norm, linear) in [(&mut self.bn, &self.linear2), (&mut self.bn2, &self.linear3)] {
            if let (Some(norm), Some(linear)) = (norm, linear) {
                x = linear.forward(norm.forward(x, true, mode), precision);
            }
        }
        x
    }
}
