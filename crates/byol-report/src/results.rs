//! Tables of the evaluations, each with the protocol that its numbers belong to.

use std::collections::BTreeSet;

use byol_eval::{
    COLUMNS, Column, Evaluation, Gain, LargestClass, Network, Row, Statistic, best, gains, main_column, percent,
};
use serde_json::Value;

use super::confusion;
use super::html::{cell, escape, folded, head_cell, note, row_head, table};
use super::runs::RunRecord;

/// The section.
pub(super) fn section(runs: &[RunRecord]) -> String {
    let mut groups: Vec<Vec<Measured>> = Vec::new();
    for run in runs {
        for evaluation in &run.evaluations {
            let measured = Measured { run: &run.name, evaluation };
            match groups.iter_mut().find(|group| comparable(group[0].evaluation, evaluation)) {
                Some(group) => group.push(measured),
                None => groups.push(vec![measured]),
            }
        }
    }
    if groups.is_empty() {
        return note("No evaluation yet. With labels: byol eval knn RUN LABELLED, then byol eval linear.");
    }
    groups.iter().map(|group| table_of(group, runs.len() > 1)).collect()
}

/// An evaluation of a run.
struct Measured<'a> {
    run: &'a str,
    evaluation: &'a Evaluation,
}

/// Whether two evaluations may stand in one table: everything that fixes the numbers is the same.
fn comparable(a: &Evaluation, b: &Evaluation) -> bool {
    (&a.eval, &a.data, &a.protocol, a.train_images, a.test_images, &a.classes, &a.preprocessing)
        == (&b.eval, &b.data, &b.protocol, b.train_images, b.test_images, &b.classes, &b.preprocessing)
}

fn table_of(group: &[Measured], with_run: bool) -> String {
    let first = group[0].evaluation;
    let rows: Vec<(&str, &Row)> =
        group.iter().flat_map(|measured| measured.evaluation.rows.iter().map(|row| (measured.run, row))).collect();
    let columns = columns_of(&rows);
    let judged: Vec<&Row> = rows.iter().map(|(_, row)| *row).collect();
    let (best, gains) = (best(&judged), gains_by_run(group));
    let main = main_column(&judged).map(|column| column.metric);
    let with_gain = gains.iter().any(Option::is_some);
    let with_setting = rows.iter().any(|(_, row)| !row.setting.is_empty());
    let mut head = Vec::new();
    head.extend(with_run.then(|| head_cell("run")));
    head.push(head_cell("network"));
    head.extend(with_setting.then(|| head_cell("setting")));
    head.extend(columns.iter().map(|column| {
        let unit = if column.is_percent { ", %" } else { "" };
        format!("<th scope=\"col\" class=\"n\">{}{unit}</th>", escape(column.title))
    }));
    head.extend(with_gain.then(|| "<th scope=\"col\" class=\"n\">gain</th>".to_owned()));
    head.push("<th scope=\"col\" class=\"n\">seeds</th>".to_owned());
    let mut body: Vec<Vec<String>> = rows
        .iter()
        .zip(best.iter().zip(&gains))
        .map(|((run, row), (is_best, gain))| {
            let mut cells = Vec::new();
            cells.extend(with_run.then(|| cell(run)));
            cells.push(network(row));
            cells.extend(with_setting.then(|| cell(&row.setting)));
            cells.extend(columns.iter().map(|column| {
                let is_winner = *is_best && Some(column.metric) == main;
                number(column, row.numbers.get(column.metric), is_winner)
            }));
            cells.extend(with_gain.then(|| gain_cell(gain.as_ref())));
            cells.push(format!("<td class=\"n\">{}</td>", row.seeds.len()));
            cells
        })
        .collect();
    if let Some(LargestClass { class, numbers }) = first.clone().judged().largest_class {
        let mut cells = Vec::new();
        cells.extend(with_run.then(|| cell("")));
        cells.push(format!(
            "<th scope=\"row\"><span class=\"network\">largest class</span> always {}</th>",
            escape(&class)
        ));
        cells.extend(with_setting.then(|| cell("")));
        cells.extend(columns.iter().map(|column| match numbers.get(column.metric) {
            Some(value) => format!("<td class=\"n\">{value:.digits$}</td>", digits = column.digits),
            None => "<td class=\"n\">—</td>".to_owned(),
        }));
        cells.extend(with_gain.then(|| cell("")));
        cells.push(cell(""));
        body.push(cells);
    }
    let mut html =
        format!("<h3>{}</h3>\n{}{}", escape(protocol_name(&first.eval)), table("results", &head, &body), terms(group));
    html += &chosen(&rows);
    if let Some((run, row)) = rows.iter().find(|(_, row)| row.confusion.is_some()) {
        let of = if with_run { format!("{run}: {}", row.name) } else { row.name.clone() };
        html += &confusion::section(row.confusion.as_deref().unwrap_or_default(), &first.classes, &of);
    }
    format!("<article>\n{html}</article>\n")
}

