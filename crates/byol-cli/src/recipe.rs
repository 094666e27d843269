//! The flags that choose data and settings.

use std::path::PathBuf;

use byol::Preset;
use byol::recipe::RecipeRequest;

/// Pictures and what to do with them.
#[derive(clap::Args, Clone)]
pub struct RecipeArguments {
    /// Pictures: folders, tar archives (plain, gz, xz, zst), WebDataset shards ("part-{000..127}.tar"), Parquet, CIFAR, STL or
    /// IDX file sets, .npy or .npz arrays, a text or CSV file of paths; several are read as one
    #[arg(required = true)]
    pub data: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingsFlags,
    /// Where all randomness starts; short for --set seed=N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Part of the data to use [default: train if there is one, else everything]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

/// A preset and what lies over it.
#[derive(clap::Args, Clone)]
pub struct SettingsFlags {
    /// Recipe: imagenet-40, -100, -300, -1000, imagenette-128 or cifar10 [default: as the config file says, else by the
    /// size of the pictures]
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// TOML file with settings over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file, for example train.batch_size=128; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl From<RecipeArguments> for RecipeRequest {
    fn from(arguments: RecipeArguments) -> Self {
        let RecipeArguments { data, settings, seed, split } = arguments;
        let mut request = settings.request(data);
        request.settings.extend(seed.map(|seed| format!("seed={seed}")));
        Self { split, ..request }
    }
}

impl SettingsFlags {
    /// These settings for the pictures of `data`.
    pub fn request(self, data: Vec<PathBuf>) -> RecipeRequest {
        let Self { preset, config, settings } = self;
        RecipeRequest { data, split: None, preset, config, settings }
    }
}
