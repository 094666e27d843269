//! Fine-tuning on all labels (paper D.3): 20 000 steps of 256 pictures, SGD Nesterov 0.9, random crop and flip.
//!
//! Rate and weight decay are chosen on held-out training pictures from a grid: 7 rates in [1e-4, 1e-1] and 0 and 7 decays
//! in [1e-6, 1e-3], both log-spaced; the decay is divided by the rate, so that it shrinks weights alike at every rate. Then
//! the encoder is trained once more on all training pictures and tested once. The running batch-norm averages decay by
//! max(1 − 10/s, 0.9), s the steps of an epoch.

use std::sync::Arc;

use burn::tensor::Device;
use byol_data::Dataset;
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::edge;
use super::held_out::HeldOut;
use super::metrics::Metric;
use super::progress::Countdown;
use super::record::Outcome;
use super::search::{Choice, Search};
use super::supervised::{Fixed, Setting};
use super::truth::Truth;

/// The grid and what is the same for all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinetuneOptions {
    /// Rates to choose from, each above 0.
    pub learning_rates: Vec<f64>,
    /// Weight decays to choose from, 0 or more, before they are divided by the rate.
    pub weight_decays: Vec<f64>,
    /// Steps of one training.
    pub steps: u64,
    /// Pictures per step.
    pub batch_size: usize,
    /// Smallest area of the random crops.
    pub crop_area_min: f32,
}

impl Default for FinetuneOptions {
    /// The paper's grid.
    fn default() -> Self {
        let mut weight_decays = vec![0.0];
        weight_decays.extend(log_spaced(1e-6, 1e-3, 7));
        Self {
            learning_rates: log_spaced(1e-4, 1e-1, 7),
            weight_decays,
            steps: 20_000,
            batch_size: 256,
            crop_area_min: 0.08,
        }
    }
}

/// `count` numbers from `low` to `high` with equal ratios.
pub fn log_spaced(low: f64, high: f64, count: usize) -> Vec<f64> {
    let step = (high / low).ln() / (count.max(2) - 1) as f64;
    (0..count).map(|place| twelve_digits(low * (step * place as f64).exp())).collect()
}

/// What is written down is then what was used.
fn twelve_digits(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

impl FinetuneOptions {
    /// Pictures that pass in all trainings of one start on `images` pictures.
    pub fn pictures(&self, images: usize) -> u64 {
        let settings = (self.learning_rates.len() * self.weight_decays.len()) as u64;
        let trainings = if settings > 1 { settings + 1 } else { 1 };
        trainings * self.steps * self.batch_size.min(images) as u64
    }

    /// What fixes the numbers on `parts`, in words.
    pub fn protocol(&self, parts: &Parts) -> String {
        let numbers = |values: &[f64]| values.iter().map(|value| format!("{value:.2e}")).collect::<Vec<_>>().join(", ");
        let (rates, decays) = (numbers(&self.learning_rates), numbers(&self.weight_decays));
        let choice = match self.settings().len() {
            1 => {
                format!("rate {rates} and weight decay {decays} / rate, trained on all training pictures, tested once")
            }
            _ => format!(
                "rate from {{{rates}}} and weight decay from {{{decays}}} / rate chosen on {}, trained again on {}, tested once",
                parts.chosen_on(),
                parts.at_last_on()
            ),
        };
        format!(
            "all weights fine-tuned with a linear classifier on all labels, {} steps of {}, SGD Nesterov 0.9, cosine decay, random \
             crop (area from {}) and flip; {choice}",
            self.steps, self.batch_size, self.crop_area_min
        )
    }

    fn settings(&self) -> Vec<Setting> {
        let of_rate = |&learning_rate: &f64| {
            self.weight_decays.iter().map(move |decay| Setting {
                learning_rate,
                weight_decay: decay / learning_rate,
                steps: self.steps,
                batch_size: self.batch_size,
            })
        };
        self.learning_rates.iter().flat_map(of_rate).collect()
    }

    fn check(&self) -> Result<()> {
        let rates =
            !self.learning_rates.is_empty() && self.learning_rates.iter().all(|rate| *rate > 0.0 && rate.is_finite());
        let decays =
            !self.weight_decays.is_empty() && self.weight_decays.iter().all(|decay| *decay >= 0.0 && decay.is_finite());
        if rates && decays && self.steps > 0 && self.batch_size > 1 {
            return Ok(());
        }
        Err(Error::Evaluation(format!(
            "fine-tuning: expected rates above 0, weight decays of 0 or more, at least 1 step and a batch of at least 2; got {self:?}"
        )))
    }
}

/// The parts of a data set: `train` and `validation` do not overlap and together are `all`.
pub struct Parts {
    /// To train on while a setting is chosen.
    pub train: Arc<Dataset>,
    /// To choose on.
    pub validation: Arc<Dataset>,
    /// To train on at last.
    pub all: Arc<Dataset>,
    /// To test on, once.
    pub test: Arc<Dataset>,
    /// What is known about the pictures.
    pub truth: Truth,
    /// What decides which setting is best.
    pub metric: Metric,
    /// How `validation` was taken from `all`; nothing where the makers of the data did.
    pub held_out: Option<HeldOut>,
}

impl Parts {
    /// `validation` as in a sentence.
    pub(super) fn chosen_on(&self) -> String {
        self.held_out.map_or("the validation part".to_owned(), |held_out| held_out.in_words("class-balanced"))
    }

    /// `all` as in a sentence.
    pub(super) fn at_last_on(&self) -> &'static str {
        if self.held_out.is_none() { "training and validation part" } else { "all training pictures" }
    }
}