/// Gains of all rows, each over the baseline of its own run.
fn gains_by_run(group: &[Measured]) -> Vec<Option<Gain>> {
    group.iter().flat_map(|measured| gains(&measured.evaluation.rows.iter().collect::<Vec<_>>())).collect()
}

/// `+7.7 ± 1.3`; over what, under the pointer.
fn gain_cell(gain: Option<&Gain>) -> String {
    let Some(Gain { over, mean, std, .. }) = gain else { return "<td class=\"n\"></td>".to_owned() };
    let spread = std.map_or(String::new(), |std| format!(" <span class=\"pm\">± {std:.1}</span>"));
    let over = over.short_name();
    let formula = "± √(s² + s²) of both deviations";
    format!("<td class=\"n\"><span title=\"points above {over}, {formula}\">{mean:+.1}{spread}</span></td>")
}

fn protocol_name(eval: &str) -> &str {
    match eval {
        "knn" => "k nearest neighbours",
        "linear" => "Linear evaluation",
        "finetune" => "Fine-tuning",
        "semi" => "Few labels",
        "transfer" => "Transfer",
        "ablate" => "Ablations",
        other => other,
    }
}

/// Those of the protocols, then others by their names.
fn columns_of<'a>(rows: &[(&str, &'a Row)]) -> Vec<Column<'a>> {
    let present: BTreeSet<&str> = rows.iter().flat_map(|(_, row)| row.numbers.keys().map(String::as_str)).collect();
    let known = COLUMNS.into_iter().filter(|column| present.contains(column.metric));
    let others = present.iter().filter(|key| COLUMNS.iter().all(|column| column.metric != **key));
    known.chain(others.map(|key| percent(key, key))).collect()
}

fn network(row: &Row) -> String {
    let (class, kind) = match row.network {
        Network::Encoder => ("encoder", "encoder"),
        Network::Random => ("random", "random weights"),
        Network::Supervised => ("supervised", "supervised"),
        Network::Reference => ("reference", "reference"),
    };
    let name = if row.name.is_empty() { kind } else { &row.name };
    format!("<th scope=\"row\"><span class=\"network {class}\">{kind}</span> {}</th>", escape(name))
}

/// Mean ± deviation; the values of all seeds under the pointer. The winner's is strong.
fn number(column: &Column, statistic: Option<&Statistic>, is_winner: bool) -> String {
    let digits = column.digits;
    let Some(statistic) = statistic.filter(|statistic| statistic.mean.is_finite()) else {
        return "<td class=\"n\">—</td>".to_owned();
    };
    let spread = match statistic.std {
        Some(std) => format!(" <span class=\"pm\">± {std:.digits$}</span>"),
        None => String::new(),
    };
    let values: Vec<String> = statistic.values.iter().map(|value| format!("{value:.0$}", digits + 1)).collect();
    let mean = format!("{:.digits$}", statistic.mean);
    let mean = if is_winner { format!("<strong>{mean}</strong>") } else { mean };
    format!("<td class=\"n\"><span title=\"by seed: {}\">{mean}{spread}</span></td>", escape(&values.join(", ")))
}

