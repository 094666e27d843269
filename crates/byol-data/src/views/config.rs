//! The `[views]` table of a run's configuration.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::blur::blur_taps;
use super::semantics::Semantics;

/// Channel means of ImageNet in `[0, 1]`, as the reference subtracts them (`dataset.py`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Channel standard deviations of ImageNet, as the reference divides by them (`dataset.py`).
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A configuration key that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: expected {expected}, got {got}; correct it in the config file or with --set {key}=…")]
pub struct InvalidConfig {
    /// Dotted key, such as `views.view1.crop_area_min`.
    pub key: String,
    /// What the key takes.
    pub expected: String,
    /// What it held.
    pub got: String,
}

/// Both views of an image. The default is the paper's, at 224 px (App. B, Table 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewsConfig {
    /// Side of a view in pixels, 1 to 8192.
    pub size_px: usize,
    /// Whose arithmetic the operations follow.
    pub semantics: Semantics,
    /// One number per channel, subtracted after the values are in `[0, 1]`.
    pub mean: Vec<f32>,
    /// One positive number per channel, which divides it.
    pub std: Vec<f32>,
    /// The distribution of view 1: T in the paper.
    pub view1: ViewConfig,
    /// The distribution of view 2: T′ in the paper.
    pub view2: ViewConfig,
}

/// The distribution one view is drawn from. Bounds are inclusive, `_p` are probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// Smallest area of the crop, as a fraction of the image; in `(0, crop_area_max]`. Paper: 0.08.
    pub crop_area_min: f32,
    /// Largest area of the crop, at most 1. Paper: 1.
    pub crop_area_max: f32,
    /// Smallest width / height of the crop, positive; drawn uniformly in its logarithm. Paper: 3/4.
    pub crop_aspect_min: f32,
    /// Largest width / height of the crop. Paper: 4/3.
    pub crop_aspect_max: f32,
    /// Probability of a horizontal flip. Paper: 0.5.
    pub flip_p: f32,
    /// Probability that brightness, contrast, saturation and hue change, all four in a random order. Paper: 0.8.
    pub jitter_p: f32,
    /// Largest change of brightness, in `[0, 1]`: an offset (reference) or the factor's distance from 1
    /// (torchvision). Paper: 0.4.
    pub brightness: f32,
    /// Largest distance of the contrast factor from 1, in `[0, 1]`. Paper: 0.4.
    pub contrast: f32,
    /// Largest distance of the saturation factor from 1, in `[0, 1]`. Paper: 0.2.
    pub saturation: f32,
    /// Largest shift of the hue in turns, in `[0, 0.5]`. Paper: 0.1.
    pub hue: f32,
    /// Probability that the colours turn grey. Paper: 0.2.
    pub grayscale_p: f32,
    /// Probability of a Gaussian blur; must be 0 where `views.size_px` is below 20, as [`blur_taps`] says why.
    /// Paper: 1 in T, 0.1 in T′.
    pub blur_p: f32,
    /// Smallest σ of the blur in pixels, positive. Paper: 0.1.
    pub blur_sigma_min: f32,
    /// Largest σ of the blur in pixels. Paper: 2.
    pub blur_sigma_max: f32,
    /// Probability of solarising. Paper: 0 in T, 0.2 in T′.
    pub solarise_p: f32,
    /// Values from here on, in `[0, 1]`, are inverted by solarising. Paper: 0.5.
    pub solarise_threshold: f32,
    /// Probability of a flip that mirrors top and bottom; for pictures without an up. Paper: 0.
    #[serde(default)]
    pub flip_vertical_p: f32,
    /// Probability that a view is turned by 0, 90, 180 or 270 degrees, each as likely: at 1 no direction is preferred
    /// (albumentations' `RandomRotate90`). Paper: 0.
    #[serde(default)]
    pub quarter_turn_p: f32,
    /// Largest turn in either direction in degrees, in `[0, 180]`, drawn uniformly; beyond the border the view is reflected.
    /// Paper: 0.
    #[serde(default)]
    pub rotate_degrees: f32,
    /// Probability that every channel is multiplied by a factor and shifted by an offset of its own. Paper: 0.
    #[serde(default)]
    pub channel_jitter_p: f32,
    /// Largest distance of these factors from 1 and of these offsets from 0, in `[0, 1]`, as Tellez et al. 2019 (§3.2) do with stains.
    #[serde(default)]
    pub channel_jitter: f32,
    /// Largest σ of Gaussian noise on values in `[0, 1]`; σ is drawn uniformly from 0 on. Paper: 0.
    #[serde(default)]
    pub noise_std: f32,
    /// Probability that a rectangle is erased: its values become 0 after the normalisation (DeVries & Taylor 2017; Zhong et
    /// al. 2020, "Random Erasing"). Paper: 0.
    #[serde(default)]
    pub cutout_p: f32,
    /// Largest area that is erased, as a fraction of the view, in `(0, 1]`; the smallest is 0.02 (or this). torchvision's
    /// `RandomErasing`: 0.33.
    #[serde(default = "cutout_area")]
    pub cutout_area: f32,
}

