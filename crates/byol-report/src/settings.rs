//! With which settings and on what the runs were made.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::html::{cell, escape, folded, head_cell, note, row_head, table};
use super::runs::RunRecord;

/// Pictures listed by name.
const MOST_BAD: usize = 50;

/// Settings that differ, then each `config.toml`.
pub(super) fn configuration(runs: &[RunRecord]) -> String {
    let mut html = String::new();
    if runs.len() > 1 {
        html += &differences(runs);
    }
    for run in runs {
        let of = if runs.len() > 1 { format!("config.toml of {}", run.name) } else { "config.toml".to_owned() };
        html += &folded(&of, &format!("<pre>{}</pre>\n", escape(&run.config_text)));
    }
    html
}

fn differences(runs: &[RunRecord]) -> String {
    let settings: Vec<Vec<(String, String)>> = runs
        .iter()
        .map(|run| {
            let mut found = Vec::new();
            flatten("", &run.config_text.parse::<Table>().unwrap_or_default(), &mut found);
            found
        })
        .collect();
    let value =
        |of: &[(String, String)], key: &str| of.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let keys: BTreeSet<&String> = settings.iter().flatten().map(|(key, _)| key).collect();
    let differing = keys.into_iter().filter_map(|key| {
        let values: Vec<Option<String>> = settings.iter().map(|of| value(of, key)).collect();
        values.windows(2).any(|pair| pair[0] != pair[1]).then_some((key, values))
    });
    let rows: Vec<Vec<String>> = differing
        .map(|(key, values)| {
            let cells = values.iter().map(|value| cell(value.as_deref().unwrap_or("—")));
            std::iter::once(row_head(key)).chain(cells).collect()
        })
        .collect();
    if rows.is_empty() {
        return note("All settings are the same.");
    }
    let head: Vec<String> =
        std::iter::once("differs").chain(runs.iter().map(|run| run.name.as_str())).map(head_cell).collect();
    table("settings", &head, &rows)
}

/// Dotted keys, in the order of the file.
fn flatten(prefix: &str, table: &Table, to: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(below) => flatten(&key, below, to),
            Value::String(text) => to.push((key, text.clone())),
            other => to.push((key, other.to_string())),
        }
    }
}

/// Processes that trained, the data's fingerprint, the encoder that is handed over, and pictures that could not be read.
pub(super) fn environment(runs: &[RunRecord]) -> String {
    let named = |run: &RunRecord, cells: Vec<String>| {
        let mut row = Vec::new();
        row.extend((runs.len() > 1).then(|| row_head(&run.name)));
        row.extend(cells);
        row
    };
    let head = |titles: &[&str]| -> Vec<String> {
        let run = (runs.len() > 1).then_some("run");
        run.iter().chain(titles).map(|title| head_cell(title)).collect()
    };
    let sessions: Vec<Vec<String>> = runs
        .iter()
        .flat_map(|run| run.sessions.iter().map(move |session| (run, session)))
        .map(|(run, session)| {
            let precision = session.precision.to_string();
            let texts = [
                &session.first_step.to_string(),
                &session.version,
                &session.isa,
                &session.threads.to_string(),
                &precision,
            ];
            named(run, texts.iter().map(|text| cell(text)).collect())
        })
        .collect();
    let mut html = match sessions.is_empty() {
        true => note("No process has logged what it computes with."),
        false => table("sessions", &head(&["from step", "version", "instructions", "threads", "precision"]), &sessions),
    };
    let inputs: Vec<Vec<String>> = runs
        .iter()
        .filter_map(|run| Some((run, run.info.as_ref()?)))
        .map(|(run, info)| {
            let encoder = match &run.encoder {
                Some(encoder) => format!("{} values, {}", encoder.representation_size, encoder.training),
                None => "no checkpoint yet".to_owned(),
            };
            let texts = [&info.device, &info.input, &format!("{:016x}", info.data_fingerprint), &encoder];
            named(run, texts.iter().map(|text| cell(text)).collect())
        })
        .collect();
    html += &table("inputs", &head(&["device", "input", "data fingerprint", "encoder"]), &inputs);
    for run in runs.iter().filter(|run| !run.bad.is_empty()) {
        let rows: Vec<Vec<String>> =
            run.bad.iter().take(MOST_BAD).map(|bad| vec![cell(&bad.name), cell(&bad.reason)]).collect();
        let shown = if run.bad.len() > MOST_BAD { format!(", the first {MOST_BAD} of them") } else { String::new() };
        let title = format!("{}: {} unreadable picture(s){shown}", run.name, run.bad.len());
        html += &folded(&title, &table("bad", &["picture", "reason"].map(head_cell), &rows));
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::run_with;
    use super::*;

    #[test]
    fn only_settings_that_differ_are_in_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| run_with(folder.path(), name, ""));
        let config = std::fs::read_to_string(paths[1].join("config.toml")).unwrap();
        std::fs::write(paths[1].join("config.toml"), config.replace("batch_size = 16", "batch_size = 32")).unwrap();
        let runs = RunRecord::read_all(&paths).unwrap();
        let html = differences(&runs);
        assert!(html.contains("<th scope=\"row\">train.batch_size</th><td>16</td><td>32</td>"), "{html}");
        assert_eq!(html.matches("<tr>").count(), 2, "a head and one setting");
        assert!(differences(&runs[..1]).contains("All settings are the same"));
    }

    #[test]
    fn unreadable_pictures_are_listed_and_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        std::fs::write(path.join("bad_images.jsonl"), "{\"name\":\"<x>\u{FFFD}.png\",\"reason\":\"a & b\"}\n").unwrap();
        let html = environment(&RunRecord::read_all(&[path]).unwrap());
        assert!(
            html.contains("1 unreadable picture")
                && html.contains("&lt;x&gt;\u{FFFD}.png")
                && html.contains("a &amp; b")
        );
    }
}
