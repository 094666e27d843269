//! Semi-supervised evaluation (paper C.1): all weights are fine-tuned on a part of the labels.
//!
//! SGD Nesterov 0.9, batch 1024, random crop and flip, no regularisation; the rate is chosen from {0.01, 0.02, 0.05, 0.1, 0.005}
//! and the length from {30, 50} epochs on [held-out](HeldOut) training pictures that no labelled part touches; tested once. The rates are used as
//! given, whatever the batch. "1 %" is 1 % of all training pictures, held-out ones counted: 12 811 of ImageNet.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::Dataset;
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::edge;
use super::held_out::{HeldOut, percent};
use super::metrics::Metric;
use super::progress::Countdown;
use super::record::Outcome;
use super::search::Search;
use super::subset::{self, Draw};
use super::supervised::{Fixed, Setting, steps};
use super::truth::Truth;

/// Which training pictures keep their labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labelled {
    /// A class-balanced share in `(0, 1]` of all training pictures, drawn by the seed among those that are not held out.
    Share(f64),
    /// Those named in a text file, see [`subset::from_list`].
    List(PathBuf),
}

/// The sweep and what is the same for all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SemiOptions {
    /// The labelled parts, one row each.
    pub labelled: Vec<Labelled>,
    /// Rates to choose from.
    pub learning_rates: Vec<f64>,
    /// Passes over the labelled part to choose from.
    pub epochs: Vec<f64>,
    /// Pictures per step, at most the labelled ones.
    pub batch_size: usize,
    /// Steps of each training at least, however few pictures are labelled; 1 leaves the epochs as they are.
    pub least_steps: u64,
    /// Smallest area of the random crops.
    pub crop_area_min: f32,
    /// Training pictures to choose on.
    pub held_out: HeldOut,
}

impl Default for SemiOptions {
    /// The paper's sweep.
    fn default() -> Self {
        Self {
            labelled: vec![Labelled::Share(0.01), Labelled::Share(0.1)],
            learning_rates: vec![0.01, 0.02, 0.05, 0.1, 0.005],
            epochs: vec![30.0, 50.0],
            batch_size: 1024,
            least_steps: 1,
            crop_area_min: 0.08,
            held_out: HeldOut::default(),
        }
    }
}

/// A labelled part with the pictures to choose on.
pub struct Part {
    /// For the table: `1 % of the labels (500 pictures)`; it says so where the held-out pictures leave fewer.
    pub name: String,
    /// Pictures with labels.
    pub labelled: Arc<Dataset>,
    /// Pictures to choose on.
    pub validation: Arc<Dataset>,
}

impl SemiOptions {
    /// Draws the parts of `train` by `seed` and writes the names of each into `lists`, if given: `semi-0.01-seed-0.txt`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for shares out of range, [`Error::Path`] for lists that do not fit the data.
    pub fn parts(&self, train: &Dataset, seed: u64, lists: Option<&Path>) -> Result<Vec<Part>> {
        self.check()?;
        let all: Vec<u32> = (0..train.len() as u32).collect();
        self.labelled
            .iter()
            .map(|labelled| {
                let (labelled_places, validation, stem) = match labelled {
                    Labelled::Share(share) => {
                        subset::check_share(*share)?;
                        let (validation, rest) = self.held_out.class_balanced(train, &all, seed)?;
                        let count = subset::count_of(all.len(), *share);
                        let places = subset::class_balanced_images(train, &rest, count, Draw::Labelled, seed)?;
                        (places, validation, format!("semi-{share}"))
                    }
                    Labelled::List(path) => {
                        let places = subset::from_list(train, path)?;
                        let rest = subset::without(&all, &places);
                        if rest.is_empty() {
                            let problem = "names every training picture; expected some to be left to choose the rate on";
                            return Err(Error::path(path, problem));
                        }
                        let (validation, _) = self.held_out.class_balanced(train, &rest, seed)?;
                        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                        (places, validation, format!("semi-{stem}"))
                    }
                };
                if labelled_places.len() < 2 || validation.is_empty() {
                    return Err(Error::Evaluation(format!(
                        "semi-supervised evaluation: expected at least 2 labelled pictures and 1 to choose on, got {} and {}",
                        labelled_places.len(),
                        validation.len()
                    )));
                }
                if let Some(folder) = lists {
                    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
                    subset::write_list(train, &labelled_places, &folder.join(format!("{stem}-seed-{seed}.txt")))?;
                }
                let count = labelled_places.len();
                let name = match labelled {
                    Labelled::Share(share) => {
                        let is_capped = count < subset::count_of(all.len(), *share);
                        let note = if is_capped { ", all that are not held out" } else { "" };
                        format!("{} % of the labels ({count} pictures{note})", percent(*share))
                    }
                    Labelled::List(path) => format!("labels of {} ({count} pictures)", path.display()),
                };
                let labelled = Arc::new(train.subset(&labelled_places));
                Ok(Part { name, labelled, validation: Arc::new(train.subset(&validation)) })
            })
            .collect()
    }

