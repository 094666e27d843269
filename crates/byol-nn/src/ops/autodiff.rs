//! Backward passes of [`VisionOps`]: what the graph keeps and which gradient it asks for.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use byol_kernels::Padding;

use super::layer::{Conv, ConvNorm, Kept, Marks, Normalised, Residual, SoFar, Source};
use super::precision::Precision;
use super::vision::VisionOps;
use crate::dist::Across;

impl<B: VisionOps, C: CheckpointStrategy> VisionOps for Autodiff<B, C> {
    fn conv_norm(
        x: FloatTensor<Self>,
        source: Source<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        options: ConvNorm,
        across: Option<Across>,
        keep: bool,
        marks: Marks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), weight.node(), gamma.node(), beta.node()];
        let shortcut_node = match &residual {
            Residual::None => None,
            Residual::Shortcut(shortcut) => Some(shortcut.node()),
        };
        let (residual, has_residual) = match residual {
            Residual::None => (Residual::None, false),
            Residual::Shortcut(shortcut) => (Residual::Shortcut(shortcut.into_primitive()), true),
        };
        let source = inner_source(source);
        let [x, weight, gamma, beta] = [x, weight, gamma, beta].map(|tensor| tensor.into_primitive());
        let (y, z, mean, variance) = B::conv_norm(
            x,
            source.clone(),
            weight.clone(),
            gamma.clone(),
            beta.clone(),
            residual,
            options,
            across.clone(),
            keep,
            marks.clone(),
        );
        let output = if has_residual { Residual::Shortcut(y.clone()) } else { Residual::None };
        let norm = Normalised { z: z.clone(), mean: mean.clone(), variance: variance.clone(), gamma, beta };
        let state = ConvNormState { source, weight, norm, output, options, across, marks };
        let y = match shortcut_node {
            None => match ConvNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(state, y),
                OpsKind::UnTracked(prepared) => prepared.finish(y),
            },
            Some(shortcut_node) => {
                let [x_node, weight_node, gamma_node, beta_node] = nodes;
                let nodes = [x_node, weight_node, gamma_node, beta_node, shortcut_node];
                match ConvNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state, y),
                    OpsKind::UnTracked(prepared) => prepared.finish(y),
                }
            }
        };
        let constant = Self::FloatTensorPrimitive::new;
        (y, constant(z), constant(mean), constant(variance))
    }

    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, options: Conv) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = B::conv(x.clone(), weight.clone(), options);
        match ConvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(ConvState { x, weight, options }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn conv_affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        options: ConvNorm,
        kept: Arc<Kept>,
    ) -> FloatTensor<Self> {
        let residual = match residual {
            Residual::None => Residual::None,
            Residual::Shortcut(shortcut) => Residual::Shortcut(shortcut.into_primitive()),
        };
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        Self::FloatTensorPrimitive::new(B::conv_affine(x, weight, bias, residual, options, kept))
    }

    fn dense(x: FloatTensor<Self>, weight: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = B::dense(x.clone(), weight.clone(), precision);
        match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(LinearState { x, weight, precision }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn batch_norm_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [z, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive());
        let (y, mean, variance) =
            B::batch_norm_rows(z.clone(), gamma.clone(), beta.clone(), relu, epsilon, across.clone());
        let norm = Normalised { z, mean: mean.clone(), variance: variance.clone(), gamma, beta };
        let y = match BatchNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(BatchNormState { norm, relu, epsilon, across }, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        (y, Self::FloatTensorPrimitive::new(mean), Self::FloatTensorPrimitive::new(variance))
    }

    fn max_pool(x: FloatTensor<Self>, source: Source<Self>, padding: Padding, epsilon: f32) -> FloatTensor<Self> {
        let node = x.node();
        let source = inner_source(source);
        let output = B::max_pool(x.into_primitive(), source.clone(), padding, epsilon);
        let state = MaxPoolState { source, output: output.clone(), padding, epsilon };
        match MaxPoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn global_average_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        let shape = x.shape();
        let precision = Precision::of(x.dtype());
        let output = B::global_average_pool(x.into_primitive());
        match AveragePoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((shape[1], shape[2], precision), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

fn inner_source<B: Backend, C: CheckpointStrategy>(source: Source<Autodiff<B, C>>) -> Source<B> {
    match source {
        Source::Kept(x) => Source::Kept(x.into_primitive()),
        Source::Normalised(Normalised { z, mean, variance, gamma, beta }) => {
            let [z, mean, variance, gamma, beta] =
                [z, mean, variance, gamma, beta].map(|tensor| tensor.into_primitive());
            Source::Normalised(Normalised { z, mean, variance, gamma, beta })
        }
    }
}

#[derive(Debug)]
struct ConvNormBackward;

#[derive(Clone, Debug)]
struct ConvNormState<B: Backend> {
    source: Source<B>,
    weight: FloatTensor<B>,
    norm: Normalised<B>,
    /// The output where a residual was added: the ReLU's sign cannot be computed from `norm` then.
    output: Residual<B>,
    options: ConvNorm,
    across: Option<Across>,
    marks: Marks,
}

/// With four parents (`x`, `weight`, `gamma`, `beta`) there is no residual, with five it is the last.
impl<B: VisionOps, const N: usize> Backward<B, N> for ConvNormBackward {
    type State = ConvNormState<B>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let ConvNormState { source, weight, norm, output, options, across, marks } = ops.state;
        marks.shortcut.set();
        let so_far = match &ops.parents[0] {
            Some(node) if marks.x.set() => SoFar::Sum(gradients.consume::<B>(node)),
            _ => SoFar::Nothing,
        };
        let wants_x = ops.parents[0].is_some();
        let (x, weight, gamma, beta, residual) =
            B::conv_norm_gradient(source, weight, norm, output, output_gradient, options, across, wants_x, so_far);
        for (parent, gradient) in ops.parents.into_iter().zip([x, weight, gamma, beta, residual]) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct ConvBackward;

#[derive(Clone, Debug)]
struct ConvState<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    options: Conv,
}

impl<B: VisionOps> Backward<B, 2> for ConvBackward {
    type State = ConvState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let ConvState { x, weight, options } = ops.state;
        let wants_x = ops.parents[0].is_some();
        let (x, weight) = B::conv_gradient(x, weight, output_gradient, options, wants_x);
        for (parent, gradient) in ops.parents.into_iter().zip([x, weight]) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct LinearBackward;

#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    precision: Precision,
}

impl<B: VisionOps> Backward<B, 2> for LinearBackward {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let LinearState { x, weight, precision } = ops.state;
        let (x, weight) = B::dense_gradient(x, weight, output_gradient, precision);
        for (parent, gradient) in ops.parents.into_iter().zip([x, weight]) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct BatchNormBackward;

#[derive(Clone, Debug)]
struct BatchNormState<B: Backend> {
    norm: Normalised<B>,
    relu: bool,
    epsilon: f32,
    across: Option<Across>,
}

impl<B: VisionOps> Backward<B, 3> for BatchNormBackward {
    type State = BatchNormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let BatchNormState { norm, relu, epsilon, across } = ops.state;
        let (x, gamma, beta) = B::batch_norm_rows_gradient(norm, output_gradient, relu, epsilon, across);
        for (parent, gradient) in ops.parents.into_iter().zip([x, gamma, beta]) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct MaxPoolBackward;

#[derive(Clone, Debug)]
struct MaxPoolState<B: Backend> {
    source: Source<B>,
    output: FloatTensor<B>,
    padding: Padding,
    epsilon: f32,
}

impl<B: VisionOps> Backward<B, 1> for MaxPoolBackward {
    type State = MaxPoolState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let MaxPoolState { source, output, padding, epsilon } = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = B::max_pool_gradient(source, output, output_gradient, padding, epsilon);
            gradients.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct AveragePoolBackward;

impl<B: VisionOps> Backward<B, 1> for AveragePoolBackward {
    type State = (usize, usize, Precision);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let (height, width, precision) = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = B::global_average_pool_gradient(output_gradient, height, width, precision);
            gradients.register::<B>(node.id, gradient);
        }
    }
}
