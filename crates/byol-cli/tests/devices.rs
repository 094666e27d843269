//! `--device`: what is not there is one error, and a graphics card trains the run that the processor trains.

#[expect(dead_code, reason = "no picture is cut short here")]
mod pictures;

use std::path::Path;
use std::process::{Command, Output};

use pictures::write_class;
use serde_json::Value;

/// A network that trains in no time.
const TINY: &str = "--set model.arch=resnet18x0.0625 --set views.size_px=12 --set model.projector_hidden=16 \
    --set model.predictor_hidden=16 --set model.projection_size=8 --set train.batch_size=8 --set precision=\"f32\" \
    --set train.log_every_steps=1 --set train.checkpoint_every_steps=5 --preset small --set eval.every_epochs=0 --threads 1";

fn command(at: &Path, line: &str) -> Command {
    let line = line.replace("TINY", TINY);
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.args(line.split_whitespace()).current_dir(at);
    command
}

fn byol(at: &Path, line: &str) -> Output {
    command(at, line).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn success(output: Output) -> Output {
    assert!(output.status.success(), "{}", said(&output));
    output
}

fn write_data(at: &Path) {
    write_class(&at.join("data/apple"), 0, 12);
    write_class(&at.join("data/leaf"), 1, 12);
}

#[test]
fn a_device_that_is_not_there_is_one_error_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    for (device, expected) in
        [("toaster", "expected cpu"), ("cuda:77", "cuda"), ("wgpu:x", "expected cpu"), ("rocm", "rocm")]
    {
        let output = byol(at, &format!("pretrain data --out run --device {device} TINY"));
        assert_eq!(output.status.code(), Some(2), "{device}: {}", said(&output));
        let said = said(&output);
        assert!(said.contains("--device: expected") && said.contains(expected), "{device}: {said}");
        assert!(said.ends_with(&format!("got {device}")), "{said}");
        assert!(!at.join("run").exists());
    }
}

#[test]
fn devices_lists_the_processor_and_what_the_build_lacks() {
    let output = success(byol(Path::new("."), "devices"));
    assert!(said(&output).contains("cpu"), "{}", said(&output));
    let json = success(byol(Path::new("."), "devices --json"));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["cards"].is_array() && json["cpu"].is_string(), "{json}");
    if cfg!(not(feature = "cuda")) {
        assert!(said(&output).contains("no cuda"), "{}", said(&output));
    }
}

#[cfg(any(feature = "cuda", feature = "rocm", feature = "wgpu"))]
mod on_a_card {
    use std::fs;

    use super::*;

