//! What changes parameters: optimiser steps, the target's moving average, and the sum that gradient norms are made of.
//!
//! A backend extension of its own, since nothing here has a gradient. On the CPU a tensor that nobody else holds is
//! changed where it is; one that is shared is copied first.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};
pub use byol_kernels::{Adam, Lars, Sgd};

use super::device::isa;

/// Updates of flat `f32` tensors. Default bodies are composed of Burn's own operations, so every backend has them.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"))]
pub trait UpdateOps: Backend {
    /// Parameter and momentum after a step; see [`lars`].
    fn lars(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        options: Lars,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::lars::<Self>(p, g, m, options)
    }

    /// Parameter and momentum after a step; see [`sgd`].
    fn sgd(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        options: Sgd,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::sgd::<Self>(p, g, m, options)
    }

    /// Parameter and both moments after a step; see [`adam`].
    fn adam(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: Adam,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::adam::<Self>(p, g, m, v, options)
    }

    /// The target after its move; see [`target_ema`].
    fn target_ema(online: FloatTensor<Self>, target: FloatTensor<Self>, tau: f64) -> FloatTensor<Self> {
        composed::target_ema::<Self>(online, target, tau)
    }

    /// `sum + scale·x`; see [`add_scaled`].
    fn add_scaled(sum: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        composed::add_scaled::<Self>(sum, x, scale)
    }

    /// `Σ x²` as a tensor of one value; see [`sum_of_squares`].
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::sum_of_squares::<Self>(x)
    }
}

/// A LARS step on a flat parameter: `u = g + λp`, scaled by `r = η‖p‖/‖u‖` (1 where a norm is 0); `m ← μm + r·u`;
/// `p ← p − lr·m` (spec §4.1). No ε, no clipping, the rate outside the momentum. Returns `p` and `m`.
pub fn lars(p: Tensor<1>, g: Tensor<1>, m: Tensor<1>, options: Lars) -> (Tensor<1>, Tensor<1>) {
    let (p, m) = Dispatch::lars(p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), options);
    (Tensor::from_dispatch(p), Tensor::from_dispatch(m))
}

/// A step of gradient descent on a flat parameter: `u = g + λp`; `m ← μm + u`; `p ← p − lr·m`, or `p − lr·(u + μm)` with
/// Nesterov's variant. Returns `p` and `m`.
pub fn sgd(p: Tensor<1>, g: Tensor<1>, m: Tensor<1>, options: Sgd) -> (Tensor<1>, Tensor<1>) {
    let (p, m) = Dispatch::sgd(p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), options);
    (Tensor::from_dispatch(p), Tensor::from_dispatch(m))
}

/// A step of Adam or AdamW on a flat parameter: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr · m̂ / (√v̂ + ε)`
/// with bias-corrected `m̂`, `v̂` (Kingma & Ba 2015). Weight decay goes into `g` (Adam) or shrinks `p` by `lr·λ` (AdamW).
/// Returns `p`, `m` and `v`.
pub fn adam(
    p: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    options: Adam,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let (p, g, m, v) = (p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), v.into_dispatch());
    let (p, m, v) = Dispatch::adam(p, g, m, v, options);
    (Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v))
}

/// Moves a flat tensor of the target towards that of the online network: `ξ ← ξ + (1 − τ)(θ − ξ)`.
pub fn target_ema(online: Tensor<1>, target: Tensor<1>, tau: f64) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::target_ema(online.into_dispatch(), target.into_dispatch(), tau))
}

/// `sum + scale·x` of flat tensors, as gradients are that meet.
pub fn add_scaled(sum: Tensor<1>, x: Tensor<1>, scale: f32) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::add_scaled(sum.into_dispatch(), x.into_dispatch(), scale))
}

/// `Σ x²` of a flat tensor, `[1]`.
pub fn sum_of_squares(x: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(x.into_dispatch()))
}

impl UpdateOps for Flex {
    fn lars(mut p: FlexTensor, g: FlexTensor, mut m: FlexTensor, options: Lars) -> (FlexTensor, FlexTensor) {
        byol_kernels::lars(isa(), &options, values_mut(&mut p), values(&g.to_contiguous()), values_mut(&mut m));
        (p, m)
    }

    fn sgd(mut p: FlexTensor, g: FlexTensor, mut m: FlexTensor, options: Sgd) -> (FlexTensor, FlexTensor) {
        byol_kernels::sgd(isa(), &options, values_mut(&mut p), values(&g.to_contiguous()), values_mut(&mut m));
        (p, m)
    }

