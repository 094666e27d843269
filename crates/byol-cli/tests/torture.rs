//! Kills, full and read-only disks, damaged checkpoints, all at random: a run ends with the bits of one that nothing happened to.
//!
//! A short form runs with all tests, the long one with `make torture`; counts are set by TORTURE_KILLS, TORTURE_FULL_DISKS,
//! TORTURE_READ_ONLY_DISKS and TORTURE_DAMAGES. Disks are mounted, which only root may do; for others these parts are left out.
#![cfg(unix)]

#[path = "torture/damages.rs"]
mod damages;
#[path = "torture/disks.rs"]
mod disks;
#[path = "torture/kills.rs"]
mod kills;
#[expect(dead_code, reason = "nothing is cut short that way here")]
mod pictures;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use pictures::write_class;
use serde_json::Value;

/// 24 pictures in batches of 8: 60 steps. Measurements, checkpoints by steps and by time (a tenth of a second) fall in between.
const SETTINGS: &str = "--preset cifar10 --set model.arch=resnet18x0.0625 --set model.projector_hidden=8 \
    --set model.predictor_hidden=8 --set model.projection_size=8 --set views.size_px=8 --set train.batch_size=8 \
    --set schedule.epochs=20 --set schedule.warmup_epochs=1 --set train.loader_threads=1 --set train.log_every_steps=1 \
    --set train.checkpoint_every_steps=3 --set train.checkpoint_every_minutes=0.0016 --set train.checkpoints_kept=3 \
    --set eval.every_epochs=7 --set eval.images=8 --threads 1";
const STEPS: u64 = 60;

/// A folder with pictures, and what a run on them gives when nothing happens to it.
struct Undisturbed {
    folder: tempfile::TempDir,
    encoder: Vec<u8>,
    description: Vec<u8>,
    checkpoint: Vec<u8>,
    log: Vec<String>,
    takes: Duration,
}

impl Undisturbed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for class in 0..3 {
            write_class(&at.join("data").join(class.to_string()), class, 8);
        }
        let started = Instant::now();
        let run = at.join("undisturbed");
        let end = Process::pretrain(at, &run).wait();
        assert!(end.status.success(), "{}", end.stderr);
        let takes = started.elapsed();
        let read = |name: &str| fs::read(run.join(name)).unwrap();
        let (encoder, description) = (read("encoder.safetensors"), read("encoder.json"));
        let checkpoint = read(&format!("checkpoints/step-{STEPS:08}.safetensors"));
        let log = log_of(&run);
        assert_eq!(log.len(), STEPS as usize + 4, "60 steps, and measurements before, at 21 and 42, and after");
        Self { folder, encoder, description, checkpoint, log, takes }
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    /// Which files of a finished run differ.
    fn differences(&self, run: &Path) -> Vec<String> {
        let newest = format!("checkpoints/step-{STEPS:08}.safetensors");
        let files =
            [("encoder.safetensors", &self.encoder), ("encoder.json", &self.description), (&newest, &self.checkpoint)];
        let is_other = |(name, bytes): &(&str, &Vec<u8>)| fs::read(run.join(name)).ok().as_ref() != Some(*bytes);
        let mut differ: Vec<String> = files.into_iter().filter(is_other).map(|(name, _)| name.to_owned()).collect();
        if log_of(run) != self.log {
            differ.push("metrics.jsonl".to_owned());
        }
        differ
    }
}

/// What must be equal in `metrics.jsonl`: every step and measurement once, with its numbers but for the times. What the run found
/// in them may depend on the times, and on how they are cut into processes.
fn log_of(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_measured = |line: &Value| line.get("session").is_none() && line.get("watch").is_none();
    let timeless = lines.filter(is_measured).map(|mut line| {
        for time in ["images_per_second", "data_wait", "seconds", "time"] {
            line.as_object_mut().unwrap().remove(time);
        }
        line.to_string()
    });
    timeless.collect()
}

/// A training of the real program.
struct Process {
    child: Child,
    stderr: PathBuf,
}

/// How it ended.
struct End {
    status: ExitStatus,
    stderr: String,
}

