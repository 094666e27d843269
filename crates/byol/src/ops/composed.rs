//! The heavy operations composed of Burn's own, for any backend: the default bodies of [`super::VisionOps`].

use burn::backend::ops::BatchNormTrainBackward;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions;

use super::vision::Residual;

const NHWC_TO_NCHW: [usize; 4] = [0, 3, 1, 2];
const NCHW_TO_NHWC: [usize; 4] = [0, 2, 3, 1];

pub fn conv2d<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, stride: usize, padding: usize) -> FloatTensor<B> {
    let x = B::float_permute(x, &NHWC_TO_NCHW);
    B::float_permute(B::conv2d(x, weight, None, conv_options(stride, padding)), &NCHW_TO_NHWC)
}

pub fn conv2d_input_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    output_gradient: FloatTensor<B>,
    stride: usize,
    padding: usize,
) -> FloatTensor<B> {
    let [x, output_gradient] = [x, output_gradient].map(|tensor| B::float_permute(tensor, &NHWC_TO_NCHW));
    let gradient = B::conv2d_x_backward(x, weight, output_gradient, conv_options(stride, padding));
    B::float_permute(gradient, &NCHW_TO_NHWC)
}

pub fn conv2d_weight_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    output_gradient: FloatTensor<B>,
    stride: usize,
    padding: usize,
) -> FloatTensor<B> {
    let [x, output_gradient] = [x, output_gradient].map(|tensor| B::float_permute(tensor, &NHWC_TO_NCHW));
    B::conv2d_weight_backward(x, weight, output_gradient, conv_options(stride, padding))
}

pub fn batch_norm<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    residual: Residual<B>,
    relu: bool,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = x.shape();
    let normalised = B::batch_norm_train(flatten::<B>(x), gamma, beta, f64::from(epsilon));
    let mut output = B::float_reshape(normalised.output, shape);
    if let Residual::Shortcut(residual) = residual {
        output = B::float_add(output, residual);
    }
    let output = if relu { B::relu(output) } else { output };
    (output, normalised.mean, normalised.variance)
}

#[expect(clippy::too_many_arguments, reason = "one argument per symbol of the formula")]
pub fn batch_norm_gradient<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    output: FloatTensor<B>,
    output_gradient: FloatTensor<B>,
    relu: bool,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = x.shape();
    let gradient = if relu { B::relu_backward(output, output_gradient) } else { output_gradient };
    let flat = flatten::<B>(gradient.clone());
    let BatchNormTrainBackward { x_grad, gamma_grad, beta_grad } =
        B::batch_norm_train_backward(flatten::<B>(x), gamma, mean, variance, f64::from(epsilon), flat);
    (B::float_reshape(x_grad, shape), gamma_grad, beta_grad, gradient)
}

fn conv_options(stride: usize, padding: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1)
}

/// `[…, channels]` → `[positions, channels]`.
fn flatten<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let channels = shape[shape.num_dims() - 1];
    B::float_reshape(x, Shape::new([shape.num_elements() / channels, channels]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::VisionOps;
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use byol_data::{Random, Stream};

    fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
        let mut random = Random::new(seed, Stream::Drawing, 0, 0);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal()).collect();
        FlexTensor::from_data(TensorData::new(values, shape))
    }

    fn assert_close(composed: FlexTensor, kernels: FlexTensor) {
        assert_eq!(composed.shape(), kernels.shape());
        let values = |tensor: FlexTensor| tensor.into_data().try_into_vec::<f32>().unwrap();
        for (a, b) in values(composed.to_contiguous()).into_iter().zip(values(kernels)) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    #[test]
    fn convolutions_agree_with_the_kernels() {
        for (inputs, outputs, kernel, stride) in [(3, 5, 7, 2), (4, 6, 3, 1), (4, 6, 3, 2), (5, 3, 1, 2)] {
            let (x, weight) = (tensor([2, 9, 8, inputs], 1), tensor([outputs, inputs, kernel, kernel], 2));
            let y = Flex::conv2d_nhwc(x.clone(), weight.clone(), stride, kernel / 2);
            let dy = tensor([2, y.shape()[1], y.shape()[2], outputs], 3);
            let arguments = || (x.clone(), weight.clone(), dy.clone(), stride, kernel / 2);
            assert_close(conv2d::<Flex>(x.clone(), weight.clone(), stride, kernel / 2), y);
            let (a, b, c, d, e) = arguments();
            assert_close(conv2d_input_gradient::<Flex>(a, b, c, d, e), {
                let (a, b, c, d, e) = arguments();
                Flex::conv2d_nhwc_input_gradient(a, b, c, d, e)
            });
            let (a, b, c, d, e) = arguments();
            assert_close(conv2d_weight_gradient::<Flex>(a, b, c, d, e), {
                let (a, b, c, d, e) = arguments();
                Flex::conv2d_nhwc_weight_gradient(a, b, c, d, e)
            });
        }
    }

    #[test]
    fn batch_norm_agrees_with_the_kernels() {
        let (x, gamma, beta) = (tensor([3, 4, 5, 6], 1), tensor([6], 2), tensor([6], 3));
        for (residual, relu) in
            [(Residual::None, false), (Residual::None, true), (Residual::Shortcut(tensor([3, 4, 5, 6], 4)), true)]
        {
            let wants_residual = matches!(residual, Residual::Shortcut(_));
            let ours = batch_norm::<Flex>(x.clone(), gamma.clone(), beta.clone(), residual.clone(), relu, 1e-5);
            let theirs = Flex::batch_norm_nhwc(x.clone(), gamma.clone(), beta.clone(), residual, relu, 1e-5);
            let (y, mean, variance) = theirs.clone();
            assert_close(ours.0, theirs.0);
            assert_close(ours.1, theirs.1);
            assert_close(ours.2, theirs.2);
            let dy = tensor([3, 4, 5, 6], 5);
            let forward = || (x.clone(), gamma.clone(), mean.clone(), variance.clone(), y.clone(), dy.clone());
            let (a, b, c, d, e, f) = forward();
            let ours = batch_norm_gradient::<Flex>(a, b, c, d, e, f, relu, 1e-5);
            let (a, b, c, d, e, f) = forward();
            let theirs = Flex::batch_norm_nhwc_gradient(a, b, c, d, e, f, relu, wants_residual, 1e-5);
            assert_close(ours.0, theirs.0);
            assert_close(ours.1, theirs.1);
            assert_close(ours.2, theirs.2);
            if wants_residual {
                assert_close(ours.3, theirs.3);
            }
        }
    }
}
