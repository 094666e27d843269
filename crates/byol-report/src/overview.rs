//! What came out, on one screen: a protocol per row, a run per column, each number beside random weights and under the time that the run took.

use byol_eval::{COLUMNS, Column, Evaluation, Network, Row, Statistic, duration};

use super::axis::significant;
use super::curves::colour;
use super::html::{escape, note, table};
use super::runs::RunRecord;

/// What monitors measure with labels, and how it is called here.
const DURING_TRAINING: [(&str, &str); 2] =
    [("knn_top1", "k-NN during training"), ("linear_probe_top1", "linear probe during training")];

/// The section; empty where nothing is measured.
pub(super) fn section(runs: &[RunRecord]) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        for evaluation in &run.evaluations {
            for row in evaluation.rows.iter().filter(|row| row.network == Network::Encoder) {
                let Some(found) = Line::of(evaluation, row, runs.len(), place) else { continue };
                match lines.iter_mut().find(|line| line.key == found.key) {
                    Some(line) => line.cells.iter_mut().zip(found.cells).for_each(|(cell, new)| {
                        let rank = |cell: &Option<Cell>| cell.as_ref().map(|cell| (cell.step, cell.value.values.len()));
                        if rank(&new) >= rank(cell) {
                            *cell = new;
                        }
                    }),
                    None => lines.push(found),
                }
            }
        }
    }
    let titles: Vec<String> = lines.iter().map(|line| line.title.clone()).collect();
    for line in &mut lines {
        if titles.iter().filter(|title| **title == line.title).count() > 1 {
            line.about += &format!("; {}; {}", line.key[1], line.key[2]);
        }
    }
    lines.extend(DURING_TRAINING.iter().filter_map(|(key, title)| Line::during_training(key, title, runs)));
    if lines.is_empty() {
        return String::new();
    }
    let head: Vec<String> = std::iter::once("<td></td>".to_owned())
        .chain(runs.iter().enumerate().map(|(place, run)| {
            let name = escape(&run.name);
            format!(
                "<th scope=\"col\"><i class=\"swatch run{}\"></i>{name}<small>{}</small></th>",
                colour(place),
                trained(run)
            )
        }))
        .collect();
    let rows: Vec<Vec<String>> = lines.iter().map(Line::html).collect();
    table("overview", &head, &rows)
        + &note(
            "Each number is that of the encoder, in percent; below it how far it is above the same network with random weights, or above \
             itself before the first step. ± is the standard deviation over seeds.",
        )
}

/// One protocol.
struct Line<'a> {
    /// Rows of two runs with the same key may be compared.
    key: [&'a str; 5],
    title: String,
    about: String,
    /// One per run.
    cells: Vec<Option<Cell>>,
}

/// What one run reached.
#[derive(Clone)]
struct Cell {
    /// Steps that were taken before it was measured; of two measurements the later one counts, then that of more seeds.
    step: u64,
    value: Statistic,
    digits: usize,
    /// What it is compared with, and how that is called.
    base: Option<(Statistic, &'static str)>,
}

impl<'a> Line<'a> {
    fn of(evaluation: &'a Evaluation, row: &'a Row, runs: usize, place: usize) -> Option<Self> {
        let column: Column = COLUMNS.into_iter().find(|column| row.numbers.contains_key(column.metric))?;
        let value = row.numbers.get(column.metric)?.clone();
        let over = row.gain.as_ref().map_or(Network::Random, |gain| gain.over);
        let same_setting = |other: &&Row| other.network == over && other.setting == row.setting;
        let base = evaluation.rows.iter().find(same_setting).and_then(|other| other.numbers.get(column.metric));
        let base = base.map(|base| (base.clone(), over.short_name()));
        let cell = Cell { step: evaluation.step, value, digits: column.digits, base };
        let setting = if row.setting.is_empty() { String::new() } else { format!(", {}", row.setting) };
        let chance = row.confusion.as_deref().and_then(majority_share).filter(|_| column.metric == "top1");
        let chance = chance.map(|share| format!("; largest class {:.1}\u{a0}%", 100.0 * share)).unwrap_or_default();
        Some(Self {
            key: [&evaluation.eval, &evaluation.data, &evaluation.protocol, &row.setting, column.metric],
            title: format!("{} {}{setting}", protocol(&evaluation.eval), column.title),
            about: format!("{} test pictures{chance}", evaluation.test_images),
            cells: (0..runs).map(|run| (run == place).then(|| cell.clone())).collect(),
        })
    }

