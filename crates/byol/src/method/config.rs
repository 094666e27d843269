//! The `[model]` table: networks and the roles they play.

use byol_nn::model::{Arch, Initialisation, NormKind, PaddingKind, ResNetConfig, Stem};
use serde::{Deserialize, Deserializer, Serialize};

use super::loss::LossNormalisation;

/// Networks (spec §1) and the roles they play (§2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Encoder, for example `resnet50` or `resnet18x0.25`.
    pub arch: Arch,
    /// `imagenet` or `cifar`.
    pub stem: Stem,
    /// `symmetric` as in torchvision, or `same` as in the reference.
    #[serde(default)]
    pub padding: PaddingKind,
    /// A projection shortcut in the first group of ResNet-18 and -34, too, as in the reference; torchvision has none there.
    #[serde(default)]
    pub first_group_projection: bool,
    /// What normalises inside the networks.
    #[serde(default)]
    pub norm: NormKind,
    /// First weights of the encoder.
    #[serde(default)]
    pub initialisation: Initialisation,
    /// First weights of projector and predictor.
    #[serde(default)]
    pub head_initialisation: Initialisation,
    /// Hidden units of the projector.
    pub projector_hidden: usize,
    /// Hidden units of the predictor.
    pub predictor_hidden: usize,
    /// Linear layers of the projector, 1 to 3; 2 in the paper (Table 14a varies it).
    #[serde(default = "paper_layers")]
    pub projector_layers: usize,
    /// Linear layers of the predictor, 1 to 3; 2 in the paper.
    #[serde(default = "paper_layers")]
    pub predictor_layers: usize,
    /// Outputs of projector and predictor.
    pub projection_size: usize,
    /// Decay of the running batch-norm averages.
    pub batch_norm_decay: f64,
    /// Start the last norm of each bottleneck at 0, as the public reference code; the paper's numbers had it at 1.
    pub zero_init_residual: bool,
    /// Start the target as a copy of the online network (paper J.5) rather than from its own draws (reference code).
    pub copy_online_to_target: bool,
    /// What the online network predicts the target with.
    pub predictor: PredictorKind,
    /// What the prediction is compared with.
    pub target: TargetKind,
    /// What prediction and target are divided by before they are compared (paper Table 20).
    #[serde(default)]
    pub loss_normalisation: LossNormalisation,
    /// β, the weight of the other pictures as negatives: 0 is BYOL, 1 with `target = "gradient"` and without predictor is
    /// SimCLR (paper §5, Table 5b); see [`negatives`](super::negatives).
    #[serde(default)]
    pub negatives_weight: f32,
    /// α, the temperature of the negatives; 0.1 in the paper.
    #[serde(default = "paper_temperature")]
    pub negatives_temperature: f32,
}

impl ModelConfig {
    /// The encoder.
    pub fn resnet(&self) -> ResNetConfig {
        let Self { arch, stem, padding, first_group_projection, norm, .. } = *self;
        ResNetConfig { arch, stem, padding, first_group_projection, norm }
    }
}

/// Depth of both heads before there was a key for it.
fn paper_layers() -> usize {
    2
}

/// α of the paper's Table 5b.
fn paper_temperature() -> f32 {
    0.1
}

/// What the online network predicts the target with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictorKind {
    /// The head `q_θ`, trained by gradient: BYOL. `true` says the same.
    Mlp,
    /// Nothing, the projection itself; without negatives it collapses (paper Table 5b). `false` says the same.
    None,
    /// The best linear map of each batch, in closed form (paper §5).
    OptimalLinear,
}

impl<'de> Deserialize<'de> for PredictorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Runs from before there were three kinds said whether there is a predictor.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Switch(bool),
            Name(String),
        }
        let text = Text::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("expected \"mlp\", \"none\" or \"optimal_linear\""))?;
        match text {
            Text::Switch(true) => Ok(Self::Mlp),
            Text::Switch(false) => Ok(Self::None),
            Text::Name(name) => match &*name {
                "mlp" => Ok(Self::Mlp),
                "none" => Ok(Self::None),
                "optimal_linear" => Ok(Self::OptimalLinear),
                _ => Err(serde::de::Error::unknown_variant(&name, &["mlp", "none", "optimal_linear"])),
            },
        }
    }
}

/// What the online prediction is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The moving average of the online network: BYOL.
    MovingAverage,
    /// The online network itself, without gradient (τ = 0; paper Table 5a).
    StopGradient,
    /// The online network itself, with gradient: collapses (paper Table 5b).
    Gradient,
    /// The random network the target starts as (τ = 1; paper Table 5a).
    Fixed,
}
