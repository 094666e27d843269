//! What changes parameters: optimiser steps, the target's moving average, and the sums that norms are made of. Flat arrays of `f32`.

use byol_kernels::{Adam, Lars, Sgd};
use cubecl::prelude::*;

use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// Parts whose sums norms are made of; every cube that needs a norm adds them again.
const PARTS: usize = 64;

/// A LARS step: `u = g + λp`, `r = η‖p‖/‖u‖` (1 where a norm is 0), `m ← μm + r·u`, `p ← p − lr·m`. Returns `p` and `m`.
pub fn lars(p: &Array, g: &Array, m: &Array, options: &Lars) -> [Array; 2] {
    let client = &p.client;
    let squares = sum_parts(p, g, options.weight_decay);
    let [new_p, new_m] = [(); 2].map(|()| Array::empty(client, p.len, Kind::F32));
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        lars_step::launch_unchecked(
            client,
            grid(p.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            p.arg(),
            g.arg(),
            m.arg(),
            squares.arg(),
            new_p.arg(),
            new_m.arg(),
            options.learning_rate,
            options.momentum,
            options.weight_decay,
            options.trust_coefficient,
        );
    }
    [new_p, new_m]
}

/// A step of gradient descent: `u = g + λp`, `m ← μm + u`, `p ← p − lr·m`, or `p − lr·(u + μm)` with Nesterov's variant. Returns `p` and `m`.
pub fn sgd(p: &Array, g: &Array, m: &Array, options: &Sgd) -> [Array; 2] {
    let [new_p, new_m] = [(); 2].map(|()| Array::empty(&p.client, p.len, Kind::F32));
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        sgd_step::launch_unchecked(
            &p.client,
            grid(p.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            p.arg(),
            g.arg(),
            m.arg(),
            new_p.arg(),
            new_m.arg(),
            options.learning_rate,
            options.momentum,
            options.weight_decay,
            options.nesterov,
        );
    }
    [new_p, new_m]
}

/// A step of Adam or AdamW: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr · m̂ / (√v̂ + ε)`; weight decay goes into `g` (Adam) or shrinks
/// `p` by `lr·λ` (AdamW). Returns `p`, `m` and `v`.
pub fn adam(p: &Array, g: &Array, m: &Array, v: &Array, options: &Adam) -> [Array; 3] {
    let [new_p, new_m, new_v] = [(); 3].map(|()| Array::empty(&p.client, p.len, Kind::F32));
    let [correction1, correction2] = options.bias_corrections();
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        adam_step::launch_unchecked(
            &p.client,
            grid(p.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            p.arg(),
            g.arg(),
            m.arg(),
            v.arg(),
            new_p.arg(),
            new_m.arg(),
            new_v.arg(),
            options.learning_rate,
            options.beta1 as f32,
            (1.0 - options.beta1) as f32,
            options.beta2 as f32,
            (1.0 - options.beta2) as f32,
            options.epsilon,
            options.weight_decay,
            correction1,
            correction2,
            options.decoupled,
        );
    }
    [new_p, new_m, new_v]
}

/// `target + (1 − τ)(online − target)`.
pub fn target_ema(online: &Array, target: &Array, tau: f64) -> Array {
    let out = Array::empty(&online.client, online.len, Kind::F32);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        ema_step::launch_unchecked(
            &online.client,
            grid(online.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            online.arg(),
            target.arg(),
            out.arg(),
            (1.0 - tau) as f32,
        );
    }
    out
}

/// `Σ x²`, an array of one value.
pub fn sum_of_squares(x: &Array) -> Array {
    let parts = sum_parts(x, x, 0.0);
    let out = Array::empty(&x.client, 1, Kind::F32);
    // SAFETY: one unit writes one value.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        add_squares::launch_unchecked(
            &x.client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(1),
            parts.arg(),
            out.arg(),
        );
    }
    out
}

/// `Σp²` and `Σ(g + λp)²` over parts of the values, `[parts, 2]`.
fn sum_parts(p: &Array, g: &Array, weight_decay: f32) -> Array {
    let part_count = p.len.div_ceil(UNITS * 4).min(PARTS);
    let parts = Array::empty(&p.client, part_count * 2, Kind::F32);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        squares::launch_unchecked(
            &p.client,
            CubeCount::Static(part_count as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            p.arg(),
            g.arg(),
            parts.arg(),
            p.len as u32,
            weight_decay,
        );
    }
    parts
}

