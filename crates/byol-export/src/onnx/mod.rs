//! ONNX: the network as a graph of operations that every runtime has.
//!
//! Operator set 17, `f32` computations. Batch norm stays an operation of its own, which runtimes fold into convolutions themselves.

mod graph;
mod messages;
mod network;
mod preparation;

use byol_nn::encoder::EncoderInfo;
use byol_nn::weights::StoredTensors;
use byol_nn::{Error, Result};
use prost::Message;

use crate::Number;
use graph::Graph;
use messages::{DataType, Dimension, Model, OperatorSet, Property, ValueInfo};
use network::Layers;

/// Version of ONNX's operators that the graph is written in.
pub const OPERATOR_SET: i64 = 17;

/// Version of the file's form that goes with it.
const IR_VERSION: i64 = 8;

/// Protocol buffers end there.
const MAX_BYTES: usize = 0x7fff_ffff;

/// What goes into a file besides the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whether pictures of any size go in, as bytes, instead of prepared ones.
    pub preparation: bool,
    /// Whether projection and, if there is a predictor, prediction come out, too.
    pub heads: bool,
}

/// Name of the input, by whether the preparation is inside.
pub fn input_name(preparation: bool) -> &'static str {
    if preparation { "pixels" } else { "images" }
}

/// An ONNX file: `images f32 [batch, channels, size, size]`, prepared, or `pixels uint8 [batch, height, width, channels]` →
/// `embedding f32 [batch, size]`, and `projection` and `prediction` where asked. `tensors` are those of the encoder by torchvision's names, and
/// of the heads under `projector.` and `predictor.`.
///
/// # Errors
/// More than 2 GiB, and what the preparation cannot express.
pub fn file(info: &EncoderInfo, tensors: &StoredTensors, parts: Parts, weights: Number) -> Result<Vec<u8>> {
    let mut graph = Graph::new(weights);
    let (size, channels) = (info.preprocessing.size_px, info.channels());
    let name = input_name(parts.preparation);
    let input = match parts.preparation {
        true => {
            let any = |name| Dimension::any(name);
            let shape = vec![any("batch"), any("height"), any("width"), Dimension::fixed(channels)];
            ValueInfo::new(name, DataType::U8, shape)
        }
        false => {
            let [channels, size] = [channels, size].map(Dimension::fixed);
            ValueInfo::new(name, DataType::F32, vec![Dimension::any("batch"), channels, size.clone(), size])
        }
    };
    let images = match parts.preparation {
        true => preparation::prepare(&mut graph, &info.preprocessing, name)?,
        false => name.to_owned(),
    };
    let mut layers = Layers::new(&mut graph, info, tensors);
    let output = |name: &str, size: usize| {
        ValueInfo::new(name, DataType::F32, vec![Dimension::any("batch"), Dimension::fixed(size)])
    };
    let embedding = layers.encoder(&images);
    let mut outputs = vec![output(&embedding, info.representation_size)];
    if parts.heads {
        let mut x = embedding;
        for (name, prefix) in [("projection", "projector."), ("prediction", "predictor.")] {
            let mut layers_of =
                tensors.iter().filter(|(name, tensor)| name.starts_with(prefix) && tensor.shape.len() == 2);
            if let Some((_, last)) = layers_of.next_back() {
                x = layers.head(name, prefix, &x);
                outputs.push(output(name, last.shape[0]));
            }
        }
    }
    let property = |key: &str, value: String| Property { key: key.to_owned(), value };
    let description = serde_json::to_string(info).expect("plain fields have a JSON form");
    let model = Model {
        ir_version: Some(IR_VERSION),
        producer_name: "byol".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        model_version: Some(1),
        doc_string: doc(info, parts.preparation),
        graph: Some(graph.finish(&info.arch.to_string(), input, outputs)),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPERATOR_SET) }],
        metadata_props: vec![property("byol", description), property("training", info.training.clone())],
    };
    if model.encoded_len() > MAX_BYTES {
        return Err(Error::Evaluation(format!(
            "an ONNX file ends at 2 GiB and {} has {:.1} GiB; --half halves it, --format torchvision and timm have no such end",
            info.arch,
            model.encoded_len() as f64 / 2f64.powi(30)
        )));
    }
    Ok(model.encode_to_vec())
}

/// What goes in, for whoever opens the file in a viewer.
fn doc(info: &EncoderInfo, preparation: bool) -> String {
    match preparation {
        true => "pixels: uint8 [batch, height, width, channels], upright pictures of one size, red first; crop, resize and normalisation are inside"
            .to_owned(),
        false => format!(
            "images: [batch, channels, height, width], {} px, in [0, 1], less the mean {:?}, divided by {:?}; {}",
            info.preprocessing.size_px, info.preprocessing.mean, info.preprocessing.std, info.interpolation
        ),
    }
}
