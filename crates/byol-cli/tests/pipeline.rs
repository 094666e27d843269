//! From pictures to an evaluated encoder with the real binary: folder and archive, metrics, evaluation, embedding, broken
//! pictures, Ctrl-C and resume.

mod pictures;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pictures::{truncate, write_class};
use serde_json::Value;

const CLASSES: [&str; 3] = ["across", "down", "slanted"];
const TRAIN_PER_CLASS: usize = 30;
const TEST_PER_CLASS: usize = 10;
const TRAIN: usize = CLASSES.len() * TRAIN_PER_CLASS;
const TEST: usize = CLASSES.len() * TEST_PER_CLASS;

/// 8 · 8 channels of a ResNet-18 of an eighth of the width.
const REPRESENTATION_SIZE: usize = 64;

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.125 --set views.size_px=16 \
    --set model.projector_hidden=32 --set model.predictor_hidden=32 --set model.projection_size=16 \
    --set train.batch_size=16 --set train.log_every_steps=1 --set schedule.epochs=2 --set schedule.warmup_epochs=0.5";

/// 2 epochs of 90 pictures in batches of 16, rounded down.
const STEPS: usize = 11;

#[test]
fn pictures_become_an_evaluated_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));

    let summary = json_of(&byol(at, "pretrain data --out run --json TINY"));
    assert_eq!(
        keys(&summary),
        set(&[
            "run",
            "finished",
            "steps",
            "seconds",
            "bad_images",
            "last",
            "learning",
            "verdict",
            "advice",
            "findings",
            "best"
        ])
    );
    assert_eq!(
        (&summary["finished"], &summary["steps"], &summary["bad_images"]),
        (&true.into(), &STEPS.into(), &0.into())
    );

    check_run_folder(&at.join("run"));
    check_metrics(&at.join("run"));
    check_the_archive_gives_the_same(at);
    check_evaluations(at);
    check_embeddings(at);

    let before = fs::read(at.join("run/metrics.jsonl")).unwrap();
    let again = json_of(&byol(at, "resume run --json"));
    assert_eq!((&again["finished"], &again["steps"]), (&true.into(), &STEPS.into()), "a finished run is finished");
    assert_eq!(fs::read(at.join("run/metrics.jsonl")).unwrap(), before);
}

fn check_run_folder(run: &Path) {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = [
        "checkpoints",
        "config.toml",
        "encoder.json",
        "encoder.safetensors",
        "metrics.jsonl",
        "run.json",
        "tensorboard",
    ];
    assert_eq!(entries.collect::<BTreeSet<_>>(), set(&expected));
    assert!(run.join("checkpoints/step-00000011.safetensors").is_file());
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    for line in ["arch = \"resnet18x0.125\"", "batch_size = 16", "size_px = 16", "kind = \"adam\""] {
        assert!(config.lines().any(|found| found == line), "{line} in {config}");
    }
    let encoder: Value = serde_json::from_slice(&fs::read(run.join("encoder.json")).unwrap()).unwrap();
    assert_eq!((&encoder["arch"], &encoder["steps"]), (&"resnet18x0.125".into(), &STEPS.into()));
    assert_eq!(encoder["preprocessing"]["size_px"], 16);
    assert_eq!(encoder["representation_size"], REPRESENTATION_SIZE);
}

