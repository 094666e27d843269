//! Several processes as one run, with the real binary under Open MPI's `mpirun`: the numbers of one process, and every way to end.
#![cfg(all(feature = "mpi", target_os = "linux"))]

mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pictures::{truncate, write_class};
use safetensors::SafeTensors;

/// LARS: Adam would blow up the rounding of gradients that are zero.
const TINY: &str = "--threads 1 --preset cifar10 --set optimizer.kind=lars --set schedule.base_learning_rate=0.2 --set model.projector_hidden=16 --set model.predictor_hidden=16 \
    --set model.projection_size=8 --set views.size_px=16 --set schedule.warmup_epochs=1 --set train.loader_threads=1 \
    --set train.log_every_steps=1 --set train.tensorboard=false --set precision=f32";

const NARROW: &str = "--set model.arch=resnet18x0.0625";

/// `mpirun -n RANKS …`, where MPIRUN may name another launcher of Open MPI.
fn launcher(ranks: usize) -> Command {
    let mut command = Command::new(std::env::var_os("MPIRUN").unwrap_or_else(|| "mpirun".into()));
    command.args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()]);
    // A test in a container is root, and may not read the memory of other processes.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    command
}

/// `mpirun -n RANKS byol …`; with no ranks the program alone.
fn command(at: &Path, ranks: usize, arguments: &str) -> Command {
    let byol = env!("CARGO_BIN_EXE_byol");
    let arguments = arguments.replace("TINY", TINY).replace("NARROW", NARROW);
    let mut command = if ranks > 0 { launcher(ranks) } else { Command::new(byol) };
    if ranks > 0 {
        command.arg(byol);
    }
    command.current_dir(at).args(arguments.split_whitespace());
    command
}

fn byol(at: &Path, ranks: usize, arguments: &str) -> Output {
    command(at, ranks, arguments).output().expect("Open MPI's mpirun, of the package openmpi-bin")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two classes of ten pictures: two steps of ten in an epoch.
fn write_data(at: &Path) {
    write_class(&at.join("data/across"), 0, 10);
    write_class(&at.join("data/down"), 1, 10);
}

/// The lines of logged steps.
fn steps(run: &Path) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line.get("loss").is_some()).collect()
}

fn newest_checkpoint(run: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(run.join("checkpoints")).ok()?;
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "safetensors")).max()
}

/// Every tensor of the newest checkpoint.
fn tensors(run: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(newest_checkpoint(run).expect("a checkpoint")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
    file.iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| (name.to_owned(), floats(view.data())))
        .collect()
}

/// How near two runs must be: the loss of every step, relatively, and every tensor of the last checkpoint, relative to its norm.
#[derive(Clone, Copy)]
struct Near {
    loss: f64,
    weights: f64,
    /// The norm that a tensor is at least taken to have: biases begin at 0.
    least_norm: f64,
}

const F32: Near = Near { loss: 1e-5, weights: 1e-4, least_norm: 1e-2 };

fn assert_same(one: &Path, other: &Path, near: Near) {
    let (first, second) = (steps(one), steps(other));
    assert_eq!(first.len(), second.len(), "steps of {} and {}", one.display(), other.display());
    for (step, (first, second)) in first.iter().zip(&second).enumerate() {
        // The norm of a gradient turns with the last bits of what came before; at first there is nothing before.
        let norm = if step == 0 { 10.0 * near.loss } else { f64::INFINITY };
        let bounds = [("loss", near.loss), ("projection_std", 10.0 * near.loss), ("probe_loss", 100.0 * near.loss)];
        for (key, bound) in bounds.into_iter().chain([("grad_norm", norm)]) {
            let [a, b] = [first, second].map(|line| line[key].as_f64());
            assert_eq!(a.is_some(), b.is_some(), "{key} in step {step}");
            let (a, b) = (a.unwrap_or(0.0), b.unwrap_or(0.0));
            assert!((a - b).abs() <= bound * a.abs().max(0.5), "{key} of {first} and {second}");
        }
        for key in ["step", "learning_rate", "target_ema", "epoch"] {
            assert_eq!(first[key], second[key], "{key}");
        }
    }
    let (first, second) = (tensors(one), tensors(other));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, first) in &first {
        // Moments are sums of gradients, and of the size of a learning rate.
        let bound = if name.contains("moment") { 100.0 * near.weights } else { near.weights };
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let difference = norm(&mut first.iter().zip(&second[name]).map(|(a, b)| a - b));
        let size = norm(&mut first.iter().copied());
        assert!(difference <= bound * size.max(near.least_norm), "{name}: differs by {difference:e} of {size:e}");
    }
}

