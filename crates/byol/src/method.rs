//! The method (paper §3.1, Algorithm 1): online and target network, predictor, loss, target update.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use byol_nn::model::{
    Arch, BatchNormMode, Mlp, NamedGradients, ResNet, Role, Stem, add_gradients, initialize, update_tensors,
    visit_tensors, zero_init_residual,
};
use byol_nn::ops::{self, Precision};
use serde::{Deserialize, Serialize};

/// Networks (spec §1) and the roles they play (§2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Encoder, for example `resnet50` or `resnet18x0.25`.
    pub arch: Arch,
    /// `imagenet` or `cifar`.
    pub stem: Stem,
    /// Hidden units of the projector.
    pub projector_hidden: usize,
    /// Hidden units of the predictor.
    pub predictor_hidden: usize,
    /// Linear layers of the projector, 1 to 3; 2 in the paper (Table 14a varies it).
    #[serde(default = "paper_layers")]
    pub projector_layers: usize,
    /// Linear layers of the predictor, 1 to 3; 2 in the paper.
    #[serde(default = "paper_layers")]
    pub predictor_layers: usize,
    /// Outputs of projector and predictor.
    pub projection_size: usize,
    /// Decay of the running batch-norm averages.
    pub batch_norm_decay: f64,
    /// Start the last norm of each bottleneck at 0, as the public reference code; the paper's numbers had it at 1.
    pub zero_init_residual: bool,
    /// Start the target as a copy of the online network (paper J.5) rather than from its own draws (reference code).
    pub copy_online_to_target: bool,
    /// Whether the online network has a predictor; without one BYOL collapses (paper Table 5b).
    pub predictor: bool,
    /// What the prediction is compared with.
    pub target: TargetKind,
    /// β, the weight of the other pictures as negatives: 0 is BYOL, 1 with `target = "gradient"` and without predictor is
    /// SimCLR (paper §5, Table 5b); see [`negatives`].
    #[serde(default)]
    pub negatives_weight: f32,
    /// α, the temperature of the negatives; 0.1 in the paper.
    #[serde(default = "paper_temperature")]
    pub negatives_temperature: f32,
}

/// Depth of both heads before there was a key for it.
fn paper_layers() -> usize {
    2
}

/// α of the paper's Table 5b.
fn paper_temperature() -> f32 {
    0.1
}

/// The network trained by gradient: `f_θ`, `g_θ` and `q_θ`.
#[derive(Module, Debug)]
pub struct Online {
    /// `f_θ`, the network that is handed over.
    pub encoder: ResNet,
    /// `g_θ`.
    pub projector: Mlp,
    /// `q_θ`; absent only in the ablation without predictor.
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

/// What the online prediction is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The moving average of the online network: BYOL.
    MovingAverage,
    /// The online network itself, without gradient (τ = 0; paper Table 5a).
    StopGradient,
    /// The online network itself, with gradient: collapses (paper Table 5b).
    Gradient,
    /// The random network the target starts as (τ = 1; paper Table 5a).
    Fixed,
}

/// The pair of networks and how they are used.
#[derive(Clone, Debug)]
pub struct Byol {
    /// Parameters θ, on a device with autodiff.
    pub online: Online,
    /// Parameters ξ, on the same device without autodiff.
    pub target: Target,
    target_kind: TargetKind,
    negatives: Option<Negatives>,
    precision: Precision,
}

/// β > 0 and α of the loss with negatives.
#[derive(Clone, Copy, Debug)]
struct Negatives {
    weight: f32,
    temperature: f32,
}

/// The loss of a batch and what is watched beside it.
pub struct Losses {
    /// `L` summed over both directions, mean over the batch, without gradient; in `[0, 8]`, about 4 for unrelated networks;
    /// with negatives larger by their term.
    pub loss: Tensor<1>,
    /// Online projections of the two views `[batch, size]`, without gradient.
    pub projections: [Tensor<2>; 2],
    /// Online representations `y` of view 1 `[batch, size]`, without gradient: what the linear probe learns from (spec §2.1).
    pub representation: Tensor<2>,
}

