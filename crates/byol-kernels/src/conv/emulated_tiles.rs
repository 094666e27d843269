//! Whole convolutions on emulated tile registers against those on plain arrays, which `tests/convolution.rs` compares with the
//! definition: what windows, packed weights and edges make of the tile kernels is seen on machines without AMX, too.
#![expect(unsafe_code, reason = "implements a trait of vector instructions")]

use half::bf16;

use super::*;
use crate::padding::Padding;
use crate::vector::{EMULATED_BF16, Kernels, Operand};

/// A `bf16` whose products run on emulated tiles whatever the instruction set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
struct OnTiles(bf16);

impl Operand for OnTiles {
    const PER_UNIT: usize = bf16::PER_UNIT;

    fn unit(first: Self, second: Self) -> u32 {
        bf16::unit(first.0, second.0)
    }

    unsafe fn interleave_avx512(_: &[Self], _: &[Self], _: &mut [u32]) {
        unreachable!("the tests run on plain arrays");
    }

    fn kernels(_: Isa) -> Kernels {
        EMULATED_BF16
    }
}

impl Element for OnTiles {
    fn to_f32(self) -> f32 {
        Element::to_f32(self.0)
    }

    fn from_f32(value: f32) -> Self {
        Self(<bf16 as Element>::from_f32(value))
    }
}

/// In -1..1, exact in `bf16`.
fn values(len: usize, state: &mut u64) -> Vec<bf16> {
    let mut next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bf16::from_f32((*state >> 56) as f32 / 128.0 - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

/// `y`, `dx` and `dw`.
fn run<E: Element>(shape: &ConvShape, [x, weight, dy]: &[Vec<bf16>; 3]) -> [Vec<f32>; 3] {
    let elements = |values: &[bf16]| values.iter().map(|value| E::from_f32(value.to_f32())).collect::<Vec<E>>();
    let (x, dy) = (elements(x), elements(dy));
    let weight: Vec<f32> = weight.iter().map(|weight| weight.to_f32()).collect();
    let [mut y, mut dx, mut dw] = [dy.len(), x.len(), weight.len()].map(|len| vec![f32::NAN; len]);
    conv2d(Isa::Portable, shape, &x, &weight, &mut y);
    conv2d_input_gradient(Isa::Portable, shape, &weight, &dy, Write::Overwrite, &mut dx);
    conv2d_weight_gradient(Isa::Portable, shape, &x, &dy, &mut dw);
    [y, dx, dw]
}

fn check(shape: ConvShape, state: &mut u64) {
    let operands = [shape.input_len(), shape.weight_len(), shape.output_len()].map(|len| values(len, state));
    let (tiles, arrays) = (run::<OnTiles>(&shape, &operands), run::<bf16>(&shape, &operands));
    for (what, (tiles, arrays)) in ["y", "dx", "dw"].into_iter().zip(tiles.iter().zip(&arrays)) {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut tiles.iter().zip(arrays).map(|(tile, array)| tile - array));
        // A NaN that survived the call also fails here.
        assert!(error <= 1e-5 * norm(&mut arrays.iter().copied()), "{error:e} in {what} of {shape:?}");
    }
}

#[test]
fn convolutions_on_emulated_tiles_equal_those_on_arrays() {
    let state = &mut 1;
    for padding in [Padding::Same, Padding::Symmetric(1)] {
        for (kernel, stride) in [1, 2, 3, 7].into_iter().flat_map(|kernel| [1, 2, 3].map(|stride| (kernel, stride))) {
            for (height, width) in [(8, 8), (7, 10)] {
                // Patches; a row of one partial tile; whole tiles and a rest, and more than one panel.
                for (inputs, outputs) in [(3, 9), (8, 32), (40, 48)] {
                    check(ConvShape { batch: 2, height, width, inputs, outputs, kernel, stride, padding }, state);
                }
            }
        }
    }
}
