//! Every kernel beside its counterpart of `byol-kernels`, on the device that this build finds: `cuda:0` where there is one, else the first
//! that Vulkan has, which may be a software driver.

use byol_cube::{Affine, Array, Client, Folded, Kind};
use byol_kernels::{
    Adam, BatchNorm, ChannelParameters, ConvShape, Isa, Lars, Mask, MaxPool, Padding, Sgd, Write, bf16,
};

const EPSILON: f32 = 1e-5;

fn client() -> Client {
    byol_cube::open("gpu").unwrap_or_else(|expected| panic!("expected {expected}")).0.client()
}

/// Values of mean 0 and deviation 1, about.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..len).map(|_| (uniform() + uniform() + uniform()) * 2.0).collect()
}

/// The types that the device computes with, and how far its results may be off as a share of all.
fn kinds(client: &Client) -> Vec<(Kind, f32)> {
    let all = [(Kind::F32, 2e-6), (Kind::Bf16, 4e-3), (Kind::F16, 1e-3)];
    all.into_iter().filter(|&(kind, _)| byol_cube::computes(client, kind)).collect()
}

/// `values` on the device in `kind`, and as they are there.
fn send(client: &Client, values: &[f32], kind: Kind) -> (Array, Vec<f32>) {
    let array = byol_cube::cast(&Array::from_f32(client, values), kind);
    let there = receive(&array);
    if kind == Kind::Bf16 {
        let rounded: Vec<f32> = values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect();
        assert_eq!(there, rounded, "rounding to bf16");
    }
    (array, there)
}

fn receive(array: &Array) -> Vec<f32> {
    byol_cube::cast(array, Kind::F32).to_f32()
}

#[track_caller]
fn assert_close(what: &str, ours: &[f32], expected: &[f32], share: f32) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let sum = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let difference = sum(&mut ours.iter().zip(expected).map(|(a, b)| a - b));
    let size = sum(&mut expected.iter().copied());
    assert!(difference <= f64::from(share) * size, "{what}: off by {difference:e} of {size:e}");
    // One wrong value among many is nothing to the sum of all.
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 12.0 * share * (largest + b.abs()), "{what}: value {i} is {a}, expected {b}");
    }
}

fn convolutions() -> Vec<ConvShape> {
    let shape = |batch, [height, width]: [usize; 2], [inputs, outputs]: [usize; 2], kernel, stride, padding| {
        ConvShape { batch, height, width, inputs, outputs, kernel, stride, padding }
    };
    let same = Padding::Same;
    let around = |kernel: usize| Padding::Symmetric(kernel / 2);
    vec![
        shape(2, [9, 8], [3, 5], 7, 2, around(7)),
        shape(2, [9, 8], [3, 16], 7, 2, same),
        shape(2, [8, 8], [3, 64], 3, 1, around(3)),
        shape(3, [7, 5], [16, 24], 3, 1, around(3)),
        shape(2, [8, 9], [16, 24], 3, 2, around(3)),
        shape(2, [8, 9], [16, 24], 3, 2, same),
        shape(2, [7, 7], [72, 64], 1, 2, around(1)),
        shape(1, [13, 11], [64, 136], 1, 1, around(1)),
        shape(4, [14, 14], [64, 64], 3, 1, around(3)),
        shape(5, [4, 4], [128, 128], 3, 2, around(3)),
        shape(2, [2, 2], [8, 4], 5, 3, Padding::Symmetric(2)),
        ConvShape::linear(70, 40, 130),
        ConvShape::linear(3, 7, 5),
    ]
}

