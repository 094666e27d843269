//! The `[eval]` table: what a run measures on itself.

use byol_nn::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is measured while training, and how often; changes no weight but the probe's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Passes over the data between two measurements, may be a fraction, or `"auto"`; there is one before the first step
    /// and one after the last, too. 0 switches all of it off, the probe among it.
    pub every_epochs: Rhythm,
    /// Pictures of the numbers that need no labels; with `"auto"` fewer in short runs, as the two counts below.
    pub images: usize,
    /// Pictures with label that vote in k-NN; as many of each class as there are, at most.
    pub knn_images: usize,
    /// Pictures with label on which k-NN and probe are tested and from whose labels the probe does not learn; at most a fifth.
    pub held_out_images: usize,
    /// Neighbours that vote.
    pub k: usize,
    /// `T` of the votes `exp(cosine / T)`.
    pub temperature: f32,
    /// The probe's learning rate, as a multiple of the run's; 1 in the reference.
    pub probe_rate_factor: f64,
}

/// When a run measures itself, besides before the first step and after the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rhythm {
    /// As often as takes at most a twentieth of the time, but at a third and two thirds of the run in any case.
    Auto,
    /// Whenever so many passes over the data are done, whatever it takes; 0: never.
    Epochs(f64),
}

impl Serialize for Rhythm {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Epochs(epochs) => serializer.serialize_f64(*epochs),
        }
    }
}

impl<'de> Deserialize<'de> for Rhythm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Number(f64),
            Word(String),
        }
        match Text::deserialize(deserializer) {
            Ok(Text::Number(epochs)) => Ok(Self::Epochs(epochs)),
            Ok(Text::Word(word)) if word == "auto" => Ok(Self::Auto),
            _ => Err(serde::de::Error::custom("expected \"auto\" or a number of epochs")),
        }
    }
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            every_epochs: Rhythm::Auto,
            images: 2048,
            knn_images: 5000,
            held_out_images: 2000,
            k: 20,
            temperature: 0.07,
            probe_rate_factor: 1.0,
        }
    }
}

impl MonitorConfig {
    /// Whether anything is measured.
    pub fn is_on(&self) -> bool {
        self.every_epochs != Rhythm::Epochs(0.0)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Config`] for the first key that is out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, key: &str, expected: &str, got: String| match good {
            true => Ok(()),
            false => Err(Error::Config { key: format!("eval.{key}"), expected: expected.to_owned(), got }),
        };
        let Self { every_epochs, images, knn_images, held_out_images, k, temperature, probe_rate_factor } = *self;
        if let Rhythm::Epochs(epochs) = every_epochs {
            let is_good = epochs == 0.0 || (1e-6..=1e6).contains(&epochs);
            let expected = "\"auto\", 0, or a number from 0.000001 to 1000000";
            check(is_good, "every_epochs", expected, epochs.to_string())?;
        }
        check((2..=65_536).contains(&images), "images", "2 to 65536", images.to_string())?;
        check((1..=1_000_000).contains(&knn_images), "knn_images", "1 to 1000000", knn_images.to_string())?;
        let held_out_is_good = (1..=1_000_000).contains(&held_out_images);
        check(held_out_is_good, "held_out_images", "1 to 1000000", held_out_images.to_string())?;
        check(k > 0, "k", "a whole number above 0", k.to_string())?;
        let temperature_is_good = (1e-3..=1e3).contains(&temperature);
        check(temperature_is_good, "temperature", "a number from 0.001 to 1000", temperature.to_string())?;
        let factor_is_good = (1e-6..=1e6).contains(&probe_rate_factor);
        let expected = "a number from 0.000001 to 1000000";
        check(factor_is_good, "probe_rate_factor", expected, probe_rate_factor.to_string())
    }
}
