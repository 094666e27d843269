//! Every kernel beside its counterpart of `byol-kernels`, on the device that this build finds: `cuda:0` where there is one, else the first
//! that Vulkan has, which may be a software driver.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use byol_cube::{Affine, Array, Client, Folded, Kind};
use byol_kernels::{
    Adam, BatchNorm, ChannelParameters, ConvShape, Isa, Lars, Mask, MaxPool, Momentum, Padding, Sgd, Write, bf16,
};
use cubecl::logging::{LaunchObservation, LaunchObserver};

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

/// Tensors as a network has them: more than one launch gathers, one of them larger than a launch has units, most no multiple of a block.
const LENS: [usize; 20] =
    [1, 63, 1024, 5000, 300_001, 64, 64, 9408, 2048, 3, 1025, 7, 128, 4096, 512, 36_864, 10, 1000, 2, 31];

fn lists(seed: u64) -> Vec<Vec<f32>> {
    LENS.iter().zip(seed..).map(|(&len, seed)| values(len, 100 * seed)).collect()
}

fn sent(client: &Client, lists: &[Vec<f32>]) -> Vec<Array> {
    lists.iter().map(|values| Array::from_f32(client, values)).collect()
}

#[track_caller]
fn assert_all_close(what: &str, ours: &[Array], expected: &[Vec<f32>]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (i, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_close(&format!("{what}, tensor {i}"), &ours.to_f32(), expected, 2e-6);
    }
}

#[test]
fn updates_agree_with_the_processor() {
    let client = client();
    let isa = Isa::best();
    let [mut p, g, m] = [1, 2, 3].map(lists);
    // A parameter of zeros is not scaled by its norm.
    p[8].fill(0.0);
    let v: Vec<Vec<f32>> = lists(4).iter().map(|values| values.iter().map(|x| x * x).collect()).collect();
    let [mut p_there, g_there, mut m_there, mut v_there] = [&p, &g, &m, &v].map(|lists| sent(&client, lists));

    // Two steps: the results of the first lie one after the other, what came to the device piece by piece does not.
    let [mut new_p, mut new_m] = [p.clone(), m.clone()];
    for _ in 0..2 {
        let steps: Vec<Momentum> = (0..LENS.len())
            .map(|i| {
                let (learning_rate, momentum, weight_decay) = (0.01 * (1 + i) as f32, 0.9, 0.1);
                match i % 3 {
                    0 => Momentum::Sgd(Sgd { learning_rate, momentum, weight_decay, nesterov: i % 2 == 0 }),
                    _ => Momentum::Lars(Lars { learning_rate, momentum, weight_decay, trust_coefficient: 0.3 }),
                }
            })
            .collect();
        for (i, step) in steps.iter().enumerate() {
            match step {
                Momentum::Lars(lars) => byol_kernels::lars(isa, lars, &mut new_p[i], &g[i], &mut new_m[i]),
                Momentum::Sgd(sgd) => byol_kernels::sgd(isa, sgd, &mut new_p[i], &g[i], &mut new_m[i]),
            }
        }
        [p_there, m_there] = byol_cube::momentum(&p_there, &g_there, &m_there, &steps);
        assert_all_close("p", &p_there, &new_p);
        assert_all_close("m", &m_there, &new_m);
    }

    let mut new_v = v;
    for decoupled in [false, true] {
        let (beta1, beta2) = (0.9, 0.99);
        let step = |i: usize| {
            let learning_rate = 0.01 * (1 + i) as f32;
            Adam { learning_rate, beta1, beta2, epsilon: 1e-3, weight_decay: 0.1, decoupled, step: 3 }
        };
        let steps: Vec<Adam> = (0..LENS.len()).map(step).collect();
        for (i, step) in steps.iter().enumerate() {
            byol_kernels::adam(isa, step, &mut new_p[i], &g[i], &mut new_m[i], &mut new_v[i]);
        }
        [p_there, m_there, v_there] = byol_cube::adam(&p_there, &g_there, &m_there, &v_there, &steps);
        assert_all_close("p of adam", &p_there, &new_p);
        assert_all_close("m of adam", &m_there, &new_m);
        assert_all_close("v of adam", &v_there, &new_v);
    }

    // A target without the last tensors of the online network, as one without predictor.
    let (mut target, online) = (m[..15].to_vec(), &new_p[..15]);
    let mut target_there = sent(&client, &target);
    for _ in 0..2 {
        for (target, online) in target.iter_mut().zip(online) {
            byol_kernels::target_ema(isa, 0.9, online, target);
        }
        target_there = byol_cube::target_ema(&p_there[..15], &target_there, 0.9);
        assert_all_close("target", &target_there, &target);
    }
}

