//! Convolutions and their gradients against their definition in `f64`, over random shapes, for every instruction set of
//! this machine and both element types.

mod explicit;

use byol_kernels::{
    ConvShape, Element, Isa, KeptWeight, Padding, Write, bf16, conv2d, conv2d_affine, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_moments,
};

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn choose(&mut self, values: &[usize]) -> usize {
        values[(self.next() % values.len() as u64) as usize]
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    /// Uniform in [−1, 1), rounded to `E`.
    fn values<E: Element>(&mut self, len: usize) -> Vec<E> {
        (0..len).map(|_| E::from_f32((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0)).collect()
    }

    /// As [`Random::values`], but in `f32`.
    fn rounded_values<E: Element>(&mut self, len: usize) -> Vec<f32> {
        self.values::<E>(len).into_iter().map(E::to_f32).collect()
    }
}

/// Error of the whole array relative to its norm.
fn relative_error<D: Element>(actual: &[D], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let error = norm(&mut actual.iter().zip(expected).map(|(actual, expected)| f64::from(actual.to_f32()) - expected));
    error / norm(&mut expected.iter().copied()).max(1e-30)
}

/// Operands are exact in both types, so that an `f32` result has only the error of `f32` sums; a `bf16` result is rounded
/// once more, by at most half a unit in the last of its 8 bits, 2⁻⁸.
fn assert_close<D: Element>(what: &str, actual: &[D], expected: &[f64], context: &dyn std::fmt::Debug) {
    let bound = if D::BYTES == 4 { 1e-5 } else { 1e-5 + 1.0 / 256.0 };
    let error = relative_error(actual, expected);
    // A NaN that survived the call also fails here.
    assert!(error <= bound, "relative error {error:e} of {what} for {context:?}");
}

struct Convolution {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

/// The definition: zeros are written around a copy of the input and every window lies inside; one loop per index.
fn naive_convolution<E: Element>(shape: &ConvShape, x: &[E], weight: &[f32], dy: &[E]) -> Convolution {
    let ConvShape { batch, height, width, inputs, outputs, kernel, stride, padding } = *shape;
    let padded = explicit::Padded::new(padding, height, width, kernel, stride);
    assert_eq!((shape.output_height(), shape.output_width()), (padded.output_height, padded.output_width), "{shape:?}");
    let places = padded.places(batch, height, width, inputs);
    let mut padded_x = vec![0.0; batch * padded.rows * padded.columns * inputs];
    let mut padded_dx = padded_x.clone();
    places.iter().zip(x).for_each(|(place, x)| padded_x[*place] = f64::from(x.to_f32()));
    let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; weight.len()]);
    for n in 0..batch {
        for i in 0..padded.output_height {
            for j in 0..padded.output_width {
                let y_at = ((n * padded.output_height + i) * padded.output_width + j) * outputs;
                for u in 0..kernel {
                    for v in 0..kernel {
                        let x_at = ((n * padded.rows + i * stride + u) * padded.columns + j * stride + v) * inputs;
                        for o in 0..outputs {
                            let dy = f64::from(dy[y_at + o].to_f32());
                            for c in 0..inputs {
                                let w_at = ((o * inputs + c) * kernel + u) * kernel + v;
                                let (x, w) = (padded_x[x_at + c], f64::from(weight[w_at]));
                                y[y_at + o] += x * w;
                                padded_dx[x_at + c] += dy * w;
                                dw[w_at] += dy * x;
                            }
                        }
                    }
                }
            }
        }
    }
    Convolution { y, dx: places.iter().map(|place| padded_dx[*place]).collect(), dw }
}

struct Case<E> {
    shape: ConvShape,
    x: Vec<E>,
    weight: Vec<f32>,
    dy: Vec<E>,
}

impl<E: Element> Case<E> {
    fn random(shape: ConvShape, random: &mut Random) -> Self {
        let x = random.values(shape.input_len());
        let weight = random.rounded_values::<E>(shape.weight_len());
        Self { shape, x, weight, dy: random.values(shape.output_len()) }
    }

