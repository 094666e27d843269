//! Weights as products read them, and values in another type.

use byol_kernels::ConvShape;
use cubecl::prelude::*;

use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// The order of a packed weight's axes, the last one without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// `[outputs, taps, inputs]`: what the forward pass sums along.
    OutputTapInput,
    /// `[inputs, taps, outputs]`: what the gradient of the input sums along.
    InputTapOutput,
}

/// `weight f32 [outputs, inputs, taps]`, in another order, rounded to `kind`.
pub(crate) fn pack_weight(weight: &Array, shape: &ConvShape, order: Order, kind: Kind) -> Array {
    assert_eq!(weight.len, shape.weight_len(), "the weight of {shape:?}");
    let packed = Array::empty(&weight.client, weight.len, kind);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        pack::launch_unchecked(
            &weight.client,
            grid(weight.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            weight.arg(),
            packed.arg(),
            shape.outputs as u32,
            shape.inputs as u32,
            (shape.kernel * shape.kernel) as u32,
            order,
            kind.elem(),
        );
    }
    packed
}

#[cube(launch_unchecked)]
fn pack<F: Float>(
    weight: &[f32],
    packed: &mut [F],
    outputs: u32,
    inputs: u32,
    taps: u32,
    #[comptime] order: Order,
    #[define(F)] _to: ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at as usize >= packed.len() {
        terminate!();
    }
    let inner = if comptime!(order == Order::OutputTapInput) { inputs } else { outputs };
    let last = at % inner;
    let tap = at / inner % taps;
    let first = at / inner / taps;
    let from = if comptime!(order == Order::OutputTapInput) {
        (first * inputs + last) * taps + tap
    } else {
        (last * inputs + first) * taps + tap
    };
    packed[at as usize] = F::cast_from(weight[from as usize]);
}

/// The values in another type.
pub fn cast(x: &Array, kind: Kind) -> Array {
    if x.kind == kind {
        return x.clone();
    }
    let out = Array::empty(&x.client, x.len, kind);
    let vector = x.kind.vector(x.len).min(kind.vector(x.len));
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        cast_values::launch_unchecked(
            &x.client,
            grid((x.len / vector).div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            vector,
            x.arg(),
            out.arg(),
            x.kind.elem(),
            kind.elem(),
        );
    }
    out
}

#[cube(launch_unchecked)]
fn cast_values<F: Float, O: Float, V: Size>(
    x: &[Vector<F, V>],
    out: &mut [Vector<O, V>],
    #[define(F)] _from: ElemType,
    #[define(O)] _to: ElemType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    out[ABSOLUTE_POS] = Vector::<O, V>::cast_from(x[ABSOLUTE_POS]);
}
