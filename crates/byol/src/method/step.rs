//! What a batch does to the networks: both views through both of them, the losses, the passes back.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::thread;

use burn::tensor::Tensor;
use byol_nn::Result;
use byol_nn::model::{
    BatchNormMode, NamedGradients, ResNet, Role, add_gradients, map_tensors, update_tensors, visit_tensors,
};
use byol_nn::ops::{self, Activation, Precision};

use super::config::{PredictorKind, TargetKind};
use super::loss::{LossNormalisation, Negatives, negatives, regression_loss};
use super::networks::{Byol, Comparison, Online, Target};
use super::optimal_predictor::optimal_prediction;
use super::part::Part;

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

/// Batch-norm modes of the two passes of a step: the running averages are updated twice, view 1 then view 2.
#[derive(Clone, Debug)]
pub struct PassModes {
    /// Mode while view 1 passes.
    pub first: BatchNormMode,
    /// Mode while view 2 passes.
    pub second: BatchNormMode,
}

/// How the views pass the networks where the target is a network of its own. All orders give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// View 2 passes the online network when the graph of view 1 is gone: the gradient of a sum is the sum of the gradients, and
    /// memory is needed for one view only. The target takes its views while view 1 passes the online network.
    InTurn,
    /// Both views, each with a graph of its own: a core that waits at the end of a short kernel of one finds work in the other.
    /// No feature map is computed again. For small networks, where kernels are short and maps take little memory, on a processor.
    SideBySide,
}

/// Values of the largest map of a batch with which two graphs at once take tens of megabytes and not hundreds.
const SIDE_BY_SIDE_MAP_LEN: usize = 4 << 20;

impl Byol {
    /// How batches of so many views of `size_px` pass where this process has all of them.
    pub fn passes(&self, batch_size: usize, size_px: usize) -> Passes {
        match batch_size * self.online.encoder.largest_map(size_px) <= SIDE_BY_SIDE_MAP_LEN {
            true => Passes::SideBySide,
            false => Passes::InTurn,
        }
    }