fn check_metrics(run: &Path) {
    let [session] = &sessions(run)[..] else { panic!("one process trained the run") };
    let expected = ["first_step", "version", "isa", "cpu", "threads", "ranks", "precision"];
    let expected = expected.into_iter().filter(|&key| key != "cpu" || byol_kernels::cpu_name().is_some());
    assert_eq!(keys(session), expected.map(str::to_owned).collect());
    let isa: byol_kernels::Isa = session["isa"].as_str().unwrap().parse().unwrap();
    assert_eq!((isa, &session["first_step"]), (byol_kernels::Isa::best(), &0.into()));
    let lines = metrics(run);
    assert_eq!(lines.len(), STEPS);
    let expected = [
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "target_ema",
        "images_per_second",
        "data_wait",
        "projection_std",
        "positive_cosine",
        "grad_norm",
        "probe_loss",
        "probe_top1",
    ];
    for (step, line) in lines.iter().enumerate() {
        assert_eq!(keys(line), set(&expected));
        let number = |key: &str| line[key].as_f64().unwrap();
        let in_range = |key: &str, low: f64, high: f64| {
            assert!((low..=high).contains(&number(key)), "{key} of {line}");
        };
        assert_eq!(line["step"], step);
        assert!((number("epoch") - (step * 16) as f64 / TRAIN as f64).abs() < 1e-12);
        in_range("loss", 0.0, 8.0);
        in_range("target_ema", 0.99, 1.0);
        in_range("data_wait", 0.0, 1.0);
        in_range("positive_cosine", -1.0, 1.0);
        // 1 / √16 if the projections are spread evenly.
        in_range("projection_std", 0.01, 0.3);
        in_range("images_per_second", 1.0, f64::MAX);
        in_range("grad_norm", 1e-6, f64::MAX);
    }
    // base 1.5e-3 · batch 16 / 256, reached after ⌊0.5 · 90 / 16⌋ = 2 steps.
    let rates: Vec<f64> = lines.iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates[0], 0.0);
    assert!((rates[2] - 1.5e-3 / 16.0).abs() < 1e-12 && rates[2..].is_sorted_by(|a, b| a > b), "{rates:?}");
}

fn check_the_archive_gives_the_same(at: &Path) {
    let tar = Command::new("tar").current_dir(at).args(["-cf", "data.tar", "-C", "data", "."]).status().unwrap();
    assert!(tar.success());
    success(byol(at, "pretrain data.tar --out from-tar TINY"));
    assert_eq!(steps_and_losses(&at.join("from-tar")), steps_and_losses(&at.join("run")));
}

