//! Checkpoints cut short or with a bit turned, at random places.

use std::fs;
use std::path::Path;

use crate::{Process, Random, STEPS, Tally, Undisturbed};

/// Damages the newest, the two newest or all checkpoints of a finished run, `count` times, and goes on with it.
pub fn run(undisturbed: &Undisturbed, count: usize, random: &mut Random) -> Tally {
    let (at, mut tally) = (undisturbed.at(), Tally::default());
    for _ in 0..count {
        let run = at.join("damaged");
        copy(&at.join("undisturbed"), &run);
        let mut checkpoints = byol::train::checkpoints(&run.join("checkpoints")).unwrap();
        checkpoints.reverse();
        // All of them every eighth time.
        let damaged = [1, 1, 1, 1, 1, 2, 2, checkpoints.len()][random.below(8) as usize];
        let kinds: Vec<_> = checkpoints[..damaged].iter().map(|file| damage(file, random)).collect();
        let what = format!("{damaged} of {} checkpoints damaged", checkpoints.len());
        let end = Process::go_on(at, &run).wait();
        let named = end.stderr.matches("damaged checkpoint: ").count();
        if damaged == checkpoints.len() {
            tally.count(format!("{what}: refused, exit 2"));
            let is_clear = end.stderr.contains("older one(s) are damaged, too") && end.status.code() == Some(2);
            tally.check(is_clear, format!("{what} ({kinds:?}): {:?} {}", end.status, end.stderr));
            let encoder = fs::read(run.join("encoder.safetensors")).unwrap();
            tally.check(encoder == undisturbed.encoder, format!("{what}: the encoder was touched"));
        } else if named == 0 && reads_as_it_was(&checkpoints[0], undisturbed) {
            tally.count("a bit of the checksum's own name: read as it was");
        } else {
            tally.count(format!("{what}: named, the one before taken"));
            let said = format!("{what} ({kinds:?}): {:?} {}", end.status, end.stderr);
            tally.check(end.status.success() && named == damaged, said);
            tally.check_equal(undisturbed, &run);
            let again = Process::go_on(at, &run).wait();
            tally.check(!again.stderr.contains("damaged checkpoint: "), format!("named twice: {}", again.stderr));
        }
        kinds.into_iter().for_each(|kind| tally.count(kind));
        fs::remove_dir_all(&run).unwrap();
    }
    tally
}

fn damage(file: &Path, random: &mut Random) -> &'static str {
    let mut bytes = fs::read(file).unwrap();
    let place = random.below(bytes.len() as u64) as usize;
    let kind = match random.below(3) {
        0 => {
            bytes.truncate(place);
            "file cut short"
        }
        1 => {
            // What a file system may leave of pages that never reached the disk.
            bytes[place..].fill(0);
            "file zero from somewhere on"
        }
        _ => {
            bytes[place] ^= 1 << random.below(8);
            "file with a bit turned"
        }
    };
    fs::write(file, bytes).unwrap();
    kind
}

fn reads_as_it_was(file: &Path, undisturbed: &Undisturbed) -> bool {
    let good = undisturbed.at().join(format!("undisturbed/checkpoints/step-{STEPS:08}.safetensors"));
    let tensors = |file: &Path| byol_nn::weights::load(file).ok().map(|(tensors, _)| tensors);
    tensors(file).is_some_and(|read| Some(read) == tensors(&good))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
