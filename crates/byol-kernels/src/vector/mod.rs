//! Vectors of one instruction set: what the inner loops of matrix products are written in.
//!
//! Operands come in *units* of 32 bits along the reduction: one `f32`, or a pair of neighbouring `bf16`. The inner loops
//! (`block.rs`) are written once over [`block::Vector`] and compiled for each instruction set.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod kernels;
#[cfg(target_arch = "aarch64")]
mod neon;
mod operand;
mod portable;

#[cfg(all(test, unix, target_arch = "x86_64"))]
pub(crate) use amx::TILES_ON_ARRAYS;
pub(crate) use block::{Columns, GROUP_ROWS, LEFT_BLOCK, Places, Rows};
pub(crate) use kernels::{ColumnsKernel, Kernels, LeftLayout, RowsKernel, VECTOR_CHUNK_LEN, panels};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::bfdot;
pub(crate) use operand::Operand;
#[cfg(all(test, unix, target_arch = "x86_64"))]
pub(crate) use portable::WIDE_PANELS_ON_ARRAYS;
