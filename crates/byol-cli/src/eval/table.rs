//! The numbers of an evaluation as a table, below it what fixes them.

use std::fmt::Write;
use std::path::Path;

use byol_eval::{COLUMNS, Column, Edge, End, Evaluation, Gain, LargestClass, Network, Row, main_column};
use serde_json::Value;

use crate::screen::{Screen, state};
use crate::show;

/// Characters of a row's name, at most.
const NAME_COLUMNS: usize = 22;

/// Shows an evaluation on stderr.
pub fn print(evaluation: &Evaluation) {
    state!("{}", text(evaluation, Screen::of_stderr()).trim_end_matches('\n'));
}

/// What [`print`] shows.
fn text(evaluation: &Evaluation, screen: Screen) -> String {
    let (columns, left_out) = columns(evaluation, screen);
    let mut text = String::from("\n");
    for line in lines(evaluation, &columns, screen) {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    for (first, note) in notes(evaluation, &left_out) {
        let indent = " ".repeat(2 + Some(first.chars().count()).filter(|&width| width <= 12).unwrap_or(2));
        let _ = writeln!(text, "{}", screen.wrapped(&format!("{first}{note}"), "  ", &indent));
    }
    text
}

/// Those of the numbers that fit, and those that do not.
fn columns(evaluation: &Evaluation, screen: Screen) -> (Vec<Column<'static>>, Vec<Column<'static>>) {
    let has = |column: &Column| evaluation.rows.iter().any(|row| row.numbers.contains_key(column.metric));
    // With five classes or fewer every picture's class is among the first five.
    let says_something = |column: &Column| column.metric != "top5" || evaluation.classes.len() > 5;
    let mut columns: Vec<_> = COLUMNS.into_iter().filter(has).filter(says_something).collect();
    let mut left_out = Vec::new();
    for metric in ["top5", "mean_per_class"] {
        let widest = lines(evaluation, &columns, Screen { bold: false, ..screen });
        if widest.iter().all(|line| line.chars().count() <= screen.table_columns()) {
            break;
        }
        if let Some(place) = columns.iter().position(|column| column.metric == metric) {
            left_out.push(columns.remove(place));
        }
    }
    (columns, left_out)
}

fn title(column: &Column) -> String {
    let title = if column.metric == "mean_per_class" { "per class" } else { column.title };
    if column.is_percent { format!("{title} %") } else { title.to_owned() }
}

/// The table: a head, the rows under their settings, the largest class.
fn lines(evaluation: &Evaluation, columns: &[Column], screen: Screen) -> Vec<String> {
    let rows = by_setting(evaluation);
    let main = main_column(&rows).map(|column| column.metric);
    let with_gain = rows.iter().any(|row| row.gain.is_some());
    let mut head = vec![evaluation.eval.clone()];
    head.extend(columns.iter().map(title));
    head.extend(with_gain.then(|| "gain".to_owned()));
    // (cells, whether the main number is bold); a heading has one cell.
    let mut table = vec![(head, false)];
    for row in &rows {
        let mut cells = vec![name(evaluation, row)];
        let number = |column: &Column| row.numbers.get(column.metric).map(|number| show::statistic(column, number));
        cells.extend(columns.iter().map(|column| number(column).unwrap_or_default()));
        cells.extend(with_gain.then(|| row.gain.as_ref().map(gain).unwrap_or_default()));
        table.push((cells, row.best));
    }
    if let Some(LargestClass { numbers, .. }) = &evaluation.largest_class {
        let mut cells = vec!["largest class".to_owned()];
        let number = |column: &Column| {
            let digits = column.digits;
            numbers.get(column.metric).map(|value| format!("{value:.digits$}"))
        };
        cells.extend(columns.iter().map(|column| number(column).unwrap_or_default()));
        table.push((cells, false));
    }
    let width = |place: usize| {
        table.iter().filter_map(|(cells, _)| cells.get(place)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len() + 2).map(width).collect();
    let main = columns.iter().position(|column| Some(column.metric) == main);
    let line = |(cells, best): &(Vec<String>, bool)| {
        let mut line = format!("  {:width$}", cells[0], width = widths[0]);
        for (place, cell) in cells.iter().enumerate().skip(1) {
            let padding = " ".repeat(2 + widths[place] - cell.chars().count());
            let is_main = *best && main == Some(place - 1);
            line += &padding;
            line += &if is_main { screen.strong(cell) } else { cell.clone() };
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(&table[0])];
    let mut setting = "";
    for (place, row) in table[1..].iter().enumerate() {
        let heading = match rows.get(place) {
            _ if is_ablation(evaluation) => "",
            Some(row) => &*row.setting,
            None if setting.is_empty() => "",
            None => "whatever the setting",
        };
        if heading != setting {
            setting = heading;
            lines.push(screen.wrapped(heading, "  ", "  "));
        }
        lines.push(line(row));
    }
    lines
}

/// The rows of the first setting, then those of the next; those of an ablation as they are.
fn by_setting(evaluation: &Evaluation) -> Vec<&Row> {
    let mut settings: Vec<&str> = Vec::new();
    for row in &evaluation.rows {
        if !settings.contains(&&*row.setting) {
            settings.push(&row.setting);
        }
    }
    if is_ablation(evaluation) {
        return evaluation.rows.iter().collect();
    }
    let of_setting = |setting| evaluation.rows.iter().filter(move |row| row.setting == setting);
    settings.into_iter().flat_map(of_setting).collect()
}

fn is_ablation(evaluation: &Evaluation) -> bool {
    evaluation.eval == "ablate"
}

/// A word for the row, see [`described`] for more.
fn name(evaluation: &Evaluation, row: &Row) -> String {
    let name = match row.network {
        _ if is_ablation(evaluation) => row.name.clone(),
        Network::Encoder if evaluation.encoder.starts_with("random:") => Network::Random.short_name().to_owned(),
        Network::Reference => {
            let stem = Path::new(&row.name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
            format!("{} {}", row.network.short_name(), stem.unwrap_or_else(|| row.name.clone()))
        }
        network => network.short_name().to_owned(),
    };
    match name.chars().count() {
        0..=NAME_COLUMNS => name,
        _ => name.chars().take(NAME_COLUMNS - 1).chain(['…']).collect(),
    }
}

/// `+7.7 ± 1.3`.
fn gain(gain: &Gain) -> String {
    match gain.std {
        Some(std) => format!("{:+.1} ± {std:.1}", gain.mean),
        None => format!("{:+.1}", gain.mean),
    }
}

/// What stands below the table: the beginning of each note and the rest.
fn notes(evaluation: &Evaluation, left_out: &[Column]) -> Vec<(String, String)> {
    let mut notes: Vec<(String, String)> = Vec::new();
    for row in &evaluation.rows {
        let what = if is_ablation(evaluation) { &row.setting } else { &row.name };
        let note = (format!("{}: ", name(evaluation, row)), what.clone());
        if !what.is_empty() && !notes.contains(&note) && note.0.trim_end_matches(": ") != what {
            notes.push(note);
        }
    }
    if let Some(LargestClass { class, .. }) = &evaluation.largest_class {
        notes.push(("largest class: ".to_owned(), format!("always {class:?}, whatever the picture")));
    }
    notes.extend(gain_note(evaluation));
    if !left_out.is_empty() {
        let titles: Vec<String> = left_out.iter().map(title).collect();
        notes.push((String::new(), format!("left out, too wide: {} (--json has all)", titles.join(", "))));
    }
    for row in &evaluation.rows {
        let mut chosen: Vec<String> = row.chosen.iter().filter_map(in_words).collect();
        chosen.dedup();
        if !chosen.is_empty() {
            notes.push(("chosen: ".to_owned(), format!("{}: {}", named(evaluation, row), chosen.join("; "))));
        }
    }
    for row in &evaluation.rows {
        let mut edges: Vec<Edge> = row.chosen.iter().flat_map(Edge::read).collect();
        edges.dedup();
        notes.extend(edges.iter().map(|edge| warning(evaluation, row, edge)));
    }
    let Evaluation { train_images, test_images, data, protocol, .. } = evaluation;
    notes.push((String::new(), format!("{train_images} training and {test_images} test pictures; {data}")));
    notes.push((String::new(), protocol.clone()));
    notes
}

fn gain_note(evaluation: &Evaluation) -> Option<(String, String)> {
    let gain = evaluation.rows.iter().find_map(|row| row.gain.as_ref())?;
    let title =
        COLUMNS.into_iter().find(|column| column.metric == gain.metric).map_or(&*gain.metric, |column| column.title);
    let over = format!("points of {title} above {}", gain.over.short_name());
    let is_uncertain = evaluation.rows.iter().any(|row| row.gain.as_ref().is_some_and(|gain| gain.std.is_some()));
    Some((
        "gain: ".to_owned(),
        match is_uncertain {
            true => format!("{over} ± √(s² + s²) of both deviations over seeds"),
            false => format!("{over}; --seeds 3 shows how far chance moves it"),
        },
    ))
}

fn named(evaluation: &Evaluation, row: &Row) -> String {
    let name = name(evaluation, row);
    if row.setting.is_empty() || is_ablation(evaluation) { name } else { format!("{name}, {}", row.setting) }
}

/// What to do about a choice at the edge.
fn warning(evaluation: &Evaluation, row: &Row, edge: &Edge) -> (String, String) {
    let Edge { setting, chosen, at, next } = edge;
    let end = match at {
        End::Lowest => "lowest",
        End::Highest => "highest",
    };
    let flag = match (&*evaluation.eval, &**setting) {
        ("linear", _) => "--learning-rates",
        ("semi", "epochs") => "--semi-epochs",
        ("semi", _) => "--semi-rates",
        (_, "l2") => "--l2",
        (_, "weight_decay") => "--finetune-decays",
        _ => "--finetune-rates",
    };
    let name = named(evaluation, row);
    let what =
        format!("{name}: {} {chosen} is the {end} of its grid; try {next}, too ({flag})", setting.replace('_', " "));
    ("warning: ".to_owned(), what)
}

/// What was chosen, without the scores it was chosen by.
fn in_words(chosen: &Value) -> Option<String> {
    let fields: Vec<String> = chosen
        .as_object()?
        .iter()
        .filter(|(key, _)| !["held_out", "edges"].contains(&&***key))
        .map(|(key, value)| format!("{} {value}", key.replace('_', " ")))
        .collect();
    (!fields.is_empty()).then(|| fields.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use byol_data::views::EvaluationConfig;
    use byol_eval::Statistic;

    use super::*;

    fn row(network: Network, name: &str, setting: &str, top1: &[f64]) -> Row {
        let numbers = [("top1", 1.0), ("top5", 1.5), ("mean_per_class", 0.9)];
        let number = |factor: f64| Statistic::of(top1.iter().map(|value| value * factor).collect());
        Row {
            network,
            name: name.to_owned(),
            setting: setting.to_owned(),
            seeds: (0..top1.len() as u64).collect(),
            numbers: numbers.map(|(metric, factor)| (metric.to_owned(), number(factor))).into(),
            chosen: Vec::new(),
            confusion: None,
            best: false,
            gain: None,
        }
    }

    fn evaluation(rows: Vec<Row>) -> Evaluation {
        let mut evaluation = Evaluation {
            eval: "semi".to_owned(),
            encoder: "runs/photos".to_owned(),
            arch: "resnet18".parse().unwrap(),
            training: "BYOL".to_owned(),
            step: 1,
            data: "trained on the `train` part, tested on the `test` part of photos".to_owned(),
            preprocessing: EvaluationConfig::default(),
            train_images: 2400,
            test_images: 600,
            classes: (0..10).map(|class| format!("class {class}")).collect(),
            protocol: "all weights fine-tuned with a linear classifier on the labelled part".to_owned(),
            rows,
            largest_class: None,
            repeat: None,
        }
        .judged();
        let numbers = BTreeMap::from([("top1".to_owned(), 12.5), ("mean_per_class".to_owned(), 10.0)]);
        evaluation.largest_class = Some(LargestClass { class: "class 3".to_owned(), numbers });
        evaluation
    }

    fn full() -> Evaluation {
        let (one, ten) = ("1 % of the labels (24 pictures)", "10 % of the labels (240 pictures)");
        let scratch = "from random weights, the same labels";
        let path = "/a/long/way/to/resnet18-5c106cde-converted-twice.pth";
        evaluation(vec![
            row(Network::Encoder, "BYOL imagenet-40, 60 epochs", one, &[21.0, 23.0, 25.0]),
            row(Network::Encoder, "BYOL imagenet-40, 60 epochs", ten, &[40.0, 41.0, 42.0]),
            row(Network::Supervised, scratch, one, &[22.0, 26.0, 30.0]),
            row(Network::Supervised, scratch, ten, &[30.0, 30.5, 31.0]),
            row(Network::Reference, path, one, &[50.0, 51.0, 52.0]),
            row(Network::Reference, path, ten, &[66.0, 66.0, 66.0]),
        ])
    }

    #[test]
    fn tables_hold_at_60_and_80_columns() {
        let mut evaluation = full();
        for row in &mut evaluation.rows {
            row.chosen =
                vec![serde_json::json!({"learning_rate": 0.1, "weight_decay": 0.0, "steps": 200, "batch_size": 24})];
        }
        for columns in [60, 80] {
            let screen = Screen { columns: Some(columns), bold: false };
            let text = text(&evaluation, screen);
            for line in text.lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line}\n{text}");
            }
            for part in
                ["pretrained", "supervised", "reference resnet18", "largest class", "12.5", "41.0 ± 1.0", "+10.5 ± 1.1"]
            {
                assert!(text.contains(part), "{part} in\n{text}");
            }
            assert_eq!(text.contains("left out, too wide"), columns == 60, "{text}");
        }
    }

    #[test]
    fn settings_stand_above_their_rows_and_the_winner_is_bold_on_a_terminal_only() {
        let screen = Screen { columns: Some(100), bold: true };
        let bold = text(&full(), screen);
        let heading = bold.lines().position(|line| line.trim() == "10 % of the labels (240 pictures)").unwrap();
        let below: Vec<&str> = bold.lines().skip(heading + 1).take(3).collect();
        assert!(below[0].contains("pretrained") && below[2].contains("\x1b[1m66.0 ± 0.0\x1b[0m"), "{bold}");
        assert_eq!(bold.matches("\x1b[1m").count(), 2, "one winner for each setting: {bold}");
        assert!(!text(&full(), Screen { bold: false, ..screen }).contains('\x1b'));
    }

    #[test]
    fn what_was_chosen_is_said_of_every_row_and_an_edge_is_a_warning() {
        let mut evaluation = full();
        let edge = serde_json::json!([{"setting": "learning_rate", "chosen": 0.1, "at": "highest", "next": 0.32}]);
        for (place, row) in evaluation.rows.iter_mut().enumerate() {
            row.chosen = vec![serde_json::json!({"learning_rate": 0.1 * place as f64, "held_out": [1, 2]})];
        }
        evaluation.rows[2].chosen[0]["edges"] = edge;
        let text = text(&evaluation, Screen { columns: None, bold: false });
        assert_eq!(text.matches("chosen: ").count(), 6, "{text}");
        let expected = "warning: supervised, 1 % of the labels (24 pictures): learning rate 0.1 is the highest of its grid; try \
                        0.32, too (--semi-rates)";
        assert!(text.contains(expected) && !text.contains("held_out") && !text.contains("edges"), "{text}");
    }
}