/// Twenty steps by one process and by `ranks`.
fn compare(settings: &str, ranks: &[usize], near: Near) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = |out: &str| format!("pretrain data --out {out} --set train.batch_size=10 --epochs 10 TINY {settings}");
    let alone = byol(at, 0, &run("alone"));
    assert!(alone.status.code().is_some_and(|code| code < 2), "{}", said(&alone));
    assert_eq!(steps(&at.join("alone")).len(), 20);
    for &count in ranks {
        let out = format!("by-{count}");
        let together = byol(at, count, &run(&out));
        assert!(together.status.code().is_some_and(|code| code < 2), "{}", said(&together));
        assert!(said(&together).contains(&format!("{count} processes, {count} of them on this machine")));
        assert_same(&at.join("alone"), &at.join(&out), near);
    }
}

#[test]
fn ranks_come_to_the_numbers_of_one_process_with_uneven_parts() {
    compare("NARROW", &[2, 3, 4], F32);
}

#[test]
fn bottlenecks_and_accumulation_come_to_the_same() {
    compare("--set model.arch=resnet50x0.0625 --set train.accumulation_steps=2", &[2], F32);
}

#[test]
fn negatives_are_those_of_all_ranks() {
    compare("NARROW --set model.negatives_weight=1 --set model.negatives_temperature=0.5", &[3], F32);
}

#[test]
fn variants_whose_loss_sees_the_whole_batch_or_whose_target_is_the_online_network_come_to_the_same() {
    // Rounding counts for more where a loss is small or a matrix is solved.
    let near = Near { loss: 1e-4, ..F32 };
    compare("NARROW --set model.loss_normalisation=batch_norm", &[3], near);
    compare("NARROW --set model.predictor=optimal_linear --set model.target=stop_gradient", &[2], near);
    compare("NARROW --set model.target=gradient --set model.negatives_weight=1", &[2], near);
}

#[test]
fn bf16_comes_to_the_same_within_its_rounding() {
    // At a rate at which twenty steps do not blow its rounding up.
    let settings = "NARROW --set precision=bf16 --set schedule.base_learning_rate=0.02";
    compare(settings, &[2], Near { loss: 2e-2, weights: 5e-2, least_norm: 0.2 });
}

/// A run under `mpirun`, ended when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let ranks = self.ranks();
        let _ = self.0.kill();
        ranks.iter().for_each(|&pid| signal(pid, "KILL"));
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, name: &str) {
    Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
}