    /// `y`, `dx`, `dw` in buffers that held NaN.
    fn run(&self, isa: Isa) -> (Vec<E>, Vec<E>, Vec<f32>) {
        let nan = E::from_f32(f32::NAN);
        let (mut y, mut dx) = (vec![nan; self.dy.len()], vec![nan; self.x.len()]);
        let mut dw = vec![f32::NAN; self.weight.len()];
        conv2d(isa, &self.shape, &self.x, &self.weight, &mut y);
        conv2d_input_gradient(isa, &self.shape, &self.weight, &self.dy, Write::Overwrite, &mut dx);
        conv2d_weight_gradient(isa, &self.shape, &self.x, &self.dy, &mut dw);
        (y, dx, dw)
    }

    fn check(&self) {
        let expected = naive_convolution(&self.shape, &self.x, &self.weight, &self.dy);
        for isa in Isa::available() {
            let context = (isa, E::BYTES, self.shape);
            let (y, dx, dw) = self.run(isa);
            assert_close("y", &y, &expected.y, &context);
            assert_close("dx", &dx, &expected.dx, &context);
            assert_close("dw", &dw, &expected.dw, &context);
        }
    }
}

fn random_shape(random: &mut Random) -> ConvShape {
    loop {
        let padding = [Padding::Symmetric(random.between(0, 4)), Padding::Same][random.between(0, 1)];
        let shape = ConvShape {
            batch: random.between(1, 4),
            height: random.between(1, 13),
            width: random.between(1, 13),
            inputs: random.choose(&[1, 2, 3, 5, 8, 16, 17, 33, 64]),
            outputs: random.choose(&[1, 2, 3, 7, 8, 16, 19, 48, 100]),
            kernel: random.choose(&[1, 2, 3, 3, 5, 7]),
            stride: random.choose(&[1, 1, 2, 2, 3]),
            padding,
        };
        let size = shape.height.min(shape.width);
        if matches!(padding, Padding::Symmetric(pixels) if size + 2 * pixels < shape.kernel) {
            continue;
        }
        return shape;
    }
}

fn square(batch: usize, size: usize, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvShape {
    ConvShape {
        batch,
        height: size,
        width: size,
        inputs,
        outputs,
        kernel,
        stride,
        padding: Padding::Symmetric(kernel / 2),
    }
}

/// The same with TensorFlow's padding.
fn same(shape: ConvShape) -> ConvShape {
    ConvShape { padding: Padding::Same, ..shape }
}

/// Shapes as the networks in use have them, small enough for the definition.
fn network_shapes() -> [ConvShape; 17] {
    [
        square(3, 32, 3, 16, 3, 1),
        square(5, 32, 16, 16, 3, 1),
        square(2, 16, 32, 64, 3, 2),
        square(5, 8, 64, 128, 3, 1),
        square(3, 4, 160, 300, 3, 1),
        square(3, 9, 64, 130, 1, 2),
        square(2, 17, 33, 257, 1, 1),
        square(1, 65, 3, 20, 7, 2),
        same(square(2, 64, 3, 20, 7, 2)),
        same(square(2, 16, 32, 64, 3, 2)),
        same(square(3, 10, 64, 130, 1, 2)),
        same(square(2, 17, 33, 257, 1, 1)),
        ConvShape::linear(130, 260, 70),
        // Few rows and many weights; more inputs than one part of the reduction; fewer outputs than a panel.
        ConvShape::linear(7, 34, 130),
        ConvShape::linear(96, 64, 128),
        ConvShape::linear(130, 1100, 300),
        ConvShape::linear(5, 1100, 3),
    ]
}

/// 3×3, stride 1, whole vectors of channels and many images: what products by tiles of 4×4 outputs take.
fn shape_of_tiles(
    batch: usize,
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    padding: usize,
) -> ConvShape {
    let padding = Padding::Symmetric(padding);
    ConvShape { batch, height, width, inputs, outputs, kernel: 3, stride: 1, padding }
}

/// A single pixel, no padding and too much, tiles that hang over the edge, more tiles and channels than one block or panel
/// holds.
fn shapes_of_tiles() -> [ConvShape; 9] {
    [
        shape_of_tiles(96, 1, 1, 16, 16, 1),
        shape_of_tiles(33, 3, 14, 32, 48, 0),
        shape_of_tiles(25, 7, 5, 48, 32, 2),
        shape_of_tiles(16, 6, 4, 16, 80, 4),
        shape_of_tiles(9, 9, 13, 16, 64, 1),
        shape_of_tiles(2, 33, 31, 16, 16, 1),
        shape_of_tiles(24, 8, 8, 272, 16, 1),
        shape_of_tiles(97, 4, 4, 32, 208, 1),
        same(shape_of_tiles(40, 6, 9, 32, 48, 0)),
    ]
}

fn random_shape_of_tiles(random: &mut Random) -> ConvShape {
    let (inputs, outputs) = (random.choose(&[16, 32, 48]), random.choose(&[16, 32, 64, 80]));
    let (height, width) = (random.between(2, 11), random.between(2, 11));
    let shape = shape_of_tiles(random.between(96, 110), height, width, inputs, outputs, random.between(1, 3));
    [shape, same(shape)][random.between(0, 1)]
}

#[test]
fn instruction_sets_that_this_machine_lacks_are_named() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        println!("skipped: this machine has no {isa}");
    }
    assert!(!Isa::available().is_empty());
}

