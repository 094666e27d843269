//! `byol report` with the real binary: what is in the file, that it loads nothing, and that a browser shows it.

mod pictures;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pictures::{truncate, write_class};
use serde_json::Value;

/// Names that would be tags or end attributes if they were not escaped.
const CLASSES: [&str; 3] = ["<b>across", "\"down\"", "slanted & '"];

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.125 --set views.size_px=16 \
    --set model.projector_hidden=32 --set model.predictor_hidden=32 --set model.projection_size=16 \
    --set train.batch_size=16 --set train.log_every_steps=1 --set schedule.warmup_epochs=0.5 --set data.max_bad_fraction=0.05";

/// Two labelled parts with a broken picture, and two runs of different length; the first has results of two protocols, the second none.
fn two_runs(at: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        write_class(&at.join("data/train").join(name), class, 30);
        write_class(&at.join("data/test").join(name), class, 10);
    }
    truncate(&at.join("data/train").join(CLASSES[2]).join("7.png"));
    success(&byol(at, &format!("pretrain data --out run {TINY} --set schedule.epochs=4")));
    success(&byol(at, &format!("pretrain data --out other {TINY} --set schedule.epochs=2 --seed 1")));
    let info: Value = serde_json::from_slice(&fs::read(at.join("run/encoder.json")).unwrap()).unwrap();
    let number = |mean: f64| serde_json::json!({"mean": mean, "std": 0.5, "values": [mean - 0.5, mean + 0.5]});
    let evaluation = |name: &str, top1: f64| {
        serde_json::json!({
            "eval": name, "encoder": "run", "arch": info["arch"], "training": info["training"], "step": info["steps"],
            "data": "tested on the <test> part", "preprocessing": info["preprocessing"], "train_images": 90, "test_images": 30,
            "classes": CLASSES, "protocol": format!("the protocol of {name}"),
            "rows": [
                {"network": "encoder", "name": "tiny", "setting": "", "seeds": [0, 1], "numbers": {"top1": number(top1)},
                 "chosen": [{"learning_rate": 0.25}, {"learning_rate": 0.5}], "confusion": [[7, 2, 1], [0, 10, 0], [3, 3, 4]]},
                {"network": "random", "name": "tiny, random weights", "setting": "", "seeds": [0], "numbers": {"top1": number(33.25)}, "chosen": []},
            ],
        })
    };
    let all = serde_json::json!({"evaluations": [evaluation("knn", 61.5), evaluation("linear", 72.25)]});
    fs::write(at.join("run/evaluation.json"), all.to_string()).unwrap();
    let log = at.join("run/metrics.jsonl");
    let monitors = (1..=4).map(|epoch| {
        format!("{{\"eval\":\"online\",\"step\":{},\"epoch\":{epoch},\"rank_me\":{}}}\n", epoch * 5, 3 + epoch)
    });
    fs::write(&log, fs::read_to_string(&log).unwrap() + &monitors.collect::<String>()).unwrap();
}

#[test]
fn one_and_two_runs_become_files_that_hold_everything_and_load_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    two_runs(at);
    success(&byol(at, "report run -o one.html --images 60"));
    success(&byol(at, "report run other -o two.html --images 60"));
    success(&byol(at, "report run -o again.html --images 60"));
    success(&byol(at, "report run other -o plain.html --no-map"));
    let [one, two, again, plain] =
        ["one", "two", "again", "plain"].map(|name| fs::read_to_string(at.join(format!("{name}.html"))).unwrap());
    for html in [&one, &two, &plain] {
        check_balance(html);
        for way_out in ["http://", "https://", "<script src", "<link", "<iframe", "@import", "url(/", "url(h"] {
            assert!(!html.contains(way_out), "{way_out}");
        }
        assert!(!html.contains("NaN") && !html.contains("<b>across") && html.contains("&lt;b&gt;across"));
        let mut ids = BTreeSet::new();
        for id in html.split(" id=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]) {
            assert!(ids.insert(id), "two elements are called {id}");
        }
        for part in [
            "the protocol of knn",
            "the protocol of linear",
            "61.5",
            "± 0.5",
            "learning rate 0.25",
            "RankMe",
            "healthy 1/√16",
            "finished",
            "1 unreadable picture",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }
    assert_eq!(one.matches("class=\"point class").count(), 60);
    assert_eq!((one.matches("data:image/png").count(), one.matches("data:image/jpeg").count()), (1, 1));
    assert_eq!((two.matches("data:image/png").count(), two.matches("data:image/jpeg").count()), (2, 2));
    assert!(!plain.contains("data:image") && plain.contains("<td>2.0</td>"), "the length of the runs differs");
    assert!(two.contains("class=\"line run1\"") && !one.contains("class=\"line run1\""));
    let without_date =
        |html: &str| html.lines().filter(|line| !line.contains(" UTC")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_date(&one), without_date(&again), "the same seed, the same report");
}