    /// The last measurement of each run on itself, beside that before the first step.
    fn during_training(key: &'a str, title: &str, runs: &[RunRecord]) -> Option<Self> {
        let cell = |run: &RunRecord| {
            let all: Vec<f64> = run.monitors.iter().filter_map(|line| line.values.get(key).copied()).collect();
            let one = |value: f64| Statistic { mean: value, std: None, values: vec![value] };
            let starts = run.monitors.first().is_some_and(|line| line.step == 0);
            Some(Cell {
                step: run.monitors.last()?.step,
                value: one(*all.last()?),
                digits: 1,
                base: (starts && all.len() > 1).then(|| (one(all[0]), "step 0")),
            })
        };
        let cells: Vec<Option<Cell>> = runs.iter().map(cell).collect();
        let about = "training pictures, for watching only".to_owned();
        let any = cells.iter().any(Option::is_some);
        any.then(|| Self { key: [key, "", "", "", ""], title: title.to_owned(), about, cells })
    }

    fn html(&self) -> Vec<String> {
        let best = self.cells.iter().flatten().map(|cell| cell.value.mean).fold(f64::NEG_INFINITY, f64::max);
        let several = self.cells.iter().flatten().count() > 1;
        let head = format!("<th scope=\"row\">{}<small>{}</small></th>", escape(&self.title), escape(&self.about));
        let cells = self.cells.iter().map(|cell| match cell {
            Some(cell) => cell.html(!several || cell.value.mean >= best),
            None => "<td>—</td>".to_owned(),
        });
        std::iter::once(head).chain(cells).collect()
    }
}

impl Cell {
    fn html(&self, is_best: bool) -> String {
        let digits = self.digits;
        let spread = |std: Option<f64>| std.map(|std| format!(" ± {std:.digits$}")).unwrap_or_default();
        let strong = if is_best { "best" } else { "" };
        let value = format!(
            "<span class=\"{strong}\">{:.digits$}</span><span class=\"pm\">{}</span>",
            self.value.mean,
            spread(self.value.std)
        );
        let Some((base, name)) = &self.base else {
            return format!("<td>{value}<small>nothing to compare with</small></td>");
        };
        let gain = self.value.mean - base.mean;
        // Of two independent means.
        let deviation = match (self.value.std, base.std) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0.0).hypot(b.unwrap_or(0.0))),
        };
        let class = match gain {
            gain if gain.abs() <= deviation.unwrap_or(0.0) => "idle",
            gain if gain > 0.0 => "good",
            _ => "bad",
        };
        let sign = if gain < 0.0 { "−" } else { "+" };
        format!(
            "<td>{value}<small><b class=\"{class}\">{sign}{:.digits$}{}</b> {name} {:.digits$}</small></td>",
            gain.abs(),
            spread(deviation),
            base.mean
        )
    }
}

/// A protocol as its rows are called.
fn protocol(eval: &str) -> &str {
    match eval {
        "knn" => "k-NN",
        "linear" => "linear",
        "finetune" => "fine-tuned",
        "semi" => "few labels",
        other => other,
    }
}

/// Share of the largest class, by the counts of true classes and answers.
fn majority_share(confusion: &[Vec<u32>]) -> Option<f64> {
    let counts: Vec<f64> = confusion.iter().map(|answers| answers.iter().sum::<u32>().into()).collect();
    let all: f64 = counts.iter().sum();
    (all > 0.0).then(|| counts.iter().fold(0.0, |most: f64, &count| most.max(count)) / all)
}

/// How long a run trained; what it measured on itself is not counted.
fn trained(run: &RunRecord) -> String {
    let Some(last) = run.steps.last() else { return "not trained yet".to_owned() };
    let steps = format!("{} steps", significant((last.step + 1) as f64));
    match training_secs(run) {
        Some(secs) => format!("{} of training, {steps}", duration(secs)),
        None => steps,
    }
}