fn check_evaluations(at: &Path) {
    let fields = [
        "eval",
        "encoder",
        "arch",
        "training",
        "step",
        "data",
        "preprocessing",
        "train_images",
        "test_images",
        "classes",
        "protocol",
        "rows",
        "largest_class",
    ];
    let frozen = ["encoder", "random"];
    let trained = ["encoder", "supervised"];
    let semi = "--labels 20%,100% --semi-rates 0.05,0.01 --semi-epochs 2 --semi-batch-size 16";
    let finetune = "--finetune-steps 4 --finetune-batch-size 16 --finetune-rates 0.01,0.05 --finetune-decays 0,1e-4";
    // (protocol, options, whose rows, rows of each)
    let protocols = [
        ("knn", "--k 5,20 --temperature 0.1,0.5", frozen, 4),
        ("linear", "--epochs 20", frozen, 1),
        ("linear", "--epochs 2 --augmentation crop-flip --held-out last:12", frozen, 1),
        ("linear", "--epochs 2 --augmentation pretraining --logit-regularisation", frozen, 1),
        ("transfer", "--l2-values 5 --held-out 7", frozen, 1),
        ("semi", semi, trained, 2),
        ("finetune", finetune, trained, 1),
    ];
    for (name, options, networks, settings) in protocols {
        let record = json_of(&byol(at, &format!("eval {name} run --data data --json {options}")));
        let is_repeatable = matches!(name, "knn" | "linear") && !options.contains("--augmentation");
        let fields = fields.iter().chain(is_repeatable.then_some(&"repeat")).map(|&field| field.to_owned());
        assert_eq!(keys(&record), fields.collect(), "{name} {options}");
        assert_eq!((&record["eval"], &record["step"]), (&name.into(), &STEPS.into()));
        let description = record["data"].as_str().unwrap();
        assert!(description.contains("trained on the `train` part, tested on the `test` part"), "{description}");
        assert_eq!((&record["train_images"], &record["test_images"]), (&TRAIN.into(), &TEST.into()));
        let rows = record["rows"].as_array().unwrap();
        let expected: Vec<&str> = networks.iter().flat_map(|network| vec![*network; settings]).collect();
        assert_eq!(rows.iter().map(|row| row["network"].as_str().unwrap()).collect::<Vec<_>>(), expected, "{name}");
        for row in rows {
            let numbers = row["numbers"].as_object().unwrap();
            assert_eq!(numbers.keys().collect::<Vec<_>>(), ["mean_per_class", "top1", "top5"], "{name}");
            assert!(numbers.values().all(|number| (0.0..=100.0).contains(&number["mean"].as_f64().unwrap())), "{row}");
            let confusion = row["confusion"].as_array().unwrap();
            let counted: u64 =
                confusion.iter().flat_map(|of_class| of_class.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(counted, TEST as u64, "every test picture is in the confusion counts once");
        }
        let logged = metrics_and_evaluations(&at.join("run")).pop().unwrap();
        assert_eq!(logged, record, "the run remembers its evaluations");
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(at.join("run/evaluation.json")).unwrap()).unwrap();
    let kept = kept["evaluations"].as_array().unwrap();
    assert_eq!(kept.len(), protocols.len(), "one entry per protocol and options");
    let said = |held_out| kept.iter().filter(|entry| entry["protocol"].as_str().unwrap().contains(held_out)).count();
    assert_eq!(said("chosen on 10 % held-out training pictures (drawn at random)"), 2, "linear, but for one");
    assert_eq!(said("chosen on the last 12 training pictures, held out"), 1);
    assert_eq!(said("on 7 held-out training pictures (class-balanced)"), 1);
    assert_eq!(said("chosen on 10 % held-out training pictures (class-balanced)"), 2, "semi and finetune");
    success(byol(at, "eval knn run --data data --k 5,20 --temperature 0.1,0.5"));
    let again: Value = serde_json::from_str(&fs::read_to_string(at.join("run/evaluation.json")).unwrap()).unwrap();
    assert_eq!(
        again["evaluations"].as_array().unwrap().len(),
        protocols.len(),
        "a repeated evaluation takes the place of the first"
    );

    let lists: Vec<_> = fs::read_dir(at.join("run/labelled")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(lists.len(), 2, "{lists:?}");
    let list = at.join("run/labelled/semi-0.2-seed-0.txt");
    let listed = json_of(&byol(
        at,
        &format!("eval semi run --data data --json --label-list {} {}", list.display(), &semi[17..]),
    ));
    assert_eq!(listed["rows"].as_array().unwrap().len(), 2);

    let seeds = json_of(&byol(
        at,
        "eval linear run --data data --json --epochs 2 --seeds 2 --supervised-epochs 1 --reference random:resnet18x0.0625:cifar:8",
    ));
    let rows = seeds["rows"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["network"].as_str().unwrap()).collect::<Vec<_>>(),
        ["encoder", "random", "supervised", "reference"]
    );
    assert!(
        rows.iter().all(|row| row["seeds"] == serde_json::json!([0, 1]) && row["numbers"]["top1"]["std"].is_f64()),
        "{seeds}"
    );
    let kept = json_of(&byol(at, "eval knn run --data data --json --seeds 2"));
    assert_eq!(kept["rows"][2]["network"], "supervised", "a baseline that was trained stays in the tables");

    let random = json_of(&byol(at, "eval knn random:resnet18x0.125:cifar:16 --data data --k 5 --json"));
    assert_eq!(random["rows"].as_array().unwrap().len(), 1, "random weights need no random weights beside them");
}

fn check_embeddings(at: &Path) {
    let written = json_of(&byol(at, "embed run data -o train.npy --json"));
    assert_eq!((&written["images"], &written["size"]), (&TRAIN.into(), &REPRESENTATION_SIZE.into()));
    assert_eq!(written["files"], serde_json::json!(["train.npy", "train.names.csv"]));
    let (shape, npy) = read_npy(&at.join("train.npy"));
    assert_eq!(shape, [TRAIN, REPRESENTATION_SIZE]);
    let names = read_csv(&at.join("train.names.csv"));
    assert_eq!(names[0], ["name", "label"]);
    assert_eq!(names[1], ["train/across/0.png", "across"]);
    assert_eq!(names.len(), 1 + TRAIN);

    success(byol(at, "embed run data -o train.csv"));
    let rows = read_csv(&at.join("train.csv"));
    assert_eq!(rows.len(), 1 + TRAIN);
    assert_eq!(rows[0].len(), 2 + REPRESENTATION_SIZE);
    assert_eq!(rows.iter().map(|row| &row[..2]).collect::<Vec<_>>(), names);
    let values = rows[1..].iter().flat_map(|row| &row[2..]).map(|value| value.parse::<f32>().unwrap());
    assert_eq!(values.collect::<Vec<_>>(), npy, "both formats hold the same numbers");
    assert!(npy.iter().any(|&value| value != npy[0]));

    success(byol(at, "embed run data --split test -o test.csv"));
    let test = read_csv(&at.join("test.csv"));
    assert_eq!(test.len(), 1 + TEST);
    assert_eq!(test[TEST][..2], ["test/slanted/9.png", "slanted"]);
}

#[test]
fn a_broken_picture_is_skipped_and_listed_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    truncate(&at.join("data/train/down/7.png"));
    let summary = json_of(&byol(at, "pretrain data --out run --json TINY --set data.max_bad_fraction=0.05"));
    assert_eq!((&summary["bad_images"], &summary["steps"]), (&1.into(), &STEPS.into()));
    let list = fs::read_to_string(at.join("run/bad_images.jsonl")).unwrap();
    let lines: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "two epochs, one line: {list}");
    assert_eq!(lines[0]["name"], "train/down/7.png");
    assert!(!lines[0]["reason"].as_str().unwrap().is_empty());

    // The run's limit holds for its evaluation as well, and a flag sets another.
    let record = json_of(&byol(at, "eval knn run --data data --json"));
    assert_eq!(record["train_images"], TRAIN - 1);
    let refused = byol(at, "eval knn run --data data --max-bad-fraction 0");
    assert_eq!(refused.status.code(), Some(2));
    let written = json_of(&byol(at, "embed run data -o out.csv --json"));
    assert_eq!(
        (&written["images"], &written["bad_images"][0]["name"]),
        (&(TRAIN - 1).into(), &"train/down/7.png".into())
    );
}

