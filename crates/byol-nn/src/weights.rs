//! Networks to and from safetensors, by name; the weights of other programs in [`state_dict`].

mod arrays;
mod checksum;
mod file_kind;
mod named_tuples;
mod objects;
mod pickle;
mod state_dict;
mod torch_file;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::model::{map_tensors, visit_tensors};
pub use checksum::Fingerprint;
pub use state_dict::StateDict;

/// One tensor on its way to or from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Values,
}

/// The number types that occur in our files.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Weights, statistics, moments.
    F32(Vec<f32>),
    /// Counters such as `num_batches_tracked`.
    I64(Vec<i64>),
}

/// The type of the values of a tensor of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    F64,
    F32,
    F16,
    Bf16,
    /// Counters, masks and the like, which are no weights.
    Other(usize),
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(bytes) => bytes,
        }
    }
}

/// Tensors by name, in the order they are written.
pub type StoredTensors = BTreeMap<String, StoredTensor>;

/// Adds all tensors of `module` under `prefix`.
pub fn collect(module: &impl Module, prefix: &str, into: &mut StoredTensors) {
    visit_tensors(module, |tensor| {
        let stored = StoredTensor { shape: tensor.shape.clone(), values: Values::F32(to_vec(tensor.values)) };
        into.insert(format!("{prefix}{}", tensor.name), stored);
    });
}

pub use crate::ops::read as to_vec;

/// The name of the first tensor with a NaN or an infinity.
pub fn first_non_finite(tensors: &StoredTensors) -> Option<&str> {
    let broken = |values: &Values| matches!(values, Values::F32(values) if !values.iter().all(|x| x.is_finite()));
    tensors.iter().find(|(_, tensor)| broken(&tensor.values)).map(|(name, _)| name.as_str())
}

/// Fills `module` from the tensors under `prefix`; each must be there with the right number of values.
///
/// # Errors
/// [`Error::Path`] naming the first tensor that is missing or has another size.
pub fn fill<M: Module>(module: M, prefix: &str, from: &StoredTensors, path: &Path) -> Result<M> {
    let mut problem = None;
    visit_tensors(&module, |tensor| {
        let name = format!("{prefix}{}", tensor.name);
        if let Some(stored) = from.get(&name)
            && stored.shape != tensor.shape
        {
            let (got, expected) = (&stored.shape, &tensor.shape);
            problem.get_or_insert(format!(
                "tensor `{name}` has shape {got:?}, expected {expected:?}: another architecture?"
            ));
        }
    });
    let module = map_tensors(module, |name, _, tensor| {
        let name = format!("{prefix}{name}");
        let count = tensor.shape().num_elements();
        match from.get(&name).map(|stored| &stored.values) {
            Some(Values::F32(values)) if values.len() == count => {
                Tensor::from_floats(values.as_slice(), &tensor.device())
            }
            Some(Values::F32(values)) => {
                let got = values.len();
                problem.get_or_insert(format!(
                    "tensor `{name}` has {got} values, expected {count}: another architecture?"
                ));
                tensor
            }
            Some(Values::I64(_)) => {
                problem.get_or_insert(format!("tensor `{name}` holds whole numbers, expected f32"));
                tensor
            }
            None => {
                problem.get_or_insert(format!("tensor `{name}` is missing: another architecture?"));
                tensor
            }
        }
    });
    match problem {
        Some(problem) => Err(Error::path(path, problem)),
        None => Ok(module),
    }
}

/// Adds flat tensors, such as an optimiser's moments, under `prefix` and their names.
pub fn collect_flat(named: &BTreeMap<String, Tensor<1>>, prefix: &str, into: &mut StoredTensors) {
    for (name, tensor) in named {
        let values = to_vec(tensor.clone());
        into.insert(format!("{prefix}{name}"), StoredTensor { shape: vec![values.len()], values: Values::F32(values) });
    }
}

/// The f32 tensors whose names begin with `prefix`, flat, by the rest of their names: what [`collect_flat`] added.
pub fn flat(prefix: &str, from: &StoredTensors, device: &Device) -> BTreeMap<String, Tensor<1>> {
    let named = from.iter().filter_map(|(name, stored)| match &stored.values {
        Values::F32(values) => {
            Some((name.strip_prefix(prefix)?.to_owned(), Tensor::from_floats(values.as_slice(), device)))
        }
        Values::I64(_) => None,
    });
    named.collect()
}

