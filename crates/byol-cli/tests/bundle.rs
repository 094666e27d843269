//! `byol bundle`, `byol verify` and `byol log` with the real binary.

#[expect(dead_code, reason = "no picture is cut short here")]
mod pictures;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pictures::write_class;
use serde_json::Value;

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.125 --set views.size_px=16 \
    --set model.projector_hidden=32 --set model.predictor_hidden=32 --set model.projection_size=16 \
    --set train.batch_size=16 --set train.log_every_steps=1 --set schedule.epochs=2 --set schedule.warmup_epochs=0.5";

/// 2 epochs of 60 pictures in batches of 16, rounded down.
const STEPS: u64 = 7;

/// A run with two evaluations, in `run`, of pictures in `data`.
fn evaluated_run() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (part, count) in [("train", 30), ("test", 10)] {
        (0..2).for_each(|class| write_class(&at.join("data").join(part).join(["a", "b"][class]), class, count));
    }
    let output = byol(at, "pretrain data --out run TINY");
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", text(&output.stderr));
    success(byol(at, "eval knn run data --k 5,9"));
    success(byol(at, "eval linear run data --epochs 20 --seeds 2"));
    success(byol(at, "eval linear run data --epochs 2 --augmentation crop-flip"));
    folder
}

#[test]
fn a_bundle_holds_the_run_and_its_numbers_come_out_again() {
    let folder = evaluated_run();
    let at = folder.path();
    let json = json_of(&byol(at, "bundle run -o run.tar --license CC-BY-4.0 --json"));
    let files: BTreeSet<&str> = json["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let expected = [
        "MODEL_CARD.md",
        "SHA256SUMS",
        "bundle.json",
        "config.toml",
        "encoder.json",
        "encoder.safetensors",
        "evaluation.json",
        "heads.safetensors",
        "metrics.jsonl",
        "run.json",
    ];
    assert_eq!(files, BTreeSet::from(expected));
    success(byol(at, "bundle run -o again.tar --license CC-BY-4.0"));
    assert!(
        fs::read(at.join("run.tar")).unwrap() == fs::read(at.join("again.tar")).unwrap(),
        "equal runs, equal files"
    );

    // As anybody else would: tar and sha256sum.
    let out = at.join("unpacked");
    fs::create_dir(&out).unwrap();
    assert!(Command::new("tar").current_dir(&out).args(["-xf", "../run.tar"]).status().unwrap().success());
    let sums = Command::new("sha256sum").current_dir(out.join("run")).args(["-c", "SHA256SUMS"]).output().unwrap();
    assert!(sums.status.success(), "{}", text(&sums.stdout));
    assert_eq!(text(&sums.stdout).lines().count(), expected.len() - 1);
    let about: Value = serde_json::from_slice(&fs::read(out.join("run/bundle.json")).unwrap()).unwrap();
    assert_eq!((&about["license"], &about["data"]["images"]), (&"CC-BY-4.0".into(), &60.into()));
    assert_eq!((&about["encoder"]["steps"], &about["environment"]["preset"]), (&STEPS.into(), &"cifar10".into()));
    assert_eq!(about["environment"]["sessions"][0]["isa"], byol_kernels::Isa::best().name());
    let heads = fs::read(out.join("run/heads.safetensors")).unwrap();
    let heads = safetensors::SafeTensors::deserialize(&heads).unwrap();
    let networks: BTreeSet<&str> = heads.names().iter().map(|name| name.split('.').next().unwrap()).collect();
    assert_eq!(networks, BTreeSet::from(["predictor", "projector"]));
    check_card(&fs::read_to_string(out.join("run/MODEL_CARD.md")).unwrap(), at);
    // The folder in it is a run for whoever takes an encoder.
    let embedded = |encoder: &str, file: &str| {
        success(byol(at, &format!("embed {encoder} data -o {file}")));
        fs::read(at.join(file)).unwrap()
    };
    assert!(embedded("run", "a.npy") == embedded("unpacked/run", "b.npy"));

    let sums_alone = json_of(&byol(at, "verify run.tar --json"));
    assert_eq!((&sums_alone["verified"]["files"], &sums_alone["differs"]), (&expected.len().into(), &false.into()));
    assert_eq!(sums_alone["verified"]["evaluations"], serde_json::json!([]));
    let output = byol(at, "verify run.tar --data data --tolerance 0 --json");
    let verified = json_of(&output);
    let evaluations = verified["verified"]["evaluations"].as_array().unwrap();
    let counts: Vec<usize> = evaluations.iter().map(|one| one["numbers"].as_array().unwrap().len()).collect();
    // Two networks of two k, and of one classifier, three numbers each; the one with augmentation is left out.
    assert_eq!(counts, [12, 6, 0], "{verified}");
    assert!(evaluations[2]["left_out"][0].as_str().unwrap().contains("without augmentation"), "{verified}");
    assert!(text(&output.stderr).contains("all numbers that were measured again are within 0 points"));

    // The same pictures in another place are the same; others are not.
    fs::rename(at.join("data"), at.join("elsewhere")).unwrap();
    success(byol(at, "verify run.tar --data elsewhere"));
    fs::remove_file(at.join("elsewhere/test/a/0.png")).unwrap();
    let other = byol(at, "verify run.tar --data elsewhere");
    let said = text(&other.stderr);
    assert!(other.status.code() == Some(2) && said.contains("the test pictures are others"), "{said}");
    let needless = byol(at, "verify run.tar --data elsewhere --test elsewhere");
    assert!(needless.status.code() == Some(2) && text(&needless.stderr).contains("leave --test away"));
}

