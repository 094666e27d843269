//! The loop as a whole: resume, thread count, the target's rules, collapse controls.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use byol::Preset;
use byol::config::Config;
use byol::run::{RunFolder, RunInfo, StepMetrics, read_metrics};
use byol::train::{Outcome, Requests, TrainState, train};
use byol_data::{Dataset, drawn};
use byol_nn::model::{Role, map_tensors, visit_tensors};
use byol_nn::weights::{StoredTensors, first_non_finite, load, save, to_vec};
use serde_json::Value;

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
        // The default depends on the clock.
        "eval.every_epochs=1",
    ];
    let settings: Vec<String> = tiny.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    Preset::Cifar10.resolve(&settings).unwrap()
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
        preset: None,
        warm_start: None,
        earlier_data: Vec::new(),
    };
    RunFolder::create(path, config, &info).unwrap()
}

/// Trains to the end and gives the metrics.
fn run(path: &Path, config: &Config) -> Vec<StepMetrics> {
    let run = new_run(path, config);
    let report = train(&run, config, dataset(), &Device::flex(), &Requests::new()).unwrap();
    assert_eq!(report.outcome, Outcome::Finished);
    read_metrics(&run.metrics()).unwrap()
}

/// What must be equal bit for bit; speeds differ from run to run.
fn trajectory(metrics: &[StepMetrics]) -> Vec<StepMetrics> {
    metrics.iter().map(|m| StepMetrics { images_per_second: 0.0, data_wait: 0.0, ..m.clone() }).collect()
}

/// What the run measured on itself, without the time that took.
fn online_lines(run: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut online: Vec<Value> = lines.filter(|line| line["eval"] == "online").collect();
    for line in &mut online {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("seconds").unwrap().as_f64().unwrap() > 0.0 && line.remove("time").unwrap().is_string());
    }
    online
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
        let stop = Requests::stopping();
        let mut processes = 0;
        while train(&parts, &parts_config, dataset(), &Device::flex(), &stop).unwrap().outcome == Outcome::Interrupted {
            processes += 1;
        }
        assert!(processes >= 10, "{processes}");
        assert_eq!(trajectory(&read_metrics(&parts.metrics()).unwrap()), trajectory(&whole), "{extra:?}");
        assert_eq!(online_lines(&parts_path), online_lines(&whole_path), "{extra:?}");
        let weights = |path: &Path| load(&path.join("checkpoints/step-00000012.safetensors")).unwrap();
        assert_eq!(weights(&parts_path), weights(&whole_path), "{extra:?}");
        assert!(weights(&parts_path).0.contains_key("probe.first_moment.weight"), "the probe is among them");
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
    train(&again, &config, dataset(), &Device::flex(), &Requests::new()).unwrap();
    assert_eq!(trajectory(&read_metrics(&again.metrics()).unwrap()), trajectory(&whole));
    let steps: Vec<u64> = online_lines(&path).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 4, 7, 10, 12], "each is there once");
    assert_eq!(std::fs::read(path.join("encoder.safetensors")).unwrap(), encoder);
    assert!(names_in(&checkpoints).iter().all(|name| !name.ends_with(".partial")));
}

