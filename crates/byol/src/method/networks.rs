//! The pair of networks, and the target's move.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::Device;
use byol_nn::model::{Mlp, MlpConfig, ResNet, Role, initialize_by, update_tensors, visit_tensors, zero_init_residual};
use byol_nn::ops::{self, Precision};

use super::config::{ModelConfig, PredictorKind, TargetKind};
use super::loss::{LossNormalisation, Negatives};

/// The network trained by gradient: `f_θ`, `g_θ` and `q_θ`.
#[derive(Module, Debug)]
pub struct Online {
    /// `f_θ`, the network that is handed over.
    pub encoder: ResNet,
    /// `g_θ`.
    pub projector: Mlp,
    /// `q_θ`; absent in the ablations without predictor or with the optimal one.
    pub predictor: Option<Mlp>,
}

/// The slowly averaged network: `f_ξ` and `g_ξ`. It has no predictor and never sees a gradient.
#[derive(Module, Debug)]
pub struct Target {
    /// `f_ξ`.
    pub encoder: ResNet,
    /// `g_ξ`.
    pub projector: Mlp,
}

/// The pair of networks and how they are used.
#[derive(Clone, Debug)]
pub struct Byol {
    /// Parameters θ, on a device with autodiff.
    pub online: Online,
    /// Parameters ξ, on the same device without autodiff.
    pub target: Target,
    /// What the loss is multiplied by before the pass back, and gradients are divided by; a power of two. 1 unless activations are `f16`.
    pub loss_scale: f32,
    pub(super) target_kind: TargetKind,
    pub(super) comparison: Comparison,
    pub(super) precision: Precision,
}

/// [`Byol::loss_scale`] of the first step in `f16`; a power of two.
pub const FIRST_LOSS_SCALE: f32 = 65536.0;

/// How a prediction is compared with the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) predictor: PredictorKind,
    pub(super) normalisation: LossNormalisation,
    pub(super) negatives: Option<Negatives>,
}

impl Byol {
    /// Builds both networks and fills them from `seed`; the target's draws are its own unless the config says `copy`.
    ///
    /// Pictures have `input_channels`; activations and operands of matrix products are of type `precision`.
    pub fn new(config: &ModelConfig, input_channels: usize, precision: Precision, seed: u64, device: &Device) -> Self {
        let online_device = device.clone().autodiff();
        let encoder = |device: &Device| ResNet::new(&config.resnet(), input_channels, device);
        let head = |inputs, hidden, layers, device: &Device| {
            Mlp::new(MlpConfig { inputs, hidden, outputs: config.projection_size, layers, norm: config.norm }, device)
        };
        let size = config.arch.representation_size();
        let projector = |device: &Device| head(size, config.projector_hidden, config.projector_layers, device);
        let predictor = (config.predictor == PredictorKind::Mlp)
            .then(|| head(config.projection_size, config.predictor_hidden, config.predictor_layers, &online_device));
        let online = Online { encoder: encoder(&online_device), projector: projector(&online_device), predictor };
        let target = Target { encoder: encoder(device), projector: projector(device) };
        let rule = |name: &str| match name.starts_with("encoder.") {
            true => config.initialisation,
            false => config.head_initialisation,
        };
        let target_name = if config.copy_online_to_target { "online" } else { "target" };
        let negatives = (config.negatives_weight > 0.0)
            .then_some(Negatives { weight: config.negatives_weight, temperature: config.negatives_temperature });
        let mut byol = Self {
            online: initialize_by(online, seed, "online", rule),
            target: initialize_by(target, seed, target_name, rule),
            loss_scale: if precision == Precision::F16 { FIRST_LOSS_SCALE } else { 1.0 },
            target_kind: config.target,
            comparison: Comparison { predictor: config.predictor, normalisation: config.loss_normalisation, negatives },
            precision,
        };
        if config.zero_init_residual {
            zero_init_residual(&mut byol.online.encoder);
            zero_init_residual(&mut byol.target.encoder);
        }
        byol
    }

    /// `ξ ← ξ + (1 − τ)(θ − ξ)`, to be called after the optimiser's step; batch-norm statistics stay each network's own.
    pub fn update_target(&mut self, tau: f64) {
        if self.target_kind != TargetKind::MovingAverage {
            return;
        }
        let mut online = HashMap::new();
        visit_tensors(&self.online, |tensor| {
            online.insert(tensor.name.to_owned(), tensor.values);
        });
        update_tensors(
            &mut self.target,
            |_, role| role != Role::Buffer,
            |named, target| {
                let online = named.iter().map(|(name, _)| online.remove(name).expect("of both networks")).collect();
                ops::target_ema(online, target, tau)
            },
        );
    }
}
