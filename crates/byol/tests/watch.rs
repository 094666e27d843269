//! Planted faults: tiny runs that are spoilt on purpose must name what spoils them, and healthy ones must name nothing.
//!
//! `cargo test --release --workspace --test watch -- --nocapture` prints the table of docs/watching.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use byol::Preset;
use byol::config::Config;
use byol::run::{RunFolder, RunInfo};
use byol::train::watch::{Cause, Facts, Finding, Learning, Series, findings, verdict};
use byol::train::{Outcome, Requests, TrainReport, train};
use byol_data::{Dataset, Image, Random, Stream, drawn};
use byol_nn::Error;
use byol_nn::encoder::Encoder;

/// A recipe of 70 steps that takes two seconds.
const BASE: [&str; 17] = [
    "model.arch=resnet18x0.0625",
    "model.projector_hidden=128",
    "model.predictor_hidden=128",
    "model.projection_size=64",
    "views.size_px=8",
    "train.batch_size=32",
    "train.log_every_steps=4",
    "train.checkpoint_every_steps=1000",
    "train.tensorboard=false",
    "schedule.epochs=3.5",
    "schedule.warmup_epochs=0.5",
    "schedule.base_learning_rate=0.4",
    "schedule.target_ema=0.9",
    "optimizer.kind=sgd",
    "optimizer.weight_decay=5e-4",
    "eval.images=256",
    "precision=f32",
];

/// Pictures that a run learns from.
#[derive(Clone, Copy, Debug)]
enum Pictures {
    /// 640 of the demo's, of 16 px, without labels.
    Drawn,
    /// Each of one colour.
    OneColour,
    /// 40 of them, sixteen times each.
    Copies,
    /// 32 of 1600 px.
    Large,
}

impl Pictures {
    fn dataset(self, seed: u64) -> Arc<Dataset> {
        let drawn =
            |count| -> Vec<Image> { drawn::draw(count, seed, 16).into_iter().map(|(image, _)| image).collect() };
        let images: Vec<Image> = match self {
            Self::Drawn => drawn(640),
            Self::OneColour => (0..640).map(|index| plain(seed, index, 16)).collect(),
            Self::Copies => {
                let few = drawn(40);
                (0..640).map(|index| few[index % 40].clone()).collect()
            }
            Self::Large => drawn(32).iter().map(|image| enlarged(image, 100)).collect(),
        };
        let names = (0..images.len()).map(|index| index.to_string()).collect();
        Arc::new(Dataset::from_images(images, None, Vec::new(), names))
    }
}

fn plain(seed: u64, index: u64, size_px: usize) -> Image {
    let mut random = Random::new(seed, Stream::Drawing, 1, index);
    let colour: [u8; 3] = std::array::from_fn(|_| random.uniform(50.0, 200.0) as u8);
    Image::rgb8(size_px, size_px, colour.repeat(size_px * size_px))
}

/// Every pixel `times × times` times.
fn enlarged(image: &Image, times: usize) -> Image {
    let (size, pixels) = (image.width_px(), image.to_rgb8());
    let side = size * times;
    let at = |place: usize| 3 * ((place / side / times) * size + place % side / times);
    let samples = (0..side * side).flat_map(|place| pixels[at(place)..at(place) + 3].to_vec()).collect();
    Image::rgb8(side, side, samples)
}

fn config(settings: &[&str], seed: u64) -> Config {
    let settings: Vec<String> = BASE.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    Config { seed, ..Preset::Cifar10.resolve(&settings).unwrap() }
}

/// Trains, and gives what the log says and how it ended.
fn watched(path: &Path, config: &Config, pictures: Pictures) -> (Series, Result<TrainReport, Error>) {
    let data = pictures.dataset(config.seed + 1);
    let run = run_folder(path, config, data.len());
    let report = train(&run, config, data, &Device::flex(), &Requests::new());
    (Series::read(&run.metrics()).unwrap(), report)
}

/// A fault, and what must be named first.
struct Fault {
    name: &'static str,
    cause: Cause,
    pictures: Pictures,
    settings: &'static [&'static str],
}

