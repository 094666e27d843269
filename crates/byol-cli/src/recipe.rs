//! The flags that choose data and settings.

use std::path::PathBuf;

use byol::recipe::RecipeRequest;
use byol::{Preset, ViewsPreset};
use byol_nn::model::Arch;

use crate::data::DataArguments;

/// Pictures and what to do with them.
#[derive(clap::Args, Clone)]
pub struct RecipeArguments {
    #[command(flatten)]
    pub data: DataArguments,
    #[command(flatten)]
    settings: SettingsFlags,
    /// Where all randomness starts; short for --set seed=N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Part of the data to use [default: train if there is one, else everything]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Fit the recipe to the pictures and to so many minutes of this machine, which is timed for some seconds; with --preset, only
    /// its length
    #[arg(long, value_name = "M", value_parser = minutes, allow_negative_numbers = true)]
    minutes: Option<f64>,
    /// Passes over the pictures; short for --set schedule.epochs=N
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// Pictures per step; short for --set train.batch_size=N
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Side of the views in pixels; short for --set views.size_px=PX
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Encoder, for example resnet18x0.5; short for --set model.arch=ARCH
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Start from these weights: a run folder, a .safetensors or PyTorch file (torchvision's, without Python)
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<String>,
    /// Which network of the file of --init, by what stands before its tensors or a part of that, for example backbone_momentum
    /// [default: the online one, not the target, teacher or moving average]
    #[arg(long, value_name = "PREFIX", requires = "init")]
    prefix: Option<String>,
}

/// A year is more than any run, and less than what times can hold.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.1..=527_040.0).contains(&minutes) => Ok(minutes),
        _ => Err("expected minutes, 0.1 to 527040".to_owned()),
    }
}

/// A preset and what lies over it.
#[derive(clap::Args, Clone)]
pub struct SettingsFlags {
    /// Recipe: imagenet-40, -100, -300, -1000, imagenette-128, cifar10 or small [default: as the config file says, else by the
    /// size of the pictures and the length of the run]
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Views by what the pictures show, over the preset: photographs, microscopy, overhead (satellite, drone), medical-grey or
    /// texture; `byol doctor` proposes one [default: as the config file says, else photographs]
    #[arg(long, value_name = "NAME")]
    views: Option<ViewsPreset>,
    /// TOML file with settings over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file, for example train.batch_size=128; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl From<RecipeArguments> for RecipeRequest {
    fn from(arguments: RecipeArguments) -> Self {
        let RecipeArguments { data, settings, seed, split, minutes, epochs, batch_size, size, arch, init, prefix } =
            arguments;
        let mut request = settings.request(&data);
        let named = [
            ("seed", seed.map(|seed| seed.to_string())),
            ("schedule.epochs", epochs.map(|epochs| format!("{epochs:?}"))),
            ("train.batch_size", batch_size.map(|images| images.to_string())),
            ("views.size_px", size.map(|size_px| size_px.to_string())),
            ("model.arch", arch.map(|arch| arch.to_string())),
        ];
        request.settings.extend(named.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
        Self { split, minutes, init, init_prefix: prefix, ..request }
    }
}

impl SettingsFlags {
    /// These settings for the pictures of `data`.
    pub fn request(self, data: &DataArguments) -> RecipeRequest {
        let Self { preset, views, config, settings } = self;
        let settings = [data.settings(), settings].concat();
        RecipeRequest { data: data.roots(), preset, views, config, settings, ..RecipeRequest::default() }
    }
}