impl Running {
    fn start(at: &Path, ranks: usize, arguments: &str) -> Self {
        Self(command(at, ranks, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The process of each rank, in their order.
    fn ranks(&self) -> Vec<u32> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            let rank = environment.split('\0').find_map(|variable| variable.strip_prefix("OMPI_COMM_WORLD_RANK="));
            if status.contains(&format!("PPid:\t{}\n", self.0.id()))
                && let Some(rank) = rank
            {
                found.insert(rank.parse::<usize>().unwrap(), pid);
            }
        }
        found.into_values().collect()
    }

    /// Waits until the run has logged `count` steps.
    fn wait_for_steps(&mut self, run: &Path, count: usize) {
        let begun = Instant::now();
        while steps(run).len() < count {
            assert!(begun.elapsed() < Duration::from_secs(120), "no step {count} within two minutes");
            if self.0.try_wait().unwrap().is_some() {
                panic!("ended before step {count}: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut text).unwrap();
        text
    }

    /// How it ended, within `seconds`.
    fn end(&mut self, seconds: u64) -> (i32, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), self.said());
            }
            assert!(begun.elapsed() < Duration::from_secs(seconds), "still there after {seconds} s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

const LONG: &str =
    "pretrain data --out run --set train.batch_size=10 --epochs 2000 TINY NARROW --set eval.every_epochs=0";

#[test]
fn a_signal_to_any_rank_stops_all_and_another_number_of_ranks_goes_on_with_the_samples_that_were_due() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let settings = "--set train.batch_size=10 --epochs 40 TINY NARROW --set eval.every_epochs=0";
    let alone = byol(at, 0, &format!("pretrain data --out alone {settings}"));
    assert!(alone.status.code().is_some_and(|code| code < 2), "{}", said(&alone));

    let run = at.join("run");
    let mut first = Running::start(at, 2, &format!("pretrain data --out run {settings}"));
    first.wait_for_steps(&run, 10);
    signal(first.ranks()[1], "TERM");
    let (code, words) = first.end(60);
    assert!(code == 130 && words.contains("everything is saved"), "{code}: {words}");
    let after_first = steps(&run).len();
    assert!(after_first < 80, "it was not stopped");

    let mut second = Running::start(at, 3, "resume run --threads 1");
    second.wait_for_steps(&run, after_first + 10);
    // As the launcher does: to all of them, at moments of their own.
    second.ranks().iter().for_each(|&pid| signal(pid, "TERM"));
    let (code, words) = second.end(60);
    assert!(code == 130, "{code}: {words}");
    assert!(steps(&run).len() < 80, "it was not stopped");

    let last = byol(at, 0, "resume run --threads 1");
    assert!(last.status.code().is_some_and(|code| code < 2), "{}", said(&last));
    // Rounding grows over eighty steps.
    assert_same(&at.join("alone"), &run, Near { loss: 1e-3, weights: 1e-2, ..F32 });
    let numbers: Vec<u64> = steps(&run).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..80).collect::<Vec<_>>(), "every step once");
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let ranks: Vec<u64> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["session"]["ranks"].as_u64())
        .collect();
    assert_eq!(ranks, [2, 3, 1]);
}

#[test]
fn a_request_to_save_on_any_rank_saves_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let mut running = Running::start(at, 2, LONG);
    running.wait_for_steps(&at.join("run"), 3);
    assert_eq!(newest_checkpoint(&at.join("run")), None);
    signal(running.ranks()[1], "USR1");
    let begun = Instant::now();
    while newest_checkpoint(&at.join("run")).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    let so_far = steps(&at.join("run")).len();
    running.wait_for_steps(&at.join("run"), so_far + 5);
}

#[test]
fn a_killed_rank_ends_the_run_and_leaves_what_is_saved_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = at.join("run");
    for victim in [1, 0] {
        let _ = fs::remove_dir_all(&run);
        let mut running = Running::start(at, 2, &format!("{LONG} --set train.checkpoint_every_steps=2"));
        running.wait_for_steps(&run, 6);
        signal(running.ranks()[victim], "KILL");
        let (code, words) = running.end(20);
        assert!(code != 0, "{words}");
        assert!(running.ranks().is_empty(), "ranks are left");
        let saved = newest_checkpoint(&run).unwrap();
        let mut again = Running::start(at, 2, "resume run --threads 1");
        let step: usize = saved.file_stem().unwrap().to_str().unwrap()["step-".len()..].parse().unwrap();
        again.wait_for_steps(&run, step + 3);
    }
}

