//! `byol eval`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use byol::encoder::Encoder;
use byol::eval::{Features, LabelledParts, extract, knn, linear, open_parts};
use byol::ops::Device;
use byol::run::RunFolder;
use byol::{Error, Result};
use byol_data::Dataset;
use serde_json::{Value, json};

use crate::device::Compute;
use crate::limits::Limits;
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(clap::Subcommand)]
enum Protocol {
    /// Weighted k-nearest-neighbour accuracy of the representation
    Knn {
        #[command(flatten)]
        common: Common,
        /// Neighbours that vote
        #[arg(long, default_value_t = 200, value_parser = whole_number)]
        k: usize,
        /// Temperature T of the votes exp(cosine / T)
        #[arg(long, default_value_t = 0.1, value_parser = positive::<f32>)]
        temperature: f32,
    },
    /// Accuracy of a linear classifier on the frozen representation (paper C.1)
    Linear {
        #[command(flatten)]
        common: Common,
        /// Passes over the training pictures
        #[arg(long, default_value_t = 80, value_parser = whole_number)]
        epochs: usize,
        /// Pictures per step
        #[arg(long, default_value_t = 1024, value_parser = whole_number)]
        batch_size: usize,
        /// Base learning rates to choose from, each times batch / 256
        #[arg(long, value_delimiter = ',', default_values_t = [0.4, 0.3, 0.2, 0.1, 0.05], value_parser = positive::<f64>)]
        learning_rates: Vec<f64>,
        /// Order of the pictures and choice of those held out
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// What every protocol needs.
#[derive(clap::Args)]
struct Common {
    /// Run folder, .safetensors file, or random:ARCH[:STEM[:SIZE]]
    encoder: String,
    /// Labelled pictures; their test part is tested on if there is one. May be repeated
    #[arg(long, required = true)]
    data: Vec<PathBuf>,
    /// Pictures to test on [default: the test part of --data, else a fifth of it held out]
    #[arg(long)]
    test: Vec<PathBuf>,
    /// Do not measure random weights of the same architecture beside the encoder
    #[arg(long)]
    no_baseline: bool,
    /// Print one JSON object with the numbers and their protocol on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    match arguments.protocol {
        Protocol::Knn { common, k, temperature } => {
            let options = knn::KnnOptions { k, temperature };
            measure(&common, "knn", |parts, device| to_json(knn::evaluate(&parts.train, &parts.test, options, device)?))
        }
        Protocol::Linear { common, epochs, batch_size, learning_rates, seed } => {
            let options = linear::LinearOptions {
                epochs,
                batch_size,
                base_learning_rates: learning_rates,
                seed,
                ..Default::default()
            };
            measure(&common, "linear", |parts, device| {
                to_json(linear::evaluate(&parts.train, &parts.test, &options, device)?)
            })
        }
    }
}

/// Representations of both parts under one encoder.
struct FeatureParts {
    train: Features,
    test: Features,
}

fn measure(common: &Common, name: &str, protocol: impl Fn(&FeatureParts, &Device) -> Result<Value>) -> Result<Ending> {
    let device = common.compute.open()?;
    let mut encoder = Encoder::open(&common.encoder, &device)?;
    let parts = open_parts(&common.data, &common.test, &common.limits.of(&common.encoder, &encoder.info)?)?;
    check_labels(&parts.train)?;
    check_labels(&parts.test)?;
    eprintln!("{}", parts.description);
    let encoded = protocol(&represent(&mut encoder, &parts, &device)?, &device)?;
    let with_baseline = !common.no_baseline && !common.encoder.starts_with("random:");
    let baseline = match with_baseline {
        true => {
            let mut random = Encoder::random_like(&encoder.info, 0, &device);
            Some(protocol(&represent(&mut random, &parts, &device)?, &device)?)
        }
        false => None,
    };
    print(&encoder, &encoded, baseline.as_ref());
    let record = json!({
        "eval": name,
        "encoder": common.encoder,
        "arch": encoder.info.arch,
        "training": encoder.info.training,
        "step": encoder.info.steps,
        "data": parts.description,
        "preprocessing": encoder.info.preprocessing,
        "result": encoded,
        "random_baseline": baseline,
    });
    if common.json {
        show::json(&record);
    }
    remember(Path::new(&common.encoder), &record)?;
    Ok(Ending::Done)
}

/// Every picture needs a label; said before the time is spent on representations.
fn check_labels(dataset: &Dataset) -> Result<()> {
    let Some(first) = (0..dataset.len()).find(|&index| dataset.label(index).is_none()) else { return Ok(()) };
    let problem = format!(
        "an evaluation needs a label for every picture, and {} has none; expected one folder per class \
         (train/cat/1.jpg) or a labelled file set such as CIFAR or IDX",
        dataset.name(first)
    );
    Err(match dataset.roots().first() {
        Some(root) => Error::path(root, problem),
        None => Error::Evaluation(problem),
    })
}

fn represent(encoder: &mut Encoder, parts: &LabelledParts, device: &Device) -> Result<FeatureParts> {
    let train = extract(encoder, &parts.train, 0, device)?;
    let test = extract(encoder, &parts.test, 0, device)?;
    let bad = train.bad.len() + test.bad.len();
    if bad > 0 {
        eprintln!("{bad} picture(s) could not be read and are left out");
    }
    Ok(FeatureParts { train, test })
}

/// Numbers as rows, the protocol in words below.
fn print(encoder: &Encoder, encoded: &Value, baseline: Option<&Value>) {
    let cell = |value: Option<&Value>| match value {
        Some(Value::Number(number)) => show::percent(number.as_f64().unwrap_or(f64::NAN)),
        _ => String::new(),
    };
    let mut header = vec![String::new(), encoder.info.training.clone()];
    header.extend(baseline.map(|_| "random weights".to_owned()));
    let mut rows = vec![header];
    for (key, label) in [("top1", "top-1"), ("top5", "top-5")] {
        if encoded.get(key).is_some() {
            let mut row = vec![label.to_owned(), cell(encoded.get(key))];
            row.extend(baseline.map(|baseline| cell(baseline.get(key))));
            rows.push(row);
        }
    }
    eprintln!();
    show::table(&rows);
    eprintln!();
    for (key, value) in encoded.as_object().into_iter().flatten() {
        if !["top1", "top5", "protocol"].contains(&key.as_str()) {
            eprintln!("  {key}: {value}");
        }
    }
    if let Some(protocol) = encoded.get("protocol").and_then(Value::as_str) {
        eprintln!("  {protocol}");
    }
}

/// Adds the result to the run's metrics, if the encoder is a run.
fn remember(encoder: &Path, record: &Value) -> Result<()> {
    match RunFolder::open(encoder) {
        Ok(run) => byol::train::append_metrics(&run.metrics(), record),
        Err(_) => Ok(()),
    }
}

fn whole_number(text: &str) -> std::result::Result<usize, &'static str> {
    text.parse().ok().filter(|&number| number > 0).ok_or("expected a whole number above 0")
}

fn positive<T: FromStr + Copy + Into<f64>>(text: &str) -> std::result::Result<T, &'static str> {
    let positive = |&number: &T| number.into() > 0.0 && number.into().is_finite();
    text.parse().ok().filter(positive).ok_or("expected a number above 0")
}

fn to_json(report: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|error| Error::Evaluation(error.to_string()))
}