/// Names in the folder of checkpoints, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_run_killed_between_its_last_checkpoint_and_its_last_measurement_still_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, config) = (folder.path().join("run"), config(&[]));
    run(&path, &config);
    let whole = online_lines(&path);
    let log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let last = log.trim_end().rfind('\n').unwrap() + 1;
    assert!(log[last..].contains("online"), "{}", &log[last..]);
    std::fs::write(path.join("metrics.jsonl"), &log[..last]).unwrap();
    let again = RunFolder::open(&path).unwrap();
    for _ in 0..2 {
        train(&again, &config, dataset(), &Device::flex(), &Requests::new()).unwrap();
        assert_eq!(online_lines(&path), whole, "once, and not again");
    }
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_steps_since_the_one_before_are_trained_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["train.checkpoint_every_steps=5", "train.checkpoints_kept=3"]);
    let path = folder.path().join("run");
    let whole = run(&path, &config);
    let checkpoints = path.join("checkpoints");
    let file = |step: u64| checkpoints.join(format!("step-{step:08}.safetensors"));
    let good: Vec<Vec<u8>> = [5, 10, 12].map(|step| std::fs::read(file(step)).unwrap()).into();
    let turned = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    std::fs::write(file(12), turned(&good[2])).unwrap();
    std::fs::write(file(10), &good[1][..good[1].len() / 2]).unwrap();
    let again = RunFolder::open(&path).unwrap();
    let go_on = || train(&again, &config, dataset(), &Device::flex(), &Requests::new());
    assert_eq!(go_on().unwrap().outcome, Outcome::Finished);
    assert_eq!(trajectory(&read_metrics(&again.metrics()).unwrap()), trajectory(&whole));
    for (step, bytes) in [5, 10, 12].into_iter().zip(&good) {
        assert!(std::fs::read(file(step)).unwrap() == *bytes, "step {step}");
    }
    let damaged = |name: &&String| name.ends_with(".damaged");
    let aside: Vec<String> = names_in(&checkpoints).iter().filter(damaged).cloned().collect();
    assert_eq!(aside, ["step-00000010.safetensors.damaged", "step-00000012.safetensors.damaged"]);

    let encoder = std::fs::read(path.join("encoder.safetensors")).unwrap();
    for (step, bytes) in [5, 10, 12].into_iter().zip(&good) {
        std::fs::write(file(step), turned(bytes)).unwrap();
    }
    let (before, error) = (names_in(&checkpoints), go_on().unwrap_err().to_string());
    assert!(error.contains("step-00000012") && error.contains("checksum"), "{error}");
    assert!(error.contains("the 2 older one(s) are damaged, too") && error.contains("Restore one"), "{error}");
    assert_eq!(names_in(&checkpoints), before, "a run that cannot go on is left as it is");
    assert!(std::fs::read(path.join("encoder.safetensors")).unwrap() == encoder);
}

#[test]
fn checkpoints_by_time_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let [never, always] = ["0", "1e-7"].map(|minutes| {
        let minutes = format!("train.checkpoint_every_minutes={minutes}");
        let path = folder.path().join(&minutes);
        let metrics = run(&path, &config(&[&minutes, "train.checkpoints_kept=100"]));
        (trajectory(&metrics), online_lines(&path), last_weights(&path), names_in(&path.join("checkpoints")).len())
    });
    assert_eq!((never.3, always.3), (1, 12), "at the end only, and after every step");
    assert_eq!((never.0, never.1, never.2), (always.0, always.1, always.2));
}

#[test]
fn a_run_does_not_go_on_with_other_settings_or_beside_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = config(&[]);
    let run = new_run(&folder.path().join("run"), &first);
    let go_on = |config: &Config| train(&run, config, dataset(), &Device::flex(), &Requests::stopping());
    go_on(&first).unwrap();
    let error = go_on(&config(&["optimizer.weight_decay=0.5"])).unwrap_err().to_string();
    assert!(error.contains("config.toml was changed"), "{error}");
    go_on(&config(&["train.loader_threads=2", "train.checkpoints_kept=5", "train.checkpoint_every_minutes=0"]))
        .unwrap();
    let held = std::fs::File::open(run.path().join("run.json")).unwrap();
    held.lock().unwrap();
    let error = go_on(&first).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
}

#[test]
fn a_weight_that_is_not_finite_is_never_saved() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[]);
    let mut state = TrainState::new(&config, 0, &Device::flex());
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
    train(&run, &config, dataset(), &Device::flex(), &Requests::new()).unwrap();
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
    let error = train(&run, &config, dataset(), &Device::flex(), &Requests::new()).unwrap_err().to_string();
    assert!(error.contains("at step") && error.contains("base_learning_rate"), "{error}");
    let newest = byol::train::checkpoints(&run.checkpoints()).unwrap().pop().unwrap();
    assert!(error.contains(&newest.display().to_string()), "{error}");
    assert_eq!(first_non_finite(&load(&newest).unwrap().0), None, "the kept checkpoint is good");
}

#[test]
fn the_target_moves_by_tau_and_keeps_its_own_batch_norm_statistics() {
    let device = Device::flex();
    let config = config(&["model.copy_online_to_target=false"]);
    let mut state = TrainState::new(&config, 0, &device);
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
    let (start, no_predictor) = spread("no-predictor", &["model.predictor=none"]);
    let (_, with_gradient) = spread("gradient", &["model.target=gradient"]);
    eprintln!("projection_std: byol {healthy}, without predictor {no_predictor}, gradient into target {with_gradient}");
    assert!(healthy > 0.1, "{healthy} (evenly spread would be 0.25)");
    assert!(no_predictor < 0.1 * start && with_gradient < 0.1 * start, "{start} -> {no_predictor}, {with_gradient}");
}