/// Where a file, or a run of an older version, does not name it.
fn cutout_area() -> f32 {
    0.33
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self {
            size_px: 224,
            semantics: Semantics::Reference,
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
            view1: ViewConfig::t(),
            view2: ViewConfig::t_prime(),
        }
    }
}

impl ViewConfig {
    /// The paper's T: always blurred, never solarised (Table 6).
    pub fn t() -> Self {
        Self {
            crop_area_min: 0.08,
            crop_area_max: 1.0,
            crop_aspect_min: 3.0 / 4.0,
            crop_aspect_max: 4.0 / 3.0,
            flip_p: 0.5,
            jitter_p: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            grayscale_p: 0.2,
            blur_p: 1.0,
            blur_sigma_min: 0.1,
            blur_sigma_max: 2.0,
            solarise_p: 0.0,
            solarise_threshold: 0.5,
            flip_vertical_p: 0.0,
            quarter_turn_p: 0.0,
            rotate_degrees: 0.0,
            channel_jitter_p: 0.0,
            channel_jitter: 0.0,
            noise_std: 0.0,
            cutout_p: 0.0,
            cutout_area: cutout_area(),
        }
    }

    /// The paper's T′: seldom blurred, sometimes solarised (Table 6).
    pub fn t_prime() -> Self {
        Self { blur_p: 0.1, solarise_p: 0.2, ..Self::t() }
    }

    /// Crop and flip only: what the linear evaluation trains on (App. C.1).
    pub fn crop_and_flip() -> Self {
        Self {
            jitter_p: 0.0,
            grayscale_p: 0.0,
            blur_p: 0.0,
            solarise_p: 0.0,
            flip_vertical_p: 0.0,
            quarter_turn_p: 0.0,
            rotate_degrees: 0.0,
            channel_jitter_p: 0.0,
            noise_std: 0.0,
            cutout_p: 0.0,
            ..Self::t()
        }
    }

    /// Checks every key; `table` is the dotted name of the table it sits in, such as `views.view1`.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub fn validate(&self, table: &str) -> Result<(), InvalidConfig> {
        let in_range = |key: &str, value: f32, low: f32, high: f32| {
            check(table, key, (low..=high).contains(&value), value, || format!("a number from {low} to {high}"))
        };
        let positive = |key: &str, value: f32, max_key: &str, high: f32| {
            check(table, key, value > 0.0 && value <= high, value, || {
                format!("a number above 0 and at most {max_key} = {high}")
            })
        };
        let finite = |key: &str, value: f32| {
            check(table, key, value.is_finite() && value > 0.0, value, || "a finite number above 0".into())
        };
        in_range("crop_area_max", self.crop_area_max, f32::MIN_POSITIVE, 1.0)
            .map_err(|error| InvalidConfig { expected: "a number above 0 and at most 1".into(), ..error })?;
        positive("crop_area_min", self.crop_area_min, "crop_area_max", self.crop_area_max)?;
        finite("crop_aspect_max", self.crop_aspect_max)?;
        positive("crop_aspect_min", self.crop_aspect_min, "crop_aspect_max", self.crop_aspect_max)?;
        for (key, value, high) in [
            ("flip_p", self.flip_p, 1.0),
            ("jitter_p", self.jitter_p, 1.0),
            ("brightness", self.brightness, 1.0),
            ("contrast", self.contrast, 1.0),
            ("saturation", self.saturation, 1.0),
            ("hue", self.hue, 0.5),
            ("grayscale_p", self.grayscale_p, 1.0),
            ("blur_p", self.blur_p, 1.0),
            ("solarise_p", self.solarise_p, 1.0),
            ("solarise_threshold", self.solarise_threshold, 1.0),
            ("flip_vertical_p", self.flip_vertical_p, 1.0),
            ("quarter_turn_p", self.quarter_turn_p, 1.0),
            ("rotate_degrees", self.rotate_degrees, 180.0),
            ("channel_jitter_p", self.channel_jitter_p, 1.0),
            ("channel_jitter", self.channel_jitter, 1.0),
            ("noise_std", self.noise_std, 1.0),
            ("cutout_p", self.cutout_p, 1.0),
        ] {
            in_range(key, value, 0.0, high)?;
        }
        positive("cutout_area", self.cutout_area, "the view", 1.0)
            .map_err(|error| InvalidConfig { expected: "a number above 0 and at most 1".into(), ..error })?;
        finite("blur_sigma_max", self.blur_sigma_max)?;
        positive("blur_sigma_min", self.blur_sigma_min, "blur_sigma_max", self.blur_sigma_max)
    }
}

