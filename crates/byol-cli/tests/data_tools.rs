//! `doctor`, `preview` and `bench input`, and training on several roots and other channels, through the real binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

fn byol(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(folder).args(arguments).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A picture that is like no other of another `number`.
fn picture(number: u32) -> RgbImage {
    RgbImage::from_fn(20, 16, |x, y| {
        let wave = |speed: u32| ((x * speed + y * (number + 3) + number * 37) % 251) as u8;
        Rgb([wave(number % 13 + 1), wave(number % 7 + 3), wave(number % 5 + 11)])
    })
}

fn write(folder: &Path, name: &str, number: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(number).save(path).unwrap();
}

/// Two classes of eight in `data/train`, two of three in `data/test`.
fn data(at: &Path) {
    for number in 0..16 {
        write(at, &format!("data/train/{}/{number}.png", if number < 8 { "a" } else { "b" }), number);
    }
    for number in 16..22 {
        write(at, &format!("data/test/{}/{number}.png", if number < 19 { "a" } else { "b" }), number);
    }
}

#[test]
fn the_doctor_counts_what_is_there_and_finds_nothing_wrong_with_good_data() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let output = byol(folder.path(), "doctor data --set train.batch_size=8 --no-estimate --json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = json_of(&output);
    assert_eq!((&found["images"], &found["classes"]["a"], &found["classes"]["b"]), (&16.into(), &8.into(), &8.into()));
    assert_eq!(found["kinds"]["PNG, 3 channels, 8 bits"], 16);
    assert_eq!(found["shorter_side_px"], serde_json::json!([16, 16, 16]));
    assert_eq!(found["preset"], "cifar10");
    assert_eq!(found["smaller_than_a_view"], 16);
    let sums = |channel: usize| {
        let all = (0..16).flat_map(|number| picture(number).into_raw().into_iter().skip(channel).step_by(3));
        let (sum, squares, count) =
            all.fold((0.0, 0.0, 0.0), |(s, q, n), v| (s + f64::from(v), q + f64::from(v).powi(2), n + 1.0));
        (sum / count / 255.0, ((squares / count) - (sum / count).powi(2)).sqrt() / 255.0)
    };
    for channel in 0..3 {
        let (mean, std) = sums(channel);
        assert!((found["mean"][channel].as_f64().unwrap() - mean).abs() < 1e-9);
        assert!((found["std"][channel].as_f64().unwrap() - std).abs() < 1e-9);
    }
}

#[test]
fn the_doctor_ends_with_1_for_each_thing_that_would_spoil_a_run() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 4] = [
        (
            "pictures of the test part",
            |at| write(at, "data/train/a/leak.png", 16),
            "of `test` are in the training part",
        ),
        ("copies", |at| (0..8).for_each(|n| write(at, &format!("data/train/b/copy{n}.png"), n)), "exact copies"),
        ("broken", |at| fs::write(at.join("data/train/a/x.png"), b"no picture").unwrap(), "cannot be used"),
        (
            "one",
            |at| {
                fs::remove_dir_all(at.join("data/train/a")).unwrap();
                (9..16).for_each(|n| fs::remove_file(at.join(format!("data/train/b/{n}.png"))).unwrap());
            },
            "do not fill one batch of 8",
        ),
    ];
    for (name, spoil, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        data(folder.path());
        spoil(folder.path());
        // What cannot be loaded cannot be timed either, and is a finding all the same.
        let estimate = if name == "broken" { "" } else { "--no-estimate" };
        let output = byol(folder.path(), &format!("doctor data --set train.batch_size=8 {estimate} --json"));
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stderr));
        let problems = json_of(&output)["problems"].to_string();
        assert!(problems.contains(words), "{name}: {problems}");
    }
}

#[test]
fn the_doctor_estimates_speed_memory_and_time() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let settings = "--set train.batch_size=8 --set model.arch=resnet18x0.0625 --set views.size_px=16";
    let output = byol(folder.path(), &format!("doctor data {settings} --json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let notes = json_of(&output)["notes"].to_string();
    assert!(notes.contains("views of 16 px are too small to be blurred"), "{notes}");
    let estimate = &json_of(&output)["estimate"];
    for key in ["images_per_second", "hours_per_epoch", "hours"] {
        assert!(estimate[key].as_f64().unwrap() > 0.0, "{key}: {estimate}");
    }
}

#[test]
fn a_preview_is_written_once_and_never_over_something() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let output = byol(folder.path(), "preview data -o views.png --images 3 --pairs 2 --set views.size_px=24");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let sheet = image::open(folder.path().join("views.png")).unwrap().into_rgb8();
    assert!(sheet.width() > 5 * 168 && sheet.height() > 3 * 168);
    let colours: std::collections::BTreeSet<[u8; 3]> = sheet.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 1000, "pictures are on it: {} colours", colours.len());
    for (arguments, words) in [
        ("preview data -o views.png", "already exists"),
        ("preview data -o views.jpg", ".png"),
        ("preview data -o data/views.png", "inside the data folder"),
    ] {
        let output = byol(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output.stderr).contains(words), "{arguments}: {}", text(&output.stderr));
    }
}