/// Tensors of the last checkpoint of [`run`] but those of the probe.
fn last_weights(run: &Path) -> StoredTensors {
    let (mut tensors, _) = load(&run.join("checkpoints/step-00000012.safetensors")).unwrap();
    tensors.retain(|name, _| !name.starts_with("probe."));
    assert!(tensors.len() > 250, "{}", tensors.len());
    tensors
}

/// Weights of both networks, running averages and moments are what they are without looking.
#[test]
fn measuring_at_every_step_changes_no_bit_of_what_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    for extra in [&[][..], &["train.accumulation_steps=2"], &["optimizer.kind=lars", "schedule.base_learning_rate=1"]] {
        let at = |name: &str| folder.path().join(format!("{name}{}", extra.concat()));
        let watched = run(&at("watched"), &config(&[extra, &["eval.every_epochs=0.1"]].concat()));
        let alone = run(&at("alone"), &config(&[extra, &["eval.every_epochs=0", "train.tensorboard=false"]].concat()));
        assert_eq!(last_weights(&at("watched")), last_weights(&at("alone")), "{extra:?}");
        assert_eq!(watched.last().unwrap().loss, alone.last().unwrap().loss);
        assert!(watched.iter().all(|m| m.probe_loss.is_some()) && alone.iter().all(|m| m.probe_loss.is_none()));
        assert_eq!((online_lines(&at("watched")).len(), online_lines(&at("alone")).len()), (13, 0));
        assert!(at("watched").join("tensorboard").exists() && !at("alone").join("tensorboard").exists());
    }
}

#[test]
fn every_number_of_a_measurement_is_in_its_range_and_says_how_it_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    run(&path, &config(&["eval.every_epochs=2", "eval.images=40", "eval.k=3"]));
    let lines = online_lines(&path);
    assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 7, 12]);
    for line in &lines {
        let within = |key: &str, low: f64, high: f64| {
            let value = line[key].as_f64().unwrap();
            assert!((low..=high).contains(&value), "{key} {line}");
        };
        within("rank_me", 1.0, 32.01);
        within("alignment", 0.0, 4.0);
        within("uniformity", -8.0, 0.0);
        within("knn_top1", 0.0, 100.0);
        within("linear_probe_top1", 0.0, 100.0);
        let counts = ["images", "k", "train_images", "test_images"].map(|key| line[key].as_u64().unwrap());
        assert_eq!(counts, [40, 3, 40, 10]);
        assert!(line["protocol"].as_str().unwrap().contains("pretrained on them without labels"));
    }

    let images = drawn::draw(IMAGES, 7, 16).into_iter().map(|(image, _)| image).collect();
    let names = (0..IMAGES).map(|index| index.to_string()).collect();
    let unlabelled = Arc::new(Dataset::from_images(images, None, vec![], names));
    let config = config(&["eval.every_epochs=2", "eval.images=40"]);
    let without = new_run(&folder.path().join("unlabelled"), &config);
    train(&without, &config, unlabelled, &Device::flex(), &Requests::new()).unwrap();
    assert!(read_metrics(&without.metrics()).unwrap().iter().all(|m| m.probe_loss.is_none()));
    let without = online_lines(without.path());
    for (line, labelled) in without.iter().zip(&lines) {
        assert_eq!((line.get("knn_top1"), line.get("linear_probe_top1")), (None, None));
        for key in ["rank_me", "alignment", "uniformity"] {
            assert_eq!(line[key], labelled[key], "labels change nothing about {key}");
        }
    }
}

