//! What changes parameters: optimiser steps, the target's moving average, and the sums that gradient norms are made of. All tensors of a
//! network at once: on a graphics card a handful of kernels do what would be hundreds.
//!
//! A backend extension of its own, since nothing here has a gradient. On the CPU a tensor that nobody else holds is
//! changed where it is; one that is shared is copied first.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, ExtensionType, Flex,
    backend_extension,
};
use burn::tensor::{Shape, Tensor, TensorData};
pub use byol_kernels::{Adam, Lars, Momentum, Sgd};

use super::device::isa;

/// Tensors of any number as an argument or result.
#[derive(Clone, Debug)]
pub struct Tensors<B: Backend>(pub Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Tensors<Dispatch>
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let mapped = |tensor| DispatchTensor { kind: map_kind(BackendTensor::Float(tensor)), autodiff };
        Tensors(self.0.into_iter().map(mapped).collect())
    }

    fn map_from_dispatch<F>(target: Tensors<Dispatch>, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Tensors(target.0.into_iter().map(|tensor| unwrap_kind(tensor).float()).collect())
    }

    fn routing_tensor(target: &Tensors<Dispatch>) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Tensors<Dispatch>) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Tensors<Dispatch>) -> DispatchAutodiffContext {
        target.0.iter().fold(DispatchAutodiffContext::Disabled, |context, tensor| context.merge(tensor.autodiff))
    }
}

/// Updates of lists of flat `f32` tensors, none of them empty but where it is said.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"))]
pub trait UpdateOps: Backend {
    /// Parameters and momenta after a step; see [`momentum`].
    fn momentum(
        #[extension_type] p: Tensors<Self>,
        #[extension_type] g: Tensors<Self>,
        #[extension_type] m: Tensors<Self>,
        steps: Vec<Momentum>,
    ) -> (Tensors<Self>, Tensors<Self>);

    /// Parameters and both moments after a step; see [`adam`].
    fn adam(
        #[extension_type] p: Tensors<Self>,
        #[extension_type] g: Tensors<Self>,
        #[extension_type] m: Tensors<Self>,
        #[extension_type] v: Tensors<Self>,
        steps: Vec<Adam>,
    ) -> (Tensors<Self>, Tensors<Self>, Tensors<Self>);

    /// The target after its move; see [`target_ema`].
    fn target_ema(
        #[extension_type] online: Tensors<Self>,
        #[extension_type] target: Tensors<Self>,
        tau: f64,
    ) -> Tensors<Self>;

    /// `sum + scale·x`, or `scale·x` if `sum` is empty; see [`add_scaled`].
    fn add_scaled(
        #[extension_type] sum: Tensors<Self>,
        #[extension_type] x: Tensors<Self>,
        scale: f32,
    ) -> Tensors<Self>;

