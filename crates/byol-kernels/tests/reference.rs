//! Every kernel against its definition in `f64`, over random shapes, and for the same bits at any number of threads.

use byol_kernels::{
    BatchNorm, ConvShape, batch_norm, batch_norm_gradient, conv2d, conv2d_input_gradient, conv2d_weight_gradient,
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

    /// Uniform in [−1, 1).
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

fn relative_error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let error = norm(&mut actual.iter().zip(expected).map(|(actual, expected)| f64::from(*actual) - expected));
    error / norm(&mut expected.iter().copied()).max(1e-30)
}

fn assert_close(what: &str, actual: &[f32], expected: &[f64], context: &dyn std::fmt::Debug) {
    let error = relative_error(actual, expected);
    // A NaN that survived the call also fails here.
    assert!(error <= 1e-5, "relative error {error:e} of {what} for {context:?}");
}

struct Convolution {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

/// The definition: one loop per index.
fn naive_convolution(shape: &ConvShape, x: &[f32], weight: &[f32], dy: &[f32]) -> Convolution {
    let ConvShape { batch, height, width, inputs, outputs, kernel, stride, padding } = *shape;
    let mut result = Convolution { y: vec![0.0; dy.len()], dx: vec![0.0; x.len()], dw: vec![0.0; weight.len()] };
    for n in 0..batch {
        for i in 0..shape.output_height() {
            for j in 0..shape.output_width() {
                for u in 0..kernel {
                    for v in 0..kernel {
                        let (row, column) = (i * stride + u, j * stride + v);
                        if row < padding || column < padding || row - padding >= height || column - padding >= width {
                            continue;
                        }
                        let x_at = ((n * height + row - padding) * width + column - padding) * inputs;
                        let y_at = ((n * shape.output_height() + i) * shape.output_width() + j) * outputs;
                        for o in 0..outputs {
                            for c in 0..inputs {
                                let w_at = ((o * inputs + c) * kernel + u) * kernel + v;
                                let (x, w) = (f64::from(x[x_at + c]), f64::from(weight[w_at]));
                                let dy = f64::from(dy[y_at + o]);
                                result.y[y_at + o] += x * w;
                                result.dx[x_at + c] += dy * w;
                                result.dw[w_at] += dy * x;
                            }
                        }
                    }
                }
            }
        }
    }
    result
}

/// `y`, `dx`, `dw` in buffers that held NaN.
fn convolution(shape: &ConvShape, x: &[f32], weight: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let mut outputs = [dy.len(), x.len(), weight.len()].map(|len| vec![f32::NAN; len]);
    let [y, dx, dw] = &mut outputs;
    conv2d(shape, x, weight, y);
    conv2d_input_gradient(shape, weight, dy, dx);
    conv2d_weight_gradient(shape, x, dy, dw);
    outputs
}

fn check_convolution(shape: &ConvShape, random: &mut Random) {
    let x = random.values(shape.input_len());
    let weight = random.values(shape.weight_len());
    let dy = random.values(shape.output_len());
    let expected = naive_convolution(shape, &x, &weight, &dy);
    let [y, dx, dw] = convolution(shape, &x, &weight, &dy);
    assert_close("y", &y, &expected.y, shape);
    assert_close("dx", &dx, &expected.dx, shape);
    assert_close("dw", &dw, &expected.dw, shape);
}

#[test]
fn convolutions_of_random_shapes_equal_their_definition() {
    let mut random = Random(1);
    let mut checked = 0;
    while checked < 300 {
        let shape = ConvShape {
            batch: random.between(1, 4),
            height: random.between(1, 13),
            width: random.between(1, 13),
            inputs: random.choose(&[1, 2, 3, 5, 8, 16, 17, 33]),
            outputs: random.choose(&[1, 2, 3, 7, 8, 16, 19, 48]),
            kernel: random.choose(&[1, 2, 3, 3, 5, 7]),
            stride: random.choose(&[1, 1, 2, 2, 3]),
            padding: random.between(0, 4),
        };
        if shape.height.min(shape.width) + 2 * shape.padding < shape.kernel {
            continue;
        }
        check_convolution(&shape, &mut random);
        checked += 1;
    }
}

#[test]
fn convolutions_of_the_networks_in_use_equal_their_definition() {
    let square = |batch, size, inputs, outputs, kernel, stride| ConvShape {
        batch,
        height: size,
        width: size,
        inputs,
        outputs,
        kernel,
        stride,
        padding: kernel / 2,
    };
    let shapes = [
        square(3, 32, 3, 16, 3, 1),
        square(5, 32, 16, 16, 3, 1),
        square(2, 16, 32, 64, 3, 2),
        square(5, 8, 64, 128, 3, 1),
        square(3, 4, 160, 300, 3, 1),
        square(3, 9, 64, 130, 1, 2),
        square(2, 17, 33, 257, 1, 1),
        square(1, 65, 3, 20, 7, 2),
    ];
    for (seed, shape) in shapes.iter().enumerate() {
        check_convolution(shape, &mut Random(100 + seed as u64));
    }
}

struct Normalisation {
    y: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    dx: Vec<f64>,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
    dresidual: Vec<f64>,
}

/// The arrays of one batch norm and its gradient.
struct Arrays {
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    residual: Option<Vec<f32>>,
    dy: Vec<f32>,
}

impl Arrays {
    fn random(channels: usize, rows: usize, offset: f32, residual: bool, random: &mut Random) -> Self {
        let len = rows * channels;
        Self {
            x: random.values(len).iter().map(|x| x + offset).collect(),
            gamma: random.values(channels),
            beta: random.values(channels),
            residual: residual.then(|| random.values(len)),
            dy: random.values(len),
        }
    }
}

fn naive_batch_norm(norm: &BatchNorm, arrays: &Arrays, forward: &[f32]) -> Normalisation {
    let Arrays { x, gamma, beta, residual, dy } = arrays;
    let channels = norm.channels;
    let rows = (x.len() / channels) as f64;
    let zeros = || vec![0.0; x.len()];
    let (mut y, mut dx, mut dresidual) = (zeros(), zeros(), zeros());
    let (mut mean, mut variance, mut dgamma, mut dbeta) = (vec![], vec![], vec![], vec![]);
    for c in 0..channels {
        let at = || (c..x.len()).step_by(channels);
        let m = at().map(|i| f64::from(x[i])).sum::<f64>() / rows;
        let v = at().map(|i| (f64::from(x[i]) - m).powi(2)).sum::<f64>() / rows;
        let inverse = 1.0 / (v + f64::from(norm.epsilon)).sqrt();
        let normalised = |i: usize| (f64::from(x[i]) - m) * inverse;
        for i in at() {
            let residual = residual.as_ref().map_or(0.0, |residual| f64::from(residual[i]));
            y[i] = f64::from(gamma[c]) * normalised(i) + f64::from(beta[c]) + residual;
            if norm.relu {
                y[i] = y[i].max(0.0);
            }
            // The mask is that of the f32 output: near zero rounding may decide otherwise.
            dresidual[i] = if norm.relu && forward[i] <= 0.0 { 0.0 } else { f64::from(dy[i]) };
        }
        let sum = at().map(|i| dresidual[i]).sum::<f64>();
        let product = at().map(|i| dresidual[i] * normalised(i)).sum::<f64>();
        for i in at() {
            dx[i] = f64::from(gamma[c]) * inverse * (dresidual[i] - sum / rows - normalised(i) * product / rows);
        }
        mean.push(m);
        variance.push(v);
        dgamma.push(product);
        dbeta.push(sum);
    }
    Normalisation { y, mean, variance, dx, dgamma, dbeta, dresidual }
}

/// `y`, `mean`, `variance`, `dx`, `dγ`, `dβ`, `dresidual` in buffers that held NaN.
fn normalisation(norm: &BatchNorm, arrays: &Arrays) -> [Vec<f32>; 7] {
    let Arrays { x, gamma, beta, residual, dy } = arrays;
    let per_channel = norm.channels;
    let mut results =
        [x.len(), per_channel, per_channel, x.len(), per_channel, per_channel, x.len()].map(|len| vec![f32::NAN; len]);
    let [y, mean, variance, dx, dgamma, dbeta, dresidual] = &mut results;
    batch_norm(norm, x, gamma, beta, residual.as_deref(), y, mean, variance);
    let dresidual = residual.as_ref().map(|_| &mut dresidual[..]);
    batch_norm_gradient(norm, x, gamma, mean, variance, y, dy, dx, dgamma, dbeta, dresidual);
    results
}

fn check_batch_norm(norm: &BatchNorm, arrays: &Arrays) {
    let [y, mean, variance, dx, dgamma, dbeta, dresidual] = normalisation(norm, arrays);
    let expected = naive_batch_norm(norm, arrays, &y);
    let context = (norm, arrays.x.len() / norm.channels, arrays.residual.is_some());
    assert_close("y", &y, &expected.y, &context);
    assert_close("mean", &mean, &expected.mean, &context);
    assert_close("variance", &variance, &expected.variance, &context);
    // With few rows the terms of dx nearly cancel, so that its error is relative to the first term, γ · g / √(variance + ε).
    let first_term = expected.dresidual.iter().enumerate().map(|(i, g)| {
        let c = i % norm.channels;
        g * f64::from(arrays.gamma[c]) / (expected.variance[c] + f64::from(norm.epsilon)).sqrt()
    });
    let error: f64 = dx.iter().zip(&expected.dx).map(|(dx, exact)| (f64::from(*dx) - exact).powi(2)).sum();
    let scale: f64 = first_term.map(|term| term * term).sum();
    assert!(error.sqrt() <= 1e-5 * scale.sqrt().max(1e-30), "relative error of dx for {context:?}");
    assert_close("dgamma", &dgamma, &expected.dgamma, &context);
    assert_close("dbeta", &dbeta, &expected.dbeta, &context);
    if arrays.residual.is_some() {
        assert_close("dresidual", &dresidual, &expected.dresidual, &context);
    }
}

#[test]
fn batch_norms_of_random_shapes_equal_their_definition() {
    let mut random = Random(2);
    for case in 0..120 {
        let norm = BatchNorm {
            channels: random.choose(&[1, 2, 3, 8, 15, 16, 33, 64, 200]),
            epsilon: 1e-5,
            relu: case % 2 == 0,
        };
        let rows = random.choose(&[2, 3, 5, 64, 337, 1023, 1024, 1029, 2500]);
        let arrays = Arrays::random(norm.channels, rows, 0.3, case % 4 < 2, &mut random);
        check_batch_norm(&norm, &arrays);
    }
}

#[test]
fn batch_norm_of_one_row_is_beta_and_its_input_gradient_zero() {
    let norm = BatchNorm { channels: 5, epsilon: 1e-5, relu: false };
    let arrays = Arrays::random(5, 1, 3.0, false, &mut Random(3));
    let [y, mean, variance, dx, ..] = normalisation(&norm, &arrays);
    assert_eq!(y, arrays.beta);
    assert_eq!(mean, arrays.x);
    assert_eq!(variance, [0.0; 5]);
    assert_eq!(dx, [0.0; 5]);
}

#[test]
fn the_variance_survives_a_mean_a_thousand_times_the_deviation() {
    let norm = BatchNorm { channels: 7, epsilon: 1e-5, relu: false };
    let arrays = Arrays::random(7, 5000, 1000.0, false, &mut Random(4));
    let [y, mean, variance, ..] = normalisation(&norm, &arrays);
    let expected = naive_batch_norm(&norm, &arrays, &y);
    assert_close("mean", &mean, &expected.mean, &"offset 1000");
    assert_close("variance", &variance, &expected.variance, &"offset 1000");
    // The mean itself, rounded to f32, is off by up to 3e-5 deviations.
    assert!(relative_error(&y, &expected.y) < 1e-4);
}

#[test]
fn an_outlier_in_the_first_row_does_not_spoil_the_variance() {
    let norm = BatchNorm { channels: 3, epsilon: 1e-5, relu: false };
    let mut arrays = Arrays::random(3, 4000, 0.0, false, &mut Random(5));
    arrays.x[..3].fill(1000.0);
    let [y, _, variance, ..] = normalisation(&norm, &arrays);
    assert_close("variance", &variance, &naive_batch_norm(&norm, &arrays, &y).variance, &"outlier");
}

#[test]
fn nan_passes_through_the_relu() {
    let norm = BatchNorm { channels: 2, epsilon: 1e-5, relu: true };
    let mut arrays = Arrays::random(2, 10, 0.0, false, &mut Random(6));
    arrays.x[0] = f32::NAN;
    let [y, _, _, dx, ..] = normalisation(&norm, &arrays);
    assert!(y.iter().step_by(2).all(|y| y.is_nan()) && y[1..].iter().step_by(2).all(|y| y.is_finite()));
    assert!(dx.iter().step_by(2).all(|dx| dx.is_nan()));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let bits = |arrays: Vec<Vec<f32>>| -> Vec<u32> { arrays.iter().flatten().map(|value| value.to_bits()).collect() };
    let mut random = Random(7);
    let mut shapes = vec![];
    for (size, inputs, outputs, kernel, stride) in
        [(16, 16, 16, 3, 1), (15, 8, 33, 3, 2), (32, 3, 16, 3, 1), (8, 64, 200, 1, 1)]
    {
        let padding = kernel / 2;
        shapes.push(ConvShape { batch: 9, height: size, width: size, inputs, outputs, kernel, stride, padding });
    }
    let convolutions: Vec<_> = shapes
        .iter()
        .map(|shape| {
            let (x, weight) = (random.values(shape.input_len()), random.values(shape.weight_len()));
            (shape, x, weight, random.values(shape.output_len()))
        })
        .collect();
    let norm = BatchNorm { channels: 24, epsilon: 1e-5, relu: true };
    let arrays = Arrays::random(norm.channels, 7000, 0.5, true, &mut random);
    let all = || {
        let mut results = normalisation(&norm, &arrays).to_vec();
        for (shape, x, weight, dy) in &convolutions {
            results.extend(convolution(shape, x, weight, dy));
        }
        bits(results)
    };
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        pool.install(all)
    };
    let one = with_threads(1);
    for threads in [1, 2, 3, 7] {
        assert!(with_threads(threads) == one, "{threads} threads");
    }
}

#[test]
#[should_panic(expected = "length of the weight")]
fn a_weight_of_the_wrong_length_panics() {
    let shape = ConvShape { batch: 1, height: 4, width: 4, inputs: 2, outputs: 3, kernel: 3, stride: 1, padding: 1 };
    conv2d(&shape, &[0.0; 32], &[0.0; 53], &mut [0.0; 48]);
}