impl Byol {
    /// Builds both networks and fills them from `seed`; the target's draws are its own unless the config says `copy`.
    ///
    /// Pictures have `input_channels`; activations and operands of matrix products are of type `precision`.
    pub fn new(config: &ModelConfig, input_channels: usize, precision: Precision, seed: u64, device: &Device) -> Self {
        let online_device = device.clone().autodiff();
        let size = config.arch.representation_size();
        let encoder = |device: &Device| ResNet::new(config.arch, config.stem, input_channels, device);
        let outputs = config.projection_size;
        let projector =
            |device: &Device| Mlp::new(size, config.projector_hidden, outputs, config.projector_layers, device);
        let predictor = config
            .predictor
            .then(|| Mlp::new(outputs, config.predictor_hidden, outputs, config.predictor_layers, &online_device));
        let online = Online { encoder: encoder(&online_device), projector: projector(&online_device), predictor };
        let target = Target { encoder: encoder(device), projector: projector(device) };
        let target_name = if config.copy_online_to_target { "online" } else { "target" };
        let mut byol = Self {
            online: initialize(online, seed, "online"),
            target: initialize(target, seed, target_name),
            target_kind: config.target,
            negatives: (config.negatives_weight > 0.0)
                .then_some(Negatives { weight: config.negatives_weight, temperature: config.negatives_temperature }),
            precision,
        };
        if config.zero_init_residual {
            zero_init_residual(&mut byol.online.encoder);
            zero_init_residual(&mut byol.target.encoder);
        }
        byol
    }

    /// The loss of one batch of view pairs `[batch, height, width, channels]`; its gradients with respect to θ are added to
    /// `sum`, times `scale`.
    ///
    /// The views go through each network one after the other, each normalised by its own batch statistics, in the
    /// target too (spec §2.2). Where the target is a network of its own, a view's graph is gone before the next view
    /// passes: the gradient of a sum is the sum of the gradients, and memory is needed for one view only.
    pub fn add_gradients(
        &mut self,
        [view1, view2]: [Tensor<4>; 2],
        modes: PassModes,
        scale: f32,
        sum: &mut NamedGradients,
    ) -> Losses {
        let precision = self.precision;
        match self.target_kind {
            TargetKind::MovingAverage | TargetKind::Fixed => {
                let t1 = self.target.forward(view1.clone(), modes.first, precision);
                let t2 = self.target.forward(view2.clone(), modes.second, precision);
                let mut half = |view, mode, own: &Tensor<2>, other: &Tensor<2>| {
                    let Forward { y, z, prediction } = self.online.forward(view, mode, precision);
                    let loss = direction_loss(self.negatives, prediction, own.clone(), other.clone());
                    add_gradients(&self.online, &mut loss.backward(), scale, sum);
                    (loss.without_autodiff(), z.without_autodiff(), y)
                };
                let (loss1, z1, representation) = half(view1, modes.first, &t1, &t2);
                let (loss2, z2, _) = half(view2, modes.second, &t2, &t1);
                Losses { loss: loss1 + loss2, projections: [z1, z2], representation }
            }
            TargetKind::StopGradient | TargetKind::Gradient => {
                let Forward { y: representation, z: z1, prediction: p1 } =
                    self.online.forward(view1, modes.first, precision);
                let Forward { z: z2, prediction: p2, .. } = self.online.forward(view2, modes.second, precision);
                let [t1, t2] = match self.target_kind {
                    TargetKind::Gradient => [z1.clone(), z2.clone()],
                    _ => [z1.clone().without_autodiff(), z2.clone().without_autodiff()],
                };
                let loss = direction_loss(self.negatives, p1, t1.clone(), t2.clone())
                    + direction_loss(self.negatives, p2, t2, t1);
                add_gradients(&self.online, &mut loss.backward(), scale, sum);
                let projections = [z1.without_autodiff(), z2.without_autodiff()];
                Losses { loss: loss.without_autodiff(), projections, representation }
            }
        }
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
        update_tensors(&mut self.target, |name, role, target| match role {
            Role::Buffer => target,
            _ => ops::target_ema(online[name].clone(), target, tau),
        });
    }
}