    /// `Σ x²` as a tensor of one value; see [`sum_of_squares`].
    fn sum_of_squares(#[extension_type] x: Tensors<Self>) -> FloatTensor<Self>;
}

/// Steps with momentum on flat parameters, one for each: `u = g + λp`, with LARS scaled by `r = η‖p‖/‖u‖` (1 where a norm is 0; spec §4.1,
/// no ε, no clipping, the rate outside the momentum); `m ← μm + r·u`; `p ← p − lr·m`, or `p − lr·(u + μm)` with Nesterov's
/// variant of [`Sgd`]. Returns all `p` and all `m`.
pub fn momentum(
    p: Vec<Tensor<1>>,
    g: Vec<Tensor<1>>,
    m: Vec<Tensor<1>>,
    steps: Vec<Momentum>,
) -> (Vec<Tensor<1>>, Vec<Tensor<1>>) {
    if p.is_empty() {
        return (p, m);
    }
    let (p, m) = Dispatch::momentum(into_dispatch(p), into_dispatch(g), into_dispatch(m), steps);
    (from_dispatch(p), from_dispatch(m))
}

/// Steps of Adam or AdamW on flat parameters, one for each: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr · m̂ / (√v̂ + ε)`
/// with bias-corrected `m̂`, `v̂` (Kingma & Ba 2015). Weight decay goes into `g` (Adam) or shrinks `p` by `lr·λ` (AdamW).
/// Returns all `p`, all `m` and all `v`.
pub fn adam(
    p: Vec<Tensor<1>>,
    g: Vec<Tensor<1>>,
    m: Vec<Tensor<1>>,
    v: Vec<Tensor<1>>,
    steps: Vec<Adam>,
) -> (Vec<Tensor<1>>, Vec<Tensor<1>>, Vec<Tensor<1>>) {
    if p.is_empty() {
        return (p, m, v);
    }
    let (p, m, v) = Dispatch::adam(into_dispatch(p), into_dispatch(g), into_dispatch(m), into_dispatch(v), steps);
    (from_dispatch(p), from_dispatch(m), from_dispatch(v))
}

/// Moves flat tensors of the target towards those of the online network: `ξ ← ξ + (1 − τ)(θ − ξ)`.
pub fn target_ema(online: Vec<Tensor<1>>, target: Vec<Tensor<1>>, tau: f64) -> Vec<Tensor<1>> {
    if target.is_empty() {
        return target;
    }
    from_dispatch(Dispatch::target_ema(into_dispatch(online), into_dispatch(target), tau))
}

/// `sum + scale·x` of flat tensors, as gradients are that meet; `scale·x` where there is no sum yet.
pub fn add_scaled(sum: Vec<Tensor<1>>, x: Vec<Tensor<1>>, scale: f32) -> Vec<Tensor<1>> {
    if x.is_empty() {
        return x;
    }
    from_dispatch(Dispatch::add_scaled(into_dispatch(sum), into_dispatch(x), scale))
}

/// `Σ x²` over all of these flat tensors, `[1]`.
///
/// # Panics
/// Without a tensor.
pub fn sum_of_squares(x: Vec<Tensor<1>>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(into_dispatch(x)))
}

fn into_dispatch(tensors: Vec<Tensor<1>>) -> Tensors<Dispatch> {
    Tensors(tensors.into_iter().map(Tensor::into_dispatch).collect())
}

fn from_dispatch(Tensors(tensors): Tensors<Dispatch>) -> Vec<Tensor<1>> {
    tensors.into_iter().map(Tensor::from_dispatch).collect()
}

impl UpdateOps for Flex {
    fn momentum(
        Tensors(mut p): Tensors<Self>,
        Tensors(g): Tensors<Self>,
        Tensors(mut m): Tensors<Self>,
        steps: Vec<Momentum>,
    ) -> (Tensors<Self>, Tensors<Self>) {
        for (((p, g), m), step) in p.iter_mut().zip(g).zip(&mut m).zip(&steps) {
            let (p, g, m) = (values_mut(p), g.to_contiguous(), values_mut(m));
            match step {
                Momentum::Lars(lars) => byol_kernels::lars(isa(), lars, p, values(&g), m),
                Momentum::Sgd(sgd) => byol_kernels::sgd(isa(), sgd, p, values(&g), m),
            }
        }
        (Tensors(p), Tensors(m))
    }

    fn adam(
        Tensors(mut p): Tensors<Self>,
        Tensors(g): Tensors<Self>,
        Tensors(mut m): Tensors<Self>,
        Tensors(mut v): Tensors<Self>,
        steps: Vec<Adam>,
    ) -> (Tensors<Self>, Tensors<Self>, Tensors<Self>) {
        for ((((p, g), m), v), step) in p.iter_mut().zip(g).zip(&mut m).zip(&mut v).zip(&steps) {
            byol_kernels::adam(isa(), step, values_mut(p), values(&g.to_contiguous()), values_mut(m), values_mut(v));
        }
        (Tensors(p), Tensors(m), Tensors(v))
    }

    fn target_ema(Tensors(online): Tensors<Self>, Tensors(mut target): Tensors<Self>, tau: f64) -> Tensors<Self> {
        for (online, target) in online.into_iter().zip(&mut target) {
            byol_kernels::target_ema(isa(), tau, values(&online.to_contiguous()), values_mut(target));
        }
        Tensors(target)
    }

