//! A linear classifier that is handed over: weights with class names and all that fixes what they mean.
//!
//! A safetensors file of `weight [classes, size]` and `bias [classes]`; the description is JSON under [`DESCRIPTION`] in its
//! header. It classifies representations of the encoder it was trained on and of no other.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::Dataset;
use byol_data::views::EvaluationConfig;
use byol_nn::encoder::Encoder;
use byol_nn::model::Arch;
use byol_nn::weights::{self, StoredTensor, Values};
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::cache::fingerprint;
use super::features::Features;
use super::metrics::{highest, top_k};
use super::softmax::{Classifiers, LinearWeights};

/// Key of the description in the header of the file.
pub const DESCRIPTION: &str = "byol_classifier";

/// What must travel with the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierInfo {
    /// Name of each class, in the order of the rows of `weight`.
    pub classes: Vec<String>,
    /// The encoder, see [`fingerprint`].
    pub encoder: String,
    /// Its architecture.
    pub arch: Arch,
    /// How it was trained, in one line.
    pub training: String,
    /// Optimiser steps it was trained for.
    pub steps: u64,
    /// How pictures are prepared for it.
    pub preprocessing: EvaluationConfig,
    /// Which output of the encoder is classified.
    pub representation: String,
    /// What is done to representations before they are multiplied; nothing.
    pub standardised: String,
    /// α of logits `α · tanh(logit / α)`, if the classifier was trained with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_clip: Option<f32>,
    /// How the classifier was trained, in words.
    pub protocol: String,
    /// Which pictures trained and which tested it.
    pub data: String,
    /// Pictures it was trained on.
    pub train_images: usize,
    /// Pictures it was tested on.
    pub test_images: usize,
    /// Accuracy on them, in percent.
    pub top1: f64,
    /// Seed of its training.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}

/// A classifier of the representations of one encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    weights: LinearWeights,
    /// What it is.
    pub info: ClassifierInfo,
}

/// What a picture was taken for.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class with the highest logit; ties go to the lower class.
    pub class: u32,
    /// Softmax of the logits at that class, in `(0, 1]`.
    pub probability: f64,
    /// The next class with its probability, if there are two.
    pub second: Option<(u32, f64)>,
}

impl LinearClassifier {
    /// `weights` with their description.
    ///
    /// # Panics
    /// When there is not one bias for each class.
    pub fn new(weights: LinearWeights, info: ClassifierInfo) -> Self {
        assert_eq!(weights.bias.len(), info.classes.len(), "a classifier has a bias for each class");
        Self { weights, info }
    }