/// Batch-norm modes of the two passes of a step: the running averages are updated twice, view 1 then view 2.
#[derive(Clone, Copy, Debug)]
pub struct PassModes {
    /// Mode while view 1 passes.
    pub first: BatchNormMode,
    /// Mode while view 2 passes.
    pub second: BatchNormMode,
}

/// What one view becomes in the online network.
struct Forward {
    /// `f(v)`, without gradient.
    y: Tensor<2>,
    /// `g(f(v))`.
    z: Tensor<2>,
    /// `q(z)`, or `z` itself without a predictor.
    prediction: Tensor<2>,
}

impl Online {
    fn forward(&mut self, view: Tensor<4>, mode: BatchNormMode, precision: Precision) -> Forward {
        let y = self.encoder.forward(view, mode, precision);
        let z = self.projector.forward(y.clone(), mode, precision);
        let prediction = match &mut self.predictor {
            Some(predictor) => predictor.forward(z.clone(), mode, precision),
            None => z.clone(),
        };
        Forward { y: y.without_autodiff(), z, prediction }
    }
}

impl Target {
    fn forward(&mut self, view: Tensor<4>, mode: BatchNormMode, precision: Precision) -> Tensor<2> {
        self.projector.forward(self.encoder.forward(view, mode, precision), mode, precision)
    }
}

/// `‖p̄ − z̄′‖² = 2 − 2·⟨p, z′⟩ / (‖p‖·‖z′‖)` (paper eq. 2), mean over the batch.
pub fn regression_loss(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let difference = ops::l2_normalize(prediction) - ops::l2_normalize(target);
    difference.square().sum_dim(1).mean()
}

/// The term that pushes a prediction away from every other picture of the batch (paper §5, InfoNCE with α and β):
/// `2α · mean_i ln( Σ_{j≠i} exp(S(v_i, v_j)/α) + Σ_j exp(S(v_i, v′_j)/α) )`, S the cosine of the prediction of `v_i` and
/// the target's projections of the same view, `own`, and of the other one, `other`; all `[batch, size]`.
///
/// [`regression_loss`] plus this times β is `2 − InfoNCE`, so that β = 0 is BYOL and β = 1 the loss of SimCLR
/// times 2α. The batch is a micro-batch where gradients are accumulated.
pub fn negatives(prediction: Tensor<2>, own: Tensor<2>, other: Tensor<2>, temperature: f32) -> Tensor<1> {
    let p = ops::l2_normalize(prediction) / temperature;
    let cosines = |target: Tensor<2>| p.clone().matmul(ops::l2_normalize(target).transpose());
    let [batch, _] = p.dims();
    // A picture is no negative of itself; −∞ would make NaN of its gradient.
    let itself = Tensor::<2>::eye(batch, &p.device().inner()) * -1e9;
    let similarities = Tensor::cat(vec![cosines(own) + itself, cosines(other)], 1);
    let largest = similarities.clone().detach().max_dim(1);
    let log_sum = (similarities - largest.clone()).exp().sum_dim(1).log() + largest;
    log_sum.mean() * (2.0 * temperature)
}

fn direction_loss(with: Option<Negatives>, prediction: Tensor<2>, own: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
    let attraction = regression_loss(prediction.clone(), other.clone());
    match with {
        Some(Negatives { weight, temperature }) => attraction + negatives(prediction, own, other, temperature) * weight,
        None => attraction,
    }
}

/// Mean over dimensions of the standard deviation over the batch of unit-length projections: 1/√size when they are
/// spread evenly, 0 when all are equal (collapse; spec §7.2).
pub fn projection_std(projection: Tensor<2>) -> Tensor<1> {
    ops::l2_normalize(projection).var_bias(0).sqrt().mean()
}

/// Mean cosine between the online projections of the two views, in `[−1, 1]`.
pub fn positive_cosine(z1: Tensor<2>, z2: Tensor<2>) -> Tensor<1> {
    (ops::l2_normalize(z1) * ops::l2_normalize(z2)).sum_dim(1).mean()
}
