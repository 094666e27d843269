//! SIGKILL at a random instant, `byol resume`, and again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{Process, Random, STEPS, Tally, Undisturbed};

/// Kills until it has hit `count` times; every run that ends is compared, and a new one takes its place.
pub fn run(undisturbed: &Undisturbed, count: usize, random: &mut Random) -> Tally {
    let (at, mut tally) = (undisturbed.at(), Tally::default());
    let run = at.join("run");
    let mut kills = 0;
    loop {
        let before = Before::of(&run);
        let process = Process::go_on(at, &run);
        random.sleep(undisturbed.takes * 6 / 10);
        let end = if kills < count { process.kill() } else { process.wait() };
        if end.status.signal() == Some(9) {
            kills += 1;
            tally.count(format!("killed: {}", before.what_was_going_on(&run)));
        } else {
            tally.check(end.status.success(), format!("after {kills} kills: {:?}: {}", end.status, end.stderr));
            tally.check_equal(undisturbed, &run);
            fs::remove_dir_all(&run).unwrap();
            if kills >= count || !tally.faults.is_empty() {
                return tally;
            }
            continue;
        }
        check_files(&run, &before, &mut tally);
    }
}

/// Whatever happened, files that have their final names are whole, and an encoder that was there is there.
fn check_files(run: &Path, before: &Before, tally: &mut Tally) {
    let encoder = run.join("encoder.safetensors");
    tally.check(encoder.exists() || !before.has_encoder, "the encoder is gone");
    let kept = byol::train::checkpoints(&run.join("checkpoints")).unwrap_or_default();
    tally.check(before.newest.is_none() || !kept.is_empty(), "the checkpoints are gone");
    for file in kept.into_iter().chain(encoder.exists().then_some(encoder)) {
        let read = byol_nn::weights::load(&file);
        tally.check(read.is_ok(), format!("{}: {:?}", file.display(), read.err()));
    }
}

/// A run before a process goes on with it.
struct Before {
    time: SystemTime,
    sessions: usize,
    has_encoder: bool,
    newest: Option<u64>,
}

impl Before {
    fn of(run: &Path) -> Self {
        Self {
            time: SystemTime::now(),
            sessions: sessions(run),
            has_encoder: run.join("encoder.safetensors").exists(),
            newest: newest(run),
        }
    }

    /// What a killed process was doing, from what it left.
    fn what_was_going_on(&self, run: &Path) -> &'static str {
        let is_written = |file: PathBuf| {
            fs::metadata(file).and_then(|file| file.modified()).is_ok_and(|modified| modified >= self.time)
        };
        let partial = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.extension().is_some_and(|ending| ending == "partial")).collect()
        };
        let log = fs::read(run.join("metrics.jsonl")).unwrap_or_default();
        let encoder_steps = || -> Option<u64> {
            let text = fs::read_to_string(run.join("encoder.json")).ok()?;
            serde_json::from_str::<serde_json::Value>(&text).ok()?["steps"].as_u64()
        };
        if !run.join("run.json").exists() {
            "opening the data or making the run folder"
        } else if partial(&run.join("checkpoints")).into_iter().any(is_written) {
            "writing a checkpoint"
        } else if partial(run).into_iter().any(is_written) {
            "writing the encoder, its description or the log's beginning"
        } else if sessions(run) == self.sessions {
            "starting: opening the data, reading the checkpoint"
        } else if log.last().is_some_and(|&byte| byte != b'\n') {
            "within a line of the log"
        } else if byol::train::checkpoints(&run.join("checkpoints")).is_ok_and(|kept| kept.len() > 3) {
            "between the new checkpoint and deleting the oldest"
        } else if newest(run) != encoder_steps() {
            "between checkpoint and encoder"
        } else if newest(run) == Some(STEPS) {
            "ending"
        } else if log.ends_with(b"}\n") && newest(run) == self.newest {
            "training, before its first checkpoint"
        } else {
            "training, between checkpoints"
        }
    }
}

fn newest(run: &Path) -> Option<u64> {
    byol::train::last_checkpoint_step(&run.join("checkpoints")).ok().flatten()
}

fn sessions(run: &Path) -> usize {
    let log = fs::read(run.join("metrics.jsonl")).unwrap_or_default();
    String::from_utf8_lossy(&log).lines().filter(|line| line.starts_with("{\"session\"")).count()
}
