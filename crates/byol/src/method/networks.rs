//! The pair of networks, what a batch does to them, and the target's move.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use byol_nn::model::{
    BatchNormMode, Mlp, MlpConfig, NamedGradients, ResNet, Role, add_gradients, initialize_by, update_tensors,
    visit_tensors, zero_init_residual,
};
use byol_nn::ops::{self, Precision};

use super::config::{ModelConfig, PredictorKind, TargetKind};
use super::loss::{LossNormalisation, Negatives, negatives, regression_loss};
use super::optimal_predictor::optimal_prediction;

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
    target_kind: TargetKind,
    comparison: Comparison,
    precision: Precision,
}

/// How a prediction is compared with the target.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    predictor: PredictorKind,
    normalisation: LossNormalisation,
    negatives: Option<Negatives>,
}

/// The loss of a batch and what is watched beside it.
pub struct Losses {
    /// `L` summed over both directions, mean over the batch, without gradient; in `[0, 8]`, about 4 for unrelated networks;
    /// with negatives larger by their term, and without bound for other normalisations than ℓ2.
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

    /// The loss of one batch of view pairs `[batch, height, width, channels]`; its gradients with respect to θ are added to
    /// `sum`, times `scale`.
    ///
    /// The views go through each network one after the other, each normalised by its own batch statistics, in the
    /// target too (spec §2.2). Where the target is a network of its own, a view's graph is gone before the next view
    /// passes: the gradient of a sum is the sum of the gradients, and memory is needed for one view only. The target takes its
    /// views while view 1 passes the online network: a core that waits at the end of a short kernel of one finds work in the
    /// other.
    pub fn add_gradients(
        &mut self,
        [view1, view2]: [Tensor<4>; 2],
        modes: PassModes,
        scale: f32,
        sum: &mut NamedGradients,
    ) -> Losses {
        let (precision, comparison) = (self.precision, self.comparison);
        match self.target_kind {
            TargetKind::MovingAverage | TargetKind::Fixed => {
                let Self { online, target, .. } = self;
                let mut targets = || {
                    let views = [(view1.clone(), modes.first), (view2.clone(), modes.second)];
                    views.map(|(view, mode)| target.forward(view, mode, precision))
                };
                let mut first = || online.forward(view1.clone(), modes.first, precision);
                // A graphics card takes its work from one thread.
                let ([t1, t2], forward1) = match ops::is_processor(&view1.device()) {
                    true => rayon::join(targets, first),
                    false => (targets(), first()),
                };
                let mut half = |online: &Online, Forward { y, z, prediction }, own: &Tensor<2>, other: &Tensor<2>| {
                    let loss = comparison.direction_loss(prediction, own.clone(), other.clone());
                    add_gradients(online, &mut loss.backward(), scale, sum);
                    (loss.without_autodiff(), z.without_autodiff(), y)
                };
                let (loss1, z1, representation) = half(online, forward1, &t1, &t2);
                let forward2 = online.forward(view2, modes.second, precision);
                let (loss2, z2, _) = half(online, forward2, &t2, &t1);
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
                let loss =
                    comparison.direction_loss(p1, t1.clone(), t2.clone()) + comparison.direction_loss(p2, t2, t1);
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
    /// `q(z)`, or `z` itself without a predictor that is a network.
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

impl Comparison {
    /// The loss of one direction: how far the prediction is from `other`, the target's projection of the other view.
    fn direction_loss(self, prediction: Tensor<2>, own: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
        let Self { predictor, normalisation, negatives: with } = self;
        let prediction = match predictor {
            PredictorKind::Mlp | PredictorKind::None => prediction,
            PredictorKind::OptimalLinear => optimal_prediction(prediction, &other, normalisation),
        };
        let attraction = regression_loss(prediction.clone(), other.clone(), normalisation);
        match with {
            Some(Negatives { weight, temperature }) => {
                attraction + negatives(prediction, own, other, temperature) * weight
            }
            None => attraction,
        }
    }
}