const fn fault(name: &'static str, cause: Cause, pictures: Pictures, settings: &'static [&'static str]) -> Fault {
    Fault { name, cause, pictures, settings }
}

const SAME_VIEWS: [&str; 18] = [
    "views.view1.crop_area_min=1",
    "views.view2.crop_area_min=1",
    "views.view1.crop_area_max=1",
    "views.view2.crop_area_max=1",
    "views.view1.crop_aspect_min=1",
    "views.view2.crop_aspect_min=1",
    "views.view1.crop_aspect_max=1",
    "views.view2.crop_aspect_max=1",
    "views.view1.flip_p=0",
    "views.view2.flip_p=0",
    "views.view1.jitter_p=0",
    "views.view2.jitter_p=0",
    "views.view1.grayscale_p=0",
    "views.view2.grayscale_p=0",
    "views.view1.blur_p=0",
    "views.view2.blur_p=0",
    "views.view1.solarise_p=0",
    "views.view2.solarise_p=0",
];

const FAULTS: [Fault; 18] = [
    fault("overflow", Cause::NotFinite, Pictures::Drawn, &["schedule.base_learning_rate=1e9"]),
    fault("no predictor", Cause::PredictorAbsent, Pictures::Drawn, &["model.predictor=none"]),
    fault("predictor at rate 0", Cause::PredictorDead, Pictures::Drawn, &["optimizer.predictor_rate_factor=0"]),
    fault("gradient into the target", Cause::TargetAhead, Pictures::Drawn, &["model.target=gradient"]),
    fault("τ 0.9999", Cause::TargetBehind, Pictures::Drawn, &["schedule.target_ema=0.9999"]),
    fault("fixed target", Cause::TargetBehind, Pictures::Drawn, &["model.target=fixed"]),
    fault("SGD at 50 times the rate", Cause::RateTooHigh, Pictures::Drawn, &["schedule.base_learning_rate=20"]),
    fault(
        "Adam at 250 times the rate",
        Cause::RateTooHigh,
        Pictures::Drawn,
        &["optimizer.kind=adam", "optimizer.weight_decay=1e-6", "schedule.base_learning_rate=1"],
    ),
    fault("SGD at 1/4000 of the rate", Cause::RateTooLow, Pictures::Drawn, &["schedule.base_learning_rate=0.0001"]),
    fault(
        "Adam at 1/4000 of the rate",
        Cause::RateTooLow,
        Pictures::Drawn,
        &["optimizer.kind=adam", "optimizer.weight_decay=1e-6", "schedule.base_learning_rate=1e-6"],
    ),
    fault("rate 0", Cause::FrozenWeights, Pictures::Drawn, &["schedule.base_learning_rate=0"]),
    fault(
        "LARS without trust",
        Cause::FrozenWeights,
        Pictures::Drawn,
        &["optimizer.kind=lars", "optimizer.trust_coefficient=0"],
    ),
    fault("weight decay 1", Cause::WeightDecayTooStrong, Pictures::Drawn, &["optimizer.weight_decay=1"]),
    fault("weight decay 0.1", Cause::WeightDecayTooStrong, Pictures::Drawn, &["optimizer.weight_decay=0.1"]),
    fault("pictures of one colour", Cause::FlatPictures, Pictures::OneColour, &[]),
    fault("each picture 16 times", Cause::EqualPictures, Pictures::Copies, &[]),
    fault("no augmentation", Cause::EqualViews, Pictures::Drawn, &SAME_VIEWS),
    fault(
        "large pictures, one thread",
        Cause::InputStarved,
        Pictures::Large,
        &[
            "views.semantics=torchvision",
            "train.loader_threads=1",
            "train.log_every_steps=1",
            "schedule.epochs=14",
            "eval.every_epochs=100",
            "schedule.target_ema=0.6",
            "eval.images=32",
        ],
    ),
];

const SEEDS: u64 = 3;

#[test]
fn planted_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut named: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let mut right = 0;
    for (place, fault) in FAULTS.iter().enumerate() {
        for seed in 0..SEEDS {
            let path = folder.path().join(format!("{place}-{seed}"));
            let (series, report) = watched(&path, &config(fault.settings, seed), fault.pictures);
            assert_eq!(report.is_err(), fault.cause == Cause::NotFinite, "{}", fault.name);
            // That these short runs learn nothing is true of all of them.
            let causes = series.findings.iter().map(|finding| finding.watch);
            let first = causes.filter(|&cause| cause != Cause::ViewsNotLearned).min();
            right += usize::from(first == Some(fault.cause));
            let title = first.map_or("nothing", Cause::title);
            *named.entry((place, title.to_owned())).or_default() += 1;
        }
    }
    println!("| planted | named first ({SEEDS} seeds) |\n|---|---|");
    for (place, fault) in FAULTS.iter().enumerate() {
        let counts =
            named.iter().filter(|((of, _), _)| *of == place).map(|((_, title), count)| format!("{title} {count}"));
        println!("| {} | {} |", fault.name, counts.collect::<Vec<_>>().join(", "));
    }
    let runs = FAULTS.len() * SEEDS as usize;
    println!("{right} of {runs} right");
    assert!(10 * right >= 9 * runs, "{right} of {runs}: {named:?}");
}

