//! What is fixed about each benchmark.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::DataError;

/// A data set that representations are transferred to. Its text form is the lower-case name: `food101`.
///
/// | benchmark | files read | validation part |
/// |---|---|---|
/// | Food-101 | `meta/{classes,train,test}.txt`, `images/` | 75 per class of train |
/// | CIFAR-10, CIFAR-100 | binary version, or folders or an archive with `train` and `test` | 5 000 or 5 067 of 50 000 |
/// | Birdsnap | `{species,images,test_images}.txt`, `download/images/` | per class as many as in test |
/// | SUN397, split 1 | `Training_01.txt`, `Testing_01.txt`, `ClassName.txt`, `SUN397/` | 10 per class of 50 |
/// | Stanford Cars | `devkit/*.mat`, `cars_train/`, `cars_test/` | 1 650 of 8 144 |
/// | FGVC Aircraft, variants | `data/{variants,images_variant_{train,val,test}}.txt`, `data/images/` | official |
/// | VOC2007 | `VOCdevkit/VOC2007/{ImageSets/Main,JPEGImages}` | official |
/// | DTD, split 1 | `labels/{train,val,test}1.txt`, `images/` | official |
/// | Oxford Pets | `annotations/{trainval,test}.txt`, `images/` | 20 per class of trainval |
/// | Caltech-101, with background or without | `101_ObjectCategories/` | 5 per class, beside 25 for training; the rest is test |
/// | Places365-Standard | `{categories_places365,places365_train_standard,places365_val}.txt`, `data_256/`, `val_256/` | 50 per class of train |
/// | Flowers-102 | `{setid,imagelabels}.mat`, `jpg/` | official |
///
/// The root may be the folder that holds these, or the one around it as the archive unpacks or as torchvision lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Benchmark {
    /// Food-101 (Bossard et al. 2014).
    Food101,
    /// CIFAR-10 (Krizhevsky 2009).
    Cifar10,
    /// CIFAR-100 (Krizhevsky 2009), fine labels.
    Cifar100,
    /// Birdsnap 1.1 (Berg et al. 2014). Many links are dead: pictures that are not there are left out and counted.
    Birdsnap,
    /// SUN397 (Xiao et al. 2010), the first of its ten splits.
    Sun397,
    /// Stanford Cars (Krause et al. 2013).
    Cars,
    /// FGVC Aircraft (Maji et al. 2013), 100 variants.
    Aircraft,
    /// PASCAL VOC 2007 classification (Everingham et al. 2010): several classes per picture.
    Voc2007,
    /// Describable Textures (Cimpoi et al. 2014), the first of its ten splits.
    Dtd,
    /// Oxford-IIIT Pets (Parkhi et al. 2012), 37 breeds.
    Pets,
    /// Caltech-101 (Fei-Fei et al. 2004) as the paper counts it: in 102 classes, of which the last is the folder
    /// `BACKGROUND_Google` of pictures of anything. The paper speaks of 101 classes, but 3 060 pictures are 30 of each of
    /// 102, and 6 084 are the others of all 9 144.
    Caltech101,
    /// Places365-Standard (Zhou et al. 2017). The official validation part is the test part, as in the paper.
    Places365,
    /// Flowers-102 (Nilsback and Zisserman 2008). Classes have no names but their numbers.
    Flowers102,
    /// [`Self::Caltech101`] without `BACKGROUND_Google`: the 101 categories, with the same labels and in the same parts.
    Caltech101WithoutBackground,
}

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

impl Benchmark {
    /// All of them: those of Table 10 in its order, then others.
    pub const ALL: [Self; 14] = [
        Self::Food101,
        Self::Cifar10,
        Self::Cifar100,
        Self::Birdsnap,
        Self::Sun397,
        Self::Cars,
        Self::Aircraft,
        Self::Voc2007,
        Self::Dtd,
        Self::Pets,
        Self::Caltech101,
        Self::Places365,
        Self::Flowers102,
        Self::Caltech101WithoutBackground,
    ];