#[test]
fn the_input_benchmark_prints_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let output = byol(folder.path(), "bench input data --size 24 --threads 2 --seconds 1 --json");
    let report = json_of(&output);
    assert!(report["images_per_second"].as_f64().unwrap() > 0.0);
    assert!(report["decode_images_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["threads"], 2);
    let stages = report["stages"].as_object().unwrap();
    for stage in ["read", "decode", "crop_resize_flip", "jitter", "blur", "normalise"] {
        assert!(stages[stage].as_f64().unwrap() > 0.0, "{stage}: {report}");
    }
    let small = byol(folder.path(), "bench input data --size 12 --threads 2 --seconds 1 --json");
    assert!(json_of(&small)["images_per_second"].as_f64().unwrap() > 0.0);
    assert!(text(&small.stderr).contains("too small to be blurred"));
}

#[test]
fn several_roots_of_one_channel_train_resume_and_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for number in 0..24u32 {
        let root = if number % 2 == 0 { "first" } else { "second" };
        let class = if number % 4 < 2 { "a" } else { "b" };
        let path = at.join(root).join(class).join(format!("{number}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_fn(12, 12, |x, y| Luma([((x * number + y * 7) % 256) as u8])).save(path).unwrap();
    }
    let settings = "--set data.channels=1 --set model.arch=resnet18x0.0625 --set views.size_px=12 --set train.batch_size=8 \
                    --set schedule.epochs=2 --set schedule.warmup_epochs=0 --preset cifar10";
    let output = byol(at, &format!("pretrain first second --out run {settings} --json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(json_of(&output)["steps"], 6);
    let info: Value = serde_json::from_str(&fs::read_to_string(at.join("run/run.json")).unwrap()).unwrap();
    assert_eq!(info["data"].as_array().unwrap().len(), 2);
    assert!(info["input"].as_str().unwrap().contains("zune-jpeg"));
    assert_eq!(byol(at, "resume run").status.code(), Some(0));
    let output = byol(at, "eval knn run --data first --data second --k 3 --json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// The same picture lying and, with the orientation that turns it, upright.
fn write_lying(at: &Path) {
    use image::ImageEncoder;

    let upright = picture(5);
    let lying = image::imageops::rotate270(&upright);
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    for (folder, picture, exif) in
        [("upright", &upright, None), ("lying", &lying, None), ("tagged", &lying, Some(exif))]
    {
        fs::create_dir_all(at.join(folder)).unwrap();
        let mut file = fs::File::create(at.join(folder).join("0.png")).unwrap();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
        if let Some(exif) = exif {
            encoder.set_exif_metadata(exif).unwrap();
        }
        let (width, height) = picture.dimensions();
        encoder.write_image(picture, width, height, image::ExtendedColorType::Rgb8).unwrap();
    }
}

#[test]
fn an_encoder_without_its_run_reads_pictures_as_it_was_trained_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    data(at);
    write_lying(at);
    let tiny = "--arch resnet18x0.0625 --size 16 --batch-size 8 --epochs 1 --set data.exif_orientation=false";
    assert!(byol(at, &format!("pretrain data --out run {tiny}")).status.success());
    fs::create_dir(at.join("alone")).unwrap();
    for file in ["encoder.safetensors", "encoder.json"] {
        fs::copy(at.join("run").join(file), at.join("alone").join(file)).unwrap();
    }
    let row = |encoder: &str, pictures: &str| {
        let out = format!("{}-{pictures}.csv", encoder.replace('/', "-"));
        let output = byol(at, &format!("embed {encoder} {pictures} -o {out}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read_to_string(at.join(out)).unwrap()
    };
    for encoder in ["run", "alone/encoder.safetensors"] {
        let [tagged, lying, upright] = ["tagged", "lying", "upright"].map(|pictures| row(encoder, pictures));
        assert!(tagged == lying && tagged != upright, "{encoder}");
    }
    let json = at.join("alone/encoder.json");
    let turned =
        fs::read_to_string(&json).unwrap().replace("\"exif_orientation\": false", "\"exif_orientation\": true");
    fs::write(&json, turned.replace("\"channels\",\n", "\"channels\",\n      \"orientation\",\n")).unwrap();
    assert_eq!(row("alone", "tagged"), row("alone", "upright"));
}