/// SIGINT as a terminal sends it.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_ends_where_an_uninterrupted_run_does() {
    const LONG: &str = "TINY --set schedule.epochs=20 --set train.checkpoint_every_steps=1000";
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    success(byol(at, &format!("pretrain data --out whole {LONG}")));

    let child = command(at, &format!("pretrain data --out halves --json {LONG}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = at.join("halves/metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 7 {
        assert!(Instant::now() < deadline, "training did not start");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let interrupted = child.wait_with_output().unwrap();
    let stderr = text(&interrupted.stderr);
    assert_eq!(interrupted.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("byol resume halves") && !stderr.contains("panicked"), "{stderr}");
    let summary: Value = serde_json::from_slice(&interrupted.stdout).unwrap();
    let steps = summary["steps"].as_u64().unwrap() as usize;
    assert_eq!(summary["finished"], false);
    assert_eq!(metrics(&at.join("halves")).len(), steps, "every step taken is logged");
    assert!(at.join(format!("halves/checkpoints/step-{steps:08}.safetensors")).is_file());
    assert!(at.join("halves/encoder.safetensors").is_file(), "what is there can be evaluated");

    let whole = steps_and_losses(&at.join("whole"));
    assert!(steps < whole.len(), "interrupted before the end");
    success(byol(at, "resume halves --loader-threads 3"));
    assert_eq!(steps_and_losses(&at.join("halves")), whole);
    let first_steps: Vec<Value> =
        sessions(&at.join("halves")).into_iter().map(|line| line["first_step"].clone()).collect();
    assert_eq!(first_steps, [Value::from(0), Value::from(steps)]);
    for file in ["encoder.safetensors", "encoder.json"] {
        assert!(
            fs::read(at.join("halves").join(file)).unwrap() == fs::read(at.join("whole").join(file)).unwrap(),
            "{file}"
        );
    }
}

/// `timeout` and batch systems send their signal to the process and once more to its group.
#[cfg(unix)]
#[test]
fn a_doubled_signal_is_one_request_and_a_second_one_later_stops_at_once() {
    // One step of minutes: 45 passes of a large network.
    const SLOW: &str = "TINY --set model.arch=resnet50x2 --set views.size_px=64 --set train.batch_size=90 \
        --set train.accumulation_steps=45 --set eval.every_epochs=0";
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    let start = |arguments: &str| command(at, arguments).stderr(Stdio::piped()).spawn().unwrap();
    let signal = |child: &std::process::Child, name: &str| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    let wait_for_lines = |run: &str, lines: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::read_to_string(at.join(run).join("metrics.jsonl")).unwrap_or_default().lines().count() < lines {
            assert!(Instant::now() < deadline, "training did not start");
            std::thread::sleep(Duration::from_millis(2));
        }
    };

    let twice = start("pretrain data --out twice TINY --set schedule.epochs=200");
    wait_for_lines("twice", 4);
    signal(&twice, "-TERM");
    signal(&twice, "-TERM");
    let output = twice.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("everything is saved"), "{stderr}");
    assert_eq!(stderr.matches("stopping after this step").count(), 1, "{stderr}");

    let hasty = start(&format!("pretrain data --out hasty {SLOW}"));
    wait_for_lines("hasty", 1);
    signal(&hasty, "-INT");
    std::thread::sleep(Duration::from_millis(1200));
    signal(&hasty, "-INT");
    let output = hasty.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopping after this step") && !stderr.contains("saved"), "{stderr}");
    assert!(fs::read_dir(at.join("hasty/checkpoints")).unwrap().next().is_none(), "it did not wait for the step");
}