    fn adam(
        mut p: FlexTensor,
        g: FlexTensor,
        mut m: FlexTensor,
        mut v: FlexTensor,
        options: Adam,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let g = g.to_contiguous();
        let moments = (values_mut(&mut m), values_mut(&mut v));
        byol_kernels::adam(isa(), &options, values_mut(&mut p), values(&g), moments.0, moments.1);
        (p, m, v)
    }

    fn target_ema(online: FlexTensor, mut target: FlexTensor, tau: f64) -> FlexTensor {
        byol_kernels::target_ema(isa(), tau, values(&online.to_contiguous()), values_mut(&mut target));
        target
    }

    fn add_scaled(mut sum: FlexTensor, x: FlexTensor, scale: f32) -> FlexTensor {
        byol_kernels::add_scaled(isa(), scale, values(&x.to_contiguous()), values_mut(&mut sum));
        sum
    }

    fn sum_of_squares(x: FlexTensor) -> FlexTensor {
        let sum = byol_kernels::sum_of_squares(isa(), values(&x.to_contiguous()));
        FlexTensor::from_data(TensorData::new(vec![sum as f32], Shape::new([1])))
    }
}

fn values(contiguous: &FlexTensor) -> &[f32] {
    contiguous.as_slice().expect("a contiguous tensor of f32")
}

/// The values, of this tensor alone afterwards: memory that others hold as well is copied.
fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    if !tensor.is_contiguous() {
        *tensor = tensor.to_contiguous();
    }
    let (start, end) = tensor.layout().contiguous_offsets().expect("a contiguous tensor");
    &mut tensor.storage_mut::<f32>()[start..end]
}

/// The updates composed of Burn's own operations: the default bodies of [`UpdateOps`].
mod composed {
    use super::*;
    use burn::backend::get_device_settings;

    pub fn lars<B: Backend>(
        p: FloatTensor<B>,
        g: FloatTensor<B>,
        m: FloatTensor<B>,
        options: Lars,
    ) -> (FloatTensor<B>, FloatTensor<B>) {
        let u = B::float_add(g, B::float_mul_scalar(p.clone(), options.weight_decay.into()));
        let norm = |x: &FloatTensor<B>| B::float_sqrt(sum_of_squares::<B>(x.clone()));
        let (p_norm, u_norm) = (norm(&p), norm(&u));
        let bool_dtype = get_device_settings::<B>(&p.device()).bool_dtype;
        let is_zero = |norm: &FloatTensor<B>| B::float_equal_elem(norm.clone(), 0.0.into(), bool_dtype);
        let degenerate = B::bool_or(is_zero(&p_norm), is_zero(&u_norm));
        let ratio = B::float_div(B::float_mul_scalar(p_norm, options.trust_coefficient.into()), u_norm);
        let ratio = B::float_mask_fill(ratio, degenerate, 1.0.into());
        let Lars { learning_rate, momentum, .. } = options;
        let plain = Sgd { learning_rate, momentum, weight_decay: 0.0, nesterov: false };
        sgd::<B>(p, B::float_mul(u, ratio), m, plain)
    }

    pub fn sgd<B: Backend>(
        p: FloatTensor<B>,
        g: FloatTensor<B>,
        m: FloatTensor<B>,
        options: Sgd,
    ) -> (FloatTensor<B>, FloatTensor<B>) {
        let momentum = |m| B::float_mul_scalar(m, options.momentum.into());
        let u = B::float_add(g, B::float_mul_scalar(p.clone(), options.weight_decay.into()));
        let m = B::float_add(momentum(m), u.clone());
        let direction = if options.nesterov { B::float_add(u, momentum(m.clone())) } else { m.clone() };
        (B::float_sub(p, B::float_mul_scalar(direction, options.learning_rate.into())), m)
    }

    pub fn adam<B: Backend>(
        p: FloatTensor<B>,
        g: FloatTensor<B>,
        m: FloatTensor<B>,
        v: FloatTensor<B>,
        options: Adam,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let scaled = |x, factor: f32| B::float_mul_scalar(x, factor.into());
        let (p, g) = if options.decoupled {
            (scaled(p, 1.0 - options.learning_rate * options.weight_decay), g)
        } else {
            (p.clone(), B::float_add(g, scaled(p, options.weight_decay)))
        };
        let blend =
            |moment, beta: f64, value| B::float_add(scaled(moment, beta as f32), scaled(value, (1.0 - beta) as f32));
        let m = blend(m, options.beta1, g.clone());
        let v = blend(v, options.beta2, B::float_mul(g.clone(), g));
        let [correction1, correction2] = options.bias_corrections();
        let corrected = |moment: &FloatTensor<B>, by: f32| B::float_div_scalar(moment.clone(), by.into());
        let deviation = B::float_add_scalar(B::float_sqrt(corrected(&v, correction2)), options.epsilon.into());
        let step = scaled(B::float_div(corrected(&m, correction1), deviation), options.learning_rate);
        (B::float_sub(p, step), m, v)
    }