    /// The lower-case name: `food101`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name in prose: `Food-101`.
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// What the paper reports (Table 10).
    pub fn metric(self) -> Metric {
        self.facts().metric
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        self.facts().classes
    }

    /// Pictures in the parts of the paper (Table 10).
    pub fn paper_sizes(self) -> PartSizes {
        self.facts().paper_sizes
    }

    /// Pictures in the parts of a complete tree as it is read here. They differ from [`Self::paper_sizes`] for
    /// - Birdsnap: the paper says that validation has as many pictures per class as test, which are 2 443, and counts 4 981;
    /// - Places365: the paper holds nothing out;
    /// - Caltech-101 without background: the paper counts with it.
    pub fn sizes(self) -> PartSizes {
        self.facts().sizes.unwrap_or(self.facts().paper_sizes)
    }

    /// The makers' page, where to get it.
    pub fn url(self) -> &'static str {
        self.facts().url
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Benchmark {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|benchmark| benchmark.name() == name);
        found.ok_or_else(|| DataError::UnknownBenchmark { name: name.into(), known: known() })
    }
}

impl Serialize for Benchmark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
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
                classes: 102,
                paper_sizes: sizes(2_550, 510, 6_084),
                sizes: None,
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
            Self::Caltech101WithoutBackground => Facts {
                name: "caltech101-without-background",
                title: "Caltech-101 without background",
                classes: 101,
                sizes: Some(sizes(2_525, 505, 5_647)),
                ..Self::Caltech101.facts()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_answered_with_the_list() {
        for benchmark in Benchmark::ALL {
            assert_eq!(benchmark.to_string().parse::<Benchmark>().unwrap(), benchmark);
        }
        let message = "mnist".parse::<Benchmark>().unwrap_err().to_string();
        assert!(message.contains("mnist") && message.contains("food101, cifar10"), "{message}");
    }

    /// Table 10 by another sum: train and validation together are the original training part.
    #[test]
    fn the_paper_s_parts_add_up_to_the_original_training_part() {
        let original =
            [75_750, 50_000, 50_000, 47_386, 19_850, 8_144, 6_667, 5_011, 3_760, 3_680, 3_060, 1_803_460, 2_040];
        for (benchmark, original) in Benchmark::ALL.into_iter().zip(original) {
            let sizes = benchmark.paper_sizes();
            assert_eq!(sizes.train + sizes.val, original, "{benchmark}");
        }
    }

    #[test]
    fn caltech_has_thirty_training_pictures_of_each_class_and_the_paper_s_counts_with_background() {
        let (with, without) = (Benchmark::Caltech101, Benchmark::Caltech101WithoutBackground);
        assert_eq!((with.classes(), without.classes()), (102, 101));
        assert_eq!(with.sizes(), with.paper_sizes());
        for benchmark in [with, without] {
            assert_eq!(benchmark.metric(), Metric::MeanPerClass);
            let PartSizes { train, val, .. } = benchmark.sizes();
            assert_eq!((train, val), (25 * benchmark.classes(), 5 * benchmark.classes()));
        }
        // The archive holds 9 144 pictures, 467 of them in BACKGROUND_Google.
        let all = |PartSizes { train, val, test }: PartSizes| train + val + test;
        assert_eq!((all(with.sizes()), all(without.sizes())), (9_144, 9_144 - 467));
    }

    #[test]
    fn metrics_are_written_in_snake_case() {
        let texts = [Metric::Top1, Metric::MeanPerClass, Metric::MeanAp11].map(|m| serde_json::to_string(&m).unwrap());
        assert_eq!(texts, ["\"top1\"", "\"mean_per_class\"", "\"mean_ap11\""]);
        assert_eq!(serde_json::to_string(&Benchmark::Voc2007).unwrap(), "\"voc2007\"");
    }
}
