//! What the weights of a run say about it: how large they are, how far the target is, which number is none.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::Tensor;
use byol_nn::model::{NamedGradients, Role, visit_tensors};
use byol_nn::ops;

use crate::method::{Byol, Losses, Online};

/// Euclidean norm of the encoder's weight matrices and kernels. Batch norm makes the network blind to it, but the step on the
/// weights is relative to it: a rate that is too high lets it grow many times over.
pub fn encoder_norm(online: &Online) -> f64 {
    let mut sum = 0.0;
    visit_tensors(&online.encoder, |tensor| {
        if tensor.role == Role::Weight {
            sum += f64::from(squares(tensor.values));
        }
    });
    sum.sqrt()
}

/// `‖θ − ξ‖ / ‖θ‖` over the parameters that both networks have: 0 where the target is the online network, about √2 for
/// networks that have nothing to do with each other.
pub fn target_distance(byol: &Byol) -> f64 {
    let mut online: HashMap<String, Tensor<1>> = HashMap::new();
    visit_tensors(&byol.online, |tensor| {
        online.insert(tensor.name.to_owned(), tensor.values);
    });
    let (mut apart, mut whole) = (0.0, 0.0);
    visit_tensors(&byol.target, |tensor| {
        if tensor.role != Role::Buffer {
            let theta = online[tensor.name].clone();
            apart += f64::from(squares(theta.clone() - tensor.values));
            whole += f64::from(squares(theta));
        }
    });
    (apart / f64::max(whole, f64::MIN_POSITIVE)).sqrt()
}

/// What became NaN or infinite first in a step whose loss or gradient is: a weight, then what the pass makes in its order, then
/// the gradient, in the order in which it is computed. `None`: nothing that is looked at, but the loss itself.
pub fn first_non_finite(byol: &Byol, losses: &Losses, gradients: &NamedGradients) -> Option<String> {
    let is_broken = |values: Tensor<1>| !squares(values).is_finite();
    first_in(&byol.online, "weight online", &is_broken)
        .or_else(|| first_in(&byol.target, "weight target", &is_broken))
        .or_else(|| {
            let [z1, z2] = losses.projections.clone();
            let passed = [
                ("representation y of view 1", losses.representation.clone()),
                ("projection z", z1),
                ("projection z", z2),
            ];
            let broken = passed.into_iter().find(|(_, rows)| {
                let count = rows.shape().num_elements();
                is_broken(rows.clone().reshape([count]))
            });
            broken.map(|(name, _)| format!("the {name}, from finite weights"))
        })
        .or_else(|| {
            // The pass back begins at the predictor's last layer.
            let mut names = Vec::new();
            visit_tensors(&byol.online, |tensor| names.push(tensor.name.to_owned()));
            let broken = |name: &String| gradients.get(name).is_some_and(|gradient| is_broken(gradient.clone()));
            names.into_iter().rev().find(broken).map(|name| format!("the gradient of online.{name}"))
        })
}

fn squares(values: Tensor<1>) -> f32 {
    ops::read_one(ops::sum_of_squares(vec![values]))
}

/// The first tensor of a network, in the order of a pass through it.
fn first_in(network: &impl Module, prefix: &str, is_broken: &impl Fn(Tensor<1>) -> bool) -> Option<String> {
    let mut found = None;
    visit_tensors(network, |tensor| {
        if found.is_none() && is_broken(tensor.values) {
            found = Some(format!("the {prefix}.{}", tensor.name));
        }
    });
    found
}