/// Recipes that are spoilt in nothing.
const RECIPES: [&[&str]; 20] = [
    &[],
    &["schedule.base_learning_rate=0.1"],
    &["schedule.base_learning_rate=0.8"],
    &["train.batch_size=16", "schedule.epochs=2"],
    &["train.batch_size=64", "schedule.epochs=5"],
    &["train.accumulation_steps=2"],
    &["schedule.target_ema=0.95"],
    &["schedule.target_ema=0.8"],
    &["model.target=stop_gradient"],
    &["optimizer.kind=adam", "schedule.base_learning_rate=0.01", "optimizer.weight_decay=1e-6"],
    &["optimizer.kind=adamw", "schedule.base_learning_rate=0.02", "optimizer.weight_decay=1e-3"],
    &["optimizer.kind=lars", "schedule.base_learning_rate=8", "optimizer.weight_decay=1e-6"],
    &["optimizer.kind=lars", "schedule.base_learning_rate=20", "optimizer.weight_decay=1.5e-6"],
    &["optimizer.weight_decay=2e-3", "schedule.base_learning_rate=0.06", "schedule.epochs=4"],
    &["optimizer.predictor_rate_factor=10", "schedule.base_learning_rate=0.1"],
    &["model.predictor=none", "model.target=gradient", "model.negatives_weight=1"],
    &["model.negatives_weight=0.3"],
    &["model.projector_hidden=256", "model.projection_size=32", "model.copy_online_to_target=false"],
    &["views.semantics=torchvision", "views.size_px=10", "schedule.epochs=3"],
    &["precision=bf16", "model.projector_layers=3"],
];

/// At 8 px and 70 steps no recipe beats random weights, as k-NN shows where there are labels, and the run says so at its end:
/// that is no false alarm. Runs that did learn are replayed below.
#[test]
fn recipes_that_are_spoilt_in_nothing_give_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let mut alarms = Vec::new();
    for (place, settings) in RECIPES.iter().enumerate() {
        let (series, report) =
            watched(&folder.path().join(place.to_string()), &config(settings, place as u64), Pictures::Drawn);
        let learning = report.unwrap().conclusion.verdict.learning;
        let is_alarm = |finding: &&Finding| finding.watch != Cause::ViewsNotLearned;
        alarms.extend(series.findings.iter().filter(is_alarm).map(|finding| (settings, finding.to_string())));
        println!("{settings:?}: {learning:?}");
    }
    assert!(alarms.is_empty(), "{alarms:#?}");
}

/// Logs of real runs of many recipes whose k-NN rose, thinned; the first line holds the settings.
#[test]
fn recorded_runs_that_learned_give_no_alarm_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/healthy_runs")).unwrap();
    let mut runs = 0;
    for path in recorded.map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, lines) = text.split_once('\n').unwrap();
        let head: serde_json::Value = serde_json::from_str(head).unwrap();
        let toml = folder.path().join("config.toml");
        std::fs::write(&toml, head["config"].as_str().unwrap()).unwrap();
        let facts = Facts::new(&Config::load(&toml).unwrap(), head["images"].as_u64().unwrap() as usize);
        let lines: Vec<&str> = lines.lines().collect();
        for count in 0..=lines.len() {
            let series = Series::of(&lines[..count].join("\n"));
            let found = findings(&series, &facts);
            assert!(found.is_empty(), "{} after {count} lines: {found:?}", path.display());
        }
        let verdict = verdict(&Series::of(&lines.join("\n")), &facts);
        assert!(matches!(verdict.learning, Learning::Learned | Learning::Little), "{}: {verdict:?}", path.display());
        runs += 1;
    }
    assert!(runs >= 10, "{runs}");
}