    fn add_scaled(Tensors(mut sum): Tensors<Self>, Tensors(mut x): Tensors<Self>, scale: f32) -> Tensors<Self> {
        if sum.is_empty() {
            if scale != 1.0 {
                x.iter_mut().for_each(|x| values_mut(x).iter_mut().for_each(|x| *x *= scale));
            }
            return Tensors(x);
        }
        for (sum, x) in sum.iter_mut().zip(x) {
            byol_kernels::add_scaled(isa(), scale, values(&x.to_contiguous()), values_mut(sum));
        }
        Tensors(sum)
    }

    fn sum_of_squares(Tensors(x): Tensors<Self>) -> FlexTensor {
        let of = |x: FlexTensor| byol_kernels::sum_of_squares(isa(), values(&x.to_contiguous())) as f32;
        let sum: f32 = x.into_iter().map(of).reduce(|sum, square| sum + square).expect("a tensor");
        FlexTensor::from_data(TensorData::new(vec![sum], Shape::new([1])))
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

#[cfg(test)]
mod tests {
    use burn::backend::TensorMetadata;

    use super::*;

    const LEN: usize = 1000;

    fn tensor(seed: f32) -> FlexTensor {
        let values: Vec<f32> = (0..LEN).map(|i| (i as f32 * seed).sin()).collect();
        FlexTensor::from_data(TensorData::new(values, [LEN]))
    }

    fn moved(online: FlexTensor, target: FlexTensor) -> FlexTensor {
        Flex::target_ema(Tensors(vec![online]), Tensors(vec![target]), 0.5).0.remove(0)
    }

    #[test]
    fn memory_of_one_owner_is_updated_where_it_is_and_shared_memory_is_left_alone() {
        let target = tensor(0.3);
        let place = target.bytes().as_ptr();
        let target = moved(tensor(0.7), target);
        assert_eq!(target.bytes().as_ptr(), place);

        let (other, before) = (target.clone(), values(&target).to_vec());
        let target = moved(tensor(0.7), target);
        assert_ne!(values(&target), before);
        assert_eq!(values(&other), before);
    }

    #[test]
    fn a_view_of_part_of_a_tensor_is_updated_alone() {
        let (online, target) = (tensor(0.7), tensor(0.3));
        let part = moved(online.narrow(0, 10, 5), target.narrow(0, 10, 5));
        assert_eq!(part.shape(), Shape::new([5]));
        for (i, value) in values(&part).iter().enumerate() {
            let expected = (values(&online)[10 + i] + values(&target)[10 + i]) / 2.0;
            assert!((value - expected).abs() < 1e-6, "{i}");
        }
        assert_eq!(values(&target), values(&tensor(0.3)), "shared memory was changed");
    }

    #[test]
    fn every_parameter_takes_the_step_of_its_place_in_the_list() {
        let sgd = Sgd { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, nesterov: true };
        let lars = Lars { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.1, trust_coefficient: 0.3 };
        let list = || Tensors(vec![tensor(0.3), tensor(0.4)]);
        let (p, m) = Flex::momentum(list(), list(), list(), vec![Momentum::Sgd(sgd), Momentum::Lars(lars)]);
        for (i, seed) in [0.3, 0.4].into_iter().enumerate() {
            let (start, gradient) = (tensor(seed), tensor(seed));
            let [mut own_p, mut own_m] = [start.clone(), start].map(|tensor| values(&tensor).to_vec());
            match i {
                0 => byol_kernels::sgd(isa(), &sgd, &mut own_p, values(&gradient), &mut own_m),
                _ => byol_kernels::lars(isa(), &lars, &mut own_p, values(&gradient), &mut own_m),
            }
            assert_eq!((values(&p.0[i]), values(&m.0[i])), (&own_p[..], &own_m[..]));
        }
        let scaled = Flex::add_scaled(Tensors(vec![]), list(), 0.5);
        let doubled = Flex::add_scaled(scaled, list(), 1.5);
        for (x, doubled) in list().0.iter().zip(&doubled.0) {
            assert!(values(x).iter().zip(values(doubled)).all(|(x, doubled)| (doubled - 2.0 * x).abs() < 1e-6));
        }
    }
}