#[cube(launch_unchecked)]
fn squares(p: &[f32], g: &[f32], parts: &mut [f32], len: u32, weight_decay: f32) {
    let mut of_p = 0.0f32;
    let mut of_u = 0.0f32;
    let mut at = CUBE_POS_X * comptime!(UNITS as u32) + UNIT_POS;
    while at < len {
        let value = p[at as usize];
        let u = g[at as usize] + weight_decay * value;
        of_p += value * value;
        of_u += u * u;
        at += CUBE_COUNT_X * comptime!(UNITS as u32);
    }
    let mut all_p = Shared::<[f32]>::new_slice(UNITS);
    let mut all_u = Shared::<[f32]>::new_slice(UNITS);
    all_p[UNIT_POS as usize] = of_p;
    all_u[UNIT_POS as usize] = of_u;
    sync_cube();
    let mut half = comptime!(UNITS as u32 / 2).runtime();
    while half > 0 {
        if UNIT_POS < half {
            let other = (UNIT_POS + half) as usize;
            let sum = all_p[UNIT_POS as usize] + all_p[other];
            all_p[UNIT_POS as usize] = sum;
            let sum = all_u[UNIT_POS as usize] + all_u[other];
            all_u[UNIT_POS as usize] = sum;
        }
        sync_cube();
        half /= 2;
    }
    if UNIT_POS == 0 {
        parts[(CUBE_POS_X * 2) as usize] = all_p[0];
        parts[(CUBE_POS_X * 2 + 1) as usize] = all_u[0];
    }
}

/// Both sums over all parts.
#[cube]
fn add_parts(parts: &[f32]) -> (f32, f32) {
    let mut of_p = 0.0f32;
    let mut of_u = 0.0f32;
    for part in 0..parts.len() / 2 {
        of_p += parts[part * 2];
        of_u += parts[part * 2 + 1];
    }
    (of_p, of_u)
}

#[cube(launch_unchecked)]
fn add_squares(parts: &[f32], out: &mut [f32]) {
    let (of_p, _) = add_parts(parts);
    out[0] = of_p;
}

#[cube(launch_unchecked)]
fn lars_step(
    p: &[f32],
    g: &[f32],
    m: &[f32],
    parts: &[f32],
    new_p: &mut [f32],
    new_m: &mut [f32],
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    trust_coefficient: f32,
) {
    let at = ABSOLUTE_POS;
    if at >= new_p.len() {
        terminate!();
    }
    let (of_p, of_u) = add_parts(parts);
    let is_degenerate = of_p == 0.0f32 || of_u == 0.0f32;
    let ratio = select(is_degenerate, 1.0f32, trust_coefficient * of_p.sqrt() / of_u.sqrt());
    let u = g[at] + weight_decay * p[at];
    let moment = momentum * m[at] + ratio * u;
    new_m[at] = moment;
    new_p[at] = p[at] - learning_rate * moment;
}

#[cube(launch_unchecked)]
fn sgd_step(
    p: &[f32],
    g: &[f32],
    m: &[f32],
    new_p: &mut [f32],
    new_m: &mut [f32],
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    #[comptime] nesterov: bool,
) {
    let at = ABSOLUTE_POS;
    if at >= new_p.len() {
        terminate!();
    }
    let u = g[at] + weight_decay * p[at];
    let moment = momentum * m[at] + u;
    let direction = if comptime!(nesterov) { u + momentum * moment } else { moment };
    new_m[at] = moment;
    new_p[at] = p[at] - learning_rate * direction;
}

#[cube(launch_unchecked)]
fn adam_step(
    p: &[f32],
    g: &[f32],
    m: &[f32],
    v: &[f32],
    new_p: &mut [f32],
    new_m: &mut [f32],
    new_v: &mut [f32],
    learning_rate: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    epsilon: f32,
    weight_decay: f32,
    correction1: f32,
    correction2: f32,
    #[comptime] decoupled: bool,
) {
    let at = ABSOLUTE_POS;
    if at >= new_p.len() {
        terminate!();
    }
    let mut value = p[at];
    let mut gradient = g[at];
    if comptime!(decoupled) {
        value *= 1.0f32 - learning_rate * weight_decay;
    } else {
        gradient += weight_decay * value;
    }
    let first = beta1 * m[at] + rest1 * gradient;
    let second = beta2 * v[at] + rest2 * gradient * gradient;
    new_m[at] = first;
    new_v[at] = second;
    let deviation = (second / correction2).sqrt() + epsilon;
    new_p[at] = value - learning_rate * (first / correction1) / deviation;
}

#[cube(launch_unchecked)]
fn ema_step(online: &[f32], target: &[f32], out: &mut [f32], rest: f32) {
    let at = ABSOLUTE_POS;
    if at >= out.len() {
        terminate!();
    }
    out[at] = target[at] + rest * (online[at] - target[at]);
}
