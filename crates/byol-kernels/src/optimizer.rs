//! Optimiser steps and the moving average of the target, each one pass over its slices, in place.
//!
//! Every value takes the same operations in the same order on every instruction set, and sums run in `f32` lanes within
//! fixed blocks and in `f64` across them: results have the same bits for any instruction set and number of threads.

use crate::isa::{Isa, vectorized};

/// Values per task: 256 KiB of each slice. A tensor of no more is updated straight in the calling thread.
const PIECE: usize = 64 * 1024;

/// Values whose squares are summed in `f32`.
const BLOCK: usize = 1024;

/// `f32` sums side by side within a block.
const LANES: usize = 32;

/// Constants of a [`lars`] step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// lr.
    pub learning_rate: f32,
    /// μ.
    pub momentum: f32,
    /// λ.
    pub weight_decay: f32,
    /// η.
    pub trust_coefficient: f32,
}

/// Constants of an [`sgd`] step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// lr.
    pub learning_rate: f32,
    /// μ.
    pub momentum: f32,
    /// λ.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the new momentum.
    pub nesterov: bool,
}

/// A step with momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// See [`lars`].
    Lars(Lars),
    /// See [`sgd`].
    Sgd(Sgd),
}

/// Constants of an [`adam`] step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// lr.
    pub learning_rate: f32,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f32,
    /// λ.
    pub weight_decay: f32,
    /// Whether the decay shrinks the parameters (AdamW) rather than being added to the gradient (Adam).
    pub decoupled: bool,
    /// t, which counts from 1.
    pub step: u64,
}

impl Adam {
    /// `1 − β₁ᵗ` and `1 − β₂ᵗ`: what moments that started at zero have to be divided by.
    pub fn bias_corrections(&self) -> [f32; 2] {
        [self.beta1, self.beta2].map(|beta| (1.0 - beta.powf(self.step as f64)) as f32)
    }
}

/// One step of layer-wise adaptive rate scaling on the parameter `p` with gradient `g` and momentum `m`.
///
/// `u = g + λp`; `r = η‖p‖ / ‖u‖`, or 1 where a norm is 0; `m ← μm + r·u`; `p ← p − lr·m`. All slices have one length.
pub fn lars(isa: Isa, options: &Lars, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    check([p.len(), g.len(), m.len()]);
    let Lars { learning_rate, momentum, weight_decay, trust_coefficient } = *options;
    let ratio = trust_ratio(isa, trust_coefficient, weight_decay, p, g);
    in_pieces(
        isa,
        [p, m],
        [g],
        #[inline(always)]
        |[p, m]: [&mut [f32]; 2], [g]: [&[f32]; 1]| {
            for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
                let u = (g + *p * weight_decay) * ratio;
                *m = *m * momentum + u;
                *p -= *m * learning_rate;
            }
            []
        },
    );
}

/// One step of stochastic gradient descent on the parameter `p` with gradient `g` and momentum `m`.
///
/// `u = g + λp`; `m ← μm + u`; `p ← p − lr·m`, or `p − lr·(u + μm)` with Nesterov's variant. All slices have one length.
pub fn sgd(isa: Isa, options: &Sgd, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    check([p.len(), g.len(), m.len()]);
    let Sgd { learning_rate, momentum, weight_decay, nesterov } = *options;
    in_pieces(
        isa,
        [p, m],
        [g],
        #[inline(always)]
        |[p, m]: [&mut [f32]; 2], [g]: [&[f32]; 1]| {
            for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
                let u = g + *p * weight_decay;
                *m = *m * momentum + u;
                let direction = if nesterov { u + *m * momentum } else { *m };
                *p -= direction * learning_rate;
            }
            []
        },
    );
}

/// One step of Adam or AdamW on the parameter `p` with gradient `g`, first moment `m` and second moment `v`.
///
/// Adam adds λp to g, AdamW scales p by `1 − lr·λ`; then `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²` and
/// `p ← p − lr · m̂ / (√v̂ + ε)` with `m̂ = m / (1 − β₁ᵗ)`, `v̂ = v / (1 − β₂ᵗ)` (Kingma & Ba 2015; Loshchilov & Hutter
/// 2019). All slices have one length.
pub fn adam(isa: Isa, options: &Adam, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    check([p.len(), g.len(), m.len(), v.len()]);
    let Adam { learning_rate, epsilon, weight_decay, .. } = *options;
    let (shrink, decay) =
        if options.decoupled { (1.0 - learning_rate * weight_decay, 0.0) } else { (1.0, weight_decay) };
    let [beta1, beta2] = [options.beta1, options.beta2].map(|beta| beta as f32);
    let [fresh1, fresh2] = [options.beta1, options.beta2].map(|beta| (1.0 - beta) as f32);
    let [correction1, correction2] = options.bias_corrections();
    in_pieces(
        isa,
        [p, m, v],
        [g],
        #[inline(always)]
        |[p, m, v]: [&mut [f32]; 3], [g]: [&[f32]; 1]| {
            for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                let g = g + *p * decay;
                *m = *m * beta1 + g * fresh1;
                *v = *v * beta2 + g * g * fresh2;
                let deviation = (*v / correction2).sqrt() + epsilon;
                *p = *p * shrink - *m / correction1 / deviation * learning_rate;
            }
            []
        },
    );
}

