//! The pair of networks, what a batch does to them, and the target's move.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::thread;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use byol_nn::Result;
use byol_nn::model::{
    BatchNormMode, Mlp, MlpConfig, NamedGradients, ResNet, Role, add_gradients, initialize_by, update_tensors,
    visit_tensors, zero_init_residual,
};
use byol_nn::ops::{self, Activation, Precision};

use super::config::{ModelConfig, PredictorKind, TargetKind};
use super::loss::{LossNormalisation, Negatives, negatives, regression_loss};
use super::optimal_predictor::optimal_prediction;
use super::part::Part;

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
    ///
    /// Of several ranks each has a part of the batch: the gradients that are added are this rank's part of those of the whole batch,
    /// whose sum over the ranks is the batch's.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn add_gradients(
        &mut self,
        [view1, view2]: [Tensor<4>; 2],
        modes: PassModes,
        part: &Part,
        scale: f32,
        sum: &mut NamedGradients,
    ) -> Result<Losses> {
        let (precision, comparison) = (self.precision, self.comparison);
        // Before the pass back: its batch norms mix the gradients of all ranks.
        let of_the_batch = |loss: Tensor<1>| match part.ranks.is_alone() || comparison.sees_the_whole_batch() {
            true => loss,
            false => loss * part.share,
        };
        match self.target_kind {
            TargetKind::MovingAverage | TargetKind::Fixed => {
                let Self { online, target, .. } = self;
                let views = [view1.clone(), view2.clone()];
                let mut first = |mode: &BatchNormMode| online.forward(view1.clone(), mode, precision);
                let ([t1, t2], forward1) = match &part.statistics {
                    None => {
                        let targets = || target.both(views, &modes, precision);
                        let mut first = || first(&modes.first);
                        // A graphics card takes its work from one thread.
                        match ops::is_processor(&view1.device()) {
                            true => rayon::join(targets, first),
                            false => (targets(), first()),
                        }
                    }
                    Some(ranks) => {
                        let [mode1, mode2, mode] = part.modes_beside(ranks, &modes);
                        target.both_beside(views, [mode1, mode2], precision, || first(&mode))
                    }
                };
                let Forward { y: representation, z: z1, prediction } = forward1;
                let loss1 = comparison.direction_loss(prediction, t1.clone(), t2.clone(), part)?;
                add_gradients(online, &mut of_the_batch(loss1.clone()).backward(), scale, sum);
                let (loss1, z1) = (loss1.without_autodiff(), z1.without_autodiff());

                let mode = part.mode(&modes.second);
                let before = online.encoder.before_last_group(view2, &mut &mode, precision);
                // The graph is cut before the encoder's last group, where most weights are behind: they travel while the pass goes on.
                let (last, cut) = match &part.sums {
                    None => (before, None),
                    Some(sums) => {
                        let leaf = before.leaf();
                        (leaf.clone(), Some((sums, before, leaf)))
                    }
                };
                let Forward { z: z2, prediction, .. } = online.forward_last(last, &mode, precision);
                let loss2 = comparison.direction_loss(prediction, t2, t1, part)?;
                let mut gradients = of_the_batch(loss2.clone()).backward();
                add_gradients(online, &mut gradients, scale, sum);
                if let Some((sums, before, leaf)) = cut {
                    let early = sum.extract_if(.., |name, _| Online::is_behind_the_cut(name)).collect();
                    sums.begin(early)?;
                    let gradient = leaf.values.grad_remove(&mut gradients).expect("a leaf has a gradient");
                    // The gradient of Σ x·g by x is g, to the bit.
                    let rest = (before.values * gradient.autodiff()).sum();
                    add_gradients(online, &mut rest.backward(), scale, sum);
                }
                let projections = [z1, z2.without_autodiff()];
                Ok(Losses { loss: loss1 + loss2.without_autodiff(), projections, representation })
            }
            TargetKind::StopGradient | TargetKind::Gradient => {
                let Forward { y: representation, z: z1, prediction: p1 } =
                    self.online.forward(view1, &part.mode(&modes.first), precision);
                let Forward { z: z2, prediction: p2, .. } =
                    self.online.forward(view2, &part.mode(&modes.second), precision);
                let [t1, t2] = match self.target_kind {
                    TargetKind::Gradient => [z1.clone(), z2.clone()],
                    _ => [z1.clone().without_autodiff(), z2.clone().without_autodiff()],
                };
                let loss = comparison.direction_loss(p1, t1.clone(), t2.clone(), part)?
                    + comparison.direction_loss(p2, t2, t1, part)?;
                add_gradients(&self.online, &mut of_the_batch(loss.clone()).backward(), scale, sum);
                let projections = [z1.without_autodiff(), z2.without_autodiff()];
                Ok(Losses { loss: loss.without_autodiff(), projections, representation })
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
#[derive(Clone, Debug)]
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
    fn forward(&mut self, view: Tensor<4>, mode: &BatchNormMode, precision: Precision) -> Forward {
        let x = self.encoder.before_last_group(view, &mut &*mode, precision);
        self.forward_last(x, mode, precision)
    }

    /// Whether the gradient of this parameter is known when a pass back has come to the encoder's last group.
    fn is_behind_the_cut(name: &str) -> bool {
        name.strip_prefix("encoder.").is_none_or(|name| name.starts_with(ResNet::LAST_GROUP))
    }

    /// From the encoder's last group on.
    fn forward_last(&mut self, x: Activation, mode: &BatchNormMode, precision: Precision) -> Forward {
        let y = self.encoder.last_group(x, &mut &*mode);
        let z = self.projector.forward(y.clone(), mode, precision);
        let prediction = match &mut self.predictor {
            Some(predictor) => predictor.forward(z.clone(), mode, precision),
            None => z.clone(),
        };
        Forward { y: y.without_autodiff(), z, prediction }
    }
}

impl Target {
    fn forward(&mut self, view: Tensor<4>, mode: &BatchNormMode, precision: Precision) -> Tensor<2> {
        self.projector.forward(self.encoder.forward(view, mode, precision), mode, precision)
    }

    /// Both views, one after the other.
    fn both(&mut self, [view1, view2]: [Tensor<4>; 2], modes: &PassModes, precision: Precision) -> [Tensor<2>; 2] {
        [self.forward(view1, &modes.first, precision), self.forward(view2, &modes.second, precision)]
    }

    /// Both views and `online`, each in a thread of its own, as passes do that wait for each other's sums. The second view passes a copy,
    /// whose running averages become those of its batch and are folded into the network's afterwards.
    fn both_beside<T>(
        &mut self,
        [view1, view2]: [Tensor<4>; 2],
        [mode1, mode2]: [BatchNormMode; 2],
        precision: Precision,
        online: impl FnOnce() -> T,
    ) -> ([Tensor<2>; 2], T) {
        let mut second = self.clone();
        let weight2 = mode2.running_weight();
        let passed = thread::scope(|scope| {
            let t1 = scope.spawn(|| self.forward(view1, &{ mode1 }, precision));
            let t2 = scope.spawn(|| second.forward(view2, &{ mode2 }.with_running_weight(1.0), precision));
            let forward = online();
            ([t1, t2].map(|pass| pass.join().unwrap_or_else(|panicked| resume_unwind(panicked))), forward)
        });
        let mut batch = HashMap::new();
        visit_tensors(&second, |tensor| {
            if tensor.role == Role::Buffer {
                batch.insert(tensor.name.to_owned(), tensor.values);
            }
        });
        update_tensors(self, |name, _, average| match batch.remove(name) {
            Some(batch) => ops::target_ema(batch, average, 1.0 - weight2),
            None => average,
        });
        passed
    }
}

impl Comparison {
    /// The loss of one direction: how far the prediction is from `other`, the target's projection of the other view.
    ///
    /// Where a picture's loss depends on the other pictures of the batch, every rank computes the loss of the whole batch, of which only
    /// its own rows carry a gradient: the sum over the ranks is then the gradient of that loss.
    fn direction_loss(self, prediction: Tensor<2>, own: Tensor<2>, other: Tensor<2>, part: &Part) -> Result<Tensor<1>> {
        let Self { predictor, normalisation, negatives: with } = self;
        let [prediction, own, other] = match self.sees_the_whole_batch() {
            true => [part.gathered(prediction)?, part.gathered(own)?, part.gathered(other)?],
            false => [prediction, own, other],
        };
        let prediction = match predictor {
            PredictorKind::Mlp | PredictorKind::None => prediction,
            PredictorKind::OptimalLinear => optimal_prediction(prediction, &other, normalisation),
        };
        let attraction = regression_loss(prediction.clone(), other.clone(), normalisation);
        Ok(match with {
            Some(Negatives { weight, temperature }) => {
                attraction + negatives(prediction, own, other, temperature) * weight
            }
            None => attraction,
        })
    }

    /// Whether the loss of a picture depends on the other pictures of the batch.
    fn sees_the_whole_batch(self) -> bool {
        self.negatives.is_some()
            || self.predictor == PredictorKind::OptimalLinear
            || self.normalisation == LossNormalisation::BatchNorm
    }
}
