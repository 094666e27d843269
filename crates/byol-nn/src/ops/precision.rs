//! The type of activations and matrix operands.

use std::fmt;
use std::str::FromStr;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::device::default_precision;

/// The type of activations and of the operands of matrix products. Weights, statistics, losses and norms are `f32` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 24 bits of precision.
    F32,
    /// 8 bits of precision with the range of `f32`: half the memory, and many times the speed where the machine multiplies
    /// tiles of it. Every sum is `f32`.
    Bf16,
}

impl Precision {
    /// `bf16` where the opened device multiplies it faster (AMX, matrix units), else `f32`.
    pub fn of_this_machine() -> Self {
        default_precision()
    }

    /// Of one value.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Burn's name of it.
    pub(crate) fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("unknown precision {text:?}; expected f32 or bf16")),
        }
    }
}