#[test]
fn a_stopped_rank_ends_the_run_when_the_others_have_waited_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = at.join("run");
    let settings = "--set train.rank_timeout_secs=2 --set train.checkpoint_every_steps=2";
    for victim in [1, 0] {
        let _ = fs::remove_dir_all(&run);
        let mut running = Running::start(at, 3, &format!("{LONG} {settings}"));
        running.wait_for_steps(&run, 4);
        let ranks = running.ranks();
        signal(ranks[victim], "STOP");
        let (code, words) = running.end(40);
        assert!(code != 0 && words.contains("for the other ranks in step"), "{code}: {words}");
        assert!(victim == 0 || words.contains("saved up to step"), "{words}");
        assert!(ranks.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()), "ranks are left");
        assert!(newest_checkpoint(&run).is_some());
    }
}

#[test]
fn data_that_goes_away_ends_all_ranks_with_everything_saved_and_one_of_them_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = at.join("run");
    let mut running = Running::start(at, 2, LONG);
    running.wait_for_steps(&run, 3);
    fs::rename(at.join("data"), at.join("gone")).unwrap();
    let (code, words) = running.end(60);
    assert!(code == 2 && words.contains("error: rank ") && words.contains("cannot be used"), "{code}: {words}");
    assert_eq!(words.matches("error: rank").count(), 1, "{words}");
    let taken = steps(&run).len() as u64;
    let saved = newest_checkpoint(&run).unwrap();
    assert_eq!(saved, run.join(format!("checkpoints/step-{taken:08}.safetensors")));
}

#[test]
fn bad_pictures_are_listed_once_whoever_met_them_and_their_limit_is_that_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    for name in ["across/0.png", "across/3.png", "down/1.png", "down/5.png"] {
        truncate(&at.join("data").join(name));
    }
    let run = |out: &str, limit: f64| {
        let settings = format!("--set train.batch_size=10 --epochs 3 --set data.max_bad_fraction={limit} TINY NARROW");
        byol(at, 2, &format!("pretrain data --out {out} --set eval.every_epochs=0 {settings}"))
    };
    let output = run("listed", 0.5);
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", said(&output));
    let list = fs::read_to_string(at.join("listed/bad_images.jsonl")).unwrap();
    let mut names: Vec<&str> = list.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["across/0.png", "across/3.png", "down/1.png", "down/5.png"]);
    let output = run("refused", 0.1);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(said(&output).matches("error: ").count(), 1, "{}", said(&output));
}

#[test]
fn what_cannot_be_is_said_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    for (arguments, expected) in [
        ("pretrain data --out run --set train.batch_size=3 --epochs 1 TINY NARROW", "for each of the 4 ranks"),
        ("pretrain data --out run --device gpu --epochs 1", "several ranks compute on processors only"),
        ("pretrain nothing --out run --epochs 1", "nothing"),
        ("bench step --threads 1 --precision f64", "f64"),
    ] {
        let output = byol(at, 4, arguments);
        let words = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {words}");
        assert!(words.contains(expected), "{arguments}: {words}");
        assert!(!at.join("run").exists(), "{arguments}");
    }
    let own = "--set train.sync_batch_norm=false --set train.batch_size=7";
    let output = byol(at, 4, &format!("pretrain data --out run {own} --epochs 1 TINY NARROW"));
    assert!(said(&output).contains("at least 8, 2 picture(s) for each"), "{}", said(&output));
}