    /// The loss of one batch of view pairs `[batch, height, width, channels]`; its gradients with respect to θ are added to
    /// `sum`, times `scale`.
    ///
    /// Each view goes through each network normalised by its own batch statistics, in the target too (spec §2.2), in the order of
    /// [`Byol::passes`].
    ///
    /// Of several ranks each has a part of the batch: the gradients that are added are this rank's part of those of the whole batch,
    /// whose sum over the ranks is the batch's.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn add_gradients(
        &mut self,
        views: [Tensor<4>; 2],
        modes: PassModes,
        part: &Part,
        scale: f32,
        sum: &mut NamedGradients,
    ) -> Result<Losses> {
        let [batch, height, width, _] = views[0].dims();
        let passes = self.passes(batch, height.max(width));
        self.add_gradients_by(passes, views, modes, part, scale, sum)
    }

    /// [`Byol::add_gradients`] with the views in this order, if this is a processor and the only rank.
    ///
    /// # Errors
    /// As there.
    pub fn add_gradients_by(
        &mut self,
        passes: Passes,
        views: [Tensor<4>; 2],
        modes: PassModes,
        part: &Part,
        scale: f32,
        sum: &mut NamedGradients,
    ) -> Result<Losses> {
        // Ranks talk in one order.
        let is_alone = part.ranks.is_alone() && ops::is_processor(&views[0].device());
        let batch = Batch { views, modes, part, scale: scale / self.loss_scale, sum };
        match self.target_kind {
            TargetKind::StopGradient | TargetKind::Gradient => self.views_without_target(batch),
            TargetKind::MovingAverage | TargetKind::Fixed => match passes {
                Passes::SideBySide if is_alone => self.views_side_by_side(batch),
                _ => self.views_in_turn(batch),
            },
        }
    }

    fn views_side_by_side(&mut self, batch: Batch) -> Result<Losses> {
        let Batch { views: [view1, view2], modes, part, scale, sum } = batch;
        let Self { online, target, comparison, precision, loss_scale, .. } = self;
        let views = [view1.clone(), view2.clone()];
        let ([t1, t2], (forward1, forward2, second)) = rayon::join(
            || target.both(views, &modes, *precision),
            || {
                let forward1 = online.forward(view1, &modes.first.clone().keeping_maps(), *precision);
                // Graphs that share a parameter are one to Burn, which lets one thread pass back through it.
                let mut second = map_tensors(online.clone(), |_, _, values| values);
                let forward2 = second.forward(view2, &modes.second.clone().keeping_maps(), *precision);
                (forward1, forward2, second)
            },
        );
        let loss1 = comparison.direction_loss(forward1.prediction, t1.clone(), t2.clone(), part)?;
        let loss2 = comparison.direction_loss(forward2.prediction, t2, t1, part)?;
        let loss = loss1.clone().without_autodiff() + loss2.clone().without_autodiff();
        let back = |loss| comparison.passed_back(loss, part, *loss_scale).backward();
        let (mut gradients1, mut gradients2) = rayon::join(|| back(loss1), || back(loss2));
        add_gradients(online, &mut gradients1, scale, sum);
        add_gradients(&second, &mut gradients2, scale, sum);
        // With the running averages of both views.
        *online = second;
        let projections = [forward1.z.without_autodiff(), forward2.z.without_autodiff()];
        Ok(Losses { loss, projections, representation: forward1.y })
    }

    fn views_in_turn(&mut self, batch: Batch) -> Result<Losses> {
        let Batch { views: [view1, view2], modes, part, scale, sum } = batch;
        let Self { online, target, comparison, precision, loss_scale, .. } = self;
        let precision = *precision;
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
        add_gradients(online, &mut comparison.passed_back(loss1.clone(), part, *loss_scale).backward(), scale, sum);
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
        let mut gradients = comparison.passed_back(loss2.clone(), part, *loss_scale).backward();
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

    fn views_without_target(&mut self, batch: Batch) -> Result<Losses> {
        let Batch { views: [view1, view2], modes, part, scale, sum } = batch;
        let Self { online, comparison, precision, loss_scale, .. } = self;
        let Forward { y: representation, z: z1, prediction: p1 } =
            online.forward(view1, &part.mode(&modes.first), *precision);
        let Forward { z: z2, prediction: p2, .. } = online.forward(view2, &part.mode(&modes.second), *precision);
        let [t1, t2] = match self.target_kind {
            TargetKind::Gradient => [z1.clone(), z2.clone()],
            _ => [z1.clone().without_autodiff(), z2.clone().without_autodiff()],
        };
        let loss = comparison.direction_loss(p1, t1.clone(), t2.clone(), part)?
            + comparison.direction_loss(p2, t2, t1, part)?;
        add_gradients(online, &mut comparison.passed_back(loss.clone(), part, *loss_scale).backward(), scale, sum);
        let projections = [z1.without_autodiff(), z2.without_autodiff()];
        Ok(Losses { loss: loss.without_autodiff(), projections, representation })
    }
}

/// What [`Byol::add_gradients`] is given.
struct Batch<'a> {
    views: [Tensor<4>; 2],
    modes: PassModes,
    part: &'a Part,
    scale: f32,
    sum: &'a mut NamedGradients,
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
        update_tensors(
            self,
            |_, role| role == Role::Buffer,
            |named, averages| {
                let batch = named.iter().map(|(name, _)| batch.remove(name).expect("of both copies")).collect();
                ops::target_ema(batch, averages, 1.0 - weight2)
            },
        );
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

    /// What is passed back of the loss of the pictures here. Before the pass back, because its batch norms mix the gradients of all ranks.
    fn passed_back(self, loss: Tensor<1>, part: &Part, loss_scale: f32) -> Tensor<1> {
        let share = if part.ranks.is_alone() || self.sees_the_whole_batch() { 1.0 } else { part.share };
        match share * loss_scale {
            1.0 => loss,
            factor => loss * factor,
        }
    }

    /// Whether the loss of a picture depends on the other pictures of the batch.
    fn sees_the_whole_batch(self) -> bool {
        self.negatives.is_some()
            || self.predictor == PredictorKind::OptimalLinear
            || self.normalisation == LossNormalisation::BatchNorm
    }
}
