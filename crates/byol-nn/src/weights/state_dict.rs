//! Tensors that other programs saved: safetensors, what `torch.save` writes, or a pickle of NumPy's or JAX's arrays.
//!
//! Nothing in a file is executed: of a pickle, the calls that rebuild tensors and arrays are known, and all others stay names
//! ([`super::pickle`]). Before anything of the size is read:
//!
//! - the entries of a zip or tar file may not claim more than the file holds, so nothing is compressed or sparse
//!   (`torch.save` does neither);
//! - the pickle of a zip file may have 4 MiB, those of a ResNet-200 having 0.2, and any pickle two million values;
//! - the bytes of an array in a pickle must be as many as its shape says;
//! - the tensors that are read may not have more values than the file has, so views that repeat values are refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};

use super::file_kind::{self, ARRAYS, Kind, SAVE};
use super::objects::{Found, Strided};
use super::torch_file::{Refusal, TorchFile, is_tar, is_zip};
use super::{Number, StoredTensor, StoredTensors, Values};
use crate::error::{Error, Result};

/// Longest reason of a library that is passed on, in characters: it may quote the file.
const MAX_REASON_CHARS: usize = 200;

/// The tensors of a file by name, with dots between the keys of nested dictionaries; values are read when asked for.
#[derive(Debug)]
pub struct StateDict {
    path: PathBuf,
    file_bytes: u64,
    /// The whole file if it is safetensors.
    bytes: Vec<u8>,
    /// The opened file if it is PyTorch's or a pickle.
    torch: Option<TorchFile>,
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    number: Number,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In [`StateDict::bytes`].
    Safetensors(Range<usize>),
    /// In [`StateDict::torch`].
    Pytorch(Strided),
}

impl StateDict {
    /// Opens a safetensors or PyTorch file or a pickle, whose content decides which it is.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Path`] when it is neither, damaged, or claims more than it holds.
    pub fn open(path: &Path) -> Result<Self> {
        let head = head(path)?;
        let file_bytes = path.metadata().map_err(Error::io("read", path))?.len();
        let mut dict = Self {
            path: path.to_owned(),
            file_bytes,
            bytes: Vec::new(),
            torch: None,
            metadata: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        if is_safetensors(&head) {
            dict.index_safetensors()?;
        } else if let Some(kind) = file_kind::of_head(&head, path) {
            return Err(another(path, &kind));
        } else {
            dict.index_pytorch(&head)?;
        }
        Ok(dict)
    }

    /// Whether the file begins as those of `torch.save` do.
    pub fn is_pytorch(path: &Path) -> Result<bool> {
        let head = head(path)?;
        Ok(!is_safetensors(&head) && (is_zip(&head) || is_tar(&head) || head.starts_with(b"\x80")))
    }

    /// The name of every tensor, sorted bytewise.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// What the header of a safetensors file says beside the tensors.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The tensors `names`, each without `prefix`, as f32.
    ///
    /// # Errors
    /// [`Error::Path`] naming the first tensor that is missing, holds whole numbers, cannot be read or is not finite.
    pub fn read<'a>(&self, prefix: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<StoredTensors> {
        let entry = |name: &str| {
            let name = format!("{prefix}{name}");
            match self.entries.get(&name) {
                Some(entry) => Ok((name, entry)),
                None => Err(Error::path(&self.path, format!("tensor `{name}` is missing"))),
            }
        };
        let mut total = 0u64;
        for name in names.clone() {
            let (name, Entry { shape, number, .. }) = entry(name)?;
            let bytes = shape.iter().try_fold(number.bytes() as u64, |bytes, &side| bytes.checked_mul(side as u64));
            total = total.saturating_add(bytes.unwrap_or(u64::MAX));
            if total > self.file_bytes {
                let problem = format!(
                    "tensor `{name}` and those before it have more values than the file; weights that repeat values are \
                     not read, so save clones of them"
                );
                return Err(Error::path(&self.path, problem));
            }
        }
        let mut tensors = StoredTensors::new();
        for name in names {
            let (full, entry) = entry(name)?;
            let values = Values::F32(self.floats(&full, entry)?);
            tensors.insert(name.to_owned(), StoredTensor { shape: entry.shape.clone(), values });
        }
        match super::first_non_finite(&tensors) {
            None => Ok(tensors),
            Some(name) => {
                Err(Error::path(&self.path, format!("tensor `{prefix}{name}` has a value that is not finite")))
            }
        }
    }

    fn floats(&self, name: &str, entry: &Entry) -> Result<Vec<f32>> {
        let read;
        let bytes = match (&entry.place, &self.torch) {
            (Place::Safetensors(range), _) => &self.bytes[range.clone()],
            (Place::Pytorch(_), None) => return Err(malformed(&self.path, "no storages")),
            (Place::Pytorch(tensor), Some(file)) => {
                read = file.read(tensor).map_err(|error| match error.raw_os_error() {
                    Some(_) => Error::io("read", &self.path)(error),
                    None => malformed(&self.path, &error.to_string()),
                })?;
                &read[..]
            }
        };
        Ok(match entry.number {
            Number::F64 => decode(bytes, |x| f64::from_le_bytes(x) as f32),
            Number::F32 => decode(bytes, f32::from_le_bytes),
            Number::F16 => decode(bytes, |x| f16::from_le_bytes(x).to_f32()),
            Number::Bf16 => decode(bytes, |x| bf16::from_le_bytes(x).to_f32()),
            Number::Other(_) => {
                let problem = format!("tensor `{name}` is of another type, expected f32, f16, bf16 or f64");
                return Err(Error::path(&self.path, problem));
            }
        })
    }