#[test]
fn convolutions_of_random_shapes_equal_their_definition() {
    let mut random = Random(1);
    for _ in 0..300 {
        Case::<f32>::random(random_shape(&mut random), &mut random).check();
        Case::<bf16>::random(random_shape(&mut random), &mut random).check();
    }
    for _ in 0..6 {
        Case::<f32>::random(random_shape_of_tiles(&mut random), &mut random).check();
        Case::<bf16>::random(random_shape_of_tiles(&mut random), &mut random).check();
    }
}

#[test]
fn convolutions_of_the_networks_in_use_equal_their_definition() {
    for (seed, shape) in network_shapes().into_iter().chain(shapes_of_tiles()).enumerate() {
        let mut random = Random(100 + seed as u64);
        Case::<f32>::random(shape, &mut random).check();
        Case::<bf16>::random(shape, &mut random).check();
    }
}

/// Every parity of height and width with every window; rows of channels read in place and gathered.
#[test]
fn convolutions_padded_as_by_tensorflow_equal_their_definition() {
    let mut random = Random(200);
    for kernel in [1, 2, 3, 4, 7] {
        for (stride, (height, width)) in [1, 2, 3]
            .into_iter()
            .flat_map(|stride| [(8, 8), (7, 7), (9, 6), (6, 11), (1, 4)].map(|size| (stride, size)))
        {
            for (inputs, outputs) in [(3, 9), (16, 32)] {
                let padding = Padding::Same;
                let shape = ConvShape { batch: 2, height, width, inputs, outputs, kernel, stride, padding };
                Case::<f32>::random(shape, &mut random).check();
                Case::<bf16>::random(shape, &mut random).check();
            }
        }
    }
}

#[test]
fn nothing_is_read_outside_of_the_operands() {
    /// Values of NaN around each operand: one read of them would show in a sum.
    const GUARD: usize = 128;
    fn guarded<E: Element>(values: &[E]) -> Vec<E> {
        let nan = [E::from_f32(f32::NAN); GUARD];
        [&nan[..], values, &nan[..]].concat()
    }
    fn check<E: Element>(shape: ConvShape, random: &mut Random) {
        let case = Case::<E>::random(shape, random);
        let (x, weight, dy) = (guarded(&case.x), guarded(&case.weight), guarded(&case.dy));
        let inside = |len: usize| GUARD..GUARD + len;
        for isa in Isa::available() {
            let (y, dx, dw) = case.run(isa);
            let (mut y2, mut dx2, mut dw2) = (y.clone(), dx.clone(), dw.clone());
            let (x, dy) = (&x[inside(case.x.len())], &dy[inside(case.dy.len())]);
            let weight = &weight[inside(case.weight.len())];
            conv2d(isa, &shape, x, weight, &mut y2);
            conv2d_input_gradient(isa, &shape, weight, dy, Write::Overwrite, &mut dx2);
            conv2d_weight_gradient(isa, &shape, x, dy, &mut dw2);
            assert!(y == y2 && dx == dx2 && dw == dw2, "{isa} {shape:?}");
        }
    }
    let mut random = Random(7);
    for _ in 0..40 {
        check::<f32>(random_shape(&mut random), &mut random);
        check::<bf16>(random_shape(&mut random), &mut random);
    }
    check::<f32>(random_shape_of_tiles(&mut random), &mut random);
    check::<bf16>(random_shape_of_tiles(&mut random), &mut random);
    for shape in [ConvShape::linear(7, 34, 130), ConvShape::linear(130, 1100, 300)] {
        check::<f32>(shape, &mut random);
        check::<bf16>(shape, &mut random);
    }
}

