//! [`VisionOps`] on the CPU backend: slices in, `byol-kernels`, tensors out.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape, TensorData};
use byol_kernels::{
    BatchNorm, ChannelParameters, ConvShape, GradientSums, KeptWeight, Mask, MaxPool, Padding, Write, arbitrary, bf16,
};

use super::device::isa;
use super::layer::{Conv, ConvNorm, Kept, Marks, Normalised, Residual, SoFar, Source};
use super::precision::Precision;
use super::vision::VisionOps;
use crate::dist::Across;

impl VisionOps for Flex {
    fn conv_norm(
        x: FlexTensor,
        _: Source<Self>,
        weight: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        residual: Residual<Self>,
        options: ConvNorm,
        across: Option<Across>,
        keep: bool,
        _: Marks,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        match x.dtype() {
            DType::BF16 => conv_norm::<bf16>(x, weight, gamma, beta, residual, options, across, keep),
            _ => conv_norm::<f32>(x, weight, gamma, beta, residual, options, across, keep),
        }
    }

    fn conv_norm_gradient(
        source: Source<Self>,
        weight: FlexTensor,
        norm: Normalised<Self>,
        output: Residual<Self>,
        output_gradient: FlexTensor,
        options: ConvNorm,
        across: Option<Across>,
        wants_x: bool,
        so_far: SoFar<Self>,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let gradient = match norm.z.dtype() {
            DType::BF16 => conv_norm_gradient::<bf16>,
            _ => conv_norm_gradient::<f32>,
        };
        gradient(source, weight, norm, output, output_gradient, options, across, wants_x, so_far)
    }

    fn conv(x: FlexTensor, weight: FlexTensor, options: Conv) -> FlexTensor {
        match x.dtype() {
            DType::BF16 => conv::<bf16>(x, weight, options),
            _ => conv::<f32>(x, weight, options),
        }
    }