    pub fn target_ema<B: Backend>(online: FloatTensor<B>, target: FloatTensor<B>, tau: f64) -> FloatTensor<B> {
        let distance = B::float_sub(online, target.clone());
        B::float_add(target, B::float_mul_scalar(distance, ((1.0 - tau) as f32).into()))
    }

    pub fn add_scaled<B: Backend>(sum: FloatTensor<B>, x: FloatTensor<B>, scale: f32) -> FloatTensor<B> {
        B::float_add(sum, if scale == 1.0 { x } else { B::float_mul_scalar(x, scale.into()) })
    }

    pub fn sum_of_squares<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        B::float_sum(B::float_mul(x.clone(), x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 1000;

    fn tensor(seed: f32) -> FlexTensor {
        let values: Vec<f32> = (0..LEN).map(|i| (i as f32 * seed).sin()).collect();
        FlexTensor::from_data(TensorData::new(values, [LEN]))
    }

    /// A second moment: not negative.
    fn squares() -> FlexTensor {
        let values: Vec<f32> = values(&tensor(0.9)).iter().map(|x| x * x).collect();
        FlexTensor::from_data(TensorData::new(values, [LEN]))
    }

    fn assert_close<const N: usize>(composed: [FlexTensor; N], kernels: [FlexTensor; N]) {
        for (composed, kernels) in composed.iter().zip(&kernels) {
            assert_eq!(composed.shape(), kernels.shape());
            for (a, b) in values(composed).iter().zip(values(kernels)) {
                assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn composed_updates_agree_with_the_kernels() {
        let (p, g, m, v) = (|| tensor(0.3), || tensor(0.7), || tensor(1.1), squares);
        let options = Lars { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, trust_coefficient: 0.3 };
        assert_close(composed::lars::<Flex>(p(), g(), m(), options).into(), Flex::lars(p(), g(), m(), options).into());
        let (zero, still) = (FlexTensor::zeros(Shape::new([LEN]), p().dtype()), Lars { weight_decay: 0.0, ..options });
        for (p, g) in [(p(), zero.clone()), (zero, g())] {
            let ours = composed::lars::<Flex>(p.clone(), g.clone(), m(), still);
            assert_close(ours.into(), Flex::lars(p, g, m(), still).into());
        }
        for nesterov in [false, true] {
            let options = Sgd { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, nesterov };
            assert_close(
                composed::sgd::<Flex>(p(), g(), m(), options).into(),
                Flex::sgd(p(), g(), m(), options).into(),
            );
        }
        for decoupled in [false, true] {
            let (beta1, beta2) = (0.9, 0.99);
            let options =
                Adam { learning_rate: 0.2, beta1, beta2, epsilon: 1e-3, weight_decay: 0.1, decoupled, step: 3 };
            let ours = composed::adam::<Flex>(p(), g(), m(), v(), options);
            assert_close(ours.into(), Flex::adam(p(), g(), m(), v(), options).into());
        }
        assert_close([composed::target_ema::<Flex>(g(), p(), 0.9)], [Flex::target_ema(g(), p(), 0.9)]);
        assert_close([composed::add_scaled::<Flex>(g(), p(), 0.3)], [Flex::add_scaled(g(), p(), 0.3)]);
        assert_close([composed::sum_of_squares::<Flex>(p())], [Flex::sum_of_squares(p())]);
    }

    #[test]
    fn memory_of_one_owner_is_updated_where_it_is_and_shared_memory_is_left_alone() {
        let target = tensor(0.3);
        let place = target.bytes().as_ptr();
        let target = Flex::target_ema(tensor(0.7), target, 0.5);
        assert_eq!(target.bytes().as_ptr(), place);

        let (other, before) = (target.clone(), values(&target).to_vec());
        let target = Flex::target_ema(tensor(0.7), target, 0.5);
        assert_ne!(values(&target), before);
        assert_eq!(values(&other), before);
    }

    #[test]
    fn a_view_of_part_of_a_tensor_is_updated_alone() {
        let (online, target) = (tensor(0.7), tensor(0.3));
        let part = Flex::target_ema(online.narrow(0, 10, 5), target.narrow(0, 10, 5), 0.5);
        assert_eq!(part.shape(), Shape::new([5]));
        for (i, value) in values(&part).iter().enumerate() {
            let expected = (values(&online)[10 + i] + values(&target)[10 + i]) / 2.0;
            assert!((value - expected).abs() < 1e-6, "{i}");
        }
        assert_eq!(values(&target), values(&tensor(0.3)), "shared memory was changed");
    }
}