#[test]
fn sums_agree_with_the_processor() {
    let client = client();
    let [x, y] = [1, 2].map(lists);
    let there = [&x, &y].map(|lists| sent(&client, lists));
    let scaled = byol_cube::add_scaled(&[], &there[0], 0.5);
    let expected: Vec<Vec<f32>> = x.iter().map(|x| x.iter().map(|x| 0.5 * x).collect()).collect();
    assert_all_close("scaled", &scaled, &expected);
    let sum = byol_cube::add_scaled(&scaled, &there[1], 0.25);
    let add = |(x, y): (&Vec<f32>, &Vec<f32>)| x.iter().zip(y).map(|(x, y)| x + 0.25 * y).collect();
    let expected: Vec<Vec<f32>> = expected.iter().zip(&y).map(add).collect();
    assert_all_close("sum", &sum, &expected);

    let squares = expected.iter().map(|x| byol_kernels::sum_of_squares(Isa::best(), x)).sum::<f64>() as f32;
    let of_all = byol_cube::sum_of_squares(&sum).to_f32();
    assert_close("sum of squares", &of_all, &[squares], 2e-6);
    let reversed: Vec<Array> = sum.iter().rev().cloned().collect();
    assert_eq!(byol_cube::sum_of_squares(&reversed).to_f32(), of_all, "the order of names counts");
    assert_close(
        "of one",
        &byol_cube::sum_of_squares(&sum[4..5]).to_f32(),
        &[byol_kernels::sum_of_squares(Isa::best(), &expected[4]) as f32],
        2e-6,
    );
}

/// A step must not change what somebody else holds, and lists longer than one arena are divided.
#[test]
fn results_are_new_memory_and_large_networks_are_divided() {
    let client = client();
    let lens = [9 << 20, 9 << 20, 5];
    let x: Vec<Array> = lens.iter().zip(1..).map(|(&len, seed)| Array::from_f32(&client, &values(len, seed))).collect();
    let online = byol_cube::add_scaled(&[], &x, 1.0);
    let before: Vec<Vec<f32>> = online.iter().map(Array::to_f32).collect();
    let target = byol_cube::target_ema(&online, &x, 0.5);
    let doubled = byol_cube::add_scaled(&online, &online, 1.0);
    let moved = launches(|| drop(byol_cube::target_ema(&online, &target, 0.5)));
    assert_eq!(moved, ["EmaStep", "EmaStep"], "two pieces of memory, both as they lie");
    for i in 0..lens.len() {
        assert_eq!(online[i].to_f32(), before[i], "tensor {i} was changed by a step that reads it");
        assert_eq!(target[i].to_f32(), before[i], "halfway between equals");
        let expected: Vec<f32> = before[i].iter().map(|x| 2.0 * x).collect();
        assert_eq!(doubled[i].to_f32(), expected);
    }
}

/// The kernels that `work` launches, by the end of their names, in order.
fn launches(work: impl FnOnce()) -> Vec<String> {
    struct OfThread(ThreadId, Mutex<Vec<String>>);
    impl LaunchObserver for OfThread {
        fn launched(&self, kernel: &'static str) {
            if thread::current().id() == self.0 {
                let name = kernel.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(kernel);
                self.1.lock().unwrap().push(name.to_owned());
            }
        }
    }
    let observer = Arc::new(OfThread(thread::current().id(), Mutex::default()));
    let observation = LaunchObservation::new(observer.clone());
    work();
    drop(observation);
    std::mem::take(&mut observer.1.lock().unwrap())
}

/// However many tensors a network has.
#[test]
fn a_step_launches_a_handful_of_kernels() {
    let client = client();
    let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };
    let lars = Lars { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, trust_coefficient: 1e-3 };
    let steps: Vec<Momentum> =
        (0..LENS.len()).map(|i| if i % 2 == 0 { Momentum::Lars(lars) } else { Momentum::Sgd(sgd) }).collect();
    let [p, m, view1, view2] = [1, 2, 3, 4].map(|seed| sent(&client, &lists(seed)));
    let [p, m] = byol_cube::momentum(&p, &view1, &m, &steps);
    let target = byol_cube::target_ema(&p, &m, 0.5);
    let step = || {
        let gradients = byol_cube::add_scaled(&byol_cube::add_scaled(&[], &view1, 1.0), &view2, 1.0);
        byol_cube::sum_of_squares(&gradients);
        let [p, _] = byol_cube::momentum(&p, &gradients, &m, &steps);
        byol_cube::target_ema(&p[..15], &target[..15], 0.5);
    };
    let names = [
        "Collect",
        "Collect",
        "Collect",
        "Collect",
        "BlockSums",
        "Total",
        "BlockSums",
        "TrustRatios",
        "MomentumStep",
        "EmaStep",
    ];
    assert_eq!(launches(step), names);
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
