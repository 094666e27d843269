//! What changes parameters: optimiser steps, the target's moving average, and the sums that norms are made of. Lists of flat arrays of `f32`, all
//! tensors of a network at once: results lie one after the other in memory (see [`Arena`]), and lists that do are not copied together
//! first, so that a step over a network launches a handful of kernels however many tensors it has.

mod kernels;

use std::ops::Range;

use byol_kernels::{Adam, Lars, Momentum, Sgd};
use cubecl::prelude::*;

use crate::arena::{Arena, Places, division, memory_of};
use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// Steps with momentum, one for each parameter: `u = g + λp`; `r = η‖p‖/‖u‖` with LARS (1 where a norm is 0), 1 without; `m ← μm + r·u`;
/// `p ← p − lr·m`, or `p − lr·(r·u + μm)` with Nesterov's variant. Returns all `p` and all `m`.
pub fn momentum(p: &[Array], g: &[Array], m: &[Array], steps: &[Momentum]) -> [Vec<Array>; 2] {
    let mut results = [Vec::new(), Vec::new()];
    for range in ranges(p) {
        let [p, g, m] = arenas([p, g, m], &range);
        let steps = &steps[range];
        let (client, places) = (&p.client, p.places());
        let numbers = Array::from_f32(client, &steps.iter().flat_map(momentum_numbers).collect::<Vec<_>>());
        let ratios = if steps.iter().any(|step| matches!(step, Momentum::Lars(_))) {
            let sums = Array::empty(client, 2 * p.blocks(), Kind::F32);
            block_sums([&p, &g], &places, Some(&numbers), &sums, 0);
            let ratios = Array::empty(client, steps.len(), Kind::F32);
            // SAFETY: the kernel checks its index against the lengths of one arena, which all have.
            #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
            unsafe {
                kernels::trust_ratios::launch_unchecked(
                    client,
                    grid(steps.len(), 1),
                    CubeDim::new_1d(UNITS as u32),
                    sums.arg(),
                    places.arg(),
                    numbers.arg(),
                    ratios.arg(),
                );
            }
            ratios
        } else {
            Array::from_f32(client, &vec![1.0; steps.len()])
        };
        let [new_p, new_m] = [&p, &m].map(Arena::empty_like);
        // SAFETY: the kernel checks its index against the lengths of one arena, which all have.
        #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
        unsafe {
            kernels::momentum_step::launch_unchecked(
                client,
                grid(p.blocks(), 1),
                CubeDim::new_1d(UNITS as u32),
                p.values().arg(),
                g.values().arg(),
                m.values().arg(),
                places.arg(),
                numbers.arg(),
                ratios.arg(),
                new_p.values().arg(),
                new_m.values().arg(),
                p.blocks() as u32,
            );
        }
        for (result, arena) in results.iter_mut().zip([new_p, new_m]) {
            result.extend(arena.arrays());
        }
    }
    results
}

/// Steps of Adam or AdamW, one for each parameter: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr · m̂ / (√v̂ + ε)`; weight decay goes into
/// `g` (Adam) or shrinks `p` by `lr·λ` (AdamW). Returns all `p`, all `m` and all `v`.
pub fn adam(p: &[Array], g: &[Array], m: &[Array], v: &[Array], steps: &[Adam]) -> [Vec<Array>; 3] {
    let mut results = [Vec::new(), Vec::new(), Vec::new()];
    for range in ranges(p) {
        let [p, g, m, v] = arenas([p, g, m, v], &range);
        let client = &p.client;
        let numbers = Array::from_f32(client, &steps[range].iter().flat_map(adam_numbers).collect::<Vec<_>>());
        let [new_p, new_m, new_v] = [&p, &m, &v].map(Arena::empty_like);
        // SAFETY: the kernel checks its index against the lengths of one arena, which all have.
        #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
        unsafe {
            kernels::adam_step::launch_unchecked(
                client,
                grid(p.blocks(), 1),
                CubeDim::new_1d(UNITS as u32),
                p.values().arg(),
                g.values().arg(),
                m.values().arg(),
                v.values().arg(),
                p.places().arg(),
                numbers.arg(),
                new_p.values().arg(),
                new_m.values().arg(),
                new_v.values().arg(),
                p.blocks() as u32,
            );
        }
        for (result, arena) in results.iter_mut().zip([new_p, new_m, new_v]) {
            result.extend(arena.arrays());
        }
    }
    results
}

