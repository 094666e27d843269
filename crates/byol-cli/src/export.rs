//! `byol export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol::heads::heads;
use byol::run::RunFolder;
use byol_data::{Dataset, Image, Samples, drawn};
use byol_eval::waiting;
use byol_export::{Agreement, Export, Format, Number, Pictures, Request, check_free};
use byol_nn::encoder::Encoder;
use byol_nn::files::check_outside;
use byol_nn::ops::Device;
use byol_nn::{Error, Result};

use crate::data::tell_notes;
use crate::limits::as_trained;
use crate::network::NetworkChoice;
use crate::screen::{paragraph, say};
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder, .safetensors or PyTorch file
    encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    /// Whose files are written
    #[arg(long, value_enum)]
    format: FormatFlag,
    /// File to write (.onnx; .safetensors for torchvision), or folder (timm, transformers)
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// With ONNX: crop, resize and normalise inside of the graph, which takes pictures of any size as bytes
    #[arg(long)]
    with_preparation: bool,
    /// Write projector and predictor of the run, too
    #[arg(long)]
    heads: bool,
    /// Round weights to 16 bits: half the size
    #[arg(long)]
    half: bool,
    /// Pictures to compare the file with the encoder on [default: those of the run, else drawn ones]
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Print one JSON object with what was written on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FormatFlag {
    /// One .onnx file for every runtime
    Onnx,
    /// One .safetensors file with torchvision's names
    Torchvision,
    /// A folder that timm.create_model opens
    Timm,
    /// A folder that transformers' ResNetModel opens
    Transformers,
}

impl From<FormatFlag> for Format {
    fn from(flag: FormatFlag) -> Self {
        match flag {
            FormatFlag::Onnx => Self::Onnx,
            FormatFlag::Torchvision => Self::Torchvision,
            FormatFlag::Timm => Self::Timm,
            FormatFlag::Transformers => Self::Transformers,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let format = Format::from(arguments.format);
    check_free(format, &arguments.out)?;
    arguments.data.iter().try_for_each(|data| check_outside(&arguments.out, data))?;
    let device = Device::flex();
    let encoder = arguments.network.open(&arguments.encoder, &device)?;
    let run = RunFolder::open(Path::new(&arguments.encoder)).ok();
    let heads = match (arguments.heads, &run) {
        (false, _) => None,
        (true, Some(run)) => match heads(run, encoder.info.steps)? {
            Ok(heads) => Some(heads),
            Err(reason) => return Err(Error::path(run.path(), format!("{reason}; export without --heads"))),
        },
        (true, None) => {
            let expected = "a run folder as ENCODER, whose checkpoints have projector and predictor".to_owned();
            return Err(Error::Flag { flag: "--heads", expected, got: arguments.encoder.clone() });
        }
    };
    let weights = if arguments.half { Number::F16 } else { Number::F32 };
    let request = Request { format, preparation: arguments.with_preparation, heads, weights };
    let export = Export::new(&encoder, request)?;
    let (dataset, whose) = pictures(arguments, run.as_ref(), &encoder)?;
    let pictures = Pictures::of(&dataset, arguments.with_preparation)?;
    let agreement = waiting("comparing on pictures", || export.check(&pictures))?;
    let notes = export.notes().to_vec();
    let files = export.write(&arguments.out)?;
    let written: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    say!("wrote {}", written.join(", "));
    say!("{}", in_words(&agreement, whose));
    notes.iter().for_each(|note| paragraph(note));
    if arguments.json {
        show::json(&serde_json::json!({
            "files": files,
            "pictures": agreement.pictures,
            "cosine_distance": agreement.cosine_distance,
            "notes": notes,
        }));
    }
    Ok(Ending::Done)
}

fn in_words(agreement: &Agreement, whose: &str) -> String {
    let Agreement { pictures, cosine_distance, worst } = agreement;
    format!(
        "compared on {pictures} {whose}: the representations differ by {cosine_distance:.1e} at most (1 − cosine; {worst})"
    )
}

/// Those that were named, else those of the run if they are still there, else drawn ones; and whose they are.
fn pictures(arguments: &Arguments, run: Option<&RunFolder>, encoder: &Encoder) -> Result<(Arc<Dataset>, &'static str)> {
    let limits = as_trained(&arguments.encoder, &encoder.info)?;
    let open = |roots: &[PathBuf]| waiting("opening the data", || Dataset::open_all(roots, None, &limits));
    if !arguments.data.is_empty() {
        let dataset = open(&arguments.data)?;
        tell_notes([&dataset]);
        return Ok((Arc::new(dataset), "picture(s) of --data"));
    }
    let of_run = run.map(RunFolder::info).transpose()?.map(|info| info.data).unwrap_or_default();
    if !of_run.is_empty()
        && let Ok(dataset) = open(&of_run)
    {
        return Ok((Arc::new(dataset), "picture(s) of the run"));
    }
    let channels = encoder.info.channels();
    let drawn: Vec<Image> = (0..16).map(|index| drawn_picture(index, channels)).collect();
    let names = (0..drawn.len()).map(|index| format!("drawn picture {index}")).collect();
    Ok((
        Arc::new(Dataset::from_images(drawn, None, Vec::new(), names)),
        "drawn pictures, as there are no others; --data names some",
    ))
}

/// Sizes differ, and so do width and height; red, green, blue, red, … are so many channels.
fn drawn_picture(index: usize, channels: usize) -> Image {
    let width = 40 + 13 * index;
    let (picture, _) = drawn::draw(index + 1, 0, width).pop().expect("at least one is drawn");
    let height = width - 3 * index;
    let pixels = picture.to_rgb8();
    let pixels = pixels.chunks_exact(3).take(width * height);
    let samples = pixels.flat_map(|pixel| (0..channels).map(|channel| pixel[channel % 3])).collect();
    Image::new(width, height, channels, Samples::U8(samples))
}
