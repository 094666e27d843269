//! A run that starts from weights that are there, instead of random ones.

use std::path::Path;

use burn::tensor::Device;
use byol_nn::encoder::{Encoder, EncoderInfo, Opened};
use byol_nn::model::ResNetConfig;
use byol_nn::weights::{self, StoredTensor, StoredTensors, Values};
use byol_nn::{Error, Result};
use serde::Serialize;

use crate::config::Config;
use crate::fit::Choice;
use crate::overlays::Overlays;
use crate::preset::Preset;
use crate::run::{RunFolder, WarmStartRecord};
use crate::train::{TrainState, checkpoints};

/// Base rate of [`Preset::Small`] from weights that know something (`docs/recipes.md`, "Going on from weights").
const GOING_ON_RATE: f64 = 0.02;

/// Opened weights to start from.
#[derive(Clone, Debug)]
pub struct WarmStart {
    from: String,
    info: EncoderInfo,
    encoder: StoredTensors,
    note: Option<String>,
    /// Settings and tensors (`online.…`, `target.…`) of a run.
    run: Option<(Config, StoredTensors)>,
}

impl WarmStart {
    /// Opens a run folder, one of our encoders or a state dict of another program, as [`Encoder::open_under`] does.
    ///
    /// # Errors
    /// As of [`Encoder::open_under`]; [`Error::Flag`] for `random:…`, which every run starts from anyway.
    pub fn open(from: &str, prefix: Option<&str>, device: &Device) -> Result<Self> {
        if from.starts_with("random:") {
            let expected =
                "weights: a run folder, a .safetensors or PyTorch file; without --init a run starts from random ones";
            return Err(Error::Flag { flag: "--init", expected: expected.to_owned(), got: from.to_owned() });
        }
        let Opened { encoder: Encoder { network, info }, note } = Encoder::open_under(from, prefix, device)?;
        let mut encoder = StoredTensors::new();
        weights::collect(&network, "", &mut encoder);
        let run = match RunFolder::open(Path::new(from)) {
            Ok(folder) => match checkpoints(&folder.checkpoints())?.pop() {
                Some(newest) => Some((folder.config()?, weights::load(&newest)?.0)),
                None => None,
            },
            Err(_) => None,
        };
        Ok(Self { from: from.to_owned(), info, encoder, note, run })
    }

    /// Which network of the file was taken, where it has several.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What the weights say of the settings of `preset`, beneath those that the person gave, and which of it the person did not.
    pub(crate) fn beneath(&self, asked: &Overlays, preset: Preset) -> Result<(Overlays, Vec<Choice>)> {
        let channels = asked.merged_over(preset)?.data.channels;
        let mut choices = self.choices(channels);
        if preset == Preset::Small {
            choices.push(Choice {
                key: "schedule.base_learning_rate",
                value: as_toml(&GOING_ON_RATE),
                reason: "low, so that going on loses nothing".to_owned(),
            });
        }
        choices.retain(|choice| !asked.sets(choice.key));
        Ok((asked.above(choices.iter().map(Choice::setting))?, choices))
    }

    /// The network, and how pictures are normalised for it.
    fn choices(&self, channels: usize) -> Vec<Choice> {
        let EncoderInfo { arch, stem, padding, first_group_projection, norm, preprocessing, .. } = &self.info;
        let mut choices = vec![
            ("model.arch", as_toml(arch)),
            ("model.stem", as_toml(stem)),
            ("model.padding", as_toml(padding)),
            ("model.first_group_projection", as_toml(first_group_projection)),
            ("model.norm", as_toml(norm)),
        ];
        if channels == self.info.channels() {
            choices.push(("views.mean", as_toml(&preprocessing.mean)));
            choices.push(("views.std", as_toml(&preprocessing.std)));
        }
        if let Some((Config { model, .. }, _)) = &self.run {
            choices.push(("model.projector_hidden", as_toml(&model.projector_hidden)));
            choices.push(("model.predictor_hidden", as_toml(&model.predictor_hidden)));
            choices.push(("model.projection_size", as_toml(&model.projection_size)));
        }
        let reason = format!("that of {}", self.from);
        choices.into_iter().map(|(key, value)| Choice { key, value, reason: reason.clone() }).collect()
    }