    fn index_safetensors(&mut self) -> Result<()> {
        self.bytes = std::fs::read(&self.path).map_err(Error::io("read", &self.path))?;
        let (header_bytes, header) =
            SafeTensors::read_metadata(&self.bytes).map_err(|error| malformed(&self.path, &error.to_string()))?;
        let data = size_of::<u64>() + header_bytes;
        for (name, info) in header.tensors() {
            let number = match info.dtype {
                Dtype::F64 => Number::F64,
                Dtype::F32 => Number::F32,
                Dtype::F16 => Number::F16,
                Dtype::BF16 => Number::Bf16,
                other => Number::Other(other.bitsize().div_ceil(8)),
            };
            let (start, end) = info.data_offsets;
            let place = Place::Safetensors(data + start..data + end);
            self.entries.insert(name, Entry { shape: info.shape.clone(), number, place });
        }
        self.metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(())
    }

    fn index_pytorch(&mut self, head: &[u8]) -> Result<()> {
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let (file, Found { tensors, arrays, unread }, class) =
            TorchFile::open(file, head, self.file_bytes).map_err(|refusal| match refusal {
                Refusal::Kind(kind) => another(&self.path, &kind),
                Refusal::Damaged(reason) => malformed(&self.path, &reason),
            })?;
        if tensors.is_empty() {
            let is_numpy = !arrays.is_empty() || unread.iter().any(|class| class.starts_with("numpy"));
            let (what, remedy) = match unread.first() {
                _ if is_numpy => (format!("{class} with NumPy arrays in it"), ARRAYS),
                Some(unread) => (format!("{class} with tensors in a form that is not read ({unread})"), SAVE),
                None => (format!("{class} without a tensor in it"), SAVE),
            };
            let what = format!("a pickle of {}", shortened(&what));
            return Err(another(&self.path, &Kind { what, remedy: remedy.to_owned() }));
        }
        for (name, tensor) in tensors {
            let entry = Entry { shape: tensor.shape.clone(), number: tensor.number, place: Place::Pytorch(tensor) };
            self.entries.insert(name, entry);
        }
        self.torch = Some(file);
        Ok(())
    }
}

/// A file that is something else.
fn another(path: &Path, Kind { what, remedy }: &Kind) -> Error {
    Error::path(path, format!("expected weights as torch.save or safetensors write them, got {what}; {remedy}"))
}

fn malformed(path: &Path, reason: &str) -> Error {
    let problem = format!(
        "expected a complete file of weights as torch.save or safetensors write it, got a damaged one or something else \
         ({}); restore it from a copy, or save it again with torch.save(model.state_dict(), FILE)",
        shortened(reason)
    );
    Error::path(path, problem)
}

/// On one line, and not longer than a person reads.
fn shortened(reason: &str) -> String {
    let mut text: String =
        reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS + 1).collect();
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.replace_range(end.., "…");
    }
    text
}

fn decode<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| one(number)).collect()
}

/// Enough of the file to tell what it is.
fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut head));
    read.map_err(Error::io("read", path))?;
    Ok(head)
}

/// The length of a JSON header and its brace.
fn is_safetensors(head: &[u8]) -> bool {
    head.get(5..9) == Some(b"\0\0\0{")
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn every_type_of_safetensors_becomes_f32_or_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let numbers: [(&str, Dtype, Vec<u8>); 5] = [
            ("f64", Dtype::F64, (-1.5f64).to_le_bytes().to_vec()),
            ("f32", Dtype::F32, (-1.5f32).to_le_bytes().to_vec()),
            ("f16", Dtype::F16, f16::from_f32(-1.5).to_le_bytes().to_vec()),
            ("bf16", Dtype::BF16, bf16::from_f32(-1.5).to_le_bytes().to_vec()),
            ("i64", Dtype::I64, 7i64.to_le_bytes().to_vec()),
        ];
        let views = numbers
            .iter()
            .map(|(name, dtype, bytes)| (format!("a.{name}"), TensorView::new(*dtype, vec![1], bytes).unwrap()));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let dict = StateDict::open(&path).unwrap();
        let tensors = dict.read("a.", ["f64", "f32", "f16", "bf16"].into_iter()).unwrap();
        assert!(tensors.len() == 4 && tensors.values().all(|tensor| tensor.values == Values::F32(vec![-1.5])));
        let message = dict.read("a.", ["i64"].into_iter()).unwrap_err().to_string();
        assert!(message.contains("tensor `a.i64` is of another type, expected f32"), "{message}");
    }

    #[test]
    fn a_long_reason_is_cut_and_stays_on_one_line() {
        let short = shortened(&"a\nä".repeat(1000));
        assert_eq!((short.chars().count(), short.contains('\n')), (MAX_REASON_CHARS + 1, false));
        assert_eq!(shortened("as it is"), "as it is");
    }
}