/// Every number stands in the card, with its protocol and what random weights reach.
fn check_card(card: &str, at: &Path) {
    assert!(card.starts_with("---\nlicense: \"CC-BY-4.0\"\n"), "{card}");
    let kept: Value = serde_json::from_slice(&fs::read(at.join("run/evaluation.json")).unwrap()).unwrap();
    for evaluation in kept["evaluations"].as_array().unwrap() {
        let protocol = evaluation["protocol"].as_str().unwrap();
        assert!(card.contains(protocol.trim_end_matches('.')), "{protocol}");
        for row in evaluation["rows"].as_array().unwrap() {
            let top1 = format!("{:.1}", row["numbers"]["top1"]["mean"].as_f64().unwrap());
            let name = if row["network"] == "encoder" { "**pretrained**" } else { "random" };
            let has = |line: &str| line.starts_with(&format!("| {name} |")) && line.contains(&top1);
            assert!(card.lines().any(has), "{name} {top1} in {card}");
        }
    }
    for words in ["largest class", "for watching a run", "What it is not", "fingerprint `", "heads.safetensors"] {
        assert!(card.contains(words), "{words}");
    }
}

#[test]
fn a_number_that_does_not_come_out_again_and_a_damaged_bundle_have_codes_of_their_own() {
    let folder = evaluated_run();
    let at = folder.path();
    let path = at.join("run/evaluation.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let number = &mut kept["evaluations"][0]["rows"][0]["numbers"]["top1"]["mean"];
    *number = (number.as_f64().unwrap() - 5.0).into();
    fs::write(&path, kept.to_string()).unwrap();
    let bundled = success(byol(at, "bundle run -o run.tar"));
    assert!(text(&bundled.stderr).contains("no licence is stated"), "{}", text(&bundled.stderr));
    let differs = byol(at, "verify run.tar --data data");
    let said = text(&differs.stderr);
    assert!(differs.status.code() == Some(1) && said.matches("DIFFERS").count() == 1, "{said}");
    assert!(byol(at, "verify run.tar --data data --tolerance 6").status.success());

    let bytes = fs::read(at.join("run.tar")).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (name, bytes) in [("flipped", &flipped[..]), ("cut", &bytes[..bytes.len() / 2]), ("text", b"no archive at all")]
    {
        fs::write(at.join("bad.tar"), bytes).unwrap();
        let before = names(at);
        let damaged = byol(at, "verify bad.tar --data data");
        let said = text(&damaged.stderr);
        assert!(damaged.status.code() == Some(2) && said.contains("get the bundle again"), "{name}: {said}");
        assert!(
            said.lines().filter(|line| line.starts_with("error:")).count() == 1 && !said.contains("panicked"),
            "{said}"
        );
        assert_eq!(names(at), before);
    }
}

#[test]
fn what_cannot_be_bundled_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_class(&at.join("data/a"), 0, 24);
    write_class(&at.join("data/b"), 1, 24);
    let output = byol(at, "pretrain data --out run TINY");
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", text(&output.stderr));
    fs::write(at.join("there.tar"), "precious").unwrap();
    for (arguments, words) in [
        ("bundle run -o run.zip", "ends in .tar"),
        ("bundle run -o there.tar", "already exists"),
        ("bundle run -o data/run.tar", "inside the data folder"),
        ("bundle run -o nowhere/run.tar", "cannot write nowhere/run.tar"),
        ("bundle data -o run.tar", "not a run folder"),
        ("bundle run -o run.tar --license free,for,all", "SPDX expression"),
        ("bundle run -o run.tar --report nothing.html", "cannot read nothing.html"),
        ("verify nothing.tar", "cannot read nothing.tar"),
        ("verify there.tar --data data --tolerance -1", "--tolerance"),
        ("log data --to mlflow-file mlruns", "not a run folder"),
        ("log run --to mlflow-file run/mlruns", "inside"),
        ("log run --to mlflow-file data", "a folder of something else"),
        ("bundle run -o run.tar --report run/metrics.jsonl", "expected an HTML page"),
        ("verify data", "got a folder"),
    ] {
        let before = names(at);
        let refused = byol(at, arguments);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(words), "{arguments}: {said}");
        assert_eq!(names(at), before, "{arguments}");
    }
    // Nothing says how good it is, and a checkpoint that is gone takes the heads with it.
    fs::remove_dir_all(at.join("run/checkpoints")).unwrap();
    fs::create_dir(at.join("run/checkpoints")).unwrap();
    let bundled = success(byol(at, "bundle run -o run.tar"));
    let said = text(&bundled.stderr);
    for words in [
        "nothing says how good the encoder is",
        "projector and the predictor are not in it",
        "name folders and pictures",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let nothing = byol(at, "verify run.tar --data data");
    assert!(nothing.status.code() == Some(2) && text(&nothing.stderr).contains("no evaluation is in it"));
    success(byol(at, "verify run.tar"));
}

