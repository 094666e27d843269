//! Ablations (paper §5): every row of a table is pretrained from the same recipe with one change, then measured.

mod rows;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use byol_data::views::blur_taps;
use byol_eval::{
    Evaluation, Features, LabelledParts, LargestClass, Network, Outcome, Row, extract_cached, geometry, knn, linear,
    rows, write_evaluations,
};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde_json::json;

pub use self::rows::Variant;
pub use self::tables::Table;
use crate::config::Config;
use crate::pretrain::{GoingOn, PreparedRun, PretrainRequest};
use crate::recipe::RecipeRequest;
use crate::run::{RunFolder, read_metrics};
use crate::train::{self, Requests, train};

/// What is run.
#[derive(Clone, Debug)]
pub struct AblationRequest {
    /// The table.
    pub table: Table,
    /// Data and recipe that the rows change.
    pub recipe: RecipeRequest,
    /// Folder for the runs: `OUT/TABLE/ROW-seed-N`. Runs that are there are not trained again.
    pub out: PathBuf,
    /// Seeds, a run each.
    pub seeds: Vec<u64>,
    /// Name of the device, for the record.
    pub device: String,
}

/// What is measured of every run.
const PROTOCOL: &str = "each row pretrained from the same recipe with its change, then linear evaluation (80 epochs, rate chosen on \
                        a held-out tenth), k-NN (k 200, T 0.1) and RankMe (2048 test pictures) of the frozen representation; projection_std of the last \
                        logged step";

/// Test pictures whose representations the rank is of.
const RANK_IMAGES: usize = 2048;

/// The rows of a table over a recipe.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// To be run.
    pub variants: Vec<Variant>,
    /// Names of those that would show nothing, with the reason.
    pub refused: Vec<(String, String)>,
}

impl Rows {
    /// Those of `table` over `recipe`. Refused are rows that the recipe makes impossible, and rows that are the same run as one before
    /// them: a difference between the two would be noise that looks like a result.
    pub fn new(table: Table, recipe: &Config) -> Self {
        let mut rows = Self::default();
        let mut runs: Vec<(String, String)> = Vec::new();
        for variant in table.variants(recipe) {
            let config = match recipe.with(&variant.settings) {
                Ok(config) => config,
                Err(error) => {
                    rows.refused.push((variant.name, error.to_string()));
                    continue;
                }
            };
            let run = config.identity();
            match runs.iter().find(|(_, earlier)| *earlier == run) {
                Some((earlier, _)) => {
                    let blur = match blur_taps(config.views.size_px) {
                        1 => "; a blur changes nothing in views below 20 px",
                        _ => "",
                    };
                    let reason =
                        format!("with this recipe it changes nothing: it is the run of the row {earlier}{blur}");
                    rows.refused.push((variant.name, reason));
                }
                None => {
                    runs.push((variant.name.clone(), run));
                    rows.variants.push(variant);
                }
            }
        }
        rows
    }

    /// Leaves only the rows named in `only`, if there are any names.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a name that is no row or one that is refused.
    pub fn only(mut self, only: &[String]) -> Result<Self> {
        if only.is_empty() {
            return Ok(self);
        }
        for name in only {
            if let Some((_, reason)) = self.refused.iter().find(|(refused, _)| refused == name) {
                return Err(Error::Evaluation(format!("--rows {name}: {reason}")));
            }
            if self.variants.iter().all(|variant| variant.name != *name) {
                let names: Vec<&str> = self.variants.iter().map(|variant| &*variant.name).collect();
                return Err(Error::Evaluation(format!(
                    "--rows {name}: no such row of the table; expected some of {}",
                    names.join(", ")
                )));
            }
        }
        self.variants.retain(|variant| only.contains(&variant.name));
        self.refused.clear();
        Ok(self)
    }
}

impl AblationRequest {
    /// Trains and measures every row of `variants`; `None` when it was asked to stop, after which the same request goes on.
    ///
    /// Writes `OUT/TABLE/evaluation.json`, and again after every row, so that what is done can be looked at. At the end the
    /// table is remembered in the first row's run, where a report finds it. A row that diverged before its first checkpoint has
    /// no numbers of ours.
    ///
    /// # Errors
    /// Data errors, file errors, and runs in `OUT` that are of another recipe.
    pub fn run(
        &self,
        variants: &[Variant],
        parts: &LabelledParts,
        device: &Device,
        requests: &Requests,
        mut say: impl FnMut(&str),
    ) -> Result<Option<Evaluation>> {
        let folder = self.out.join(self.table.name());
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let mut table = Vec::new();
        let mut evaluation = None;
        for (place, variant) in variants.iter().enumerate() {
            let mut by_seed = Vec::new();
            for &seed in &self.seeds {
                let path = run_folder(&folder, variant, seed);
                say(&format!("row {} of {}: {}", place + 1, variants.len(), path.display()));
                let prepared = self.prepare(variant, seed, &path, device)?;
                if !is_finished(&prepared)? {
                    let report = train(&prepared.folder, &prepared.config, prepared.dataset.clone(), device, requests);
                    match report {
                        Ok(report) if report.outcome == train::Outcome::Interrupted => return Ok(None),
                        Ok(_) => {}
                        // A row that diverges is a result, too; what it had learned by its last checkpoint is measured.
                        Err(Error::NonFinite { step, .. }) => say(&format!("diverged at step {step}")),
                        Err(error) => return Err(error),
                    }
                }
                by_seed.push((seed, vec![measure(&prepared, variant, parts, device)?]));
            }
            table.extend(rows(Network::Encoder, &variant.name, by_seed));
            let so_far = self.evaluation(&folder, &variants[0], table.clone(), parts)?;
            write_evaluations(&folder.join("evaluation.json"), vec![so_far.clone()])?;
            evaluation = Some(so_far);
        }
        if let (Some(evaluation), Some(first)) = (&evaluation, variants.first()) {
            RunFolder::open(&run_folder(&folder, first, self.seeds[0]))?.remember(evaluation)?;
        }
        Ok(evaluation)
    }

