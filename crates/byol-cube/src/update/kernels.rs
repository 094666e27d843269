//! One cube per block of an arena.

use cubecl::prelude::*;

use crate::arena::{BLOCK, PER_UNIT, array_of, values_left};
use crate::tile::UNITS;

/// Numbers of a step with momentum: lr, λ, μ, trust scaling (0 or 1), η, Nesterov (0 or 1).
pub(super) const MOMENTUM_NUMBERS: usize = 6;

/// Numbers of a step of Adam: lr, λ, decoupled (0 or 1), β₁, 1 − β₁, β₂, 1 − β₂, ε, both bias corrections.
pub(super) const ADAM_NUMBERS: usize = 10;

/// `Σp²` and `Σ(g + λp)²` of every block; see `super::block_sums`.
#[cube(launch_unchecked)]
pub(super) fn block_sums(
    p: &[f32],
    g: &[f32],
    places: &[u32],
    numbers: &[f32],
    sums: &mut [f32],
    first_block: u32,
    blocks: u32,
    #[comptime] decays: bool,
) {
    let block = CUBE_POS as u32;
    if block >= blocks {
        terminate!();
    }
    let array = array_of(block, places);
    let left = values_left(block, array, places);
    let mut weight_decay = 0.0f32;
    if comptime!(decays) {
        weight_decay = numbers[(array * comptime!(MOMENTUM_NUMBERS as u32) + 1) as usize];
    }
    let mut of_p = 0.0f32;
    let mut of_u = 0.0f32;
    #[unroll]
    for i in 0..PER_UNIT {
        let in_block = UNIT_POS + comptime!((i * UNITS) as u32);
        if in_block < left {
            let at = (block * comptime!(BLOCK as u32) + in_block) as usize;
            let value = p[at];
            let u = g[at] + weight_decay * value;
            of_p += value * value;
            of_u += u * u;
        }
    }
    let (of_p, of_u) = over_cube(of_p, of_u);
    if UNIT_POS == 0 {
        let to = ((first_block + block) * 2) as usize;
        sums[to] = of_p;
        sums[to + 1] = of_u;
    }
}

/// Both sums over the units of a cube, in an order of its own; unit 0 has them.
#[cube]
fn over_cube(a: f32, b: f32) -> (f32, f32) {
    let mut all_a = Shared::<[f32]>::new_slice(UNITS);
    let mut all_b = Shared::<[f32]>::new_slice(UNITS);
    all_a[UNIT_POS as usize] = a;
    all_b[UNIT_POS as usize] = b;
    sync_cube();
    let mut half = comptime!(UNITS as u32 / 2).runtime();
    while half > 0 {
        if UNIT_POS < half {
            let other = (UNIT_POS + half) as usize;
            let sum = all_a[UNIT_POS as usize] + all_a[other];
            all_a[UNIT_POS as usize] = sum;
            let sum = all_b[UNIT_POS as usize] + all_b[other];
            all_b[UNIT_POS as usize] = sum;
        }
        sync_cube();
        half /= 2;
    }
    (all_a[0], all_b[0])
}

/// `η‖p‖/‖u‖` of one array per cube, 1 where a norm is 0 or the step has no trust scaling.
#[cube(launch_unchecked)]
pub(super) fn trust_ratios(sums: &[f32], places: &[u32], numbers: &[f32], ratios: &mut [f32]) {
    let array = CUBE_POS;
    if array >= ratios.len() {
        terminate!();
    }
    let first = places[array];
    let len = places[ratios.len() + array];
    let mut of_p = 0.0f32;
    let mut of_u = 0.0f32;
    let mut block = first + UNIT_POS;
    while block < first + len.div_ceil(comptime!(BLOCK as u32)) {
        of_p += sums[(block * 2) as usize];
        of_u += sums[(block * 2 + 1) as usize];
        block += comptime!(UNITS as u32);
    }
    let (of_p, of_u) = over_cube(of_p, of_u);
    if UNIT_POS == 0 {
        let at = array * MOMENTUM_NUMBERS;
        let is_plain = numbers[at + 3] == 0.0f32 || of_p == 0.0f32 || of_u == 0.0f32;
        ratios[array] = select(is_plain, 1.0f32, numbers[at + 4] * of_p.sqrt() / of_u.sqrt());
    }
}

