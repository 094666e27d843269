//! The demonstration: a drawn data set, a short pretraining, and the comparison with random weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use burn::tensor::Device;
use byol_data::{Dataset, drawn};
use byol_eval::{Features, extract, knn, linear};
use byol_nn::Result;
use byol_nn::encoder::Encoder;
use serde::Serialize;

use crate::config::Config;
use crate::preset::Preset;
use crate::run::{RunFolder, RunInfo};
use crate::sheet::{Embedded, write_neighbours};
use crate::train::{Outcome, Requests, train};

/// Side of the drawn pictures.
const SIZE_PX: usize = 32;
/// Pictures to learn from.
const TRAIN_IMAGES: usize = 4000;
/// Pictures to test on.
const TEST_IMAGES: usize = 1000;
/// By how many points of k-NN accuracy pretraining must win.
pub const REQUIRED_GAIN: f64 = 10.0;

/// What the demonstration found; accuracies in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoReport {
    /// k-NN accuracy of the pretrained encoder.
    pub knn_top1: f64,
    /// k-NN accuracy of the same network with random weights.
    pub knn_top1_random: f64,
    /// Linear accuracy of the pretrained encoder.
    pub linear_top1: f64,
    /// Linear accuracy of the same network with random weights.
    pub linear_top1_random: f64,
    /// Wall-clock time of everything.
    pub seconds: f64,
}

impl DemoReport {
    /// Whether pretraining won by [`REQUIRED_GAIN`] points.
    pub fn pretraining_won(&self) -> bool {
        self.knn_top1 >= self.knn_top1_random + REQUIRED_GAIN
    }
}

/// The report and where its files are; `None` when interrupted, which leaves nothing behind.
pub type DemoResult = Option<(DemoReport, PathBuf)>;

/// Draws, pretrains by `seed`, evaluates and writes `neighbours.png` into the run folder `out`.
///
/// # Errors
/// As for any run: an existing `out`, a full disk.
pub fn demo(out: &Path, seed: u64, device: &Device, requests: &Requests) -> Result<DemoResult> {
    let started = Instant::now();
    let (train_set, test_set) = (dataset(TRAIN_IMAGES, 1), dataset(TEST_IMAGES, 2));
    let config = config(seed)?;
    let info = RunInfo {
        data: Vec::new(),
        split: None,
        data_fingerprint: train_set.fingerprint(),
        images: train_set.len(),
        input: byol_data::FIDELITY.to_owned(),
        device: "cpu".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        preset: None,
        warm_start: None,
        earlier_data: Vec::new(),
    };
    let run = RunFolder::create(out, &config, &info)?;
    let interrupted = || requests.stop.load(Ordering::Relaxed);
    if train(&run, &config, train_set.clone(), device, requests)?.outcome == Outcome::Interrupted {
        run.discard();
        return Ok(None);
    }
    let mut pretrained = Encoder::open(&out.to_string_lossy(), device)?;
    let mut random = Encoder::random_like(&pretrained.info, config.seed, device);
    let measured = Measured::of(&mut pretrained, &train_set, &test_set, device)?;
    let baseline = match interrupted() {
        true => None,
        false => Some(Measured::of(&mut random, &train_set, &test_set, device)?),
    };
    let Some(baseline) = baseline.filter(|_| !interrupted()) else {
        run.discard();
        return Ok(None);
    };
    let sheet = out.join("neighbours.png");
    write_sheet(&measured, &train_set, &test_set, &sheet, device)?;
    let report = DemoReport {
        knn_top1: measured.knn_top1,
        knn_top1_random: baseline.knn_top1,
        linear_top1: measured.linear_top1,
        linear_top1_random: baseline.linear_top1,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok(Some((report, sheet)))
}

/// The CIFAR recipe with a network, a view size and a length that two cores finish in about a minute; colours are turned fully, since
/// they mean nothing here, the target moves faster, as in the reference's shorter presets, and SGD with a high rate takes the place of Adam: in
/// 375 steps it learns about twice as much.
fn config(seed: u64) -> Result<Config> {
    let settings = [
        "model.arch=resnet18x0.125",
        "model.projector_hidden=256",
        "model.predictor_hidden=256",
        "views.size_px=24",
        "views.view1.hue=0.5",
        "views.view2.hue=0.5",
        "views.view1.grayscale_p=0.2",
        "views.view2.grayscale_p=0.2",
        "schedule.epochs=6",
        "schedule.warmup_epochs=0.5",
        "optimizer.kind=sgd",
        "optimizer.weight_decay=5e-4",
        "schedule.base_learning_rate=0.4",
        "schedule.target_ema=0.97",
        "train.batch_size=64",
        "train.checkpoints_kept=1",
        // Each measurement costs as much as a seventh of an epoch.
        "eval.every_epochs=3",
        "eval.probe_rate_factor=1",
    ];
    let config = Preset::Cifar10.resolve(&settings.map(str::to_owned))?;
    Ok(Config { seed, ..config })
}

fn dataset(count: usize, seed: u64) -> Arc<Dataset> {
    let (images, labels): (Vec<_>, Vec<_>) = drawn::draw(count, seed, SIZE_PX).into_iter().unzip();
    let names = (0..count).map(|index| format!("drawn-{seed}-{index:05}")).collect();
    Arc::new(Dataset::from_images(images, Some(labels), drawn::CLASSES.map(str::to_owned).to_vec(), names))
}

struct Measured {
    train: Features,
    test: Features,
    knn_top1: f64,
    linear_top1: f64,
}

impl Measured {
    fn of(encoder: &mut Encoder, train: &Arc<Dataset>, test: &Arc<Dataset>, device: &Device) -> Result<Self> {
        let train = extract(encoder, train, 0, device)?;
        let test = extract(encoder, test, 0, device)?;
        let knn_top1 = knn::evaluate(&train, &test, &knn::KnnOptions::default(), device)?[0].top1;
        let linear_top1 = linear::evaluate(&train, &test, &linear::LinearOptions::default(), device)?.top1;
        Ok(Self { train, test, knn_top1, linear_top1 })
    }
}

/// One row for each class: its first test picture and the eight nearest training pictures.
fn write_sheet(measured: &Measured, train: &Dataset, test: &Dataset, path: &Path, device: &Device) -> Result<()> {
    const NEIGHBOURS: usize = 8;
    let nearest = knn::neighbours(&measured.train, &measured.test, NEIGHBOURS, device);
    let first_of = |class: u32| measured.test.labels.iter().position(|&label| label == Some(class));
    let rows: Vec<_> =
        (0..drawn::CLASSES.len() as u32).filter_map(first_of).map(|query| (query, nearest[query].clone())).collect();
    let queries = Embedded { dataset: test, features: &measured.test };
    write_neighbours(&queries, &Embedded { dataset: train, features: &measured.train }, &rows, path)
}