#[test]
fn a_run_without_checkpoint_or_data_still_gives_a_report_and_mistakes_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    two_runs(at);
    fs::remove_file(at.join("other/encoder.safetensors")).unwrap();
    fs::write(at.join("other/metrics.jsonl"), "").unwrap();
    success(&byol(at, "report other -o empty.html"));
    let html = fs::read_to_string(at.join("empty.html")).unwrap();
    check_balance(&html);
    assert!(html.contains("No encoder yet") && html.contains("no step logged yet"));

    fs::rename(at.join("data"), at.join("moved")).unwrap();
    success(&byol(at, "report run -o gone.html"));
    let html = fs::read_to_string(at.join("gone.html")).unwrap();
    assert!(html.contains("No pictures: ") && html.contains("is given with --data"));
    success(&byol(at, "report run -o moved.html --data moved --test moved/test --images 20"));
    assert!(fs::read_to_string(at.join("moved.html")).unwrap().contains("data:image/jpeg"));

    let before = fs::read(at.join("gone.html")).unwrap();
    for (arguments, words) in [
        ("report moved -o x.html", "not a run folder"),
        ("report nothing -o x.html", "not a run folder"),
        ("report run -o gone.html", "already exists"),
        ("report run -o x.pdf", ".html"),
        ("report run -o moved/x.html --data moved", "inside the data folder"),
        ("report run -o x.html --data nowhere", "nowhere"),
        ("report run -o x.html --images 0", "--images"),
    ] {
        let output = byol(at, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(words) && !stderr.contains("panicked"), "{arguments}: {stderr}");
        assert!(!at.join("x.html").exists() && !at.join("moved/x.html").exists(), "{arguments}");
    }
    assert_eq!(fs::read(at.join("gone.html")).unwrap(), before);
}

/// Needs the browser `chromium`; `.ci/run` installs it.
#[test]
#[ignore = "needs chromium; .ci/run installs it and runs this test"]
fn report_renders_in_chromium() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    two_runs(at);
    success(&byol(at, "report run other -o report.html --images 100"));
    let html = fs::read_to_string(at.join("report.html")).unwrap();

    // A copy that says where things lie, for the picture of the report itself.
    let measure = "<script>for (const [name, what] of [['curves', '.charts'], ['map', '.points'], ['sheet', '.sheet img']]) {\
        const box = document.querySelector(what).getBoundingClientRect();\
        document.documentElement.dataset[name] = [box.left, box.top, box.width, box.height].map(Math.round).join(' '); }</script></body>";
    fs::write(at.join("measured.html"), html.replace("</body>", measure)).unwrap();
    let dom = text(&success(&chromium(at, &["--dump-dom"], "measured.html")).stdout);
    let root = &dom[..dom.find("<head>").unwrap()];
    assert!(root.contains("data-ready=\"1\""), "the script ran to its end: {root}");

    let picture = at.join("report.png");
    success(&chromium(at, &[&format!("--screenshot={}", picture.display())], "report.html"));
    let page = image::open(&picture).unwrap().into_rgb8();
    for (name, least) in [("curves", 20), ("map", 20), ("sheet", 20)] {
        let value = root.split_once(&format!("data-{name}=\"")).unwrap().1.split_once('"').unwrap().0;
        let numbers: Vec<u32> = value.split(' ').map(|number| number.parse().unwrap()).collect();
        let &[left, top, width, height] = &numbers[..] else { panic!("{value}") };
        assert!(
            width > 200 && height > 200 && left + width <= page.width() && top + height <= page.height(),
            "{name}: {value}"
        );
        let mut colours = BTreeSet::new();
        for y in top..top + height {
            colours.extend((left..left + width).map(|x| page.get_pixel(x, y).0));
        }
        assert!(colours.len() > least, "{name} is not blank: {} colours", colours.len());
        if name != "sheet" {
            for run_or_class in [[0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]] {
                let near = |colour: &[u8; 3]| colour.iter().zip(run_or_class).all(|(a, b)| a.abs_diff(b) < 60);
                assert!(colours.iter().any(near), "{name} has the first two colours of the palette");
            }
        }
    }
}

fn chromium(at: &Path, flags: &[&str], page: &str) -> Output {
    let profile = tempfile::tempdir().unwrap();
    Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1280,7000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(format!("file://{}", at.join(page).display()))
        .output()
        .expect("chromium is on the path")
}

/// Every tag that is opened is closed, in order; what HTML never closes aside.
fn check_balance(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').unwrap_or_else(|| panic!("a tag that does not end: {}", &rest[..rest.len().min(80)]));
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        if tag.starts_with('!') || tag.ends_with('/') || ["meta", "input", "img", "br"].contains(&name.as_str()) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "closed out of order before: {}", &rest[..rest.len().min(80)]);
            continue;
        }
        if ["script", "style"].contains(&name.as_str()) {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).unwrap() + close.len()..];
            continue;
        }
        open.push(name);
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

fn byol(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byol")).current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

fn success(output: &Output) -> &Output {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
