//! The heavy operations composed of Burn's own, for any backend: the default bodies of [`super::VisionOps`].

use burn::backend::ops::BatchNormTrainBackward;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, IntDType, Shape, Slice};
use byol_kernels::Padding;

use super::layer::{Conv, ConvNorm, Normalised, Residual, SoFar, Source};
use super::precision::Precision;

const NHWC_TO_NCHW: [usize; 4] = [0, 3, 1, 2];
const NCHW_TO_NHWC: [usize; 4] = [0, 2, 3, 1];

pub fn conv_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    residual: Residual<B>,
    options: ConvNorm,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let z = conv2d::<B>(x, weight, options.conv);
    let (y, mean, variance) = batch_norm::<B>(z.clone(), gamma, beta, residual, options.relu, options.epsilon);
    (y, z, mean, variance)
}

#[expect(clippy::type_complexity, reason = "one gradient per argument, in their order")]
pub fn conv_norm_gradient<B: Backend>(
    source: Source<B>,
    weight: FloatTensor<B>,
    norm: Normalised<B>,
    output: Residual<B>,
    output_gradient: FloatTensor<B>,
    options: ConvNorm,
    so_far: SoFar<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (z, gamma, beta, residual) =
        batch_norm_gradient::<B>(norm, output, output_gradient, options.relu, options.epsilon);
    let (dx, dw) = conv2d_gradient::<B>(compute_again::<B>(source, options.epsilon), weight, z, options.conv);
    (add_to::<B>(so_far, dx), dw, gamma, beta, residual)
}

/// The gradient of an activation with one more part of it.
pub fn add_to<B: Backend>(so_far: SoFar<B>, gradient: FloatTensor<B>) -> FloatTensor<B> {
    match so_far {
        SoFar::Nothing => gradient,
        SoFar::Sum(sum) => B::float_add(gradient, sum),
    }
}

pub fn conv_affine<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    residual: Residual<B>,
    options: ConvNorm,
) -> FloatTensor<B> {
    let precision = dtype::<B>(&x);
    let bias = B::float_reshape(B::float_cast(bias, precision), Shape::new([1, 1, 1, weight.shape()[0]]));
    let mut y = B::float_add(conv2d::<B>(x, weight, options.conv), bias);
    if let Residual::Shortcut(residual) = residual {
        y = B::float_add(y, residual);
    }
    if options.relu { B::relu(y) } else { y }
}

pub fn linear<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, precision: Precision) -> FloatTensor<B> {
    let [x, weight] = [x, weight].map(|tensor| B::float_cast(tensor, precision.dtype()));
    B::float_cast(B::float_matmul(x, B::float_swap_dims(weight, 0, 1)), FloatDType::F32)
}

pub fn linear_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    output_gradient: FloatTensor<B>,
    precision: Precision,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [x, weight, dy] = [x, weight, output_gradient].map(|tensor| B::float_cast(tensor, precision.dtype()));
    let dx = B::float_matmul(dy.clone(), weight);
    let dw = B::float_matmul(B::float_swap_dims(dy, 0, 1), x);
    (B::float_cast(dx, FloatDType::F32), B::float_cast(dw, FloatDType::F32))
}

pub fn batch_norm<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    residual: Residual<B>,
    relu: bool,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, precision) = (x.shape(), dtype::<B>(&x));
    let x = B::float_cast(flatten::<B>(x), FloatDType::F32);
    let normalised = B::batch_norm_train(x, gamma, beta, f64::from(epsilon));
    let mut output = B::float_reshape(B::float_cast(normalised.output, precision), shape);
    if let Residual::Shortcut(residual) = residual {
        output = B::float_add(output, residual);
    }
    let output = if relu { B::relu(output) } else { output };
    (output, normalised.mean, normalised.variance)
}