/// `target + (1 − τ)(online − target)` of every pair.
pub fn target_ema(online: &[Array], target: &[Array], tau: f64) -> Vec<Array> {
    let mut results = Vec::new();
    for range in ranges(target) {
        let [online, target] = arenas([online, target], &range);
        let out = target.empty_like();
        let values = out.values();
        // SAFETY: the kernel checks its index against the lengths of one arena, which all have.
        #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
        unsafe {
            kernels::ema_step::launch_unchecked(
                &out.client,
                grid(values.len.div_ceil(UNITS), 1),
                CubeDim::new_1d(UNITS as u32),
                online.values().arg(),
                target.values().arg(),
                values.arg(),
                (1.0 - tau) as f32,
            );
        }
        results.extend(out.arrays());
    }
    results
}

/// `sum + scale · x` of every pair, or `scale · x` where `sum` is empty.
pub fn add_scaled(sum: &[Array], x: &[Array], scale: f32) -> Vec<Array> {
    let of_range = |range: Range<usize>| {
        let sum = (!sum.is_empty()).then(|| Arena::of(&sum[range.clone()]));
        Arena::gathered(&x[range], scale, sum.as_ref())
    };
    ranges(x).flat_map(|range| of_range(range).arrays().collect::<Vec<_>>()).collect()
}

/// `Σ x²` over all arrays, an array of one value.
pub fn sum_of_squares(x: &[Array]) -> Array {
    // In the order in which they lie, whatever order they are named in.
    let mut x = x.to_vec();
    x.sort_by_key(|array| (memory_of(&array.handle), array.handle.offset_start));
    let arenas: Vec<Arena> = ranges(&x).map(|range| Arena::of(&x[range])).collect();
    let client = &arenas[0].client;
    let sums = Array::empty(client, 2 * arenas.iter().map(Arena::blocks).sum::<usize>(), Kind::F32);
    let mut first_block = 0;
    for arena in &arenas {
        block_sums([arena; 2], &arena.places(), None, &sums, first_block);
        first_block += arena.blocks();
    }
    let out = Array::empty(client, 1, Kind::F32);
    // SAFETY: one unit writes one value.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        kernels::total::launch_unchecked(
            client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            sums.arg(),
            out.arg(),
        );
    }
    out
}

/// `Σp²` and `Σ(g + λp)²` of every block, `[blocks, 2]`, written to `sums` from `first_block` on; without numbers λ is 0.
fn block_sums([p, g]: [&Arena; 2], places: &Places, numbers: Option<&Array>, sums: &Array, first_block: usize) {
    // SAFETY: the kernel checks its index against the lengths of one arena, which all have.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        kernels::block_sums::launch_unchecked(
            &p.client,
            grid(p.blocks(), 1),
            CubeDim::new_1d(UNITS as u32),
            p.values().arg(),
            g.values().arg(),
            places.arg(),
            numbers.unwrap_or(sums).arg(),
            sums.arg(),
            first_block as u32,
            p.blocks() as u32,
            numbers.is_some(),
        );
    }
}

/// These arrays of every list.
///
/// # Panics
/// If they have not the same lengths in all.
fn arenas<const N: usize>(lists: [&[Array]; N], range: &Range<usize>) -> [Arena; N] {
    let arenas = lists.map(|arrays| Arena::of(&arrays[range.clone()]));
    assert!(arenas.iter().all(|arena| arena.lens() == arenas[0].lens()), "lists of other tensors");
    arenas
}

/// The arrays of every arena that such a list is divided into.
fn ranges(arrays: &[Array]) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    division(arrays.iter().map(|array| array.len)).into_iter().map(move |count| {
        next += count;
        next - count..next
    })
}

/// lr, λ, μ, whether there is trust scaling, its η, and whether Nesterov's variant: what the kernels know of a step.
fn momentum_numbers(step: &Momentum) -> [f32; kernels::MOMENTUM_NUMBERS] {
    match *step {
        Momentum::Lars(Lars { learning_rate, momentum, weight_decay, trust_coefficient }) => {
            [learning_rate, weight_decay, momentum, 1.0, trust_coefficient, 0.0]
        }
        Momentum::Sgd(Sgd { learning_rate, momentum, weight_decay, nesterov }) => {
            [learning_rate, weight_decay, momentum, 0.0, 0.0, f32::from(u8::from(nesterov))]
        }
    }
}

/// lr, λ, whether it is decoupled, β₁, 1 − β₁, β₂, 1 − β₂, ε and both bias corrections.
fn adam_numbers(step: &Adam) -> [f32; kernels::ADAM_NUMBERS] {
    let &Adam { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled, .. } = step;
    let [correction1, correction2] = step.bias_corrections();
    let rest = |beta: f64| (1.0 - beta) as f32;
    let decoupled = f32::from(u8::from(decoupled));
    let (own1, own2) = (beta1 as f32, beta2 as f32);
    [learning_rate, weight_decay, decoupled, own1, rest(beta1), own2, rest(beta2), epsilon, correction1, correction2]
}
