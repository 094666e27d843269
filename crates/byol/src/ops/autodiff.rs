//! Backward passes of [`VisionOps`]: what the graph keeps and which gradient it asks for.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::vision::{Residual, VisionOps};

impl<B: VisionOps, C: CheckpointStrategy> VisionOps for Autodiff<B, C> {
    fn conv2d_nhwc(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let output = B::conv2d_nhwc(x.clone(), weight.clone(), stride, padding);
        match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(ConvolutionState { x, weight, stride, padding }, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn batch_norm_nhwc(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let (x, gamma) = (x.into_primitive(), gamma.into_primitive());
        let (residual, residual_node) = match residual {
            Residual::None => (Residual::None, None),
            Residual::Shortcut(shortcut) => {
                let node = shortcut.node();
                (Residual::Shortcut(shortcut.into_primitive()), Some(node))
            }
        };
        let (output, mean, variance) =
            B::batch_norm_nhwc(x.clone(), gamma.clone(), beta.into_primitive(), residual, relu, epsilon);
        let (kept_mean, kept_variance) = (mean.clone(), variance.clone());
        let state = BatchNormState {
            x,
            gamma,
            mean: kept_mean,
            variance: kept_variance,
            output: output.clone(),
            relu,
            epsilon,
        };
        let output = match residual_node {
            None => match BatchNorm.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(state, output),
                OpsKind::UnTracked(prepared) => prepared.finish(output),
            },
            Some(residual_node) => {
                let [x_node, gamma_node, beta_node] = nodes;
                let nodes = [x_node, gamma_node, beta_node, residual_node];
                match BatchNorm.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state, output),
                    OpsKind::UnTracked(prepared) => prepared.finish(output),
                }
            }
        };
        (output, Self::FloatTensorPrimitive::new(mean), Self::FloatTensorPrimitive::new(variance))
    }
}

#[derive(Debug)]
struct Convolution;

#[derive(Clone, Debug)]
struct ConvolutionState<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    stride: usize,
    padding: usize,
}

impl<B: VisionOps> Backward<B, 2> for Convolution {
    type State = ConvolutionState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        let ConvolutionState { x, weight, stride, padding } = ops.state;
        if let Some(node) = weight_node {
            let (x, weight) = (x.clone(), weight.clone());
            let gradient = B::conv2d_nhwc_weight_gradient(x, weight, output_gradient.clone(), stride, padding);
            gradients.register::<B>(node.id, gradient);
        }
        if let Some(node) = x_node {
            let gradient = B::conv2d_nhwc_input_gradient(x, weight, output_gradient, stride, padding);
            gradients.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct BatchNorm;

#[derive(Clone, Debug)]
struct BatchNormState<B: Backend> {
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    output: FloatTensor<B>,
    relu: bool,
    epsilon: f32,
}

/// With three parents (`x`, `gamma`, `beta`) there is no residual, with four it is the last.
impl<B: VisionOps, const N: usize> Backward<B, N> for BatchNorm {
    type State = BatchNormState<B>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output_gradient = gradients.consume::<B>(&ops.node);
        let BatchNormState { x, gamma, mean, variance, output, relu, epsilon } = ops.state;
        let (x, gamma, beta, residual) =
            B::batch_norm_nhwc_gradient(x, gamma, mean, variance, output, output_gradient, relu, N == 4, epsilon);
        for (parent, gradient) in ops.parents.into_iter().zip([x, gamma, beta, residual]) {
            if let Some(node) = parent {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
