//! Projector `g` and predictor `q`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::layers::{BatchNorm, BatchNormMode, Linear};
use crate::ops::Precision;

/// Linear (with bias) → batch norm → ReLU → linear (without bias); no norm and no ReLU at the end (spec §1.3).
#[derive(Module, Debug)]
pub struct Mlp {
    linear1: Linear,
    bn: BatchNorm,
    linear2: Linear,
}

impl Mlp {
    /// Builds the head with zero weights; [`super::initialize`] fills them.
    pub fn new(inputs: usize, hidden: usize, outputs: usize, device: &Device) -> Self {
        Self {
            linear1: Linear::new(inputs, hidden, true, device),
            bn: BatchNorm::new(hidden, device),
            linear2: Linear::new(hidden, outputs, false, device),
        }
    }

    /// `[batch, inputs]` → `[batch, outputs]`, both `f32`; the operands of both products are rounded to `precision`.
    pub fn forward(&mut self, x: Tensor<2>, mode: BatchNormMode, precision: Precision) -> Tensor<2> {
        let hidden = self.bn.forward(self.linear1.forward(x, precision), true, mode);
        self.linear2.forward(hidden, precision)
    }
}