    /// Writes the file, atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let classes = self.info.classes.len();
        let size = self.weights.weight.len() / classes.max(1);
        let tensor = |shape: Vec<usize>, values: &[f32]| StoredTensor { shape, values: Values::F32(values.to_vec()) };
        let tensors = BTreeMap::from([
            ("weight".to_owned(), tensor(vec![classes, size], &self.weights.weight)),
            ("bias".to_owned(), tensor(vec![classes], &self.weights.bias)),
        ]);
        let json = serde_json::to_string(&self.info).expect("plain fields have a JSON form");
        let metadata = [("format", "pt"), (DESCRIPTION, &*json)];
        weights::save(path, &tensors, metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Path`]: no such file, or none that [`Self::save`] wrote.
    pub fn open(path: &Path) -> Result<Self> {
        const MAKE: &str = "give a file that `byol eval linear RUN LABELLED --save FILE` wrote";
        if !path.exists() {
            return Err(Error::path(path, format!("no such classifier; {MAKE}")));
        }
        if path.is_dir() {
            return Err(Error::path(path, format!("expected a classifier, got a folder; {MAKE}")));
        }
        let (tensors, metadata) = weights::load(path)?;
        let wrong = |problem: String| Error::path(path, format!("{problem}; {MAKE}"));
        let Some(json) = metadata.get(DESCRIPTION) else {
            return Err(wrong("expected a classifier, got a safetensors file of something else".to_owned()));
        };
        let info: ClassifierInfo =
            serde_json::from_str(json).map_err(|error| wrong(format!("damaged description: {error}")))?;
        let values = |name: &str| match tensors.get(name) {
            Some(StoredTensor { values: Values::F32(values), .. }) => Ok(values.clone()),
            _ => Err(wrong(format!("tensor `{name}` of f32 is missing"))),
        };
        let weights = LinearWeights { weight: values("weight")?, bias: values("bias")? };
        let (classes, size) = (info.classes.len(), info.arch.representation_size());
        if classes == 0 || weights.bias.len() != classes || weights.weight.len() != classes * size {
            let got = format!("{} weights and {} biases", weights.weight.len(), weights.bias.len());
            return Err(wrong(format!("expected {classes} classes × {size} weights and as many biases, got {got}")));
        }
        Ok(Self { weights, info })
    }

    /// Checks that `encoder`, called `name`, is the one whose representations this was trained on.
    ///
    /// # Errors
    /// [`Error::Path`] with `path`, the classifier's file.
    pub fn check_encoder(&self, path: &Path, encoder: &Encoder, name: &str) -> Result<()> {
        let found = fingerprint(encoder);
        if found == self.info.encoder {
            return Ok(());
        }
        let told = |arch: &Arch, training: &str, steps: u64, print: &str| {
            format!("{arch} after {steps} steps ({training}; fingerprint {})", print.get(..8).unwrap_or(print))
        };
        let ClassifierInfo { arch, training, steps, encoder: print, .. } = &self.info;
        let expected = told(arch, training, *steps, print);
        let got = told(&encoder.info.arch, &encoder.info.training, encoder.info.steps, &found);
        let problem = format!(
            "this classifier is of another encoder; expected {expected}, got {name}: {got}; give the encoder it was trained on (a \
             run that was trained further has other weights), or train one: byol eval linear {name} LABELLED --save FILE"
        );
        Err(Error::path(path, problem))
    }

    /// Logits of each row of `features`, `[rows, classes]`.
    pub fn logits(&self, features: &Features, device: &Device) -> Vec<f32> {
        let classifiers = Classifiers::of(&self.weights, features.size, device);
        let rows: Vec<usize> = (0..features.len()).collect();
        let select = |rows: &[usize]| {
            let values: Vec<f32> = rows.iter().flat_map(|&row| features.row(row)).copied().collect();
            Tensor::from_data(TensorData::new(values, [rows.len(), features.size]), device)
        };
        classifiers.scores(select, &rows).swap_remove(0)
    }

    /// Share of `features` of `dataset` whose own label has the highest of the `logits`, in percent, as `eval linear` counts it.
    /// Nothing unless every picture has a label that is one of the classes, by name.
    pub fn top1(&self, logits: &[f32], dataset: &Dataset, features: &Features) -> Option<f64> {
        let class_of = |name: &String| self.info.classes.iter().position(|class| class == name);
        let places: Vec<Option<usize>> = dataset.classes().iter().map(class_of).collect();
        let label = |label: &Option<u32>| places[(*label)? as usize].map(|class| class as u32);
        let labels: Vec<u32> = features.labels.iter().map(label).collect::<Option<_>>()?;
        (!labels.is_empty()).then(|| top_k(logits, &labels, self.info.classes.len(), 1))
    }

    /// What each row of [`logits`](Self::logits) means.
    pub fn predictions(&self, logits: &[f32]) -> Vec<Prediction> {
        let clipped = |logit: &f32| match self.info.logit_clip {
            Some(clip) => f64::from(clip * (logit / clip).tanh()),
            None => f64::from(*logit),
        };
        let of_row = |row: &[f32]| {
            let logits: Vec<f64> = row.iter().copied().map(f64::from).collect();
            prediction(&logits, &row.iter().map(clipped).collect::<Vec<f64>>())
        };
        logits.chunks_exact(self.info.classes.len()).map(of_row).collect()
    }
}

/// By the order of `logits` and the softmax of `clipped`, which falls with them.
fn prediction(logits: &[f64], clipped: &[f64]) -> Prediction {
    let highest_logit = clipped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = clipped.iter().map(|logit| (logit - highest_logit).exp()).sum();
    let probability = |class: u32| (clipped[class as usize] - highest_logit).exp() / total;
    let class = highest(logits);
    let mut others = logits.to_vec();
    others[class as usize] = f64::NEG_INFINITY;
    let second = (logits.len() > 1).then(|| highest(&others)).map(|second| (second, probability(second)));
    Prediction { class, probability: probability(class), second }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(device: &Device) -> Encoder {
        Encoder::open("random:resnet18x0.0625:cifar:8", device).unwrap()
    }

    fn classifier(encoder: &Encoder) -> LinearClassifier {
        let size = encoder.info.representation_size;
        let weight = (0..2 * size).map(|place| place as f32 / 7.0 - 3.0).collect();
        let info = ClassifierInfo {
            classes: vec!["cat".to_owned(), "dög".to_owned()],
            encoder: fingerprint(encoder),
            arch: encoder.info.arch,
            training: encoder.info.training.clone(),
            steps: 0,
            preprocessing: encoder.info.preprocessing.clone(),
            representation: encoder.info.representation.clone(),
            standardised: "nothing".to_owned(),
            logit_clip: None,
            protocol: "as in a test".to_owned(),
            data: String::new(),
            train_images: 4,
            test_images: 2,
            top1: 50.0,
            seed: 0,
            version: "0".to_owned(),
        };
        LinearClassifier::new(LinearWeights { weight, bias: vec![0.5, -0.5] }, info)
    }

    #[test]
    fn a_saved_classifier_comes_back_and_knows_its_encoder() {
        let device = Device::flex();
        let encoder = encoder(&device);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let saved = classifier(&encoder);
        saved.save(&path).unwrap();
        let opened = LinearClassifier::open(&path).unwrap();
        assert_eq!(opened, saved);
        opened.check_encoder(&path, &encoder, "run").unwrap();
        let other = Encoder::random_like(&encoder.info, 1, &device);
        let error = opened.check_encoder(&path, &other, "runs/other").unwrap_err().to_string();
        assert!(
            error.contains("of another encoder") && error.contains("runs/other") && error.contains("--save"),
            "{error}"
        );
        let mut resized = encoder.clone();
        resized.info.preprocessing.size_px = 16;
        assert!(opened.check_encoder(&path, &resized, "run").is_err(), "other preprocessing, other representations");

        encoder.save(folder.path()).unwrap();
        let weights = folder.path().join("encoder.safetensors");
        let error = LinearClassifier::open(&weights).unwrap_err().to_string();
        assert!(error.contains("something else") && error.contains("--save FILE"), "{error}");
        assert!(LinearClassifier::open(&folder.path().join("none")).unwrap_err().to_string().contains("no such"));
    }

    #[test]
    fn probabilities_are_the_softmax_and_second_comes_second() {
        let device = Device::flex();
        let mut classifier = classifier(&encoder(&device));
        let found = classifier.predictions(&[1.0, 3.0, 0.0, 0.0]);
        let expected = 1.0 / (1.0 + (-2f64).exp());
        assert_eq!((found[0].class, found[0].second.map(|(class, _)| class)), (1, Some(0)));
        assert!((found[0].probability - expected).abs() < 1e-12);
        assert!((found[0].second.unwrap().1 - (1.0 - expected)).abs() < 1e-12);
        assert_eq!((found[1].class, found[1].probability), (0, 0.5), "a tie goes to the lower class");
        // Clipped at 1, no two logits are further than 2 apart.
        classifier.info.logit_clip = Some(1.0);
        let clipped = classifier.predictions(&[-100.0, 100.0]);
        assert!((clipped[0].probability - expected).abs() < 1e-12 && clipped[0].class == 1, "{clipped:?}");
    }

    #[test]
    fn logits_are_weight_times_representation_plus_bias() {
        let device = Device::flex();
        let encoder = encoder(&device);
        let classifier = classifier(&encoder);
        let size = encoder.info.representation_size;
        let values: Vec<f32> = (0..3 * size).map(|place| (place % 5) as f32).collect();
        let features = Features { values, size, images: vec![0, 1, 2], labels: vec![None; 3], bad: vec![] };
        let logits = classifier.logits(&features, &device);
        for (place, logit) in logits.iter().enumerate() {
            let (row, class) = (place / 2, place % 2);
            let products = features.row(row).iter().zip(&classifier.weights.weight[class * size..]);
            let expected = products.map(|(x, w)| x * w).sum::<f32>() + classifier.weights.bias[class];
            assert!((logit - expected).abs() < 1e-2 * expected.abs().max(1.0), "{logit} {expected}");
        }
    }
}
