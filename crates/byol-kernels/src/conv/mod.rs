//! Two-dimensional convolution (cross-correlation, as in every deep-learning library) and its gradients, and the linear
//! layer as its special case.
//!
//! Each is a matrix product without a matrix of patches: the inner loops read the rows of channels that a window sees
//! where they lie (`window.rs`), and multiply them with a packed weight (`weight.rs`). Convolutions of 3×3 and stride 1 with
//! whole vectors of channels take a quarter of the products on tiles of pixels (`winograd/`), unless AMX multiplies `bf16` or much of the
//! tiles lies outside of the pictures.
//! A linear layer of few rows and many weights multiplies the other way round (`linear.rs`). The choice is made here, above
//! all three.

mod destination;
#[cfg(all(test, unix, target_arch = "x86_64"))]
mod emulated_kernels;
mod finish;
mod linear;
mod moments;
mod product;
mod shape;
mod splits;
mod turned;
mod weight;
mod weight_gradient;
mod window;
mod winograd;

pub use shape::ConvShape;

use std::fmt;
use std::sync::OnceLock;

use crate::element::Element;
use crate::isa::Isa;
use destination::Image;
use finish::{Add, Affine, Finish, Store};
use moments::StoreWithMoments;
use weight::{PackedWeight, WeightView};
use window::Window;
use winograd::MappedWeight;

/// What happens to the previous content of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is overwritten.
    Overwrite,
    /// It is added to.
    Add,
}

/// `y[n, i, j, o] = Σ_{c, u, v} x[n, i·stride + u − top, j·stride + v − left, c] · weight[o, c, u, v]`, where `top` and
/// `left` are the [`Padding`](crate::Padding) before the first row and column and `x` is zero outside of the image.
///
/// `x` is `[batch, height, width, inputs]`, `weight` `[outputs, inputs, kernel, kernel]`, `y`
/// `[batch, output height, output width, outputs]`, fully overwritten. The weight is rounded to the type of `x` (but not for
/// products by tiles, which run in `f32`), products are summed in `f32`, and the sum is rounded to the type of `y`.
pub fn conv2d<E: Element, D: Element>(isa: Isa, shape: &ConvShape, x: &[E], weight: &[f32], y: &mut [D]) {
    match linear::suits::<E>(shape) {
        true => linear::forward(isa, shape, x, weight, y),
        false => forward(isa, shape, x, weight, y, &mut Store, None),
    }
}

/// [`conv2d`], and `mean` and biased `variance` of every output over all positions, of the sums before they are rounded.
pub fn conv2d_with_moments<E: Element, D: Element>(
    isa: Isa,
    shape: &ConvShape,
    x: &[E],
    weight: &[f32],
    y: &mut [D],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    assert_eq!((mean.len(), variance.len()), (shape.outputs, shape.outputs), "lengths of mean and variance");
    let mut moments = StoreWithMoments::new(shape.outputs);
    forward(isa, shape, x, weight, y, &mut moments, None);
    moments.write(isa, mean, variance);
}

/// A weight as the products want it, made when first needed and kept for the next call: for inference, where weights stay as they
/// are. It belongs to one weight and one element type, for pictures of any size.
#[derive(Default)]
pub struct KeptWeight {
    packed: OnceLock<PackedWeight>,
    mapped: OnceLock<MappedWeight>,
}

impl fmt::Debug for KeptWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packed, mapped) = (self.packed.get().is_some(), self.mapped.get().is_some());
        f.debug_struct("KeptWeight").field("packed", &packed).field("mapped", &mapped).finish()
    }
}

/// What is kept in `slot`, made if there is nothing yet. Not by `get_or_init`: whoever makes it waits for tasks and takes up others
/// meanwhile, and one of those may want the same and would wait for ever. So two may make it, and the first one's is kept.
fn kept_in<T>(slot: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    if slot.get().is_none() {
        let _ = slot.set(make());
    }
    slot.get().expect("it was just put there")
}

/// `y = relu?(conv2d(x) + bias + residual?)`, for inference with the batch norm folded into weight and bias.
///
/// `bias` is `[outputs]`, `residual` of `y`'s shape. `kept` is empty or has seen this weight with this type of `x`.
#[expect(clippy::too_many_arguments, reason = "one argument per array of the formula")]
pub fn conv2d_affine<E: Element, D: Element>(
    isa: Isa,
    shape: &ConvShape,
    x: &[E],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[D]>,
    relu: bool,
    kept: &KeptWeight,
    y: &mut [D],
) {
    assert_eq!(bias.len(), shape.outputs, "length of the bias");
    assert_eq!(residual.map_or(y.len(), <[D]>::len), y.len(), "length of the residual");
    forward(isa, shape, x, weight, y, &mut Affine { bias, residual, relu }, Some(kept));
}

