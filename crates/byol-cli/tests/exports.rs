//! `byol export` with the real binary: a run, and a file of another program, on their way out.

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pictures::{truncate, write_class};

fn byol(at: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(at).args(arguments.split_whitespace()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Twenty pictures and a run of two steps on them.
fn write_run(at: &Path) {
    write_class(&at.join("data/across"), 0, 10);
    write_class(&at.join("data/down"), 1, 10);
    let settings = "--set model.arch=resnet18x0.0625 --set model.projector_hidden=16 --set model.predictor_hidden=12 \
        --set model.projection_size=8 --set views.size_px=16 --set train.batch_size=10 --set train.tensorboard=false \
        --set schedule.warmup_epochs=0 --set precision=bf16";
    let output = byol(at, &format!("pretrain data --out run --preset cifar10 --epochs 1 {settings}"));
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", said(&output));
}

#[test]
fn a_run_is_handed_over_in_every_format_that_can_hold_it_and_compared_on_its_own_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_run(at);
    // Another stands in for one that cannot be read.
    truncate(&at.join("data/across/0.png"));
    for (arguments, files) in [
        ("--format onnx -o run.onnx", &["run.onnx"][..]),
        ("--format onnx --with-preparation --heads --half -o whole.onnx", &["whole.onnx"]),
        ("--format torchvision --heads -o tv.safetensors", &["tv.safetensors", "tv.json", "tv.heads.safetensors"]),
        ("--format timm -o timm", &["timm/model.safetensors", "timm/config.json", "timm/encoder.json"]),
    ] {
        let output = byol(at, &format!("export run {arguments} --json"));
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", said(&output));
        assert!(said(&output).contains("compared on 16 picture(s) of the run"), "{}", said(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["cosine_distance"].as_f64().unwrap() < 1e-5, "{json}");
        let written: Vec<&str> = json["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        assert_eq!(written, files);
        assert!(files.iter().all(|file| at.join(file).is_file()), "{files:?}");
    }
    // Pictures that are named come before those of the run.
    fs::create_dir_all(at.join("few")).unwrap();
    fs::copy(at.join("data/across/1.png"), at.join("few/1.png")).unwrap();
    let output = byol(at, "export run --format onnx -o other.onnx --data few");
    assert!(said(&output).contains("compared on 1 picture(s) of --data"), "{}", said(&output));
    // What was written for torchvision is an encoder here, too, and what goes out again is the same.
    let output = byol(at, "export tv.safetensors --format onnx -o again.onnx");
    assert!(said(&output).contains("drawn pictures, as there are no others"), "{}", said(&output));
    assert_eq!(fs::read(at.join("again.onnx")).unwrap(), fs::read(at.join("run.onnx")).unwrap());
    // So are weights of a folder that another library opens: its description lies beside them.
    let output = byol(at, "export timm/model.safetensors --format onnx -o timm.onnx --data data");
    assert!(said(&output).contains("taken from encoder.json beside them"), "{}", said(&output));
    assert_eq!(fs::read(at.join("timm.onnx")).unwrap(), fs::read(at.join("run.onnx")).unwrap());
    // A folder may be written as completion writes it.
    let output = byol(at, "export run --format timm -o slash/");
    assert!(output.status.code() == Some(0) && at.join("slash/config.json").is_file(), "{}", said(&output));
}

#[test]
fn weights_of_another_program_come_in_and_go_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../byol-nn/tests/data/torch_zip.pth");
    for out in ["--format onnx --with-preparation -o x.onnx", "--format transformers -o x", "--format timm -o y"] {
        let output = byol(at, &format!("export {file} {out}"));
        assert_eq!(output.status.code(), Some(0), "{out}: {}", said(&output));
    }
}

#[test]
fn wrong_requests_are_one_error_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("precious.json"), "precious").unwrap();
    let encoder = "random:resnet18x0.0625:cifar:16";
    for (arguments, expected) in [
        ("--format onnx -o x.pb", "expected a file name that ends in .onnx"),
        ("--format onnx -o precious.json", "ends in .onnx"),
        ("--format torchvision -o precious.safetensors", "precious.json: already exists and is not overwritten"),
        ("--format onnx --heads -o x.onnx", "--heads: expected a run folder as ENCODER"),
        ("--format transformers -o x", "a 3×3 stem of stride 1"),
        ("--format timm --with-preparation -o x", "--with-preparation: expected --format onnx"),
        ("--format onnx -o nowhere/x.onnx", "nowhere"),
        ("--format onnx -o x.onnx --data nothing", "nothing"),
    ] {
        let output = byol(at, &format!("export {encoder} {arguments}"));
        let words = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {words}");
        assert!(words.contains(expected) && words.matches("error:").count() == 1, "{arguments}: {words}");
    }
    let left: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["precious.json"]);
}
