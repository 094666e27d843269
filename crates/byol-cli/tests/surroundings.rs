//! What surrounds a run, with the real binary: outputs that cannot be written, file systems without locks, signals, runs that
//! came to nothing, and going on for longer, elsewhere or with more pictures.
#![cfg(unix)]

#[expect(dead_code, reason = "no picture is cut short here")]
mod pictures;

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pictures::write_class;

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.0625 --set model.projector_hidden=8 \
    --set model.predictor_hidden=8 --set model.projection_size=8 --set views.size_px=8 --set train.batch_size=8 \
    --set schedule.warmup_epochs=0 --set train.loader_threads=1 --set train.log_every_steps=1";

fn command(at: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    let arguments = arguments.replace("TINY", TINY);
    command.current_dir(at).args(arguments.split_whitespace());
    command
}

fn byol(at: &Path, arguments: &str) -> Output {
    command(at, arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `data` with two classes of twelve pictures: three steps of eight in an epoch.
fn write_data(at: &Path) {
    write_class(&at.join("data/across"), 0, 12);
    write_class(&at.join("data/down"), 1, 12);
}

fn steps(run: &Path) -> usize {
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    log.lines().filter(|line| line.contains("\"loss\"")).count()
}

#[test]
#[cfg(target_os = "linux")]
fn outputs_that_cannot_be_written_do_not_end_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let plain = byol(at, "pretrain data --out plain --set schedule.epochs=1 --json TINY").status.code();
    let run = |out: &str| format!("pretrain data --out {out} --set schedule.epochs=1 --json TINY");
    let silent = command(at, &run("silent")).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!((silent.code(), steps(&at.join("silent"))), (plain, 3));
    let told = command(at, &run("told")).stdout(full()).output().unwrap();
    assert_eq!(told.status.code(), plain);
    assert!(said(&told).contains("standard output cannot be written"), "{}", said(&told));

    // A reader that dies at once.
    let mut child = command(at, &run("unread")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), plain);
    assert_eq!(steps(&at.join("unread")), 3);
}

/// `flock` that answers as some disks of a network do; compiled with the linker's own compiler.
#[test]
#[cfg(target_os = "linux")]
fn a_file_system_without_locks_trains_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    for (name, reason) in [("ENOSYS", 38), ("ENOLCK", 37), ("EOPNOTSUPP", 95)] {
        let source = format!("#include <errno.h>\nint flock(int file, int how) {{ errno = {reason}; return -1; }}\n");
        fs::write(at.join("flock.c"), source).unwrap();
        let built = Command::new("cc").current_dir(at).args(["-shared", "-fPIC", "-o", "flock.so", "flock.c"]).status();
        assert!(built.unwrap().success(), "the compiler that links this test");
        let run = format!("pretrain data --out {name} --set schedule.epochs=1 TINY");
        let output = command(at, &run).env("LD_PRELOAD", at.join("flock.so")).output().unwrap();
        assert!(said(&output).contains("warning: this file system has no locks"), "{name}: {}", said(&output));
        assert_eq!(steps(&at.join(name)), 3, "{name}");
    }
}

#[test]
fn a_run_that_came_to_nothing_does_not_block_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = "pretrain data --out run --set schedule.epochs=1 TINY";
    byol(at, run);
    assert_eq!(byol(at, run).status.code(), Some(2), "a run with a checkpoint is never replaced");
    // What a process leaves that is killed before its first checkpoint.
    for gone in ["encoder.safetensors", "encoder.json"] {
        fs::remove_file(at.join("run").join(gone)).unwrap();
    }
    fs::remove_dir_all(at.join("run/checkpoints")).unwrap();
    fs::create_dir(at.join("run/checkpoints")).unwrap();
    let held = File::open(at.join("run/run.json")).unwrap();
    held.lock().unwrap();
    assert_eq!(byol(at, run).status.code(), Some(2), "another process is at it");
    drop(held);
    fs::write(at.join("run/notes.txt"), "mine").unwrap();
    assert_eq!(byol(at, run).status.code(), Some(2), "something of the person's lies in it");
    fs::remove_file(at.join("run/notes.txt")).unwrap();
    let again = byol(at, run);
    assert!(said(&again).contains("takes the place of a run that had ended"), "{}", said(&again));
    assert_eq!(steps(&at.join("run")), 3);
}

