//! The twelve encoders of paper Table 9 have exactly the parameters of spec §1.2, and so have the heads.

use burn::tensor::Device;
use byol_nn::model::{Arch, Mlp, MlpConfig, NormKind, ResNet, ResNetConfig, Stem, count_parameters};

/// (architecture, encoder, projector); the predictor always has 2 109 440.
const COUNTS: [(&str, usize, usize); 12] = [
    ("resnet50", 23_508_032, 9_449_472),
    ("resnet101", 42_500_160, 9_449_472),
    ("resnet152", 58_143_808, 9_449_472),
    ("resnet200", 62_624_832, 9_449_472),
    ("resnet50x2", 93_907_072, 17_838_080),
    ("resnet101x2", 169_771_136, 17_838_080),
    ("resnet50x3", 211_197_120, 26_226_688),
    ("resnet152x2", 232_253_568, 17_838_080),
    ("resnet200x2", 250_128_512, 17_838_080),
    ("resnet50x4", 375_378_176, 34_615_296),
    ("resnet101x3", 381_812_928, 26_226_688),
    ("resnet152x3", 522_329_280, 26_226_688),
];

fn encoder(name: &str) -> ResNetConfig {
    ResNetConfig::torchvision(name.parse::<Arch>().unwrap(), Stem::Imagenet)
}

fn parameters(config: &ResNetConfig) -> usize {
    count_parameters(&ResNet::new(config, 3, &Device::flex()))
}

fn head(inputs: usize) -> usize {
    let config = MlpConfig { inputs, hidden: 4096, outputs: 256, layers: 2, norm: NormKind::Batch };
    count_parameters(&Mlp::new(config, &Device::flex()))
}

#[test]
fn encoders_and_heads_have_the_papers_parameter_counts() {
    for (name, expected, projector) in COUNTS {
        let config = encoder(name);
        assert_eq!(parameters(&config), expected, "{name}");
        assert_eq!(head(config.arch.representation_size()), projector, "{name}");
    }
    assert_eq!(head(256), 2_109_440);
}

#[test]
fn resnet18_and_34_have_torchvisions_counts() {
    // torchvision's resnet18 and resnet34 without `fc`.
    for (name, count) in [("resnet18", 11_176_512), ("resnet34", 21_284_672)] {
        assert_eq!(parameters(&encoder(name)), count, "{name}");
    }
}

/// Spec §1.1: the reference's ResNet-18 has a projection in group 1, too. Deeper networks have one anyway.
#[test]
fn the_references_resnet18_has_one_projection_more() {
    let reference = |name: &str| ResNetConfig { first_group_projection: true, ..encoder(name) };
    assert_eq!(parameters(&reference("resnet18")), 11_180_736);
    assert_eq!(parameters(&reference("resnet50")), parameters(&encoder("resnet50")));
}
