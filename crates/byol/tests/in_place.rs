//! A training step changes parameters, moments and target where they lie in memory.

use std::collections::BTreeMap;

use burn::backend::DispatchTensorKind;
use burn::tensor::{Device, Tensor};
use byol::Preset;
use byol::method::{Byol, Part, PassModes};
use byol_nn::model::{BatchNormMode, NamedGradients, NamedTensor, Role, visit_tensors};
use byol_nn::ops::Precision;
use byol_nn::optim::{Optimizer, OptimizerConfig, OptimizerKind};

/// Where the values of a tensor on the CPU lie.
fn place(tensor: Tensor<1>) -> *const u8 {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Flex(tensor) => tensor.as_float().bytes().as_ptr(),
        other => panic!("{other:?} is not on the CPU"),
    }
}

/// Where everything lies that a training step updates but batch-norm statistics.
fn places(byol: &Byol, optimizer: &Optimizer) -> BTreeMap<String, *const u8> {
    let mut places = BTreeMap::new();
    let mut add = |network: &str, tensor: NamedTensor| {
        if tensor.role != Role::Buffer {
            places.insert(format!("{network} {}", tensor.name), place(tensor.values));
        }
    };
    visit_tensors(&byol.online, |tensor| add("online", tensor));
    visit_tensors(&byol.target, |tensor| add("target", tensor));
    for (which, moments) in [("first", optimizer.first_moments()), ("second", optimizer.second_moments())] {
        for (name, moment) in moments {
            places.insert(format!("{which} {name}"), place(moment.clone()));
        }
    }
    places
}

#[test]
fn training_steps_update_parameters_moments_and_target_where_they_are() {
    let device = Device::flex();
    let mut model = Preset::Cifar10.config().model;
    model.arch = "resnet18x0.0625".parse().unwrap();
    (model.projector_hidden, model.predictor_hidden, model.projection_size) = (32, 32, 16);
    for kind in [OptimizerKind::Lars, OptimizerKind::Sgd, OptimizerKind::Adam] {
        let mut byol = Byol::new(&model, 3, Precision::F32, 0, &device);
        let mut optimizer = Optimizer::new(OptimizerConfig { kind, ..OptimizerConfig::default() });
        let mode = BatchNormMode::batch(0.1);
        let mut steps = Vec::new();
        for _ in 0..2 {
            let views = [0.3, 0.6].map(|value| Tensor::full([4, 16, 16, 3], value, &device));
            let mut gradients = NamedGradients::new();
            byol.add_gradients(
                views,
                PassModes { first: mode.clone(), second: mode.clone() },
                &Part::whole(),
                1.0,
                &mut gradients,
            )
            .unwrap();
            optimizer.step(&mut byol.online, gradients, 0.1);
            byol.update_target(0.9);
            steps.push(places(&byol, &optimizer));
        }
        assert!(steps[0].len() > 150, "{}", steps[0].len());
        assert_eq!(steps[0], steps[1], "{kind:?}");
    }
}
