//! Walking over the tensors of a network by name, whatever their rank.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use crate::ops;

/// What a tensor of a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution or linear layer.
    Weight,
    /// Bias, or scale and offset of a batch norm: no weight decay and no trust scaling (spec §4.1).
    BiasOrNorm,
    /// Running statistic of a batch norm: not trained, not averaged into the target.
    Buffer,
}

impl Role {
    /// Rank 1 is bias or norm, which equals the reference's rule by name (spec §9.7).
    fn of(name: &str, rank: usize) -> Self {
        match rank {
            _ if name.ends_with("running_mean") || name.ends_with("running_var") => Self::Buffer,
            0 | 1 => Self::BiasOrNorm,
            _ => Self::Weight,
        }
    }
}

/// One tensor of a network, flat and without autodiff.
pub struct NamedTensor<'a> {
    /// Path of fields, which is torchvision's name inside the encoder: `layer1.0.conv1.weight`.
    pub name: &'a str,
    /// What it is.
    pub role: Role,
    /// Its shape before flattening.
    pub shape: Vec<usize>,
    /// All values, row-major.
    pub values: Tensor<1>,
}

/// Visits every tensor of `module` in the order of its fields.
pub fn visit_tensors(module: &impl Module, visit: impl FnMut(NamedTensor)) {
    struct Visitor<F> {
        path: Vec<String>,
        visit: F,
    }
    impl<F: FnMut(NamedTensor)> ModuleVisitor for Visitor<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.join(".");
            let tensor = param.val().without_autodiff();
            let shape = tensor.dims().to_vec();
            let values = tensor.reshape([shape.iter().product::<usize>()]);
            (self.visit)(NamedTensor { name: &name, role: Role::of(&name, D), shape, values });
        }
    }
    module.visit(&mut Visitor { path: Vec::new(), visit });
}

/// Number of trained values (running statistics do not count).
pub fn count_parameters(module: &impl Module) -> usize {
    let mut count = 0;
    visit_tensors(module, |tensor| {
        if tensor.role != Role::Buffer {
            count += tensor.shape.iter().product::<usize>();
        }
    });
    count
}

/// Replaces every tensor by `map(name, role, flat tensor)`, which must keep the number of values.
pub fn map_tensors<M: Module>(module: M, map: impl FnMut(&str, Role, Tensor<1>) -> Tensor<1>) -> M {
    struct Mapper<F> {
        path: Vec<String>,
        map: F,
    }
    impl<F: FnMut(&str, Role, Tensor<1>) -> Tensor<1>> ModuleMapper for Mapper<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.join(".");
            param.map(|tensor| {
                let (shape, autodiff, trained) = (tensor.shape(), tensor.is_autodiff(), tensor.is_require_grad());
                let count = shape.num_elements();
                let flat = tensor.without_autodiff().reshape([count]);
                let mapped = (self.map)(&name, Role::of(&name, D), flat).reshape(shape);
                if autodiff { mapped.autodiff().set_require_grad(trained) } else { mapped }
            })
        }
    }
    module.map(&mut Mapper { path: Vec::new(), map })
}

/// Replaces every tensor by `map(name, role, flat tensor)`, as [`map_tensors`], but hands each over with nothing else
/// holding its memory, so that an update can happen in place. (If `map` panics, the module is left without values.)
pub fn update_tensors<M: Module>(module: &mut M, map: impl FnMut(&str, Role, Tensor<1>) -> Tensor<1>) {
    /// Takes the values out.
    struct Emptied;
    impl ModuleMapper for Emptied {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| Tensor::empty([0; D], &tensor.device()))
        }
    }
    let emptied = module.clone().map(&mut Emptied);
    let owned = std::mem::replace(module, emptied);
    *module = map_tensors(owned, map);
}

/// Gradients by parameter name, flat; averaged over the micro-batches of a step.
pub type NamedGradients = BTreeMap<String, Tensor<1>>;

/// Adds `scale ×` the gradients of all parameters of `module` to `sum`.
pub fn add_gradients(module: &impl Module, gradients: &mut Gradients, scale: f32, sum: &mut NamedGradients) {
    struct Collector<'a> {
        path: Vec<String>,
        gradients: &'a mut Gradients,
        scale: f32,
        sum: &'a mut NamedGradients,
    }
    impl ModuleVisitor for Collector<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = param.val().grad_remove(self.gradients) else { return };
            let count = gradient.shape().num_elements();
            let gradient = gradient.reshape([count]);
            let name = self.path.join(".");
            let total = match self.sum.remove(&name) {
                Some(total) => ops::add_scaled(total, gradient, self.scale),
                None if self.scale == 1.0 => gradient,
                None => gradient * self.scale,
            };
            self.sum.insert(name, total);
        }
    }
    module.visit(&mut Collector { path: Vec::new(), gradients, scale, sum });
}