    /// The steps that a run logged: `(step, loss)`.
    fn losses(run: &Path) -> Vec<(u64, f64)> {
        fs::read_to_string(run.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter_map(|line| Some((line["step"].as_u64()?, line["loss"].as_f64()?)))
            .collect()
    }

    #[test]
    fn a_run_has_the_losses_of_the_processor_and_goes_on_on_either() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        // So slow that no rounding of a last bit grows: at the usual rate the processor's own instruction sets are 1 % apart by step 10.
        let long = "--epochs 17 TINY --set schedule.base_learning_rate=0.0003";
        let output = success(byol(at, &format!("pretrain data --out cpu {long}")));
        assert!(said(&output).contains("f32 on"), "{}", said(&output));
        success(byol(at, &format!("pretrain data --out card --device gpu {long}")));
        let (cpu, card) = (losses(&at.join("cpu")), losses(&at.join("card")));
        assert!(cpu.len() >= 50, "{} steps", cpu.len());
        assert_close(&cpu, &card);

        // Ten steps here, the others there.
        for (first, second) in [("cpu", "gpu"), ("gpu", "cpu")] {
            let run = format!("{first}-{second}");
            success(byol(at, &format!("pretrain data --out {run} --device {first} {long}")));
            let checkpoints = at.join(&run).join("checkpoints");
            let newest = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
            let kept = checkpoints.join("step-00000010.safetensors");
            assert!(newest >= kept);
            if !kept.exists() {
                // Only the newest are kept: take the last but one instead.
                let mut all: Vec<_> = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect();
                all.sort();
                fs::remove_file(all.pop().unwrap()).unwrap();
            }
            success(byol(at, &format!("resume {run} --device {second} --threads 1")));
            assert_close(&cpu, &losses(&at.join(&run)));
        }

        // What the encoder says of pictures is the same, too.
        for device in ["cpu", "gpu"] {
            success(byol(at, &format!("embed cpu data --out {device}.npy --device {device}")));
        }
        let [ours, theirs] = ["gpu.npy", "cpu.npy"].map(|name| floats(&fs::read(at.join(name)).unwrap()));
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    /// Whether the card computes in such a type.
    fn has(precision: &str) -> bool {
        let json: Value = serde_json::from_slice(&byol(Path::new("."), "devices --json").stdout).unwrap();
        let card = json["cards"].as_array().unwrap().first().expect("a card, since this build has a feature for one");
        let has = card[precision].as_bool().unwrap();
        // What CI has must not be skipped there.
        assert!(has || precision != "f16" || !card["model"].as_str().unwrap().contains("llvmpipe"), "{card}");
        has
    }

    #[test]
    fn f16_trains_with_a_loss_scale_that_goes_on_after_a_stop() {
        if !has("f16") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let long = "--device gpu --epochs 17 TINY --set schedule.base_learning_rate=0.0003";
        success(byol(at, &format!("pretrain data --out f32 {long}")));
        success(byol(at, &format!("pretrain data --out f16 {long} --set precision=\"f16\"")));
        let (exact, ours) = (losses(&at.join("f32")), losses(&at.join("f16")));
        // The first steps may be lost to finding the scale.
        assert!(exact.len() >= 50 && exact.len() <= ours.len() + 4, "{} {}", exact.len(), ours.len());
        for &(step, loss) in &ours {
            let exact = exact[step as usize].1;
            assert!((loss / exact - 1.0).abs() < 2e-2, "step {step}: {loss} {exact}");
        }
        let metrics = fs::read_to_string(at.join("f16/metrics.jsonl")).unwrap();
        assert_eq!(metrics.matches("\"loss_scale\":").count(), ours.len(), "{metrics}");
        assert!(metrics.contains(&format!("\"skipped_steps\":{},", exact.len() - ours.len())), "{metrics}");

        let mut checkpoints: Vec<_> =
            fs::read_dir(at.join("f16/checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
        checkpoints.sort();
        fs::remove_file(checkpoints.pop().unwrap()).unwrap();
        success(byol(at, "resume f16 --device gpu --threads 1"));
        assert_eq!(losses(&at.join("f16")), ours, "a card repeats its own results");

        let output = byol(at, "resume f16 --device cpu --threads 1");
        assert_eq!(output.status.code(), Some(2));
        let said = said(&output);
        assert!(said.contains("expected f32 or bf16, since") && said.contains("has no f16"), "{said}");
    }

    #[test]
    fn a_gradient_beyond_f16_costs_a_step_and_not_the_run() {
        if !has("f16") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let run = |out: &str, weight: &str| {
            let settings = format!("--set precision=\"f16\" --set model.negatives_weight={weight}");
            let slow = "--set schedule.base_learning_rate=1e-6";
            byol(at, &format!("pretrain data --out {out} --device gpu --epochs 8 TINY {slow} {settings}"))
        };
        let output = success(run("loud", "1000.0"));
        let text = said(&output);
        let halved =
            "step 0: a gradient left the range of f16; this step is not taken, and the loss is scaled by 32768";
        assert!(text.contains(halved), "{text}");
        let skipped = text.matches("this step is not taken").count();
        assert_eq!(losses(&at.join("loud")).len(), 24 - skipped, "{text}");
        assert!(text.contains(&format!("{skipped} of 24 steps were not taken")), "{text}");

        let output = run("deaf", "1e30");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let text = said(&output);
        assert!(text.contains("scaled by 1 ") && text.contains("--set precision=f32"), "{text}");
    }

    #[test]
    fn monitors_probe_and_protocols_run_on_a_card() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let run = "pretrain data --out run --device gpu --epochs 2 TINY --set eval.every_epochs=1";
        let output = byol(at, run);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
        for protocol in ["knn run data --k 3", "linear run data --epochs 2"] {
            let output = byol(at, &format!("eval {protocol} --device gpu"));
            assert!(matches!(output.status.code(), Some(0 | 1)), "{protocol}: {}", said(&output));
        }
    }

    #[test]
    fn a_type_that_the_card_does_not_have_is_an_error() {
        let json: Value = serde_json::from_slice(&byol(Path::new("."), "devices --json").stdout).unwrap();
        let card =
            json["cards"].as_array().unwrap().first().expect("a card, since this build has a feature for one").clone();
        if card["bf16"] == Value::Bool(true) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let output = byol(at, "pretrain data --out run --device gpu TINY --set precision=\"bf16\"");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("`precision`: expected f32") && said(&output).contains("no bf16"));
    }

    /// A command on the first card, whose driver fails as these variables say (`devices/failing_vulkan.c`).
    #[cfg(target_os = "linux")]
    fn failing(at: &Path, line: &str, how: (&str, &str)) -> Output {
        const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/devices/failing_vulkan.c");
        let (shim, vulkan) =
            (at.join("shim"), ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]);
        let vulkan = vulkan.map(|folder| Path::new(folder).join("libvulkan.so.1"));
        let vulkan = vulkan.iter().find(|path| path.exists()).expect("the loader of Vulkan");
        fs::create_dir_all(&shim).unwrap();
        let flags =
            ["-shared", "-fPIC", "-Wl,-soname,libvulkan.so.1", "-Wl,-z,nodelete", "-o", "libvulkan.so.1", SOURCE];
        assert!(Command::new("cc").current_dir(&shim).args(flags).status().unwrap().success(), "the linker's compiler");
        command(at, line)
            .env_remove("RUST_BACKTRACE")
            .env("LD_LIBRARY_PATH", &shim)
            .env("REAL_VULKAN", vulkan)
            .env(how.0, how.1)
            .output()
            .unwrap()
    }

