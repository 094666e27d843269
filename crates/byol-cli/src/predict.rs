//! `byol predict`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol::predictions::{NEIGHBOURS, Neighbours, check_free, write_predictions};
use byol::run::RunFolder;
use byol_data::{DataConfig, Dataset};
use byol_eval::classifier::{LinearClassifier, Prediction};
use byol_eval::{Countdown, Features, extract, extract_cached_watched, knn, waiting};
use byol_nn::Result;
use byol_nn::encoder::Encoder;
use byol_nn::ops::Device;

use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::limits::Limits;
use crate::network::NetworkChoice;
use crate::screen::{row, say, state};
use crate::{Ending, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// The encoder that the classifier was trained on: run folder, .safetensors or PyTorch file
    encoder: String,
    #[command(flatten)]
    network: NetworkChoice,
    /// File that `byol eval linear ENCODER LABELLED --save FILE` wrote
    classifier: PathBuf,
    #[command(flatten)]
    data: DataArguments,
    /// CSV file to write, one line per picture
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Part of the data to use [default: train if there is one, else everything]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Name the three most similar of these pictures beside each prediction, for example those the classifier was trained on
    #[arg(long, value_name = "DATA")]
    neighbours: Option<PathBuf>,
    /// Print one JSON object with what was written on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let roots = arguments.data.roots();
    let inputs: Vec<PathBuf> = roots.iter().chain(&arguments.neighbours).cloned().collect();
    check_free(&arguments.out, &inputs)?;
    let classifier = LinearClassifier::open(&arguments.classifier)?;
    let device = arguments.compute.open()?;
    let mut encoder = arguments.network.open(&arguments.encoder, &device)?;
    classifier.check_encoder(&arguments.classifier, &encoder, &arguments.encoder)?;
    let limits = arguments.limits.of(&arguments.encoder, &encoder.info, &arguments.data)?;
    let dataset = waiting("opening the data", || Dataset::open_all(&roots, arguments.split.as_deref(), &limits))?;
    let dataset = Arc::new(dataset);
    say!("{}", dataset.description());
    tell_notes([&*dataset]);
    let features = extract(&mut encoder, &dataset, 0, &device)?;
    let logits = classifier.logits(&features, &device);
    let predictions = classifier.predictions(&logits);
    let near = match &arguments.neighbours {
        Some(path) => Some(Near::find(path, &arguments.encoder, &mut encoder, &features, &limits, &device)?),
        None => None,
    };
    let neighbours = near.as_ref().map(Near::as_neighbours);
    let classes = &classifier.info.classes;
    write_predictions(&dataset, &features, classes, &predictions, neighbours.as_ref(), &arguments.out)?;
    for bad in &features.bad {
        state!("left out {}: {}", bad.name, bad.reason);
    }
    let counts = counts(classes, &predictions);
    let shown: Vec<String> = counts.iter().map(|(class, count)| format!("{class} {count}")).collect();
    row("taken for", &shown.join(", "));
    let top1 = classifier.top1(&logits, &dataset, &features);
    match top1 {
        Some(top1) => {
            let (images, tested) = (features.len(), classifier.info.top1);
            let words =
                format!("{top1:.1} % of {images} labelled pictures ({tested:.1} % when the classifier was tested)");
            row("accuracy", &words);
        }
        None if dataset.classes().is_empty() => {}
        None => state!("no accuracy: the labels of the data are not among the classes of the classifier"),
    }
    if near.is_none() {
        say!("no neighbours: --neighbours DATA names the most similar of those pictures");
    }
    say!("wrote {} predictions: {}", features.len(), arguments.out.display());
    if arguments.json {
        show::json(&serde_json::json!({
            "file": arguments.out,
            "images": features.len(),
            "bad_images": features.bad,
            "counts": counts,
            "top1": top1,
            "classifier": classifier.info,
        }));
    }
    Ok(Ending::Done)
}

/// How many pictures were taken for each class.
fn counts(classes: &[String], predictions: &[Prediction]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = classes.iter().map(|class| (class.clone(), 0)).collect();
    for prediction in predictions {
        *counts.entry(classes[prediction.class as usize].clone()).or_default() += 1;
    }
    counts
}

/// Pictures that predictions are compared with.
struct Near {
    dataset: Arc<Dataset>,
    features: Features,
    found: Vec<Vec<knn::Neighbour>>,
}

impl Near {
    /// Those of `path`, whose representations the run keeps, if the encoder is one.
    fn find(
        path: &Path,
        run: &str,
        encoder: &mut Encoder,
        queries: &Features,
        limits: &DataConfig,
        device: &Device,
    ) -> Result<Self> {
        let dataset = Arc::new(Dataset::open_all(&[path.to_owned()], None, limits)?);
        let cache = RunFolder::open(Path::new(run)).ok().map(|run| run.features());
        let mut countdown = Countdown::start(dataset.len() as u64);
        countdown.name("representations of --neighbours".to_owned());
        let extracted = extract_cached_watched(encoder, &dataset, cache.as_deref(), 0, device, &mut countdown)?;
        let features = extracted.features;
        let found = knn::neighbours(&features, queries, NEIGHBOURS, device);
        Ok(Self { dataset, features, found })
    }

    fn as_neighbours(&self) -> Neighbours<'_> {
        Neighbours { dataset: &self.dataset, features: &self.features, found: &self.found }
    }
}
