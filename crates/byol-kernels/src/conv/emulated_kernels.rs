//! Whole convolutions on the kernels of other machines, emulated, against those on plain arrays, which `tests/convolution.rs`
//! compares with the definition: what windows, packed weights and edges make of tile registers and of the wide panels of long
//! vectors is seen on machines without them, too.
#![expect(unsafe_code, reason = "implements a trait of vector instructions")]

use half::bf16;

use super::*;
use crate::buffer::AnyBits;
use crate::padding::Padding;
use crate::vector::{Kernels, Operand, TILES_ON_ARRAYS, WIDE_PANELS_ON_ARRAYS};

const TILES: bool = true;
const WIDE_PANELS: bool = false;

/// A `bf16` whose products run on emulated tiles, or else on panels as wide as those of AVX-512, whatever the instruction set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
struct On<const KERNELS: bool>(bf16);

impl<const KERNELS: bool> Operand for On<KERNELS> {
    const PER_UNIT: usize = bf16::PER_UNIT;

    fn unit(first: Self, second: Self) -> u32 {
        bf16::unit(first.0, second.0)
    }

    unsafe fn interleave_avx512(_: &[Self], _: &[Self], _: &mut [u32]) {
        unreachable!("the tests run on plain arrays");
    }

    fn kernels(_: Isa) -> Kernels {
        if KERNELS == TILES { TILES_ON_ARRAYS } else { WIDE_PANELS_ON_ARRAYS }
    }
}

// SAFETY: so are those of the number in it.
unsafe impl<const KERNELS: bool> AnyBits for On<KERNELS> {}

impl<const KERNELS: bool> Element for On<KERNELS> {
    const LARGEST_ZERO: f32 = bf16::LARGEST_ZERO;

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

fn check<const KERNELS: bool>(shape: ConvShape, state: &mut u64) {
    let operands = [shape.input_len(), shape.weight_len(), shape.output_len()].map(|len| values(len, state));
    let (emulated, arrays) = (run::<On<KERNELS>>(&shape, &operands), run::<bf16>(&shape, &operands));
    for (what, (emulated, arrays)) in ["y", "dx", "dw"].into_iter().zip(emulated.iter().zip(&arrays)) {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut emulated.iter().zip(arrays).map(|(emulated, array)| emulated - array));
        // A NaN that survived the call also fails here.
        assert!(error <= 1e-5 * norm(&mut arrays.iter().copied()), "{error:e} in {what} of {shape:?}");
    }
}

fn check_shapes<const KERNELS: bool>() {
    let state = &mut 1;
    for padding in [Padding::Same, Padding::Symmetric(1)] {
        for (kernel, stride) in [1, 2, 3, 7].into_iter().flat_map(|kernel| [1, 2, 3].map(|stride| (kernel, stride))) {
            for (height, width) in [(8, 8), (7, 10)] {
                // Patches; a row of one partial tile; whole tiles and a rest, and more than one panel.
                for (inputs, outputs) in [(3, 9), (8, 32), (40, 48)] {
                    check::<KERNELS>(
                        ConvShape { batch: 2, height, width, inputs, outputs, kernel, stride, padding },
                        state,
                    );
                }
            }
        }
    }
    // Few rows and many weights, a group of rows and more, whole panels and a rest.
    for (rows, inputs, outputs) in [(7, 34, 130), (96, 64, 128), (130, 600, 300), (130, 300, 40)] {
        check::<KERNELS>(ConvShape::linear(rows, inputs, outputs), state);
    }
}

#[test]
fn convolutions_on_emulated_tiles_equal_those_on_arrays() {
    check_shapes::<TILES>();
}

/// Where the reduction is cut depends on the number of threads; what is summed does not.
#[test]
fn another_number_of_threads_gives_the_same_bits_on_emulated_tiles() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, three) = (pool(1), pool(3));
    let shape = ConvShape::linear(130, 300, 200);
    let state = &mut 1;
    // Of many magnitudes, so that sums are rounded.
    let operands = [shape.input_len(), shape.weight_len(), shape.output_len()]
        .map(|len| values(len, state).into_iter().map(|value| bf16::from_f32(value.to_f32().powi(5))).collect());
    let [y, dx, _] = one.install(|| run::<On<TILES>>(&shape, &operands));
    let [y3, dx3, _] = three.install(|| run::<On<TILES>>(&shape, &operands));
    assert!(y == y3 && dx == dx3);
}

#[test]
fn convolutions_on_wide_panels_equal_those_on_narrow_ones() {
    check_shapes::<WIDE_PANELS>();
}
