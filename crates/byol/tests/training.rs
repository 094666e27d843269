//! The loop as a whole: resume, thread count, the target's rules, collapse controls.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use byol::config::{Config, Preset};
use byol::model::{Role, map_tensors, visit_tensors};
use byol::run::{RunFolder, RunInfo};
use byol::train::{Outcome, StepMetrics, TrainState, read_metrics, train};
use byol::weights::{first_non_finite, load, to_vec};
use byol_data::{Dataset, drawn};

const IMAGES: usize = 50;

fn dataset() -> Arc<Dataset> {
    let (images, labels): (Vec<_>, Vec<_>) = drawn::draw(IMAGES, 7, 16).into_iter().unzip();
    let names = (0..IMAGES).map(|index| index.to_string()).collect();
    Arc::new(Dataset::from_images(images, Some(labels), drawn::CLASSES.map(str::to_owned).to_vec(), names))
}

fn config(settings: &[&str]) -> Config {
    let tiny = [
        "model.arch=resnet18x0.0625",
        "model.projector_hidden=32",
        "model.predictor_hidden=32",
        "model.projection_size=16",
        "views.size_px=16",
        "train.batch_size=16",
        "train.log_every_steps=1",
        "train.checkpoint_every_steps=1000",
        "schedule.warmup_epochs=1",
        "schedule.epochs=4",
    ];
    let settings: Vec<String> = tiny.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    Config::resolve(Preset::Cifar10, &settings).unwrap()
}

fn new_run(path: &Path, config: &Config) -> RunFolder {
    let info = RunInfo {
        data: Vec::new(),
        split: None,
        data_fingerprint: 0,
        images: IMAGES,
        input: String::new(),
        device: "cpu".to_owned(),
        version: String::new(),
    };
    RunFolder::create(path, config, &info).unwrap()
}

/// Trains to the end and gives the metrics.
fn run(path: &Path, config: &Config) -> Vec<StepMetrics> {
    let run = new_run(path, config);
    let report = train(&run, config, dataset(), &Device::flex(), &AtomicBool::new(false)).unwrap();
    assert_eq!(report.outcome, Outcome::Finished);
    read_metrics(&run.metrics()).unwrap()
}

/// What must be equal bit for bit; speeds differ from run to run.
fn trajectory(metrics: &[StepMetrics]) -> Vec<(u64, u32, u32, u32)> {
    metrics.iter().map(|m| (m.step, m.loss.to_bits(), m.projection_std.to_bits(), m.grad_norm.to_bits())).collect()
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit_in_the_middle_of_an_epoch_with_other_loader_threads() {
    let folder = tempfile::tempdir().unwrap();
    for extra in [&[][..], &["train.accumulation_steps=2"], &["optimizer.kind=lars", "schedule.base_learning_rate=1"]] {
        let whole_config = config(&[extra, &["train.loader_threads=1"]].concat());
        let whole_path = folder.path().join(format!("whole{}", extra.len()) + &extra.concat());
        let whole = run(&whole_path, &whole_config);
        assert_eq!(whole.len(), 12, "12 steps of 16 of 50 pictures are almost 4 epochs");

        // Every interruption is a process of its own: stop after one step, again and again.
        let parts_config = config(&[extra, &["train.loader_threads=3"]].concat());
        let parts_path = folder.path().join(format!("parts{}", extra.len()) + &extra.concat());
        let parts = new_run(&parts_path, &parts_config);
        let stop = AtomicBool::new(true);
        let mut processes = 0;
        while train(&parts, &parts_config, dataset(), &Device::flex(), &stop).unwrap().outcome == Outcome::Interrupted {
            processes += 1;
        }
        assert!(processes >= 10, "{processes}");
        assert_eq!(trajectory(&read_metrics(&parts.metrics()).unwrap()), trajectory(&whole), "{extra:?}");
        let weights = |path: &Path| load(&path.join("checkpoints/step-00000012.safetensors")).unwrap();
        assert_eq!(weights(&parts_path), weights(&whole_path), "{extra:?}");
        assert_eq!(
            load(&parts_path.join("encoder.safetensors")).unwrap(),
            load(&whole_path.join("encoder.safetensors")).unwrap()
        );
    }
}

#[test]
fn a_killed_run_goes_on_from_a_checkpoint_older_than_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["train.checkpoint_every_steps=5"]);
    let path = folder.path().join("run");
    let whole = run(&path, &config);
    // What a kill after step 11 leaves: a checkpoint of step 10, a log that knows more, a torn line, a file half written.
    let checkpoints = path.join("checkpoints");
    std::fs::remove_file(checkpoints.join("step-00000012.safetensors")).unwrap();
    std::fs::write(checkpoints.join("step-00000011.safetensors.partial"), b"torn").unwrap();
    let log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    std::fs::write(path.join("metrics.jsonl"), &log[..log.len() - 20]).unwrap();
    let encoder = std::fs::read(path.join("encoder.safetensors")).unwrap();
    std::fs::write(path.join("encoder.safetensors"), b"old").unwrap();

    let again = RunFolder::open(&path).unwrap();
    train(&again, &config, dataset(), &Device::flex(), &AtomicBool::new(false)).unwrap();
    assert_eq!(trajectory(&read_metrics(&again.metrics()).unwrap()), trajectory(&whole));
    assert_eq!(std::fs::read(path.join("encoder.safetensors")).unwrap(), encoder);
}

