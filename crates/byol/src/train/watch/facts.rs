//! What is known of a run besides its numbers.

use byol_nn::optim::{OptimizerKind, Schedule};

use super::healthy::HealthyRuns;
use crate::config::Config;
use crate::method::{PredictorKind, TargetKind};
use crate::preset::Preset;
use crate::run::RunInfo;

/// Settings and length of a run.
#[derive(Clone, Debug)]
pub struct Facts {
    /// All settings.
    pub config: Config,
    /// What follows from them for these pictures.
    pub schedule: Schedule,
    /// Whether it started from weights that were there, instead of random ones.
    pub is_warm: bool,
    /// The preset it started from, where that is known.
    pub preset: Option<Preset>,
}

impl Facts {
    /// The facts of a run on so many pictures.
    pub fn new(config: &Config, images: usize) -> Self {
        Self { config: config.clone(), schedule: config.schedule(images), is_warm: false, preset: None }
    }

    /// The facts of the run that `info` describes.
    pub fn of_run(config: &Config, info: &RunInfo) -> Self {
        let preset = info.preset.as_ref().and_then(|name| name.parse().ok());
        Self { is_warm: info.warm_start.is_some(), preset, ..Self::new(config, info.images) }
    }

    /// Recorded runs that this one can be laid over; none for weights that were there, which start elsewhere, and without the
    /// negatives that the recorded ones had.
    pub fn healthy_runs(&self) -> Option<HealthyRuns> {
        self.preset.filter(|_| !self.is_warm && self.has_negatives()).and_then(HealthyRuns::of)
    }

    /// What the encoder was at step 0, after a number.
    pub fn at_the_start(&self) -> &'static str {
        if self.is_warm { "with the weights it started from" } else { "with random weights" }
    }

    /// `projection_std` of projections that are spread evenly: 1/√size.
    pub fn healthy_std(&self) -> f64 {
        1.0 / (self.config.model.projection_size as f64).sqrt()
    }

    /// Whether negatives keep the projections apart, as in SimCLR: then neither predictor nor target need do it.
    pub fn has_negatives(&self) -> bool {
        self.config.model.negatives_weight > 0.0
    }

    /// Whether there is a predictor that is no network, or none at all.
    pub fn lacks_predictor(&self) -> bool {
        self.config.model.predictor == PredictorKind::None
    }

    /// Whether the target is the online network itself, or almost.
    pub fn target_is_ahead(&self) -> bool {
        match self.config.model.target {
            TargetKind::StopGradient | TargetKind::Gradient => true,
            TargetKind::MovingAverage => self.config.schedule.target_ema < 0.5,
            TargetKind::Fixed => false,
        }
    }

    /// Whether no step moves the encoder.
    pub fn is_frozen(&self) -> bool {
        let optimizer = &self.config.optimizer;
        let is_lars_without_trust = optimizer.kind == OptimizerKind::Lars && optimizer.trust_coefficient == 0.0;
        self.schedule.peak_learning_rate == 0.0 || is_lars_without_trust
    }

    /// Whether the predictor is there and no step moves it.
    pub fn has_dead_predictor(&self) -> bool {
        let factor = self.config.optimizer.predictor_rate_factor;
        self.config.model.predictor == PredictorKind::Mlp && factor == 0.0 && !self.is_frozen()
    }

    /// Share of the random weights it began with that the target still holds at the end, `Π τ(k)`; `None` where it is no average,
    /// or did not begin with random ones.
    ///
    /// τ rises to 1 as half a cosine, so that `ln Π τ(k) ≈ −(1 − τ_base) · K / 2`.
    pub fn target_start_share(&self) -> Option<f64> {
        match self.config.model.target {
            _ if self.is_warm => None,
            TargetKind::MovingAverage => {
                let start = 1.0 - self.config.schedule.target_ema;
                Some((-start * self.schedule.total_steps as f64 / 2.0).exp())
            }
            TargetKind::Fixed => Some(1.0),
            TargetKind::StopGradient | TargetKind::Gradient => None,
        }
    }

    /// [`fitting_target_ema`] of this run.
    pub fn fitting_target_ema(&self) -> f64 {
        fitting_target_ema(self.schedule.total_steps as f64)
    }

    /// `--set schedule.base_learning_rate=…` with the rate times `factor`, one digit.
    pub fn rate_flag(&self, factor: f64) -> String {
        let rate = self.config.schedule.base_learning_rate * factor;
        format!("--set schedule.base_learning_rate={}", one_digit(rate))
    }
}

/// The number with one digit that counts.
fn one_digit(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return value;
    }
    format!("{value:.0e}").parse().unwrap_or(value)
}

/// τ_base with which the target holds a thousandth of its first weights after `steps`, three digits, at least 0.9; see
/// [`Facts::target_start_share`].
pub fn fitting_target_ema(steps: f64) -> f64 {
    let start = 2.0 * 1000f64.ln() / steps.max(1.0);
    ((1.0 - start) * 1000.0).floor().max(900.0) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn facts(settings: &[&str], images: usize) -> Facts {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Facts::new(&Preset::Cifar10.resolve(&settings).unwrap(), images)
    }

    #[test]
    fn what_the_target_keeps_of_its_start_is_the_product_of_all_tau() {
        for (tau, epochs) in [("0.97", 6), ("0.996", 20), ("0.9", 3)] {
            let settings = [format!("schedule.target_ema={tau}"), format!("schedule.epochs={epochs}")];
            let facts = facts(&[&settings[0], &settings[1], "train.batch_size=64", "schedule.warmup_epochs=1"], 1500);
            let product: f64 = (0..facts.schedule.total_steps).map(|step| facts.schedule.target_ema(step)).product();
            assert!((facts.target_start_share().unwrap() - product).abs() < 0.03, "{tau}: {product}");
        }
    }

    #[test]
    fn the_fitting_tau_leaves_a_thousandth_of_the_start_unless_the_run_is_too_short() {
        let short = facts(&["schedule.epochs=10", "train.batch_size=64", "schedule.warmup_epochs=1"], 3000);
        assert_eq!(short.schedule.total_steps, 468);
        assert_eq!(short.fitting_target_ema(), 0.97);
        assert_eq!(
            facts(&["schedule.epochs=1", "train.batch_size=64", "schedule.warmup_epochs=0"], 640).fitting_target_ema(),
            0.9
        );
    }

    #[test]
    fn rates_in_flags_have_one_digit() {
        let facts = facts(&["schedule.base_learning_rate=0.37"], 1000);
        assert_eq!(facts.rate_flag(0.1), "--set schedule.base_learning_rate=0.04");
        assert_eq!(facts.rate_flag(1000.0), "--set schedule.base_learning_rate=400");
    }
}