fn write_data(data: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        write_class(&data.join("train").join(name), class, TRAIN_PER_CLASS);
        write_class(&data.join("test").join(name), class, TEST_PER_CLASS);
    }
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.current_dir(folder).args(arguments.replace("TINY", TINY).split_whitespace());
    command
}

fn byol(folder: &Path, arguments: &str) -> Output {
    command(folder, arguments).output().unwrap()
}

fn success(output: Output) -> Output {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    output
}

/// The one object that a successful command printed.
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    let stdout = text(&output.stdout);
    let value: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert!(value.is_object() && stdout.lines().count() == 1, "one object on one line: {stdout}");
    value
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn metrics_and_evaluations(run: &Path) -> Vec<Value> {
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        // 2026-11-27T09:30:00.125Z
        let time = line.as_object_mut().unwrap().remove("time").expect("every line has its time");
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        line
    };
    log.lines().map(timeless).collect()
}

fn metrics(run: &Path) -> Vec<Value> {
    let is_step = |line: &Value| line.get("loss").is_some();
    metrics_and_evaluations(run).into_iter().filter(is_step).collect()
}

/// What computed the steps: a line of every process that trained the run.
fn sessions(run: &Path) -> Vec<Value> {
    metrics_and_evaluations(run).into_iter().filter_map(|mut line| Some(line.get_mut("session")?.take())).collect()
}