#[test]
fn a_run_does_not_go_on_with_other_settings_or_beside_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = config(&[]);
    let run = new_run(&folder.path().join("run"), &first);
    let go_on = |config: &Config| train(&run, config, dataset(), &Device::flex(), &AtomicBool::new(true));
    go_on(&first).unwrap();
    let error = go_on(&config(&["optimizer.weight_decay=0.5"])).unwrap_err().to_string();
    assert!(error.contains("config.toml was changed"), "{error}");
    go_on(&config(&["train.loader_threads=2", "train.checkpoints_kept=5"])).unwrap();
    let held = std::fs::File::open(run.path().join("run.json")).unwrap();
    held.lock().unwrap();
    let error = go_on(&first).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
}

#[test]
fn a_weight_that_is_not_finite_is_never_saved() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[]);
    let mut state = TrainState::new(&config, &Device::flex());
    let good = state.save(folder.path(), &config).unwrap();
    state.byol.online = map_tensors(state.byol.online, |name, _, tensor| match name {
        "encoder.conv1.weight" => tensor * f32::NAN,
        _ => tensor,
    });
    state.step = 1;
    let error = state.save(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("online.encoder.conv1.weight") && error.contains(&good.display().to_string()), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn only_the_newest_checkpoints_are_kept_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["train.checkpoint_every_steps=2", "train.checkpoints_kept=3"]);
    let run = new_run(&folder.path().join("run"), &config);
    let mine = run.checkpoints().join("best.safetensors");
    std::fs::write(&mine, b"mine").unwrap();
    train(&run, &config, dataset(), &Device::flex(), &AtomicBool::new(false)).unwrap();
    assert!(mine.exists());
    let names = byol::train::checkpoints(&folder.path().join("run/checkpoints")).unwrap();
    let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["step-00000008.safetensors", "step-00000010.safetensors", "step-00000012.safetensors"]);
}

#[test]
fn a_non_finite_loss_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[
        "optimizer.kind=sgd",
        "schedule.base_learning_rate=1e38",
        "schedule.warmup_epochs=2",
        "train.checkpoint_every_steps=1",
    ]);
    let run = new_run(&folder.path().join("run"), &config);
    let error = train(&run, &config, dataset(), &Device::flex(), &AtomicBool::new(false)).unwrap_err().to_string();
    assert!(error.contains("at step") && error.contains("base_learning_rate"), "{error}");
    let newest = byol::train::checkpoints(&run.checkpoints()).unwrap().pop().unwrap();
    assert!(error.contains(&newest.display().to_string()), "{error}");
    assert_eq!(first_non_finite(&load(&newest).unwrap().0), None, "the kept checkpoint is good");
}

#[test]
fn the_target_moves_by_tau_and_keeps_its_own_batch_norm_statistics() {
    let device = Device::flex();
    let config = config(&["model.copy_online_to_target=false"]);
    let mut state = TrainState::new(&config, &device);
    let read = |state: &TrainState| {
        let (mut online, mut target) = (Vec::new(), Vec::new());
        visit_tensors(&state.byol.online, |tensor| {
            online.push((tensor.name.to_owned(), tensor.role, to_vec(tensor.values)))
        });
        visit_tensors(&state.byol.target, |tensor| {
            target.push((tensor.name.to_owned(), tensor.role, to_vec(tensor.values)))
        });
        (online, target)
    };
    let (online, before) = read(&state);
    state.byol.update_target(0.75);
    let (_, after) = read(&state);
    assert!(before.len() > 60);
    for ((name, role, before), (_, _, after)) in before.iter().zip(&after) {
        let (_, _, theta) = online.iter().find(|(other, _, _)| other == name).unwrap();
        for ((before, after), theta) in before.iter().zip(after).zip(theta) {
            let expected = if *role == Role::Buffer { *before } else { before + 0.25 * (theta - before) };
            assert!((after - expected).abs() < 1e-6, "{name}");
        }
    }
    state.byol.update_target(1.0);
    assert_eq!(read(&state).1, after, "tau 1 leaves the target where it is");
}

/// Spec §6.8: without a predictor, or with the gradient flowing into the target, the projections of all pictures become
/// one; the complete method keeps them apart.
#[test]
fn the_method_does_not_collapse_and_its_broken_variants_do() {
    let folder = tempfile::tempdir().unwrap();
    let common =
        ["optimizer.kind=sgd", "schedule.epochs=60", "schedule.warmup_epochs=2", "schedule.base_learning_rate=1.0"];
    let spread = |name: &str, settings: &[&str]| {
        let metrics = run(&folder.path().join(name), &config(&[&common, settings].concat()));
        let tail = &metrics[metrics.len() - 10..];
        (metrics[0].projection_std, tail.iter().map(|m| m.projection_std).sum::<f32>() / 10.0)
    };
    let (_, healthy) = spread("byol", &[]);
    let (start, no_predictor) = spread("no-predictor", &["model.predictor=false"]);
    let (_, with_gradient) = spread("gradient", &["model.target=gradient"]);
    eprintln!("projection_std: byol {healthy}, without predictor {no_predictor}, gradient into target {with_gradient}");
    assert!(healthy > 0.1, "{healthy} (evenly spread would be 0.25)");
    assert!(no_predictor < 0.1 * start && with_gradient < 0.1 * start, "{start} -> {no_predictor}, {with_gradient}");
}
