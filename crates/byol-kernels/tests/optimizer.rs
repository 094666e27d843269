//! Optimiser steps against their definition in `f64`, for every instruction set of this machine.

use byol_kernels::{Adam, Isa, Lars, Sgd, adam, add_scaled, lars, sgd, sum_of_squares, target_ema};

/// Around the lengths of a vector, of a block of a sum and of a task.
const LENGTHS: [usize; 11] = [0, 1, 3, 31, 64, 1000, 1025, 65_535, 65_536, 65_537, 200_003];

const STEPS: u64 = 3;

/// Values in [−1, 1) of no pattern; `seed` tells the slices of a case apart.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let mix = |i: usize| (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_add(1).wrapping_mul(0x85eb_ca6b);
    (0..len).map(|i| (mix(i) ^ mix(i) >> 15).wrapping_mul(0xc2b2_ae35) as i32 as f32 / 2_147_483_648.0).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

fn assert_close(what: &str, isa: Isa, actual: &[f32], expected: &[f64]) {
    let error = norm(actual.iter().zip(expected).map(|(a, b)| f64::from(*a) - b));
    let size = norm(expected.iter().copied());
    // A NaN fails here, too.
    // Terms of a value may cancel, which leaves more than the last bit.
    assert!(error <= 2e-6 * size, "{what} of {} values, {isa}: error {error:e} of {size:e}", actual.len());
}

/// Parameter and moments after [`STEPS`] steps, each with a gradient of its own; `step` takes its number, p, g, m and v.
fn run(len: usize, mut step: impl FnMut(u64, &mut [f32], &[f32], &mut [f32], &mut [f32])) -> [Vec<f32>; 3] {
    let (mut p, mut m, mut v) = (values(len, 0), vec![0.0; len], vec![0.0; len]);
    for t in 1..=STEPS {
        step(t, &mut p, &values(len, t as u32), &mut m, &mut v);
    }
    [p, m, v]
}

/// As [`run`], in `f64`, value by value; `begin` sees parameter and gradient before each step and `step` gets its result.
fn definition(
    len: usize,
    begin: impl Fn(&[f64], &[f64]) -> f64,
    step: impl Fn(f64, u64, [f64; 4]) -> [f64; 3],
) -> [Vec<f64>; 3] {
    let (mut p, mut m, mut v) = (wide(&values(len, 0)), vec![0.0; len], vec![0.0; len]);
    for t in 1..=STEPS {
        let g = wide(&values(len, t as u32));
        let scale = begin(&p, &g);
        for i in 0..len {
            [p[i], m[i], v[i]] = step(scale, t, [p[i], g[i], m[i], v[i]]);
        }
    }
    [p, m, v]
}

/// Compares for every length and instruction set, and one thread with three.
fn check(
    what: &str,
    step: impl Fn(Isa, u64, &mut [f32], &[f32], &mut [f32], &mut [f32]) + Sync,
    begin: impl Fn(&[f64], &[f64]) -> f64,
    expected: impl Fn(f64, u64, [f64; 4]) -> [f64; 3],
) {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, three) = (pool(1), pool(3));
    for len in LENGTHS {
        let expected = definition(len, &begin, &expected);
        for isa in Isa::available() {
            let run = || run(len, |t, p, g, m, v| step(isa, t, p, g, m, v));
            let actual = one.install(run);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_close(what, isa, actual, expected);
            }
            assert!(actual == three.install(run), "{what} of {len} values, {isa}: threads change bits");
        }
    }
}

#[test]
fn lars_is_its_definition() {
    let options = Lars { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.01, trust_coefficient: 0.1 };
    let [rate, momentum, decay, eta] =
        [options.learning_rate, options.momentum, options.weight_decay, options.trust_coefficient].map(f64::from);
    check(
        "lars",
        |isa, _, p, g, m, _| lars(isa, &options, p, g, m),
        |p, g| eta * norm(p.iter().copied()) / norm(p.iter().zip(g).map(|(p, g)| g + decay * p)),
        |ratio, _, [p, g, m, _]| {
            let m = momentum * m + ratio * (g + decay * p);
            [p - rate * m, m, 0.0]
        },
    );
}