/// Gradients with respect to input, γ, β and residual. Without `output` the ReLU's sign is computed again.
pub fn batch_norm_gradient<B: Backend>(
    norm: Normalised<B>,
    output: Residual<B>,
    output_gradient: FloatTensor<B>,
    relu: bool,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = norm.z.shape();
    let precision = dtype::<B>(&norm.z);
    let gradient = match (relu, output) {
        (false, _) => output_gradient,
        (true, Residual::Shortcut(output)) => B::relu_backward(output, output_gradient),
        (true, Residual::None) => B::relu_backward(normalise::<B>(norm.clone(), epsilon), output_gradient),
    };
    let Normalised { z, mean, variance, gamma, .. } = norm;
    let [z, flat] = [z, gradient.clone()].map(|tensor| B::float_cast(flatten::<B>(tensor), FloatDType::F32));
    let BatchNormTrainBackward { x_grad, gamma_grad, beta_grad } =
        B::batch_norm_train_backward(z, gamma, mean, variance, f64::from(epsilon), flat);
    let x_grad = B::float_cast(B::float_reshape(x_grad, shape), precision);
    (x_grad, gamma_grad, beta_grad, gradient)
}

pub fn max_pool<B: Backend>(x: FloatTensor<B>, padding: Padding) -> FloatTensor<B> {
    let (x, padding, _) = pooled_input::<B>(x, padding);
    B::float_permute(B::max_pool2d(x, [3, 3], [2, 2], padding, [1, 1], false), &NCHW_TO_NHWC)
}

pub fn max_pool_gradient<B: Backend>(
    source: Source<B>,
    output_gradient: FloatTensor<B>,
    padding: Padding,
    epsilon: f32,
) -> FloatTensor<B> {
    let (x, padding, inside) = pooled_input::<B>(compute_again::<B>(source, epsilon), padding);
    let dy = B::float_permute(output_gradient, &NHWC_TO_NCHW);
    let indices = IntDType::I64;
    let pooled = B::max_pool2d_with_indices(x.clone(), [3, 3], [2, 2], padding, [1, 1], false, indices);
    let backward = B::max_pool2d_with_indices_backward(x, [3, 3], [2, 2], padding, [1, 1], false, dy, pooled.indices);
    B::float_permute(B::float_slice(backward.x_grad, &inside), &NCHW_TO_NHWC)
}

/// Nothing outside takes part: −∞ is no maximum of what lies inside.
fn pooled_input<B: Backend>(x: FloatTensor<B>, padding: Padding) -> (FloatTensor<B>, [usize; 2], [Slice; 4]) {
    padded::<B>(x, 3, Conv { stride: 2, padding }, f32::NEG_INFINITY)
}

pub fn global_average_pool<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let x = B::float_cast(x, FloatDType::F32);
    let x = B::float_reshape(x, Shape::new([shape[0], shape[1] * shape[2], shape[3]]));
    B::float_reshape(B::float_mean_dim(x, 1), Shape::new([shape[0], shape[3]]))
}

pub fn global_average_pool_gradient<B: Backend>(
    output_gradient: FloatTensor<B>,
    height: usize,
    width: usize,
    precision: Precision,
) -> FloatTensor<B> {
    let shape = output_gradient.shape();
    let dy = B::float_div_scalar(output_gradient, ((height * width) as f32).into());
    let dy = B::float_reshape(dy, Shape::new([shape[0], 1, 1, shape[1]]));
    B::float_cast(B::float_expand(dy, Shape::new([shape[0], height, width, shape[1]])), precision.dtype())
}

pub fn conv2d<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, options: Conv) -> FloatTensor<B> {
    let weight = B::float_cast(weight, dtype::<B>(&x));
    let (x, padding, _) = padded::<B>(x, weight.shape()[2], options, 0.0);
    let options = ConvOptions::new([options.stride; 2], padding, [1, 1], 1);
    B::float_permute(B::conv2d(x, weight, None, options), &NCHW_TO_NHWC)
}

pub fn conv2d_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    output_gradient: FloatTensor<B>,
    options: Conv,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let rounded = B::float_cast(weight.clone(), dtype::<B>(&x));
    let (x, padding, inside) = padded::<B>(x, weight.shape()[2], options, 0.0);
    let dy = B::float_permute(output_gradient, &NHWC_TO_NCHW);
    let options = ConvOptions::new([options.stride; 2], padding, [1, 1], 1);
    let dx = B::conv2d_x_backward(x.clone(), rounded.clone(), dy.clone(), options.clone());
    let dw = B::conv2d_weight_backward(x, rounded, dy, options);
    let dx = B::float_permute(B::float_slice(dx, &inside), &NCHW_TO_NHWC);
    (dx, B::float_cast(dw, dtype::<B>(&weight)))
}

