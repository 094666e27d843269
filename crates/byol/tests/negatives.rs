//! The loss with negatives against an independent PyTorch program (`tests/golden/negatives.py`).

use burn::tensor::{Device, Tensor, TensorData};
use byol::method::{LossNormalisation, negatives, regression_loss};
use byol_nn::weights::to_vec;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

struct Golden {
    json: Value,
    shape: [usize; 2],
    device: Device,
}

impl Golden {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/negatives.json");
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let shape = ["batch", "size"].map(|key| json[key].as_u64().unwrap() as usize);
        Self { json, shape, device: Device::flex() }
    }

    fn input(&self, name: &str) -> Tensor<2> {
        let values = numbers(&self.json["inputs"][name]);
        Tensor::from_data(TensorData::new(values, self.shape), &self.device.clone().autodiff()).require_grad()
    }
}

/// Both directions of the loss, as `Byol::add_gradients` adds them up.
fn loss([p1, p2, t1, t2]: [&Tensor<2>; 4], alpha: f32, beta: f32) -> Tensor<1> {
    let direction = |p: &Tensor<2>, own: &Tensor<2>, other: &Tensor<2>| {
        regression_loss(p.clone(), other.clone(), LossNormalisation::L2)
            + negatives(p.clone(), own.clone(), other.clone(), alpha) * beta
    };
    direction(p1, t1, t2) + direction(p2, t2, t1)
}

fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    let scale = theirs.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= 2e-5 * scale.max(1.0), "{what}: {ours} {theirs}");
    }
}

#[test]
fn loss_and_gradients_are_the_papers_info_nce_for_every_alpha_and_beta() {
    let golden = Golden::read();
    for case in golden.json["cases"].as_array().unwrap() {
        let inputs = ["p1", "p2", "t1", "t2"].map(|name| golden.input(name));
        let [alpha, beta] = ["alpha", "beta"].map(|key| case[key].as_f64().unwrap() as f32);
        let loss = loss(inputs.each_ref(), alpha, beta);
        let what = format!("alpha {alpha}, beta {beta}");
        assert_close(&to_vec(loss.clone().without_autodiff()), &[case["loss"].as_f64().unwrap() as f32], &what);
        let gradients = loss.backward();
        for (name, input) in ["p1", "p2", "t1", "t2"].into_iter().zip(&inputs) {
            let gradient = to_vec(input.grad(&gradients).unwrap().reshape([golden.shape.iter().product::<usize>()]));
            assert_close(&gradient, &numbers(&case["gradients"][name]), &format!("{what}, {name}"));
        }
    }
}

#[test]
fn without_predictor_and_with_the_online_network_as_target_it_is_simclrs_loss() {
    let golden = Golden::read();
    for (alpha, case) in golden.json["simclr"].as_object().unwrap() {
        let alpha: f32 = alpha.parse().unwrap();
        let (z1, z2) = (golden.input("p1"), golden.input("p2"));
        let loss = loss([&z1, &z2, &z1, &z2], alpha, 1.0);
        // 2 − 2cos twice leaves 4; SimCLR takes the mean over both views and divides by the temperature.
        let expected = 4.0 + 4.0 * alpha * case["loss"].as_f64().unwrap() as f32;
        assert_close(&to_vec(loss.clone().without_autodiff()), &[expected], &format!("alpha {alpha}"));
        let gradients = loss.backward();
        for (name, z) in [("p1", z1), ("p2", z2)] {
            let gradient = to_vec(z.grad(&gradients).unwrap().reshape([golden.shape.iter().product::<usize>()]));
            let expected: Vec<f32> = numbers(&case[name]).iter().map(|g| g * 4.0 * alpha).collect();
            assert_close(&gradient, &expected, &format!("alpha {alpha}, {name}"));
        }
    }
}