#[test]
fn convolutions_and_their_gradients_agree_with_the_processor() {
    let client = client();
    let isa = Isa::best();
    for (kind, share) in kinds(&client) {
        for shape in convolutions() {
            let what = format!("{shape:?} in {kind:?}");
            let (x, x_there) = send(&client, &values(shape.input_len(), 1), kind);
            let scale = ((shape.kernel * shape.kernel * shape.inputs) as f32).powf(-0.5);
            let weight: Vec<f32> = values(shape.weight_len(), 2).iter().map(|value| value * scale).collect();
            let (_, weight_there) = send(&client, &weight, kind);
            let weight = Array::from_f32(&client, &weight);
            let (dy, dy_there) = send(&client, &values(shape.output_len(), 3), kind);

            let affine = Affine { bias: None, residual: None, relu: false };
            let ours = byol_cube::forward(&x, &weight, &shape, kind, &affine);
            let mut expected = vec![0f32; shape.output_len()];
            byol_kernels::conv2d(isa, &shape, &x_there, &weight_there, &mut expected);
            assert_close(&format!("y of {what}"), &receive(&ours), &expected, share);

            let (z, statistics) = byol_cube::forward_with_statistics(&x, &weight, &shape);
            let z_there = receive(&z);
            assert_eq!(z_there, receive(&ours), "{what}: the statistics changed what is written");
            let (mut mean, mut variance) = (vec![0f32; shape.outputs], vec![0f32; shape.outputs]);
            byol_kernels::batch_moments(isa, shape.outputs, &z_there, &mut mean, &mut variance);
            assert_close(&format!("mean of {what}"), &statistics.mean.to_f32(), &mean, 1e-5);
            assert_close(&format!("variance of {what}"), &statistics.variance.to_f32(), &variance, 1e-5);

            let bias = values(shape.outputs, 4);
            let (residual, residual_there) = send(&client, &values(shape.output_len(), 5), kind);
            let affine = Affine { bias: Some(Array::from_f32(&client, &bias)), residual: Some(residual), relu: true };
            let ours = byol_cube::forward(&x, &weight, &shape, kind, &affine);
            for (i, (value, residual)) in expected.iter_mut().zip(&residual_there).enumerate() {
                *value = (*value + bias[i % shape.outputs] + residual).max(0.0);
            }
            assert_close(&format!("y with bias of {what}"), &receive(&ours), &expected, share);

            let ours = byol_cube::input_gradient(&dy, &weight, &shape, kind);
            let mut expected = vec![0f32; shape.input_len()];
            byol_kernels::conv2d_input_gradient(isa, &shape, &weight_there, &dy_there, Write::Overwrite, &mut expected);
            assert_close(&format!("dx of {what}"), &receive(&ours), &expected, share);

            let ours = byol_cube::weight_gradient(&x, None, &dy, &shape);
            let mut expected = vec![0f32; shape.weight_len()];
            byol_kernels::conv2d_weight_gradient(isa, &shape, &x_there, &dy_there, &mut expected);
            assert_close(&format!("dw of {what}"), &ours.to_f32(), &expected, share);

            let (scale, shift) = (values(shape.inputs, 6), values(shape.inputs, 7));
            let norm = Folded { scale: Array::from_f32(&client, &scale), shift: Array::from_f32(&client, &shift) };
            let normal = x_there.iter().enumerate().map(|(i, x)| {
                let channel = i % shape.inputs;
                (x * scale[channel] + shift[channel]).max(0.0)
            });
            let (_, normal) = send(&client, &normal.collect::<Vec<f32>>(), kind);
            let ours = byol_cube::weight_gradient(&x, Some(&norm), &dy, &shape);
            byol_kernels::conv2d_weight_gradient(isa, &shape, &normal, &dy_there, &mut expected);
            assert_close(&format!("dw of a normalised input of {what}"), &ours.to_f32(), &expected, share);
        }
    }
}