    #[test]
    #[cfg(all(target_os = "linux", feature = "wgpu"))]
    fn a_card_that_is_lost_is_one_error_and_the_run_goes_on_from_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let run = "pretrain data --out run --device wgpu --epochs 17 TINY";
        let early = failing(at, run, ("LOST_AFTER_SUBMITS", "40"));
        assert_eq!(early.status.code(), Some(2), "{}", said(&early));
        assert!(said(&early).contains("there is no checkpoint yet"), "{}", said(&early));

        let late = failing(at, run, ("LOST_AFTER_SUBMITS", "3000"));
        let text = said(&late);
        assert_eq!(late.status.code(), Some(2), "{text}");
        assert!(
            text.contains("is lost; the last good state is run/checkpoints/step-") && text.contains("byol resume"),
            "{text}"
        );
        assert!(!text.contains("panicked") && !text.contains("too much"), "{text}");
        assert_eq!(text.matches("failed:").count(), 1, "{text}");
        success(byol(at, "resume run --device wgpu --threads 1"));
        assert_eq!(losses(&at.join("run")).len(), 51);

        let lost = failing(at, "embed run data --out e.npy --device wgpu", ("LOST_AFTER_SUBMITS", "20"));
        assert_eq!(lost.status.code(), Some(2), "{}", said(&lost));
        assert!(said(&lost).contains("lost") && !said(&lost).contains("panicked"), "{}", said(&lost));
        assert!(!at.join("e.npy").exists());
    }

    #[test]
    #[cfg(all(target_os = "linux", feature = "wgpu"))]
    fn a_card_that_is_full_is_one_error_that_names_what_needs_less() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write_data(at);
        let run =
            "pretrain data --out run --device wgpu --epochs 2 TINY --set train.batch_size=16 --set views.size_px=64";
        let output = failing(at, run, ("MEMORY_MIB", "24"));
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("a pass of 16 pictures of 64 px was too much (one layer alone takes"), "{text}");
        assert!(text.contains("--set train.accumulation_steps=2, for the same batch of 16"), "{text}");
        assert!(!text.contains("panicked"), "{text}");

        let output = failing(at, run, ("MEMORY_MIB", "1"));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("--device: expected a card that can be opened"), "{}", said(&output));
    }

    #[track_caller]
    fn assert_close(expected: &[(u64, f64)], ours: &[(u64, f64)]) {
        assert_eq!(expected.len(), ours.len());
        for ((step, expected), (_, ours)) in expected.iter().zip(ours) {
            assert!((expected - ours).abs() <= 1e-3 * expected.abs(), "step {step}: {ours}, expected {expected}");
        }
    }

    /// The values of a `.npy` file of `f32`, behind its header.
    fn floats(bytes: &[u8]) -> Vec<f32> {
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[header..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
