//! The networks: encoder `f` (a ResNet), projector `g` and predictor `q` (two-layer heads).

mod arch;
mod frozen;
mod init;
mod layers;
mod mlp;
mod norm;
mod parameters;
mod resnet;

pub use arch::{Arch, BlockKind, NormKind, PaddingKind, ResNetConfig, Stem};
pub use frozen::FrozenResNet;
pub use init::{Initialisation, initialize, initialize_by, zero_init_residual};
pub use layers::{Conv2d, Linear};
pub use mlp::{Mlp, MlpConfig};
pub use norm::{BatchNormMode, Norm, running_weight};
pub use parameters::{
    NamedGradients, NamedTensor, Role, add_gradients, count_parameters, map_tensors, update_tensors, visit_tensors,
};
pub use resnet::{Layers, ResNet};