/// What must be equal bit for bit: numbers compare exactly.
fn steps_and_losses(run: &Path) -> Vec<(u64, f64)> {
    metrics(run).iter().map(|line| (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap())).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Shape and values of a NumPy file of version 1 of little-endian f32.
fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let (header, data) = bytes[10..].split_at(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    let header = text(header);
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = &header[header.find('(').unwrap() + 1..header.find(')').unwrap()];
    let shape = shape.split(',').filter_map(|length| length.trim().parse().ok()).collect();
    (shape, data.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

/// Cells of a CSV file; no name in these tests needs quotes.
fn read_csv(path: &Path) -> Vec<Vec<String>> {
    let file = fs::read_to_string(path).unwrap();
    file.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn benchmarks_print_one_json_object_on_every_instruction_set() {
    for isa in byol_kernels::Isa::available() {
        for (kind, precision) in [("step", "f32"), ("step", "bf16"), ("embed", "f32"), ("embed", "bf16")] {
            let arguments = "--arch resnet18x0.125 --size 16 --batch 4 --iterations 1 --json --threads 1";
            let output = Command::new(env!("CARGO_BIN_EXE_byol"))
                .args(["bench", kind, "--precision", precision, "--isa", isa.name()])
                .args(arguments.split(' '))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&report["isa"], &report["precision"]), (&isa.name().into(), &precision.into()));
            for key in ["images_per_second", "seconds_median", "gflops_per_second", "peak_rss_bytes"] {
                assert!(report[key].as_f64().unwrap() > 0.0, "{key} {report}");
            }
            assert_eq!(report["loss"].is_number(), kind == "step", "{report}");
        }
    }
}

/// VOC2007 in its makers' layout, by logistic regression and by fine-tuning; the metric is its own.
#[test]
fn a_benchmark_with_several_classes_per_picture_is_scored_by_average_precision() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../byol-data/tests/data/benchmarks");
    let lists = "VOCdevkit/VOC2007/ImageSets/Main";
    fs::create_dir_all(at.join("voc").join(lists)).unwrap();
    let pictures = at.join("voc/VOCdevkit/VOC2007/JPEGImages");
    fs::create_dir_all(&pictures).unwrap();
    for entry in fs::read_dir(golden.join("voc2007").join(lists)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), at.join("voc").join(lists).join(entry.file_name())).unwrap();
        for line in fs::read_to_string(entry.path()).unwrap().lines() {
            let name = format!("{}.jpg", line.split_whitespace().next().unwrap());
            image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, name.as_bytes()[5]]))
                .save(pictures.join(name))
                .unwrap();
        }
    }
    let options = "--l2-values 3 --finetune --finetune-steps 3 --finetune-batch-size 3 --finetune-rates 0.05,0.01 --finetune-decays 0";
    let output = byol(
        at,
        &format!("eval transfer random:resnet18x0.0625:cifar:8 --data voc --benchmark voc2007 --json {options}"),
    );
    let record = json_of(&output);
    let evaluations = record["evaluations"].as_array().unwrap();
    assert_eq!(evaluations.len(), 2);
    for evaluation in evaluations {
        assert!(evaluation["data"].as_str().unwrap().starts_with("PASCAL VOC 2007 in voc"), "{evaluation}");
        let numbers = evaluation["rows"][0]["numbers"].as_object().unwrap();
        assert_eq!(numbers.keys().collect::<Vec<_>>(), ["map11"]);
        assert!((0.0..=100.0).contains(&numbers["map11"]["mean"].as_f64().unwrap()));
    }
    assert_eq!((&evaluations[0]["train_images"], &evaluations[0]["test_images"]), (&7.into(), &3.into()));
    assert_eq!(evaluations[1]["rows"][0]["setting"], "fine-tuned");
}

/// Two rows, the same command again, a report, another recipe in its way; and a table whose rows diverge.
#[test]
fn a_table_of_ablations_goes_on_survives_divergence_and_is_shown_in_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    let command = "eval ablate data --table simclr --out out --json TINY";
    let first = json_of(&byol(at, command));
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), ["byol", "simclr"]);
    for (row, paper) in rows.iter().zip([72.5, 69.4]) {
        assert_eq!(row["numbers"]["paper_top1"]["mean"], paper);
        let measured = ["linear_top1", "knn_top1", "rank_me", "projection_std"];
        assert!(measured.iter().all(|metric| row["numbers"][metric]["mean"].is_f64()), "{row}");
    }
    let sessions_of = |row: &str| sessions(&at.join("out/simclr").join(row)).len();
    assert_eq!(json_of(&byol(at, command)), first);
    assert_eq!(
        (sessions_of("byol-seed-0"), sessions_of("simclr-seed-0")),
        (1, 1),
        "finished rows are not trained again"
    );

    success(byol(at, "report out/simclr/byol-seed-0 out/simclr/simclr-seed-0 -o report.html --no-map"));
    let page = fs::read_to_string(at.join("report.html")).unwrap();
    assert!(
        page.contains("Ablations") && page.contains("model.negatives_weight=1"),
        "the first row's run has the table"
    );

    let refused = byol(at, &format!("{command} --set schedule.target_ema=0.5"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("another recipe is there"), "{}", text(&refused.stderr));

    let wild = "--set optimizer.kind=sgd --set schedule.base_learning_rate=1e38 --set schedule.warmup_epochs=0";
    let record = json_of(&byol(at, &format!("eval ablate --table simclr --data data --out wild --json TINY {wild}")));
    let row = &record["rows"][0];
    assert_eq!(row["numbers"].as_object().unwrap().keys().collect::<Vec<_>>(), ["paper_top1"], "{row}");
    assert!(row["chosen"][0]["diverged"].is_string(), "{row}");
}
