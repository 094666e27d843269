//! Recipes that fit the pictures and the time, short flags, dry runs and warm starts, with the real binary.

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pictures::{truncate, write_class};
use serde_json::Value;

/// A network that trains in no time.
const TINY: &str = "--set model.arch=resnet18x0.125 --set views.size_px=16 --set model.projector_hidden=32 \
    --set model.predictor_hidden=32 --set model.projection_size=16 --set train.batch_size=16 --set eval.every_epochs=0";

#[test]
fn a_dry_run_prints_a_recipe_fitted_to_the_minutes_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let recipe = json_of(&byol(at, "pretrain data --minutes 1 --dry-run --json"));
    assert_eq!(recipe["preset"], "small");
    let keys: Vec<&str> = recipe["choices"].as_array().unwrap().iter().map(|c| c["key"].as_str().unwrap()).collect();
    for key in ["views.size_px", "model.arch", "schedule.epochs", "schedule.warmup_epochs", "schedule.target_ema"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert_eq!(recipe["config"]["views"]["size_px"], 32, "16 px pictures are not enlarged further");
    assert!(recipe["cost"]["hours"].as_f64().unwrap() > 0.0);
    assert!(!at.join("runs").exists());

    let printed = byol(at, "pretrain data --epochs 7 --size 24 --arch resnet18x0.125 --batch-size 8 --dry-run");
    fs::write(at.join("printed.toml"), &success(&printed).stdout).unwrap();
    let again = json_of(&byol(at, "pretrain data --config printed.toml --preset cifar10 --dry-run --json"));
    let config = &again["config"];
    let got = [&config["schedule"]["epochs"], &config["views"]["size_px"], &config["train"]["batch_size"]];
    assert_eq!(got, [&Value::from(7.0), &24.into(), &8.into()], "what is printed is a config file");
    assert_eq!(config["model"]["arch"], "resnet18x0.125");
    assert_eq!(config["optimizer"]["kind"], "sgd", "seven epochs of a few pictures are no recipe for accelerators");
}

#[test]
fn what_hangs_on_an_override_moves_with_it_and_the_preset_line_tells() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let output = byol(
        at,
        "pretrain data --preset cifar10 --epochs 2 --arch resnet18x0.125 --size 16 --set views.std=[0.2,0.3,0.4] \
                            --dry-run --json",
    );
    let recipe = json_of(&output);
    assert_eq!(recipe["config"]["schedule"]["warmup_epochs"], 0.2);
    assert_eq!(recipe["config"]["train"]["batch_size"], 32, "48 pictures are less than 512");
    let said = text(&output.stderr);
    for part in [
        "schedule.epochs 2.0 (1000.0)",
        "views.std [0.2, 0.3, 0.4] ([0.2",
        "train.batch_size 32 instead of 512",
        "warmup_epochs 0.2 instead of",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let set = "pretrain data --preset cifar10 --epochs 2 --arch resnet18x0.125 --size 16 --set schedule.warmup_epochs=1 --dry-run --json";
    assert_eq!(json_of(&byol(at, set))["config"]["schedule"]["warmup_epochs"], 1.0);
}

#[test]
fn a_run_starts_from_the_weights_of_another_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let first = byol(at, "pretrain data --preset small --out first --epochs 1 TINY");
    assert!(text(&success(&first).stderr).contains("48 pictures are fewer than any recipe was tried on"));

    // From the run: everything; nothing has moved after steps without a rate.
    let still = "--set schedule.base_learning_rate=0 --set train.checkpoint_every_steps=1 --epochs 0.4 --set eval.every_epochs=0";
    let second = byol(at, &format!("pretrain data --init first --out second --size 16 --batch-size 16 {still}"));
    assert!(!text(&success(&second).stderr).contains("--init FILE"));
    let info: Value = serde_json::from_slice(&fs::read(at.join("second/run.json")).unwrap()).unwrap();
    assert_eq!(info["warm_start"]["from"], "first");
    assert_eq!(info["warm_start"]["networks"], "encoder, projector, predictor, target");
    assert!(at.join("second/checkpoints/step-00000000.safetensors").is_file());
    let weight = |run: &str, name: &str| {
        let bytes = fs::read(at.join(run).join("encoder.safetensors")).unwrap();
        safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
    };
    assert_eq!(weight("first", "layer4.1.conv2.weight"), weight("second", "layer4.1.conv2.weight"));
    let encoder: Value = serde_json::from_slice(&fs::read(at.join("second/encoder.json")).unwrap()).unwrap();
    assert!(encoder["training"].as_str().unwrap().contains("from first"), "{}", encoder["training"]);

    // The rate is low where the person names none, and the recipe is not another's.
    let dry =
        |flags: &str| json_of(&byol(at, &format!("pretrain data --init first --epochs 1 --dry-run --json {flags}")));
    let rate = |recipe: &Value| recipe["config"]["schedule"]["base_learning_rate"].as_f64().unwrap();
    assert_eq!(rate(&dry("")), 0.02);
    assert_eq!(rate(&dry("--set schedule.base_learning_rate=0.3")), 0.3);
    assert_eq!(rate(&dry("--preset cifar10")), 0.0015);

    // From the file: the encoder alone, and for grey pictures a first layer of one channel.
    let grey = "--set data.channels=1 --size 16 --batch-size 16";
    success(&byol(at, &format!("pretrain data --init first/encoder.safetensors --out grey {grey} {still}")));
    let info: Value = serde_json::from_slice(&fs::read(at.join("grey/run.json")).unwrap()).unwrap();
    assert_eq!(info["warm_start"]["networks"], "encoder");
    assert_eq!(info["warm_start"]["adapted_channels"], serde_json::json!([3, 1]));
    assert_eq!(weight("first", "layer1.0.conv1.weight"), weight("grey", "layer1.0.conv1.weight"));
    assert_eq!(3 * weight("grey", "conv1.weight").len(), weight("first", "conv1.weight").len());
}

#[test]
fn weights_of_another_network_and_random_ones_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    success(&byol(at, "pretrain data --preset small --out first --epochs 1 TINY"));
    let cases = [
        ("--init first --arch resnet34", "these weights are of resnet18x0.125"),
        ("--init random:resnet18", "--init"),
        ("--init nowhere", "no such encoder"),
        ("--minutes 0", "0.1 to 527040"),
    ];
    for (flags, expected) in cases {
        let output = byol(at, &format!("pretrain data --out second --epochs 1 {flags}"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(said.contains(expected), "{flags}: {said}");
        assert!(!at.join("second").exists(), "{flags}");
    }
    truncate(&at.join("data/a/0.png"));
    let output = byol(at, "pretrain data --minutes 1 --out second");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("1 of 48 pictures cannot be used"), "{}", text(&output.stderr));
    assert!(!at.join("second").exists());
}

/// 48 pictures of 16 px in two classes.
fn write_data(at: &Path) {
    write_class(&at.join("data/a"), 0, 24);
    write_class(&at.join("data/b"), 1, 24);
}

fn byol(at: &Path, arguments: &str) -> Output {
    let arguments = arguments.replace("TINY", TINY);
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(at).args(arguments.split_whitespace()).output().unwrap()
}

fn success(output: &Output) -> &Output {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    output
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&success(output).stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
