//! Views for pictures that are no photographs: settings of `[views.view1]` and `[views.view2]` over any recipe.

use std::fmt;
use std::str::FromStr;

use byol_nn::{Error, Result};
use toml::{Table, Value};

use crate::config::{Config, Origin, Part, nearest, question};

/// Views by what the pictures show; see [`ViewsPreset::description`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewsPreset {
    /// The recipe's own views, made for photographs.
    #[default]
    Photographs,
    /// Cells and tissue under a microscope.
    Microscopy,
    /// The ground from above.
    Overhead,
    /// X-ray, CT, MRI and ultrasound.
    MedicalGrey,
    /// Surfaces and materials.
    Texture,
}

/// A setting of both views.
type Setting = (&'static str, f32);

/// No direction is up: both flips and all four quarter turns make every one of the eight positions equally likely.
const NO_UP: [Setting; 2] = [("flip_vertical_p", 0.5), ("quarter_turn_p", 1.0)];

impl ViewsPreset {
    /// All of them, the default first.
    pub const ALL: [Self; 5] = [Self::Photographs, Self::Microscopy, Self::Overhead, Self::MedicalGrey, Self::Texture];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Photographs => "photographs",
            Self::Microscopy => "microscopy",
            Self::Overhead => "overhead",
            Self::MedicalGrey => "medical-grey",
            Self::Texture => "texture",
        }
    }

    /// When to take it and what it does, with the source.
    pub fn description(self) -> &'static str {
        match self {
            Self::Photographs => "the views of the recipe, made for photographs (paper App. B)",
            Self::Microscopy => {
                "for cells and stained tissue: no up, stains that vary (Kang et al. 2023; Tellez et al. 2019, HED-light), never grey \
                 or solarised, crops of a fifth or more (ours)"
            }
            Self::Overhead => {
                "for satellite, aerial and drone pictures: no up (ours), never solarised, hue left alone (SSL4EO-S12, Wang et al. 2023)"
            }
            Self::MedicalGrey => {
                "for X-ray, CT, MRI and ultrasound: turns up to 10 degrees, no blur and no colours (MoCo-CXR, Sowrirajan et al. 2021), \
                 brightness and contrast (Azizi et al. 2021), crops of half or more (ours)"
            }
            Self::Texture => {
                "for surfaces and materials: no up, a little sensor noise, colours left nearly as they are, since they tell materials \
                 apart (ours)"
            }
        }
    }

    /// Keys of `[views.view1]` and `[views.view2]` and their values; all others stay the recipe's. None adds a blur, so that every
    /// one lies over recipes of any size.
    pub fn settings(self) -> Vec<(&'static str, f32)> {
        let plain = [("grayscale_p", 0.0), ("solarise_p", 0.0)];
        match self {
            Self::Photographs => Vec::new(),
            Self::Microscopy => {
                let own = [("crop_area_min", 0.2), ("channel_jitter_p", 0.8), ("channel_jitter", 0.05)];
                [&NO_UP[..], &plain, &own].concat()
            }
            Self::Overhead => [&NO_UP[..], &[("hue", 0.0), ("solarise_p", 0.0)]].concat(),
            Self::MedicalGrey => {
                let own = [("crop_area_min", 0.5), ("rotate_degrees", 10.0), ("blur_p", 0.0), ("saturation", 0.0)];
                [&own[..], &[("hue", 0.0)], &plain].concat()
            }
            Self::Texture => {
                let own = [("hue", 0.02), ("saturation", 0.1), ("noise_std", 0.02)];
                [&NO_UP[..], &plain, &own].concat()
            }
        }
    }

    /// `config` with these settings in place of its own.
    pub fn over(self, config: &Config) -> Config {
        let view: Table = self.settings().into_iter().map(|(key, value)| (key.to_owned(), number(value))).collect();
        let views = Table::from_iter(["view1", "view2"].map(|name| (name.to_owned(), Value::Table(view.clone()))));
        let table = Table::from_iter([("views".to_owned(), Value::Table(views))]);
        config.overlay(table, &Origin::Stored("the views' preset")).expect("it names settings that exist")
    }

    /// What a configuration file's `views_preset` key names.
    pub(crate) fn from_value(value: &Value, origin: &Origin) -> Result<Self> {
        let problem = |problem: String| Error::ConfigSyntax { origin: origin.at("views_preset", Part::Value), problem };
        let name =
            value.as_str().ok_or_else(|| problem(format!("key `views_preset`: expected a name, got {value}")))?;
        name.parse().map_err(|message| problem(format!("key `views_preset`: {message}")))
    }
}

/// As the text of it reads: 0.2, not the nearest single-precision number.
fn number(value: f32) -> Value {
    Value::Float(value.to_string().parse().expect("a number's text is a number"))
}

impl fmt::Display for ViewsPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ViewsPreset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let meant: Vec<String> = nearest(name, names.into_iter()).into_iter().collect();
            format!("unknown views {name:?}; expected one of {}{}", names.join(", "), question(&meant))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overlays, Preset};

    #[test]
    fn every_preset_of_views_lies_over_every_recipe_and_below_all_settings() {
        for preset in Preset::ALL {
            let plain = preset.config();
            for views in ViewsPreset::ALL {
                assert_eq!(views.name().parse(), Ok(views));
                let over = |settings: &[&str]| {
                    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
                    Overlays::read(None, &settings).unwrap().with_views(Some(views)).over(preset).unwrap()
                };
                let config = over(&[]);
                assert_eq!(config == plain, views == ViewsPreset::Photographs, "{preset} {views}");
                let tree = Table::try_from(&config.views).unwrap();
                for (key, value) in views.settings() {
                    for view in ["view1", "view2"] {
                        let got = tree[view][key].as_float().unwrap() as f32;
                        assert_eq!(got, value, "{preset} {views}: {view}.{key}");
                    }
                }
                let own = over(&["views.view2.flip_vertical_p=0.25", "views.view1.hue=0.07"]);
                assert_eq!((own.views.view2.flip_vertical_p, own.views.view1.hue), (0.25, 0.07));
                // Nothing but the views moves, and of them neither size nor normalisation.
                let mut back = config.clone();
                (back.views.view1, back.views.view2) = (plain.views.view1.clone(), plain.views.view2.clone());
                assert_eq!(back, plain);
            }
        }
        assert!("microscope".parse::<ViewsPreset>().unwrap_err().contains("microscopy"));
    }

    #[test]
    fn a_file_may_name_its_views_and_the_flag_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        std::fs::write(&path, "views_preset = \"overhead\"\n[views.view1]\nhue = 0.03\n").unwrap();
        let overlays = Overlays::read(Some(&path), &[]).unwrap();
        assert_eq!(overlays.views(), ViewsPreset::Overhead);
        let config = overlays.over(Preset::Cifar10).unwrap();
        assert_eq!((config.views.view1.hue, config.views.view2.hue), (0.03, 0.0));
        let flagged = overlays.with_views(Some(ViewsPreset::MedicalGrey));
        assert_eq!(flagged.over(Preset::Cifar10).unwrap().views.view2.rotate_degrees, 10.0);
        std::fs::write(&path, "views_preset = \"overheard\"\n").unwrap();
        let message = Overlays::read(Some(&path), &[]).unwrap_err().to_string();
        assert!(message.contains(":1:16") && message.contains("overhead"), "{message}");
    }
}
