//! Disks that are full or become read-only while a run is on them: a file system in memory, and an ext4 in a file.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{End, Process, Random, Tally, Undisturbed};

/// A mounted file system; gone when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where mounting is not allowed, which is said.
    fn new(at: &Path, options: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(options).arg(at).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("left out: this test mounts a disk, which needs root: {mounted:?}");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Fills the disk of a running training at a random instant, `count` times; every second time the run is stopped while it
/// waits. Then there is room again.
pub fn fill(undisturbed: &Undisturbed, count: usize, random: &mut Random) -> Tally {
    let (at, mut tally) = (undisturbed.at(), Tally::default());
    let Some(disk) = Mount::new(&at.join("small"), &["-t", "tmpfs", "-o", "size=8m", "none"]) else { return tally };
    let (run, filler) = (disk.0.join("run"), disk.0.join("filler"));
    for place in 0..count {
        let mut process = Process::pretrain(at, &run);
        random.sleep(undisturbed.takes * 8 / 10);
        fill_up(&filler);
        while !process.is_over() && !process.says().contains("; waiting, Ctrl-C stops here") {
            std::thread::sleep(Duration::from_millis(20));
        }
        if process.is_over() {
            let end = process.wait();
            let reason = how_it_ended(&end, &["disk full: ", "No space left"]);
            tally.check(reason.is_some(), format!("{:?} {}", end.status, end.stderr));
            tally.count(format!("full before or after training: {}", reason.unwrap_or_default()));
            fs::remove_file(&filler).unwrap();
        } else if place % 2 == 1 {
            process.interrupt();
            let end = process.wait();
            let is_clear = end.status.code() == Some(2)
                && end.stderr.contains("stopped while the disk was full")
                && (end.stderr.contains("Saved last: step ") || end.stderr.contains("Nothing was saved yet"));
            tally.check(is_clear, format!("stopped while waiting: {:?} {}", end.status, end.stderr));
            tally.count("full while training: waited, stopped by Ctrl-C, went on by resume");
            fs::remove_file(&filler).unwrap();
        } else {
            random.sleep(Duration::from_millis(300));
            fs::remove_file(&filler).unwrap();
            let end = process.wait();
            let went_on = end.status.success() && end.stderr.contains("there is room on the disk again");
            tally.check(went_on, format!("after waiting: {:?} {}", end.status, end.stderr));
            tally.count("full while training: waited, went on by itself");
        }
        finish(undisturbed, &run, &mut tally);
    }
    tally
}

/// Turns the disk of a running training read-only at a random instant, as the system does after an error of the disk,
/// `count` times; what had not reached the disk is lost. Then the disk is repaired.
pub fn turn_read_only(undisturbed: &Undisturbed, count: usize, random: &mut Random) -> Tally {
    let (at, mut tally) = (undisturbed.at(), Tally::default());
    let image = at.join("disk.img");
    for _ in 0..count {
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        // A journal, so that it can be repaired as real disks are.
        command("mkfs.ext4", &["-q", "-F", "-J", "size=4", &image.display().to_string()]);
        let options = ["-o", "loop", &image.display().to_string()];
        let Some(disk) = Mount::new(&at.join("fragile"), &options) else { return tally };
        let run = disk.0.join("run");
        let process = Process::pretrain(at, &run);
        random.sleep(undisturbed.takes);
        command("mount", &["-o", "remount,abort", &disk.0.display().to_string()]);
        let end = process.wait();
        let reason = how_it_ended(&end, &["Read-only file system", "Input/output error", "Structure needs cleaning"]);
        tally.check(reason.is_some(), format!("{:?} {}", end.status, end.stderr));
        tally.count(format!("read-only while training: {}", reason.unwrap_or_default()));
        drop(disk);
        // 1 and 2 say that it was repaired.
        let _ = Command::new("e2fsck").args(["-fy", &image.display().to_string()]).output().unwrap();
        let Some(disk) = Mount::new(&at.join("fragile"), &options) else { return tally };
        finish(undisturbed, &disk.0.join("run"), &mut tally);
    }
    tally
}

/// A disk with room for a run folder, but not for a checkpoint.
pub fn refuse(undisturbed: &Undisturbed) -> Tally {
    let (at, mut tally) = (undisturbed.at(), Tally::default());
    let Some(disk) = Mount::new(&at.join("tiny"), &["-t", "tmpfs", "-o", "size=300k", "none"]) else { return tally };
    let end = Process::pretrain(at, &disk.0.join("runs/new")).wait();
    let expected = ["disk full: ", "needed for the next checkpoint", "free at", "--out"];
    let is_clear = end.status.code() == Some(2) && expected.iter().all(|part| end.stderr.contains(part));
    tally.check(is_clear, format!("{:?} {}", end.status, end.stderr));
    tally.check(fs::read_dir(&disk.0).unwrap().next().is_none(), "something was left behind");
    tally
}

/// Ends the run, starting it anew where nothing of it was made, and compares.
fn finish(undisturbed: &Undisturbed, run: &Path, tally: &mut Tally) {
    let end = Process::go_on(undisturbed.at(), run).wait();
    tally.check(end.status.success(), format!("resume: {:?} {}", end.status, end.stderr));
    tally.check_equal(undisturbed, run);
    fs::remove_dir_all(run).unwrap();
}

/// In words, if it ended as it may: done, or exit 2 with one of these reasons.
fn how_it_ended(end: &End, reasons: &[&str]) -> Option<String> {
    match end.status.code() {
        Some(0) => Some("done before it".to_owned()),
        Some(2) if reasons.iter().any(|reason| end.stderr.contains(reason)) => {
            Some("exit 2, with the reason".to_owned())
        }
        _ => None,
    }
}

/// Takes all room there is, to the last byte.
fn fill_up(filler: &Path) {
    let mut file = File::create(filler).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