#[test]
fn each_rank_or_group_may_have_statistics_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let losses = |out: &str, sync: &str| {
        let settings = format!("--set train.sync_batch_norm={sync} --set eval.every_epochs=0 TINY NARROW");
        let output = byol(at, 4, &format!("pretrain data --out {out} --set train.batch_size=20 --epochs 4 {settings}"));
        assert!(output.status.code().is_some_and(|code| code < 2), "{}", said(&output));
        steps(&at.join(out)).iter().map(|line| line["loss"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (own, pairs, all) = (losses("own", "false"), losses("pairs", "2"), losses("all", "true"));
    assert!(own.len() == 4 && own != pairs && pairs != all && own != all);
    assert_eq!(losses("one", "1"), own, "groups of one are ranks alone");
    // The loss of the first step is a mean over the same pictures; only their statistics differ.
    assert!((own[0] - all[0]).abs() < 0.5 && (pairs[0] - all[0]).abs() < 0.5, "{own:?} {pairs:?} {all:?}");
}

#[test]
fn doctor_and_embed_share_their_pictures_and_come_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    truncate(&at.join("data/across/4.png"));
    fs::copy(at.join("data/across/1.png"), at.join("data/down/1.png")).unwrap();
    let doctor = |ranks: usize| {
        let output = byol(at, ranks, "doctor data --no-estimate --json --preset cifar10 --threads 1");
        let json = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        json.unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    };
    let alone = doctor(0);
    assert!(alone["bad"].as_array().unwrap().len() == 1 && alone["equal"].as_array().unwrap().len() == 1, "{alone}");
    assert_eq!(doctor(3), alone);

    let embed = |ranks: usize, out: &str| {
        let encoder = "embed random:resnet18x0.0625:cifar:16 data --max-bad-fraction 0.5 --threads 1";
        let output = byol(at, ranks, &format!("{encoder} --out {out}"));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = fs::read_to_string(at.join(out)).unwrap();
        let row = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        text.lines().skip(1).map(row).collect::<Vec<_>>()
    };
    let (one, three) = (embed(0, "one.csv"), embed(3, "three.csv"));
    assert_eq!(one.len(), 19);
    for (one, three) in one.iter().zip(&three) {
        assert_eq!(one[..2], three[..2], "name and label");
        for (a, b) in one[2..].iter().zip(&three[2..]) {
            let [a, b] = [a, b].map(|value| value.parse::<f64>().unwrap());
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

const EVAL: &str = "random:resnet18x0.0625:cifar:16 data --json --max-bad-fraction 0.3 --threads 1";

/// The rows of an evaluation.
fn rows(output: &Output) -> serde_json::Value {
    let json = serde_json::from_slice::<serde_json::Value>(&output.stdout);
    json.unwrap_or_else(|error| panic!("{error}: {}", said(output)))["rows"].clone()
}

#[test]
fn evaluations_share_representations_and_come_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // Four bad ones of sixteen may be, though they are most of the stretch of rank 0.
    (0..4).for_each(|picture| truncate(&at.join(format!("data/across/{picture}.png"))));
    for protocol in ["knn --k 3", "linear --epochs 20 --batch-size 8"] {
        let [alone, together] = [0, 3].map(|ranks| byol(at, ranks, &format!("eval {protocol} {EVAL}")));
        assert_eq!(together.status.code(), Some(0), "{}", said(&together));
        assert!(!said(&together).contains("could not help"), "{}", said(&together));
        assert_eq!(rows(&alone), rows(&together), "{protocol}");
    }
    let strict = byol(at, 3, &format!("eval knn --k 3 {}", EVAL.replace("0.3", "0.1")));
    assert_eq!(strict.status.code(), Some(2));
    let told = said(&strict);
    assert!(told.matches("pictures cannot be used").count() == 1 && told.contains("max_bad_fraction = 0.1"), "{told}");
}

#[test]
fn a_rank_that_cannot_open_the_pictures_leaves_them_to_the_first_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    fs::create_dir_all(at.join("elsewhere")).unwrap();
    write_class(&at.join("elsewhere/data/across"), 0, 3);
    write_class(&at.join("elsewhere/data/down"), 1, 3);
    let line = format!("{} eval knn --k 3 {EVAL}", env!("CARGO_BIN_EXE_byol"));
    let script = format!("if [ $OMPI_COMM_WORLD_RANK = 1 ]; then cd elsewhere; fi; exec {line}");
    let output = launcher(2).args(["sh", "-c", &script]).current_dir(at).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("another could not help: rank 1: it has no picture"), "{told}");
    assert_eq!(rows(&output), rows(&byol(at, 0, &format!("eval knn --k 3 {EVAL}"))));
}
