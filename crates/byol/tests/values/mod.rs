//! What the golden tests share: the values that `weights.py` writes as well, and how close is close.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use byol_nn::model::{map_tensors, visit_tensors};
use byol_nn::weights::{StoredTensors, Values, load};

/// A file of the golden data.
pub fn data(name: &str) -> PathBuf {
    // Where the tests run, which need not be where they were built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("tests/data").join(name)
}

/// The tensors of a golden file.
pub fn tensors(name: &str) -> StoredTensors {
    load(&data(name)).unwrap().0
}

/// The numbers of one of them.
pub fn values(tensors: &StoredTensors, name: &str) -> Vec<f32> {
    match &tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).values {
        Values::F32(values) => values.clone(),
        Values::I64(_) => panic!("{name} holds whole numbers"),
    }
}

/// ‖actual − expected‖ / ‖expected‖.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let difference: f64 = actual.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
    (difference / size.max(1e-30)).sqrt()
}

/// Uniform values in `[0, 1)`: SplitMix64 seeded by the FNV-1a hash of the name, as `weights.py`.
pub fn uniform(name: &str, count: usize) -> Vec<f64> {
    let mut state = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let mut draw = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    };
    (0..count).map(|_| draw()).collect()
}

/// The value rule of `weights.py` for a tensor of this name and shape.
pub fn fill(name: &str, shape: &[usize]) -> Vec<f32> {
    let leaf = name.rsplit('.').next().unwrap();
    let symmetric = |scale: f64| move |u: f64| ((2.0 * u - 1.0) * scale) as f32;
    let shifted = |u: f64| (0.5 + u) as f32;
    let draws = uniform(name, shape.iter().product()).into_iter();
    match (leaf, shape.len()) {
        ("running_var", _) | ("weight", 1) => draws.map(shifted).collect(),
        ("running_mean" | "bias", _) => draws.map(symmetric(0.1)).collect(),
        _ => draws.map(symmetric((3.0 / shape[1..].iter().product::<usize>() as f64).sqrt())).collect(),
    }
}

/// A batch of pictures by the rule of `weights.py`.
pub fn input(name: &str, batch: usize, side: usize, device: &Device) -> Tensor<4> {
    let pixels: Vec<f32> =
        uniform(name, batch * side * side * 3).iter().map(|u| ((2.0 * u - 1.0) * 3f64.sqrt()) as f32).collect();
    Tensor::from_data(TensorData::new(pixels, [batch, side, side, 3]), device)
}

/// `module` with every tensor filled by [`fill`].
pub fn filled<M: Module>(module: M, prefix: &str) -> M {
    let mut shapes = BTreeMap::new();
    visit_tensors(&module, |tensor| {
        shapes.insert(tensor.name.to_owned(), tensor.shape);
    });
    map_tensors(module, |name, _, tensor| {
        Tensor::from_floats(fill(&format!("{prefix}{name}"), &shapes[name]).as_slice(), &tensor.device())
    })
}

/// Every k-th value, k such that at most 512 remain, as the Python side stores large tensors.
pub fn sample(values: &[f32]) -> Vec<f32> {
    values.iter().copied().step_by(values.len().div_ceil(512).max(1)).collect()
}

/// Euclidean norm.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}
