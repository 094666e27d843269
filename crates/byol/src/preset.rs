//! Named recipes: the reference's tables by number of epochs, and two small-data ones.

use std::fmt;
use std::str::FromStr;

use byol_data::DataConfig;
use byol_data::views::{EvaluationResize, Semantics, ViewConfig, ViewsConfig};
use byol_nn::model::{Arch, Initialisation, NormKind, PaddingKind, Stem};
use byol_nn::ops::Precision;
use byol_nn::optim::{OptimizerConfig, OptimizerKind};
use byol_nn::{Error, Result};

use crate::config::{
    Config, EvaluationSettings, KeepBest, MonitorConfig, Origin, Part, ScheduleConfig, SyncBatchNorm, TrainConfig,
    WatchConfig, nearest, question,
};
use crate::method::{LossNormalisation, ModelConfig, PredictorKind, TargetKind};

/// A recipe with a source; see [`Preset::description`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// ImageNet for 40 epochs (`configs/byol.py`).
    Imagenet40,
    /// ImageNet for 100 epochs (`configs/byol.py`).
    Imagenet100,
    /// ImageNet for 300 epochs (`configs/byol.py`; the paper's ablations, §5).
    Imagenet300,
    /// ImageNet for 1000 epochs (the paper's headline, §3.3).
    Imagenet1000,
    /// Imagenette at 128 px (the reference's README).
    Imagenette128,
    /// CIFAR-10 with Adam (Ermolov et al. 2021).
    Cifar10,
    /// Few pictures, an evening, a CPU (`docs/recipes.md`).
    Small,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 7] = [
        Self::Imagenet40,
        Self::Imagenet100,
        Self::Imagenet300,
        Self::Imagenet1000,
        Self::Imagenette128,
        Self::Cifar10,
        Self::Small,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imagenet40 => "imagenet-40",
            Self::Imagenet100 => "imagenet-100",
            Self::Imagenet300 => "imagenet-300",
            Self::Imagenet1000 => "imagenet-1000",
            Self::Imagenette128 => "imagenette-128",
            Self::Cifar10 => "cifar10",
            Self::Small => "small",
        }
    }

    /// One line for people, with the source.
    pub fn description(self) -> &'static str {
        match self {
            Self::Imagenet40 => "ResNet-50, 224 px, 40 epochs, batch 4096 (reference configs/byol.py)",
            Self::Imagenet100 => "ResNet-50, 224 px, 100 epochs, batch 4096 (reference configs/byol.py)",
            Self::Imagenet300 => "ResNet-50, 224 px, 300 epochs, batch 4096 (reference configs/byol.py; paper §5)",
            Self::Imagenet1000 => "ResNet-50, 224 px, 1000 epochs, batch 4096 (paper §3.3)",
            Self::Imagenette128 => "ResNet-18, 128 px, 1000 epochs, batch 256 (reference README)",
            Self::Cifar10 => {
                "ResNet-18 CIFAR stem, 32 px, 1000 epochs, batch 512, Adam (Ermolov et al. 2021, cosine decay)"
            }
            Self::Small => {
                "ResNet-18 of a quarter of the width, 48 px, 100 epochs, batch 64, SGD, with negatives (docs/recipes.md)"
            }
        }
    }

    /// The complete configuration.
    pub fn config(self) -> Config {
        match self {
            Self::Imagenet40 => imagenet(40.0, 0.45, 1e-6, 0.97),
            Self::Imagenet100 => imagenet(100.0, 0.45, 1e-6, 0.99),
            Self::Imagenet300 => imagenet(300.0, 0.3, 1e-6, 0.99),
            Self::Imagenet1000 => imagenet(1000.0, 0.2, 1.5e-6, 0.996),
            Self::Imagenette128 => imagenette(),
            Self::Cifar10 => cifar10(),
            Self::Small => small(),
        }
    }

    /// The preset named by a configuration file's `preset` key.
    pub(crate) fn from_value(value: &toml::Value, origin: &Origin) -> Result<Self> {
        let problem = |problem: String| Error::ConfigSyntax { origin: origin.at("preset", Part::Value), problem };
        let name = value.as_str().ok_or_else(|| problem(format!("key `preset`: expected a name, got {value}")))?;
        name.parse().map_err(|message| problem(format!("key `preset`: {message}")))
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            let meant: Vec<String> = nearest(name, names.iter().copied()).into_iter().collect();
            format!("unknown preset {name:?}; expected one of {}{}", names.join(", "), question(&meant))
        })
    }
}

