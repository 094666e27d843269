//! What the person sees: help, suggestions, line numbers, completions, manual pages, and what `-q` and a narrow screen leave of it.

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pictures::{truncate, write_class};

const COMMANDS: [&str; 10] =
    ["demo", "doctor", "preview", "pretrain", "resume", "eval", "embed", "predict", "report", "bench"];

/// Two labelled classes, one with a broken picture and a long name.
fn data(at: &Path) {
    write_class(&at.join("data/horizontal stripes of several widths"), 0, 20);
    write_class(&at.join("data/vertical stripes"), 1, 20);
    truncate(&at.join("data/vertical stripes/7.png"));
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    data(at);
    fs::write(at.join("my.toml"), "preset = \"cifar10\"\n\n[train]\nbatchsize = 8\n").unwrap();
    for (arguments, expected) in [
        ("pretain data", "'pretrain'"),
        ("doctor data --sampel 10", "'--sample'"),
        ("doctor data --weight-decay 0.1", "--set optimizer.weight_decay=VALUE"),
        ("doctor data --set batch_size=8", "did you mean `train.batch_size`?"),
        ("doctor data --set train.batchsize=8", "did you mean `train.batch_size`?"),
        ("doctor data --set optimizer.kind=admaw", "did you mean `adamw`?"),
        ("doctor data --preset cifar-10", "did you mean `cifar10`?"),
        ("doctor data --config my.toml", "my.toml:4:1: key `train.batchsize`"),
    ] {
        let output = byol(at, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{arguments}: {}", text(&output.stderr));
    }
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let at = Path::new(".");
    let mut lines: Vec<String> = COMMANDS.map(str::to_owned).to_vec();
    lines.extend(["knn", "linear", "semi", "finetune", "transfer", "all", "ablate"].map(|name| format!("eval {name}")));
    lines.extend(["step", "embed", "input", "peak"].map(|name| format!("bench {name}")));
    lines.extend(["", "completions"].map(str::to_owned));
    for line in lines {
        for flag in ["-h", "--help"] {
            let output = byol(at, &format!("{line} {flag}"));
            let help = text(&output.stdout);
            assert!(help.contains(format!("Examples:\n  byol {line}").trim_end()), "{line} {flag}: {help}");
        }
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = byol(folder.path(), &format!("completions {shell}"));
        let script = text(&output.stdout);
        assert!(output.status.success() && script.len() > 1000);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} completes {command}");
        }
    }
    assert!(byol(folder.path(), "man pages").status.success());
    for command in COMMANDS {
        let page = fs::read_to_string(folder.path().join(format!("pages/byol-{command}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("Examples"), "{page}");
    }
    assert!(folder.path().join("pages/byol.1").exists() && folder.path().join("pages/byol-eval-knn.1").exists());
}

#[test]
fn the_long_version_names_the_commit_and_the_instruction_sets() {
    let long = text(&byol(Path::new("."), "--version").stdout);
    assert!(long.contains("commit") && long.contains("instruction sets") && long.contains("portable"), "{long}");
    let short = text(&byol(Path::new("."), "-V").stdout);
    assert_eq!(short.trim(), format!("byol {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn quiet_commands_say_nothing_but_results_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    data(at);
    let encoder = "random:resnet18x0.0625:cifar:16";
    for arguments in [
        format!("embed {encoder} data -o a.npy --max-bad-fraction 0.1 -q"),
        format!("-q embed {encoder} --data data -o b.csv --max-bad-fraction 0.1"),
        "preview data -o views.png --images 2 --quiet".to_owned(),
    ] {
        let output = byol(at, &arguments);
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        assert_eq!((text(&output.stderr), text(&output.stdout)), (String::new(), String::new()), "{arguments}");
    }
    let loud = text(&byol(at, &format!("embed {encoder} data -o c.npy --max-bad-fraction 0.1")).stderr);
    assert!(loud.contains("left out") && loud.contains("wrote 39 pictures"), "{loud}");
    let result = text(&byol(at, "-q doctor data --no-estimate --set data.max_bad_fraction=0.1").stderr);
    assert!(result.contains("classes") && result.contains("broken"), "what the doctor found is its result: {result}");
    let output = byol(at, "-q preview data -o views.png");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("already exists"));
}

#[test]
fn a_doctor_on_a_narrow_screen_keeps_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    data(at);
    let arguments = "doctor data --no-estimate --set data.max_bad_fraction=0.1 --set views.size_px=24";
    for columns in [60, 80] {
        let output = Command::new(env!("CARGO_BIN_EXE_byol"))
            .current_dir(at)
            .env("COLUMNS", columns.to_string())
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let shown = text(&output.stderr);
        assert!(shown.contains("horizontal") && shown.contains("views.mean="), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= columns, "{columns} columns: {line}");
        }
    }
}

#[test]
fn data_is_given_in_its_place_or_as_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    data(at);
    let flags = "--no-estimate --set data.max_bad_fraction=0.1 --json";
    let [place, flag] = ["doctor data", "doctor --data data"].map(|line| byol(at, &format!("{line} {flags}")));
    assert!(!place.stdout.is_empty() && place.stdout == flag.stdout, "{}", text(&flag.stderr));
    let output = byol(at, "doctor");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("<DATA>"), "{}", text(&output.stderr));
}

fn byol(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byol"))
        .current_dir(folder)
        .env_remove("COLUMNS")
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