#[test]
fn a_run_of_a_version_without_probe_and_its_settings_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    run(&whole, &config(&[]));
    let old = new_run(&folder.path().join("old"), &config(&[]));
    let step = |run: &RunFolder, stop: bool| {
        train(
            run,
            &run.config().unwrap(),
            dataset(),
            &Device::flex(),
            &if stop { Requests::stopping() } else { Requests::new() },
        )
        .unwrap()
        .outcome
    };
    step(&old, true);
    let file = old.checkpoints().join("step-00000001.safetensors");
    let (mut tensors, mut metadata) = load(&file).unwrap();
    tensors.retain(|name, _| !name.starts_with("probe."));
    let without = |text: &str| {
        let mut table: toml::Table = text.parse().unwrap();
        table.remove("eval").unwrap();
        for key in ["tensorboard", "checkpoint_every_minutes"] {
            table["train"].as_table_mut().unwrap().remove(key).unwrap();
        }
        table.to_string()
    };
    metadata.insert("config".to_owned(), without(&metadata["config"]));
    save(&file, &tensors, metadata).unwrap();
    let settings = old.path().join("config.toml");
    std::fs::write(&settings, without(&std::fs::read_to_string(&settings).unwrap())).unwrap();
    assert_eq!(step(&old, false), Outcome::Finished);
    assert_eq!(last_weights(old.path()), last_weights(&whole));
}

/// Length and scalars of each record of an event file, by the published formats; the checksum is computed bit by bit.
fn read_events(path: &Path) -> Vec<(u64, Vec<(String, f32)>)> {
    fn masked_crc(data: &[u8]) -> u32 {
        let crc = data.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
        });
        (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
    }
    fn varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for place in 0.. {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7F) << (7 * place);
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    /// Fields with their bytes; a varint as its eight bytes.
    fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        while !data.is_empty() {
            let key = varint(&mut data);
            let length = match key & 7 {
                0 => {
                    fields.push((key >> 3, varint(&mut data).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                5 => 4,
                2 => varint(&mut data) as usize,
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, data[..length].to_vec()));
            data = &data[length..];
        }
        fields
    }
    let file = std::fs::read(path).unwrap();
    let mut rest = &file[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let (data, end) = rest[12..].split_at(length);
        assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
        assert_eq!(end[..4], masked_crc(data).to_le_bytes());
        rest = &end[4..];
        let event = fields(data);
        let step = event.iter().find(|(field, _)| *field == 2);
        let step = step.map_or(0, |(_, bytes)| u64::from_le_bytes(bytes[..].try_into().unwrap()));
        let values = event.iter().filter(|(field, _)| *field == 5).flat_map(|(_, summary)| fields(summary));
        let scalar = |(_, value): (u64, Vec<u8>)| {
            let value = fields(&value);
            let number = f32::from_le_bytes(value[1].1[..].try_into().unwrap());
            (String::from_utf8(value[0].1.clone()).unwrap(), number)
        };
        events.push((step, values.map(scalar).collect()));
    }
    events
}

#[test]
fn tensorboard_gets_the_numbers_of_the_log_and_a_file_for_each_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["train.log_every_steps=5"]);
    let run = new_run(&folder.path().join("run"), &config);
    for stop in [true, false] {
        train(&run, &config, dataset(), &Device::flex(), &if stop { Requests::stopping() } else { Requests::new() })
            .unwrap();
    }
    let mut files: Vec<_> = std::fs::read_dir(run.tensorboard()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.")));
    let [first, second] = [read_events(&files[0]), read_events(&files[1])];
    let steps = |events: &[(u64, Vec<_>)]| events.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    // Version and start; then measurements and steps as they come.
    assert_eq!(steps(&first), [0, 0, 0, 0]);
    assert_eq!(steps(&second), [0, 1, 4, 5, 7, 10, 10, 11, 12]);
    let scalars: Vec<_> = [first, second]
        .concat()
        .into_iter()
        .flat_map(|(step, scalars)| scalars.into_iter().map(move |(tag, value)| (tag, step, value)))
        .collect();
    let metrics = read_metrics(&run.metrics()).unwrap();
    for m in &metrics {
        for (tag, value) in [
            ("train/loss", m.loss),
            ("train/learning_rate", m.learning_rate as f32),
            ("train/projection_std", m.projection_std),
            ("train/probe_top1", m.probe_top1.unwrap() as f32),
        ] {
            assert!(scalars.contains(&(tag.to_owned(), m.step, value)), "{tag} of step {}", m.step);
        }
    }
    assert_eq!(scalars.iter().filter(|(tag, _, _)| tag == "train/loss").count(), metrics.len());
    for line in online_lines(run.path()) {
        let value = line["rank_me"].as_f64().unwrap() as f32;
        assert!(scalars.contains(&("online/rank_me".to_owned(), line["step"].as_u64().unwrap(), value)));
    }
    assert!(scalars.iter().all(|(tag, _, _)| !tag.ends_with("/step") && !tag.ends_with("/protocol")));
}
