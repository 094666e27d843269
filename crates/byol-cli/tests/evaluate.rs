//! `byol eval` and `byol predict` with the real binary: what is kept after Ctrl-C, what small data changes, a classifier that is
//! handed over.

mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use pictures::{truncate, write_class};
use serde_json::Value;
use tempfile::TempDir;

const CLASSES: [&str; 3] = ["across", "down", "slanted"];
const TRAIN_PER_CLASS: [usize; 3] = [30, 30, 21];
const TEST_PER_CLASS: [usize; 3] = [10, 10, 12];

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.125 --set views.size_px=16 \
    --set model.projector_hidden=32 --set model.predictor_hidden=32 --set model.projection_size=16 \
    --set train.batch_size=16 --set schedule.epochs=1 --set schedule.warmup_epochs=0.5";

/// A folder with labelled pictures and a finished run; made once, copied by every test.
fn prepared() -> TempDir {
    static ONCE: OnceLock<TempDir> = OnceLock::new();
    let original = ONCE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for (class, name) in CLASSES.iter().enumerate() {
            write_class(&folder.path().join("data/train").join(name), class, TRAIN_PER_CLASS[class]);
            write_class(&folder.path().join("data/test").join(name), class, TEST_PER_CLASS[class]);
        }
        success(&byol(folder.path(), &format!("pretrain data --out run {TINY}")));
        folder
    });
    let copy = tempfile::tempdir().unwrap();
    copy_folder(original.path(), copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// SIGINT as a terminal sends it, in the middle of the last protocol, whose first result is complete.
#[cfg(unix)]
#[test]
fn an_interrupted_evaluation_goes_on_and_ends_as_one_that_was_not() {
    const ALL: &str = "eval all run --data data --json --epochs 5 --labels 50% --semi-rates 0.05 --semi-epochs 1 --l2-values 3 \
        --finetune-steps 150 --finetune-batch-size 16 --finetune-rates 0.01,0.05";
    let whole_folder = prepared();
    let whole = json_of(&byol(whole_folder.path(), ALL));
    let names = |record: &Value| -> Vec<String> {
        let evaluations = record["evaluations"].as_array().unwrap().iter();
        evaluations.map(|evaluation| evaluation["eval"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&whole), ["knn", "linear", "transfer", "semi", "finetune"]);

    let folder = prepared();
    let at = folder.path();
    let mut child = command(at, ALL).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines.by_ref() {
        stderr += &(line.unwrap() + "\n");
        if stderr.contains("supervised, setting 1 of 2") {
            break;
        }
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.extend(lines.map(|line| line.unwrap() + "\n"));
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{stderr}");
    for part in [
        "expected  about",
        "estimated from a measured second",
        "kept are knn, linear, transfer, semi, 1 of 2 results of finetune",
        "byol eval all run --data data",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let first: Value = serde_json::from_slice(&interrupted.stdout).unwrap();
    assert_eq!((&first["finished"], names(&first).len()), (&false.into(), 4));
    assert_eq!(evaluations(at).len(), 4, "each is stored when it is done");

    let on = byol(at, ALL);
    assert_eq!(json_of(&on), whole);
    let said = text(&on.stderr);
    assert_eq!(said.matches("kept from before: the same weights").count(), 4, "{said}");
    assert!(said.contains("1 of 2 results kept from before"), "{said}");
    assert_eq!(evaluations(at).len(), 5);
    let logged = fs::read_to_string(at.join("run/metrics.jsonl")).unwrap();
    assert_eq!(logged.matches("\"eval\":\"knn\"").count(), 1, "what is kept is logged once");

    let other = byol(at, "eval linear run --data data --json --epochs 6");
    assert!(!text(&other.stderr).contains("kept from before"), "other options, other results");
    assert_ne!(json_of(&other)["protocol"], whole["evaluations"][1]["protocol"]);
}

#[test]
fn small_data_gets_fewer_neighbours_more_epochs_and_is_told_so() {
    let folder = prepared();
    let at = folder.path();
    let knn = byol(at, "eval knn run data --json --seeds 2");
    let (record, said) = (json_of(&knn), text(&knn.stderr));
    assert!(said.contains("k 21, the pictures of the smallest class, instead of 200"), "{said}");
    assert!(record["protocol"].as_str().unwrap().contains("k 21, T 0.1"), "{record}");
    assert_eq!(record["largest_class"]["class"], "slanted");
    assert_eq!(record["largest_class"]["numbers"]["top1"], 37.5);
    let rows = record["rows"].as_array().unwrap();
    let mean = |row: &Value| row["numbers"]["top1"]["mean"].as_f64().unwrap();
    let best: Vec<bool> = rows.iter().map(|row| row["best"] == true).collect();
    assert_eq!(best, [mean(&rows[0]) >= mean(&rows[1]), mean(&rows[1]) >= mean(&rows[0])], "the winner, whoever it is");
    let gain = &rows[0]["gain"];
    assert_eq!((&gain["over"], &gain["std"]), (&"random".into(), &rows[1]["numbers"]["top1"]["std"]));
    assert!((gain["mean"].as_f64().unwrap() - (mean(&rows[0]) - mean(&rows[1]))).abs() < 1e-9);
    for part in ["  pretrained ", "  random ", "  largest class ", "always \"slanted\"", "points of top-1 above random"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains('\x1b'), "a file gets no bold letters");
    let table: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("  knn")).take(4).collect();
    assert!(table.iter().all(|line| line.chars().count() <= 60), "{table:?}");

    let linear = byol(at, "eval linear run --data data --json");
    let (record, said) = (json_of(&linear), text(&linear.stderr));
    assert!(said.contains("epochs instead of 80") && said.contains("1000 steps"), "{said}");
    assert!(record["rows"][0]["chosen"][0]["steps"].as_u64().unwrap() >= 1000, "{record}");
    assert!(said.contains("chosen: pretrained: ") && said.contains("chosen: random: "), "{said}");
    let paper = json_of(&byol(at, "eval linear run --data data --json --paper --no-baseline"));
    assert!(paper["protocol"].as_str().unwrap().contains("80 epochs"), "{paper}");
}

#[test]
fn grids_are_narrow_unless_the_paper_or_a_flag_says_otherwise() {
    let folder = prepared();
    let at = folder.path();
    let quick = "--data data --json --no-baseline";
    let protocol = |arguments: &str| {
        let record = json_of(&byol(at, &format!("{arguments} {quick}")));
        record["protocol"].as_str().unwrap().to_owned()
    };
    for (arguments, expected) in [
        ("eval transfer run", "grid: 12 values of ℓ2 (narrow; --paper for all)"),
        ("eval transfer run --paper", "grid: 45 values of ℓ2 (the paper's)"),
        ("eval transfer run --l2-values 3 --paper", "grid: 3 values of ℓ2 (as given)"),
        ("eval semi run --labels 5%", "grid: rates 0.01, 0.03, 0.1; epochs 30 (narrow; --paper for all)"),
        ("eval finetune run --finetune-steps 2", "grid: rates 0.01, 0.03, 0.1; decays 0 (narrow; --paper for all)"),
        ("eval finetune run --finetune-steps 2 --finetune-rates 0.05", "grid: rates 0.05; decays 0 (as given)"),
        ("eval semi run --labels 20% --paper --semi-rates 0.05 --semi-batch-size 16", "epochs 30, 50 (as given)"),
    ] {
        let protocol = protocol(arguments);
        assert!(protocol.contains(expected), "{arguments}: {protocol}");
    }
}

#[test]
fn a_saved_classifier_predicts_what_the_evaluation_counted() {
    let folder = prepared();
    let at = folder.path();
    let record = json_of(&byol(at, "eval linear run data --save c.safetensors --json"));
    let row = &record["rows"][0];
    let top1 = row["numbers"]["top1"]["mean"].as_f64().unwrap();
    let predicted = byol(at, "predict run c.safetensors data --split test -o p.csv --neighbours data --json");
    let said = text(&predicted.stderr);
    let summary = json_of(&predicted);
    assert_eq!((summary["top1"].as_f64(), summary["classifier"]["top1"].as_f64()), (Some(top1), Some(top1)), "{said}");
    assert_eq!(summary["images"], TEST_PER_CLASS.iter().sum::<usize>());

    let table = fs::read_to_string(at.join("p.csv")).unwrap();
    let mut lines = table.lines();
    let head = "name,label,probability,second_label,second_probability,neighbour_1,similarity_1,neighbour_2,similarity_2,neighbour_3,\
                similarity_3";
    assert_eq!(lines.next(), Some(head));
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let truth = cells[0].split('/').nth(1).unwrap();
        *counts.entry((truth.to_owned(), cells[1].to_owned())).or_default() += 1;
        let number = |place: usize| cells[place].parse::<f64>().unwrap();
        assert!(number(2) >= number(4) && number(2) + number(4) <= 1.000_002 && cells[1] != cells[3], "{line}");
        assert!(cells[5].starts_with("train/") && number(6) >= number(8) && number(8) >= number(10), "{line}");
    }
    for (i, truth) in CLASSES.iter().enumerate() {
        for (j, label) in CLASSES.iter().enumerate() {
            let counted = counts.get(&(truth.to_string(), label.to_string())).copied().unwrap_or(0);
            assert_eq!(row["confusion"][i][j], counted, "{truth} taken for {label}");
        }
    }

    // Pictures without labels, one of them broken; a second time, and inside of them.
    write_class(&at.join("new"), 1, 8);
    truncate(&at.join("new/3.png"));
    let tolerant = "--max-bad-fraction 0.5";
    let output = byol(at, &format!("predict run c.safetensors new -o new.csv --json {tolerant}"));
    let summary = json_of(&output);
    assert_eq!((&summary["images"], &summary["top1"]), (&7.into(), &Value::Null));
    assert_eq!(summary["bad_images"][0]["name"], "3.png");
    assert!(text(&output.stderr).contains("left out 3.png"));
    assert_eq!(fs::read_to_string(at.join("new.csv")).unwrap().lines().count(), 8);
    for (arguments, expected) in [
        (format!("predict run c.safetensors new -o new.csv {tolerant}"), "already exists"),
        (format!("predict run c.safetensors new -o new/p.csv {tolerant}"), "inside the data folder"),
        ("eval linear run --data data --save c.safetensors".to_owned(), "already exists"),
        ("eval linear run --data data --save data/c.safetensors".to_owned(), "inside the data folder"),
        ("predict random:resnet18x0.125:cifar:16 c.safetensors new -o q.csv".to_owned(), "of another encoder"),
        ("predict run none.safetensors new -o q.csv".to_owned(), "none.safetensors: no such classifier"),
        ("predict run run/encoder.safetensors new -o q.csv".to_owned(), "something else"),
        ("predict run c.safetensors nowhere -o q.csv".to_owned(), "no data at nowhere"),
        ("predict run c.safetensors new -o q.csv".to_owned(), "pictures cannot be used"),
    ] {
        let output = byol(at, &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(expected) && !said.contains("panicked"), "{arguments}: {said}");
        assert!(!at.join("q.csv").exists() && !at.join("q.csv.partial").exists(), "{arguments}");
    }
}

#[test]
fn one_class_alone_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    write_class(&folder.path().join("one/train/cat"), 0, 12);
    write_class(&folder.path().join("one/test/cat"), 0, 4);
    for protocol in ["knn", "linear", "transfer", "semi", "finetune", "all"] {
        let output = byol(folder.path(), &format!("eval {protocol} random:resnet18x0.0625:cifar:8 --data one"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("expected a folder for each of at least two classes (train/cat/1.jpg"), "{said}");
    }
}

fn evaluations(at: &Path) -> Vec<Value> {
    let kept: Value = serde_json::from_str(&fs::read_to_string(at.join("run/evaluation.json")).unwrap()).unwrap();
    kept["evaluations"].as_array().unwrap().clone()
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.current_dir(folder).args(arguments.split_whitespace());
    command
}

fn byol(folder: &Path, arguments: &str) -> Output {
    command(folder, arguments).output().unwrap()
}

fn success(output: &Output) {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
}

fn json_of(output: &Output) -> Value {
    success(output);
    let stdout = text(&output.stdout);
    assert!(stdout.lines().count() == 1, "one object on one line: {stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
