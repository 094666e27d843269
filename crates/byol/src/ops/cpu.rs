//! [`VisionOps`] on the CPU backend: slices in, `byol-kernels`, tensors out.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};
use byol_kernels::{BatchNorm, ConvShape};

use super::vision::{Residual, VisionOps};

impl VisionOps for Flex {
    fn conv2d_nhwc(x: FlexTensor, weight: FlexTensor, stride: usize, padding: usize) -> FlexTensor {
        let shape = conv_shape(&x.shape(), &weight.shape(), stride, padding);
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let mut y = vec![0.0; shape.output_len()];
        byol_kernels::conv2d(&shape, values(&x), values(&weight), &mut y);
        tensor(y, Shape::new([shape.batch, shape.output_height(), shape.output_width(), shape.outputs]))
    }

    fn conv2d_nhwc_input_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        output_gradient: FlexTensor,
        stride: usize,
        padding: usize,
    ) -> FlexTensor {
        let shape = conv_shape(&x.shape(), &weight.shape(), stride, padding);
        let (weight, output_gradient) = (weight.to_contiguous(), output_gradient.to_contiguous());
        let mut gradient = vec![0.0; shape.input_len()];
        byol_kernels::conv2d_input_gradient(&shape, values(&weight), values(&output_gradient), &mut gradient);
        tensor(gradient, x.shape())
    }

    fn conv2d_nhwc_weight_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        output_gradient: FlexTensor,
        stride: usize,
        padding: usize,
    ) -> FlexTensor {
        let shape = conv_shape(&x.shape(), &weight.shape(), stride, padding);
        let (x, output_gradient) = (x.to_contiguous(), output_gradient.to_contiguous());
        let mut gradient = vec![0.0; shape.weight_len()];
        byol_kernels::conv2d_weight_gradient(&shape, values(&x), values(&output_gradient), &mut gradient);
        tensor(gradient, weight.shape())
    }

    fn batch_norm_nhwc(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        residual: Residual<Self>,
        relu: bool,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shape = x.shape();
        let norm = BatchNorm { channels: gamma.shape().num_elements(), epsilon, relu };
        let (x, gamma, beta) = (x.to_contiguous(), gamma.to_contiguous(), beta.to_contiguous());
        let residual = match residual {
            Residual::None => None,
            Residual::Shortcut(residual) => Some(residual.to_contiguous()),
        };
        let mut y = vec![0.0; shape.num_elements()];
        let (mut mean, mut variance) = (vec![0.0; norm.channels], vec![0.0; norm.channels]);
        byol_kernels::batch_norm(
            &norm,
            values(&x),
            values(&gamma),
            values(&beta),
            residual.as_ref().map(values),
            &mut y,
            &mut mean,
            &mut variance,
        );
        let per_channel = || Shape::new([norm.channels]);
        (tensor(y, shape), tensor(mean, per_channel()), tensor(variance, per_channel()))
    }

    fn batch_norm_nhwc_gradient(
        x: FlexTensor,
        gamma: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        output: FlexTensor,
        output_gradient: FlexTensor,
        relu: bool,
        wants_residual: bool,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let shape = x.shape();
        let norm = BatchNorm { channels: gamma.shape().num_elements(), epsilon, relu };
        let [x, gamma, mean, variance, output, output_gradient] =
            [x, gamma, mean, variance, output, output_gradient].map(|tensor| tensor.to_contiguous());
        let mut x_gradient = vec![0.0; shape.num_elements()];
        let mut residual_gradient = wants_residual.then(|| vec![0.0; shape.num_elements()]);
        let (mut gamma_gradient, mut beta_gradient) = (vec![0.0; norm.channels], vec![0.0; norm.channels]);
        byol_kernels::batch_norm_gradient(
            &norm,
            values(&x),
            values(&gamma),
            values(&mean),
            values(&variance),
            values(&output),
            values(&output_gradient),
            &mut x_gradient,
            &mut gamma_gradient,
            &mut beta_gradient,
            residual_gradient.as_deref_mut(),
        );
        let per_channel = || Shape::new([norm.channels]);
        (
            tensor(x_gradient, shape.clone()),
            tensor(gamma_gradient, per_channel()),
            tensor(beta_gradient, per_channel()),
            residual_gradient.map_or(output_gradient, |gradient| tensor(gradient, shape)),
        )
    }
}

fn conv_shape(x: &Shape, weight: &Shape, stride: usize, padding: usize) -> ConvShape {
    ConvShape {
        batch: x[0],
        height: x[1],
        width: x[2],
        inputs: x[3],
        outputs: weight[0],
        kernel: weight[2],
        stride,
        padding,
    }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous f32 tensor")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
