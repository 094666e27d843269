//! An encoder as the files of other programs. Each is run before it is handed over.
//!
//! ```text
//! Export::new         encoder, request → files in memory
//!   onnx              a graph of operations, run by another runtime
//!   layout            tensors under the names of torchvision, timm or transformers, and a description
//! Export::check       the same pictures through the file and through our network
//! Export::write       all of it, or nothing
//! ```

mod check;
mod layout;
pub mod onnx;

use std::io::Write;
use std::path::{Path, PathBuf};

use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::files::{check_writable, write_atomically};
use byol_nn::weights::{StoredTensors, collect};
use byol_nn::{Error, Result};

pub use check::{Agreement, MAX_COSINE_DISTANCE, Pictures};
use layout::Layout;
use onnx::Parts;

/// Whose files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One `.onnx` file.
    Onnx,
    /// One `.safetensors` file with torchvision's names.
    Torchvision,
    /// A folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens.
    Timm,
    /// A folder that `transformers.ResNetModel.from_pretrained` opens.
    Transformers,
}

/// Type of the weights in a file. Everything computes in `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Number {
    /// As they were trained.
    #[default]
    F32,
    /// Rounded to 11 significant bits; half the size.
    F16,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose files.
    pub format: Format,
    /// With ONNX: crop, resize and normalisation inside, pictures as bytes go in.
    pub preparation: bool,
    /// Tensors of projector and predictor, under `projector.` and `predictor.`, where they are wanted.
    pub heads: Option<StoredTensors>,
    /// Type of the weights.
    pub weights: Number,
}

/// Files that are made and not yet written.
pub struct Export {
    encoder: Encoder,
    request: Request,
    /// Ending of a file of the output's name, or name in the output's folder; and content. The first has the weights.
    files: Vec<(&'static str, Vec<u8>)>,
    notes: Vec<String>,
}

impl Export {
    /// Makes the files.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for what the format cannot express.
    pub fn new(encoder: &Encoder, request: Request) -> Result<Self> {
        let mut tensors = StoredTensors::new();
        collect(&encoder.network, "", &mut tensors);
        let info = &encoder.info;
        if request.preparation && request.format != Format::Onnx {
            return Err(Error::Evaluation(
                "--with-preparation: expected --format onnx, whose graph can hold it; in the other formats pictures are prepared by the \
                 program that opens them"
                    .to_owned(),
            ));
        }
        let mut notes = Vec::new();
        let files = match request.format {
            Format::Onnx => {
                if request.preparation && info.value_range.is_some() {
                    return Err(Error::Evaluation(
                        "--with-preparation: this encoder was trained on pictures read with a value range, and the graph takes bytes from \
                         0 to 255; export without it"
                            .to_owned(),
                    ));
                }
                vec![("onnx", request.onnx(info, &tensors, request.weights)?)]
            }
            Format::Torchvision | Format::Timm | Format::Transformers => {
                let layout = Layout::of(request.format, info)?;
                notes.extend(layout.note());
                layout.files(info, &tensors, request.heads.as_ref(), request.weights)
            }
        };
        Ok(Self { encoder: encoder.clone(), request, files, notes })
    }

    /// What whoever opens the files should know besides.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Compares what the files compute with what our network computes, in `f32`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when they differ by more than [`MAX_COSINE_DISTANCE`] for some picture, or the files cannot be run.
    pub fn check(&self, pictures: &Pictures) -> Result<Agreement> {
        let agreement = match self.request.format {
            Format::Onnx => {
                // The runtime has no f16: it gets the rounded weights as f32, which is what the casts in the file make of them.
                let rounded;
                let file = match self.request.weights {
                    Number::F32 => &self.files[0].1,
                    Number::F16 => {
                        let mut tensors = StoredTensors::new();
                        collect(&self.encoder.network, "", &mut tensors);
                        layout::round_weights(&mut tensors);
                        rounded = self.request.onnx(&self.encoder.info, &tensors, Number::F32)?;
                        &rounded
                    }
                };
                check::onnx(file.clone(), self.request.preparation, &self.encoder, pictures)?
            }
            format => {
                let read = Layout::of(format, &self.encoder.info)?.read(&self.files[0].1)?;
                check::tensors(&read, &self.encoder, pictures)?
            }
        };
        match agreement.cosine_distance <= MAX_COSINE_DISTANCE {
            true => Ok(agreement),
            false => Err(Error::Evaluation(format!(
                "the file gives other representations than the encoder (cosine distance {:.1e} on {}, expected at most {:.0e}): nothing is \
                 written. This is a bug of ours; please report the architecture and the format",
                agreement.cosine_distance, agreement.worst, MAX_COSINE_DISTANCE
            ))),
        }
    }

