//! Choosing a setting of training with labels on held-out pictures.

use std::sync::Arc;

use burn::tensor::Device;
use byol_data::Dataset;
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde_json::json;

use super::edge::Edge;
use super::metrics::{self, Metric};
use super::progress::Countdown;
use super::record::Outcome;
use super::supervised::{Classifier, Fixed, Setting};
use super::truth::Truth;

/// Training, choosing and testing share what is fixed.
pub struct Search<'a> {
    /// What is the same in all trainings.
    pub fixed: Fixed,
    /// What is known about the pictures.
    pub truth: &'a Truth,
    /// What decides.
    pub metric: Metric,
    /// Where it computes.
    pub device: &'a Device,
}

/// The best setting.
pub struct Choice {
    /// Which.
    pub setting: Setting,
    /// The classifier that was trained with it.
    pub classifier: Classifier,
    /// What every setting scored on the held-out pictures, in percent; 0 if its loss was not finite. Empty if there was no choice.
    pub scores: Vec<(Setting, f64)>,
}

impl Choice {
    /// Whether the chosen value of a setting lies at the edge of its grid.
    pub fn edge(&self, name: &str, value: impl Fn(&Setting) -> f64) -> Option<Edge> {
        let scored: Vec<(f64, f64)> = self.scores.iter().map(|(setting, score)| (value(setting), *score)).collect();
        Edge::of(name, value(&self.setting), &scored)
    }
}

impl Search<'_> {
    /// Trains `start` on `train` with every setting and keeps the one with the best score on `validation`, the first of equals.
    ///
    /// # Errors
    /// Data errors; [`Error::Evaluation`] when no setting kept its loss finite.
    pub fn choose(
        &self,
        start: &Encoder,
        [train, validation]: [&Arc<Dataset>; 2],
        settings: &[Setting],
        what: &str,
        countdown: &mut Countdown,
    ) -> Result<Choice> {
        let mut best: Option<(f64, Setting, Classifier)> = None;
        let mut scores = Vec::new();
        for (place, setting) in settings.iter().enumerate() {
            countdown.begin(format!("{what}, setting {} of {}", place + 1, settings.len()));
            let trained = Classifier::train(start, train, self.truth, setting, &self.fixed, self.device, countdown)?;
            let Some(mut classifier) = trained else {
                scores.push((setting.clone(), 0.0));
                continue;
            };
            let score = match settings.len() {
                1 => 0.0,
                _ => self.score(&mut classifier, validation)?,
            };
            scores.push((setting.clone(), score));
            if best.as_ref().is_none_or(|(best, ..)| score > *best) {
                best = Some((score, setting.clone(), classifier));
            }
        }
        let Some((_, setting, classifier)) = best else {
            return Err(Error::Evaluation(format!(
                "{what}: the loss did not stay finite at any of the rates {:?}; give lower ones by --learning-rates",
                settings.iter().map(|setting| setting.learning_rate).collect::<Vec<_>>()
            )));
        };
        if settings.len() == 1 {
            scores.clear();
        }
        Ok(Choice { setting, classifier, scores })
    }

    fn score(&self, classifier: &mut Classifier, validation: &Arc<Dataset>) -> Result<f64> {
        let logits = classifier.logits(validation, self.device)?;
        let known = self.truth.of(validation, &logits.images)?;
        Ok(metrics::measure(self.metric, &logits.as_f64(), known.targets(), logits.size))
    }

    /// Tests the chosen classifier, once; `setting` names the row.
    ///
    /// # Errors
    /// Data errors.
    pub fn test(&self, choice: &mut Choice, setting: &str, test: &Arc<Dataset>) -> Result<Outcome> {
        let logits = choice.classifier.logits(test, self.device)?;
        let known = self.truth.of(test, &logits.images)?;
        let (numbers, confusion) = known.judge(&logits.as_f64(), logits.size);
        let score = |(setting, score): &(Setting, f64)| json!({"setting": setting, "score": score});
        let held_out: Vec<_> = choice.scores.iter().map(score).collect();
        let Setting { learning_rate, weight_decay, steps, batch_size } = choice.setting;
        let chosen = json!({
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "steps": steps,
            "batch_size": batch_size,
            "held_out": held_out,
        });
        Ok(Outcome { setting: setting.to_owned(), numbers, chosen, confusion })
    }
}
