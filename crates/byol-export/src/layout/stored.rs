//! safetensors files with numbers of 16 or 32 bits, as PyTorch's libraries write them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::f16;
use byol_nn::weights::{StoredTensor, StoredTensors, Values};
use byol_nn::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::Number;

/// Whether a tensor is rounded: weights of convolutions and linear layers are; norms and biases are small, and their exactness matters.
fn is_rounded(tensor: &StoredTensor) -> bool {
    tensor.shape.len() > 1
}

/// Rounds the weights as a file of [`Number::F16`] has them.
pub fn round_weights(tensors: &mut StoredTensors) {
    for tensor in tensors.values_mut().filter(|tensor| is_rounded(tensor)) {
        if let Values::F32(values) = &mut tensor.values {
            values.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
        }
    }
}

/// The file. transformers refuses one whose metadata does not say `pt`.
pub fn to_bytes(tensors: &StoredTensors, weights: Number) -> Vec<u8> {
    let bytes: BTreeMap<&String, (Dtype, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let bytes = match &tensor.values {
                Values::I64(values) => (Dtype::I64, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Values::F32(values) if weights == Number::F16 && is_rounded(tensor) => {
                    (Dtype::F16, values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect())
                }
                Values::F32(values) => (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            };
            (name, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(&name, (dtype, bytes))| {
        let view = TensorView::new(*dtype, tensors[name].shape.clone(), bytes).expect("bytes match the shape");
        (name, view)
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).expect("names and shapes are well formed")
}

/// What [`to_bytes`] wrote.
///
/// # Errors
/// [`Error::Damaged`] when it did not.
pub fn from_bytes(file: &[u8]) -> Result<StoredTensors> {
    let damaged = |problem: String| Error::Damaged { path: Path::new("the exported file").to_owned(), problem };
    let tensors = SafeTensors::deserialize(file).map_err(|error| damaged(error.to_string()))?;
    let tensor = |(name, view): (&str, TensorView)| {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(data.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()),
            Dtype::F16 => Values::F32(data.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect()),
            Dtype::I64 => Values::I64(data.as_chunks().0.iter().map(|&x| i64::from_le_bytes(x)).collect()),
            other => return Err(damaged(format!("tensor `{name}` is {other:?}"))),
        };
        Ok((name.to_owned(), StoredTensor { shape: view.shape().to_vec(), values }))
    };
    tensors.iter().map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_16_bits_holds_the_rounded_weights_and_exact_norms() {
        let tensor = |shape: Vec<usize>, values: Vec<f32>| StoredTensor { shape, values: Values::F32(values) };
        let mut tensors = StoredTensors::from([
            ("conv.weight".to_owned(), tensor(vec![1, 3], vec![0.1, 1.0, -3e-5])),
            ("bn.weight".to_owned(), tensor(vec![2], vec![0.1, 0.2])),
            ("bn.num_batches_tracked".to_owned(), StoredTensor { shape: vec![], values: Values::I64(vec![7]) }),
        ]);
        let (whole, half) = (to_bytes(&tensors, Number::F32), to_bytes(&tensors, Number::F16));
        assert_eq!(from_bytes(&whole).unwrap(), tensors);
        assert!(half.len() < whole.len());
        round_weights(&mut tensors);
        assert_eq!(from_bytes(&half).unwrap(), tensors);
        let Values::F32(rounded) = &tensors["conv.weight"].values else { panic!() };
        assert!(rounded[0] != 0.1 && (rounded[0] - 0.1).abs() < 1e-4 && rounded[1] == 1.0);
        assert!(from_bytes(&whole[..whole.len() - 1]).is_err());
    }
}