#[test]
fn batch_norm_and_its_gradient_agree_with_the_processor() {
    let client = client();
    let isa = Isa::best();
    for (kind, share) in kinds(&client) {
        for (rows, channels) in [(40, 5), (700, 64), (33, 24), (9, 2048), (1500, 16)] {
            for (relu, has_residual) in [(false, false), (true, false), (true, true), (false, true)] {
                let what = format!("{rows}×{channels} in {kind:?}, relu {relu}, residual {has_residual}");
                let len = rows * channels;
                let (z, z_there) =
                    send(&client, &values(len, 1).iter().map(|x| x * 2.0 + 0.7).collect::<Vec<_>>(), kind);
                let (residual, residual_there) = send(&client, &values(len, 2), kind);
                let (dy, dy_there) = send(&client, &values(len, 3), kind);
                let (gamma_there, beta_there) = (values(channels, 4), values(channels, 5));
                let gamma = Array::from_f32(&client, &gamma_there);
                let beta = Array::from_f32(&client, &beta_there);

                let statistics = byol_cube::statistics(&z, channels);
                let (mut mean, mut variance) = (vec![0f32; channels], vec![0f32; channels]);
                byol_kernels::batch_moments(isa, channels, &z_there, &mut mean, &mut variance);
                assert_close(&format!("mean of {what}"), &statistics.mean.to_f32(), &mean, 1e-5);
                assert_close(&format!("variance of {what}"), &statistics.variance.to_f32(), &variance, 1e-5);

                let folded = byol_cube::fold(&statistics, &gamma, &beta, EPSILON);
                let y = byol_cube::normalise(&z, &folded, has_residual.then_some(&residual), relu);
                let parameters =
                    ChannelParameters { mean: &mean, variance: &variance, gamma: &gamma_there, beta: &beta_there };
                let norm = BatchNorm { channels, relu, epsilon: EPSILON };
                let mut expected = vec![0f32; len];
                let residual_there = has_residual.then_some(&residual_there[..]);
                byol_kernels::batch_norm_apply(isa, &norm, &z_there, parameters, residual_there, &mut expected);
                assert_close(&format!("y of {what}"), &receive(&y), &expected, share);

                let output = has_residual.then_some(&y);
                let ours = byol_cube::norm_gradient(&z, &dy, output, &statistics, &gamma, &beta, relu, EPSILON);
                // The gradient behind the ReLU by the sign of what the device wrote: near 0 rounding decides it.
                let y_there = receive(&y);
                let through: Vec<f32> =
                    dy_there.iter().zip(&y_there).map(|(dy, y)| if relu && *y <= 0.0 { 0.0 } else { *dy }).collect();
                let (mut dz, mut dgamma, mut dbeta) = (vec![0f32; len], vec![0f32; channels], vec![0f32; channels]);
                let open = BatchNorm { relu: false, ..norm };
                byol_kernels::batch_norm_gradient(
                    isa,
                    &open,
                    &z_there,
                    parameters,
                    Mask::Recompute,
                    &through,
                    &mut dz,
                    &mut dgamma,
                    &mut dbeta,
                    None,
                );
                assert_close(&format!("dz of {what}"), &receive(&ours.z), &dz, share.max(1e-5));
                assert_close(&format!("dgamma of {what}"), &ours.gamma.to_f32(), &dgamma, share.max(1e-5));
                assert_close(&format!("dbeta of {what}"), &ours.beta.to_f32(), &dbeta, share.max(1e-5));
                if let Some(residual) = &ours.residual {
                    assert_close(&format!("dresidual of {what}"), &receive(residual), &through, share);
                }
            }
        }
    }
}

#[test]
fn pooling_and_its_gradient_agree_with_the_processor() {
    let client = client();
    let isa = Isa::best();
    for (kind, share) in kinds(&client) {
        for (height, width, channels, padding) in
            [(9, 8, 5, Padding::Symmetric(1)), (8, 8, 16, Padding::Same), (7, 7, 8, Padding::Same)]
        {
            let pool = MaxPool { batch: 2, height, width, channels, kernel: 3, stride: 2, padding };
            // Half of them 0, as after a ReLU: the first maximum counts.
            let x: Vec<f32> = values(pool.input_len(), 1).iter().map(|x| x.max(0.0)).collect();
            let (x, x_there) = send(&client, &x, kind);
            let (dy, dy_there) = send(&client, &values(pool.output_len(), 2), kind);
            let y = byol_cube::max_pool(&x, &pool);
            let mut expected = vec![0f32; pool.output_len()];
            byol_kernels::max_pool(isa, &pool, &x_there, &mut expected);
            assert_eq!(receive(&y), expected, "{pool:?}");
            let ours = byol_cube::max_pool_gradient(&x, &y, &dy, &pool);
            let mut dx = vec![0f32; pool.input_len()];
            byol_kernels::max_pool_gradient(isa, &pool, &x_there, &expected, &dy_there, &mut dx);
            assert_close(&format!("dx of {pool:?}"), &receive(&ours), &dx, share);

            let positions = height * width;
            let y = byol_cube::average_pool(&x, positions, channels);
            let mut expected = vec![0f32; 2 * channels];
            byol_kernels::global_average_pool(isa, positions, channels, &x_there, &mut expected);
            assert_close("average pool", &y.to_f32(), &expected, 1e-6);
            let ours = byol_cube::average_pool_gradient(&y, positions, channels, kind);
            byol_kernels::global_average_pool_gradient(isa, positions, channels, &expected, &mut dx);
            assert_close("gradient of the average pool", &receive(&ours), &dx, share);
        }
    }
}

