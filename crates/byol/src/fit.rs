//! A recipe that fits the pictures, the machine and the time, by written rules.
//!
//! Each rule makes one [`Choice`]: a setting and its reason. They lie under the person's own settings, which therefore win, and
//! which the rules after them see. `docs/recipes.md` has the experiment or the source behind each rule.

use byol_nn::Result;
use byol_nn::ops::Precision;
use serde::Serialize;

use crate::config::Config;
use crate::overlays::Overlays;
use crate::preset::Preset;
use crate::train::watch::fitting_target_ema;

/// One setting that a rule chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Dotted key.
    pub key: &'static str,
    /// Value, as in TOML.
    pub value: String,
    /// Why, for people.
    pub reason: String,
}

impl Choice {
    /// `key=value`.
    pub fn setting(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

/// What the rules made.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// In the order they were made.
    pub choices: Vec<Choice>,
    /// Pictures per second that this machine trains with, where it was timed.
    pub images_per_second: Option<f64>,
}

/// What the rules know of the pictures.
#[derive(Clone, Copy, Debug)]
pub struct Pictures {
    /// How many.
    pub count: usize,
    /// Median of their shorter side.
    pub shorter_side_px: usize,
}

/// Sides of views that are tried, from cheap to dear.
const SIZES_PX: [usize; 5] = [32, 48, 64, 96, 128];

/// Pictures are not enlarged by more than a quarter.
const LARGEST_ENLARGEMENT: f64 = 1.25;

/// Encoders that are tried, from cheap to dear.
const ARCHES: [&str; 3] = ["resnet18x0.25", "resnet18x0.5", "resnet18"];

/// Steps below which a dearer view or a wider network is not worth its price.
const ENOUGH_STEPS: f64 = 6000.0;

/// Passes over the data beyond which more time goes nowhere.
const MAX_EPOCHS: f64 = 1000.0;

/// Share of the time that steps get; the rest is opening the data, measuring and checkpoints.
const TRAINING_SHARE: f64 = 0.9;

/// Share of the run during which the rate rises.
const WARMUP_SHARE: f64 = 0.05;

/// How much faster `bf16` must be to be worth its rounding.
const BF16_GAIN: f64 = 1.1;

/// Steps below which a higher rate teaches more (tried up to 6000), and that base rate.
const HIGH_RATE_STEPS: f64 = 12_000.0;
const HIGH_RATE: f64 = 0.2;

/// Steps from which BYOL's loss alone is the better teacher.
const LONG_STEPS: f64 = 50_000.0;

/// Chooses what the person has not: all of a [`Preset::Small`] recipe, of others the length alone.
///
/// `speed` says how many pictures per second this machine trains with; it is asked only where `minutes` are given.
///
/// # Errors
/// Settings that make no sense, and those of `speed`.
pub fn fit(
    preset: Preset,
    pictures: Pictures,
    overlays: &Overlays,
    minutes: Option<f64>,
    mut speed: impl FnMut(&Config) -> Result<f64>,
) -> Result<Fitted> {
    let mut fit = Fit { preset, overlays, choices: Vec::new() };
    let images_per_second = match (preset, minutes) {
        (Preset::Small, Some(minutes)) => Some(fit.size_and_width(pictures, minutes, &mut speed)?),
        (Preset::Small, None) => {
            fit.size_without_a_clock(pictures);
            None
        }
        (_, Some(_)) => Some(speed(&fit.config()?)?),
        (_, None) => None,
    };
    if let (Some(minutes), Some(images_per_second)) = (minutes, images_per_second) {
        fit.length(pictures, minutes, images_per_second);
    }
    if preset == Preset::Small {
        fit.schedule(pictures)?;
    }
    Ok(Fitted { choices: fit.choices, images_per_second })
}

/// Choices on their way.
struct Fit<'a> {
    preset: Preset,
    overlays: &'a Overlays,
    choices: Vec<Choice>,
}