/// Spec §4.2: the three tables of `configs/byol.py`; warm-up is 10 epochs for every length.
fn imagenet(epochs: f64, base_learning_rate: f64, weight_decay: f64, target_ema: f64) -> Config {
    Config {
        seed: 0,
        precision: Precision::of_this_machine(),
        model: ModelConfig {
            arch: arch("resnet50"),
            stem: Stem::Imagenet,
            padding: PaddingKind::Symmetric,
            first_group_projection: false,
            norm: NormKind::Batch,
            initialisation: Initialisation::Lecun,
            head_initialisation: Initialisation::Lecun,
            projector_hidden: 4096,
            predictor_hidden: 4096,
            projection_size: 256,
            batch_norm_decay: 0.9,
            zero_init_residual: true,
            copy_online_to_target: false,
            predictor: PredictorKind::Mlp,
            target: TargetKind::MovingAverage,
            loss_normalisation: LossNormalisation::L2,
            projector_layers: 2,
            predictor_layers: 2,
            negatives_weight: 0.0,
            negatives_temperature: 0.1,
        },
        optimizer: OptimizerConfig { weight_decay, ..OptimizerConfig::default() },
        schedule: ScheduleConfig { epochs, warmup_epochs: 10.0, base_learning_rate, target_ema },
        train: TrainConfig {
            batch_size: 4096,
            accumulation_steps: 1,
            log_every_steps: 10,
            checkpoint_every_steps: 500,
            checkpoint_every_minutes: 10.0,
            checkpoints_kept: 2,
            loader_threads: 0,
            prefetch_batches: 2,
            tensorboard: true,
            keep_best: KeepBest::None,
            sync_batch_norm: SyncBatchNorm::default(),
            rank_timeout_secs: 1800.0,
        },
        data: DataConfig::default(),
        views: ViewsConfig::default(),
        evaluation: EvaluationSettings { resize: EvaluationResize::CropThenResize, crop_fraction: 0.875 },
        eval: MonitorConfig::default(),
        watch: WatchConfig::default(),
    }
}

/// The reference README's small recipe (spec §4.3): the 1000-epoch preset with base rate 2.0 and wd 1e-6.
fn imagenette() -> Config {
    let mut config = imagenet(1000.0, 2.0, 1e-6, 0.996);
    config.model.arch = arch("resnet18");
    config.train.batch_size = 256;
    config.views.size_px = 128;
    config
}

/// Ermolov et al. 2021 (spec §7.4): Adam 3e-3 at batch 512, 500 steps of warm-up, small heads, mild crops, no blur.
/// Two differences: cosine decay instead of two drops at the end, and jitter after the crop as in BYOL.
fn cifar10() -> Config {
    let mut config = imagenet(1000.0, 1.5e-3, 1e-6, 0.99);
    config.model = ModelConfig {
        arch: arch("resnet18"),
        stem: Stem::Cifar,
        projector_hidden: 1024,
        predictor_hidden: 1024,
        projection_size: 64,
        copy_online_to_target: true,
        ..config.model
    };
    config.optimizer = OptimizerConfig {
        kind: OptimizerKind::Adam,
        weight_decay: 1e-6,
        exclude_bias_and_norm: false,
        ..OptimizerConfig::default()
    };
    config.schedule.warmup_epochs = 5.12; // 500 steps of 512 of 50 000 pictures
    config.train.batch_size = 512;
    let view = ViewConfig {
        crop_area_min: 0.2,
        hue: 0.1,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.4,
        grayscale_p: 0.1,
        blur_p: 0.0,
        solarise_p: 0.0,
        ..ViewConfig::t()
    };
    let (mean, std) = (vec![0.4914, 0.4822, 0.4465], vec![0.2470, 0.2435, 0.2616]);
    config.views =
        ViewsConfig { size_px: 32, semantics: Semantics::Torchvision, mean, std, view1: view.clone(), view2: view };
    config.evaluation.crop_fraction = 1.0;
    // The linear classifiers of the source learn at 1e-2, about three times the encoder's rate.
    config.eval.probe_rate_factor = 3.0;
    config
}

