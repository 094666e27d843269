//! A preset, views by what pictures show, a file and `--set key=value`, one over the other.

use std::path::Path;

use byol_nn::{Error, Result};
use toml::Table;

use crate::config::{Config, Origin, located, parse_setting, parse_toml};
use crate::preset::Preset;
use crate::views_preset::ViewsPreset;

impl Preset {
    /// The complete configuration with `key=value` settings over it; see [`Overlays`].
    ///
    /// # Errors
    /// As for [`Overlays::over`].
    pub fn resolve(self, settings: &[String]) -> Result<Config> {
        Overlays::read(None, settings)?.over(self)
    }
}

impl Config {
    /// This configuration with `key=value` settings over it.
    ///
    /// # Errors
    /// As for [`Overlays::over`].
    pub fn with(&self, settings: &[String]) -> Result<Self> {
        let mut config = self.clone();
        for setting in settings {
            config = config.overlay(parse_setting(setting)?, &Origin::Setting(setting.clone()))?;
        }
        config.validate()?;
        Ok(config)
    }
}

/// What lies over a preset: a TOML file, then `key=value` settings.
#[derive(Clone, Debug)]
pub struct Overlays {
    preset: Option<Preset>,
    views: ViewsPreset,
    tables: Vec<(Origin, Table)>,
}