impl Process {
    fn pretrain(at: &Path, run: &Path) -> Self {
        Self::start(at, &format!("pretrain data --out {} {SETTINGS}", run.display()))
    }

    /// Goes on with `run` if it is one, otherwise starts it anew.
    fn go_on(at: &Path, run: &Path) -> Self {
        if run.join("run.json").exists() {
            return Self::start(at, &format!("resume {} --threads 1", run.display()));
        }
        // Killed while it made the folder; the program says so and leaves it to the person.
        let _ = fs::remove_dir_all(run);
        Self::pretrain(at, run)
    }

    fn start(at: &Path, arguments: &str) -> Self {
        let stderr = at.join("stderr.txt");
        let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
        command.current_dir(at).args(arguments.split_whitespace()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stderr }
    }

    fn says(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn wait(mut self) -> End {
        let status = self.child.wait().unwrap();
        End { status, stderr: self.says() }
    }

    fn kill(mut self) -> End {
        self.child.kill().unwrap();
        self.wait()
    }

    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

/// What happened how often, and what must not happen at all.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, usize>,
    faults: Vec<String>,
}

impl Tally {
    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    fn check(&mut self, good: bool, fault: impl Into<String>) {
        if !good {
            self.faults.push(fault.into());
        }
    }

    fn check_equal(&mut self, undisturbed: &Undisturbed, run: &Path) {
        let differ = undisturbed.differences(run);
        self.count("runs ended and compared bit for bit");
        self.check(differ.is_empty(), format!("other bits in {}", differ.join(", ")));
    }

    fn finish(self, name: &str) {
        eprintln!("{name}\n{self}");
        assert!(self.faults.is_empty(), "{name}: {} fault(s)\n{}", self.faults.len(), self.faults.join("\n"));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.iter().try_for_each(|(what, count)| writeln!(f, "{count:6}  {what}"))?;
        write!(f, "{:6}  faults", self.faults.len())
    }
}

/// SplitMix64; which instants are hit depends on the machine as well.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    fn sleep(&mut self, longest: Duration) {
        std::thread::sleep(Duration::from_micros(self.below(longest.as_micros() as u64 + 1)));
    }
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

#[test]
fn kills_at_random_instants_change_no_bit() {
    kills::run(&Undisturbed::new(), 20, &mut Random(1)).finish("20 kills");
}

#[test]
fn damaged_checkpoints_are_named_and_the_one_before_is_taken() {
    damages::run(&Undisturbed::new(), 8, &mut Random(2)).finish("8 damages");
}

#[test]
fn a_disk_that_is_full_makes_a_run_wait_and_changes_no_bit() {
    disks::fill(&Undisturbed::new(), 2, &mut Random(3)).finish("2 full disks");
}

#[test]
fn a_disk_that_becomes_read_only_ends_a_run_and_costs_no_checkpoint() {
    disks::turn_read_only(&Undisturbed::new(), 1, &mut Random(4)).finish("1 read-only disk");
}

#[test]
fn a_disk_without_room_for_a_checkpoint_is_refused_before_training() {
    disks::refuse(&Undisturbed::new()).finish("no room");
}

#[test]
#[ignore = "takes many minutes: make torture"]
fn torture() {
    let undisturbed = Undisturbed::new();
    eprintln!("an undisturbed run takes {:.2} s", undisturbed.takes.as_secs_f64());
    let mut random = Random(from_environment("TORTURE_SEED", 0) as u64);
    let mut section = |name: &str, variable: &str, default, part: fn(&Undisturbed, usize, &mut Random) -> Tally| {
        let started = Instant::now();
        let count = from_environment(variable, default);
        let tally = part(&undisturbed, count, &mut random);
        tally.finish(&format!("{count} {name}, {:.0} s", started.elapsed().as_secs_f64()));
    };
    section("damages", "TORTURE_DAMAGES", 300, damages::run);
    section("full disks", "TORTURE_FULL_DISKS", 50, disks::fill);
    section("read-only disks", "TORTURE_READ_ONLY_DISKS", 50, disks::turn_read_only);
    section("kills", "TORTURE_KILLS", 1000, kills::run);
}
