//! The networks: encoder `f` (a ResNet), projector `g` and predictor `q` (two-layer heads).

mod arch;
mod init;
mod layers;
mod mlp;
mod parameters;
mod resnet;

pub use arch::{Arch, BlockKind, Stem};
pub use init::{initialize, zero_init_residual};
pub use layers::{BatchNorm, BatchNormMode, Conv2d, Linear, running_weight};
pub use mlp::Mlp;
pub use parameters::{
    NamedGradients, NamedTensor, Role, add_gradients, count_parameters, map_tensors, update_tensors, visit_tensors,
};
pub use resnet::ResNet;