#[test]
fn a_picture_that_is_no_number_leaves_the_others_alone() {
    let mut random = Random(9);
    let shapes = [
        square(3, 17, 3, 16, 7, 2),
        square(3, 6, 3, 16, 3, 1),
        same(square(3, 8, 3, 16, 3, 2)),
        square(3, 1, 5, 16, 1, 1),
        square(3, 5, 3, 8, 1, 1),
    ];
    for shape in shapes {
        let mut case = Case::<bf16>::random(shape, &mut random);
        let (x_len, y_len) = (shape.input_len() / 3, shape.output_len() / 3);
        for isa in Isa::available() {
            let (y, dx, _) = case.run(isa);
            let (x, dy) = (case.x.clone(), case.dy.clone());
            case.x[2 * x_len..].fill(bf16::NAN);
            case.dy[2 * y_len..].fill(bf16::NAN);
            let (beside_y, beside_dx, _) = case.run(isa);
            assert!(y[..2 * y_len] == beside_y[..2 * y_len], "y, {isa} {shape:?}");
            assert!(dx[..2 * x_len] == beside_dx[..2 * x_len], "dx, {isa} {shape:?}");
            (case.x, case.dy) = (x, dy);
        }
    }
}

#[test]
fn the_input_gradient_can_be_added_to_what_is_there() {
    let mut random = Random(3);
    let shapes = [square(2, 9, 8, 16, 3, 1), square(12, 9, 16, 16, 3, 1), square(2, 9, 8, 16, 1, 2)];
    let padded = [same(square(2, 8, 8, 16, 3, 2)), same(square(12, 10, 16, 16, 3, 1))];
    for shape in shapes.into_iter().chain([square(2, 9, 5, 7, 3, 2)]).chain(padded) {
        let case = Case::<f32>::random(shape, &mut random);
        let expected = naive_convolution(&shape, &case.x, &case.weight, &case.dy);
        let expected: Vec<f64> = expected.dx.iter().zip(&case.x).map(|(dx, x)| dx + f64::from(*x)).collect();
        for isa in Isa::available() {
            let mut dx = case.x.clone();
            conv2d_input_gradient(isa, &shape, &case.weight, &case.dy, Write::Add, &mut dx);
            assert_close("dx", &dx, &expected, &(isa, shape));
        }
    }
}

#[test]
fn the_affine_epilogue_adds_bias_and_residual_and_cuts() {
    fn check<E: Element>(shape: ConvShape, with_residual: bool, relu: bool, random: &mut Random) {
        let case = Case::<E>::random(shape, random);
        let bias: Vec<f32> = random.values(shape.outputs);
        let residual: Vec<E> = random.values(case.dy.len());
        let mut expected = naive_convolution(&shape, &case.x, &case.weight, &case.dy).y;
        for (i, y) in expected.iter_mut().enumerate() {
            *y += f64::from(bias[i % shape.outputs]);
            *y += if with_residual { f64::from(residual[i].to_f32()) } else { 0.0 };
            *y = if relu { y.max(0.0) } else { *y };
        }
        for isa in Isa::available() {
            let mut y = vec![E::from_f32(f32::NAN); case.dy.len()];
            let residual = with_residual.then_some(&residual[..]);
            let kept = KeptWeight::default();
            conv2d_affine(isa, &shape, &case.x, &case.weight, &bias, residual, relu, &kept, &mut y);
            assert_close("y", &y, &expected, &(isa, E::BYTES, shape));
            let mut again = vec![E::from_f32(f32::NAN); case.dy.len()];
            let other = vec![f32::NAN; case.weight.len()]; // is not looked at any more
            conv2d_affine(isa, &shape, &case.x, &other, &bias, residual, relu, &kept, &mut again);
            assert!(y == again, "by the kept weight, {isa} {shape:?}");
        }
    }
    let mut random = Random(4);
    let mut shapes: Vec<ConvShape> = (0..16).map(|_| random_shape(&mut random)).collect();
    shapes.extend(shapes_of_tiles());
    for (case, shape) in shapes.into_iter().enumerate() {
        check::<f32>(shape, case % 2 == 0, case % 4 < 2, &mut random);
        check::<bf16>(shape, case % 2 == 0, case % 4 < 2, &mut random);
    }
}