    fn conv_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        output_gradient: FlexTensor,
        options: Conv,
        wants_x: bool,
    ) -> (FlexTensor, FlexTensor) {
        let shape = conv_shape(&x.shape(), &weight.shape(), options);
        let [x, weight, dy] = [x, weight, output_gradient].map(|tensor| tensor.to_contiguous());
        match x.dtype() {
            DType::BF16 => conv_gradient::<bf16>(&shape, x, &weight, values(&dy), wants_x, SoFar::Nothing),
            _ => conv_gradient::<f32>(&shape, x, &weight, values(&dy), wants_x, SoFar::Nothing),
        }
    }

    fn conv_affine(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        residual: Residual<Self>,
        options: ConvNorm,
        kept: Arc<Kept>,
    ) -> FlexTensor {
        match x.dtype() {
            DType::BF16 => conv_affine::<bf16>(x, weight, bias, residual, options, &kept.on_processor),
            _ => conv_affine::<f32>(x, weight, bias, residual, options, &kept.on_processor),
        }
    }

    fn dense(x: FlexTensor, weight: FlexTensor, precision: Precision) -> FlexTensor {
        let shape = linear_shape(&x.shape(), &weight.shape());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let mut y = arbitrary(shape.output_len());
        match precision {
            Precision::F32 => byol_kernels::conv2d::<f32, f32>(isa(), &shape, values(&x), values(&weight), &mut y),
            Precision::Bf16 => {
                byol_kernels::conv2d::<bf16, f32>(isa(), &shape, &rounded(&x), values(&weight), &mut y);
            }
            Precision::F16 => no_f16(),
        }
        tensor(y, Shape::new([shape.batch, shape.outputs]))
    }

    fn dense_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        output_gradient: FlexTensor,
        precision: Precision,
    ) -> (FlexTensor, FlexTensor) {
        let shape = linear_shape(&x.shape(), &weight.shape());
        let [x, weight, dy] = [x, weight, output_gradient].map(|tensor| tensor.to_contiguous());
        let (mut dx, mut dw) = (arbitrary(shape.input_len()), arbitrary(shape.weight_len()));
        let w = values(&weight);
        match precision {
            Precision::F32 => linear_gradients::<f32>(&shape, values(&x), w, values(&dy), &mut dx, &mut dw),
            Precision::Bf16 => linear_gradients::<bf16>(&shape, &rounded(&x), w, &rounded(&dy), &mut dx, &mut dw),
            Precision::F16 => no_f16(),
        }
        (tensor(dx, x.shape()), tensor(dw, weight.shape()))
    }

    fn batch_norm_rows(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let norm = BatchNorm { channels: gamma.shape().num_elements(), epsilon, relu };
        let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.to_contiguous());
        let (mut mean, mut variance) = (arbitrary(norm.channels), arbitrary(norm.channels));
        let mut y = arbitrary::<f32>(x.shape().num_elements());
        byol_kernels::batch_moments::<f32>(isa(), norm.channels, values(&x), &mut mean, &mut variance);
        if let Some(across) = across {
            across.moments(x.shape()[0], &mut mean, &mut variance);
        }
        let parameters =
            ChannelParameters { mean: &mean, variance: &variance, gamma: values(&gamma), beta: values(&beta) };
        byol_kernels::batch_norm_apply(isa(), &norm, values(&x), parameters, None, &mut y);
        (tensor(y, x.shape()), per_channel(mean), per_channel(variance))
    }

    fn batch_norm_rows_gradient(
        norm: Normalised<Self>,
        output_gradient: FlexTensor,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (dx, gamma, beta, _) =
            norm_gradient::<f32>(&norm, &Residual::None, &output_gradient, relu, epsilon, across);
        (tensor(dx, norm.z.shape()), gamma, beta)
    }

    fn max_pool(x: FlexTensor, _: Source<Self>, padding: Padding, _: f32) -> FlexTensor {
        match x.dtype() {
            DType::BF16 => max_pool::<bf16>(&x, padding),
            _ => max_pool::<f32>(&x, padding),
        }
    }

    fn max_pool_gradient(
        source: Source<Self>,
        output: FlexTensor,
        output_gradient: FlexTensor,
        padding: Padding,
        epsilon: f32,
    ) -> FlexTensor {
        match output.dtype() {
            DType::BF16 => max_pool_gradient::<bf16>(source, &output, &output_gradient, padding, epsilon),
            _ => max_pool_gradient::<f32>(source, &output, &output_gradient, padding, epsilon),
        }
    }

    fn global_average_pool(x: FlexTensor) -> FlexTensor {
        let shape = x.shape();
        let (positions, x) = (shape[1] * shape[2], x.to_contiguous());
        let mut y = arbitrary(shape[0] * shape[3]);
        match x.dtype() {
            DType::BF16 => byol_kernels::global_average_pool::<bf16>(isa(), positions, shape[3], values(&x), &mut y),
            _ => byol_kernels::global_average_pool::<f32>(isa(), positions, shape[3], values(&x), &mut y),
        }
        tensor(y, Shape::new([shape[0], shape[3]]))
    }

    fn global_average_pool_gradient(
        output_gradient: FlexTensor,
        height: usize,
        width: usize,
        precision: Precision,
    ) -> FlexTensor {
        let shape = output_gradient.shape();
        let dy = output_gradient.to_contiguous();
        let shape = Shape::new([shape[0], height, width, shape[1]]);
        match precision {
            Precision::Bf16 => average_gradient::<bf16>(values(&dy), shape),
            Precision::F32 => average_gradient::<f32>(values(&dy), shape),
            Precision::F16 => no_f16(),
        }
    }
}

/// See [`super::possible_precision`], which everybody asks before.
fn no_f16() -> ! {
    unreachable!("a processor does not compute in f16")
}

/// An element type of both worlds.
trait Stored: byol_kernels::Element + burn::tensor::Element + bytemuck::Pod {}

impl Stored for f32 {}
impl Stored for bf16 {}

impl Normalised<Flex> {
    fn contiguous(&self) -> Self {
        let Self { z, mean, variance, gamma, beta } = self;
        let [z, mean, variance, gamma, beta] = [z, mean, variance, gamma, beta].map(FlexTensor::to_contiguous);
        Self { z, mean, variance, gamma, beta }
    }