impl ViewsConfig {
    /// Checks every key, and that a blur that is asked for changes anything.
    ///
    /// # Errors
    /// The first key that is out of range, with its dotted name (`views.view1.crop_area_min`).
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_frame("views", self.size_px, &self.mean, &self.std)?;
        self.view1.validate("views.view1")?;
        self.view2.validate("views.view2")?;
        self.check_blur()
    }

    /// Views of a recipe with a blur would silently be those of one without.
    fn check_blur(&self) -> Result<(), InvalidConfig> {
        if blur_taps(self.size_px) > 1 {
            return Ok(());
        }
        let views = [("views.view1.blur_p", self.view1.blur_p), ("views.view2.blur_p", self.view2.blur_p)];
        let blurred: Vec<_> = views.into_iter().filter(|&(_, blur_p)| blur_p > 0.0).collect();
        let Some(&(key, blur_p)) = blurred.first() else { return Ok(()) };
        let off: Vec<_> = blurred.iter().map(|(key, _)| format!("{key} = 0")).collect();
        let expected = format!(
            "0, since at views.size_px = {} a blur changes nothing (its radius is size_px / 20 rounded down): set {}, or \
             views.size_px to 20 or more",
            self.size_px,
            off.join(" and ")
        );
        Err(InvalidConfig { key: key.into(), expected, got: blur_p.to_string() })
    }
}

/// Checks what every rendered picture has: a side and the constants of its normalisation.
pub(super) fn check_frame(table: &str, size_px: usize, mean: &[f32], std: &[f32]) -> Result<(), InvalidConfig> {
    check(table, "size_px", (1..=8192).contains(&size_px), size_px, || "a whole number from 1 to 8192".into())?;
    check(table, "mean", !mean.is_empty() && mean.iter().all(|mean| mean.is_finite()), format!("{mean:?}"), || {
        "a finite number for each channel".into()
    })?;
    let good = std.len() == mean.len() && std.iter().all(|&std| std.is_finite() && std > 0.0);
    check(table, "std", good, format!("{std:?}"), || "a finite number above 0 for each channel".into())
}

