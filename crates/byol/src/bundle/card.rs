//! The model card: what the encoder is, how good it is beside what knows nothing, and what it is not.

use std::fmt::Write;

use byol_data::views::EvaluationResize;
use byol_eval::{COLUMNS, Column, Evaluation, Network, Statistic};
use serde_json::Value;

use super::Facts;

/// The card in Markdown, with the metadata block that model hubs read.
pub(super) fn text(facts: &Facts, files: &[String]) -> String {
    let mut text = String::new();
    let license = facts.about.license.as_ref();
    let front = license.map_or(String::new(), |license| format!("license: \"{license}\"\n"));
    let _ = write!(
        text,
        "---\n{front}tags:\n- byol\n- self-supervised\n- image-feature-extraction\n---\n\n# {}\n\n{}\n\n{}",
        facts.name,
        introduction(facts),
        table(&description(facts))
    );
    let _ = write!(text, "\n## How good it is\n\n{}", measurements(facts));
    let _ = write!(text, "\n## How to use it\n\n{}", usage(facts));
    let _ = write!(text, "\n## What it is not\n\n{}", limits(facts));
    let _ = write!(text, "\n## What is in this bundle\n\n{}", contents(files));
    text
}

fn introduction(facts: &Facts) -> String {
    let size = facts.encoder.representation_size;
    format!(
        "An encoder: it makes {size} numbers of a picture, alike for pictures that look alike. It was pretrained without labels by BYOL \
         ([Grill et al. 2020](https://arxiv.org/abs/2006.07733)) with `byol` {}.",
        facts.info.version
    )
}

/// Facts by name.
fn description(facts: &Facts) -> Vec<(&'static str, String)> {
    let (encoder, info, config) = (&facts.encoder, &facts.info, &facts.config);
    let preprocessing = &encoder.preprocessing;
    let order = match preprocessing.resize {
        EvaluationResize::CropThenResize => "the centre square is cut out, then resized",
        EvaluationResize::ResizeThenCrop => "resized, then the centre square is cut out",
    };
    let kind = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let json = serde_json::to_value(encoder).expect("plain fields have a JSON form");
    let mut facts_by_name = vec![
        ("licence", facts.about.license.clone().unwrap_or_else(|| "not stated".to_owned())),
        (
            "architecture",
            format!(
                "{}, stem `{}`, padding `{}`, norm `{}`",
                encoder.arch,
                kind(&json["stem"]),
                kind(&json["padding"]),
                kind(&json["norm"])
            ),
        ),
        ("representation", format!("{} numbers: {}", encoder.representation_size, encoder.representation)),
        (
            "input",
            format!(
                "{} channel(s), {} px: {order} ({} of the shorter side), {}; values in [0, 1] minus {:?} over {:?}",
                encoder.channels(),
                preprocessing.size_px,
                preprocessing.crop_fraction,
                encoder.interpolation,
                preprocessing.mean,
                preprocessing.std
            ),
        ),
        ("training", encoder.training.clone()),
        (
            "pictures",
            format!(
                "{} of {}, fingerprint `{}`",
                info.images,
                split(info.split.as_deref()),
                facts.about.data.fingerprint
            ),
        ),
        (
            "recipe",
            format!("preset `{}`; every setting is in `config.toml`", info.preset.as_deref().unwrap_or("not known")),
        ),
        ("precision", kind(&json["precision"])),
    ];
    if config.model.negatives_weight > 0.0 {
        let weight = config.model.negatives_weight;
        facts_by_name.push(("loss", format!("BYOL's, and negatives with weight {weight}: this is not BYOL alone")));
    }
    if let Some(start) = &info.warm_start {
        facts_by_name.push(("started from", format!("{} ({}; {})", start.from, start.training, start.networks)));
    }
    if !info.earlier_data.is_empty() {
        facts_by_name.push((
            "earlier pictures",
            format!("it saw {} other set(s) before; see `run.json`", info.earlier_data.len()),
        ));
    }
    for session in &facts.about.environment.sessions {
        let cpu = session.cpu.as_deref().unwrap_or("a processor that is not named");
        let (ranks, threads, step) = (session.ranks, session.threads, session.first_step);
        let words =
            format!("{cpu}, `{}`, {ranks} process(es) of {threads} thread(s), `byol` {}", session.isa, session.version);
        facts_by_name.push(("computed by", format!("from step {step}: {words}")));
    }
    facts_by_name
}

fn split(split: Option<&str>) -> String {
    split.map_or("the training part, or all where there are no parts".to_owned(), |split| format!("the part `{split}`"))
}

fn table(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| format!("| {name} | {} |\n", cell(value));
    format!("| | |\n|---|---|\n{}", rows.iter().map(row).collect::<String>())
}

/// A text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// All evaluations, each with its protocol and what it must be compared with.
fn measurements(facts: &Facts) -> String {
    let mut text = String::new();
    if facts.evaluations.is_empty() {
        text += "Nobody has measured it with labels: nothing here says what it is good for. `byol eval` measures it beside random weights.\n";
    }
    for evaluation in &facts.evaluations {
        let stale = match evaluation.step == facts.encoder.steps {
            true => String::new(),
            false => format!(" (after {} steps; the encoder here has {})", evaluation.step, facts.encoder.steps),
        };
        let _ = write!(text, "### {}{stale}\n\n{}\n", evaluation.eval, numbers(evaluation));
        if let Some(largest) = &evaluation.largest_class {
            let top1 = largest.numbers.get("top1").copied().unwrap_or_default();
            let _ = write!(text, "Always naming the largest class ({}) scores {top1:.1} %. ", cell(&largest.class));
        }
        text += &verdict(evaluation);
        if !evaluation.rows.iter().any(|row| matches!(row.network, Network::Random | Network::Supervised)) {
            text += "No baseline was measured beside it, so that these numbers say little. ";
        }
        let _ = write!(
            text,
            "Protocol: {}. Data: {}; {} pictures to train on, {} to test on, {} classes. Encoder: {}.\n\n",
            cell(evaluation.protocol.trim_end_matches('.')),
            cell(&evaluation.data),
            evaluation.train_images,
            evaluation.test_images,
            evaluation.classes.len(),
            cell(&evaluation.training)
        );
    }
    if let Some(online) = &facts.online {
        text += &own_measurement(online);
    }
    text
}