/// Our own, for a few thousand pictures and hours of a CPU: many small steps of a narrow network, and negatives beside BYOL's loss
/// (β = 1, paper §5), which learns twice as fast in short runs (`docs/recipes.md`). The views are those of [`cifar10`].
fn small() -> Config {
    let mut config = cifar10();
    config.model = ModelConfig {
        arch: arch("resnet18x0.25"),
        projector_hidden: 512,
        predictor_hidden: 512,
        projection_size: 64,
        negatives_weight: 1.0,
        ..config.model
    };
    config.optimizer = OptimizerConfig {
        kind: OptimizerKind::Sgd,
        weight_decay: 2e-3,
        exclude_bias_and_norm: false,
        ..OptimizerConfig::default()
    };
    config.schedule = ScheduleConfig { epochs: 100.0, warmup_epochs: 5.0, base_learning_rate: 0.06, target_ema: 0.97 };
    config.train.batch_size = 64;
    config.views.size_px = 48;
    config
}

fn arch(name: &str) -> Arch {
    name.parse().expect("presets name known architectures")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec §4.2, §4.3 and §7.4, written out once more.
    #[test]
    fn presets_hold_the_constants_of_their_sources() {
        // (preset, arch, px, batch, epochs, warm-up, base rate, weight decay, τ, kind, hidden, projection)
        let lars = OptimizerKind::Lars;
        let rows = [
            (Preset::Imagenet40, "resnet50", 224, 4096, 40.0, 10.0, 0.45, 1e-6, 0.97, lars, 4096, 256),
            (Preset::Imagenet100, "resnet50", 224, 4096, 100.0, 10.0, 0.45, 1e-6, 0.99, lars, 4096, 256),
            (Preset::Imagenet300, "resnet50", 224, 4096, 300.0, 10.0, 0.3, 1e-6, 0.99, lars, 4096, 256),
            (Preset::Imagenet1000, "resnet50", 224, 4096, 1000.0, 10.0, 0.2, 1.5e-6, 0.996, lars, 4096, 256),
            (Preset::Imagenette128, "resnet18", 128, 256, 1000.0, 10.0, 2.0, 1e-6, 0.996, lars, 4096, 256),
            (Preset::Cifar10, "resnet18", 32, 512, 1000.0, 5.12, 1.5e-3, 1e-6, 0.99, OptimizerKind::Adam, 1024, 64),
            (Preset::Small, "resnet18x0.25", 48, 64, 100.0, 5.0, 0.06, 2e-3, 0.97, OptimizerKind::Sgd, 512, 64),
        ];
        for (preset, arch, px, batch, epochs, warmup, base, decay, tau, kind, hidden, projection) in rows {
            let Config { model, optimizer, schedule, train, views, .. } = preset.config();
            assert_eq!(
                (model.arch.to_string().as_str(), views.size_px, train.batch_size),
                (arch, px, batch),
                "{preset}"
            );
            let lengths = (schedule.epochs, schedule.warmup_epochs, schedule.base_learning_rate, schedule.target_ema);
            assert_eq!(lengths, (epochs, warmup, base, tau), "{preset}");
            assert_eq!((optimizer.kind, optimizer.weight_decay, optimizer.momentum), (kind, decay, 0.9), "{preset}");
            assert_eq!(
                (model.projector_hidden, model.predictor_hidden, model.projection_size),
                (hidden, hidden, projection)
            );
            assert_eq!((model.predictor, model.target), (PredictorKind::Mlp, TargetKind::MovingAverage));
            assert_eq!(model.batch_norm_decay, 0.9);
            if kind == lars {
                assert_eq!((optimizer.trust_coefficient, optimizer.exclude_bias_and_norm), (1e-3, true), "{preset}");
                assert_eq!(
                    (views.semantics, views.mean, views.std),
                    (Semantics::Reference, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225])
                );
                assert_eq!((views.view1, views.view2), (ViewConfig::t(), ViewConfig::t_prime()), "{preset}");
            }
        }
    }
}