fn forward<E: Element, D: Element>(
    isa: Isa,
    shape: &ConvShape,
    x: &[E],
    weight: &[f32],
    y: &mut [D],
    finish: &mut impl Finish<D>,
    kept: Option<&KeptWeight>,
) {
    shape.check(x.len(), weight.len(), y.len());
    let window = shape.input_window();
    let weight = WeightView {
        values: weight,
        outputs: shape.outputs,
        output_stride: shape.inputs * shape.taps(),
        channels: shape.inputs,
        channel_stride: shape.taps(),
        taps: (0..shape.taps()).collect(),
    };
    let image = Image { height: window.y.count, width: window.x.count, channels: shape.outputs };
    multiply(isa, &window, x, &weight, image, y, finish, kept);
}

/// Gradient with respect to the input, `dx = ∂(y · dy)/∂x` of [`conv2d`]; `write` says whether `dx` is added to.
///
/// With stride `s` the input positions fall into `s·s` phases; each is a convolution of `dy` of stride 1 with the rotated
/// taps that meet it, so no product with inserted zeros is computed.
pub fn conv2d_input_gradient<E: Element, D: Element>(
    isa: Isa,
    shape: &ConvShape,
    weight: &[f32],
    dy: &[E],
    write: Write,
    dx: &mut [D],
) {
    shape.check(dx.len(), weight.len(), dy.len());
    for phase_y in 0..shape.stride {
        for phase_x in 0..shape.stride {
            let window = shape.output_window(phase_y, phase_x);
            let tap = |y: usize, x: usize| (phase_y + y * shape.stride) * shape.kernel + phase_x + x * shape.stride;
            let rows = (0..window.y.taps).rev();
            let taps = rows.flat_map(|y| (0..window.x.taps).rev().map(move |x| tap(y, x))).collect();
            let weight = WeightView {
                values: weight,
                outputs: shape.inputs,
                output_stride: shape.taps(),
                channels: shape.outputs,
                channel_stride: shape.inputs * shape.taps(),
                taps,
            };
            let (height, width) = match shape.is_pointwise() {
                true => (1, dx.len() / shape.inputs),
                false => (shape.height, shape.width),
            };
            let image = Image { height, width, channels: shape.inputs };
            match write {
                Write::Overwrite => multiply(isa, &window, dy, &weight, image, dx, &mut Store, None),
                Write::Add => multiply(isa, &window, dy, &weight, image, dx, &mut Add, None),
            }
        }
    }
}

/// Gradient with respect to the weight, `dw = ∂(y · dy)/∂weight` of [`conv2d`], summed over the batch.
///
/// `dw` `[outputs, inputs, kernel, kernel]` is fully overwritten. How the positions are split between tasks depends on
/// the number of threads, and with it the last bits.
pub fn conv2d_weight_gradient<E: Element>(isa: Isa, shape: &ConvShape, x: &[E], dy: &[E], dw: &mut [f32]) {
    shape.check(x.len(), dw.len(), dy.len());
    assert!(isa.is_available(), "this machine has no {isa}");
    let window = shape.input_window();
    match winograd::suits::<E>(isa, &window, shape.batch, shape.outputs, false) {
        true => winograd::weight_gradient(isa, shape, &window, x, dy, dw),
        false => weight_gradient::weight_gradient(isa, shape, &window, x, dy, dw),
    }
}

/// `finish(windows of source · weight)` for every position of `window`: by tiles where that is faster, otherwise directly.
#[expect(clippy::too_many_arguments, reason = "the product and where its weight is kept")]
fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &mut impl Finish<D>,
    kept: Option<&KeptWeight>,
) {
    assert_eq!(weight.taps.len(), window.taps());
    assert_eq!(weight.channels, window.channels);
    match winograd::suits::<E>(isa, window, image.count(destination.len()), weight.outputs, kept.is_some()) {
        true => {
            let slot = kept.map(|kept| &kept.mapped);
            winograd::multiply(isa, window, source, weight, image, destination, finish, slot);
        }
        false => {
            let slot = kept.map(|kept| &kept.packed);
            product::multiply(isa, window, source, weight, image, destination, finish, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As when a thread that packs a weight takes up another product with it.
    #[test]
    fn who_makes_what_is_kept_may_come_across_it_meanwhile() {
        let slot = OnceLock::new();
        assert_eq!(kept_in(&slot, || 1 + kept_in(&slot, || 1)), &1);
        assert_eq!(kept_in(&slot, || unreachable!("it is kept")), &1);
    }
}
