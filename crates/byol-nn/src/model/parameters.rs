//! Walking over the tensors of a network by name, whatever their rank.

use std::collections::BTreeMap;
use std::vec;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Shape, Tensor};

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

/// Replaces tensors of `module` by what `update` makes of them: those that `wants(name, role)`, flat, in the order of [`visit_tensors`], with
/// nothing else holding their memory, so that an update can happen in place. (If `update` panics, the module is left without values.)
///
/// # Panics
/// If `update` returns another number of tensors, or of values in one.
pub fn update_tensors<M: Module>(
    module: &mut M,
    wants: impl FnMut(&str, Role) -> bool,
    update: impl FnOnce(&[(String, Role)], Vec<Tensor<1>>) -> Vec<Tensor<1>>,
) {
    let mut taker = Taker { path: Vec::new(), wants, named: Vec::new(), forms: Vec::new(), values: Vec::new() };
    *module = module.clone().map(&mut taker);
    let Taker { named, forms, values, .. } = taker;
    let updated = update(&named, values);
    assert_eq!(updated.len(), named.len(), "as many tensors as there were");
    *module = module.clone().map(&mut Giver { forms: forms.into_iter(), values: updated.into_iter() });
}

/// What a flat tensor is made into again: its shape, whether it has autodiff, and whether it is trained.
type Form = (Shape, bool, bool);

/// Takes the wanted tensors out of a module.
struct Taker<W> {
    path: Vec<String>,
    wants: W,
    named: Vec<(String, Role)>,
    /// Of every tensor of the module; none of what stays.
    forms: Vec<Option<Form>>,
    values: Vec<Tensor<1>>,
}

impl<W: FnMut(&str, Role) -> bool> ModuleMapper for Taker<W> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let role = Role::of(&name, D);
        if !(self.wants)(&name, role) {
            self.forms.push(None);
            return param;
        }
        self.named.push((name, role));
        param.map(|tensor| {
            let shape = tensor.shape();
            let (count, device) = (shape.num_elements(), tensor.device());
            self.forms.push(Some((shape, tensor.is_autodiff(), tensor.is_require_grad())));
            self.values.push(tensor.without_autodiff().reshape([count]));
            Tensor::empty([0; D], &device)
        })
    }
}

/// Puts tensors where a [`Taker`] took them: modules are walked in one order.
struct Giver {
    forms: vec::IntoIter<Option<Form>>,
    values: vec::IntoIter<Tensor<1>>,
}

impl ModuleMapper for Giver {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((shape, autodiff, trained)) = self.forms.next().flatten() else { return param };
        let tensor = self.values.next().expect("one for each form").reshape(shape);
        param.map(|_| if autodiff { tensor.autodiff().set_require_grad(trained) } else { tensor })
    }
}

/// Gradients by parameter name, flat; averaged over the micro-batches of a step.
pub type NamedGradients = BTreeMap<String, Tensor<1>>;

/// Adds `scale ×` the gradients of all parameters of `module` to `sum`, which has none of them or all.
pub fn add_gradients(module: &impl Module, gradients: &mut Gradients, scale: f32, sum: &mut NamedGradients) {
    struct Collector<'a> {
        path: Vec<String>,
        gradients: &'a mut Gradients,
        found: Vec<(String, Tensor<1>)>,
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
            self.found.push((self.path.join("."), gradient.reshape([count])));
        }
    }
    let mut collector = Collector { path: Vec::new(), gradients, found: Vec::new() };
    module.visit(&mut collector);
    let (names, new): (Vec<String>, Vec<Tensor<1>>) = collector.found.into_iter().unzip();
    let before: Vec<Tensor<1>> = names.iter().filter_map(|name| sum.remove(name)).collect();
    assert!(before.is_empty() || before.len() == new.len(), "gradients of other parameters than before");
    sum.extend(names.into_iter().zip(ops::add_scaled(before, new, scale)));
}