/// Writes `tensors` and `metadata` as one safetensors file, atomically; equal ones give equal files. A checksum of the whole
/// file joins the metadata.
///
/// # Errors
/// [`Error::Io`] when the disk refuses; an older file of that name is then as it was.
pub fn save(path: &Path, tensors: &StoredTensors, metadata: BTreeMap<String, String>) -> Result<()> {
    let (header, file, start) = header_and_data(tensors, metadata);
    write_atomically(path, |writer| {
        writer.write_all(&header)?;
        writer.write_all(&file[start..])
    })
}

/// The bytes of the file that [`save`] writes.
pub fn to_bytes(tensors: &StoredTensors, metadata: BTreeMap<String, String>) -> Vec<u8> {
    let (mut bytes, file, start) = header_and_data(tensors, metadata);
    bytes.extend_from_slice(&file[start..]);
    bytes
}

/// The header with its checksum, and a file without whose data begins at the number behind it.
fn header_and_data(tensors: &StoredTensors, metadata: BTreeMap<String, String>) -> (Vec<u8>, Vec<u8>, usize) {
    let bytes: Vec<(Dtype, Vec<u8>)> = tensors
        .values()
        .map(|tensor| match &tensor.values {
            Values::F32(values) => (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I64(values) => (Dtype::I64, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), (dtype, bytes))| {
        let view = TensorView::new(*dtype, tensor.shape.clone(), bytes).expect("bytes match the shape");
        (name, view)
    });
    let file = safetensors::serialize(views, None).expect("names and shapes are well formed");
    let mut metadata = metadata;
    metadata.insert(checksum::KEY.to_owned(), checksum::BLANK.to_owned());
    let (mut header, data) = with_metadata(&file, &metadata);
    checksum::seal(&mut header, data);
    let start = file.len() - data.len();
    (header, file, start)
}

/// The header of a safetensors file (length, then JSON, filled with blanks to a multiple of 8) with `metadata` in it, and the
/// data behind it. The library takes metadata as a hash map and writes it in another order every time.
fn with_metadata<'a>(file: &'a [u8], metadata: &BTreeMap<String, String>) -> (Vec<u8>, &'a [u8]) {
    let (length, rest) = file.split_first_chunk().expect("a file begins with the length of its header");
    let (json, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let json = std::str::from_utf8(json).expect("headers are text").trim_end();
    let metadata = serde_json::to_string(metadata).expect("text has a JSON form");
    let separator = if json == "{}" { "" } else { "," };
    let mut json = format!("{{\"__metadata__\":{metadata}{separator}{}", &json[1..]);
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    ((json.len() as u64).to_le_bytes().into_iter().chain(json.into_bytes()).collect(), data)
}

/// Reads a safetensors file of f32, f16 (read as f32) and i64 tensors, with its metadata. Its checksum is compared, if it has one: files of other
/// programs and of older versions have none.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Damaged`] when it is no such file or not as it was written, [`Error::Path`]
/// when it holds other types.
pub fn load(path: &Path) -> Result<(StoredTensors, BTreeMap<String, String>)> {
    from_bytes(&std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// The tensors and metadata of a file's bytes; `path` is what errors name.
///
/// # Errors
/// Those of [`load`], but for what the disk says.
pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<(StoredTensors, BTreeMap<String, String>)> {
    let malformed = |error: Box<dyn Display>| {
        let problem = format!("expected a complete safetensors file, got a damaged one or something else ({error})");
        Error::Damaged { path: path.to_owned(), problem }
    };
    checksum::verify(bytes).map_err(|problem| malformed(Box::new(problem)))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(Box::new(error)))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| malformed(Box::new(error)))?;
    let mut tensors = StoredTensors::new();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(view.data().as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()),
            Dtype::F16 => {
                Values::F32(view.data().as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect())
            }
            Dtype::I64 => Values::I64(view.data().as_chunks().0.iter().map(|&x| i64::from_le_bytes(x)).collect()),
            other => return Err(Error::path(path, format!("tensor `{name}` is {other:?}, expected F32, F16 or I64"))),
        };
        tensors.insert(name.to_owned(), StoredTensor { shape: view.shape().to_vec(), values });
    }
    let mut metadata: BTreeMap<String, String> = header.metadata().clone().into_iter().flatten().collect();
    metadata.remove(checksum::KEY);
    Ok((tensors, metadata))
}
