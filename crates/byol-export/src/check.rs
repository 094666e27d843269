//! The same pictures through an exported file and through our network.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::views::ViewScratch;
use byol_data::{Dataset, Image};
use byol_nn::encoder::Encoder;
use byol_nn::model::ResNet;
use byol_nn::ops::Precision;
use byol_nn::weights::{StoredTensors, fill, to_vec};
use byol_nn::{Error, Result};
use rten::{Model, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use crate::onnx::input_name;

/// `1 − cos` between representations, at most: larger differences are no rounding.
pub const MAX_COSINE_DISTANCE: f64 = 1e-4;

/// How many pictures are compared.
const PICTURES: usize = 16;

/// Pictures to compare on.
pub struct Pictures {
    images: Vec<(String, Image)>,
}

/// How far a file and our network are apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Pictures compared.
    pub pictures: usize,
    /// Largest `1 − cos` between the two representations of a picture.
    pub cosine_distance: f64,
    /// The picture it is of.
    pub worst: String,
}

impl Pictures {
    /// Up to 16 readable pictures of `dataset`, from its whole length; with `bytes_only` those of 8 bits per sample.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when there is none.
    pub fn of(dataset: &Arc<Dataset>, bytes_only: bool) -> Result<Self> {
        let step = dataset.len().div_ceil(PICTURES).max(1);
        // Neighbours of one that cannot be used stand in for it.
        let order = (0..step).flat_map(|start| (start..dataset.len()).step_by(step));
        let usable = |index: usize| {
            let image = dataset.load(index).ok()?;
            let is_usable = !bytes_only || matches!(image.samples(), byol_data::Samples::U8(_));
            is_usable.then(|| (dataset.name(index), image))
        };
        let images: Vec<_> = order.take(4 * PICTURES).filter_map(usable).take(PICTURES).collect();
        match images.is_empty() {
            true => Err(Error::Evaluation(
                "none of the pictures to compare on can be used; give others with --data".to_owned(),
            )),
            false => Ok(Self { images }),
        }
    }
}

/// Pixels prepared for `encoder`, `[size, size, channels]`.
fn prepared(encoder: &Encoder, image: &Image) -> Vec<f32> {
    let size = encoder.info.preprocessing.size_px;
    let mut pixels = vec![0.0; size * size * encoder.info.channels()];
    encoder.info.preprocessing.render(image, &mut pixels, &mut ViewScratch::default());
    pixels
}

/// Compares `represent(prepared pixels, picture)` with our network, picture by picture.
fn compare(
    encoder: &Encoder,
    pictures: &Pictures,
    mut represent: impl FnMut(&[f32], &Image) -> Result<Vec<f32>>,
) -> Result<Agreement> {
    let mut ours = exact(encoder);
    let mut agreement =
        Agreement { pictures: pictures.images.len(), cosine_distance: 0.0, worst: pictures.images[0].0.clone() };
    for (name, image) in &pictures.images {
        let pixels = prepared(encoder, image);
        let expected = forward(&mut ours, pixels.clone());
        let distance = cosine_distance(&represent(&pixels, image)?, &expected);
        // Not a number is as far as can be.
        if distance.is_nan() || distance > agreement.cosine_distance {
            (agreement.cosine_distance, agreement.worst) =
                (if distance.is_nan() { 2.0 } else { distance }, name.clone());
        }
    }
    Ok(agreement)
}

/// The encoder computing in `f32`, as the other programs do.
fn exact(encoder: &Encoder) -> Encoder {
    let mut exact = encoder.clone();
    exact.info.precision = Precision::F32;
    exact
}

fn forward(encoder: &mut Encoder, pixels: Vec<f32>) -> Vec<f32> {
    let size = encoder.info.preprocessing.size_px;
    let data = TensorData::new(pixels, [1, size, size, encoder.info.channels()]);
    let representation = encoder.represent(Tensor::from_data(data, &Device::flex()));
    to_vec(representation.reshape([encoder.info.representation_size]))
}

/// `1 − a·b / (|a|·|b|)`; two representations of zeros are the same.
fn cosine_distance(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let (of_a, of_b) = (dot(a, a), dot(b, b));
    if a.len() != b.len() {
        return f64::NAN;
    }
    if of_a == 0.0 && of_b == 0.0 {
        return 0.0;
    }
    let distance = 1.0 - dot(a, b) / (of_a * of_b).sqrt();
    // Rounding may lead below 0. (`max` would make 0 of what is not a number.)
    if distance < 0.0 { 0.0 } else { distance }
}

/// An ONNX file, run by another runtime than ours.
pub fn onnx(file: Vec<u8>, preparation: bool, encoder: &Encoder, pictures: &Pictures) -> Result<Agreement> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Error::Evaluation(format!("the ONNX file cannot be {what}: {error}; nothing is written. This is a bug of ours"))
    };
    let model = Model::load(file).map_err(|error| failed("opened", &error))?;
    let node = |name: &str| model.node_id(name).map_err(|error| failed("run", &error));
    let (input, output) = (node(input_name(preparation))?, node("embedding")?);
    let (size, channels) = (encoder.info.preprocessing.size_px, encoder.info.channels());
    compare(encoder, pictures, |pixels, image| {
        let value: ValueOrView = match (preparation, image.samples()) {
            (true, byol_data::Samples::U8(samples)) => {
                let shape = [1, image.height_px(), image.width_px(), channels];
                NdTensor::from_data(shape, samples.to_vec()).into()
            }
            (true, byol_data::Samples::U16(_)) => unreachable!("chosen by their 8 bits"),
            (false, _) => {
                let last = NdTensorView::from_data([1, size, size, channels], pixels);
                last.permuted([0, 3, 1, 2]).to_tensor().into()
            }
        };
        let outputs = model.run(vec![(input, value)], &[output], None).map_err(|error| failed("run", &error))?;
        let values = outputs.into_iter().next().and_then(|value| value.into_tensor::<f32>());
        Ok(values.map(|values| values.to_vec()).unwrap_or_default())
    })
}

/// Tensors that were read back from a file, by torchvision's names, in our own network.
pub fn tensors(tensors: &StoredTensors, encoder: &Encoder, pictures: &Pictures) -> Result<Agreement> {
    let network = ResNet::new(&encoder.info.resnet(), encoder.info.channels(), &Device::flex());
    let network = fill(network, "", tensors, Path::new("the exported file"))?;
    let mut exported = Encoder { network, info: exact(encoder).info };
    compare(encoder, pictures, |pixels, _| Ok(forward(&mut exported, pixels.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_of_the_angle_and_nan_where_there_is_none() {
        assert!(cosine_distance(&[1.0, 0.0], &[2.0, 0.0]).abs() < 1e-12);
        assert!((cosine_distance(&[1.0, 0.0], &[0.0, 2.0]) - 1.0).abs() < 1e-12);
        assert_eq!(cosine_distance(&[0.0; 2], &[0.0; 2]), 0.0);
        assert!(cosine_distance(&[1.0], &[1.0, 0.0]).is_nan() && cosine_distance(&[f32::NAN], &[1.0]).is_nan());
        assert!(cosine_distance(&[0.0], &[1.0]).is_nan(), "zeros have no direction");
    }
}
