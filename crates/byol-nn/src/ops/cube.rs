//! The operations on graphics cards: `byol-cube` on Burn's tensors.

use std::sync::Arc;

use burn::tensor::{DType, Shape};
use burn_cubecl::Cube;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use byol_cube::{Affine, Array, Folded, Kind, PackedWeight, Statistics};
use byol_kernels::{Adam, ConvShape, MaxPool, Momentum, Padding};

use super::composed;
use super::layer::{Conv, ConvNorm, Kept, Marks, Normalised, Residual, SoFar, Source};
use super::precision::Precision;
use super::update::{Tensors, UpdateOps};
use super::vision::{VisionOps, only_here};
use crate::dist::Across;

const PLAIN: Affine = Affine { bias: None, residual: None, relu: false };

impl VisionOps for Cube {
    fn conv_norm(
        x: CubeTensor,
        _source: Source<Self>,
        weight: CubeTensor,
        gamma: CubeTensor,
        beta: CubeTensor,
        residual: Residual<Self>,
        options: ConvNorm,
        across: Option<Across>,
        _keep: bool,
        _: Marks,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        only_here(across);
        let shape = conv_shape(&x, &weight, options.conv);
        let place = Place::of(&x);
        let x = array(x);
        let (z, statistics) = byol_cube::forward_with_statistics(&x, &array(weight), &shape);
        let folded = byol_cube::fold(&statistics, &array(gamma), &array(beta), options.epsilon);
        let y = byol_cube::normalise(&z, &folded, shortcut(residual).as_ref(), options.relu);
        let channels = [shape.outputs];
        let output = output_shape(&shape);
        (
            place.tensor(y, output),
            place.tensor(z, output),
            place.tensor(statistics.mean, channels),
            place.tensor(statistics.variance, channels),
        )
    }

    fn conv_norm_gradient(
        source: Source<Self>,
        weight: CubeTensor,
        norm: Normalised<Self>,
        output: Residual<Self>,
        output_gradient: CubeTensor,
        options: ConvNorm,
        across: Option<Across>,
        wants_x: bool,
        so_far: SoFar<Self>,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        only_here(across);
        let place = Place::of(&norm.z);
        let channels = [weight.meta.shape()[0]];
        let z_shape = norm.z.meta.shape().clone();
        let (z, statistics, [gamma, beta]) = normalised(norm);
        let dy = array(output_gradient);
        let output = shortcut(output);
        let gradient = byol_cube::norm_gradient(
            &z,
            &dy,
            output.as_ref(),
            &statistics,
            &gamma,
            &beta,
            options.relu,
            options.epsilon,
        );
        let residual = gradient.residual.unwrap_or_else(|| gradient.z.clone());
        let (dx, dw) = gradients_of_conv(source, weight, gradient.z, options.conv, options.epsilon, wants_x, &place);
        (
            composed::add_to::<Self>(so_far, dx),
            dw,
            place.tensor(gradient.gamma, channels),
            place.tensor(gradient.beta, channels),
            place.tensor(residual, z_shape),
        )
    }

    fn conv(x: CubeTensor, weight: CubeTensor, options: Conv) -> CubeTensor {
        let shape = conv_shape(&x, &weight, options);
        let place = Place::of(&x);
        let x = array(x);
        place.tensor(byol_cube::forward(&x, &array(weight), &shape, x.kind, &PLAIN), output_shape(&shape))
    }