/// `x` with its channels first, the padding that is left to the backend, and where `x` lies: backends pad both sides alike, so that
/// [`Padding::Same`] is written out with `value`.
fn padded<B: Backend>(
    x: FloatTensor<B>,
    kernel: usize,
    options: Conv,
    value: f32,
) -> (FloatTensor<B>, [usize; 2], [Slice; 4]) {
    let x = B::float_permute(x, &NHWC_TO_NCHW);
    let [images, channels, height, width] = x.shape().dims();
    let whole = |sizes: [usize; 4]| sizes.map(|size| Slice::from(0..size));
    match options.padding {
        Padding::Symmetric(pixels) => (x, [pixels; 2], whole([images, channels, height, width])),
        Padding::Same => {
            let [(above, below), (left, right)] =
                [height, width].map(|size| Padding::Same.around(size, kernel, options.stride));
            let shape = Shape::new([images, channels, above + height + below, left + width + right]);
            let around = B::float_full(shape, value.into(), &x.device(), dtype::<B>(&x));
            let inside = [0..images, 0..channels, above..above + height, left..left + width].map(Slice::from);
            (B::float_slice_assign(around, &inside, x), [0; 2], inside)
        }
    }
}

fn compute_again<B: Backend>(source: Source<B>, epsilon: f32) -> FloatTensor<B> {
    match source {
        Source::Kept(x) => x,
        Source::Normalised(norm) => normalise::<B>(norm, epsilon),
    }
}

/// `relu(γ · (z − mean) / √(variance + ε) + β)` in the type of `z`.
fn normalise<B: Backend>(norm: Normalised<B>, epsilon: f32) -> FloatTensor<B> {
    let Normalised { z, mean, variance, gamma, beta } = norm;
    let (shape, precision) = (z.shape(), dtype::<B>(&z));
    let row = |tensor: FloatTensor<B>| {
        let channels = tensor.shape().num_elements();
        B::float_reshape(tensor, Shape::new([1, channels]))
    };
    let deviation = B::float_sqrt(B::float_add_scalar(variance, epsilon.into()));
    let scale = B::float_div(gamma, deviation);
    let centred = B::float_sub(B::float_cast(flatten::<B>(z), FloatDType::F32), row(mean));
    let y = B::relu(B::float_add(B::float_mul(centred, row(scale)), row(beta)));
    B::float_reshape(B::float_cast(y, precision), shape)
}