/// Each logged step has the speed since the one before.
fn training_secs(run: &RunRecord) -> Option<f64> {
    let batch = run.config.as_ref()?.train.batch_size as f64;
    let mut taken = 0;
    let mut secs = 0.0;
    for logged in &run.steps {
        let speed = logged.values.get("images_per_second").filter(|speed| **speed > 0.0)?;
        secs += (logged.step + 1 - taken) as f64 * batch / speed;
        taken = logged.step + 1;
    }
    Some(secs)
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::run_with;
    use super::*;

    fn evaluation(top1: f64, random: f64) -> String {
        let preprocessing = serde_json::to_string(&byol_data::views::EvaluationConfig::default()).unwrap();
        let row = |network: &str, mean: f64, more: &str| {
            format!(
                "{{\"network\":\"{network}\",\"name\":\"x\",\"setting\":\"k 20\",\"seeds\":[0,1],\"numbers\":{{\"top1\":\
                 {{\"mean\":{mean},\"std\":3.0,\"values\":[{mean},{mean}]}}}},\"chosen\":[]{more}}}"
            )
        };
        format!(
            "{{\"evaluations\":[{{\"eval\":\"knn\",\"encoder\":\"run\",\"arch\":\"resnet18\",\"training\":\"BYOL\",\"step\":11,\
             \"data\":\"d\",\"preprocessing\":{preprocessing},\"train_images\":90,\"test_images\":8,\"classes\":[\"a\",\"b\"],\
             \"protocol\":\"p\",\"rows\":[{},{}]}}]}}",
            row("encoder", top1, ",\"confusion\":[[3,3],[0,2]]"),
            row("random", random, "")
        )
    }

    #[test]
    fn a_protocol_is_a_row_with_every_run_beside_random_weights() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = "{\"step\":4,\"epoch\":0.9,\"images_per_second\":8}\n{\"step\":10,\"epoch\":1.9,\"images_per_second\":1.6}\n\
             {\"eval\":\"online\",\"step\":0,\"epoch\":0,\"knn_top1\":20.0}\n{\"eval\":\"online\",\"step\":11,\"epoch\":2,\"knn_top1\":18.5}\n";
        let paths = [("<a>", 50.0, 30.0), ("b", 28.0, 30.0)].map(|(name, top1, random)| {
            let path = run_with(folder.path(), name, metrics);
            std::fs::write(path.join("evaluation.json"), evaluation(top1, random)).unwrap();
            path
        });
        let html = section(&RunRecord::read_all(&paths).unwrap());
        for part in [
            // 5 steps of 16 at 8 per second, then 6 at 1.6.
            "70 s of training, 11 steps",
            "k-NN top-1, k 20<small>8 test pictures; largest class 75.0\u{a0}%",
            "<span class=\"best\">50.0</span><span class=\"pm\"> ± 3.0</span><small><b class=\"good\">+20.0 ± 4.2</b> random 30.0",
            "<span class=\"\">28.0</span>",
            "<b class=\"idle\">−2.0 ± 4.2</b>",
            "<b class=\"bad\">−1.5</b> step 0 20.0",
            "&lt;a&gt;",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert_eq!(html.matches("<tr>").count(), 3, "a head, k-NN, k-NN during training");
    }

    #[test]
    fn rows_of_one_name_say_their_protocol_more_seeds_win_and_training_is_compared_with_training() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        let all = |texts: &[String]| {
            let each = texts
                .iter()
                .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["evaluations"][0].clone());
            serde_json::json!({"evaluations": each.collect::<Vec<_>>()}).to_string()
        };
        let html_of = |texts: &[String]| {
            std::fs::write(path.join("evaluation.json"), all(texts)).unwrap();
            section(&RunRecord::read_all(std::slice::from_ref(&path)).unwrap())
        };
        let two_seeds = evaluation(50.0, 30.0);
        let one_seed = evaluation(61.0, 30.0).replace("[61,61]", "[61]");
        let html = html_of(&[two_seeds.clone(), one_seed]);
        assert!(html.contains("50.0") && !html.contains("61.0") && !html.contains("; d; p"), "{html}");
        let other = evaluation(40.0, 30.0).replace("\"protocol\":\"p\"", "\"protocol\":\"q\"");
        let html = html_of(&[two_seeds.clone(), other]);
        assert!(html.contains("; d; p<") && html.contains("; d; q<"), "{html}");
        let gain = "{\"network\":\"encoder\",\"gain\":{\"over\":\"supervised\",\"metric\":\"top1\",\"mean\":20.0},";
        let trained = two_seeds.replace("\"network\":\"random\"", "\"network\":\"supervised\"");
        let html = html_of(&[trained.replace("{\"network\":\"encoder\",", gain)]);
        assert!(html.contains("</b> supervised 30.0"), "{html}");
    }

    #[test]
    fn without_measurements_there_is_no_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        assert_eq!(section(&RunRecord::read_all(&[path]).unwrap()), "");
    }
}