#[test]
fn lars_does_not_scale_when_a_norm_is_zero() {
    let options = Lars { learning_rate: 1.0, momentum: 0.0, weight_decay: 0.0, trust_coefficient: 0.1 };
    for isa in Isa::available() {
        let (mut p, mut m) = ([0.0; 40], [0.0; 40]);
        lars(isa, &options, &mut p, &[0.5; 40], &mut m);
        assert_eq!((p, m), ([-0.5; 40], [0.5; 40]), "{isa}");
        let (mut p, mut m) = ([2.0; 40], [0.0; 40]);
        lars(isa, &options, &mut p, &[0.0; 40], &mut m);
        assert_eq!((p, m), ([2.0; 40], [0.0; 40]), "{isa}");
    }
}

#[test]
fn sgd_is_its_definition() {
    for nesterov in [false, true] {
        let options = Sgd { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.01, nesterov };
        let [rate, momentum, decay] = [options.learning_rate, options.momentum, options.weight_decay].map(f64::from);
        check(
            "sgd",
            |isa, _, p, g, m, _| sgd(isa, &options, p, g, m),
            |_, _| 1.0,
            |_, _, [p, g, m, _]| {
                let u = g + decay * p;
                let m = momentum * m + u;
                [p - rate * if nesterov { u + momentum * m } else { m }, m, 0.0]
            },
        );
    }
}

#[test]
fn adam_is_its_definition() {
    for decoupled in [false, true] {
        let adam_at = |step| Adam {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-3,
            weight_decay: 0.1,
            decoupled,
            step,
        };
        let (rate, decay, epsilon) = (f64::from(0.01_f32), f64::from(0.1_f32), f64::from(1e-3_f32));
        check(
            "adam",
            |isa, t, p, g, m, v| adam(isa, &adam_at(t), p, g, m, v),
            |_, _| 1.0,
            |_, t, [p, g, m, v]| {
                let (p, g) = if decoupled { (p - rate * decay * p, g) } else { (p, g + decay * p) };
                let (m, v) = (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
                let (m_hat, v_hat) = (m / (1.0 - 0.9_f64.powi(t as i32)), v / (1.0 - 0.999_f64.powi(t as i32)));
                [p - rate * m_hat / (v_hat.sqrt() + epsilon), m, v]
            },
        );
    }
}

#[test]
fn the_target_moves_by_its_share() {
    check(
        "target",
        |isa, _, target, online, _, _| target_ema(isa, 0.75, online, target),
        |_, _| 0.25,
        |share, _, [target, online, _, _]| [target + share * (online - target), 0.0, 0.0],
    );
    let (online, before) = (values(1000, 1), values(1000, 2));
    let mut target = before.clone();
    target_ema(Isa::best(), 1.0, &online, &mut target);
    assert_eq!(target, before);
}

#[test]
fn gradients_that_meet_are_added() {
    check(
        "sum",
        |isa, _, sum, x, _, _| add_scaled(isa, 0.75, x, sum),
        |_, _| 0.75,
        |scale, _, [sum, x, _, _]| [sum + scale * x, 0.0, 0.0],
    );
}

#[test]
fn squares_are_summed_to_the_last_digits_of_f32_at_any_size() {
    for (len, scale) in LENGTHS.into_iter().chain([5_000_011]).zip([1.0, 1e-15, 1e15].into_iter().cycle()) {
        let x: Vec<f32> = values(len, 7).into_iter().map(|x| x * scale).collect();
        let expected: f64 = wide(&x).iter().map(|x| x * x).sum();
        let sums: Vec<f64> = Isa::available().into_iter().map(|isa| sum_of_squares(isa, &x)).collect();
        assert!((sums[0] - expected).abs() <= 2e-7 * expected, "{} {expected} of {len}", sums[0]);
        assert!(sums.iter().all(|sum| *sum == sums[0]), "instruction sets change bits: {sums:?}");
    }
}

#[test]
#[should_panic(expected = "lengths")]
fn slices_of_different_lengths_are_refused() {
    target_ema(Isa::Portable, 0.5, &[1.0; 8], &mut [1.0; 9]);
}
