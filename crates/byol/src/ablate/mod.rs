//! Ablations (paper §5): every row of a table is pretrained from the same recipe with one change, then measured.

mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use byol_eval::{
    Evaluation, Features, LabelledParts, Network, Outcome, Row, extract_cached, knn, linear, rows, write_evaluations,
};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde_json::json;

pub use self::tables::{Table, Variant};
use crate::config::Config;
use crate::pretrain::{PreparedRun, PretrainRequest};
use crate::recipe::RecipeRequest;
use crate::run::RunFolder;
use crate::train::{self, train};

/// What is run.
#[derive(Clone, Debug)]
pub struct AblationRequest {
    /// The table.
    pub table: Table,
    /// Rows by name; empty for all.
    pub only: Vec<String>,
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
                        a held-out tenth) and k-NN (k 200, T 0.1) of the frozen representation";

impl AblationRequest {
    /// The rows over `recipe` that were asked for.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a name that is no row.
    pub fn variants(&self, recipe: &Config) -> Result<Vec<Variant>> {
        let mut variants = self.table.variants(recipe);
        if let Some(unknown) = self.only.iter().find(|name| variants.iter().all(|variant| variant.name != **name)) {
            let names: Vec<&str> = variants.iter().map(|variant| &*variant.name).collect();
            return Err(Error::Evaluation(format!(
                "--rows {unknown}: no such row of the table {}; expected some of {}",
                self.table,
                names.join(", ")
            )));
        }
        if !self.only.is_empty() {
            variants.retain(|variant| self.only.contains(&variant.name));
        }
        Ok(variants)
    }

    /// Trains and measures every row of `variants`; `None` when `stop` was set, after which the same request goes on.
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
        stop: &AtomicBool,
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
                let prepared = self.prepare(variant, seed, &path)?;
                if !is_finished(&prepared)? {
                    let report = train(&prepared.folder, &prepared.config, prepared.dataset.clone(), device, stop);
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
    fn prepare(&self, variant: &Variant, seed: u64, path: &Path) -> Result<PreparedRun> {
        let mut recipe = self.recipe.clone();
        recipe.settings.extend(variant.settings.iter().cloned());
        recipe.settings.push(format!("seed={seed}"));
        if !path.exists() {
            let request = PretrainRequest { recipe, out: Some(path.to_owned()), device: self.device.clone() };
            return request.prepare();
        }
        let (there, wanted) = (PreparedRun::reopen(path)?, recipe.open()?.config);
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
        })
    }
}

fn run_folder(table: &Path, variant: &Variant, seed: u64) -> PathBuf {
    table.join(format!("{}-seed-{seed}", variant.name))
}

fn is_finished(run: &PreparedRun) -> Result<bool> {
    let total = run.config.schedule(run.dataset.len()).total_steps;
    Ok(train::last_checkpoint_step(&run.folder.checkpoints())? == Some(total))
}

fn measure(run: &PreparedRun, variant: &Variant, parts: &LabelledParts, device: &Device) -> Result<Outcome> {
    let mut numbers = BTreeMap::from([("paper_top1".to_owned(), variant.paper_top1)]);
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
        chosen = json!({"base_learning_rate": linear.base_learning_rate});
    }
    Ok(Outcome { setting: variant.settings.join(" "), numbers, chosen, confusion: None })
}
