//! `byol embed`: files that other programs read, and passes that are interrupted.

mod pictures;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use pictures::{truncate, write_class};
use serde_json::Value;

/// Two batches and a bit; the first stops a pass that is asked to.
const PICTURES: usize = 600;

/// A batch takes about a second.
const SLOW: &str = "random:resnet18x0.5:cifar:32";

#[test]
fn a_parquet_file_holds_what_the_text_does_and_says_what_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for part in ["train", "test"] {
        (0..2).for_each(|class| write_class(&at.join("data").join(part).join(["a", "b"][class]), class, 6));
    }
    truncate(&at.join("data/train/b/3.png"));
    let embed = |rest: &str| {
        let output = byol(at, &format!("embed random:resnet18x0.125:cifar:16 data --max-bad-fraction 0.2 {rest}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    };
    embed("-o x.csv");
    let csv = fs::read_to_string(at.join("x.csv")).unwrap();
    let csv: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!((csv.len(), csv[0].len()), (11, 2 + 64));
    embed("-o x.parquet");
    embed("-o half.parquet --half");

    for (file, tolerance) in [("x.parquet", 0.0), ("half.parquet", 1e-3)] {
        let reader = SerializedFileReader::new(File::open(at.join(file)).unwrap()).unwrap();
        for (row, line) in reader.get_row_iter(None).unwrap().zip(&csv) {
            let (name, label, split, values) = columns(&row.unwrap());
            assert_eq!((&*name, label.as_deref(), split.as_deref()), (line[0], Some(line[1]), Some("train")));
            assert_eq!(values.len(), 64);
            for (value, word) in values.iter().zip(&line[2..]) {
                let expected: f32 = word.parse().unwrap();
                assert!((value - expected).abs() <= tolerance * expected.abs(), "{value} {expected}");
            }
        }
        let metadata = reader.metadata().file_metadata();
        assert_eq!(metadata.num_rows(), 11);
        let entries = metadata.key_value_metadata().unwrap();
        let value = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap().value.clone().unwrap();
        let about: Value = serde_json::from_str(&value("byol")).unwrap();
        assert_eq!((&about["size"], &about["bad"], &about["split"]), (&64.into(), &1.into(), &"train".into()));
        assert_eq!(about["roots"][0], std::path::absolute(at.join("data")).unwrap().to_str().unwrap());
        assert_eq!(about["encoder"], "random:resnet18x0.125:cifar:16");
        assert_eq!(about["encoder_fingerprint"].as_str().unwrap().len(), 32);
        assert_eq!(about["preprocessing"]["size_px"], 16);
        assert!(value("ARROW:schema").len() > 100);
    }
    assert!(fs::metadata(at.join("half.parquet")).unwrap().len() < fs::metadata(at.join("x.parquet")).unwrap().len());

    // All splits together: each picture has its own.
    embed("-o all.parquet --split all");
    let reader = SerializedFileReader::new(File::open(at.join("all.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| columns(&row.unwrap())).collect();
    assert!(rows.iter().all(|(name, _, split, _)| split.as_deref().is_some_and(|split| name.contains(split))));
    assert_eq!(rows.iter().filter(|(_, _, split, _)| split.as_deref() == Some("test")).count(), 12);

    // Data without labels and splits has nulls there.
    write_class(&at.join("flat"), 0, 3);
    let output = byol(at, "embed random:resnet18x0.125:cifar:16 flat -o flat.parquet");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let reader = SerializedFileReader::new(File::open(at.join("flat.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| columns(&row.unwrap())).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|(_, label, split, _)| label.is_none() && split.is_none()));
    assert!(!at.join("x.parquet.part").exists() && !at.join("flat.parquet.part").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_pass_goes_on_and_its_file_has_the_bytes_of_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_class(&at.join("data/a"), 0, PICTURES / 2);
    write_class(&at.join("data/b"), 1, PICTURES / 2);
    truncate(&at.join("data/b/0.png"));
    let whole = byol(at, &format!("embed {SLOW} data -o whole.parquet"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));

    let embed = format!("embed {SLOW} data -o x.parquet --json");
    let interrupted = stopped(at, &embed, "INT");
    let said = text(&interrupted.stderr);
    assert_eq!(interrupted.status.code(), Some(130), "{said}");
    let json: Value = serde_json::from_slice(&interrupted.stdout).unwrap();
    let kept = json["images"].as_u64().unwrap();
    assert!(json["finished"] == false && kept >= 256 && kept < PICTURES as u64, "{json}");
    assert!(said.contains(&format!("{kept} of {PICTURES} pictures are done and kept in x.parquet.part")), "{said}");
    assert!(said.contains(&format!("  byol {embed}")), "{said}");
    assert!(!at.join("x.parquet").exists() && !at.join("x.parquet.part/x.parquet").exists());

    // Not with another encoder, nor with other pictures.
    let other = byol(at, &format!("embed {} data -o x.parquet", SLOW.replace("32", "24")));
    let said = text(&other.stderr);
    assert_eq!(other.status.code(), Some(2), "{said}");
    assert!(
        said.contains("x.parquet.part: holds what") && said.contains("encoder (") && said.contains("delete"),
        "{said}"
    );

    let killed = stopped(at, &embed, "KILL");
    assert_eq!(killed.status.code(), None);
    assert!(!at.join("x.parquet").exists());
    fs::write(at.join("x.parquet.partial"), "half of a file, of a process that was killed while it wrote").unwrap();
    let last = byol(at, &embed);
    let said = text(&last.stderr);
    assert!(last.status.success(), "{said}");
    assert!(said.contains(&format!("where {kept} of {PICTURES} pictures are done")), "{said}");
    let json: Value = serde_json::from_slice(&last.stdout).unwrap();
    assert_eq!((&json["images"], &json["bad_images"][0]["name"]), (&(PICTURES - 1).into(), &"b/0.png".into()));
    assert!(fs::read(at.join("x.parquet")).unwrap() == fs::read(at.join("whole.parquet")).unwrap(), "other bytes");
    let left: Vec<String> =
        fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.contains("part") || name.ends_with(".parquet")), "{left:?}");

    let again = byol(at, &embed);
    assert!(
        again.status.code() == Some(2) && text(&again.stderr).contains("already exists"),
        "{}",
        text(&again.stderr)
    );
}

/// Too many bad pictures are those of the whole data, whatever was done before an interruption; a larger limit goes on from there.
#[cfg(unix)]
#[test]
fn the_limit_on_bad_pictures_holds_over_interruptions() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_class(&at.join("data"), 0, PICTURES);
    // In the first batch and in the last one.
    ["0", "98", "99"].iter().for_each(|name| truncate(&at.join(format!("data/{name}.png"))));
    let embed = |limit: &str| format!("embed {SLOW} data -o x.npy --max-bad-fraction {limit}");
    let interrupted = stopped(at, &embed("0.004"), "INT");
    assert_eq!(interrupted.status.code(), Some(130), "{}", text(&interrupted.stderr));
    let refused = byol(at, &embed("0.004"));
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("3 of 600"), "{said}");
    assert!(said.contains("kept in x.npy.part") && !at.join("x.npy").exists(), "{said}");
    let last = byol(at, &embed("0.01"));
    assert!(last.status.success(), "{}", text(&last.stderr));
    let names = fs::read_to_string(at.join("x.names.csv")).unwrap();
    assert_eq!(names.lines().count(), 1 + PICTURES - 3);
    let size = 256;
    assert_eq!(fs::metadata(at.join("x.npy")).unwrap().len(), 128 + 4 * size * (PICTURES as u64 - 3));
}

/// Starts the command, waits until it has begun to compute, and sends it a signal.
fn stopped(at: &Path, arguments: &str, signal: &str) -> Output {
    let child = command(at, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = arguments.split_whitespace().skip_while(|word| *word != "-o").nth(1).unwrap();
    let journal = at.join(format!("{out}.part/journal.json"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !journal.exists() {
        assert!(Instant::now() < deadline, "it did not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

fn columns(row: &Row) -> (String, Option<String>, Option<String>, Vec<f32>) {
    let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
    let word = |field: &Field| match field {
        Field::Str(text) => Some(text.clone()),
        Field::Null => None,
        other => panic!("a text, got {other:?}"),
    };
    let Field::ListInternal(list) = fields[3] else { panic!("a list, got {:?}", fields[3]) };
    let number = |field: &Field| match field {
        Field::Float(number) => *number,
        Field::Float16(number) => number.to_f32(),
        other => panic!("a number, got {other:?}"),
    };
    (word(fields[0]).unwrap(), word(fields[1]), word(fields[2]), list.elements().iter().map(number).collect())
}

fn command(at: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.current_dir(at).args(arguments.split_whitespace());
    command
}

fn byol(at: &Path, arguments: &str) -> Output {
    command(at, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
