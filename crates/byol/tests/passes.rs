//! The order in which views pass the networks changes nothing but time and memory.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use byol::Preset;
use byol::method::{Byol, Part, PassModes, Passes, TargetKind};
use byol_data::{Random, Stream};
use byol_nn::model::{BatchNormMode, NamedGradients, visit_tensors};
use byol_nn::ops::Precision;
use byol_nn::optim::{Optimizer, OptimizerConfig};
use byol_nn::weights::to_vec;

/// Losses and projections of three steps, the last gradients, and what both networks are afterwards.
fn train(passes: Passes, target: TargetKind, precision: Precision, loss_scale: f32) -> BTreeMap<String, Vec<f32>> {
    let device = Device::flex();
    let mut model = Preset::Cifar10.config().model;
    model.arch = "resnet18x0.25".parse().unwrap();
    (model.projector_hidden, model.predictor_hidden, model.projection_size) = (128, 128, 32);
    model.target = target;
    let mut byol = Byol::new(&model, 3, precision, 0, &device);
    byol.loss_scale = loss_scale;
    let mut optimizer = Optimizer::new(OptimizerConfig::default());
    let mut random = Random::new(0, Stream::Drawing, 0, 0);
    let mut all = BTreeMap::new();
    for step in 0..3 {
        let views = [1, 2].map(|_| {
            let pixels: Vec<f32> = (0..16 * 16 * 16 * 3).map(|_| random.normal()).collect();
            Tensor::<4>::from_data(TensorData::new(pixels, [16, 16, 16, 3]), &device)
        });
        let modes = PassModes { first: BatchNormMode::batch(0.3), second: BatchNormMode::batch(0.2) };
        let mut gradients = NamedGradients::new();
        let losses = byol.add_gradients_by(passes, views, modes, &Part::whole(), 0.5, &mut gradients).unwrap();
        let [z1, z2] = losses.projections;
        for (name, values) in [("z1", z1), ("z2", z2), ("y", losses.representation)] {
            all.insert(format!("{name} of step {step}"), to_vec(values.flatten(0, 1)));
        }
        all.insert(format!("loss of step {step}"), to_vec(losses.loss));
        for (name, gradient) in &gradients {
            all.insert(format!("gradient of {name}"), to_vec(gradient.clone()));
        }
        optimizer.step(&mut byol.online, gradients, 0.1);
        byol.update_target(0.9);
    }
    visit_tensors(&byol.online, |tensor| drop(all.insert(format!("online {}", tensor.name), to_vec(tensor.values))));
    visit_tensors(&byol.target, |tensor| drop(all.insert(format!("target {}", tensor.name), to_vec(tensor.values))));
    all
}

#[test]
fn views_in_turn_and_side_by_side_train_to_the_same_bits() {
    for (target, precision) in [
        (TargetKind::MovingAverage, Precision::F32),
        (TargetKind::MovingAverage, Precision::Bf16),
        (TargetKind::Fixed, Precision::F32),
    ] {
        let in_turn = train(Passes::InTurn, target, precision, 1.0);
        let side_by_side = train(Passes::SideBySide, target, precision, 1.0);
        assert!(in_turn.keys().eq(side_by_side.keys()) && in_turn.len() > 300, "{}", in_turn.len());
        for (name, values) in &in_turn {
            assert!(values == &side_by_side[name], "{target:?} {precision:?}: {name} differs");
        }
    }
}

/// Powers of two only move exponents: a factor that was forgotten on one of the ways back changes everything.
#[test]
fn a_loss_scale_changes_no_bit() {
    for (passes, target) in [
        (Passes::InTurn, TargetKind::MovingAverage),
        (Passes::SideBySide, TargetKind::MovingAverage),
        (Passes::InTurn, TargetKind::StopGradient),
    ] {
        let plain = train(passes, target, Precision::F32, 1.0);
        let scaled = train(passes, target, Precision::F32, 1024.0);
        for (name, values) in &plain {
            assert!(values == &scaled[name], "{passes:?} {target:?}: {name} differs");
        }
    }
}

#[test]
fn small_batches_of_small_networks_pass_side_by_side() {
    let device = Device::flex();
    let mut model = Preset::Cifar10.config().model;
    model.arch = "resnet18x0.25".parse().unwrap();
    let byol = Byol::new(&model, 3, Precision::F32, 0, &device);
    assert_eq!(byol.passes(64, 24), Passes::SideBySide);
    assert_eq!(byol.passes(1024, 24), Passes::InTurn);
    assert_eq!(byol.passes(64, 224), Passes::InTurn);
}
