//! The transfer benchmarks of the paper (App. D.1, Table 10), read in the layout in which their makers give them out.
//!
//! Each reader takes the official lists, makes three parts of them and hands over [`Dataset`](crate::Dataset)s that read
//! the pictures where they are. Where a part for validation is not official, it is held out of the training part: which
//! pictures is a function of the list's order alone (seed 0, [`Stream::HeldOut`](crate::Stream::HeldOut)), not the
//! paper's unpublished choice.

mod aircraft;
mod birdsnap;
mod caltech101;
mod cars;
mod cifar;
mod dtd;
mod facts;
mod flowers102;
mod food101;
mod found;
mod hold_out;
mod labels;
mod mat;
mod parts;
mod pets;
mod places365;
mod sun397;
mod tree;
mod voc2007;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

pub use facts::{Metric, PartSizes};
pub use labels::{MultiLabels, Presence};
pub use parts::BenchmarkParts;

use crate::{DataConfig, DataError};
use tree::Tree;

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
/// | Caltech-101 | `101_ObjectCategories/` | 5 per class, beside 25 for training; the rest is test |
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
    /// Caltech-101 (Fei-Fei et al. 2004), without the folder `BACKGROUND_Google`, which is no class.
    Caltech101,
    /// Places365-Standard (Zhou et al. 2017). The official validation part is the test part, as in the paper.
    Places365,
    /// Flowers-102 (Nilsback and Zisserman 2008). Classes have no names but their numbers.
    Flowers102,
}

impl Benchmark {
    /// All of them, in the order of Table 10.
    pub const ALL: [Self; 13] = [
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
    /// - Caltech-101: the paper's 3 060 and 6 084 pictures are those of 102 folders, `BACKGROUND_Google` included, though
    ///   it speaks of 101 classes;
    /// - Places365: the paper holds nothing out.
    pub fn sizes(self) -> PartSizes {
        self.facts().sizes.unwrap_or(self.facts().paper_sizes)
    }

    /// The makers' page, where to get it.
    pub fn url(self) -> &'static str {
        self.facts().url
    }

    /// Opens the tree at `root`; pictures are not decoded yet.
    ///
    /// # Errors
    /// [`DataError::IncompleteBenchmark`] with the first file that is missing, [`DataError::WrongLine`] for a line of a
    /// list that is not as it should be, [`DataError::Malformed`], and what [`Dataset::open`](crate::Dataset::open) gives.
    pub fn open(self, root: &Path, config: &DataConfig) -> Result<BenchmarkParts, DataError> {
        config.validate()?;
        let tree = Tree::open(self, root, config)?;
        let found = match self {
            Self::Cifar10 | Self::Cifar100 => return cifar::open(&tree, config),
            Self::Food101 => food101::read(&tree),
            Self::Birdsnap => birdsnap::read(&tree),
            Self::Sun397 => sun397::read(&tree),
            Self::Cars => cars::read(&tree),
            Self::Aircraft => aircraft::read(&tree),
            Self::Voc2007 => voc2007::read(&tree),
            Self::Dtd => dtd::read(&tree),
            Self::Pets => pets::read(&tree),
            Self::Caltech101 => caltech101::read(&tree),
            Self::Places365 => places365::read(&tree),
            Self::Flowers102 => flowers102::read(&tree),
        };
        found?.open(&tree, config)
    }

    /// The benchmark whose signature is at `root`, if there is exactly one. Looks for one file of each and reads none.
    pub fn detect(root: &Path) -> Option<Self> {
        let mut all = Self::ALL
            .into_iter()
            .filter(|benchmark| tree::base(*benchmark, root).join(benchmark.facts().signature).exists());
        all.next().filter(|_| all.next().is_none())
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
    fn metrics_are_written_in_snake_case() {
        let texts = [Metric::Top1, Metric::MeanPerClass, Metric::MeanAp11].map(|m| serde_json::to_string(&m).unwrap());
        assert_eq!(texts, ["\"top1\"", "\"mean_per_class\"", "\"mean_ap11\""]);
        assert_eq!(serde_json::to_string(&Benchmark::Voc2007).unwrap(), "\"voc2007\"");
    }
}
