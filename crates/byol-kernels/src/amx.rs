//! Tile registers (Intel AMX): products of `bf16` tiles.
//!
//! Operands come in *units* of 32 bits along the reduction, pairs of neighbouring `bf16`. The kernels are written over
//! [`Tiles`], so that tests run them on an emulation where the machine has no tile registers.

#[cfg(all(test, unix))]
mod emulated;
mod kernels;
mod pack;
#[cfg(all(test, unix))]
mod tests;
mod tiles;

#[cfg(all(test, unix))]
pub(crate) use emulated::Emulated;
pub(crate) use kernels::{BLOCK, ColumnBlock, RowBlock, multiply_columns, multiply_rows};
pub(crate) use pack::pack_left;
pub(crate) use tiles::{Hardware, Tiles};