    /// The state before the first step: the encoder's weights in both networks; projector, predictor and target of a run where
    /// their shapes are the same, else random heads, the same in both networks.
    ///
    /// # Errors
    /// [`Error::Path`] when the settings ask for another network than the weights are of.
    pub fn state(&self, config: &Config, classes: usize, device: &Device) -> Result<(TrainState, WarmStartRecord)> {
        let path = Path::new(&self.from);
        self.check(&config.model.resnet())?;
        let mut state = TrainState::new(config, classes, device);
        let channels = config.data.channels;
        let byol = &mut state.byol;
        let networks = if let Some((_, tensors)) = self.run.as_ref().filter(|(of, _)| has_same_networks(of, config)) {
            byol.online = weights::fill(byol.online.clone(), "online.", tensors, path)?;
            byol.target = weights::fill(byol.target.clone(), "target.", tensors, path)?;
            "encoder, projector, predictor, target"
        } else {
            let encoder = with_channels(&self.encoder, channels);
            byol.online.encoder = weights::fill(byol.online.encoder.clone(), "", &encoder, path)?;
            byol.target.encoder = weights::fill(byol.target.encoder.clone(), "", &encoder, path)?;
            let mut projector = StoredTensors::new();
            weights::collect(&byol.online.projector, "", &mut projector);
            byol.target.projector = weights::fill(byol.target.projector.clone(), "", &projector, path)?;
            "encoder"
        };
        let record = WarmStartRecord {
            from: self.from.clone(),
            training: self.info.training.clone(),
            networks: networks.to_owned(),
            adapted_channels: (channels != self.info.channels()).then_some([self.info.channels(), channels]),
        };
        Ok((state, record))
    }

    fn check(&self, wanted: &ResNetConfig) -> Result<()> {
        let there = self.info.resnet();
        if there == *wanted {
            return Ok(());
        }
        let problem = format!(
            "these weights are of {} ({:?} stem, {:?} padding), and the settings ask for {} ({:?} stem, {:?} padding); leave \
             model.arch, stem, padding, norm and first_group_projection to --init",
            there.arch, there.stem, there.padding, wanted.arch, wanted.stem, wanted.padding
        );
        Err(Error::path(Path::new(&self.from), problem))
    }
}

/// As it stands in a configuration.
fn as_toml(value: &impl Serialize) -> String {
    toml::Value::try_from(value).expect("settings have a TOML form").to_string()
}

/// Whether every tensor of a run of `one` has its place in a run of `other`.
fn has_same_networks(one: &Config, other: &Config) -> bool {
    let shape = |config: &Config| {
        let model = config.model.clone();
        let heads = [model.projector_hidden, model.predictor_hidden, model.projection_size];
        let layers = [model.projector_layers, model.predictor_layers];
        (model.resnet(), heads, layers, model.predictor, config.data.channels)
    };
    shape(one) == shape(other)
}

/// The first layer for pictures with `channels`: each of them weighs as the mean of those that were there, times there / here, so
/// that equal channels add up to what they did.
fn with_channels(encoder: &StoredTensors, channels: usize) -> StoredTensors {
    const FIRST: &str = "conv1.weight";
    let mut adapted = encoder.clone();
    if let Some(StoredTensor { shape, values: Values::F32(values) }) = adapted.get_mut(FIRST)
        && let &[outputs, there, height, width] = shape.as_slice()
        && there != channels
    {
        let window = height * width;
        let mut first = Vec::with_capacity(outputs * channels * window);
        for filter in values.chunks_exact(there * window) {
            let mean_of = |at: usize| filter.iter().skip(at).step_by(window).sum::<f32>() / channels as f32;
            let mean: Vec<f32> = (0..window).map(mean_of).collect();
            (0..channels).for_each(|_| first.extend(&mean));
        }
        *values = first;
        *shape = vec![outputs, channels, height, width];
    }
    adapted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_are_equal_give_what_they_gave_before() {
        // One filter of 1×2 over three channels.
        let values = Values::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let encoder =
            StoredTensors::from([("conv1.weight".to_owned(), StoredTensor { shape: vec![1, 3, 1, 2], values })]);
        let first = |channels| match with_channels(&encoder, channels).remove("conv1.weight").unwrap() {
            StoredTensor { shape, values: Values::F32(values) } => (shape, values),
            other => panic!("{other:?}"),
        };
        assert_eq!(first(1), (vec![1, 1, 1, 2], vec![9.0, 12.0]));
        assert_eq!(first(2), (vec![1, 2, 1, 2], vec![4.5, 6.0, 4.5, 6.0]));
        assert_eq!(first(3).1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