    fn parameters(&self) -> ChannelParameters<'_> {
        let Self { mean, variance, gamma, beta, .. } = self;
        ChannelParameters { mean: values(mean), variance: values(variance), gamma: values(gamma), beta: values(beta) }
    }
}

#[expect(clippy::too_many_arguments, reason = "one per symbol")]
fn conv_norm<E: Stored>(
    x: FlexTensor,
    weight: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    residual: Residual<Flex>,
    options: ConvNorm,
    across: Option<Across>,
    keep: bool,
) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
    let shape = conv_shape(&x.shape(), &weight.shape(), options.conv);
    let [x, weight, gamma, beta] = [x, weight, gamma, beta].map(|tensor| tensor.to_contiguous());
    let residual = contiguous(residual);
    let (mut mean, mut variance) = (arbitrary(shape.outputs), arbitrary(shape.outputs));
    let mut z = arbitrary::<E>(shape.output_len());
    let w = values(&weight);
    byol_kernels::conv2d_with_moments::<E, E>(isa(), &shape, values(&x), w, &mut z, &mut mean, &mut variance);
    drop(x);
    if let Some(across) = across {
        across.moments(z.len() / shape.outputs, &mut mean, &mut variance);
    }

    let norm = BatchNorm { channels: shape.outputs, epsilon: options.epsilon, relu: options.relu };
    let parameters = ChannelParameters { mean: &mean, variance: &variance, gamma: values(&gamma), beta: values(&beta) };
    let shortcut = residual.as_ref().map(values);
    let image = output_shape(&shape);
    let (y, z) = if keep {
        let mut y = arbitrary(z.len());
        byol_kernels::batch_norm_apply(isa(), &norm, &z, parameters, shortcut, &mut y);
        (y, tensor(z, image.clone()))
    } else {
        byol_kernels::batch_norm_apply_in_place(isa(), &norm, parameters, shortcut, &mut z);
        (z, tensor(Vec::<E>::new(), Shape::new([0])))
    };
    (tensor(y, image), z, per_channel(mean), per_channel(variance))
}

#[expect(clippy::too_many_arguments, reason = "one per symbol")]
fn conv_norm_gradient<E: Stored>(
    source: Source<Flex>,
    weight: FlexTensor,
    norm: Normalised<Flex>,
    output: Residual<Flex>,
    output_gradient: FlexTensor,
    options: ConvNorm,
    across: Option<Across>,
    wants_x: bool,
    so_far: SoFar<Flex>,
) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
    let x_shape = match &source {
        Source::Kept(x) => x.shape(),
        Source::Normalised(norm) => norm.z.shape(),
    };
    let shape = conv_shape(&x_shape, &weight.shape(), options.conv);
    let (dz, gamma, beta, residual) =
        norm_gradient::<E>(&norm, &output, &output_gradient, options.relu, options.epsilon, across);
    drop((norm, output, output_gradient));

    let x = compute_again::<E>(source, options.epsilon);
    let (dx, dw) = conv_gradient::<E>(&shape, x, &weight, &dz, wants_x, so_far);
    (dx, dw, gamma, beta, residual)
}

fn conv<E: Stored>(x: FlexTensor, weight: FlexTensor, options: Conv) -> FlexTensor {
    let shape = conv_shape(&x.shape(), &weight.shape(), options);
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let mut y = arbitrary::<E>(shape.output_len());
    byol_kernels::conv2d::<E, E>(isa(), &shape, values(&x), values(&weight), &mut y);
    tensor(y, output_shape(&shape))
}