    /// What fixes the numbers, in words.
    pub fn protocol(&self, lists: Option<&Path>) -> String {
        let choice = match (&self.learning_rates[..], &self.epochs[..]) {
            ([rate], [epochs]) => format!("rate {rate}, {epochs} epochs, tested once"),
            (rates, epochs) => format!(
                "rate from {rates:?} and epochs from {epochs:?} chosen on {} that no labelled part touches, tested once",
                self.held_out.in_words("class-balanced")
            ),
        };
        let least = match self.least_steps {
            1 => String::new(),
            steps => format!(" and at least {steps} steps"),
        };
        let kept = lists.map_or(String::new(), |folder| format!("; labelled pictures listed in {}", folder.display()));
        format!(
            "all weights fine-tuned with a linear classifier on the labelled part, SGD Nesterov 0.9, batch {} at most{least}, no \
             regularisation, cosine decay, random crop (area from {}) and flip; {choice}{kept}",
            self.batch_size, self.crop_area_min
        )
    }

    /// Pictures that pass in all trainings of one start on `part`.
    pub fn pictures(&self, part: &Part) -> u64 {
        self.settings(part).iter().map(|setting| setting.steps * setting.batch_size as u64).sum()
    }

    fn settings(&self, part: &Part) -> Vec<Setting> {
        let batch_size = self.batch_size.min(part.labelled.len());
        let of_rate = |&learning_rate: &f64| {
            self.epochs.iter().map(move |&epochs| Setting {
                learning_rate,
                weight_decay: 0.0,
                steps: self.steps(epochs, part, batch_size),
                batch_size,
            })
        };
        self.learning_rates.iter().flat_map(of_rate).collect()
    }

    fn steps(&self, epochs: f64, part: &Part, batch_size: usize) -> u64 {
        steps(epochs, part.labelled.len(), batch_size).max(self.least_steps)
    }

    fn check(&self) -> Result<()> {
        let positive =
            |values: &[f64]| !values.is_empty() && values.iter().all(|value| *value > 0.0 && value.is_finite());
        if positive(&self.learning_rates) && positive(&self.epochs) && !self.labelled.is_empty() && self.batch_size > 1
        {
            return Ok(());
        }
        Err(Error::Evaluation(format!(
            "semi-supervised evaluation: expected rates and epochs above 0, a labelled part and a batch of at least 2; got rates {:?}, \
             epochs {:?}, {} labelled parts, batch {}",
            self.learning_rates,
            self.epochs,
            self.labelled.len(),
            self.batch_size
        )))
    }
}

/// Fine-tunes `start` on one labelled part, tests once.
///
/// # Errors
/// Data errors; [`Error::Evaluation`] when every loss diverges.
#[expect(clippy::too_many_arguments, reason = "what a protocol consists of")]
pub fn evaluate(
    start: &Encoder,
    part: &Part,
    test: &Arc<Dataset>,
    options: &SemiOptions,
    seed: u64,
    what: &str,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<Outcome> {
    let fixed = Fixed { crop_area_min: options.crop_area_min, batch_norm_decay: 0.9, seed };
    let search = Search { fixed, truth: &Truth::Labels, metric: Metric::Top1, device };
    let what = format!("{what}, {}", part.name);
    let parts = [&part.labelled, &part.validation];
    let mut choice = search.choose(start, parts, &options.settings(part), &what, countdown)?;
    let mut outcome = search.test(&mut choice, &part.name, test)?;
    let epochs = |setting: &Setting| {
        let of_steps = |&&epochs: &&f64| options.steps(epochs, part, setting.batch_size) == setting.steps;
        options.epochs.iter().find(of_steps).copied().unwrap_or_default()
    };
    let edges = [choice.edge("learning_rate", |setting| setting.learning_rate), choice.edge("epochs", epochs)];
    edge::note(&mut outcome.chosen, edges);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subset::tests::dataset;

    #[test]
    fn a_share_of_the_labels_is_one_of_all_training_pictures_beside_those_held_out() {
        let data = dataset(&[5000; 10]);
        for (held_out, left) in [(HeldOut::default(), 45_000), (HeldOut::Images(10_009), 39_991)] {
            let labelled = [0.01, 0.1, 1.0].map(Labelled::Share).to_vec();
            let options = SemiOptions { labelled, held_out, ..Default::default() };
            let parts = options.parts(&data, 0, None).unwrap();
            let sizes = [500, 5000, left];
            assert_eq!(parts.iter().map(|part| part.labelled.len()).collect::<Vec<_>>(), sizes);
            for part in &parts[..2] {
                let of_class =
                    |class| (0..part.labelled.len()).filter(|&i| part.labelled.label(i) == Some(class)).count();
                assert!((0..10).all(|class| of_class(class) == part.labelled.len() / 10), "{}", part.name);
                assert_eq!(part.validation.len(), 50_000 - left);
            }
            let names: Vec<&str> = parts.iter().map(|part| &part.name[..]).collect();
            assert_eq!(names[..2], ["1 % of the labels (500 pictures)", "10 % of the labels (5000 pictures)"]);
            assert_eq!(names[2], format!("100 % of the labels ({left} pictures, all that are not held out)"));
        }
    }

    #[test]
    fn a_handful_of_labels_still_gets_the_least_steps() {
        let data = dataset(&[300; 10]);
        let options =
            SemiOptions { learning_rates: vec![0.1], epochs: vec![30.0], batch_size: 32, ..Default::default() };
        let steps = |least_steps| {
            let options = SemiOptions { least_steps, ..options.clone() };
            let parts = options.parts(&data, 0, None).unwrap();
            parts.iter().map(|part| options.settings(part)[0].steps).collect::<Vec<_>>()
        };
        assert_eq!((steps(1), steps(200)), (vec![30, 281], vec![200, 281]));
    }
}