    /// A new run, or the one that is there if it is of this recipe.
    fn prepare(&self, variant: &Variant, seed: u64, path: &Path, device: &Device) -> Result<PreparedRun> {
        let mut recipe = self.recipe.clone();
        recipe.settings.extend(variant.settings.iter().cloned());
        recipe.settings.push(format!("seed={seed}"));
        if !path.exists() {
            let request = PretrainRequest { recipe, out: Some(path.to_owned()), device: self.device.clone() };
            return request.create(request.open(device)?, device);
        }
        let (there, wanted) = (PreparedRun::reopen(path, &GoingOn::default())?.0, recipe.open(device)?.config);
        if there.config.identity() != wanted.identity() {
            let problem = "a run of another recipe is there; give another --out, or the flags of that time";
            return Err(Error::path(path, problem));
        }
        Ok(there)
    }

    fn evaluation(&self, folder: &Path, first: &Variant, rows: Vec<Row>, parts: &LabelledParts) -> Result<Evaluation> {
        let config: Config = RunFolder::open(&run_folder(folder, first, self.seeds[0]))?.config()?;
        Ok(Evaluation {
            eval: "ablate".to_owned(),
            encoder: folder.display().to_string(),
            arch: config.model.arch,
            training: format!(
                "table {} ({} of the paper), {} epochs of batch {}",
                self.table,
                self.table.source(),
                config.schedule.epochs,
                config.train.batch_size
            ),
            step: config.schedule(parts.train.len()).total_steps,
            data: parts.description.clone(),
            preprocessing: config.preprocessing(),
            train_images: parts.train.len(),
            test_images: parts.test.len(),
            classes: parts.test.classes().to_vec(),
            protocol: format!(
                "{PROTOCOL}; the paper's column is top-1 on ImageNet, ResNet-50, 300 epochs of batch 4096, linear evaluation"
            ),
            rows,
            largest_class: largest_class(parts),
            repeat: None,
        }
        .judged())
    }
}

/// What always naming the largest class of the test part scores, in both accuracies.
fn largest_class(parts: &LabelledParts) -> Option<LargestClass> {
    let mut counts = vec![0; parts.test.classes().len()];
    (0..parts.test.len()).filter_map(|place| parts.test.label(place)).for_each(|label| counts[label as usize] += 1);
    let LargestClass { class, numbers } = LargestClass::of(&counts, parts.test.classes())?;
    let top1 = numbers["top1"];
    let numbers = ["linear_top1", "knn_top1"].map(|metric| (metric.to_owned(), top1)).into();
    Some(LargestClass { class, numbers })
}

fn run_folder(table: &Path, variant: &Variant, seed: u64) -> PathBuf {
    table.join(format!("{}-seed-{seed}", variant.name))
}

fn is_finished(run: &PreparedRun) -> Result<bool> {
    let total = run.config.schedule(run.dataset.len()).total_steps;
    Ok(train::last_checkpoint_step(&run.folder.checkpoints())? == Some(total))
}

fn measure(run: &PreparedRun, variant: &Variant, parts: &LabelledParts, device: &Device) -> Result<Outcome> {
    let mut numbers: BTreeMap<String, f64> =
        variant.paper_top1.map(|top1| ("paper_top1".to_owned(), top1)).into_iter().collect();
    let mut chosen = json!({"diverged": "before the first checkpoint"});
    if train::last_checkpoint_step(&run.folder.checkpoints())?.is_some() {
        let mut encoder = Encoder::open(&run.folder.path().to_string_lossy(), device)?;
        let cache = run.folder.features();
        let mut represent =
            |part| -> Result<Features> { Ok(extract_cached(&mut encoder, part, Some(&cache), 0, device)?.features) };
        let (train, test) = (represent(&parts.train)?, represent(&parts.test)?);
        let by_neighbours = knn::evaluate(&train, &test, &knn::KnnOptions::default(), device)?;
        let linear = linear::evaluate(&train, &test, &linear::LinearOptions::default(), device)?;
        numbers.insert("linear_top1".to_owned(), linear.top1);
        numbers.insert("knn_top1".to_owned(), by_neighbours[0].top1);
        let some = &test.values[..test.values.len().min(RANK_IMAGES * test.size)];
        numbers.insert("rank_me".to_owned(), geometry::rank_me(some, test.size));
        if let Some(last) = read_metrics(&run.folder.metrics())?.last() {
            numbers.insert("projection_std".to_owned(), last.projection_std.into());
        }
        chosen = json!({"base_learning_rate": linear.base_learning_rate});
    }
    Ok(Outcome { setting: variant.change.clone(), numbers, chosen, confusion: None })
}