/// Twelve steps of 32 of 640 pictures, measured at every one.
const SHORT: [&str; 5] = [
    "schedule.epochs=0.6",
    "schedule.warmup_epochs=0.1",
    "train.log_every_steps=1",
    "eval.every_epochs=0.05",
    "eval.images=64",
];

fn run_folder(path: &Path, config: &Config, images: usize) -> RunFolder {
    let info = RunInfo {
        data: Vec::new(),
        split: None,
        data_fingerprint: 0,
        images,
        input: String::new(),
        device: "cpu".to_owned(),
        version: String::new(),
        preset: None,
        warm_start: None,
        earlier_data: Vec::new(),
    };
    RunFolder::create(path, config, &info).unwrap()
}

#[test]
fn the_encoder_of_the_best_measurement_is_kept_also_over_interruptions() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[&SHORT[..], &["train.keep_best=rank_me"]].concat(), 0);
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let (series, report) = watched(&whole, &config, Pictures::Drawn);
    let kept = report.unwrap().best.unwrap();
    let rank = |step: u64| series.online.iter().find(|measured| measured.step == step).unwrap().rank_me.unwrap();
    assert_eq!(series.online.len(), 13);
    assert!(
        series.online.iter().all(|measured| measured.rank_me.unwrap() <= kept.value) && rank(kept.step) == kept.value
    );

    let data = Pictures::Drawn.dataset(1);
    let run = run_folder(&parts, &config, data.len());
    let stop = Requests::stopping();
    let mut last = train(&run, &config, data.clone(), &Device::flex(), &stop).unwrap();
    while last.outcome == Outcome::Interrupted {
        last = train(&run, &config, data.clone(), &Device::flex(), &stop).unwrap();
    }
    assert_eq!(last.best, Some(kept));
    let opened =
        |run: &Path| Encoder::open(&run.join("best.safetensors").to_string_lossy(), &Device::flex()).unwrap().info;
    assert_eq!((opened(&whole).steps, opened(&parts)), (kept.step, opened(&whole)));
    let bytes = |run: &Path| std::fs::read(run.join("best.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&parts) && !whole.join("best.partial").exists());
}

#[test]
fn a_run_that_shall_stop_saves_and_ends_when_it_is_spoilt_and_may_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["model.predictor=none", "watch.action=stop", "train.log_every_steps=1"], 0);
    let data = Pictures::Drawn.dataset(1);
    let run = run_folder(&folder.path().join("run"), &config, data.len());
    let go = || train(&run, &config, data.clone(), &Device::flex(), &Requests::new()).unwrap();
    let halted = go();
    assert_eq!(halted.outcome, Outcome::Halted);
    assert!(halted.step < 70 && halted.conclusion.is_bad(), "{halted:?}");
    let checkpoint = run.checkpoints().join(format!("step-{:08}.safetensors", halted.step));
    assert!(checkpoint.is_file() && run.path().join("encoder.safetensors").is_file());
    let causes = |run: &RunFolder| -> Vec<Cause> {
        Series::read(&run.metrics()).unwrap().findings.iter().map(|finding| finding.watch).collect()
    };
    assert_eq!(causes(&run), [Cause::PredictorAbsent]);

    let finished = go();
    assert_eq!((finished.outcome, finished.step), (Outcome::Finished, 70));
    assert_eq!(causes(&run).iter().filter(|&&cause| cause == Cause::PredictorAbsent).count(), 1, "it is said once");
}

#[test]
fn what_is_not_finite_first_is_named_in_error_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let (series, report) =
        watched(&folder.path().join("run"), &config(&["schedule.base_learning_rate=1e30"], 0), Pictures::Drawn);
    let Err(Error::NonFinite { what, .. }) = report else { panic!("{report:?}") };
    assert!(what.contains("weight online.encoder.conv1.weight") || what.contains("representation"), "{what}");
    let finding = series.findings.iter().find(|finding| finding.watch == Cause::NotFinite).unwrap();
    assert!(
        finding.found.contains(&what) && finding.remedy.contains("--set schedule.base_learning_rate="),
        "{finding}"
    );
}