/// The first of the two sums over all blocks; one cube.
#[cube(launch_unchecked)]
pub(super) fn total(sums: &[f32], out: &mut [f32]) {
    let mut sum = 0.0f32;
    let mut at = UNIT_POS * 2;
    while (at as usize) < sums.len() {
        sum += sums[at as usize];
        at += comptime!(2 * UNITS as u32);
    }
    let (sum, _) = over_cube(sum, 0.0f32);
    if UNIT_POS == 0 {
        out[0] = sum;
    }
}

#[cube(launch_unchecked)]
pub(super) fn momentum_step(
    p: &[f32],
    g: &[f32],
    m: &[f32],
    places: &[u32],
    numbers: &[f32],
    ratios: &[f32],
    new_p: &mut [f32],
    new_m: &mut [f32],
    blocks: u32,
) {
    let block = CUBE_POS as u32;
    if block >= blocks {
        terminate!();
    }
    let array = array_of(block, places);
    let left = values_left(block, array, places);
    let of_array = array as usize * MOMENTUM_NUMBERS;
    let learning_rate = numbers[of_array];
    let weight_decay = numbers[of_array + 1];
    let momentum = numbers[of_array + 2];
    let is_nesterov = numbers[of_array + 5] != 0.0f32;
    let ratio = ratios[array as usize];
    #[unroll]
    for i in 0..PER_UNIT {
        let in_block = UNIT_POS + comptime!((i * UNITS) as u32);
        if in_block < left {
            let at = (block * comptime!(BLOCK as u32) + in_block) as usize;
            let value = p[at];
            let u = ratio * (g[at] + weight_decay * value);
            let moment = momentum * m[at] + u;
            let direction = select(is_nesterov, u + momentum * moment, moment);
            new_m[at] = moment;
            new_p[at] = value - learning_rate * direction;
        }
    }
}

#[cube(launch_unchecked)]
pub(super) fn adam_step(
    p: &[f32],
    g: &[f32],
    m: &[f32],
    v: &[f32],
    places: &[u32],
    numbers: &[f32],
    new_p: &mut [f32],
    new_m: &mut [f32],
    new_v: &mut [f32],
    blocks: u32,
) {
    let block = CUBE_POS as u32;
    if block >= blocks {
        terminate!();
    }
    let array = array_of(block, places);
    let left = values_left(block, array, places);
    let of_array = array as usize * ADAM_NUMBERS;
    let learning_rate = numbers[of_array];
    let weight_decay = numbers[of_array + 1];
    let is_decoupled = numbers[of_array + 2] != 0.0f32;
    #[unroll]
    for i in 0..PER_UNIT {
        let in_block = UNIT_POS + comptime!((i * UNITS) as u32);
        if in_block < left {
            let at = (block * comptime!(BLOCK as u32) + in_block) as usize;
            let old = p[at];
            let value = select(is_decoupled, old * (1.0f32 - learning_rate * weight_decay), old);
            let gradient = select(is_decoupled, g[at], g[at] + weight_decay * old);
            let first = numbers[of_array + 3] * m[at] + numbers[of_array + 4] * gradient;
            let second = numbers[of_array + 5] * v[at] + numbers[of_array + 6] * gradient * gradient;
            new_m[at] = first;
            new_v[at] = second;
            let deviation = (second / numbers[of_array + 9]).sqrt() + numbers[of_array + 7];
            new_p[at] = value - learning_rate * (first / numbers[of_array + 8]) / deviation;
        }
    }
}

#[cube(launch_unchecked)]
pub(super) fn ema_step(online: &[f32], target: &[f32], out: &mut [f32], rest: f32) {
    let at = ABSOLUTE_POS;
    if at >= out.len() {
        terminate!();
    }
    out[at] = target[at] + rest * (online[at] - target[at]);
}