    fn conv_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        output_gradient: CubeTensor,
        options: Conv,
        wants_x: bool,
    ) -> (CubeTensor, CubeTensor) {
        let place = Place::of(&x);
        gradients_of_conv(Source::Kept(x), weight, array(output_gradient), options, 0.0, wants_x, &place)
    }

    fn conv_affine(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        residual: Residual<Self>,
        options: ConvNorm,
        kept: Arc<Kept>,
    ) -> CubeTensor {
        let shape = conv_shape(&x, &weight, options.conv);
        let place = Place::of(&x);
        let x = array(x);
        let affine = Affine { bias: Some(array(bias)), residual: shortcut(residual), relu: options.relu };
        let packed = kept.on_card.get_or_init(|| PackedWeight::of(&array(weight), &shape, x.kind));
        place.tensor(byol_cube::forward_packed(&x, packed, &shape, x.kind, &affine), output_shape(&shape))
    }

    fn dense(x: CubeTensor, weight: CubeTensor, precision: Precision) -> CubeTensor {
        let shape = linear_shape(&x, &weight);
        let place = Place::of(&x);
        let x = byol_cube::cast(&array(x), kind_of(precision));
        let y = byol_cube::forward(&x, &array(weight), &shape, Kind::F32, &PLAIN);
        place.tensor(y, [shape.batch, shape.outputs])
    }

    fn dense_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        output_gradient: CubeTensor,
        precision: Precision,
    ) -> (CubeTensor, CubeTensor) {
        let shape = linear_shape(&x, &weight);
        let place = Place::of(&x);
        let [x, dy] = [x, output_gradient].map(|tensor| byol_cube::cast(&array(tensor), kind_of(precision)));
        let dx = byol_cube::input_gradient(&dy, &array(weight), &shape, Kind::F32);
        let dw = byol_cube::weight_gradient(&x, None, &dy, &shape);
        (place.tensor(dx, [shape.batch, shape.inputs]), place.tensor(dw, [shape.outputs, shape.inputs]))
    }

    fn batch_norm_rows(
        x: CubeTensor,
        gamma: CubeTensor,
        beta: CubeTensor,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        only_here(across);
        let place = Place::of(&x);
        let shape = x.meta.shape().clone();
        let channels = [shape[1]];
        let x = array(x);
        let statistics = byol_cube::statistics(&x, channels[0]);
        let folded = byol_cube::fold(&statistics, &array(gamma), &array(beta), epsilon);
        let y = byol_cube::normalise(&x, &folded, None, relu);
        let Statistics { mean, variance } = statistics;
        (place.tensor(y, shape), place.tensor(mean, channels), place.tensor(variance, channels))
    }

    fn batch_norm_rows_gradient(
        norm: Normalised<Self>,
        output_gradient: CubeTensor,
        relu: bool,
        epsilon: f32,
        across: Option<Across>,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        only_here(across);
        let place = Place::of(&norm.z);
        let shape = norm.z.meta.shape().clone();
        let (z, statistics, [gamma, beta]) = normalised(norm);
        let dy = array(output_gradient);
        let gradient = byol_cube::norm_gradient(&z, &dy, None, &statistics, &gamma, &beta, relu, epsilon);
        let channels = [gamma.len];
        (place.tensor(gradient.z, shape), place.tensor(gradient.gamma, channels), place.tensor(gradient.beta, channels))
    }

    fn max_pool(x: CubeTensor, _source: Source<Self>, padding: Padding, _epsilon: f32) -> CubeTensor {
        let place = Place::of(&x);
        let pool = pool_shape(x.meta.shape(), padding);
        place.tensor(byol_cube::max_pool(&array(x), &pool), pooled_shape(&pool))
    }

    fn max_pool_gradient(
        source: Source<Self>,
        output: CubeTensor,
        output_gradient: CubeTensor,
        padding: Padding,
        epsilon: f32,
    ) -> CubeTensor {
        let place = Place::of(&output);
        let (x, folded, shape) = input(source, epsilon);
        // The same kernel as in the forward pass: the maximum is found by equality.
        let x = match folded {
            Some(folded) => byol_cube::normalise(&x, &folded, None, true),
            None => x,
        };
        let pool = pool_shape(&shape, padding);
        place.tensor(byol_cube::max_pool_gradient(&x, &array(output), &array(output_gradient), &pool), shape)
    }

    fn global_average_pool(x: CubeTensor) -> CubeTensor {
        let place = Place::of(&x);
        let [images, height, width, channels] = x.meta.shape().dims();
        place.tensor(byol_cube::average_pool(&array(x), height * width, channels), [images, channels])
    }

    fn global_average_pool_gradient(
        output_gradient: CubeTensor,
        height: usize,
        width: usize,
        precision: Precision,
    ) -> CubeTensor {
        let place = Place::of(&output_gradient);
        let [images, channels] = output_gradient.meta.shape().dims();
        let dy = array(output_gradient);
        let dx = byol_cube::average_pool_gradient(&dy, height * width, channels, kind_of(precision));
        place.tensor(dx, [images, height, width, channels])
    }
}

impl UpdateOps for Cube {
    fn momentum(
        Tensors(p): Tensors<Self>,
        Tensors(g): Tensors<Self>,
        Tensors(m): Tensors<Self>,
        steps: Vec<Momentum>,
    ) -> (Tensors<Self>, Tensors<Self>) {
        let place = Place::of(&p[0]);
        let results = byol_cube::momentum(&arrays(p), &arrays(g), &arrays(m), &steps);
        results.map(|arrays| place.flat(arrays)).into()
    }

    fn adam(
        Tensors(p): Tensors<Self>,
        Tensors(g): Tensors<Self>,
        Tensors(m): Tensors<Self>,
        Tensors(v): Tensors<Self>,
        steps: Vec<Adam>,
    ) -> (Tensors<Self>, Tensors<Self>, Tensors<Self>) {
        let place = Place::of(&p[0]);
        let results = byol_cube::adam(&arrays(p), &arrays(g), &arrays(m), &arrays(v), &steps);
        results.map(|arrays| place.flat(arrays)).into()
    }

    fn target_ema(Tensors(online): Tensors<Self>, Tensors(target): Tensors<Self>, tau: f64) -> Tensors<Self> {
        let place = Place::of(&target[0]);
        place.flat(byol_cube::target_ema(&arrays(online), &arrays(target), tau))
    }

    fn add_scaled(Tensors(sum): Tensors<Self>, Tensors(x): Tensors<Self>, scale: f32) -> Tensors<Self> {
        let place = Place::of(&x[0]);
        place.flat(byol_cube::add_scaled(&arrays(sum), &arrays(x), scale))
    }