    /// Writes them to `out`: a file, or a folder that does not exist yet.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn write(self, out: &Path) -> Result<Vec<PathBuf>> {
        // Without the slash that completion puts behind a folder.
        let out = &out.components().collect::<PathBuf>();
        let write = |path: &Path, bytes: &[u8]| write_atomically(path, |writer| writer.write_all(bytes));
        if !self.request.format.is_folder() {
            let place = |(ending, bytes): &(&str, Vec<u8>)| {
                let path = out.with_extension(ending);
                write(&path, bytes).map(|()| path)
            };
            return self.files.iter().map(place).collect();
        }
        // Under another name until it is whole.
        let unfinished = PathBuf::from(format!("{}.unfinished", out.display()));
        let _ = std::fs::remove_dir_all(&unfinished);
        std::fs::create_dir_all(&unfinished).map_err(Error::io("create", &unfinished))?;
        self.files.iter().try_for_each(|(name, bytes)| write(&unfinished.join(name), bytes))?;
        std::fs::rename(&unfinished, out).map_err(Error::io("create", out))?;
        Ok(self.files.iter().map(|(name, _)| out.join(name)).collect())
    }
}

impl Format {
    fn is_folder(self) -> bool {
        matches!(self, Self::Timm | Self::Transformers)
    }

    /// Endings of the files that are written beside each other, that of the weights first.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Onnx => &["onnx"],
            Self::Torchvision => &["safetensors", "json", "heads.safetensors"],
            Self::Timm | Self::Transformers => &[],
        }
    }
}

impl Request {
    fn onnx(&self, info: &EncoderInfo, encoder: &StoredTensors, weights: Number) -> Result<Vec<u8>> {
        let mut tensors = encoder.clone();
        if let Some(heads) = &self.heads {
            tensors.extend(heads.clone());
        }
        onnx::file(info, &tensors, Parts { preparation: self.preparation, heads: self.heads.is_some() }, weights)
    }
}

/// Checks that an export of this format may be written to `out`, before anything is computed.
///
/// # Errors
/// [`Error::Path`] for a wrong ending and for what exists, [`Error::Io`] for a place that cannot be written to.
pub fn check_free(format: Format, out: &Path) -> Result<()> {
    if let [ending, ..] = format.endings()
        && out.extension().is_none_or(|found| found != *ending)
    {
        return Err(Error::path(out, format!("expected a file name that ends in .{ending}; give another -o")));
    }
    let beside = format.endings().iter().map(|ending| out.with_extension(ending));
    for path in std::iter::once(out.to_owned()).chain(beside) {
        if path.symlink_metadata().is_ok() {
            return Err(Error::path(&path, "already exists and is not overwritten; give another -o"));
        }
    }
    check_writable(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use byol_data::{Dataset, Image};

    use super::*;

    /// As if what is written were of another network: the comparison must see it in every format.
    #[test]
    fn a_file_that_computes_something_else_is_refused() {
        let open = |text: &str| Encoder::open(text, &Device::flex()).unwrap();
        let encoder = open("random:resnet18x0.125:imagenet:32");
        let picture = Image::rgb8(4, 3, (0..36).map(|x| x * 7).collect());
        let dataset = Dataset::from_images(vec![picture], None, Vec::new(), vec!["the only one".to_owned()]);
        let pictures = Pictures::of(&Arc::new(dataset), false).unwrap();
        for format in [Format::Onnx, Format::Torchvision, Format::Timm, Format::Transformers] {
            let request = Request { format, preparation: false, heads: None, weights: Number::F32 };
            let mut export = Export::new(&encoder, request).unwrap();
            export.check(&pictures).unwrap();
            export.encoder.network = Encoder::random_like(&encoder.info, 1, &Device::flex()).network;
            let error = export.check(&pictures).unwrap_err().to_string();
            assert!(error.contains("on the only one") && error.contains("nothing is written"), "{format:?}: {error}");
        }
    }
}