/// A table of one evaluation.
fn numbers(evaluation: &Evaluation) -> String {
    let has = |column: &Column| evaluation.rows.iter().any(|row| row.numbers.contains_key(column.metric));
    let columns: Vec<Column> = COLUMNS.into_iter().filter(has).collect();
    let title =
        |column: &Column| if column.is_percent { format!("{} %", column.title) } else { column.title.to_owned() };
    let titles: Vec<String> = columns.iter().map(title).collect();
    let mut text = format!("| network | setting | {} | gain | seeds |\n", titles.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|---|", "---|".repeat(columns.len()));
    for row in &evaluation.rows {
        let shown =
            |column: &Column| row.numbers.get(column.metric).map_or("–".to_owned(), |number| shown(column, number));
        let values: Vec<String> = columns.iter().map(shown).collect();
        let name = row.network.short_name();
        let name = if row.network == Network::Encoder { format!("**{name}**") } else { name.to_owned() };
        let gain = row.gain.as_ref().map_or(String::new(), |gain| {
            let std = gain.std.map_or(String::new(), |std| format!(" ± {std:.1}"));
            format!("{:+.1}{std} over {}", gain.mean, gain.over.short_name())
        });
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {gain} | {} |",
            cell(&row.setting),
            values.join(" | "),
            row.seeds.len()
        );
    }
    text
}

/// What must be said of an encoder that learned nothing that shows here.
fn verdict(evaluation: &Evaluation) -> String {
    let of_encoder = evaluation.rows.iter().filter(|row| row.network == Network::Encoder);
    let useless = of_encoder.filter_map(|row| row.gain.as_ref()).find(|gain| gain.mean <= 0.0);
    useless.map_or(String::new(), |gain| format!("**It is not better than {} weights here.** ", gain.over.short_name()))
}

fn shown(column: &Column, number: &Statistic) -> String {
    let digits = column.digits;
    match number.std {
        Some(std) => format!("{:.digits$} ± {std:.digits$}", number.mean),
        None => format!("{:.digits$}", number.mean),
    }
}

/// What the run measured on itself at its end.
fn own_measurement(online: &Value) -> String {
    let named = [
        ("rank_me", "RankMe"),
        ("alignment", "alignment"),
        ("uniformity", "uniformity"),
        ("knn_top1", "k-NN top-1 %"),
        ("linear_probe_top1", "linear probe top-1 %"),
        ("majority_top1", "largest class %"),
    ];
    let found = named.iter().filter_map(|(key, name)| Some((*name, format!("{:.2}", online[*key].as_f64()?))));
    let rows: Vec<(&str, String)> = found.collect();
    let protocol = online["protocol"].as_str().unwrap_or("not known");
    format!(
        "### The run's own measurement, at step {}\n\n{}\nThese are for watching a run, not for comparing encoders: the pictures they are measured \
         on were pretrained on, without labels. Protocol: {}.\n",
        online["step"],
        table(&rows),
        cell(protocol.trim_end_matches('.'))
    )
}

fn usage(facts: &Facts) -> String {
    format!(
        "```sh\ntar xf {0}.tar && cd {0} && sha256sum -c SHA256SUMS\nbyol embed . PICTURES -o pictures.parquet\nbyol eval knn . LABELLED\nbyol \
         verify ../{0}.tar --data LABELLED\n```\n\n`encoder.safetensors` has torchvision's names; pictures must be prepared as `encoder.json` says. \
         The folder is a run for every command that takes an encoder; data and checkpoints are not in it, so `byol resume` cannot go on from it.\n",
        facts.name
    )
}

fn limits(facts: &Facts) -> String {
    format!(
        "- No classifier and no detector: what its numbers mean takes labels, or neighbours, to find out.\n- It knows the {} pictures it was trained \
         on, with their gaps and biases; of pictures unlike them nothing here says anything.\n- A number above holds under the protocol beside it \
         and for its pictures alone. Numbers of other protocols cannot be compared with it.\n",
        facts.info.images
    )
}

fn contents(files: &[String]) -> String {
    let line = |file: &String| {
        let what = match file.as_str() {
            "encoder.safetensors" => "weights of the online encoder",
            "encoder.json" => "architecture and preprocessing",
            "heads.safetensors" => "projector and predictor of the online network",
            "best.safetensors" | "best.json" => "the encoder of the run's best measurement",
            "config.toml" => "every setting; a valid `--config`",
            "run.json" => "data, version and start of the run",
            "metrics.jsonl" => "every logged step, measurement and evaluation, with times",
            "evaluation.json" => "evaluations with their protocols",
            "bad_images.jsonl" => "pictures that could not be read",
            "report.html" => "the report",
            _ => "fingerprints, licence, environment",
        };
        format!("- `{file}`: {what}\n")
    };
    let own = "- `MODEL_CARD.md`: this text\n- `SHA256SUMS`: checksums; they tell damage, not forgery\n";
    files.iter().map(line).chain([own.to_owned()]).collect()
}