fn dtype<B: Backend>(tensor: &FloatTensor<B>) -> FloatDType {
    tensor.dtype().into()
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
    use std::sync::Arc;

    use crate::ops::layer::Marks;
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use byol_data::{Random, Stream};

    const EPSILON: f32 = 1e-5;

    fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
        let mut random = Random::new(seed, Stream::Drawing, 0, 0);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal()).collect();
        FlexTensor::from_data(TensorData::new(values, shape))
    }

    fn assert_close(what: &str, composed: FlexTensor, kernels: FlexTensor) {
        assert_eq!(composed.shape(), kernels.shape(), "{what}");
        let values = |tensor: FlexTensor| tensor.to_contiguous().into_data().try_into_vec::<f32>().unwrap();
        for (a, b) in values(composed).into_iter().zip(values(kernels)) {
            assert!((a - b).abs() <= 2e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
        }
    }

    #[test]
    fn convolutions_with_their_norm_agree_with_the_kernels() {
        for same in [false, true] {
            check_convolutions(|kernel| if same { Padding::Same } else { Padding::Symmetric(kernel / 2) });
        }
    }

    fn check_convolutions(padding: impl Fn(usize) -> Padding) {
        for (inputs, outputs, kernel, stride, has_residual, relu) in [
            (3, 5, 7, 2, false, true),
            (4, 6, 3, 1, true, true),
            (4, 6, 3, 2, false, false),
            (6, 6, 3, 1, true, false),
            (5, 3, 1, 2, false, true),
        ] {
            let conv = Conv { stride, padding: padding(kernel) };
            let options = ConvNorm { conv, relu, epsilon: EPSILON };
            let (x, weight) = (tensor([2, 9, 8, inputs], 1), tensor([outputs, inputs, kernel, kernel], 2));
            let (gamma, beta) = (tensor([outputs], 3), tensor([outputs], 4));
            let z = conv2d::<Flex>(x.clone(), weight.clone(), conv);
            assert_close("conv", z.clone(), Flex::conv(x.clone(), weight.clone(), conv));
            let dz = tensor([2, z.shape()[1], z.shape()[2], outputs], 7);
            let ours = conv2d_gradient::<Flex>(x.clone(), weight.clone(), dz.clone(), conv);
            let theirs = Flex::conv_gradient(x.clone(), weight.clone(), dz, conv, true);
            assert_close("dx of conv", ours.0, theirs.0);
            assert_close("dweight of conv", ours.1, theirs.1);
            let z = z.shape();
            let residual = match has_residual {
                true => Residual::Shortcut(tensor([2, z[1], z[2], outputs], 5)),
                false => Residual::None,
            };
            let forward = (x.clone(), weight.clone(), gamma.clone(), beta.clone(), residual);
            let (a, b, c, d, e) = forward.clone();
            let ours = conv_norm::<Flex>(a, b, c, d, e, options);
            let (a, b, c, d, e) = forward;
            let theirs = Flex::conv_norm(a, Source::Kept(x.clone()), b, c, d, e, options, None, true, Marks::default());
            assert_close("y", ours.0.clone(), theirs.0);
            assert_close("z", ours.1.clone(), theirs.1);
            assert_close("mean", ours.2.clone(), theirs.2);
            assert_close("variance", ours.3.clone(), theirs.3);

            let (y, z, mean, variance) = ours;
            let norm = Normalised { z, mean, variance, gamma, beta };
            let dy = tensor([2, y.shape()[1], y.shape()[2], outputs], 6);
            let output = if has_residual { Residual::Shortcut(y) } else { Residual::None };
            let so_far = if has_residual { SoFar::Sum(tensor([2, 9, 8, inputs], 8)) } else { SoFar::Nothing };
            let backward = (Source::Kept(x), weight, norm, output, dy);
            let (a, b, c, d, e) = backward.clone();
            let ours = conv_norm_gradient::<Flex>(a, b, c, d, e, options, so_far.clone());
            let (a, b, c, d, e) = backward;
            let theirs = Flex::conv_norm_gradient(a, b, c, d, e, options, None, true, so_far);
            assert_close("dx", ours.0, theirs.0);
            assert_close("dweight", ours.1, theirs.1);
            assert_close("dgamma", ours.2, theirs.2);
            assert_close("dbeta", ours.3, theirs.3);
            if has_residual {
                assert_close("dresidual", ours.4, theirs.4);
            }
        }
    }

    /// `relu(batch_norm(z))` as a source of gradients gives what the kept activation gives.
    #[test]
    fn an_input_that_is_computed_again_is_the_same() {
        let (z, weight) = (tensor([2, 6, 6, 4], 1), tensor([5, 4, 3, 3], 2));
        // By the kernels, because the pool finds its maximum by equality.
        let rows = z.reshape(Shape::new([72, 4]));
        let (y, mean, variance) = Flex::batch_norm_rows(rows, tensor([4], 3), tensor([4], 4), true, EPSILON, None);
        let y = y.reshape(z.shape());
        let source = Normalised { z, mean, variance, gamma: tensor([4], 3), beta: tensor([4], 4) };
        let conv = Conv { stride: 1, padding: Padding::Symmetric(1) };
        let options = ConvNorm { conv, relu: true, epsilon: EPSILON };
        let forward =
            conv_norm::<Flex>(y.clone(), weight.clone(), tensor([5], 5), tensor([5], 6), Residual::None, options);
        let norm = Normalised {
            z: forward.1,
            mean: forward.2,
            variance: forward.3,
            gamma: tensor([5], 5),
            beta: tensor([5], 6),
        };
        let gradient = |source| {
            let (weight, norm, dy) = (weight.clone(), norm.clone(), tensor([2, 6, 6, 5], 7));
            Flex::conv_norm_gradient(source, weight, norm, Residual::None, dy, options, None, true, SoFar::Nothing)
        };
        let (kept, again) = (gradient(Source::Kept(y.clone())), gradient(Source::Normalised(source.clone())));
        assert_close("dweight", kept.1, again.1);
        let padding = Padding::Symmetric(1);
        let pooled = Flex::max_pool(y.clone(), Source::Kept(y.clone()), padding, EPSILON);
        let dy = tensor([2, 3, 3, 4], 8);
        let kept = Flex::max_pool_gradient(Source::Kept(y), pooled.clone(), dy.clone(), padding, EPSILON);
        assert_close("pool", kept, Flex::max_pool_gradient(Source::Normalised(source), pooled, dy, padding, EPSILON));
    }

    #[test]
    fn folded_convolutions_agree_with_the_kernels() {
        let conv = Conv { stride: 2, padding: Padding::Symmetric(1) };
        let options = ConvNorm { conv, relu: true, epsilon: EPSILON };
        let residual = Residual::Shortcut(tensor([2, 5, 4, 6], 4));
        let arguments = (tensor([2, 9, 8, 4], 1), tensor([6, 4, 3, 3], 2), tensor([6], 3), residual);
        let (a, b, c, d) = arguments.clone();
        let ours = conv_affine::<Flex>(a, b, c, d, options);
        let (a, b, c, d) = arguments;
        assert_close("y", ours, Flex::conv_affine(a, b, c, d, options, Arc::default()));
    }

    #[test]
    fn heads_agree_with_the_kernels() {
        let (x, weight, dy) = (tensor([7, 20], 1), tensor([9, 20], 2), tensor([7, 9], 3));
        let precision = Precision::F32;
        let y = linear::<Flex>(x.clone(), weight.clone(), precision);
        assert_close("linear", y.clone(), Flex::dense(x.clone(), weight.clone(), precision));
        let ours = linear_gradient::<Flex>(x.clone(), weight.clone(), dy.clone(), precision);
        let theirs = Flex::dense_gradient(x, weight, dy.clone(), precision);
        assert_close("dx", ours.0, theirs.0);
        assert_close("dweight", ours.1, theirs.1);

        let (gamma, beta) = (tensor([9], 4), tensor([9], 5));
        let ours = batch_norm::<Flex>(y.clone(), gamma.clone(), beta.clone(), Residual::None, true, EPSILON);
        let theirs = Flex::batch_norm_rows(y.clone(), gamma.clone(), beta.clone(), true, EPSILON, None);
        assert_close("y", ours.0, theirs.0);
        let norm = Normalised { z: y, mean: ours.1, variance: ours.2, gamma, beta };
        let ours = batch_norm_gradient::<Flex>(norm.clone(), Residual::None, dy.clone(), true, EPSILON);
        let theirs = Flex::batch_norm_rows_gradient(norm, dy, true, EPSILON, None);
        assert_close("dx", ours.0, theirs.0);
        assert_close("dgamma", ours.1, theirs.1);
        assert_close("dbeta", ours.2, theirs.2);
    }

    #[test]
    fn pools_agree_with_the_kernels() {
        let (x, dy) = (tensor([2, 9, 8, 5], 1), tensor([2, 5, 4, 5], 2));
        for padding in [Padding::Symmetric(1), Padding::Same] {
            let y = max_pool::<Flex>(x.clone(), padding);
            assert_close("max", y.clone(), Flex::max_pool(x.clone(), Source::Kept(x.clone()), padding, EPSILON));
            let ours = max_pool_gradient::<Flex>(Source::Kept(x.clone()), dy.clone(), padding, EPSILON);
            let theirs = Flex::max_pool_gradient(Source::Kept(x.clone()), y, dy.clone(), padding, EPSILON);
            assert_close("dx", ours, theirs);
        }
        assert_close("mean", global_average_pool::<Flex>(x.clone()), Flex::global_average_pool(x));
        let ours = global_average_pool_gradient::<Flex>(tensor([2, 5], 3), 4, 3, Precision::F32);
        assert_close("dx", ours, Flex::global_average_pool_gradient(tensor([2, 5], 3), 4, 3, Precision::F32));
    }
}