impl Overlays {
    /// Reads the file and the settings.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::ConfigSyntax`] for one that is no TOML or names an unknown
    /// preset, and for settings that are no `key=value`.
    pub fn read(file: Option<&Path>, settings: &[String]) -> Result<Self> {
        let mut overlays = Self { preset: None, views: ViewsPreset::default(), tables: Vec::new() };
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            let origin = Origin::file(path, &text);
            let mut table = parse_toml(&text, &origin)?;
            if let Some(name) = table.remove("preset") {
                overlays.preset = Some(Preset::from_value(&name, &origin)?);
            }
            if let Some(name) = table.remove("views_preset") {
                overlays.views = ViewsPreset::from_value(&name, &origin)?;
            }
            overlays.tables.push((origin, table));
        }
        for setting in settings {
            overlays.tables.push((Origin::Setting(setting.clone()), parse_setting(setting)?));
        }
        Ok(overlays)
    }

    /// Whether the file or a setting gives the value of `key`.
    pub(crate) fn sets(&self, key: &str) -> bool {
        let has = |table: &Table| {
            let mut parts = key.split('.');
            let first = parts.next().and_then(|part| table.get(part));
            parts.try_fold(first?, |value, part| value.get(part)).map(|_| ())
        };
        self.tables.iter().any(|(_, table)| has(table).is_some())
    }

    /// These, over `key=value` settings that rules have chosen.
    pub(crate) fn above(&self, chosen: impl Iterator<Item = String>) -> Result<Self> {
        let chosen = chosen.map(|setting| Ok((Origin::Stored("what the rules chose"), parse_setting(&setting)?)));
        let tables = chosen.chain(self.tables.iter().cloned().map(Ok)).collect::<Result<_>>()?;
        Ok(Self { tables, ..*self })
    }

    /// With these views, if any are named, in place of those of the file.
    #[must_use]
    pub fn with_views(mut self, views: Option<ViewsPreset>) -> Self {
        self.views = views.unwrap_or(self.views);
        self
    }

    /// The views that lie over the preset.
    pub fn views(&self) -> ViewsPreset {
        self.views
    }

    /// The preset that the file names.
    pub fn preset(&self) -> Option<Preset> {
        self.preset
    }

    /// The complete configuration: `preset`, overlaid. Its mean and standard deviation speak of three channels; for
    /// another `data.channels`, every channel starts with mean ½ and deviation ¼.
    ///
    /// # Errors
    /// [`Error::ConfigSyntax`] for unknown keys and wrong types, [`Error::Config`] for values out of range.
    pub fn over(&self, preset: Preset) -> Result<Config> {
        let config = self.merged_over(preset)?;
        config.validate().map_err(|error| self.located(error))?;
        Ok(config)
    }

    /// `error` with the line of the file, unless a later setting has the key.
    fn located(&self, error: Error) -> Error {
        let Error::Config { key, .. } = &error else { return error };
        let sets = |table: &Table| {
            let mut names = key.split('.');
            let first = names.next().and_then(|name| table.get(name));
            names.try_fold(first, |value, name| Some(value?.get(name))).flatten().is_some()
        };
        match self.tables.iter().rev().find(|(_, table)| sets(table)) {
            Some((origin, _)) => located(error, origin),
            None => error,
        }
    }

    /// As [`Self::over`], but what the settings mean together is not checked: for a preset that is not the one to be used.
    pub(crate) fn merged_over(&self, preset: Preset) -> Result<Config> {
        let mut config = preset.config();
        let channels = self.tables.iter().rev().find_map(|(_, table)| table.get("data")?.get("channels")?.as_integer());
        if let Some(channels) = channels.and_then(|channels| usize::try_from(channels).ok())
            && channels != config.views.mean.len()
        {
            (config.views.mean, config.views.std) = (vec![0.5; channels], vec![0.25; channels]);
        }
        config = self.views.over(&config);
        for (origin, overlay) in &self.tables {
            config = config.overlay(overlay.clone(), origin)?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_table;
    use crate::method::PredictorKind;

    fn resolve(settings: &[&str]) -> Result<Config> {
        Preset::Cifar10.resolve(&settings.iter().map(|&s| s.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn settings_override_the_preset_and_text_needs_no_quotes() {
        let config = resolve(&["model.arch=resnet18x0.25", "train.batch_size=128", "schedule.epochs=3"]).unwrap();
        assert_eq!(config.model.arch.to_string(), "resnet18x0.25");
        assert_eq!((config.train.batch_size, config.schedule.epochs), (128, 3.0));
    }

    #[test]
    fn a_predictor_is_named_or_switched() {
        let predictor = |value| resolve(&[format!("model.predictor={value}").as_str()]).unwrap().model.predictor;
        assert_eq!(["mlp", "true"].map(predictor), [PredictorKind::Mlp; 2]);
        assert_eq!(["none", "false"].map(predictor), [PredictorKind::None; 2]);
        assert_eq!(predictor("optimal_linear"), PredictorKind::OptimalLinear);
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_allowed() {
        let cases = [
            ("train.batchsize=3", "did you mean `train.batch_size`?"),
            ("batch_size=3", "did you mean `train.batch_size`?"),
            ("lr=3", "did you mean `schedule.base_learning_rate`?"),
            ("optimizer.kind=lasr", "did you mean `lars`?"),
            ("nonsense=1", "unknown field `nonsense`"),
            ("train.batch_size=many", "train.batch_size"),
            ("train.batch_size=-1", "train.batch_size"),
            ("train.batch_size=1", "2 or more"),
            ("train.accumulation_steps=7", "divisor"),
            ("model.arch=vgg", "resnet18"),
            ("model.predictor=linear", "optimal_linear"),
            ("model.predictor=3", "optimal_linear"),
            ("model.padding=valid", "symmetric"),
            ("model.loss_normalisation=l1", "layer_norm"),
            ("optimizer.predictor_rate_factor=-1", "optimizer.predictor_rate_factor"),
            ("schedule.epochs=-2", "from 0 to"),
            ("train.prefetch_batches=1000000000000", "1 to 1024"),
            ("model.projector_hidden=100000", "1 to 65536"),
            ("views.view1.blur_p=2", "views.view1.blur_p"),
            ("eval.every_epochs=-1", "eval.every_epochs"),
            ("eval.images=1", "2 to 65536"),
            ("eval.temperature=0", "eval.temperature"),
            ("eval.every=1", "unknown field `every`"),
            ("=3", "key=value"),
            ("train", "key=value"),
        ];
        for (setting, expected) in cases {
            let message = resolve(&[setting]).unwrap_err().to_string();
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }

    #[test]
    fn a_checkpoint_of_a_version_without_some_keys_goes_on_and_one_of_other_settings_does_not() {
        let config = resolve(&["eval.every_epochs=0.5", "train.tensorboard=false", "train.loader_threads=3"]).unwrap();
        let mut table: Table = resolve(&[]).unwrap().identity().parse().unwrap();
        assert!(config.goes_on_from(&table.to_string()));
        table.remove("eval").unwrap();
        table["train"].as_table_mut().unwrap().remove("tensorboard").unwrap();
        let model = table["model"].as_table_mut().unwrap();
        for key in ["padding", "first_group_projection", "norm", "initialisation", "head_initialisation"] {
            model.remove(key).unwrap();
        }
        model.remove("loss_normalisation").unwrap();
        model.insert("predictor".to_owned(), true.into());
        let optimizer = table["optimizer"].as_table_mut().unwrap();
        for key in ["projector_rate_factor", "predictor_rate_factor"] {
            optimizer.remove(key).unwrap();
        }
        assert!(config.goes_on_from(&table.to_string()));
        table.insert("seed".to_owned(), 5.into());
        assert!(!config.goes_on_from(&table.to_string()) && !config.goes_on_from("no settings"));
    }

    #[test]
    fn mistakes_in_a_file_have_their_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        let cases = [
            ("[train]\nbatchsize = 8\n", ":2:1: key `train.batchsize`"),
            ("seed = 1\n\n[train]\nbatch_size = \"eight\"\n", ":4:14: key `train.batch_size`"),
            ("[schedule]\nepochs = -2.0\n", ":2:10: config key `schedule.epochs`"),
            ("preset = \"cifar\"\n", ":1:10: key `preset`"),
            ("[train\nbatch_size = 8\n", ":1:7: TOML parse error"),
        ];
        for (text, expected) in cases {
            std::fs::write(&path, text).unwrap();
            let message = Overlays::read(Some(&path), &[])
                .and_then(|overlays| overlays.over(Preset::Cifar10))
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        std::fs::write(&path, "[schedule]\nepochs = 3\n").unwrap();
        let later = Overlays::read(Some(&path), &["schedule.epochs=-2".to_owned()]).unwrap();
        assert!(!later.over(Preset::Cifar10).unwrap_err().to_string().contains("my.toml"), "the file is not to blame");
    }

    #[test]
    fn every_preset_is_valid_and_survives_its_own_toml() {
        for preset in Preset::ALL {
            let config = preset.resolve(&[]).unwrap();
            let origin = Origin::Stored("test");
            let again = from_table(parse_toml(&config.to_toml(), &origin).unwrap(), &origin, &[]).unwrap();
            assert_eq!(config, again, "{preset}");
        }
    }
}