pub(super) fn check(
    table: &str,
    key: &str,
    holds: bool,
    got: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<(), InvalidConfig> {
    if holds {
        return Ok(());
    }
    Err(InvalidConfig { key: format!("{table}.{key}"), expected: expected(), got: got.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_table_6_of_the_paper() {
        let config = ViewsConfig::default();
        config.validate().unwrap();
        assert_eq!(config.size_px, 224);
        let table = |view: &ViewConfig| {
            let ViewConfig { flip_p, jitter_p, brightness, contrast, saturation, hue, .. } = *view;
            let rest = [view.grayscale_p, view.blur_p, view.solarise_p];
            ([flip_p, jitter_p, brightness, contrast, saturation, hue], rest)
        };
        assert_eq!(table(&config.view1), ([0.5, 0.8, 0.4, 0.4, 0.2, 0.1], [0.2, 1.0, 0.0]));
        assert_eq!(table(&config.view2), ([0.5, 0.8, 0.4, 0.4, 0.2, 0.1], [0.2, 0.1, 0.2]));
    }

    #[test]
    fn a_wrong_value_is_reported_under_its_dotted_key() {
        type Spoil = fn(&mut ViewsConfig);
        let cases: [(&str, Spoil); 22] = [
            ("views.size_px", |c| c.size_px = 0),
            ("views.size_px", |c| c.size_px = 100_000),
            ("views.mean", |c| c.mean[1] = f32::NAN),
            ("views.std", |c| c.std[2] = 0.0),
            ("views.view1.crop_area_min", |c| c.view1.crop_area_min = 0.0),
            ("views.view1.crop_area_min", |c| c.view1.crop_area_max = 0.05),
            ("views.view2.crop_area_max", |c| c.view2.crop_area_max = 1.5),
            ("views.view2.crop_aspect_min", |c| c.view2.crop_aspect_min = 2.0),
            ("views.view1.crop_aspect_max", |c| c.view1.crop_aspect_max = f32::INFINITY),
            ("views.view1.flip_p", |c| c.view1.flip_p = -0.1),
            ("views.view2.solarise_p", |c| c.view2.solarise_p = f32::NAN),
            ("views.view1.hue", |c| c.view1.hue = 0.6),
            ("views.view1.blur_sigma_min", |c| c.view1.blur_sigma_min = 3.0),
            ("views.view2.blur_sigma_max", |c| c.view2.blur_sigma_max = 0.0),
            ("views.view1.flip_vertical_p", |c| c.view1.flip_vertical_p = 1.1),
            ("views.view2.quarter_turn_p", |c| c.view2.quarter_turn_p = -1.0),
            ("views.view1.rotate_degrees", |c| c.view1.rotate_degrees = 181.0),
            ("views.view1.channel_jitter_p", |c| c.view1.channel_jitter_p = f32::NAN),
            ("views.view2.channel_jitter", |c| c.view2.channel_jitter = 1.5),
            ("views.view1.noise_std", |c| c.view1.noise_std = f32::INFINITY),
            ("views.view1.cutout_p", |c| c.view1.cutout_p = 2.0),
            ("views.view2.cutout_area", |c| c.view2.cutout_area = 0.0),
        ];
        for (key, spoil) in cases {
            let mut config = ViewsConfig::default();
            spoil(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.to_string().contains("expected") && error.to_string().contains("got"), "{error}");
        }
    }

    #[test]
    fn a_blur_without_effect_is_an_error_that_names_every_key_to_set() {
        let mut config = ViewsConfig { size_px: 20, ..ViewsConfig::default() };
        config.validate().unwrap();
        config.size_px = 19;
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "views.view1.blur_p: expected 0, since at views.size_px = 19 a blur changes nothing (its radius is size_px / 20 \
             rounded down): set views.view1.blur_p = 0 and views.view2.blur_p = 0, or views.size_px to 20 or more, got 1; \
             correct it in the config file or with --set views.view1.blur_p=…"
        );
        config.view1.blur_p = 0.0;
        let error = config.validate().unwrap_err();
        assert_eq!((error.key.as_str(), error.got.as_str()), ("views.view2.blur_p", "0.1"));
        assert!(error.expected.contains("set views.view2.blur_p = 0, or"), "{error}");
        config.view2.blur_p = 0.0;
        config.validate().unwrap();
        config.view2.blur_p = -1.0;
        assert!(config.validate().unwrap_err().expected.contains("from 0 to 1"));
    }

    /// Runs of older versions go on.
    #[test]
    fn keys_younger_than_a_file_leave_its_views_as_they_were() {
        let config = ViewsConfig::default();
        let mut tree = serde_json::to_value(&config).unwrap();
        for view in ["view1", "view2"] {
            let view = tree[view].as_object_mut().unwrap();
            for key in ["flip_vertical_p", "quarter_turn_p", "rotate_degrees", "channel_jitter_p"] {
                view.remove(key).unwrap();
            }
            for key in ["channel_jitter", "noise_std", "cutout_p", "cutout_area"] {
                view.remove(key).unwrap();
            }
        }
        assert_eq!(serde_json::from_value::<ViewsConfig>(tree).unwrap(), config);
    }

    #[test]
    fn the_serialised_form_needs_every_key_of_the_paper_and_takes_no_other() {
        let config = ViewsConfig::default();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ViewsConfig>(&text).unwrap(), config);
        assert!(text.contains(r#""semantics":"reference""#));
        let missing = text.replacen(r#""hue":0.1,"#, "", 1);
        assert!(missing != text && serde_json::from_str::<ViewsConfig>(&missing).is_err());
        let unknown = text.replacen(r#""hue":0.1,"#, r#""hue":0.1,"hues":0.1,"#, 1);
        assert!(serde_json::from_str::<ViewsConfig>(&unknown).is_err());
    }
}
