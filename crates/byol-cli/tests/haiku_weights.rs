//! Weights that BYOL's reference saved, with the real binary: embedded, evaluated, trained on, and refused when they are something else.

mod pictures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pictures::{truncate, write_class};
use serde_json::Value;

/// The pickle of `tests/golden/haiku_weights.py`: a ResNet-18 of one channel.
const REPRESENTATION_SIZE: usize = 8;

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../byol-nn/tests/data/haiku_byol.pkl")
}

/// `data/{train,test}/{0,1}` and `pretrain.pkl`.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for class in 0..2 {
        write_class(&at.join(format!("data/train/{class}")), class, 8);
        write_class(&at.join(format!("data/test/{class}")), class, 4);
    }
    fs::copy(weights(), at.join("pretrain.pkl")).unwrap();
    folder
}

#[test]
fn weights_of_the_reference_are_embedded_and_evaluated_and_the_choice_is_said() {
    let folder = prepared();
    let at = folder.path();
    let embedded = byol(at, "embed pretrain.pkl --data data -o out.csv");
    let said = text(&success(&embedded).stderr);
    for part in [
        "took the network under `experiment_state.online_params.res_net18`",
        "--prefix experiment_state.target_params.res_net18",
        "padding is \"SAME\"",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let rows = |file: &str| fs::read_to_string(at.join(file)).unwrap();
    let numbers = rows("out.csv").lines().nth(1).unwrap().split(',').filter(|cell| cell.parse::<f32>().is_ok()).count();
    assert!(numbers >= REPRESENTATION_SIZE, "{}", rows("out.csv"));
    success(&byol(at, "embed pretrain.pkl --data data -o target.csv --prefix target_params"));
    assert_ne!(rows("out.csv"), rows("target.csv"));

    let report = byol(at, "eval knn pretrain.pkl --data data --json");
    let report: Value = serde_json::from_slice(&success(&report).stdout).unwrap();
    assert!(report.to_string().contains("top1"), "{report}");
}

#[test]
fn a_run_goes_on_from_weights_of_the_reference_with_its_padding_and_shortcut() {
    let folder = prepared();
    let at = folder.path();
    let still = "--size 32 --batch-size 8 --epochs 0.6 --set schedule.base_learning_rate=0 --set eval.every_epochs=0";
    success(&byol(at, &format!("pretrain data --init pretrain.pkl --out run {still}")));
    let encoder: Value = serde_json::from_slice(&fs::read(at.join("run/encoder.json")).unwrap()).unwrap();
    assert_eq!((&encoder["padding"], &encoder["first_group_projection"]), (&"same".into(), &true.into()));
    assert_eq!(encoder["arch"], "resnet18x0.015625");
    assert!(encoder["training"].as_str().unwrap().contains("online_params"), "{encoder}");
    let bytes = fs::read(at.join("run/encoder.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let of_run = tensors.tensor("layer1.0.downsample.0.weight").unwrap().data().to_vec();
    let there = byol_nn::weights::StateDict::open(&weights()).unwrap();
    let name = "experiment_state.online_params.res_net18/~/block_group_0/~/block_0/~/shortcut_conv.w";
    let there = there.read("", [name].into_iter()).unwrap().remove(name).unwrap();
    let byol_nn::weights::Values::F32(there) = there.values else { panic!("floats") };
    assert_eq!(of_run, there.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
}

#[test]
fn a_pickle_that_calls_a_program_or_is_cut_short_is_one_error_and_nothing_is_called_or_written() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("hostile.pkl"), b"\x80\x02cposix\nsystem\nX\x0e\0\0\0touch executed\x85R.").unwrap();
    for command in [
        "embed hostile.pkl --data data -o out.csv",
        "eval knn hostile.pkl --data data",
        "pretrain data --init hostile.pkl --out run --epochs 1",
    ] {
        let output = byol(at, command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains("hostile.pkl: expected weights") && said.contains("posix.system"), "{command}: {said}");
        assert!(said.matches("error").count() <= 1, "{said}");
    }
    truncate(&at.join("pretrain.pkl"));
    let output = byol(at, "embed pretrain.pkl --data data -o out.csv");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("the pickle is cut short"), "{said}");
    for name in ["executed", "out.csv", "run"] {
        assert!(!at.join(name).exists(), "{name}");
    }
}

fn byol(at: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(at).args(arguments.split_whitespace()).output().unwrap()
}

fn success(output: &Output) -> &Output {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