    fn sum_of_squares(Tensors(x): Tensors<Self>) -> CubeTensor {
        let place = Place::of(&x[0]);
        place.tensor(byol_cube::sum_of_squares(&arrays(x)), [1])
    }
}

fn arrays(tensors: Vec<CubeTensor>) -> Vec<Array> {
    tensors.into_iter().map(array).collect()
}

/// Where tensors are.
struct Place {
    device: burn_cubecl::CubeDevice,
}

impl Place {
    fn of(tensor: &CubeTensor) -> Self {
        Self { device: tensor.device.clone() }
    }

    fn flat(&self, arrays: Vec<Array>) -> Tensors<Cube> {
        let tensor = |array: Array| {
            let len = array.len;
            self.tensor(array, [len])
        };
        Tensors(arrays.into_iter().map(tensor).collect())
    }

    fn tensor(&self, array: Array, shape: impl Into<Shape>) -> CubeTensor {
        let dtype = match array.kind {
            Kind::F32 => DType::F32,
            Kind::Bf16 => DType::BF16,
            Kind::F16 => DType::F16,
        };
        CubeTensor::new_contiguous(array.client, self.device.clone(), shape.into(), array.handle, dtype)
    }
}

fn array(tensor: CubeTensor) -> Array {
    let kind = match tensor.dtype {
        DType::F32 => Kind::F32,
        DType::BF16 => Kind::Bf16,
        DType::F16 => Kind::F16,
        other => unreachable!("activations, weights and statistics are floats, not {other:?}"),
    };
    let tensor = into_contiguous(tensor);
    let len = tensor.meta.shape().num_elements();
    Array { client: tensor.client, handle: tensor.handle, len, kind }
}

fn kind_of(precision: Precision) -> Kind {
    match precision {
        Precision::F32 => Kind::F32,
        Precision::Bf16 => Kind::Bf16,
        Precision::F16 => Kind::F16,
    }
}

fn shortcut(residual: Residual<Cube>) -> Option<Array> {
    match residual {
        Residual::None => None,
        Residual::Shortcut(residual) => Some(array(residual)),
    }
}

fn normalised(norm: Normalised<Cube>) -> (Array, Statistics, [Array; 2]) {
    let Normalised { z, mean, variance, gamma, beta } = norm;
    let statistics = Statistics { mean: array(mean), variance: array(variance) };
    (array(z), statistics, [array(gamma), array(beta)])
}

/// The input of a layer as it is had again: itself, or what a batch norm and a ReLU make it of.
fn input(source: Source<Cube>, epsilon: f32) -> (Array, Option<Folded>, Shape) {
    match source {
        Source::Kept(x) => {
            let shape = x.meta.shape().clone();
            (array(x), None, shape)
        }
        Source::Normalised(norm) => {
            let shape = norm.z.meta.shape().clone();
            let (z, statistics, [gamma, beta]) = normalised(norm);
            (z, Some(byol_cube::fold(&statistics, &gamma, &beta, epsilon)), shape)
        }
    }
}

fn gradients_of_conv(
    source: Source<Cube>,
    weight: CubeTensor,
    dz: Array,
    options: Conv,
    epsilon: f32,
    wants_x: bool,
    place: &Place,
) -> (CubeTensor, CubeTensor) {
    let (x, folded, x_shape) = input(source, epsilon);
    let weight_shape = weight.meta.shape().clone();
    let shape = shape_of(&x_shape, &weight_shape, options);
    let weight = array(weight);
    let dw = byol_cube::weight_gradient(&x, folded.as_ref(), &dz, &shape);
    let dx = match wants_x {
        true => place.tensor(byol_cube::input_gradient(&dz, &weight, &shape, x.kind), x_shape),
        false => place.tensor(dz, output_shape(&shape)),
    };
    (dx, place.tensor(dw, weight_shape))
}

fn conv_shape(x: &CubeTensor, weight: &CubeTensor, options: Conv) -> ConvShape {
    shape_of(x.meta.shape(), weight.meta.shape(), options)
}

fn shape_of(x: &Shape, weight: &Shape, Conv { stride, padding }: Conv) -> ConvShape {
    let [batch, height, width, inputs] = x.dims();
    let [outputs, _, kernel, _] = weight.dims();
    ConvShape { batch, height, width, inputs, outputs, kernel, stride, padding }
}

fn linear_shape(x: &CubeTensor, weight: &CubeTensor) -> ConvShape {
    let ([rows, inputs], [outputs, _]) = (x.meta.shape().dims(), weight.meta.shape().dims());
    ConvShape::linear(rows, inputs, outputs)
}

fn output_shape(shape: &ConvShape) -> [usize; 4] {
    [shape.batch, shape.output_height(), shape.output_width(), shape.outputs]
}

fn pool_shape(x: &Shape, padding: Padding) -> MaxPool {
    let [batch, height, width, channels] = x.dims();
    MaxPool { batch, height, width, channels, kernel: 3, stride: 2, padding }
}

fn pooled_shape(pool: &MaxPool) -> [usize; 4] {
    [pool.batch, pool.output_height(), pool.output_width(), pool.channels]
}