/// Aligned outputs above a size are written past the caches, others are not; the values must not differ.
#[test]
fn large_aligned_outputs_are_those_of_unaligned_ones() {
    fn check<E: Element>(kernel: usize, random: &mut Random) {
        let shape = square(20, 117, 16, 64, kernel, 1);
        let (x, weight) = (random.values::<E>(shape.input_len()), random.rounded_values::<E>(shape.weight_len()));
        let residual: Vec<E> = random.values(shape.output_len());
        assert!(residual.len() * E::BYTES > 32 << 20);
        let bias = random.values::<f32>(shape.outputs);
        for isa in Isa::available() {
            let outputs = [0, 1].map(|shift| {
                let mut memory = vec![E::from_f32(f32::NAN); shape.output_len() + 64];
                let start = memory.as_ptr().align_offset(64) + shift;
                let y = &mut memory[start..][..shape.output_len()];
                conv2d_affine(isa, &shape, &x, &weight, &bias, Some(&residual), true, &KeptWeight::default(), y);
                y.to_vec()
            });
            assert!(outputs[0] == outputs[1] && outputs[0].iter().all(|y| y.to_f32() >= 0.0), "{isa} {shape:?}");
        }
    }
    let mut random = Random(8);
    for kernel in [1, 3] {
        check::<f32>(kernel, &mut random);
        check::<bf16>(kernel, &mut random);
    }
}

#[test]
fn moments_are_those_of_the_output() {
    let mut random = Random(5);
    let shapes = [square(3, 11, 16, 70, 3, 1), square(11, 11, 16, 80, 3, 1), square(1, 1, 4, 3, 1, 1)];
    let padded = [same(square(4, 16, 3, 8, 7, 2)), same(square(12, 10, 16, 48, 3, 1))];
    for shape in shapes.into_iter().chain([square(4, 16, 3, 8, 3, 2)]).chain(padded) {
        let mut case = Case::<f32>::random(shape, &mut random);
        // A mean far from zero: the sums must not lose the variance.
        case.x.iter_mut().for_each(|x| *x += 30.0);
        let y = naive_convolution(&shape, &case.x, &case.weight, &case.dy).y;
        let rows = (y.len() / shape.outputs) as f64;
        let per_output = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let outputs = 0..shape.outputs;
            outputs.map(|o| y[o..].iter().step_by(shape.outputs).map(|y| f(o, *y)).sum::<f64>() / rows).collect()
        };
        let mean = per_output(&|_, y| y);
        let variance = per_output(&|o, y| (y - mean[o]).powi(2));
        for isa in Isa::available() {
            let mut result = vec![f32::NAN; y.len()];
            let (mut m, mut v) = (vec![f32::NAN; shape.outputs], vec![f32::NAN; shape.outputs]);
            conv2d_with_moments(isa, &shape, &case.x, &case.weight, &mut result, &mut m, &mut v);
            assert_close("y", &result, &y, &isa);
            assert_close("mean", &m, &mean, &isa);
            // The outputs themselves are rounded to f32, at a mean of up to a hundred deviations.
            assert!(relative_error(&v, &variance) < 1e-3 || rows == 1.0, "{isa} {}", relative_error(&v, &variance));
        }
    }
}

#[test]
fn runs_repeat_bit_for_bit_and_another_number_of_threads_stays_close() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, three) = (pool(1), pool(3));
    let mut random = Random(6);
    for shape in network_shapes().into_iter().chain(shapes_of_tiles()) {
        let case = Case::<bf16>::random(shape, &mut random);
        for isa in Isa::available() {
            let first = three.install(|| case.run(isa));
            assert!(first == three.install(|| case.run(isa)), "{isa} {shape:?}");
            let (y, dx, dw) = one.install(|| case.run(isa));
            assert!(first.0 == y && first.1 == dx, "{isa} {shape:?}");
            let expected: Vec<f64> = dw.iter().map(|dw| f64::from(*dw)).collect();
            assert!(relative_error(&first.2, &expected) < 1e-6, "{isa} {shape:?}");
        }
    }
}
