//! Batch norm and pooling against their definitions in `f64`, for every instruction set of this machine and both element
//! types.

mod explicit;

use byol_kernels::{
    BatchNorm, ChannelParameters, Element, Isa, Mask, MaxPool, Padding, batch_moments, batch_norm_apply,
    batch_norm_apply_in_place, batch_norm_gradient, bf16, global_average_pool, global_average_pool_gradient, max_pool,
    max_pool_gradient,
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

    /// Uniform in [−1, 1) plus `offset`, rounded to `E`.
    fn values<E: Element>(&mut self, len: usize, offset: f32) -> Vec<E> {
        (0..len).map(|_| E::from_f32((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0 + offset)).collect()
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Error of the whole array relative to `scale`, by default its norm: `f32` sums within 1e-5, and a `bf16` result rounded
/// by at most half a unit in the last of its 8 bits, 2⁻⁸.
fn assert_close<D: Element>(what: &str, actual: &[D], expected: &[f64], scale: Option<f64>, context: &str) {
    assert_eq!(actual.len(), expected.len());
    let bound = if D::BYTES == 4 { 1e-5 } else { 1e-5 + 1.0 / 256.0 };
    let error = norm(actual.iter().zip(expected).map(|(actual, expected)| f64::from(actual.to_f32()) - expected));
    let scale = scale.unwrap_or_else(|| norm(expected.iter().copied())).max(1e-30);
    // A NaN that survived the call also fails here.
    assert!(error <= bound * scale, "relative error {:e} of {what} for {context}", error / scale);
}

/// The arrays of one batch norm.
struct Case<E> {
    norm: BatchNorm,
    x: Vec<E>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    residual: Option<Vec<E>>,
    dy: Vec<E>,
}

/// What the kernels make of it.
struct Outcome<E> {
    y: Vec<E>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    dx: Vec<E>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    dresidual: Vec<E>,
}

impl<E: Element> Case<E> {
    fn random(norm: BatchNorm, rows: usize, offset: f32, has_residual: bool, random: &mut Random) -> Self {
        let len = rows * norm.channels;
        Self {
            norm,
            x: random.values(len, offset),
            gamma: random.values(norm.channels, 0.0),
            beta: random.values(norm.channels, 0.0),
            residual: has_residual.then(|| random.values(len, 0.0)),
            dy: random.values(len, 0.0),
        }
    }

    /// In buffers that held NaN.
    fn run(&self, isa: Isa) -> Outcome<E> {
        let Self { norm, x, gamma, beta, residual, dy } = self;
        let rows = || vec![E::from_f32(f32::NAN); x.len()];
        let per_channel = || vec![f32::NAN; norm.channels];
        let (mut mean, mut variance, mut dgamma, mut dbeta) =
            (per_channel(), per_channel(), per_channel(), per_channel());
        let (mut y, mut dx, mut dresidual) = (rows(), rows(), rows());
        batch_moments(isa, norm.channels, x, &mut mean, &mut variance);
        let parameters = ChannelParameters { mean: &mean, variance: &variance, gamma, beta };
        batch_norm_apply(isa, norm, x, parameters, residual.as_deref(), &mut y);
        let mut in_place = x.clone();
        batch_norm_apply_in_place(isa, norm, parameters, residual.as_deref(), &mut in_place);
        assert!(y == in_place || y.iter().any(|y| y.to_f32().is_nan()), "in place on {isa}");

        let mask = if residual.is_some() { Mask::Output(&y[..]) } else { Mask::Recompute };
        let wanted = residual.is_some().then_some(&mut dresidual[..]);
        batch_norm_gradient(isa, norm, x, parameters, mask, dy, &mut dx, &mut dgamma, &mut dbeta, wanted);
        if residual.is_none() {
            // The sign that is computed again is that of the output, to the last bit.
            let mut again = rows();
            let mask = Mask::Output(&y[..]);
            batch_norm_gradient(isa, norm, x, parameters, mask, dy, &mut again, &mut dgamma, &mut dbeta, None);
            assert!(dx == again || dx.iter().any(|dx| dx.to_f32().is_nan()), "recomputed mask on {isa}");
        }
        Outcome { y, mean, variance, dx, dgamma, dbeta, dresidual }
    }

    /// Compares with the definition; the ReLU's mask is that of the kernels' output.
    fn check(&self, isa: Isa) {
        let Self { norm: BatchNorm { channels, epsilon, relu }, x, gamma, beta, residual, dy } = self;
        let (channels, epsilon) = (*channels, f64::from(*epsilon));
        let outcome = self.run(isa);
        let context = format!("{isa} {:?} {} rows, {} bytes", self.norm, x.len() / channels, E::BYTES);
        let rows = (x.len() / channels) as f64;
        let zeros = || vec![0.0; x.len()];
        let (mut y, mut dx, mut g, mut first_term) = (zeros(), zeros(), zeros(), zeros());
        let (mut mean, mut variance, mut dgamma, mut dbeta) = (vec![], vec![], vec![], vec![]);
        for c in 0..channels {
            let at = || (c..x.len()).step_by(channels);
            let value = |i: usize| f64::from(x[i].to_f32());
            let m = at().map(value).sum::<f64>() / rows;
            let v = at().map(|i| (value(i) - m).powi(2)).sum::<f64>() / rows;
            let inverse = 1.0 / (v + epsilon).sqrt();
            for i in at() {
                let residual = residual.as_ref().map_or(0.0, |residual| f64::from(residual[i].to_f32()));
                y[i] = f64::from(gamma[c]) * (value(i) - m) * inverse + f64::from(beta[c]) + residual;
                y[i] = if *relu { y[i].max(0.0) } else { y[i] };
                let is_cut = *relu && outcome.y[i].to_f32() <= 0.0;
                g[i] = if is_cut { 0.0 } else { f64::from(dy[i].to_f32()) };
            }
            let sum = at().map(|i| g[i]).sum::<f64>();
            let product = at().map(|i| g[i] * (value(i) - m) * inverse).sum::<f64>();
            for i in at() {
                let normalised = (value(i) - m) * inverse;
                first_term[i] = f64::from(gamma[c]) * inverse * g[i];
                dx[i] = f64::from(gamma[c]) * inverse * (g[i] - sum / rows - normalised * product / rows);
            }
            mean.push(m);
            variance.push(v);
            dgamma.push(product);
            dbeta.push(sum);
        }
        assert_close("y", &outcome.y, &y, None, &context);
        assert_close("mean", &outcome.mean, &mean, None, &context);
        assert_close("variance", &outcome.variance, &variance, None, &context);
        // With few rows the terms of dx and of the sums nearly cancel: the error is relative to the terms.
        assert_close("dx", &outcome.dx, &dx, Some(norm(first_term.into_iter())), &context);
        assert_close("dgamma", &outcome.dgamma, &dgamma, Some(norm(g.iter().copied())), &context);
        assert_close("dbeta", &outcome.dbeta, &dbeta, Some(norm(g.iter().copied())), &context);
        if residual.is_some() {
            assert_close("dresidual", &outcome.dresidual, &g, None, &context);
        }
    }
}

#[test]
fn batch_norms_of_random_shapes_equal_their_definition() {
    let mut random = Random(2);
    for case in 0..80 {
        let channels = random.choose(&[1, 2, 3, 8, 15, 16, 33, 64, 200]);
        let options = BatchNorm { channels, epsilon: 1e-5, relu: case % 2 == 0 };
        let rows = random.choose(&[2, 3, 5, 64, 337, 1023, 1029, 2500]);
        let single = Case::<f32>::random(options, rows, 0.3, case % 4 < 2, &mut random);
        let half = Case::<bf16>::random(options, rows, 0.3, case % 4 < 2, &mut random);
        for isa in Isa::available() {
            single.check(isa);
            half.check(isa);
        }
    }
}

#[test]
fn batch_norm_of_one_row_is_beta_and_its_input_gradient_zero() {
    let options = BatchNorm { channels: 5, epsilon: 1e-5, relu: false };
    let case = Case::<f32>::random(options, 1, 3.0, false, &mut Random(3));
    for isa in Isa::available() {
        let outcome = case.run(isa);
        assert_eq!((outcome.y, outcome.mean), (case.beta.clone(), case.x.clone()));
        assert_eq!((outcome.variance, outcome.dx), (vec![0.0; 5], vec![0.0; 5]));
    }
}

#[test]
fn the_variance_survives_a_large_mean_and_an_outlier() {
    let options = BatchNorm { channels: 7, epsilon: 1e-5, relu: false };
    let far = Case::<f32>::random(options, 5000, 1000.0, false, &mut Random(4));
    let mut outlier = Case::<f32>::random(options, 4000, 0.0, false, &mut Random(5));
    outlier.x[..7].fill(1000.0);
    for (case, isa) in
        [&far, &outlier].into_iter().flat_map(|case| Isa::available().into_iter().map(move |isa| (case, isa)))
    {
        let outcome = case.run(isa);
        let rows = (case.x.len() / 7) as f64;
        for c in 0..7 {
            let values = || case.x[c..].iter().step_by(7).map(|x| f64::from(*x));
            let mean = values().sum::<f64>() / rows;
            let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / rows;
            assert!((f64::from(outcome.variance[c]) / variance - 1.0).abs() < 1e-5, "{isa} {}", outcome.variance[c]);
        }
    }
}

#[test]
fn nan_passes_through_the_relu() {
    let options = BatchNorm { channels: 2, epsilon: 1e-5, relu: true };
    let mut case = Case::<f32>::random(options, 10, 0.0, false, &mut Random(6));
    case.x[0] = f32::NAN;
    for isa in Isa::available() {
        let Outcome { y, dx, .. } = case.run(isa);
        assert!(y.iter().step_by(2).all(|y| y.is_nan()) && y[1..].iter().step_by(2).all(|y| y.is_finite()));
        assert!(dx.iter().step_by(2).all(|dx| dx.is_nan()));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, three) = (pool(1), pool(3));
    let options = BatchNorm { channels: 24, epsilon: 1e-5, relu: true };
    let case = Case::<bf16>::random(options, 5000, 0.2, true, &mut Random(7));
    for isa in Isa::available() {
        let (a, b) = (one.install(|| case.run(isa)), three.install(|| case.run(isa)));
        assert!(a.y == b.y && a.mean == b.mean && a.variance == b.variance && a.dx == b.dx);
        assert!(a.dgamma == b.dgamma && a.dbeta == b.dbeta && a.dresidual == b.dresidual);
    }
}

/// Maximum and gradient of every window of a copy of the input with -∞ around it, one loop per index; the first maximum
/// takes the gradient.
fn naive_max_pool<E: Element>(pool: &MaxPool, x: &[E], dy: &[E]) -> (Vec<f64>, Vec<f64>) {
    let MaxPool { batch, height, width, channels, kernel, stride, padding } = *pool;
    let padded = explicit::Padded::new(padding, height, width, kernel, stride);
    assert_eq!((pool.output_height(), pool.output_width()), (padded.output_height, padded.output_width), "{pool:?}");
    let places = padded.places(batch, height, width, channels);
    let mut padded_x = vec![f64::NEG_INFINITY; batch * padded.rows * padded.columns * channels];
    let mut padded_dx = vec![0.0; padded_x.len()];
    places.iter().zip(x).for_each(|(place, x)| padded_x[*place] = f64::from(x.to_f32()));
    let mut y = vec![f64::NEG_INFINITY; dy.len()];
    for (window, dy) in dy.iter().enumerate() {
        let c = window % channels;
        let (j, rest) = (window / channels % padded.output_width, window / channels / padded.output_width);
        let (i, image) = (rest % padded.output_height, rest / padded.output_height);
        let mut winner = None;
        for (u, v) in (0..kernel).flat_map(|u| (0..kernel).map(move |v| (u, v))) {
            let at = ((image * padded.rows + i * stride + u) * padded.columns + j * stride + v) * channels + c;
            if padded_x[at] > y[window] {
                (y[window], winner) = (padded_x[at], Some(at));
            }
        }
        padded_dx[winner.expect("every window sees a pixel")] += f64::from(dy.to_f32());
    }
    (y, places.iter().map(|place| padded_dx[*place]).collect())
}

#[test]
fn max_pools_equal_their_definition() {
    fn check<E: Element>(pool: MaxPool, random: &mut Random) {
        // Few distinct values, so that windows have ties.
        let x: Vec<E> =
            (0..pool.input_len()).map(|_| E::from_f32(random.choose(&[0, 0, 1, 2, 3]) as f32 - 1.0)).collect();
        let dy: Vec<E> = random.values(pool.output_len(), 0.0);
        let (expected, gradient) = naive_max_pool(&pool, &x, &dy);
        for isa in Isa::available() {
            let nan = E::from_f32(f32::NAN);
            let (mut y, mut dx) = (vec![nan; dy.len()], vec![nan; x.len()]);
            max_pool(isa, &pool, &x, &mut y);
            max_pool_gradient(isa, &pool, &x, &y, &dy, &mut dx);
            let context = format!("{isa} {pool:?}");
            assert_close("y", &y, &expected, None, &context);
            assert_close("dx", &dx, &gradient, None, &context);
        }
    }
    let mut random = Random(8);
    for (height, width, channels) in [(1, 1, 1), (2, 3, 5), (9, 8, 16), (13, 12, 20), (4, 4, 3)] {
        let mut check = |kernel, stride, padding| {
            let pool = MaxPool { batch: 3, height, width, channels, kernel, stride, padding };
            check::<f32>(pool, &mut random);
            check::<bf16>(pool, &mut random);
        };
        for (kernel, stride, pixels) in [(3, 2, 1), (2, 2, 0), (3, 1, 1)] {
            if height.min(width) + 2 * pixels >= kernel {
                check(kernel, stride, Padding::Symmetric(pixels));
            }
        }
        for (kernel, stride) in [1, 2, 3, 7].into_iter().flat_map(|kernel| [1, 2, 3].map(|stride| (kernel, stride))) {
            check(kernel, stride, Padding::Same);
        }
    }
}

#[test]
fn average_pools_equal_their_definition() {
    fn check<E: Element>(images: usize, positions: usize, channels: usize, random: &mut Random) {
        let x: Vec<E> = random.values(images * positions * channels, 0.0);
        let dy: Vec<f32> = random.values(images * channels, 0.0);
        let index = |i: usize| (i / positions / channels, i % channels);
        let mut expected = vec![0.0; dy.len()];
        for (i, x) in x.iter().enumerate() {
            let (image, channel) = index(i);
            expected[image * channels + channel] += f64::from(x.to_f32()) / positions as f64;
        }
        let spread = |i| {
            let (image, channel) = index(i);
            f64::from(dy[image * channels + channel]) / positions as f64
        };
        let gradient: Vec<f64> = (0..x.len()).map(spread).collect();
        for isa in Isa::available() {
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![E::from_f32(f32::NAN); x.len()]);
            global_average_pool(isa, positions, channels, &x, &mut y);
            global_average_pool_gradient(isa, positions, channels, &dy, &mut dx);
            assert_close("y", &y, &expected, None, &format!("{isa}"));
            assert_close("dx", &dx, &gradient, None, &format!("{isa}"));
        }
    }
    let mut random = Random(9);
    for (images, positions, channels) in [(1, 1, 1), (3, 16, 5), (2, 49, 64), (5, 4, 33)] {
        check::<f32>(images, positions, channels, &mut random);
        check::<bf16>(images, positions, channels, &mut random);
    }
}