impl Fit<'_> {
    fn choose(&mut self, key: &'static str, value: impl ToString, reason: String) {
        if !self.overlays.sets(key) {
            self.choices.push(Choice { key, value: value.to_string(), reason });
        }
    }

    fn config(&self) -> Result<Config> {
        self.overlays.above(self.choices.iter().map(Choice::setting))?.over(self.preset)
    }

    /// Climbs from the cheapest view and network to dearer ones while the time is enough for [`ENOUGH_STEPS`]; the pictures
    /// per second of the last.
    fn size_and_width(
        &mut self,
        pictures: Pictures,
        minutes: f64,
        speed: &mut impl FnMut(&Config) -> Result<f64>,
    ) -> Result<f64> {
        let mut best: Option<(f64, Vec<Choice>)> = None;
        for (size_px, arch) in ladder(pictures.shorter_side_px) {
            let mut rung = Fit { choices: Vec::new(), ..*self };
            rung.choose("views.size_px", size_px, String::new());
            rung.choose("model.arch", format!("{arch:?}"), String::new());
            if best.as_ref().is_some_and(|(_, choices)| *choices == rung.choices) {
                continue;
            }
            let config = rung.config()?;
            let images_per_second = speed(&config)?;
            let steps = minutes * 60.0 * TRAINING_SHARE * images_per_second / config.train.batch_size as f64;
            let is_enough = steps >= ENOUGH_STEPS;
            if is_enough || best.is_none() {
                let reason = format!("{images_per_second:.0} pictures/s here, {steps:.0} steps in the time");
                rung.choices.iter_mut().for_each(|choice| choice.reason.clone_from(&reason));
                best = Some((images_per_second, rung.choices));
            }
            if !is_enough {
                break;
            }
        }
        let (images_per_second, choices) = best.expect("the ladder has a first rung");
        self.choices = choices;
        self.precision(images_per_second, speed)
    }

    /// `bf16` where it is clearly faster.
    fn precision(&mut self, images_per_second: f64, speed: &mut impl FnMut(&Config) -> Result<f64>) -> Result<f64> {
        let config = self.config()?;
        if self.overlays.sets("precision") || config.precision != Precision::F32 {
            return Ok(images_per_second);
        }
        let in_bf16 = speed(&Config { precision: Precision::Bf16, ..config })?;
        if in_bf16 < BF16_GAIN * images_per_second {
            return Ok(images_per_second);
        }
        let reason = format!("{in_bf16:.0} pictures/s instead of {images_per_second:.0}");
        self.choose("precision", "\"bf16\"", reason);
        Ok(in_bf16)
    }

    /// The first rung that has the pictures' size, up to that of an ordinary short run.
    fn size_without_a_clock(&mut self, pictures: Pictures) {
        const ORDINARY_PX: usize = 48;
        let sizes = ladder(pictures.shorter_side_px).filter(|&(px, arch)| px <= ORDINARY_PX && arch == ARCHES[0]);
        let size_px = sizes.last().map_or(SIZES_PX[0], |(size_px, _)| size_px);
        self.choose("views.size_px", size_px, format!("pictures of {} px", pictures.shorter_side_px));
    }

    fn length(&mut self, pictures: Pictures, minutes: f64, images_per_second: f64) {
        let images = minutes * 60.0 * TRAINING_SHARE * images_per_second;
        let epochs = images / pictures.count as f64;
        let rounded = match epochs.min(MAX_EPOCHS) {
            epochs if epochs >= 10.0 => epochs.floor(),
            epochs => (epochs * 100.0).floor().max(1.0) / 100.0,
        };
        let reason = match epochs > MAX_EPOCHS {
            true => format!("no more than this, though {minutes} minutes would do for {epochs:.0}"),
            false => format!("{images_per_second:.0} pictures/s for {minutes} minutes"),
        };
        self.choose("schedule.epochs", format!("{rounded:?}"), reason);
    }

    /// Warm-up, τ, negatives and rate follow from the number of steps.
    fn schedule(&mut self, pictures: Pictures) -> Result<()> {
        let config = self.config()?;
        let epochs = config.schedule.epochs;
        let warmup = (epochs * WARMUP_SHARE * 100.0).round() / 100.0;
        self.choose("schedule.warmup_epochs", format!("{warmup:?}"), "a twentieth of the run".to_owned());
        let steps = epochs * pictures.count as f64 / config.train.batch_size as f64;
        self.choose("schedule.target_ema", target_ema(steps), format!("{steps:.0} steps"));
        let (negatives_weight, reason) = match steps < LONG_STEPS {
            true => (1.0, "with negatives a short run learns twice as fast; 0 is BYOL alone"),
            false => (0.0, "BYOL alone, as long runs need no negatives"),
        };
        self.choose("model.negatives_weight", format!("{negatives_weight:?}"), reason.to_owned());
        if steps < HIGH_RATE_STEPS {
            let reason = format!("higher below {HIGH_RATE_STEPS} steps");
            self.choose("schedule.base_learning_rate", HIGH_RATE, reason);
        }
        Ok(())
    }
}

/// τ_base: the target must be able to move within the run, the more so in very short ones.
fn target_ema(steps: f64) -> f64 {
    match steps {
        steps if steps < 20_000.0 => fitting_target_ema(steps).min(0.97),
        steps if steps < 100_000.0 => 0.99,
        _ => 0.996,
    }
}