#[cfg(test)]
mod tests {
    use byol_data::views::ViewConfig;

    use super::*;
    use crate::method::TargetKind;
    use crate::preset::Preset;

    fn names(variants: &[Variant]) -> Vec<&str> {
        variants.iter().map(|variant| &*variant.name).collect()
    }

    #[test]
    fn every_row_is_a_valid_run_of_its_own_and_has_a_folder_name() {
        for preset in [Preset::Imagenet300, Preset::Cifar10] {
            for table in Table::ALL {
                assert_eq!(table.name().parse::<Table>().unwrap(), table);
                let rows = Rows::new(table, &preset.config());
                assert!(rows.variants.len() >= 2 && rows.refused.is_empty(), "{table}: {:?}", rows.refused);
                let mut names = names(&rows.variants);
                assert!(
                    names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.'))
                );
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), rows.variants.len(), "{table}");
            }
        }
    }

    /// The default of the paper is the first row of every table and, over the paper's recipe, changes nothing.
    #[test]
    fn the_first_row_is_the_papers_recipe() {
        let paper = Preset::Imagenet300.config();
        for table in Table::ALL {
            let first = &table.variants(&paper)[0];
            assert_eq!(first.paper_top1, Some(72.5), "{table}");
            assert_eq!(paper.with(&first.settings).unwrap(), paper, "{table}");
        }
    }

    /// The target of `fixed-random` is no copy of the online network, whatever the recipe says of moving targets.
    #[test]
    fn the_fixed_random_target_is_a_network_of_its_own() {
        let recipe = Preset::Cifar10.config();
        assert!(recipe.model.copy_online_to_target, "or this test shows nothing");
        let rows = Table::Target.variants(&recipe);
        let fixed = rows.iter().find(|row| row.name == "fixed-random").unwrap();
        let model = recipe.with(&fixed.settings).unwrap().model;
        assert_eq!((model.target, model.copy_online_to_target), (TargetKind::Fixed, false));
    }

    /// Over a recipe with views of its own the rows are the paper's T and T′, not the recipe's with something left out.
    #[test]
    fn augmentation_rows_set_both_distributions_themselves() {
        let recipe = Preset::Cifar10.config();
        assert_eq!((recipe.views.view1.blur_p, recipe.views.view1.crop_area_min), (0.0, 0.2));
        let of_row = |name: &str| {
            let rows = Table::Augmentations.variants(&recipe);
            recipe.with(&rows.iter().find(|row| row.name == name).unwrap().settings).unwrap().views
        };
        let all = of_row("all");
        assert_eq!((all.view1, all.view2), (ViewConfig::t(), ViewConfig::t_prime()));
        assert_eq!((all.size_px, all.semantics), (recipe.views.size_px, recipe.views.semantics));
        let no_flip = of_row("no-flip");
        assert_eq!(no_flip.view1, ViewConfig { flip_p: 0.0, ..ViewConfig::t() });
        assert_eq!(no_flip.view2, ViewConfig { flip_p: 0.0, ..ViewConfig::t_prime() });
        let one_side = of_row("no-blur-in-view2");
        assert_eq!((one_side.view1, one_side.view2.blur_p), (ViewConfig::t(), 0.0));
        let symmetric = of_row("symmetric");
        assert_eq!((symmetric.view1.blur_p, symmetric.view2.blur_p), (0.5, 0.5));
        assert_eq!((symmetric.view1.solarise_p, symmetric.view2.solarise_p), (0.2, 0.2));
    }

    #[test]
    fn rows_that_change_nothing_are_refused_with_the_reason() {
        let small = Preset::Cifar10.resolve(&["views.size_px=16".to_owned()]).unwrap();
        let rows = Rows::new(Table::Augmentations, &small);
        let refused: Vec<&str> = rows.refused.iter().map(|(name, _)| &**name).collect();
        assert_eq!(refused, ["no-blur", "no-blur-in-view2", "neither-in-view2", "crop-blur"]);
        let reason = &rows.refused[0].1;
        assert!(reason.contains("the row all") && reason.contains("below 20 px"), "{reason}");
        let error = rows.clone().only(&["no-blur".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("--rows no-blur") && error.contains("changes nothing"), "{error}");
        let error = rows.clone().only(&["nonsense".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no such row") && error.contains("no-flip"), "{error}");
        assert_eq!(names(&rows.only(&["all".to_owned(), "no-flip".to_owned()]).unwrap().variants), ["all", "no-flip"]);

        let without_decay = Preset::Cifar10.resolve(&["optimizer.weight_decay=0".to_owned()]).unwrap();
        let rows = Rows::new(Table::WeightDecay, &without_decay);
        assert_eq!((rows.variants.len(), rows.refused.len()), (1, 4));
    }
}