#[test]
fn the_numbers_of_a_run_become_files_of_mlflow_and_are_replaced_by_later_ones() {
    let folder = evaluated_run();
    let at = folder.path();
    let json = json_of(&byol(at, "log run --to mlflow-file mlruns --experiment mine --json"));
    let run = PathBuf::from(json["run"].as_str().unwrap());
    assert_eq!((&json["replaced"], &json["lines_without_time"]), (&false.into(), &0.into()));
    let read = |file: &str| fs::read_to_string(run.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let losses: Vec<(i64, f64, u64)> = read("metrics/train/loss")
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2].parse().unwrap())
        })
        .collect();
    let log = fs::read_to_string(at.join("run/metrics.jsonl")).unwrap();
    let steps: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["loss"].is_number())
        .collect();
    assert_eq!(losses.len() as u64, STEPS);
    for ((ms, loss, step), line) in losses.iter().zip(&steps) {
        assert_eq!((loss, step), (&line["loss"].as_f64().unwrap(), &line["step"].as_u64().unwrap()));
        // Not before 2025, and times do not fall.
        assert!(*ms > 1_735_689_600_000 && losses.is_sorted_by_key(|loss| loss.0), "{losses:?}");
    }
    assert_eq!(read("params/model.arch"), "resnet18x0.125");
    assert_eq!(read("tags/mlflow.runName"), "run");
    assert_eq!(read("metrics/knn/pretrained/k 5_ T 0.1/top1").lines().count(), 1);
    assert_eq!(read("metrics/linear/random/top1").lines().count(), 2, "two evaluations");
    let meta = read("meta.yaml");
    assert!(
        meta.contains("status: 3\n") && meta.contains(&format!("run_id: '{}'", json["run_id"].as_str().unwrap())),
        "{meta}"
    );
    let experiment = fs::read_to_string(run.parent().unwrap().join("meta.yaml")).unwrap();
    assert!(experiment.contains("name: 'mine'"), "{experiment}");

    success(byol(at, "eval knn run data --k 3"));
    let again = json_of(&byol(at, "log run --to mlflow-file mlruns --experiment mine --json"));
    assert_eq!((&again["run"], &again["replaced"]), (&json["run"], &true.into()));
    assert!(run.join("metrics/knn/pretrained/top1").exists());
    let folders = fs::read_dir(at.join("mlruns")).unwrap().count();
    assert_eq!(folders, 1, "one experiment, nothing half-written");

    fs::remove_file(run.join("tags/byol.run")).unwrap();
    let foreign = byol(at, "log run --to mlflow-file mlruns --experiment mine");
    assert!(
        foreign.status.code() == Some(2) && text(&foreign.stderr).contains("somebody else"),
        "{}",
        text(&foreign.stderr)
    );
}

fn names(at: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn byol(at: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.current_dir(at).args(arguments.replace("TINY", TINY).split_whitespace()).output().unwrap()
}

fn success(output: Output) -> Output {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    output
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