/// `sum ← sum + scale·x`: gradients that meet. Both slices have one length.
pub fn add_scaled(isa: Isa, scale: f32, x: &[f32], sum: &mut [f32]) {
    check([x.len(), sum.len()]);
    in_pieces(
        isa,
        [sum],
        [x],
        #[inline(always)]
        |[sum]: [&mut [f32]; 1], [x]: [&[f32]; 1]| {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * scale);
            []
        },
    );
}

/// Moves the target ξ towards the online network θ: `ξ ← ξ + (1 − τ)(θ − ξ)`. Both slices have one length.
pub fn target_ema(isa: Isa, tau: f64, online: &[f32], target: &mut [f32]) {
    check([online.len(), target.len()]);
    let share = (1.0 - tau) as f32;
    in_pieces(
        isa,
        [target],
        [online],
        #[inline(always)]
        |[target]: [&mut [f32]; 1], [online]: [&[f32]; 1]| {
            for (target, online) in target.iter_mut().zip(online) {
                *target += (online - *target) * share;
            }
            []
        },
    );
}

/// `Σ x²`.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    let [sum] = in_pieces(
        isa,
        [],
        [x],
        #[inline(always)]
        |[]: [&mut [f32]; 0], [x]: [&[f32]; 1]| [x.chunks(BLOCK).map(|block| f64::from(block_squares(block))).sum()],
    );
    sum
}

/// `η‖p‖ / ‖g + λp‖`, or 1 where either norm is 0; reads `p` and `g` once.
fn trust_ratio(isa: Isa, eta: f32, weight_decay: f32, p: &[f32], g: &[f32]) -> f32 {
    let squares = in_pieces(
        isa,
        [],
        [p, g],
        #[inline(always)]
        |[]: [&mut [f32]; 0], [p, g]: [&[f32]; 2]| {
            let mut u = [0.0; BLOCK];
            let mut sums = [0.0; 2];
            for (p, g) in p.chunks(BLOCK).zip(g.chunks(BLOCK)) {
                let u = &mut u[..p.len()];
                for ((u, p), g) in u.iter_mut().zip(p).zip(g) {
                    *u = g + p * weight_decay;
                }
                sums[0] += f64::from(block_squares(p));
                sums[1] += f64::from(block_squares(u));
            }
            sums
        },
    );
    let [p_norm, u_norm] = squares.map(f64::sqrt);
    if p_norm == 0.0 || u_norm == 0.0 { 1.0 } else { (f64::from(eta) * p_norm / u_norm) as f32 }
}

/// `Σ x²` of at most [`BLOCK`] values.
#[inline(always)]
fn block_squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (rows, rest) = x.as_chunks::<LANES>();
    for row in rows {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane += x * x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x * x;
    }
    lanes.iter().sum()
}

/// Calls `work`, compiled for `isa`, on pieces of all slices, which have one length, and adds up what it returns.
///
/// The pieces and the order of addition depend on the length alone.
fn in_pieces<const WRITTEN: usize, const READ: usize, const SUMS: usize>(
    isa: Isa,
    written: [&mut [f32]; WRITTEN],
    read: [&[f32]; READ],
    work: impl Fn([&mut [f32]; WRITTEN], [&[f32]; READ]) -> [f64; SUMS] + Copy + Sync + Send,
) -> [f64; SUMS] {
    let len = read[0].len();
    if len <= PIECE {
        return vectorized(
            isa,
            #[inline(always)]
            || work(written, read),
        );
    }
    let middle = len.div_ceil(PIECE) / 2 * PIECE;
    let mut halves = written.map(|values| values.split_at_mut(middle));
    let first = halves.each_mut().map(|(first, _)| std::mem::take(first));
    let second = halves.map(|(_, second)| second);
    let (mut sums, others) = rayon::join(
        || in_pieces(isa, first, read.map(|values| &values[..middle]), work),
        || in_pieces(isa, second, read.map(|values| &values[middle..]), work),
    );
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
    sums
}

fn check<const SLICES: usize>(lengths: [usize; SLICES]) {
    assert!(lengths.iter().all(|len| *len == lengths[0]), "slices of one tensor have lengths {lengths:?}");
}