/// (side of a view, encoder) from cheap to dear; width before resolution.
fn ladder(shorter_side_px: usize) -> impl Iterator<Item = (usize, &'static str)> {
    let largest = (shorter_side_px as f64 * LARGEST_ENLARGEMENT) as usize;
    let last = SIZES_PX.iter().rposition(|&size_px| size_px <= largest).unwrap_or(0);
    let rungs = [(0, 0), (1, 0), (1, 1), (2, 1), (3, 1), (3, 2), (4, 2)];
    rungs.into_iter().map(move |(size, arch): (usize, usize)| (SIZES_PX[size.min(last)], ARCHES[arch]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHOTOGRAPHS: Pictures = Pictures { count: 3000, shorter_side_px: 400 };

    /// A machine whose time goes with pixels and channels: so many pictures of 32 px per second at a quarter of the width.
    fn machine(images_per_second: f64) -> impl FnMut(&Config) -> Result<f64> {
        move |config| {
            let (px, width) = (config.views.size_px as f64 / 32.0, config.model.arch.stem_channels() as f64 / 16.0);
            Ok(images_per_second / (px * px * width * width))
        }
    }

    fn fitted(settings: &[&str], pictures: Pictures, minutes: Option<f64>, speed: f64) -> (Fitted, Config) {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let overlays = Overlays::read(None, &settings).unwrap();
        let fitted = fit(Preset::Small, pictures, &overlays, minutes, machine(speed)).unwrap();
        let config = overlays.above(fitted.choices.iter().map(Choice::setting)).unwrap().over(Preset::Small).unwrap();
        (fitted, config)
    }

    fn size_and_arch(config: &Config) -> (usize, String) {
        (config.views.size_px, config.model.arch.to_string())
    }

    #[test]
    fn more_time_and_a_faster_machine_buy_larger_views_and_wider_networks() {
        let chosen = |minutes, speed| size_and_arch(&fitted(&[], PHOTOGRAPHS, Some(minutes), speed).1);
        assert_eq!(
            chosen(1.0, 200.0),
            (32, "resnet18x0.25".to_owned()),
            "the first rung is taken however short the time"
        );
        let rungs: Vec<usize> = [60.0, 240.0, 1000.0, 4000.0].map(|minutes| chosen(minutes, 400.0).0).to_vec();
        assert!(rungs.is_sorted() && rungs[0] < rungs[3], "{rungs:?}");
        assert_eq!(chosen(600.0, 40_000.0), (128, "resnet18".to_owned()));
    }

    #[test]
    fn small_pictures_are_not_enlarged_and_what_is_set_stays() {
        let small = Pictures { shorter_side_px: 28, ..PHOTOGRAPHS };
        assert_eq!(fitted(&[], small, Some(600.0), 40_000.0).1.views.size_px, 32);
        let (fitted, config) = fitted(&["views.size_px=96", "schedule.epochs=7"], PHOTOGRAPHS, Some(600.0), 400.0);
        assert_eq!((config.views.size_px, config.schedule.epochs), (96, 7.0));
        assert!(fitted.choices.iter().all(|choice| !["views.size_px", "schedule.epochs"].contains(&choice.key)));
    }

    #[test]
    fn the_length_fills_the_time_and_the_schedule_follows_from_it() {
        let (fitted, config) =
            fitted(&["views.size_px=32", "model.arch=resnet18x0.25"], PHOTOGRAPHS, Some(20.0), 250.0);
        assert_eq!(fitted.images_per_second, Some(250.0));
        assert_eq!(config.schedule.epochs, 90.0, "0.9 · 20 min · 250 / 3000");
        assert_eq!(config.schedule.warmup_epochs, 4.5);
        assert_eq!((config.schedule.target_ema, config.model.negatives_weight), (0.97, 1.0));
        assert_eq!(config.schedule.base_learning_rate, 0.2, "4218 steps");
        let long = self::fitted(&["schedule.epochs=2000"], PHOTOGRAPHS, None, 1.0).1;
        assert_eq!((long.schedule.target_ema, long.model.negatives_weight), (0.99, 0.0));
        assert_eq!(long.schedule.base_learning_rate, 0.06);
        let tiny = self::fitted(&["schedule.epochs=5"], PHOTOGRAPHS, None, 1.0).1;
        assert_eq!(tiny.schedule.target_ema, 0.941, "234 steps");
        let few = Pictures { count: 100, ..PHOTOGRAPHS };
        assert_eq!(self::fitted(&[], few, Some(6000.0), 40_000.0).1.schedule.epochs, MAX_EPOCHS);
        let many = Pictures { count: 10_000_000, ..PHOTOGRAPHS };
        assert!(self::fitted(&[], many, Some(1.0), 250.0).1.schedule.epochs > 0.0);
    }

    #[test]
    fn without_a_time_nothing_is_timed_and_of_other_presets_only_the_length_is_fitted() {
        let overlays = Overlays::read(None, &[]).unwrap();
        let timed = |_: &Config| -> Result<f64> { panic!("timed") };
        let fitted = fit(Preset::Small, PHOTOGRAPHS, &overlays, None, timed).unwrap();
        assert!(fitted.choices.iter().any(|choice| choice.key == "views.size_px" && choice.value == "48"));
        assert_eq!(fit(Preset::Cifar10, PHOTOGRAPHS, &overlays, None, timed).unwrap().choices, []);
        let fitted = fit(Preset::Cifar10, PHOTOGRAPHS, &overlays, Some(60.0), machine(100.0)).unwrap();
        assert_eq!(fitted.choices.iter().map(|choice| choice.key).collect::<Vec<_>>(), ["schedule.epochs"]);
    }
}