/// Fine-tunes `start`, tests once. `what` names the start in the progress, `row` the outcome.
///
/// # Errors
/// Data errors; [`Error::Evaluation`] for options that make no sense or when every loss diverges.
pub fn evaluate(
    start: &Encoder,
    parts: &Parts,
    options: &FinetuneOptions,
    seed: u64,
    [what, row]: [&str; 2],
    device: &Device,
    countdown: &mut Countdown,
) -> Result<Outcome> {
    options.check()?;
    let batch = options.batch_size.min(parts.all.len());
    let epoch_steps = parts.all.len() as f64 / batch as f64;
    let batch_norm_decay = (1.0 - 10.0 / epoch_steps).max(0.9);
    let fixed = Fixed { crop_area_min: options.crop_area_min, batch_norm_decay, seed };
    let search = Search { fixed, truth: &parts.truth, metric: parts.metric, device };
    let settings = options.settings();
    let mut choice = if settings.len() == 1 {
        search.choose(start, [&parts.all, &parts.validation], &settings, what, countdown)?
    } else {
        let choice = search.choose(start, [&parts.train, &parts.validation], &settings, what, countdown)?;
        let again = format!("{what}, once more on all pictures");
        let best = std::slice::from_ref(&choice.setting);
        let last = search.choose(start, [&parts.all, &parts.validation], best, &again, countdown)?;
        Choice { scores: choice.scores, ..last }
    };
    let mut outcome = search.test(&mut choice, row, &parts.test)?;
    // Of the grid, not as they were divided by the rate.
    let decay = |setting: &Setting| twelve_digits(setting.weight_decay * setting.learning_rate);
    let edges = [choice.edge("learning_rate", |setting| setting.learning_rate), choice.edge("weight_decay", decay)];
    edge::note(&mut outcome.chosen, edges);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_grid_of_appendix_d() {
        let options = FinetuneOptions::default();
        assert_eq!((options.steps, options.batch_size), (20_000, 256));
        let settings = options.settings();
        assert_eq!(settings.len(), 7 * 8);
        let (first, last) = (&settings[0], &settings[55]);
        assert_eq!((first.learning_rate, first.weight_decay), (1e-4, 0.0));
        assert!((last.learning_rate - 0.1).abs() < 1e-12 && (last.weight_decay - 1e-2).abs() < 1e-12, "{last:?}");
        assert!((settings[9].learning_rate / 1e-4 - 10f64.sqrt()).abs() < 1e-9);
        assert_eq!(options.pictures(50_000), 57 * 20_000 * 256);
    }
}