/// What the numbers stand for.
fn terms(group: &[Measured]) -> String {
    let first = group[0].evaluation;
    let several = group.iter().any(|measured| measured.run != group[0].run);
    let trained: Vec<String> = group
        .iter()
        .map(|measured| {
            let Evaluation { arch, training, step, .. } = measured.evaluation;
            let of = if several { format!("{}: ", measured.run) } else { String::new() };
            format!("{of}{arch} after {step} steps ({training})")
        })
        .collect();
    // By way of text, which writes an f32 with the digits it has.
    let preprocessing = serde_json::to_string(&first.preprocessing).and_then(|text| serde_json::from_str(&text));
    let preprocessing = preprocessing.map(|value: Value| in_words(&value)).unwrap_or_default();
    let rows = [
        ("protocol", first.protocol.clone()),
        ("data", format!("{}; {} training and {} test pictures", first.data, first.train_images, first.test_images)),
        ("encoder", trained.join("; ")),
        ("pictures", preprocessing),
    ];
    let rows: String = rows.iter().map(|(term, text)| format!("<dt>{term}</dt><dd>{}</dd>\n", escape(text))).collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// What was chosen on held-out pictures, folded.
fn chosen(rows: &[(&str, &Row)]) -> String {
    let lines: Vec<Vec<String>> = rows
        .iter()
        .filter(|(_, row)| !row.chosen.is_empty())
        .flat_map(|(_, row)| {
            row.chosen.iter().enumerate().map(move |(place, value)| {
                let seed = row.seeds.get(place).map_or_else(String::new, u64::to_string);
                vec![row_head(&row.name), cell(&row.setting), cell(&seed), cell(&in_words(value))]
            })
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let head = ["network", "setting", "seed", "chosen"].map(head_cell);
    folded("Chosen on held-out pictures", &table("chosen", &head, &lines))
}

/// JSON as `key value, key value`.
fn in_words(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let words: Vec<String> =
                fields.iter().map(|(key, value)| format!("{} {}", key.replace('_', " "), in_words(value))).collect();
            words.join(", ")
        }
        Value::Array(values) => {
            let words: Vec<String> = values.iter().map(in_words).collect();
            format!("({})", words.join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::run_with;
    use super::*;

    const KNN: &str = r#"{"eval":"knn","encoder":"run","arch":"resnet18","training":"BYOL <i>","step":11,"data":"d & e",
        "preprocessing":PREPROCESSING,"train_images":90,"test_images":30,"classes":["<b>","\"q\""],"protocol":"weighted k-NN",
        "rows":[{"network":"encoder","name":"resnet18","setting":"k 20","seeds":[0,1],"numbers":{"top1":{"mean":50.04,"std":0.26,
        "values":[49.9,50.2]},"own":{"mean":1.0,"values":[1.0]}},"chosen":[{"learning_rate":0.1},{"learning_rate":0.2}],
        "confusion":[[3,1],[0,4]]},{"network":"random","name":"resnet18, random weights","setting":"","seeds":[0],
        "numbers":{"top1":{"mean":30.0,"values":[30.0]}},"chosen":[]}]}"#;

    fn html(entries: &[String]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| {
                let path = run_with(folder.path(), &format!("run{place}"), "");
                std::fs::write(path.join("evaluation.json"), format!("{{\"evaluations\":[{entry}]}}")).unwrap();
                path
            })
            .collect();
        let runs = RunRecord::read_all(&paths).unwrap();
        assert!(runs.iter().all(|run| run.problems.is_empty()), "{:?}", runs[0].problems);
        section(&runs)
    }

    fn knn() -> String {
        let preprocessing = serde_json::to_string(&byol_data::views::EvaluationConfig::default()).unwrap();
        KNN.replace("PREPROCESSING", &preprocessing)
    }

    #[test]
    fn a_table_has_its_numbers_with_deviation_and_its_protocol() {
        let html = html(&[knn()]);
        for part in [
            "<strong>50.0</strong> <span class=\"pm\">± 0.3</span>",
            "by seed: 49.90, 50.20",
            "<dt>protocol</dt><dd>weighted k-NN</dd>",
            "d &amp; e; 90 training and 30 test pictures",
            "BYOL &lt;i&gt;",
            "learning rate 0.2",
            ">own, %<",
            "&lt;b&gt;",
            "&quot;q&quot;",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("<b>") && !html.contains("<i>"));
    }

    /// Random weights win: they are strong, and how far the encoder is behind stands in its row.
    #[test]
    fn the_winner_is_strong_whoever_it_is_beside_chance() {
        let lost = knn()
            .replace("\"k 20\"", "\"\"")
            .replace("\"mean\":30.0,\"values\":[30.0]", "\"mean\":62.5,\"values\":[62.5]");
        let html = html(&[lost]);
        for part in [
            "<strong>62.5</strong>",
            ">50.0 <span",
            ">-12.5 <span class=\"pm\">± 0.3</span>",
            "largest class</span> always &lt;b&gt;",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert_eq!(html.matches("<strong>").count(), 1, "{html}");
        // 4 of 8 test pictures are of either class.
        assert!(html.contains("<td class=\"n\">50.0</td>"), "{html}");
    }

    #[test]
    fn runs_share_a_table_only_under_the_same_protocol() {
        assert_eq!(html(&[knn(), knn()]).matches("<article>").count(), 1);
        assert_eq!(html(&[knn(), knn().replace("weighted", "plain")]).matches("<article>").count(), 2);
        assert!(html(&[]).contains("No evaluation yet"));
    }
}
