//! The reference's networks and the paper's variants against the independent program `tests/golden/variants.py`.

use burn::tensor::{Device, Tensor, TensorData};
use byol::Preset;
use byol::method::{Byol, LossNormalisation, ModelConfig, optimal_prediction, regression_loss};
use byol_kernels::Isa;
use byol_nn::model::{
    BatchNormMode, Initialisation, NamedGradients, NormKind, PaddingKind, ResNet, ResNetConfig, Role, Stem,
    add_gradients, visit_tensors,
};
use byol_nn::ops::{Precision, choose_isa};
use byol_nn::weights::{StoredTensors, to_vec};

mod values;

use values::{filled, input, norm, relative_error, sample, tensors, uniform, values};

const FILE: &str = "variants.safetensors";

fn golden_numbers(name: &str, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let numbers: Vec<f32> = uniform(name, rows * columns).iter().map(|u| (2.0 * u - 1.0) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, [rows, columns]), device)
}

fn flat(tensor: Tensor<2>) -> Vec<f32> {
    let count = tensor.shape().num_elements();
    to_vec(tensor.reshape([count]))
}

fn check_network(golden: &StoredTensors, key: &str, config: &ResNetConfig, side_px: usize) {
    let key = format!("{key}-{side_px}");
    let device = Device::flex();
    let mut network = filled(ResNet::new(config, 3, &device.clone().autodiff()), "");
    let pictures = || input("input", 4, side_px, &device);
    let running = flat(network.forward(pictures(), &BatchNormMode::Running, Precision::F32).without_autodiff());
    let error = relative_error(&running, &values(golden, &format!("{key}.running")));
    assert!(error <= 1e-4, "{key} with running statistics: {error}");

    let mode = BatchNormMode::batch(0.0);
    let y = network.forward(pictures(), &mode, Precision::F32);
    let error = relative_error(&flat(y.clone().without_autodiff()), &values(golden, &format!("{key}.batch")));
    assert!(error <= 1e-4, "{key} with batch statistics: {error}");
    let [batch, size] = y.dims();
    let cotangent = golden_numbers("cotangent", batch, size, &device).autodiff();
    let mut gradients = NamedGradients::new();
    add_gradients(&network, &mut (y * cotangent).sum().backward(), 1.0, &mut gradients);
    let mut compared = 0;
    for (name, gradient) in gradients {
        let gradient = to_vec(gradient);
        let ratio = norm(&gradient) / f64::from(values(golden, &format!("{key}.norm.{name}"))[0]);
        // ReLUs on the edge fall to either side in f32; see `gradients_through_a_whole_resnet50`.
        assert!((ratio - 1.0).abs() <= 2e-2, "{key} {name}: norm ratio {ratio}");
        if golden.contains_key(&format!("{key}.grad.{name}")) {
            let error = relative_error(&sample(&gradient), &values(golden, &format!("{key}.grad.{name}")));
            assert!(error <= 2e-2, "{key} {name}: {error}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4, "{key}");
}

fn reference(arch: &str, stem: Stem) -> ResNetConfig {
    ResNetConfig {
        padding: PaddingKind::Same,
        first_group_projection: true,
        ..ResNetConfig::torchvision(arch.parse().unwrap(), stem)
    }
}

/// Even and odd sizes, since TensorFlow pads them differently; every instruction set that this machine has.
#[test]
fn the_references_networks_match_a_program_that_pads_as_tensorflow_does() {
    let golden = tensors(FILE);
    for isa in Isa::available() {
        choose_isa(isa).unwrap();
        for side_px in [64, 75] {
            check_network(&golden, "same-resnet18-imagenet", &reference("resnet18x0.125", Stem::Imagenet), side_px);
        }
        for side_px in [16, 23] {
            check_network(&golden, "same-resnet18-cifar", &reference("resnet18x0.125", Stem::Cifar), side_px);
        }
        check_network(&golden, "same-resnet50-imagenet", &reference("resnet50x0.125", Stem::Imagenet), 64);
    }
    choose_isa(Isa::best()).unwrap();
}

#[test]
fn group_norm_with_standardised_weights_matches_pytorch() {
    let torchvision = ResNetConfig::torchvision("resnet18x0.125".parse().unwrap(), Stem::Cifar);
    let config = ResNetConfig { norm: NormKind::Group, ..torchvision };
    check_network(&tensors(FILE), "group-resnet18-cifar", &config, 16);
}

#[test]
fn normalisations_of_the_loss_and_the_optimal_predictor_match_pytorch() {
    let (golden, device) = (tensors(FILE), Device::flex());
    let target = golden_numbers("loss.target", 24, 10, &device);
    let check = |name: &str, loss: &dyn Fn(Tensor<2>) -> Tensor<1>| {
        let p = golden_numbers("loss.prediction", 24, 10, &device).autodiff().require_grad();
        let loss = loss(p.clone());
        let gradient = p.grad(&loss.backward()).unwrap();
        let expected = values(&golden, &format!("loss.{name}"))[0];
        let value = loss.without_autodiff().into_scalar::<f32>();
        assert!((value / expected - 1.0).abs() < 1e-5, "{name}: {value} {expected}");
        let error = relative_error(&flat(gradient), &values(&golden, &format!("loss.{name}.gradient")));
        assert!(error < 2e-5, "{name}: {error}");
    };
    for (name, rule) in [
        ("l2", LossNormalisation::L2),
        ("layer_norm", LossNormalisation::LayerNorm),
        ("batch_norm", LossNormalisation::BatchNorm),
        ("none", LossNormalisation::None),
    ] {
        check(name, &|p| regression_loss(p, target.clone(), rule));
    }
    let rule = LossNormalisation::L2;
    check("optimal", &|z| regression_loss(optimal_prediction(z, &target, rule), target.clone(), rule));
}

#[test]
fn first_weights_of_encoder_and_heads_follow_their_own_keys() {
    let device = Device::flex();
    let mut config = Preset::Cifar10.config().model;
    config.arch = "resnet18x0.0625".parse().unwrap();
    (config.projector_hidden, config.predictor_hidden, config.projection_size) = (16, 16, 8);
    let weights = |config: &ModelConfig| {
        let mut weights = Vec::new();
        visit_tensors(&Byol::new(config, 3, Precision::F32, 0, &device).online, |tensor| {
            if tensor.role == Role::Weight {
                weights.push((tensor.name.to_owned(), norm(&to_vec(tensor.values))));
            }
        });
        weights
    };
    let lecun = weights(&config);
    for (encoder, heads) in [(1.0, 2f64.sqrt()), (2f64.sqrt(), 1.0)] {
        let rule = |ratio: f64| if ratio > 1.0 { Initialisation::He } else { Initialisation::Lecun };
        (config.initialisation, config.head_initialisation) = (rule(encoder), rule(heads));
        for ((name, he), (_, lecun)) in weights(&config).iter().zip(&lecun) {
            let expected = if name.starts_with("encoder.") { encoder } else { heads };
            assert!((he / lecun - expected).abs() < 1e-4, "{name}: {he} {lecun}");
        }
    }
}