#[test]
fn updates_agree_with_the_processor() {
    let client = client();
    let isa = Isa::best();
    for len in [1, 63, 5000, 300_001] {
        let (p, g, m) = (values(len, 1), values(len, 2), values(len, 3));
        let v: Vec<f32> = values(len, 4).iter().map(|x| x * x).collect();
        let [p_there, g_there, m_there, v_there] = [&p, &g, &m, &v].map(|values| Array::from_f32(&client, values));
        let close = |what: &str, ours: &Array, expected: &[f32]| {
            assert_close(&format!("{what} of {len}"), &ours.to_f32(), expected, 2e-6);
        };

        let options = Lars { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, trust_coefficient: 0.3 };
        let (mut new_p, mut new_m) = (p.clone(), m.clone());
        byol_kernels::lars(isa, &options, &mut new_p, &g, &mut new_m);
        let [ours_p, ours_m] = byol_cube::lars(&p_there, &g_there, &m_there, &options);
        close("p of lars", &ours_p, &new_p);
        close("m of lars", &ours_m, &new_m);
        let zero = Array::from_f32(&client, &vec![0f32; len]);
        let plain = Lars { weight_decay: 0.0, ..options };
        let (mut new_p, mut new_m) = (vec![0f32; len], m.clone());
        byol_kernels::lars(isa, &plain, &mut new_p, &g, &mut new_m);
        close("p of lars from 0", &byol_cube::lars(&zero, &g_there, &m_there, &plain)[0], &new_p);

        for nesterov in [false, true] {
            let options = Sgd { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, nesterov };
            let (mut new_p, mut new_m) = (p.clone(), m.clone());
            byol_kernels::sgd(isa, &options, &mut new_p, &g, &mut new_m);
            let [ours_p, ours_m] = byol_cube::sgd(&p_there, &g_there, &m_there, &options);
            close("p of sgd", &ours_p, &new_p);
            close("m of sgd", &ours_m, &new_m);
        }
        for decoupled in [false, true] {
            let (beta1, beta2) = (0.9, 0.99);
            let options =
                Adam { learning_rate: 0.2, beta1, beta2, epsilon: 1e-3, weight_decay: 0.1, decoupled, step: 3 };
            let (mut new_p, mut new_m, mut new_v) = (p.clone(), m.clone(), v.clone());
            byol_kernels::adam(isa, &options, &mut new_p, &g, &mut new_m, &mut new_v);
            let [ours_p, ours_m, ours_v] = byol_cube::adam(&p_there, &g_there, &m_there, &v_there, &options);
            close("p of adam", &ours_p, &new_p);
            close("m of adam", &ours_m, &new_m);
            close("v of adam", &ours_v, &new_v);
        }
        let mut target = p.clone();
        byol_kernels::target_ema(isa, 0.9, &g, &mut target);
        close("target", &byol_cube::target_ema(&g_there, &p_there, 0.9), &target);
        let sum = byol_kernels::sum_of_squares(isa, &p) as f32;
        close("sum of squares", &byol_cube::sum_of_squares(&p_there), &[sum]);
    }
}

/// Whatever order the device runs its cubes in.
#[test]
fn the_same_bits_come_out_on_every_run() {
    let client = client();
    let kind = kinds(&client).last().unwrap().0;
    let shape = ConvShape {
        batch: 8,
        height: 16,
        width: 16,
        inputs: 32,
        outputs: 48,
        kernel: 3,
        stride: 1,
        padding: Padding::Symmetric(1),
    };
    let (x, _) = send(&client, &values(shape.input_len(), 1), kind);
    let (dy, _) = send(&client, &values(shape.output_len(), 2), kind);
    let run = || {
        let dw = byol_cube::weight_gradient(&x, None, &dy, &shape).to_f32();
        let statistics = byol_cube::statistics(&dy, shape.outputs);
        [dw, statistics.mean.to_f32(), statistics.variance.to_f32()]
    };
    assert_eq!(run(), run());
}
