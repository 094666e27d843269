//! The type of activations and matrix operands.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, FloatDType};
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
    /// 11 bits of precision up to 65504, on graphics cards only: for those that have no `bf16`. Every sum is `f32`; gradients need a loss scale.
    F16,
}

impl Precision {
    /// All, by name.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// `bf16` where the opened device multiplies it faster (AMX, graphics cards), `f16` on a card that has only that, else `f32`.
    pub fn of_this_machine() -> Self {
        default_precision()
    }

    /// Of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// That of activations of such a type.
    pub(super) fn of(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16,
            DType::F16 => Self::F16,
            _ => Self::F32,
        }
    }

    /// Burn's name of it.
    pub(crate) fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.to_string() == text);
        found.ok_or_else(|| format!("unknown precision {text:?}; expected f32, bf16 or f16"))
    }
}
