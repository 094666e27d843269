//! What is fixed about each benchmark.

use serde::Serialize;

use super::Benchmark;

/// How a benchmark is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of pictures whose first guess is right.
    Top1,
    /// That share for each class, and the mean of these.
    MeanPerClass,
    /// Mean over classes of the 11-point average precision of the VOC devkit:
    /// `(1/11) Σ_{r ∈ {0, 0.1, …, 1}} max_{r' ≥ r} precision(r')`, without the pictures that are difficult for the class.
    MeanAp11,
}

/// Numbers of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PartSizes {
    /// To train on.
    pub train: usize,
    /// To choose hyper-parameters on.
    pub val: usize,
    /// To report.
    pub test: usize,
}

pub(super) struct Facts {
    pub name: &'static str,
    pub title: &'static str,
    pub metric: Metric,
    pub classes: usize,
    pub paper_sizes: PartSizes,
    /// Parts of a complete tree as it is read here, where they are not the paper's.
    pub sizes: Option<PartSizes>,
    pub url: &'static str,
    /// Folders below the root that may hold the tree; the first that exists does.
    pub bases: &'static [&'static str],
    /// What no other benchmark has, below that folder.
    pub signature: &'static str,
}

const fn sizes(train: usize, val: usize, test: usize) -> PartSizes {
    PartSizes { train, val, test }
}

impl Benchmark {
    pub(super) fn facts(self) -> Facts {
        match self {
            Self::Food101 => Facts {
                name: "food101",
                title: "Food-101",
                metric: Metric::Top1,
                classes: 101,
                paper_sizes: sizes(68_175, 7_575, 25_250),
                sizes: None,
                url: "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
                bases: &["food-101"],
                signature: "meta/classes.txt",
            },
            Self::Cifar10 => Facts {
                name: "cifar10",
                title: "CIFAR-10",
                metric: Metric::Top1,
                classes: 10,
                paper_sizes: sizes(45_000, 5_000, 10_000),
                sizes: None,
                url: "https://www.cs.toronto.edu/~kriz/cifar.html",
                bases: &["cifar-10-batches-bin"],
                signature: "data_batch_1.bin",
            },
            Self::Cifar100 => Facts {
                name: "cifar100",
                title: "CIFAR-100",
                metric: Metric::Top1,
                classes: 100,
                paper_sizes: sizes(44_933, 5_067, 10_000),
                sizes: None,
                url: "https://www.cs.toronto.edu/~kriz/cifar.html",
                bases: &["cifar-100-binary"],
                signature: "fine_label_names.txt",
            },
            Self::Birdsnap => Facts {
                name: "birdsnap",
                title: "Birdsnap",
                metric: Metric::Top1,
                classes: 500,
                paper_sizes: sizes(42_405, 4_981, 2_443),
                sizes: Some(sizes(44_943, 2_443, 2_443)),
                url: "http://thomasberg.org/",
                bases: &["birdsnap"],
                signature: "species.txt",
            },
            Self::Sun397 => Facts {
                name: "sun397",
                title: "SUN397",
                metric: Metric::Top1,
                classes: 397,
                paper_sizes: sizes(15_880, 3_970, 19_850),
                sizes: None,
                url: "https://vision.princeton.edu/projects/2010/SUN/",
                bases: &[],
                signature: "Training_01.txt",
            },
            Self::Cars => Facts {
                name: "cars",
                title: "Stanford Cars",
                metric: Metric::Top1,
                classes: 196,
                paper_sizes: sizes(6_494, 1_650, 8_041),
                sizes: None,
                url: "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
                bases: &["stanford_cars"],
                signature: "devkit/cars_meta.mat",
            },
            Self::Aircraft => Facts {
                name: "aircraft",
                title: "FGVC Aircraft",
                metric: Metric::MeanPerClass,
                classes: 100,
                paper_sizes: sizes(3_334, 3_333, 3_333),
                sizes: None,
                url: "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
                bases: &["fgvc-aircraft-2013b/data", "data"],
                signature: "variants.txt",
            },
            Self::Voc2007 => Facts {
                name: "voc2007",
                title: "PASCAL VOC 2007",
                metric: Metric::MeanAp11,
                classes: 20,
                paper_sizes: sizes(2_501, 2_510, 4_952),
                sizes: None,
                url: "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
                bases: &["VOCdevkit/VOC2007", "VOC2007"],
                signature: "ImageSets/Main/aeroplane_test.txt",
            },
            Self::Dtd => Facts {
                name: "dtd",
                title: "DTD",
                metric: Metric::Top1,
                classes: 47,
                paper_sizes: sizes(1_880, 1_880, 1_880),
                sizes: None,
                url: "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
                bases: &["dtd/dtd", "dtd"],
                signature: "labels/train1.txt",
            },
            Self::Pets => Facts {
                name: "pets",
                title: "Oxford-IIIT Pets",
                metric: Metric::MeanPerClass,
                classes: 37,
                paper_sizes: sizes(2_940, 740, 3_669),
                sizes: None,
                url: "https://www.robots.ox.ac.uk/~vgg/data/pets/",
                bases: &["oxford-iiit-pet"],
                signature: "annotations/trainval.txt",
            },
            Self::Caltech101 => Facts {
                name: "caltech101",
                title: "Caltech-101",
                metric: Metric::MeanPerClass,
                classes: 101,
                paper_sizes: sizes(2_550, 510, 6_084),
                sizes: Some(sizes(2_525, 505, 5_647)),
                url: "https://data.caltech.edu/records/mzrjq-6wc02",
                bases: &["caltech101", "caltech-101"],
                signature: "101_ObjectCategories",
            },
            Self::Places365 => Facts {
                name: "places365",
                title: "Places365-Standard",
                metric: Metric::Top1,
                classes: 365,
                paper_sizes: sizes(1_803_460, 0, 36_500),
                sizes: Some(sizes(1_785_210, 18_250, 36_500)),
                url: "http://places2.csail.mit.edu/download.html",
                bases: &[],
                signature: "places365_train_standard.txt",
            },
            Self::Flowers102 => Facts {
                name: "flowers102",
                title: "Flowers-102",
                metric: Metric::MeanPerClass,
                classes: 102,
                paper_sizes: sizes(1_020, 1_020, 6_149),
                sizes: None,
                url: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
                bases: &["flowers-102"],
                signature: "setid.mat",
            },
        }
    }
}
