//! The twelve encoders of paper Table 9 have exactly the parameters of spec §1.2, and so have the heads.

use burn::tensor::Device;
use byol_nn::model::{Arch, Mlp, ResNet, Stem, count_parameters};

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

#[test]
fn encoders_and_heads_have_the_papers_parameter_counts() {
    let device = Device::flex();
    for (name, encoder, projector) in COUNTS {
        let arch: Arch = name.parse().unwrap();
        assert_eq!(count_parameters(&ResNet::new(arch, Stem::Imagenet, 3, &device)), encoder, "{name}");
        assert_eq!(count_parameters(&Mlp::new(arch.representation_size(), 4096, 256, 2, &device)), projector, "{name}");
    }
    assert_eq!(count_parameters(&Mlp::new(256, 4096, 256, 2, &device)), 2_109_440);
}

#[test]
fn resnet18_and_34_have_torchvisions_counts() {
    // torchvision's resnet18 and resnet34 without `fc`.
    for (name, count) in [("resnet18", 11_176_512), ("resnet34", 21_284_672)] {
        let network = ResNet::new(name.parse().unwrap(), Stem::Imagenet, 3, &Device::flex());
        assert_eq!(count_parameters(&network), count, "{name}");
    }
}