/// Inputs of so many bytes are kept while their gradient is made: both gradients at once, so that a core that waits at the end
/// of one finds work in the other.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Gradients of a convolution with respect to `x`, which is gone before the first is made where it is large, and `weight`.
fn conv_gradient<E: Stored>(
    shape: &ConvShape,
    x: FlexTensor,
    weight: &FlexTensor,
    dz: &[E],
    wants_x: bool,
    so_far: SoFar<Flex>,
) -> (FlexTensor, FlexTensor) {
    let x_shape = x.shape();
    let weight_gradient = |x: &[E]| {
        let mut dw = arbitrary(shape.weight_len());
        byol_kernels::conv2d_weight_gradient(isa(), shape, x, dz, &mut dw);
        tensor(dw, weight.shape())
    };
    let input_gradient = || {
        if !wants_x {
            return tensor(Vec::<E>::new(), Shape::new([0]));
        }
        let weight = weight.to_contiguous();
        match so_far {
            SoFar::Nothing => {
                let mut dx = arbitrary::<E>(shape.input_len());
                byol_kernels::conv2d_input_gradient(isa(), shape, values(&weight), dz, Write::Overwrite, &mut dx);
                tensor(dx, x_shape)
            }
            SoFar::Sum(sum) => {
                // Nobody else holds it then, so that it is not copied.
                let mut sum = {
                    let owned = sum;
                    owned.to_contiguous()
                };
                byol_kernels::conv2d_input_gradient(
                    isa(),
                    shape,
                    values(&weight),
                    dz,
                    Write::Add,
                    sum.storage_mut::<E>(),
                );
                sum
            }
        }
    };
    if shape.input_len() * size_of::<E>() <= MAX_KEPT_BYTES {
        let (dw, dx) = rayon::join(|| weight_gradient(values(&x)), input_gradient);
        return (dx, dw);
    }
    let dw = weight_gradient(values(&x));
    drop(x);
    (input_gradient(), dw)
}

fn conv_affine<E: Stored>(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    residual: Residual<Flex>,
    options: ConvNorm,
    kept: &KeptWeight,
) -> FlexTensor {
    let shape = conv_shape(&x.shape(), &weight.shape(), options.conv);
    let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.to_contiguous());
    let residual = contiguous(residual);
    let mut y = arbitrary::<E>(shape.output_len());
    let (w, bias, shortcut) = (values(&weight), values(&bias), residual.as_ref().map(values));
    byol_kernels::conv2d_affine::<E, E>(isa(), &shape, values(&x), w, bias, shortcut, options.relu, kept, &mut y);
    tensor(y, output_shape(&shape))
}

fn linear_gradients<E: Stored>(shape: &ConvShape, x: &[E], weight: &[f32], dy: &[E], dx: &mut [f32], dw: &mut [f32]) {
    rayon::join(
        || byol_kernels::conv2d_input_gradient(isa(), shape, weight, dy, Write::Overwrite, dx),
        || byol_kernels::conv2d_weight_gradient(isa(), shape, x, dy, dw),
    );
}

/// Gradients with respect to input, γ, β and, where `output` is given, the residual.
fn norm_gradient<E: Stored>(
    norm: &Normalised<Flex>,
    output: &Residual<Flex>,
    output_gradient: &FlexTensor,
    relu: bool,
    epsilon: f32,
    across: Option<Across>,
) -> (Vec<E>, FlexTensor, FlexTensor, FlexTensor) {
    let norm = norm.contiguous();
    let dy = output_gradient.to_contiguous();
    let output = contiguous(output.clone());
    let options = BatchNorm { channels: norm.gamma.shape().num_elements(), epsilon, relu };
    let (mut dz, mut dgamma, mut dbeta) =
        (arbitrary::<E>(norm.z.shape().num_elements()), arbitrary(options.channels), arbitrary(options.channels));
    let mut residual = output.as_ref().map(|output| arbitrary::<E>(output.shape().num_elements()));
    let mask = output.as_ref().map_or(Mask::Recompute, |output| Mask::Output(values(output)));
    let (isa, z, parameters, g) = (isa(), values(&norm.z), norm.parameters(), values(&dy));
    byol_kernels::batch_norm_gradient_sums(isa, &options, z, parameters, mask, g, &mut dgamma, &mut dbeta);
    let rows = z.len() / options.channels;
    // Those of γ and β are of the pictures here: they travel with the other gradients.
    let of_all = across.map(|across| across.gradient_sums(rows, &dgamma, &dbeta));
    let (rows, gamma, beta) =
        of_all.as_ref().map_or((rows as f64, &dgamma, &dbeta), |(rows, gamma, beta)| (*rows, gamma, beta));
    let sums = GradientSums { rows, gamma, beta };
    let shortcut = residual.as_deref_mut();
    byol_kernels::batch_norm_input_gradient(isa, &options, z, parameters, mask, g, sums, &mut dz, shortcut);
    let residual =
        residual.map_or_else(|| tensor(Vec::<E>::new(), Shape::new([0])), |gradient| tensor(gradient, dy.shape()));
    (dz, per_channel(dgamma), per_channel(dbeta), residual)
}