#[test]
fn a_signal_saves_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let long = "pretrain data --out run --set schedule.epochs=1000000 --set train.checkpoint_every_steps=1000000 TINY";
    let mut child = command(at, long).stderr(File::create(at.join("said")).unwrap()).spawn().unwrap();
    let signal = |name: &str| Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(120), "waited for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("steps", &|| at.join("run/metrics.jsonl").is_file() && steps(&at.join("run")) > 1);
    signal("-USR1");
    let said = || fs::read_to_string(at.join("said")).unwrap();
    wait_for("the checkpoint", &|| said().contains("as asked; training goes on"));
    assert!(fs::read_dir(at.join("run/checkpoints")).unwrap().count() > 0);
    let so_far = steps(&at.join("run"));
    wait_for("more steps", &|| steps(&at.join("run")) > so_far);
    signal("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_finished_run_goes_on_for_longer_elsewhere_and_with_more_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    byol(at, "pretrain data --out run --set schedule.epochs=2 TINY");
    assert_eq!(steps(&at.join("run")), 6);
    let shorter = byol(at, "resume run --epochs 1");
    assert_eq!(shorter.status.code(), Some(2));
    assert!(said(&shorter).contains("more than the 6 steps that are done"), "{}", said(&shorter));

    let longer = byol(at, "resume run --epochs 4");
    assert!(said(&longer).contains("drawn anew for 12 steps instead of 6: at step 6"), "{}", said(&longer));
    assert_eq!(steps(&at.join("run")), 12);
    let config = fs::read_to_string(at.join("run/config.toml")).unwrap();
    assert!(config.contains("epochs = 4.0"), "{config}");

    fs::rename(at.join("data"), at.join("moved")).unwrap();
    assert_eq!(byol(at, "resume run").status.code(), Some(2));
    let moved = byol(at, "resume run --data moved");
    assert!(said(&moved).contains("the data is at"), "{}", said(&moved));
    assert!(!said(&byol(at, "resume run")).contains("changed "), "it is remembered");

    write_class(&at.join("moved/across"), 0, 20);
    let refused = byol(at, "resume run --epochs 6");
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--changed-data"), "{}", said(&refused));
    let grown = byol(at, "resume run --epochs 6 --changed-data");
    assert!(said(&grown).contains("from step 12 on there are 32 pictures instead of 24"), "{}", said(&grown));
    assert_eq!(steps(&at.join("run")), 24, "six epochs of four steps");
    let info: serde_json::Value = serde_json::from_slice(&fs::read(at.join("run/run.json")).unwrap()).unwrap();
    assert_eq!((&info["images"], &info["earlier_data"][0]["images"]), (&32.into(), &24.into()));
    assert_eq!(info["earlier_data"][0]["until_step"], 12);
}

/// Tiny ImageNet's form: the pictures to validate on lie in one folder that is no class.
#[test]
fn a_part_whose_folder_is_no_class_is_refused_and_all_parts_can_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (class, name) in ["n01", "n02"].into_iter().enumerate() {
        write_class(&at.join(format!("tiny/train/{name}/images")), class, 10);
    }
    write_class(&at.join("tiny/val/images"), 0, 6);
    let encoder = "random:resnet18x0.0625:cifar:8";
    let refused = byol(at, &format!("eval knn {encoder} tiny"));
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("needs a label for every picture, and val/images/"), "{}", said(&refused));
    assert!(said(&refused).contains("a list of paths and labels"), "{}", said(&refused));

    write_class(&at.join("other/train/cat"), 0, 10);
    write_class(&at.join("other/train/dog"), 1, 10);
    write_class(&at.join("other/valid/dog"), 1, 5);
    write_class(&at.join("other/valid/fox"), 2, 5);
    let unseen = byol(at, &format!("eval knn {encoder} other"));
    assert_eq!(unseen.status.code(), Some(2));
    assert!(said(&unseen).contains("5 of 10 pictures to test on are in classes"), "{}", said(&unseen));
    assert!(said(&unseen).contains("(fox)"), "{}", said(&unseen));

    let all = byol(at, &format!("eval knn {encoder} other --split all --json"));
    assert!(all.status.success(), "{}", said(&all));
    let record: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!((&record["train_images"], &record["test_images"]), (&24.into(), &6.into()));
    let embedded = byol(at, &format!("embed {encoder} other --split all -o all.npy"));
    assert!(embedded.status.success(), "{}", said(&embedded));
    let names = fs::read_to_string(at.join("all.names.csv")).unwrap();
    assert_eq!(names.lines().count(), 31, "{names}");
    assert!(names.contains("train/cat/0.png") && names.contains("valid/fox/4.png"), "{names}");
    let same = byol(at, &format!("eval knn {encoder} other --split valid --test-split valid"));
    assert!(said(&same).contains("both the part `valid`"), "{}", said(&same));
}

/// Else each process would train the same run.
#[test]
#[cfg(not(feature = "mpi"))]
fn a_launcher_of_several_processes_is_refused_by_a_build_that_knows_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let run = "pretrain data --out run --set schedule.epochs=1 TINY";
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let output = command(at, run).env(variable, "4").output().unwrap();
        let words = said(&output);
        assert!(output.status.code() == Some(2) && words.contains("started 4 processes"), "{words}");
        assert!(words.contains("--features mpi") && !at.join("run").exists(), "{words}");
    }
    // One is no trouble.
    let one = command(at, run).env("OMPI_COMM_WORLD_SIZE", "1").output().unwrap();
    assert_eq!((one.status.code().map(|code| code < 2), steps(&at.join("run"))), (Some(true), 3));
}