fn compute_again<E: Stored>(source: Source<Flex>, epsilon: f32) -> FlexTensor {
    let norm = match source {
        Source::Kept(x) => return x.to_contiguous(),
        Source::Normalised(norm) => norm.contiguous(),
    };
    let options = BatchNorm { channels: norm.gamma.shape().num_elements(), epsilon, relu: true };
    let mut y = arbitrary::<E>(norm.z.shape().num_elements());
    byol_kernels::batch_norm_apply(isa(), &options, values(&norm.z), norm.parameters(), None, &mut y);
    tensor(y, norm.z.shape())
}

fn max_pool<E: Stored>(x: &FlexTensor, padding: Padding) -> FlexTensor {
    let (pool, x) = (pool_shape(&x.shape(), padding), x.to_contiguous());
    let mut y = arbitrary::<E>(pool.output_len());
    byol_kernels::max_pool(isa(), &pool, values(&x), &mut y);
    tensor(y, Shape::new([pool.batch, pool.output_height(), pool.output_width(), pool.channels]))
}

fn max_pool_gradient<E: Stored>(
    source: Source<Flex>,
    output: &FlexTensor,
    output_gradient: &FlexTensor,
    padding: Padding,
    epsilon: f32,
) -> FlexTensor {
    let x = compute_again::<E>(source, epsilon);
    let pool = pool_shape(&x.shape(), padding);
    let (y, dy) = (output.to_contiguous(), output_gradient.to_contiguous());
    let mut dx = arbitrary::<E>(pool.input_len());
    byol_kernels::max_pool_gradient(isa(), &pool, values(&x), values(&y), values(&dy), &mut dx);
    tensor(dx, x.shape())
}

fn average_gradient<E: Stored>(dy: &[f32], shape: Shape) -> FlexTensor {
    let mut dx = arbitrary::<E>(shape.num_elements());
    byol_kernels::global_average_pool_gradient(isa(), shape[1] * shape[2], shape[3], dy, &mut dx);
    tensor(dx, shape)
}

fn conv_shape(x: &Shape, weight: &Shape, options: Conv) -> ConvShape {
    ConvShape {
        batch: x[0],
        height: x[1],
        width: x[2],
        inputs: x[3],
        outputs: weight[0],
        kernel: weight[2],
        stride: options.stride,
        padding: options.padding,
    }
}

fn output_shape(shape: &ConvShape) -> Shape {
    Shape::new([shape.batch, shape.output_height(), shape.output_width(), shape.outputs])
}

fn linear_shape(x: &Shape, weight: &Shape) -> ConvShape {
    ConvShape::linear(x[0], x[1], weight[0])
}

/// 3×3, stride 2.
fn pool_shape(x: &Shape, padding: Padding) -> MaxPool {
    MaxPool { batch: x[0], height: x[1], width: x[2], channels: x[3], kernel: 3, stride: 2, padding }
}

fn contiguous(residual: Residual<Flex>) -> Option<FlexTensor> {
    match residual {
        Residual::None => None,
        Residual::Shortcut(tensor) => Some(tensor.to_contiguous()),
    }
}

fn values<E: Stored>(tensor: &FlexTensor) -> &[E] {
    tensor.as_slice().expect("a contiguous tensor of the type that its operation works on")
}

fn rounded(x: &FlexTensor) -> Vec<bf16> {
    byol_kernels::rounded(isa(), values(x))
}

fn tensor<E: Stored>(values: Vec<E>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

fn per_channel(values: Vec<f32>) -> FlexTensor {
    let channels = values.len();
    tensor(values, Shape::new([channels]))
}
